"""What is told of a decision: each entry is as many events as it says, whoever decided."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from builders import (
    Runtime,
    continuation,
    event,
    message,
    operation,
    progress,
    prompt,
    request,
    state_in,
    uuid_of,
)

from meerkat import InputPhase, RunId, RunOutput, RuntimeEpochId, RuntimeEventEnvelope, kernel
from meerkat.errors import MeerkatError
from meerkat.events import EventCode, InputLifecycleEvent, RunLifecycleEvent, TopologyEvent
from meerkat.kernel import telling
from meerkat.kernel.telling import Emit, Story
from meerkat.policy import Lane
from meerkat.runtime_lifecycle import RuntimeState

STORIES = {"_taken_in", "_begun", "_completed", "_consumed"}

OFFERS: list[Callable[..., Any]] = [prompt, message, request, progress, event, operation]


class Walk:
    """A runtime that is asked for one thing after the other, whatever state it is in."""

    def __init__(self, seed: int) -> None:
        self.runtime = Runtime()
        self.random = random.Random(seed)
        self.stories: Counter[str] = Counter()
        self.emits = 0
        self.seen: set[Any] = set()

    def step(self) -> None:
        with suppress(MeerkatError):  # refused in this state: nothing is told
            self.look_at(self.random.choice(MOVES)(self))

    def look_at(self, transition: Any) -> None:
        for told in transition.told:
            emits = told.emits()
            assert told.count == len(emits)
            assert told.emits() == emits
            assert all(type(each) is Emit and each.emits() == (each,) for each in emits)
            self.seen |= {each.event.code for each in emits}
            if isinstance(told, Story):
                self.stories[told.tell.__name__] += 1
            else:
                self.emits += 1
        self.check_what_it_is_about(transition)

    def check_what_it_is_about(self, transition: Any) -> None:
        """Each step of an input is told once for each state it came to be in."""
        emits = [each for told in transition.told for each in told.emits()]
        about = Counter(
            each.event.input_id
            for each in emits
            if isinstance(each.event, InputLifecycleEvent) and each.event.code in LAST_STEPS
        )
        for state in transition.states:
            if state.is_terminal:
                assert about[state.input_id] == 1
        for each in emits:
            if isinstance(each.event, RunLifecycleEvent) and transition.states:
                assert each.cause in {state.input_id for state in transition.states}

    @property
    def run_id(self) -> RunId:
        run = self.runtime.memory.head.run
        return RunId.new() if run is None else run.run_id

    def offer(self) -> Any:
        key = self.random.choice([None, None, "k", "l"])
        mode = self.random.choice([None, {"handling_mode": "steer"}])
        build = self.random.choice(OFFERS)
        header: dict[str, Any] = {} if build is operation else {"supersession_key": key}
        if build is prompt and mode:
            header["turn_metadata"] = mode
        offered = build(**header)
        return self.runtime.do(kernel.AcceptInput(offered, b"{}"))

    def complete(self) -> Any:
        plan = self.runtime.session.plan(RunOutput())
        return self.runtime.do(kernel.CompleteRun(self.run_id, plan))

    def boundary(self) -> Any:
        run_id = self.run_id
        steered = self.runtime.do(kernel.HandOver(run_id)).reply
        ids = tuple(each.id for each in steered)[: self.random.randint(1, 3)]
        return self.runtime.do(
            kernel.CommitBoundary(run_id, ids, self.runtime.session.plan(RunOutput()))
        )

    def revive(self) -> Any:
        """Reset or recycle what was stopped, and let it run again."""
        self.runtime.do(kernel.AttachExecutor())
        return self.runtime.do(kernel.Reset(RuntimeEpochId.new()))


LAST_STEPS = {
    EventCode.INPUT_CONSUMED,
    EventCode.INPUT_ABANDONED,
    EventCode.INPUT_SUPERSEDED,
    EventCode.INPUT_COALESCED,
}

MOVES: list[Callable[[Walk], Any]] = [
    *[Walk.offer] * 8,
    *[lambda w: w.runtime.do(kernel.StageRun(RunId.new()))] * 6,
    *[Walk.complete] * 3,
    *[Walk.boundary] * 3,
    lambda w: w.runtime.do(
        kernel.FailRun(w.run_id, "boom", recoverable=w.random.random() < 0.5, jitter=0.0)
    ),
    lambda w: w.runtime.do(kernel.CancelRun(w.run_id)),
    lambda w: w.runtime.do(kernel.RequeueRun(w.run_id)),
    lambda w: w.runtime.do(kernel.PostponeRun(w.run_id, "later", 0.0)),
    lambda w: w.runtime.do(kernel.ReportProgress(w.run_id, "half way")),
    lambda w: w.runtime.do(kernel.ReleaseLane(w.random.choice(list(Lane)))),
    lambda w: w.runtime.do(kernel.AttachExecutor()),
    lambda w: w.runtime.do(kernel.DetachExecutor()),
    lambda w: w.runtime.do(kernel.Retire()),
    lambda w: w.runtime.do(kernel.Recycle()),
    lambda w: w.runtime.do(kernel.Recover(frozenset())),
    lambda w: w.runtime.do(kernel.Stop()),
    *[Walk.revive] * 4,
]


@pytest.fixture(scope="module")
def walks() -> list[Walk]:
    taken = [Walk(seed) for seed in range(12)]
    for walk in taken:
        for _ in range(1_000):
            walk.step()
        walk.look_at(walk.runtime.do(kernel.Destroy()))
    return taken


def test_every_entry_is_as_many_events_as_it_says(walks: list[Walk]) -> None:
    """The walks themselves assert it: this says that they went where it counts."""
    assert sum(walk.emits for walk in walks) > 500
    stories = sum((walk.stories for walk in walks), Counter[str]())
    assert set(stories) == STORIES
    assert min(stories.values()) > 10


def test_the_walks_come_by_every_step_of_an_input_and_a_run(walks: list[Walk]) -> None:
    wanted = {code for code in EventCode if code.value.startswith(("input.", "run."))}
    unseen = wanted - set().union(*(walk.seen for walk in walks))
    assert unseen <= {EventCode.INPUT_REJECTED, EventCode.INPUT_DEDUPLICATED}


# --- the stories by themselves ----------------------------------------------------------


def states(count: int) -> list[Any]:
    return [state_in(InputPhase.STAGED, prompt()) for _ in range(count)]


RUN = RunId(uuid_of(5))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_story_has_two_events_and_those_of_its_inputs(count: int) -> None:
    told = states(count)
    begun = telling.run_begun(RUN, RuntimeState.ATTACHED, told)
    ended = telling.run_completed(RUN, RuntimeState.ATTACHED, told)
    consumed = telling.inputs_consumed(told)
    codes = [[each.event.code.value for each in s.emits()] for s in (begun, ended, consumed)]
    each_consumed = ["input.applied", "input.consumed"] * count
    assert codes == [
        ["runtime.state_changed", *["input.staged"] * count, "run.started"],
        [*each_consumed, "run.completed", "runtime.state_changed"],
        each_consumed,
    ]
    assert [each.count for each in (begun, ended, consumed)] == [len(each) for each in codes]


def test_a_story_keeps_ids_and_not_the_states() -> None:
    """They may lie in a window for long, unread."""
    state = state_in(InputPhase.STAGED, continuation())
    for story in (
        telling.run_begun(RUN, RuntimeState.ATTACHED, [state]),
        telling.inputs_consumed([state]),
        telling.input_taken_in(state, EventCode.INPUT_QUEUED),
    ):
        kept = [part for each in story.about for part in (each if type(each) is tuple else (each,))]
        assert state not in kept
        assert state.input not in kept


def test_an_emit_of_a_host_keeps_its_own_id_and_time() -> None:
    runtime = Runtime()
    published = RuntimeEventEnvelope(
        runtime_id="agent-1", event=TopologyEvent(EventCode.RUNTIME_CREATED)
    )
    (told,) = runtime.do(kernel.PublishEvent(published)).told
    (emit,) = told.emits()
    assert (told.count, emit.event_id, emit.timestamp) == (1, published.id, published.timestamp)
