"""Epochs and bindings as the plane hands them out: when they stay, and when they rotate."""

from __future__ import annotations

from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, Called, OpenPlane, error_of, logged, prompt, result_of

from actors import ControlPlane
from meerkat import OperationId, RunContext, SessionId
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import RuntimeNotFound
from meerkat.operation_errors import OwnerRetired
from meerkat.operations import OperationKind

SESSION = SessionId.new()
RUNTIME = f"rt:session:{SESSION}"


def start_operation(registry: Any) -> OperationId:
    operation_id = OperationId.new()
    registry.register(operation_id, kind=OperationKind.BACKGROUND_TOOL_OP, display_name="search")
    registry.provisioning_succeeded(operation_id)
    return operation_id


def test_epo_02_bindings_are_the_same_when_prepared_again(quiet_plane: ControlPlane) -> None:
    first, second = (quiet_plane.prepare_bindings(SESSION) for _ in range(2))
    assert first.session_id == SESSION
    assert first.epoch_id == second.epoch_id
    assert first.ops_lifecycle is second.ops_lifecycle
    assert first.cursor_state is second.cursor_state


def test_epo_03_sessions_share_nothing(quiet_plane: ControlPlane) -> None:
    first, second = (quiet_plane.prepare_bindings(SessionId.new()) for _ in range(2))
    assert first.epoch_id != second.epoch_id
    assert first.ops_lifecycle is not second.ops_lifecycle
    assert first.cursor_state is not second.cursor_state


def test_epo_05_the_runtime_reads_the_feed_of_its_bindings(open_plane: OpenPlane) -> None:
    """What ends through the prepared registry is in the feed that a run is handed."""
    seen: list[Any] = []

    def look(_called: Called, context: RunContext) -> None:
        seen.append(context.bindings)

    plane = open_plane(Agent(look))
    bindings = plane.prepare_bindings(SESSION)
    operation_id = start_operation(bindings.ops_lifecycle)
    bindings.ops_lifecycle.complete(operation_id)
    result_of(plane.submit(RUNTIME, prompt()).completion)
    handed = seen[-1]  # the first run may be the continuation's, of the operation's end
    assert handed.ops_lifecycle is bindings.ops_lifecycle
    batch = handed.ops_lifecycle.list_since(0)
    assert [entry.operation_id for entry in batch.entries] == [operation_id]


@pytest.mark.parametrize("with_executor", [False, True])
def test_epo_08_a_restart_keeps_the_epoch(open_plane: OpenPlane, with_executor: bool) -> None:
    first = open_plane()
    before = first.prepare_bindings(SESSION)
    first.stop()
    second = open_plane(Agent() if with_executor else None)
    after = second.prepare_bindings(SESSION)
    assert after.epoch_id == before.epoch_id
    assert after.session_id == SESSION
    assert second.register(RUNTIME).ops_lifecycle is after.ops_lifecycle


def test_a_runtime_registered_by_name_keeps_its_session(open_plane: OpenPlane) -> None:
    first = open_plane()
    before = first.register("a")
    first.stop()
    after = open_plane().register("a")
    assert (after.session_id, after.epoch_id) == (before.session_id, before.epoch_id)


def test_epo_11_unregistering_ends_the_epoch(quiet_plane: ControlPlane) -> None:
    before = quiet_plane.prepare_bindings(SESSION)
    before.cursor_state.advance_runtime_observed_seq(5)
    quiet_plane.ingest(RUNTIME, prompt())
    quiet_plane.unregister(RUNTIME)
    with pytest.raises(OwnerRetired):
        start_operation(before.ops_lifecycle)
    after = quiet_plane.prepare_bindings(SESSION)
    assert after.session_id == SESSION
    assert after.epoch_id != before.epoch_id
    assert after.cursor_state.snapshot() == EpochCursorSnapshot()


@pytest.mark.parametrize("step", ["recover", "recycle", "retire"])
def test_these_keep_the_epoch(quiet_plane: ControlPlane, step: str) -> None:
    before = quiet_plane.register("a")
    getattr(quiet_plane, step)("a")
    assert quiet_plane.register("a") == before


def test_reset_rotates_the_epoch(open_plane: OpenPlane, quiet_plane: ControlPlane) -> None:
    before = quiet_plane.register("a")
    before.cursor_state.advance_runtime_observed_seq(7)
    quiet_plane.ingest("a", prompt())
    live = start_operation(before.ops_lifecycle)
    quiet_plane.reset("a")
    snapshot = before.ops_lifecycle.snapshot(live)
    assert snapshot is None or snapshot.status.value == "terminated"
    with pytest.raises(OwnerRetired):
        start_operation(before.ops_lifecycle)
    after = quiet_plane.register("a")
    assert after.session_id == before.session_id
    assert after.epoch_id != before.epoch_id
    assert after.cursor_state.snapshot() == EpochCursorSnapshot()
    assert after.ops_lifecycle.list_since(0).entries == ()
    quiet_plane.stop()
    assert open_plane().register("a").epoch_id == after.epoch_id


@pytest.mark.parametrize("wrong", ["abc", SESSION.value, None])
def test_what_is_no_session_id_is_refused_before_anything_is_known(
    quiet_plane: ControlPlane, wrong: Any
) -> None:
    with pytest.raises(TypeError, match="a session id is a SessionId"):
        quiet_plane.prepare_bindings(wrong)
    with pytest.raises(RuntimeNotFound):
        quiet_plane.runtime_state(f"rt:session:{wrong}")


def test_cursors_ride_on_the_next_commit(open_plane: OpenPlane) -> None:
    first = open_plane()
    cursors = first.register("a").cursor_state
    cursors.advance_agent_applied_cursor(3)
    cursors.advance_runtime_observed_seq(2)  # the driver's own: not a host's to move
    first.ingest("a", prompt())
    first.stop()
    after = open_plane().register("a").cursor_state.snapshot()
    assert (after.agent_applied_cursor, after.runtime_observed_seq) == (3, 0)


def test_a_run_of_an_earlier_epoch_leaves_the_new_one_alone(open_plane: OpenPlane) -> None:
    """It was stopped and does not return; the bindings it asks for late are its own epoch's."""
    found: list[Any] = []

    def look(called: Called, context: RunContext) -> None:
        if called.text == "old":
            found.append(context.bindings)

    agent = Agent(look, held=True)
    plane = open_plane(agent)
    old = plane.register("a")
    stopped = plane.submit("a", prompt("old"))
    agent.next_call()
    plane.stop_runtime("a")
    plane.reset("a")
    new = plane.register("a")
    with logged("late result refused") as refused:
        agent.release()
        assert refused.wait(WAIT_S)
    assert found[0].epoch_id == old.epoch_id
    assert found[0].session_id == old.session_id
    assert plane.register("a") == new
    start_operation(new.ops_lifecycle)
    assert result_of(stopped.completion).reason == "runtime stopped"
    assert error_of(plane.submit("a", prompt("new")).completion) is None
