"""Continuations that fail, and crashes around them: a notice may come late, and is never lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from operation_builders import (
    CHILD,
    CONTINUATION,
    TOOL,
    A,
    Reader,
    complete,
    crashed,
    cursors_of,
    stored_operations,
    until_told,
)
from plane_builders import Agent, FakeClock, OpenPlane, logged, progress, prompt, result_of
from plane_stores import StoreProxy

from actors import ControlPlane
from meerkat import ContinuationInput, PolicyDecision, SessionRuntimeBindings
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import CommitUnknown, StoreError
from meerkat.inputs import Durability
from meerkat.limits import Backoff, Limits
from meerkat.policy import DEFAULT_POLICY
from meerkat.store import Batch, MemoryStore, RuntimeStore, SqliteStore


class FailsInjection(StoreProxy):
    """A store that fails the first commit of a continuation, before it happened or after."""

    def __init__(self, inner: RuntimeStore, error: StoreError, *, after: bool = False) -> None:
        super().__init__(inner)
        self.failed = False
        self._error, self._after = error, after

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        rows = [row for batch in batches for row in batch.inputs]
        if self.failed or all(row.state.durability is not Durability.DERIVED for row in rows):
            return super().commit_many(batches)
        self.failed = True
        if self._after:
            super().commit_many(batches)
        raise self._error


def until_failed(plane: ControlPlane, store: FailsInjection) -> None:
    """Wait until the runtime has learned that its continuation was not taken in."""
    while not store.failed:
        with suppress(StoreError):
            plane.runtime_state("a")
    with suppress(StoreError):
        plane.runtime_state("a")
    assert plane.active_input_ids("a") == []


def test_a_continuation_that_the_disk_refuses_moves_nothing_and_is_made_up_for(
    open_plane: OpenPlane, path: Path
) -> None:
    store, clock = FailsInjection(SqliteStore(path), StoreError("disk full")), FakeClock()
    agent = Agent()
    plane = open_plane(agent, store=store, clock=clock, backoff=Backoff(base_s=8.0))
    bindings = plane.register("a")
    complete(bindings)
    until_failed(plane, store)
    assert cursors_of(bindings) == (0, 0)
    assert stored_operations(SqliteStore(path)).cursors == EpochCursorSnapshot()
    assert agent.calls == []
    clock.advance(plane, 8.0)
    until_told(plane, bindings)
    assert agent.texts == [CONTINUATION]
    assert cursors_of(bindings) == (1, 1)


@pytest.mark.parametrize("happened", [False, True])
def test_a_continuation_in_doubt_is_taken_in_once(open_plane: OpenPlane, happened: bool) -> None:
    store = FailsInjection(MemoryStore(), CommitUnknown("nobody knows"), after=happened)
    agent = Agent()
    plane = open_plane(agent, store=store)
    bindings = plane.register("a")
    complete(bindings)
    until_told(plane, bindings)
    assert store.failed
    assert agent.texts == [CONTINUATION]
    assert cursors_of(bindings) == (1, 1)


class Refusing:
    """A host's policy that takes no continuation while it refuses."""

    def __init__(self) -> None:
        self.refuses = True

    def resolve(self, offered: Any, *, running: bool) -> PolicyDecision:
        if self.refuses and isinstance(offered, ContinuationInput):
            raise ValueError("not now")
        return DEFAULT_POLICY.resolve(offered, running=running)


MAKES_UP: dict[str, Callable[[ControlPlane, SessionRuntimeBindings], Any]] = {
    "another end": lambda _, bindings: complete(bindings),
    "a run": lambda plane, _: result_of(plane.submit("a", prompt("run")).completion),
}


@pytest.mark.parametrize("cause", MAKES_UP)
def test_a_continuation_that_the_policy_refuses_moves_nothing_and_is_made_up_for(
    open_plane: OpenPlane, cause: str
) -> None:
    """The check comes again with the next end, and when the runtime is next at rest."""
    agent, policy = Agent(), Refusing()
    plane = open_plane(agent, policy=policy)
    bindings = plane.register("a")
    with logged("it cannot go on after an operation's end"):
        complete(bindings)
        assert plane.active_input_ids("a") == []
    assert cursors_of(bindings) == (0, 0)
    policy.refuses = False
    MAKES_UP[cause](plane, bindings)
    until_told(plane, bindings)
    assert agent.texts[-1] == CONTINUATION
    assert agent.texts.count(CONTINUATION) == 1
    assert cursors_of(bindings) == (bindings.ops_lifecycle.watermark,) * 2


# --- crashes ----------------------------------------------------------------------------


def test_a_crash_before_the_continuation_has_it_made_at_the_start(
    open_plane: OpenPlane, path: Path
) -> None:
    """The end was recorded, nobody was told: the runtime is loaded at start, and goes on."""
    store = FailsInjection(SqliteStore(path), StoreError("disk full"))
    plane = open_plane(store=store, clock=FakeClock())
    complete(plane.register("a"))
    until_failed(plane, store)
    left = SqliteStore(crashed(path))
    assert left.runtimes_with_work() == [A]
    agent = Reader()
    again = open_plane(agent, store=left)
    assert agent.next_call().text == CONTINUATION
    until_told(again, again.register("a"))
    assert agent.saw == [1]
    again.stop()
    assert left.runtimes_with_work() == []


def test_a_crash_during_a_run_has_the_run_done_first(open_plane: OpenPlane, path: Path) -> None:
    hung = Agent(held=True)
    plane = open_plane(hung)
    bindings = plane.register("a")
    plane.submit("a", prompt("run"))
    hung.next_call()
    for _ in range(3):
        complete(bindings)
    agent = Agent()
    again = open_plane(agent, store=SqliteStore(crashed(path)))
    assert [agent.next_call().text for _ in range(2)] == ["run", CONTINUATION]
    until_told(again, again.register("a"))
    assert len(agent.calls) == 2


def test_a_crash_before_the_run_of_a_continuation_makes_no_other(
    open_plane: OpenPlane, path: Path
) -> None:
    plane = open_plane()
    complete(plane.register("a"))
    assert len(plane.active_input_ids("a")) == 1
    agent = Agent()
    again = open_plane(agent, store=SqliteStore(crashed(path)))
    assert agent.next_call().attempt == 1
    until_told(again, again.register("a"))
    assert agent.texts == [CONTINUATION]


def test_a_crash_during_the_run_of_a_continuation_has_it_run_again(
    open_plane: OpenPlane, path: Path
) -> None:
    hung = Agent(held=True)
    plane = open_plane(hung)
    complete(plane.register("a"))
    hung.next_call()
    agent = Agent()
    again = open_plane(agent, store=SqliteStore(crashed(path)))
    assert agent.next_call().attempt == 2
    until_told(again, again.register("a"))
    assert agent.texts == [CONTINUATION]


def test_starts_without_an_executor_make_one_continuation_in_all(
    open_plane: OpenPlane, path: Path
) -> None:
    store = FailsInjection(SqliteStore(path), StoreError("disk full"))
    plane = open_plane(store=store, clock=FakeClock())
    complete(plane.register("a"))
    until_failed(plane, store)
    left = crashed(path)
    waiting = []
    for _ in range(3):
        again = open_plane(store=SqliteStore(left))
        waiting.append(again.active_input_ids("a"))
        again.stop()
    assert len(waiting[0]) == 1
    assert waiting == waiting[:1] * 3
    agent = Agent()
    last = open_plane(agent, store=SqliteStore(left))
    until_told(last, last.register("a"))
    assert agent.texts == [CONTINUATION]


def test_more_ends_than_a_feed_keeps_are_one_continuation_after_a_crash(
    open_plane: OpenPlane, path: Path
) -> None:
    hung, limits = Agent(held=True), Limits(feed_entries_max=2)
    plane = open_plane(hung, limits=limits)
    bindings = plane.register("a")
    plane.submit("a", prompt("run"))
    hung.next_call()
    complete(bindings, TOOL)
    for _ in range(4):
        complete(bindings, CHILD)
    agent = Agent()
    again = open_plane(agent, store=SqliteStore(crashed(path)), limits=limits)
    until_told(again, again.register("a"))
    assert agent.texts == ["run", CONTINUATION]
    assert cursors_of(again.register("a")) == (5, 5)


def test_what_was_observed_only_is_stored_with_the_next_commit(
    open_plane: OpenPlane, path: Path
) -> None:
    """Children end: the cursor moves in memory, and a start before that commit looks again."""
    store, agent = SqliteStore(path), Agent()
    plane = open_plane(agent, store=store)
    bindings = plane.register("a")
    complete(bindings, CHILD)
    until_told(plane, bindings)
    assert store.runtimes_with_work() == [A]
    again = open_plane(agent, store=SqliteStore(crashed(path)))
    rebuilt = again.register("a")
    until_told(again, rebuilt)
    assert cursors_of(rebuilt) == (1, 0)
    assert agent.calls == []
    result_of(plane.submit("a", prompt()).completion)
    assert store.runtimes_with_work() == []
    assert stored_operations(store).cursors == bindings.cursor_state.snapshot()


def test_what_ends_while_the_plane_drains_is_told_at_the_next_start(open_plane: OpenPlane) -> None:
    def end_one(_called: Any, context: Any) -> None:
        complete(context.bindings)

    drained = Agent(end_one)
    first = open_plane(drained)
    first.register("a")
    first.submit("a", progress("wakes nobody"))
    first.stop(drain=True)
    assert drained.texts == ["wakes nobody"]
    agent = Reader()
    again = open_plane(agent)
    assert agent.next_call().text == CONTINUATION
    until_told(again, again.register("a"))
    assert agent.saw == [1]
