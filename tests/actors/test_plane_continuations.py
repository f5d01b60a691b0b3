"""Continuations: a runtime goes on by itself once background work has ended, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from operation_builders import (
    CHILD,
    CONTINUATION,
    TOOL,
    Reader,
    check_cursors,
    complete,
    crashed,
    cursors_of,
    running,
    until_told,
)
from plane_builders import (
    Agent,
    Called,
    OpenPlane,
    progress,
    prompt,
    result_of,
)

from actors import ControlPlane
from meerkat import (
    ContinuationInput,
    RunContext,
    System,
    WakeReason,
)
from meerkat.inputs import Durability, HandlingMode
from meerkat.limits import Limits
from meerkat.policy import Lane
from meerkat.store import MemoryStore, SqliteStore

# --- when there is one ------------------------------------------------------------------


def test_wak_02_five_ends_during_a_run_make_one_continuation(open_plane: OpenPlane) -> None:
    agent = Reader(held=True)
    plane = open_plane(agent)
    bindings = plane.register("a")
    plane.submit("a", prompt("run"))
    agent.next_call()
    for number in range(5):
        complete(bindings)
        check_cursors(bindings)
        assert bindings.ops_lifecycle.watermark == number + 1
    assert cursors_of(bindings) == (0, 0)
    agent.release()
    until_told(plane, bindings)
    assert agent.texts == ["run", CONTINUATION]
    assert agent.saw == [0, 5]
    assert cursors_of(bindings) == (5, 5)


def test_wak_03_an_end_interrupts_no_run(open_plane: OpenPlane) -> None:
    told: list[Any] = []

    def look(called: Called, context: RunContext) -> None:
        if called.text == "run":
            complete(context.bindings)
            told.extend([context.wait(0.0), context.cancelled.is_set(), bool(context.boundary())])

    agent = Agent(look)
    plane = open_plane(agent)
    bindings = plane.register("a")
    first = plane.submit("a", prompt("run"))
    assert result_of(first.completion).result == "re: run"
    until_told(plane, bindings)
    assert told == [WakeReason.TIMEOUT, False, False]
    assert agent.texts == ["run", CONTINUATION]


def test_wak_05_the_continuation_is_derived_unseen_and_steered(quiet_plane: ControlPlane) -> None:
    complete(quiet_plane.register("a"))
    (input_id,) = quiet_plane.active_input_ids("a")
    state = quiet_plane.input_state("a", input_id)
    assert state is not None
    offered = state.input
    assert isinstance(offered, ContinuationInput)
    assert offered.reason == "detached_background_op_completed"
    assert (offered.durability, offered.source) == (Durability.DERIVED, System())
    assert offered.handling_mode is HandlingMode.STEER
    assert offered.request_id is None
    assert not offered.visibility.transcript_eligible
    assert not offered.visibility.operator_eligible
    assert state.policy is not None
    assert state.policy.lane is Lane.STEER


def test_wak_06_a_feed_that_was_read_is_not_told_again(quiet_plane: ControlPlane) -> None:
    bindings = quiet_plane.register("a")
    complete(bindings)
    first = quiet_plane.active_input_ids("a")
    assert len(first) == 1
    assert cursors_of(bindings) == (1, 1)
    for step in (quiet_plane.recover, quiet_plane.recycle, quiet_plane.wake):
        step("a")
        assert quiet_plane.active_input_ids("a") == first
        assert cursors_of(bindings) == (1, 1)


def test_without_an_executor_one_continuation_waits(quiet_plane: ControlPlane) -> None:
    """What ends after it was taken in is told by another, once it has been worked."""
    bindings = quiet_plane.register("a")
    for _ in range(5):
        complete(bindings)
    assert len(quiet_plane.active_input_ids("a")) == 1
    assert cursors_of(bindings) == (1, 1)
    agent = Reader()
    quiet_plane.attach_executor("a", agent)
    until_told(quiet_plane, bindings)
    assert agent.texts == [CONTINUATION] * 2
    assert cursors_of(bindings) == (5, 5)


def test_what_waits_comes_first(quiet_plane: ControlPlane) -> None:
    """An input that wakes nobody keeps the runtime busy as well."""
    bindings = quiet_plane.register("a")
    waiting = result_of(quiet_plane.submit("a", progress()).accepted).input_id
    complete(bindings)
    assert quiet_plane.active_input_ids("a") == [waiting]
    assert cursors_of(bindings) == (0, 0)
    agent = Agent()
    quiet_plane.attach_executor("a", agent)
    until_told(quiet_plane, bindings)
    assert agent.texts == ["half way", CONTINUATION]


def test_children_that_end_are_observed_and_nothing_more(plane: ControlPlane, agent: Agent) -> None:
    bindings = plane.register("a")
    for _ in range(2):
        complete(bindings, CHILD)
    until_told(plane, bindings)
    assert cursors_of(bindings) == (2, 0)
    assert agent.calls == []
    complete(bindings, TOOL)
    until_told(plane, bindings)
    assert cursors_of(bindings) == (3, 3)
    assert agent.texts == [CONTINUATION]


def test_a_gap_in_the_feed_makes_one_continuation(open_plane: OpenPlane) -> None:
    """More has ended than the feed keeps; what was dropped may have been background work."""
    agent = Reader(held=True)
    plane = open_plane(agent, limits=Limits(feed_entries_max=2))
    bindings = plane.register("a")
    plane.submit("a", prompt("run"))
    agent.next_call()
    complete(bindings, TOOL)
    for _ in range(4):
        complete(bindings, CHILD)
    agent.release()
    until_told(plane, bindings)
    assert agent.texts == ["run", CONTINUATION]
    assert cursors_of(bindings) == (5, 5)


# --- when there is none -----------------------------------------------------------------


@pytest.mark.parametrize("step", ["retire", "stop_runtime"])
def test_a_runtime_that_takes_no_input_is_not_told(
    plane: ControlPlane, agent: Agent, step: str
) -> None:
    bindings = plane.register("a")
    live = [running(bindings) for _ in range(2)]
    getattr(plane, step)("a")
    for each in live:
        bindings.ops_lifecycle.complete(each)
    plane.recover("a")
    assert plane.active_input_ids("a") == []
    assert bindings.ops_lifecycle.watermark == 2
    assert cursors_of(bindings) == (0, 0)
    if step == "retire":
        plane.recycle("a")
        until_told(plane, bindings)
        assert cursors_of(bindings) == (2, 2)
        assert agent.texts == [CONTINUATION]
    else:
        plane.reset("a")
        assert plane.active_input_ids("a") == []
        assert cursors_of(plane.register("a")) == (0, 0)
        assert agent.calls == []


def test_a_destroyed_runtime_is_not_told(plane: ControlPlane, agent: Agent) -> None:
    bindings = plane.register("a")
    running(bindings)
    plane.destroy("a")
    assert bindings.ops_lifecycle.watermark == 1
    assert plane.active_input_ids("a") == []
    assert cursors_of(bindings) == (0, 0)
    assert agent.calls == []


@pytest.mark.parametrize("step", ["stop_runtime", "destroy", "reset", "unregister"])
def test_a_runtime_that_can_never_be_told_is_not_loaded_at_every_start(
    open_plane: OpenPlane, step: str
) -> None:
    store = MemoryStore()
    plane = open_plane(store=store)
    bindings = plane.register("a")
    if step == "stop_runtime":
        plane.stop_runtime("a")
        complete(bindings)
    else:
        running(bindings)
        getattr(plane, step)("a")
    assert bindings.ops_lifecycle.watermark == 1
    assert store.runtimes_with_work() == []


def test_a_retired_runtime_is_told_once_it_is_recycled_after_a_start(
    open_plane: OpenPlane, path: Path
) -> None:
    plane = open_plane()
    bindings = plane.register("a")
    plane.retire("a")
    complete(bindings)
    agent = Agent()
    again = open_plane(agent, store=SqliteStore(crashed(path)))
    rebuilt = again.register("a")
    assert again.active_input_ids("a") == []
    again.recycle("a")
    until_told(again, rebuilt)
    assert agent.texts == [CONTINUATION]
    assert cursors_of(rebuilt) == (1, 1)
