"""Rows: the inputs, receipts, operations and batches that tests of a store speak of.

Each is named by a small number, the same at every call, so that what a store gives back can
be compared with what it was given. Nothing here is a rule: a row is made by the legal steps
of an input, and a batch may be as wrong as its test likes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from attrs import evolve

from meerkat import input_lifecycle as lifecycle
from meerkat.codec import to_json
from meerkat.conversation import SessionChange
from meerkat.identifiers import InputId, LogicalRuntimeId, OperationId, RunId, RuntimeEpochId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.inputs import Input, PromptInput
from meerkat.operations import OperationCompleted, OperationKind, OperationRecord, OperationStatus
from meerkat.ops_snapshot import OperationRow
from meerkat.policy import DEFAULT_POLICY, RunBoundary
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Batch, InputRow, RuntimeRow, RuntimeStore

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When everything here was made."""

R1, R2, R3 = (LogicalRuntimeId(f"agent-{number}") for number in (1, 2, 3))
RUN: Final = RunId(UUID(int=7))


def input_id(number: int) -> InputId:
    """The id whose number this is."""
    return InputId(UUID(int=number))


def prompt(number: int, key: str | None = None, **header: Any) -> PromptInput:
    """The prompt whose id is ``number``."""
    text = header.pop("text", f"prompt {number}")
    return PromptInput(text, id=input_id(number), timestamp=START, idempotency_key=key, **header)


_LATER: dict[InputPhase, Callable[[InputState], InputState]] = {
    InputPhase.STAGED: lambda s: lifecycle.stage_for_run(s, START, run_id=RUN),
    InputPhase.APPLIED: lambda s: lifecycle.mark_applied(s, START, run_id=RUN),
    InputPhase.APPLIED_PENDING_CONSUMPTION: lambda s: lifecycle.mark_applied_pending_consumption(
        s, START, sequence=0
    ),
    InputPhase.CONSUMED: lambda s: lifecycle.consume(s, START),
}


def state_in(phase: InputPhase, offered: Input, sequence: int = 0) -> InputState:
    """An input that has come as far as ``phase`` by legal steps.

    ValueError for superseded and coalesced: those take a second input.
    """
    state = InputState.of(offered, START)
    if phase is InputPhase.ACCEPTED:
        return state
    policy = DEFAULT_POLICY.resolve(offered, running=False)
    state = lifecycle.queue_accepted(state, START, policy=policy, sequence=sequence)
    if phase is InputPhase.ABANDONED:
        reason = lifecycle.AbandonReason(lifecycle.AbandonCause.CANCELLED)
        return lifecycle.abandon(state, START, reason=reason)
    for reached, take in _LATER.items():
        if state.phase is phase:
            return state
        state = take(state)
        if state.phase is not reached:
            raise ValueError(f"the step to {reached} led to {state.phase}")
    if state.phase is not phase:
        raise ValueError(f"one input alone does not become {phase}")
    return state


def row_of(
    offered: Input, phase: InputPhase = InputPhase.QUEUED, sequence: int = 0, **changes: Any
) -> InputRow:
    """The first row of an input, payload included."""
    return InputRow(evolve(state_in(phase, offered, sequence), **changes), to_json(offered))


def receipt(
    sequence: int = 0, *contributors: int, run_id: RunId = RUN, **fields: Any
) -> RunBoundaryReceipt:
    """The receipt of a run's boundary, by default that of input 1 at its start."""
    return RunBoundaryReceipt(
        run_id=run_id,
        boundary=RunBoundary.RUN_START,
        contributing_input_ids=tuple(map(input_id, contributors or (1,))),
        sequence=sequence,
        **fields,
    )


# --- operations -------------------------------------------------------------------------


def live(number: int, seconds: int = 0) -> OperationRecord:
    """The operation whose id is ``number``, under way and born so long after the start."""
    return OperationRecord(
        operation_id=OperationId(UUID(int=number)),
        kind=OperationKind.BACKGROUND_TOOL_OP,
        display_name="search",
        status=OperationStatus.RUNNING,
        created_at=START + timedelta(seconds=seconds),
    )


def ended(seq: int, epoch_id: RuntimeEpochId, begun: OperationRecord | None = None) -> OperationRow:
    """The end of an operation, one of its own if need be, under its place in the feed."""
    begun = begun or evolve(live(0), operation_id=OperationId.new())
    record = evolve(
        begun,
        status=OperationStatus.COMPLETED,
        completed_at=begun.created_at,
        outcome=OperationCompleted(result={"seq": seq}),
    )
    return OperationRow(epoch_id=epoch_id, seq=seq, record=record)


# --- batches ----------------------------------------------------------------------------


def batch(
    runtime_id: LogicalRuntimeId = R1,
    *rows: InputRow,
    after: int = 0,
    fence: int | None = None,
    receipts: tuple[RunBoundaryReceipt, ...] = (),
    begun: tuple[OperationRecord, ...] = (),
    operations: tuple[OperationRow, ...] = (),
    session: tuple[SessionChange, ...] = (),
    state: RuntimeState = RuntimeState.IDLE,
    **runtime: Any,
) -> Batch:
    """A batch over the stored fence ``after``; a first one claims the runtime with 1."""
    return Batch(
        runtime=RuntimeRow(
            runtime_id=runtime_id,
            fence=(after or 1) if fence is None else fence,
            state=state,
            **runtime,
        ),
        expected_fence=after,
        inputs=rows,
        receipts=receipts,
        begun=begun,
        operations=operations,
        session=session,
    )


def everything(store: RuntimeStore, *runtime_ids: LogicalRuntimeId) -> list[Any]:
    """All that a store answers about some runtimes."""
    found: list[Any] = [store.list_runtimes(), store.runtimes_with_work()]
    for runtime_id in runtime_ids or (R1, R2, R3):
        found += [
            store.load_runtime(runtime_id),
            store.load_active_inputs(runtime_id),
            store.page_terminal_inputs(runtime_id),
            store.page_abandoned_inputs(runtime_id),
            store.load_payloads(runtime_id, [input_id(number) for number in range(10)]),
            store.page_receipts(runtime_id),
            store.load_session_snapshot(runtime_id),
            store.load_ops_snapshot(runtime_id),
        ]
    return found
