"""Runs: staging a batch, committing a boundary, and the five ways a run ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from attrs import evolve

from meerkat import input_lifecycle as lifecycle
from meerkat.copies import changed
from meerkat.errors import RunRefused
from meerkat.events import EventCode, RunLifecycleEvent
from meerkat.identifiers import RunId
from meerkat.input_lifecycle import AbandonCause, AbandonReason, InputPhase, InputState
from meerkat.kernel.commands import (
    CancelRun,
    CommitBoundary,
    CompleteRun,
    FailRun,
    HandOver,
    PostponeRun,
    RemarkOnRun,
    ReportProgress,
    RequeueRun,
    StageRun,
)
from meerkat.kernel.memory import RuntimeHead, RuntimeMemory
from meerkat.kernel.telling import (
    Emit,
    Telling,
    inputs_consumed,
    run_begun,
    run_completed,
    run_told,
    state_changed,
    told,
)
from meerkat.kernel.transition import Effect, RetryLane, StartRun, Transition
from meerkat.policy import Lane, RunBoundary
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import ExecutionKind, RunInHand, execution_kind, select_batch, staged_input
from meerkat.runtime_lifecycle import RuntimeState, RuntimeStep


def stage(memory: RuntimeMemory, command: StageRun, now: datetime) -> Transition:
    """Take the next batch in hand: one attempt more for each of its inputs."""
    head, lane = memory.head, memory.next_lane
    if head.run is not None:
        raise RunRefused(f"run {head.run.run_id} is in hand")
    if head.paused:
        raise RunRefused("the runtime is paused")
    phase = head.phase.begin_run(command.run_id)
    batch = () if lane is None else select_batch(lane, memory.ledger.waiting(lane))
    if lane is None or not batch:
        raise RunRefused("nothing waits")
    states = [lifecycle.stage_for_run(each, now, run_id=command.run_id) for each in batch]
    boundary = (batch[0].policy and batch[0].policy.boundary) or RunBoundary.RUN_START
    run = RunInHand(
        run_id=command.run_id,
        contributors=tuple(each.input_id for each in batch),
        boundary=boundary,
        lane=lane,
        attempt=max(state.attempt_count for state in states),
    )
    primitive = staged_input(boundary, [each.input for each in batch if each.input is not None])
    return Transition(
        head=changed(head, phase=phase, run=run),
        states=tuple(states),
        told=(run_begun(run.run_id, head.phase.state, states),),
        effects=(StartRun(run, primitive),),
    )


def commit_boundary(memory: RuntimeMemory, command: CommitBoundary, now: datetime) -> Transition:
    """Consume the steered inputs an executor has taken in, while its run goes on."""
    run = _current(memory.head, command.run_id)
    if not command.input_ids:
        raise RunRefused("a boundary without inputs has nothing to commit")
    if len(set(command.input_ids)) != len(command.input_ids):
        raise RunRefused("a boundary names an input twice")
    handed_over = {state.input_id: state for state in _steered(memory)}
    sequence = run.next_sequence
    states = []
    for input_id in command.input_ids:
        waiting = handed_over.get(input_id)
        if waiting is None:
            raise RunRefused(f"input {input_id} is not waiting at a boundary")
        staged = lifecycle.stage_for_run(waiting, now, run_id=run.run_id)
        states.append(
            lifecycle.consume_at_boundary(staged, now, run_id=run.run_id, sequence=sequence)
        )
    receipt = RunBoundaryReceipt(
        run_id=run.run_id,
        boundary=RunBoundary.RUN_CHECKPOINT,
        contributing_input_ids=command.input_ids,
        conversation_digest=command.plan.digest,
        message_count=command.plan.message_count,
        sequence=sequence,
    )
    return Transition(
        head=evolve(memory.head, run=evolve(run, next_sequence=sequence + 1)),
        states=tuple(states),
        receipt=receipt,
        session=command.plan.change,
        told=(inputs_consumed(states),),
        reply=receipt,
    )


def hand_over(memory: RuntimeMemory, command: HandOver, _now: datetime) -> Transition:
    """Give an executor the content turns of the steer lane, to be committed or left.

    What it has in its hands is not replaced any more by a newer input of the same key.
    """
    run = _current(memory.head, command.run_id)
    states = _steered(memory)
    handed_over = frozenset(state.input_id for state in states)
    return Transition(
        head=evolve(memory.head, run=evolve(run, handed_over=handed_over)),
        reply=tuple(state.input for state in states),
    )


def _steered(memory: RuntimeMemory) -> tuple[InputState, ...]:
    return tuple(filter(waits_at_boundary, memory.ledger.waiting(Lane.STEER)))


def waits_at_boundary(state: InputState) -> bool:
    """Is this an input that a boundary would hand over?"""
    return (
        state.phase is InputPhase.QUEUED
        and state.policy is not None
        and state.policy.lane is Lane.STEER
        and state.input is not None
        and execution_kind(state.input.kind) is ExecutionKind.CONTENT_TURN
    )


def complete(memory: RuntimeMemory, command: CompleteRun, now: datetime) -> Transition:
    """End the run with its receipt and its contributors consumed, all in one."""
    run = _current(memory.head, command.run_id)
    states = [
        lifecycle.consume_at_boundary(
            state, now, run_id=run.run_id, sequence=run.next_sequence, result=command.result
        )
        for state in _contributors(memory, run)
    ]
    receipt = RunBoundaryReceipt(
        run_id=run.run_id,
        boundary=run.boundary,
        contributing_input_ids=run.contributors,
        conversation_digest=command.plan.digest,
        message_count=command.plan.message_count,
        sequence=run.next_sequence,
    )
    head = _ended(memory, run)
    return Transition(
        head=head,
        states=tuple(states),
        receipt=receipt,
        session=command.plan.change,
        told=(run_completed(run.run_id, head.phase.state, states),),
        reply=receipt,
    )


def fail(memory: RuntimeMemory, command: FailRun, now: datetime) -> Transition:
    """Put the contributors back, or give up those without an attempt left."""
    run = _current(memory.head, command.run_id)
    attempts_max = memory.rules.limits.max_attempts if command.recoverable else 0
    states = [
        _retried(state, now, attempts_max, command.error) for state in _contributors(memory, run)
    ]
    head = _ended(memory, run, states)
    tellings = _over_told(EventCode.RUN_FAILED, run, states, head, command.error)
    effects: tuple[Effect, ...] = ()
    attempts = [state.attempt_count for state in states if not state.is_terminal]
    if attempts:
        head = evolve(head, held=head.held | {run.lane})
        delay_s = memory.rules.backoff.delay_s(max(attempts), command.jitter)
        effects = (RetryLane(run.lane, delay_s),)
    return Transition(head=head, states=tuple(states), told=tellings, effects=effects)


def cancel(memory: RuntimeMemory, command: CancelRun, now: datetime) -> Transition:
    """Give the contributors up as cancelled."""
    run = _current(memory.head, command.run_id)
    reason = AbandonReason(AbandonCause.CANCELLED)
    states = [lifecycle.abandon(state, now, reason=reason) for state in _contributors(memory, run)]
    return _over(memory, run, states, EventCode.RUN_CANCELLED)


def requeue(memory: RuntimeMemory, command: RequeueRun, now: datetime) -> Transition:
    """Put the contributors back uncounted and detach the executor, which takes no more."""
    run = _current(memory.head, command.run_id)
    states = _uncounted(memory, run, now, "executor_stopped")
    over = _over(memory, run, states, EventCode.RUN_CANCELLED, "executor stopped")
    head, tellings = evolve(over.head, executor_attached=False), over.told
    if head.phase.allows(RuntimeStep.DETACH_EXECUTOR):
        head = evolve(head, phase=head.phase.after(RuntimeStep.DETACH_EXECUTOR))
        tellings = (*tellings, state_changed(over.head.phase.state, head.phase.state))
    return evolve(over, head=head, told=tellings)


def postpone(memory: RuntimeMemory, command: PostponeRun, now: datetime) -> Transition:
    """Put the contributors back uncounted; their lane waits."""
    run = _current(memory.head, command.run_id)
    states = _uncounted(memory, run, now, "run_postponed")
    over = _over(memory, run, states, EventCode.RUN_CANCELLED, command.reason)
    head = evolve(over.head, held=over.head.held | {run.lane})
    return evolve(over, head=head, effects=(RetryLane(run.lane, command.delay_s),))


def _uncounted(
    memory: RuntimeMemory, run: RunInHand, now: datetime, reason: str
) -> list[InputState]:
    return [
        lifecycle.rollback_staged(state, now, reason=reason, error=None, uncounted=True)
        for state in _contributors(memory, run)
    ]


def report_progress(memory: RuntimeMemory, command: ReportProgress, _now: datetime) -> Transition:
    """Tell how far the run in hand is; a run that is over has nothing to tell."""
    run = _current(memory.head, command.run_id)
    emit = run_told(EventCode.RUN_PROGRESS, run, _contributors(memory, run), command.text)
    return Transition(head=memory.head, told=(emit,))


def remark(memory: RuntimeMemory, command: RemarkOnRun, _now: datetime) -> Transition:
    """Tell of a run what it does not tell itself: that it is stuck, or came back too late."""
    event = RunLifecycleEvent(EventCode.RUN_PROGRESS, command.run_id, command.text)
    return Transition(head=memory.head, told=(Emit(event),))


# --- shared by the endings --------------------------------------------------------------


def _current(head: RuntimeHead, run_id: RunId) -> RunInHand:
    if head.run is None or head.run.run_id != run_id:
        raise RunRefused(f"run {run_id} is not the run in hand")
    return head.run


def _contributors(memory: RuntimeMemory, run: RunInHand) -> list[InputState]:
    states = [memory.ledger.get(input_id) for input_id in run.contributors]
    return [state for state in states if state is not None]


def _ended(
    memory: RuntimeMemory, run: RunInHand, returned: Iterable[InputState] = ()
) -> RuntimeHead:
    """The head after a run: awake for as long as anything waits, in a held lane too."""
    back = any(not state.is_terminal for state in returned)
    phase = memory.head.phase.end_run(run.run_id)
    return changed(memory.head, phase=phase, run=None, awake=memory.has_waiting or back)


def _over(
    memory: RuntimeMemory,
    run: RunInHand,
    states: list[InputState],
    code: EventCode,
    detail: str | None = None,
) -> Transition:
    head = _ended(memory, run, states)
    tellings = _over_told(code, run, states, head, detail)
    return Transition(head=head, states=tuple(states), told=tellings)


def _over_told(
    code: EventCode,
    run: RunInHand,
    states: list[InputState],
    after: RuntimeHead,
    detail: str | None,
) -> tuple[Telling, ...]:
    """What is told of a run that did not complete: where it leaves its inputs, and its end."""
    return (
        *map(settled, states),
        run_told(code, run, states, detail),
        state_changed(RuntimeState.RUNNING, after.phase.state, *states[:1]),
    )


def _retried(state: InputState, now: datetime, attempts_max: int, error: str) -> InputState:
    if state.attempt_count < attempts_max:
        return lifecycle.rollback_staged(state, now, reason="run_failed", error=error)
    reason = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, state.attempt_count)
    return lifecycle.abandon(state, now, reason=reason, error=error)


_SETTLED: Final[Mapping[InputPhase, EventCode]] = {
    InputPhase.ABANDONED: EventCode.INPUT_ABANDONED,
    InputPhase.CONSUMED: EventCode.INPUT_CONSUMED,
    InputPhase.QUEUED: EventCode.INPUT_QUEUED,
}


def settled(state: InputState) -> Emit:
    """Tell where a failed run, or a recovery, has left an input."""
    return told(_SETTLED[state.phase], state, state.history[-1].reason)
