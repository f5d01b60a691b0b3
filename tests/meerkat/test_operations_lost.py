"""What has begun is kept in mind, so that another process can end it: the pure parts of that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from attrs import evolve
from builders import START, Runtime, prompt

from meerkat import OperationId, OperationKind, OpsLifecycleRegistry, RuntimeEpochId, kernel
from meerkat.errors import StoreError
from meerkat.input_lifecycle import InputPhase
from meerkat.operation_errors import OwnerRetired
from meerkat.operations import OperationRecord, OperationStatus, OperationTerminated
from meerkat.ops_snapshot import OperationRow
from meerkat.pending_commit import PendingCommit
from meerkat.policy import Lane

TOOL = OperationKind.BACKGROUND_TOOL_OP
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def begun(kind: OperationKind = TOOL) -> OperationRecord:
    return OperationRecord(
        operation_id=OperationId.new(), kind=kind, display_name="search", created_at=START
    )


def ended(record: OperationRecord) -> OperationRecord:
    outcome = OperationTerminated(reason="process ended")
    status = OperationStatus.TERMINATED
    return evolve(record, status=status, outcome=outcome, completed_at=START)


def epoch_of(runtime: Runtime) -> RuntimeEpochId:
    epoch_id = runtime.memory.head.epoch_id
    assert epoch_id is not None
    return epoch_id


# --- the kernel -------------------------------------------------------------------------


def test_what_has_begun_is_kept_until_it_has_ended(runtime: Runtime) -> None:
    epoch_id, record = epoch_of(runtime), begun()
    noted = runtime.do(kernel.NoteOperation(epoch_id, record))
    assert (noted.begun, noted.told, noted.effects) == ((record,), (), ())
    assert runtime.memory.head.live_operations == {record.operation_id}
    row = OperationRow(epoch_id=epoch_id, seq=1, record=ended(record))
    runtime.do(kernel.RecordOperation(row))
    assert runtime.memory.head.live_operations == frozenset()


def test_what_began_in_an_epoch_that_is_over_is_not_kept(runtime: Runtime) -> None:
    before = runtime.memory.head
    assert runtime.do(kernel.NoteOperation(RuntimeEpochId.new(), begun())).begun == ()
    assert runtime.memory.head == before


def test_another_epoch_has_nothing_that_lives(runtime: Runtime) -> None:
    runtime.do(kernel.NoteOperation(epoch_of(runtime), begun()))
    runtime.do(kernel.Reset(RuntimeEpochId.new()))
    assert runtime.memory.head.live_operations == frozenset()


def test_a_commit_carries_what_has_begun_and_not_ended_with_it(runtime: Runtime) -> None:
    pending, epoch_id = PendingCommit(runtime.memory.head), epoch_of(runtime)
    assert not pending.writes
    first, second = begun(), begun()
    for record in (first, second):
        pending.add(runtime.do(kernel.NoteOperation(epoch_id, record)))
    row = OperationRow(epoch_id=epoch_id, seq=1, record=ended(first))
    pending.add(runtime.do(kernel.RecordOperation(row)))
    batch = pending.batch(runtime.memory.runtime_id, 1)
    assert pending.writes
    assert (batch.begun, batch.operations, batch.runtime.live_operations) == ((second,), (row,), 1)


def test_a_commit_that_begins_another_epoch_forgets_what_began_before(runtime: Runtime) -> None:
    pending = PendingCommit(runtime.memory.head)
    pending.add(runtime.do(kernel.NoteOperation(epoch_of(runtime), begun())))
    pending.add(runtime.do(kernel.Reset(RuntimeEpochId.new())))
    assert pending.batch(runtime.memory.runtime_id, 1).begun == ()


# --- the registry -----------------------------------------------------------------------


def recovered(
    *live: OperationRecord, recorder: Callable[..., None] | None = None
) -> OpsLifecycleRegistry:
    return OpsLifecycleRegistry.recover(
        records=(), entries=(), live=live, now=lambda: NOW, recorder=recorder
    )


def test_registering_is_told_to_whom_it_may_concern() -> None:
    told: list[OperationRecord] = []
    registry = OpsLifecycleRegistry(now=lambda: NOW, begun=told.append)
    record = registry.register(OperationId.new(), kind=TOOL, display_name="search")
    assert told == [record]


def test_what_was_left_behind_ends_as_terminated_and_the_owner_goes_on() -> None:
    lost = [begun(), begun()]
    registry = recovered(*lost)
    ids = tuple(each.operation_id for each in lost)
    assert registry.live_ids == ids
    watcher = registry.watch(ids[1])
    own = registry.register(OperationId.new(), kind=TOOL, display_name="search")
    records = registry.terminate(ids, "process ended")
    assert [each.status for each in records] == [OperationStatus.TERMINATED] * 2
    assert watcher.result(0) == OperationTerminated(reason="process ended")
    assert [each.operation_id for each in registry.list_since(0).entries] == list(ids)
    assert registry.live_ids == (own.operation_id,)
    assert registry.terminate(ids, "again") == ()
    assert not registry.is_retired


def test_what_cannot_be_recorded_lives_on() -> None:
    def refuse(*_record: object) -> None:
        raise StoreError("disk full")

    lost = begun()
    registry = recovered(lost, recorder=refuse)
    with pytest.raises(StoreError):
        registry.terminate([lost.operation_id], "process ended")
    assert registry.live_ids == (lost.operation_id,)


def test_a_retired_owner_ends_nothing_more() -> None:
    registry = recovered(begun())
    registry.terminate_owner("runtime reset")
    with pytest.raises(OwnerRetired):
        registry.terminate([], "process ended")


# --- a run that could not begin ---------------------------------------------------------


def test_a_postponed_run_costs_no_attempt_and_its_lane_waits(runtime: Runtime) -> None:
    (offered,) = runtime.admit(prompt())
    run = runtime.stage()
    done = runtime.do(kernel.PostponeRun(run, "the session cannot be read", 0.25))
    state = runtime.state(offered)
    assert (state.phase, state.attempt_count, state.last_run_id) == (InputPhase.QUEUED, 0, None)
    assert kernel.RetryLane(Lane.QUEUE, 0.25) in done.effects
    assert not runtime.memory.runnable
    runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    assert runtime.memory.runnable
