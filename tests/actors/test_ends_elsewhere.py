"""Ends elsewhere: what it costs to look whether inputs that another process works have ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from attrs import evolve
from plane_builders import prompt

from actors.completions import Completions
from actors.ends_elsewhere import EndsElsewhere, Watched
from actors.replies import Handle
from meerkat import InputId, InputState, LogicalRuntimeId
from meerkat.errors import StoreError
from meerkat.input_lifecycle import ConsumedOutcome

A = LogicalRuntimeId("a")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST_S = 3.2


class Looking:
    """Ends that are looked for, on a clock of the test's; what has ended the test says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.completions = Completions()
        self.ends = EndsElsewhere(
            self.completions, lambda: self.now, lambda _: False, pause_max_s=LONGEST_S
        )
        self.questions: list[list[Watched]] = []
        self.ended: dict[InputId, InputState] = {}
        self.away = False

    def one_more(self) -> tuple[InputState, Handle]:
        """One more begins to wait for the end of an input."""
        state, handle = InputState.of(prompt(), NOW), Handle(None, A)
        self.completions.watch(A, state.input_id, handle)
        self.ends.watch(A, [state.input_id])
        return state, handle

    def end(self, state: InputState) -> None:
        """The other process has worked an input."""
        self.ended[state.input_id] = evolve(state, terminal_outcome=ConsumedOutcome())

    def load(self, watched: Sequence[Watched]) -> list[tuple[LogicalRuntimeId, InputState]]:
        self.questions.append(list(watched))
        if self.away:
            raise StoreError("away")
        return [(name, self.ended[each]) for name, each in watched if each in self.ended]

    def goes_on_for(self, seconds: float) -> None:
        """Look whenever it is time to."""
        until = self.now + seconds
        while (pause_s := self.ends.pause_s) is not None and self.now + pause_s < until:
            self.now += max(pause_s, 0.001)
            self.ends.look(self.load)
        self.now = max(self.now, until)


@pytest.fixture
def looking() -> Looking:
    return Looking()


def test_who_waits_long_costs_a_few_questions_a_pause_whenever_they_began(looking: Looking) -> None:
    for _ in range(500):
        looking.one_more()
        looking.goes_on_for(0.03)
    looking.goes_on_for(4 * LONGEST_S)  # all have waited long by now
    looking.questions.clear()
    looking.goes_on_for(LONGEST_S)
    assert len(looking.questions) <= 8
    assert len({each for asked in looking.questions for each in asked}) == 500


def test_a_look_that_fails_forgets_nobody(looking: Looking) -> None:
    first, handle = looking.one_more()
    looking.goes_on_for(1.0)
    second, another = looking.one_more()
    looking.end(first)
    looking.end(second)
    looking.away = True
    for _ in range(3):
        looking.now += LONGEST_S
        assert looking.ends.pause_s == 0.0
        with pytest.raises(StoreError):
            looking.ends.look(looking.load)
    looking.away = False
    looking.goes_on_for(2 * LONGEST_S)
    assert handle.done()
    assert another.done()
    assert looking.ends.pause_s is None


def test_what_ends_soon_is_told_soon_and_is_looked_at_no_more(looking: Looking) -> None:
    looking.one_more()
    looking.goes_on_for(10 * LONGEST_S)
    state, handle = looking.one_more()
    looking.end(state)
    looking.goes_on_for(0.03)
    assert handle.done()
    looking.questions.clear()
    looking.goes_on_for(2 * LONGEST_S)
    assert all((A, state.input_id) not in asked for asked in looking.questions)
