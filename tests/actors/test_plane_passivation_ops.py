"""Passivation and bindings: one registry and one pair of cursors an epoch, for as long as
anybody can tell, and none in memory once nobody can.
"""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from operation_builders import CHILD, SLOT, TOOL, registered
from passivation_builders import Watched, driver_of, is_live, passivate, settle
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    OpenPlane,
    events_until,
    operation,
    prompt,
    result_of,
    system_of,
)

from actors import ControlPlane
from actors import messages as m
from meerkat import LogicalRuntimeId, OperationId, RunContext, SessionId
from meerkat.events import EventCode, OperationEvent
from meerkat.operation_errors import OwnerRetired
from meerkat.operations import OperationKind, OperationStatus
from meerkat.store import SqliteStore

SESSION = SessionId.new()
RUNTIME = f"rt:session:{SESSION}"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Agent, clock: FakeClock) -> ControlPlane:
    return open_plane(agent, clock=clock)


def begun(bindings: Any, kind: OperationKind = TOOL) -> OperationId:
    operation_id = registered(bindings, kind)
    bindings.ops_lifecycle.provisioning_succeeded(operation_id)
    return operation_id


def test_what_a_host_holds_is_given_again(plane: ControlPlane, clock: FakeClock) -> None:
    held = plane.prepare_bindings(SESSION)
    for _ in range(2):
        passivate(plane, clock, RUNTIME)
        again = plane.prepare_bindings(SESSION)
        assert again == held
        assert again.epoch_id == held.epoch_id
        assert again.ops_lifecycle is held.ops_lifecycle
        assert again.cursor_state is held.cursor_state


@pytest.mark.parametrize("part", ["ops_lifecycle", "cursor_state"])
def test_so_is_a_part_of_it(plane: ControlPlane, clock: FakeClock, part: str) -> None:
    held = getattr(plane.prepare_bindings(SESSION), part)
    passivate(plane, clock, RUNTIME)
    settle(plane, RUNTIME)
    passivate(plane, clock, RUNTIME)
    assert getattr(plane.prepare_bindings(SESSION), part) is held


def test_what_a_run_is_handed_is_the_same(open_plane: OpenPlane, clock: FakeClock) -> None:
    handed: list[Any] = []

    def look(_called: Called, context: RunContext) -> None:
        handed.append(context.bindings)

    plane = open_plane(Agent(look), clock=clock)
    held = plane.prepare_bindings(SESSION)
    passivate(plane, clock, RUNTIME)
    result_of(plane.submit(RUNTIME, prompt()).completion)
    assert handed == [held]


def test_what_nobody_holds_takes_no_memory(plane: ControlPlane, clock: FakeClock) -> None:
    bindings = plane.prepare_bindings(SESSION)
    epoch_id = bindings.epoch_id
    registry, cursors = map(weakref.ref, (bindings.ops_lifecycle, bindings.cursor_state))
    passivate(plane, clock, RUNTIME)
    assert registry() is not None
    del bindings
    assert registry() is None
    assert cursors() is None
    table = system_of(plane).bindings
    assert not table._bindings
    assert not table._let_go.held()
    assert plane.prepare_bindings(SESSION).epoch_id == epoch_id


@pytest.mark.parametrize("kind", [TOOL, CHILD, SLOT])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_live_operation_outlives_what_its_host_holds(
    plane: ControlPlane, clock: FakeClock, kind: OperationKind, *, late: bool
) -> None:
    bindings: Any = plane.prepare_bindings(SESSION)
    if late:
        passivate(plane, clock, RUNTIME)
    operation_id = begun(bindings, kind)
    del bindings
    settle(plane, RUNTIME)
    passivate(plane, clock, RUNTIME)
    registry = plane.prepare_bindings(SESSION).ops_lifecycle
    assert registry.live_ids == (operation_id,)
    passivate(plane, clock, RUNTIME)
    assert registry.complete(operation_id).status is OperationStatus.COMPLETED


def test_an_operation_that_ends_brings_its_runtime_back(
    plane: ControlPlane, clock: FakeClock, agent: Agent
) -> None:
    bindings = plane.prepare_bindings(SESSION)
    first, second = begun(bindings), begun(bindings)
    for number, operation_id in enumerate((first, second), 1):
        passivate(plane, clock, RUNTIME)
        bindings.ops_lifecycle.complete(operation_id)
        agent.next_call()  # a continuation goes on from it
        assert bindings.ops_lifecycle.watermark == number
    while plane.active_input_ids(RUNTIME):
        pass
    assert bindings.cursor_state.runtime_observed_seq == 2
    assert bindings.cursor_state.runtime_last_injected_seq == 2
    for _ in range(2):  # and it is told once
        passivate(plane, clock, RUNTIME)
        settle(plane, RUNTIME)
    assert len(agent.calls) == 2


def test_a_step_of_an_operation_is_told(plane: ControlPlane, clock: FakeClock) -> None:
    bindings = plane.prepare_bindings(SESSION)
    operation_id = registered(bindings)
    settle(plane, RUNTIME)
    with plane.subscribe(RUNTIME) as events:
        passivate(plane, clock, RUNTIME)
        bindings.ops_lifecycle.provisioning_succeeded(operation_id)
        assert [str(each.event.code) for each in events_until(events, "operation.started")]
    assert is_live(plane, RUNTIME)


def test_an_operation_that_begins_is_noted_in_the_store(
    plane: ControlPlane, clock: FakeClock, path: Path
) -> None:
    bindings = plane.prepare_bindings(SESSION)
    passivate(plane, clock, RUNTIME)
    registered(bindings)
    settle(plane, RUNTIME)
    plane.ingest(RUNTIME, operation())  # its commit comes behind that of the note
    row = SqliteStore(path).load_runtime(LogicalRuntimeId(RUNTIME))
    assert row is not None
    assert row.live_operations == 1


def test_a_step_that_comes_too_late_for_a_driver_is_told_by_the_next(
    plane: ControlPlane, clock: FakeClock
) -> None:
    bindings = plane.prepare_bindings(SESSION)
    operation_id = begun(bindings)
    settle(plane, RUNTIME)
    gone = driver_of(plane, RUNTIME)
    passivate(plane, clock, RUNTIME)
    late = OperationEvent(EventCode.OPERATION_PROGRESS, operation_id, None)
    with plane.subscribe(RUNTIME) as events:
        passivate(plane, clock, RUNTIME)
        gone.tell(m.OperationMoved(late))
        assert events_until(events, "operation.progress")[-1].event == late


def test_a_cursor_that_moved_is_not_moved_back(plane: ControlPlane, clock: FakeClock) -> None:
    """Though no commit has carried it, and nobody holds it."""
    bindings: Any = plane.prepare_bindings(SESSION)
    operation_id = begun(bindings, CHILD)
    bindings.ops_lifecycle.complete(operation_id)
    settle(plane, RUNTIME)
    bindings.cursor_state.advance_agent_applied_cursor(1)
    passivate(plane, clock, RUNTIME)
    del bindings
    settle(plane, RUNTIME)
    passivate(plane, clock, RUNTIME)
    cursors = plane.prepare_bindings(SESSION).cursor_state.snapshot()
    assert (cursors.agent_applied_cursor, cursors.runtime_observed_seq) == (1, 1)


def test_cursors_that_are_held_alone_ride_on_the_next_commit(
    open_plane: OpenPlane, agent: Agent, clock: FakeClock
) -> None:
    plane = open_plane(agent, clock=clock)
    bindings: Any = plane.prepare_bindings(SESSION)
    bindings.ops_lifecycle.complete(begun(bindings, CHILD))
    settle(plane, RUNTIME)
    cursors = bindings.cursor_state
    del bindings
    passivate(plane, clock, RUNTIME)
    settle(plane, RUNTIME)
    cursors.advance_agent_applied_cursor(1)
    plane.ingest(RUNTIME, operation())
    plane.stop()
    again = open_plane(agent)
    assert again.prepare_bindings(SESSION).cursor_state.agent_applied_cursor == 1


def test_operations_are_read_where_there_is_news_alone(
    open_plane: OpenPlane, agent: Agent, clock: FakeClock, path: Any
) -> None:
    store = Watched(SqliteStore(path))
    plane = open_plane(agent, clock=clock, store=store)
    bindings: Any = plane.prepare_bindings(SESSION)
    bindings.ops_lifecycle.complete(begun(bindings, CHILD))
    settle(plane, RUNTIME)
    del bindings
    passivate(plane, clock, RUNTIME)
    store.reads.clear()
    settle(plane, RUNTIME)
    assert sorted(store.reads) == ["load_active_inputs", "load_runtime"]
    bindings = plane.prepare_bindings(SESSION)
    assert bindings.ops_lifecycle.watermark == 1
    assert "load_ops_snapshot" in store.reads


def test_a_reset_retires_what_a_host_still_holds(plane: ControlPlane, clock: FakeClock) -> None:
    held = plane.prepare_bindings(SESSION)
    passivate(plane, clock, RUNTIME)
    plane.reset(RUNTIME)
    with pytest.raises(OwnerRetired):
        registered(held)
    fresh = plane.prepare_bindings(SESSION)
    assert fresh.epoch_id != held.epoch_id
    assert fresh.ops_lifecycle is not held.ops_lifecycle


def test_a_stop_retires_it_too(plane: ControlPlane, clock: FakeClock) -> None:
    held = plane.prepare_bindings(SESSION)
    passivate(plane, clock, RUNTIME)
    plane.stop()
    with pytest.raises(OwnerRetired):
        registered(held)


@pytest.mark.parametrize("leave", ["retire", "stop_runtime"])
def test_what_a_host_holds_is_given_again_though_nobody_has_read_its_news(
    open_plane: OpenPlane, clock: FakeClock, leave: str
) -> None:
    plane = open_plane(None, clock=clock)
    held = plane.prepare_bindings(SESSION)
    operation_id = begun(held)
    getattr(plane, leave)(RUNTIME)  # from now on it does not read its feed
    held.ops_lifecycle.complete(operation_id)
    settle(plane, RUNTIME)
    passivate(plane, clock, RUNTIME)
    again = plane.prepare_bindings(SESSION)
    assert again.ops_lifecycle is held.ops_lifecycle
    assert again.cursor_state is held.cursor_state


def test_a_stop_ends_the_operations_of_a_runtime_that_has_left(
    plane: ControlPlane, clock: FakeClock
) -> None:
    bindings = plane.prepare_bindings(SESSION)
    ended = bindings.ops_lifecycle.watch(begun(bindings))
    settle(plane, RUNTIME)
    passivate(plane, clock, RUNTIME)
    plane.stop()
    assert str(result_of(ended)).startswith("OperationTerminated")


def test_a_stop_ends_an_operation_that_began_during_it_in_a_runtime_that_has_left(
    open_plane: OpenPlane, clock: FakeClock
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, clock=clock)
    bindings = plane.prepare_bindings(SESSION)
    passivate(plane, clock, RUNTIME)
    plane.register("busy")
    plane.submit("busy", prompt())
    agent.next_call()
    stopping = threading.Thread(target=plane.stop)
    stopping.start()
    while not system_of(plane).directory._closed:
        pass
    ended = bindings.ops_lifecycle.watch(begun(bindings))
    agent.release()
    stopping.join(WAIT_S)
    assert str(result_of(ended)).startswith("OperationTerminated")
