"""Epoch cursors, bindings and build modes."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from attrs import astuple, evolve
from attrs.exceptions import FrozenInstanceError

from meerkat.bindings import (
    RuntimeBuildMode,
    SessionBindingsMismatch,
    SessionOwned,
    SessionRuntimeBindings,
    StandaloneEphemeral,
)
from meerkat.epoch import EpochCursorSnapshot, EpochCursorState
from meerkat.identifiers import OperationId, RuntimeEpochId, SessionId
from meerkat.operations import OperationKind
from meerkat.operations_registry import OpsLifecycleRegistry


def new_registry() -> OpsLifecycleRegistry:
    return OpsLifecycleRegistry(now=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def competing() -> OpsLifecycleRegistry:
    raise AssertionError("a competing registry was asked for")


@pytest.fixture
def bindings() -> SessionRuntimeBindings:
    return SessionRuntimeBindings(
        session_id=SessionId.new(),
        epoch_id=RuntimeEpochId.new(),
        ops_lifecycle=new_registry(),
        cursor_state=EpochCursorState(),
    )


def test_epo_06_default_build_mode_and_what_prints(bindings: SessionRuntimeBindings) -> None:
    assert RuntimeBuildMode.default() == StandaloneEphemeral()
    assert "StandaloneEphemeral" in repr(RuntimeBuildMode.default())
    assert repr(SessionOwned(bindings)) == (
        "SessionOwned(bindings=SessionRuntimeBindings("
        f"session_id=SessionId({bindings.session_id}), "
        f"epoch_id=RuntimeEpochId({bindings.epoch_id})))"
    )


def test_epo_12_copies_share_and_snapshots_stand_still(bindings: SessionRuntimeBindings) -> None:
    bindings.cursor_state.advance_agent_applied_cursor(2)
    before = bindings.cursor_state.snapshot()
    for clone in (copy.copy(bindings), copy.deepcopy(bindings), evolve(bindings)):
        assert clone == bindings
        assert clone is not bindings
        assert clone.ops_lifecycle is bindings.ops_lifecycle
        assert clone.cursor_state is bindings.cursor_state
    clone.cursor_state.advance_agent_applied_cursor(5)
    assert bindings.cursor_state.agent_applied_cursor == 5
    assert bindings.cursor_state.snapshot() == EpochCursorSnapshot(agent_applied_cursor=5)
    assert before == EpochCursorSnapshot(agent_applied_cursor=2)
    with pytest.raises(FrozenInstanceError):
        before.agent_applied_cursor = 3  # type: ignore[misc]


def test_epo_05_an_operation_ends_in_the_shared_feed(bindings: SessionRuntimeBindings) -> None:
    operation, kind = OperationId.new(), OperationKind.BACKGROUND_TOOL_OP
    registry = copy.copy(bindings).ops_lifecycle
    registry.register(operation, kind=kind, display_name="tool")
    registry.provisioning_succeeded(operation)
    registry.complete(operation)
    fed = bindings.ops_lifecycle.list_since(0).entries
    assert [entry.operation_id for entry in fed] == [operation]


# --- cursors ----------------------------------------------------------------------------


def test_cursors_start_at_0_and_are_restored_in_order() -> None:
    assert EpochCursorState().snapshot() == EpochCursorSnapshot()
    assert EpochCursorState.from_recovered(1, 3, 2).snapshot() == EpochCursorSnapshot(
        agent_applied_cursor=1, runtime_observed_seq=3, runtime_last_injected_seq=2
    )


def test_each_cursor_only_advances_and_moves_no_other() -> None:
    state = EpochCursorState.from_recovered(4, 4, 4)
    for seq in (3, 4, 0):
        state.advance_agent_applied_cursor(seq)
        state.advance_runtime_observed_seq(seq)
        state.advance_runtime_last_injected_seq(seq)
        assert state.snapshot() == EpochCursorState.from_recovered(4, 4, 4).snapshot()
    state.advance_runtime_observed_seq(9)
    state.advance_runtime_last_injected_seq(7)
    state.advance_agent_applied_cursor(5)
    assert state.agent_applied_cursor == 5
    assert state.runtime_observed_seq == 9
    assert state.runtime_last_injected_seq == 7


@pytest.mark.parametrize(("seq", "error"), [(-1, ValueError), (True, TypeError), (1.0, TypeError)])
def test_a_bad_sequence_moves_nothing(seq: int, error: type[Exception]) -> None:
    state = EpochCursorState()
    with pytest.raises(error):
        state.advance_runtime_observed_seq(seq)
    with pytest.raises(error):
        EpochCursorState.from_recovered(0, seq, 0)
    assert state.snapshot() == EpochCursorSnapshot()


@pytest.fixture
def eager_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switching")
def test_no_advance_of_any_thread_is_lost_or_undone() -> None:
    state = EpochCursorState()
    advances = (
        state.advance_agent_applied_cursor,
        state.advance_runtime_observed_seq,
        state.advance_runtime_last_injected_seq,
    )
    went_back: list[tuple[int, int]] = []

    def work(which: int) -> None:
        for seq in range(2_000):
            advances[which](seq)
            seen = astuple(state.snapshot())[which]
            if seen < seq:
                went_back.append((seen, seq))

    threads = [threading.Thread(target=work, args=(n % 3,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert went_back == []
    assert state.snapshot() == EpochCursorState.from_recovered(1_999, 1_999, 1_999).snapshot()


# --- build modes ------------------------------------------------------------------------


def test_a_session_owned_build_works_with_its_bindings(bindings: SessionRuntimeBindings) -> None:
    mode = SessionOwned(bindings)
    assert mode.resolve(bindings.session_id, new_registry=competing) is bindings


def test_bindings_of_another_session_are_refused(bindings: SessionRuntimeBindings) -> None:
    other = SessionId.new()
    with pytest.raises(SessionBindingsMismatch) as refused:
        SessionOwned(bindings).resolve(other, new_registry=competing)
    assert refused.value.session_id == other
    assert refused.value.bound_session_id == bindings.session_id
    assert refused.value.code == "session_bindings_mismatch"


def test_a_standalone_build_has_everything_of_its_own() -> None:
    session_id, mode = SessionId.new(), StandaloneEphemeral()
    one = mode.resolve(session_id, new_registry=new_registry)
    two = mode.resolve(session_id, new_registry=new_registry)
    assert one.session_id == two.session_id == session_id
    assert one.epoch_id != two.epoch_id
    assert one.ops_lifecycle is not two.ops_lifecycle
    assert one.cursor_state is not two.cursor_state


def test_bindings_take_only_what_they_name(bindings: SessionRuntimeBindings) -> None:
    for name in ("session_id", "epoch_id", "ops_lifecycle", "cursor_state"):
        with pytest.raises(TypeError):
            evolve(bindings, **{name: str(bindings.session_id)})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        SessionOwned(None)  # type: ignore[arg-type]
