"""An event log keeps the last events as a plain list would, whatever they were told in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from builders import START, prompt, state_in
from hypothesis import given, settings
from hypothesis import strategies as st

from meerkat import EventGap, InputPhase, LogicalRuntimeId, RuntimeEventEnvelope
from meerkat.event_log import EventLog
from meerkat.events import EventCode, InputLifecycleEvent, TopologyEvent
from meerkat.kernel.telling import Emit, Story, inputs_consumed

A = LogicalRuntimeId("a")
NOTE = Emit(TopologyEvent(EventCode.RUNTIME_CREATED))


def told_in_steps(count: int) -> Story:
    """A story of so many events, which can be told apart."""
    states = [state_in(InputPhase.STAGED, prompt()) for _ in range(count)]
    subjects = tuple(state.input_id for state in states)

    def tell(*ids: Any) -> Any:
        for each in ids:
            yield Emit(InputLifecycleEvent(EventCode.INPUT_STAGED, each), each)

    return Story(count, tell, subjects)


def sequences(log: EventLog, after: int = 0, limit: int | None = None) -> list[int]:
    return [each.sequence for each in log.after(after, limit)[1]]


# --- windows and stories ----------------------------------------------------------------


@pytest.mark.parametrize("window", range(1, 9))
def test_a_window_may_cut_through_a_story(window: int) -> None:
    log, story = EventLog(A, 1, window), told_in_steps(4)
    log.append(NOTE, START)
    log.append(story, START)
    log.append(NOTE, START)
    gone = max(0, 6 - window)
    gap, found = log.after(0)
    assert [each.sequence for each in found] == list(range(gone + 1, 7))
    events = [NOTE.event, *(each.event for each in story.emits()), NOTE.event]
    assert [each.event for each in found] == events[gone:]
    assert gap == (EventGap(requested=0, dropped_through=gone, watermark=6) if gone else None)
    assert len(log) == min(window, 6)


@pytest.mark.parametrize("limit", range(7))
@pytest.mark.parametrize("after", range(7))
def test_a_reader_may_begin_and_end_in_the_middle_of_a_story(after: int, limit: int) -> None:
    log = EventLog(A, 1, 100)
    log.append(told_in_steps(3), START)
    log.append(told_in_steps(3), START)
    assert sequences(log, after, limit) == list(range(1, 7))[after : after + limit]
    assert len(log) == 6  # reading takes nothing


def test_a_story_larger_than_the_window_keeps_its_end() -> None:
    log = EventLog(A, 1, 2)
    log.append(told_in_steps(5), START)
    assert sequences(log) == [4, 5]


def test_each_oldest_goes_by_itself_until_none_is_left() -> None:
    log = EventLog(A, 11, 100)
    log.append(told_in_steps(3), START)
    log.append(NOTE, START)
    for gone in range(1, 5):
        log.drop_oldest()
        gap, found = log.after(10)
        assert gap == EventGap(requested=10, dropped_through=10 + gone, watermark=14)
        assert [each.sequence for each in found] == list(range(11 + gone, 15))
        assert len(log) == 4 - gone
    log.append(NOTE, START)
    assert sequences(log) == [15]


def test_what_was_read_is_cut_as_what_was_not() -> None:
    read, unread = EventLog(A, 1, 3), EventLog(A, 1, 3)
    for log in (read, unread):
        for _ in range(3):
            log.append(told_in_steps(2), START)
            if log is read:
                log.after(0)
    assert sequences(read) == sequences(unread) == [4, 5, 6]
    read.drop_oldest()
    assert sequences(read) == [5, 6]


def test_two_readers_are_given_the_same_envelopes() -> None:
    log = EventLog(A, 1, 5)
    log.append(told_in_steps(4), START)
    log.append(NOTE, START + timedelta(seconds=1))
    first = log.after(0)[1]
    part = log.after(2, 2)[1]
    log.append(told_in_steps(3), START)
    second = log.after(0)[1]
    assert [id(each) for each in part] == [id(each) for each in first[2:4]]
    assert [id(each) for each in second[:2]] == [id(each) for each in first[3:]]
    assert len({each.id for each in (*first, *second)}) == 5 + 3


def test_nothing_is_made_until_it_is_read() -> None:
    made: list[int] = []

    def tell(number: int) -> Any:
        made.append(number)
        yield NOTE

    log = EventLog(A, 1, 2)
    for number in range(4):
        log.append(Story(1, tell, (number,)), START)
    assert made == []
    log.after(3)
    log.after(3)
    assert made == [3]
    log.after(0)
    assert made == [3, 2]


def test_what_is_out_of_the_window_is_let_go() -> None:
    log = EventLog(A, 1, 4)
    for _ in range(20):
        log.append(told_in_steps(2), START)
        assert len(log._entries) <= 2
    log.append(NOTE, START)
    assert len(log._entries) == 3  # of the first one, the last event
    log.drop_oldest()
    assert len(log._entries) == 2
    log.rebase(100)
    assert len(log._entries) == 0


def test_an_empty_log_has_nothing() -> None:
    log = EventLog(A, 5, 3)
    assert log.after(4) == (None, [])
    assert log.after(9, 3) == (None, [])
    assert (len(log), log.watermark) == (0, 4)
    assert inputs_consumed([]).count == 0


# --- against a plain list ---------------------------------------------------------------


class Model:
    """The same, as a list of numbers and times."""

    def __init__(self, first: int, window: int) -> None:
        self.next, self.window = first, window
        self.kept: list[tuple[int, Any, Any]] = []
        self.ids: dict[int, Any] = {}

    def append(self, story: Any, now: Any) -> None:
        for emit in story.emits():
            self.kept.append((self.next, emit.event, now))
            self.next += 1
        self.kept = self.kept[-self.window :]

    def rebase(self, first: int) -> None:
        if first > self.next:
            self.kept, self.next = [], first

    def after(self, sequence: int, limit: int | None) -> tuple[EventGap | None, list[Any]]:
        oldest = self.kept[0][0] if self.kept else self.next
        gap = None
        if sequence < oldest - 1:
            gap = EventGap(requested=sequence, dropped_through=oldest - 1, watermark=self.next - 1)
        return gap, [each for each in self.kept if each[0] > sequence][:limit]

    def check(self, envelopes: list[RuntimeEventEnvelope]) -> None:
        for each in envelopes:
            assert self.ids.setdefault(each.sequence, each) is each


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("append"), st.integers(1, 5)),
        st.tuples(st.just("drop"), st.none()),
        st.tuples(st.just("rebase"), st.integers(1, 60)),
        st.tuples(st.just("read"), st.tuples(st.integers(0, 50), st.none() | st.integers(0, 6))),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(steps=STEPS, first=st.integers(1, 10), window=st.integers(1, 8))
def test_a_log_answers_as_a_list_does(steps: list[Any], first: int, window: int) -> None:
    log, model = EventLog(A, first, window), Model(first, window)
    for number, (what, given_) in enumerate(steps):
        now = START + timedelta(seconds=number)
        if what == "append":
            story = told_in_steps(given_) if given_ > 1 else NOTE
            log.append(story, now)
            model.append(story, now)
        elif what == "drop" and model.kept:
            log.drop_oldest()
            del model.kept[0]
        elif what == "rebase":
            log.rebase(given_)
            model.rebase(given_)
        elif what == "read":
            gap, found = log.after(*given_)
            said = [(each.sequence, each.event, each.timestamp) for each in found]
            assert (gap, said) == model.after(*given_)
            model.check(found)
        assert (len(log), log.watermark) == (len(model.kept), model.next - 1)
    gap, found = log.after(0)
    said = [(each.sequence, each.event, each.timestamp) for each in found]
    assert (gap, said) == model.after(0, None)
    model.check(found)
