"""What the kernel keeps of a session's operations, and what it tells of them and of runs."""

from __future__ import annotations

import pytest
from attrs import evolve
from builders import START, Runtime, prompt, uuid_of

from meerkat import (
    EpochCursorSnapshot,
    OperationId,
    RunId,
    RuntimeEpochId,
    kernel,
)
from meerkat.errors import (
    MeerkatError,
    StoreError,
)
from meerkat.events import EventCode, OperationEvent, RunLifecycleEvent
from meerkat.operation_errors import OwnerRetired
from meerkat.operations import (
    OperationCompleted,
    OperationKind,
    OperationOutcome,
    OperationRecord,
    OperationStatus,
    OperationTerminated,
)
from meerkat.ops_snapshot import OperationRow
from meerkat.runtime_lifecycle import RuntimeState

TERMINATED = OperationTerminated(reason="runtime reset")


def ended(
    seq: int, epoch_id: RuntimeEpochId, outcome: OperationOutcome | None = None
) -> OperationRow:
    """The row of an operation that has ended, completed unless told otherwise."""
    outcome = outcome or OperationCompleted(result=seq)
    status = OperationStatus.TERMINATED if outcome == TERMINATED else OperationStatus.COMPLETED
    record = OperationRecord(
        operation_id=OperationId.new(),
        kind=OperationKind.BACKGROUND_TOOL_OP,
        display_name="search",
        status=status,
        created_at=START,
        completed_at=START,
        outcome=outcome,
    )
    return OperationRow(epoch_id=epoch_id, seq=seq, record=record)


def epoch_of(runtime: Runtime) -> RuntimeEpochId:
    epoch_id = runtime.memory.head.epoch_id
    assert epoch_id is not None
    return epoch_id


def refused(runtime: Runtime, row: OperationRow, error: type[MeerkatError]) -> str:
    """What is said to a row that is not kept: nothing has changed."""
    before = runtime.memory.head
    with pytest.raises(error) as raised:
        runtime.do(kernel.RecordOperation(row))
    assert runtime.memory.head is before
    return str(raised.value)


# --- recording an end -------------------------------------------------------------------


def test_an_end_is_kept_under_the_next_number_of_its_epoch(runtime: Runtime) -> None:
    for seq in (1, 2, 3):
        before, row = runtime.memory.head, ended(seq, epoch_of(runtime))
        done = runtime.do(kernel.RecordOperation(row))
        assert done == kernel.Transition(
            head=evolve(before, feed_watermark=seq), operations=(row,)
        )  # no input, no event and no answer


def test_deciding_to_keep_it_changes_nothing_yet(runtime: Runtime) -> None:
    before, row = runtime.memory.head, ended(1, epoch_of(runtime))
    kernel.decide(runtime.memory, kernel.RecordOperation(row), START)
    assert runtime.memory.head is before


@pytest.mark.parametrize("seq", [0, 1, 2, 4, 2**63])
def test_a_stale_number_is_refused_and_says_how_far_the_feed_is(runtime: Runtime, seq: int) -> None:
    for number in (1, 2):
        runtime.do(kernel.RecordOperation(ended(number, epoch_of(runtime))))
    for outcome in (None, TERMINATED):
        row = ended(seq, epoch_of(runtime), outcome)
        assert "gone on to 2" in refused(runtime, row, StoreError)


def test_an_epoch_that_is_over_takes_only_the_end_of_its_owner(runtime: Runtime) -> None:
    """What its operations did no longer counts; that they ended is kept, whatever its number."""
    over = epoch_of(runtime)
    runtime.do(kernel.RecordOperation(ended(1, over)))
    runtime.do(kernel.Reset(RuntimeEpochId.new()))
    runtime.do(kernel.RecordOperation(ended(1, epoch_of(runtime))))
    for seq in (1, 2, 9):
        refused(runtime, ended(seq, over), OwnerRetired)
        row, before = ended(seq, over, TERMINATED), runtime.memory.head
        done = runtime.do(kernel.RecordOperation(row))
        assert done == kernel.Transition(head=before, operations=(row,))


def test_an_unregistered_runtime_has_no_epoch_to_record_in(runtime: Runtime) -> None:
    over = epoch_of(runtime)
    runtime.do(kernel.Unregister())
    refused(runtime, ended(1, over), OwnerRetired)
    row = ended(1, over, TERMINATED)
    assert runtime.do(kernel.RecordOperation(row)).operations == (row,)


def test_a_terminated_operation_of_the_present_epoch_counts_like_any_other(
    runtime: Runtime,
) -> None:
    runtime.do(kernel.RecordOperation(ended(1, epoch_of(runtime), TERMINATED)))
    assert runtime.memory.head.feed_watermark == 1


def test_a_new_epoch_begins_to_count_afresh(runtime: Runtime) -> None:
    runtime.do(kernel.RecordOperation(ended(1, epoch_of(runtime))))
    runtime.do(kernel.ReadFeed(1))
    runtime.do(kernel.Reset(RuntimeEpochId.new()))
    assert runtime.memory.head.feed_watermark == 0
    assert runtime.memory.head.cursors == EpochCursorSnapshot()
    runtime.do(kernel.RecordOperation(ended(1, epoch_of(runtime))))
    assert runtime.memory.head.feed_watermark == 1


@pytest.mark.parametrize(
    ("command", "state"),
    [
        (kernel.Retire(), RuntimeState.RETIRED),
        (kernel.Stop(), RuntimeState.STOPPED),
        (kernel.Destroy(), RuntimeState.DESTROYED),
        (kernel.StageRun(RunId(uuid_of(5))), RuntimeState.RUNNING),
    ],
)
def test_an_end_is_kept_whatever_the_runtime_is_doing(
    runtime: Runtime, command: kernel.Command, state: RuntimeState
) -> None:
    """The epoch goes on in every state: what ends in it is a fact."""
    runtime.admit(prompt())
    runtime.do(command)
    runtime.do(kernel.RecordOperation(ended(1, epoch_of(runtime))))
    assert runtime.memory.head.phase.state is state
    assert runtime.memory.head.feed_watermark == 1


# --- telling ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [EventCode.OPERATION_STARTED, EventCode.OPERATION_PROGRESS, EventCode.OPERATION_COMPLETED],
)
def test_a_step_of_an_operation_is_told_and_is_all_there_is(
    runtime: Runtime, code: EventCode
) -> None:
    event, before = OperationEvent(code, OperationId.new(), "completed"), runtime.memory.head
    done = runtime.do(kernel.TellOperation(event))
    assert done == kernel.Transition(head=before, told=(kernel.Emit(event),))


@pytest.mark.parametrize("which", ["in hand", "over", "never known"])
def test_a_remark_is_told_of_any_run_and_moves_nothing(runtime: Runtime, which: str) -> None:
    runtime.admit(prompt(), prompt())
    over, run_id = runtime.stage(), RunId.new()
    runtime.complete(over)
    in_hand, before = runtime.stage(), runtime.memory.head
    run_id = {"in hand": in_hand, "over": over}.get(which, run_id)
    done = runtime.do(kernel.RemarkOnRun(run_id, "no sign for 120 s"))
    told = RunLifecycleEvent(EventCode.RUN_PROGRESS, run_id, "no sign for 120 s")
    assert done == kernel.Transition(head=before, told=(kernel.Emit(told),))


def test_a_remark_shows_no_text_and_carries_any() -> None:
    remark = kernel.RemarkOnRun(RunId.new(), 'File "\udcff.py", line 1')
    assert remark.text == 'File "\\udcff.py", line 1'
    assert "File" not in repr(remark)
