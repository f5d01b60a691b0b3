"""Accepting: state, admission, idempotency, policy, replacement, lane, in this order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from meerkat import input_lifecycle as lifecycle
from meerkat.admission import reject_reason
from meerkat.copies import changed
from meerkat.errors import (
    Overloaded,
    PolicyRefused,
    RecoveryCorruption,
    RuntimeDestroyed,
    RuntimeNotReady,
)
from meerkat.events import EventCode, InputLifecycleEvent
from meerkat.identifiers import InputId
from meerkat.input_lifecycle import AbandonCause, AbandonReason, InputState
from meerkat.inputs import Input
from meerkat.kernel.commands import AcceptInput, TakeIn
from meerkat.kernel.memory import RuntimeHead, RuntimeMemory
from meerkat.kernel.run_steps import settled
from meerkat.kernel.telling import Emit, Story, Telling, input_taken_in
from meerkat.kernel.transition import Signalled, Transition
from meerkat.outcomes import Accepted, Deduplicated, Rejected
from meerkat.policy import ConsumePoint, PolicyDecision, QueueMode, Signal, ask, silence
from meerkat.runtime_lifecycle import RuntimeState

_Replace = Callable[[InputState, datetime, InputId], InputState]

_REPLACE: Final[Mapping[QueueMode, tuple[_Replace, EventCode]]] = {
    QueueMode.SUPERSEDE: (
        lambda old, now, by: lifecycle.supersede(old, now, by=by),
        EventCode.INPUT_SUPERSEDED,
    ),
    QueueMode.COALESCE: (
        lambda old, now, into: lifecycle.coalesce(old, now, into=into),
        EventCode.INPUT_COALESCED,
    ),
}
"""queue mode → what a newer input does to the queued one of its kind and key."""

_GIVEN_UP: Final[Mapping[RuntimeState, AbandonCause]] = {
    RuntimeState.STOPPED: AbandonCause.STOPPED,
    RuntimeState.DESTROYED: AbandonCause.DESTROYED,
}


def accept(memory: RuntimeMemory, command: AcceptInput, now: datetime) -> Transition:
    """Decide about an offered input."""
    head, offered = memory.head, command.input
    refuse_unless_admitting(head)
    reason = reject_reason(offered)
    if reason is not None:
        told = InputLifecycleEvent(EventCode.INPUT_REJECTED, offered.id, str(reason))
        return _only_told(head, offered, told, Rejected(reason=reason))
    known = _known(memory, command)
    if known is not None:
        told = InputLifecycleEvent(
            EventCode.INPUT_DEDUPLICATED, offered.id, related_input_id=known.input_id
        )
        reply = Deduplicated(input_id=offered.id, existing_id=known.input_id, existing_state=known)
        return _only_told(head, offered, told, reply)
    pending_max = memory.rules.limits.pending_inputs_max
    if memory.ledger.active_count >= pending_max:
        raise Overloaded("pending_inputs_max", pending_max)
    return _admit(memory, InputState.of(offered, now), command.payload, now)


def take_in(memory: RuntimeMemory, command: TakeIn, now: datetime) -> Transition:
    """Decide about an input that was accepted elsewhere: as of any other, but it is not refused.

    Where the runtime takes no input any more it ends as those did that were in the lanes.
    """
    head, state = memory.head, command.state
    cause = _gives_up(head)
    if cause is None:
        return _admit(memory, state, None, now)
    ended = lifecycle.abandon(state, now, reason=AbandonReason(cause))
    return Transition(head=head, states=(ended,), told=(settled(ended),))


def _gives_up(head: RuntimeHead) -> AbandonCause | None:
    """Why nothing that waits is worked any more; a runtime that retires drains its lanes."""
    retires = head.phase.retiring or head.phase.state is RuntimeState.RETIRED
    if retires and not head.executor_attached:
        return AbandonCause.RETIRED
    return _GIVEN_UP.get(head.phase.state)


def refuse_unless_admitting(head: RuntimeHead) -> None:
    """Raise what tells the caller why no input is taken in this state."""
    if head.phase.state is RuntimeState.DESTROYED:
        raise RuntimeDestroyed
    if not head.phase.admits:
        retiring = head.phase.state is RuntimeState.RUNNING
        raise RuntimeNotReady(RuntimeState.RETIRED if retiring else head.phase.state)


def _known(memory: RuntimeMemory, command: AcceptInput) -> InputState | None:
    offered, ledger = command.input, memory.ledger
    by_key = ledger.get_by_key(offered.idempotency_key)
    return by_key or ledger.get(offered.id) or command.known


def _only_told(
    head: RuntimeHead, offered: Input, event: InputLifecycleEvent, reply: object
) -> Transition:
    emit = Emit(event, offered.causation_id or offered.id, offered.correlation_id)
    return Transition(head=head, told=(emit,), reply=reply)


def _decision_for(memory: RuntimeMemory, accepted: InputState, offered: Input) -> PolicyDecision:
    """What the policy says; where it fails, what it said to who had offered the input."""
    running = memory.head.phase.state is RuntimeState.RUNNING
    try:
        decision = ask(memory.rules.policy, offered, running=running)
    except PolicyRefused:
        if accepted.policy is None:
            raise
        decision = accepted.policy
    return silence(decision, offered, memory.head.silent_intents)


def _admit(
    memory: RuntimeMemory, accepted: InputState, payload: bytes | None, now: datetime
) -> Transition:
    head, offered = memory.head, accepted.input
    if offered is None:
        raise RecoveryCorruption(f"input {accepted.input_id}: accepted without its payload")
    decision = _decision_for(memory, accepted, offered)
    if decision.consume_point is ConsumePoint.ON_ACCEPT:
        state = lifecycle.consume_on_accept(accepted, now, policy=decision)
        signal, end = Signal.NONE, EventCode.INPUT_CONSUMED
        replaced: tuple[InputState, ...] = ()
    else:
        sequence = head.next_admission_sequence
        state = lifecycle.queue_accepted(accepted, now, policy=decision, sequence=sequence)
        replaced, signal = _replaced(memory, offered, decision), decision.signal
        end = EventCode.INPUT_QUEUED
        head = changed(
            head,
            next_admission_sequence=sequence + 1,
            awake=head.awake or signal.should_wake,
        )
    story = input_taken_in(state, end)
    states: tuple[InputState, ...] = (state,)
    tellings: tuple[Telling, ...] = (story,)
    if replaced:
        states, tellings = _with_replaced(replaced, decision, story, state, now)
    return Transition(
        head=head,
        states=states,
        payload=payload,
        told=tellings,
        effects=() if signal is Signal.NONE else (Signalled(signal),),
        reply=Accepted(input_id=offered.id, policy=decision, state=state),
    )


def _with_replaced(
    replaced: tuple[InputState, ...],
    decision: PolicyDecision,
    story: Story,
    state: InputState,
    now: datetime,
) -> tuple[tuple[InputState, ...], tuple[Telling, ...]]:
    """The states and the events of an input that takes the place of older ones.

    Between its acceptance and its place in the lane stands what becomes of them.
    """
    step, code = _REPLACE[decision.queue_mode]
    accepted, end = story.emits()
    tellings = [accepted]
    for older in replaced:
        event = InputLifecycleEvent(code, older.input_id, related_input_id=state.input_id)
        tellings.append(Emit(event, state.input_id, state.correlation_id))
    older_states = (step(older, now, state.input_id) for older in replaced)
    return (*older_states, state), (*tellings, end)


def _replaced(
    memory: RuntimeMemory, offered: Input, decision: PolicyDecision
) -> tuple[InputState, ...]:
    key, lane = offered.supersession_key, decision.lane
    if decision.queue_mode not in _REPLACE or key is None or lane is None:
        return ()
    run = memory.head.run
    handed_over = frozenset[InputId]() if run is None else run.handed_over
    waiting = memory.ledger.replaceable(lane, offered.kind, key)
    return tuple(state for state in waiting if state.input_id not in handed_over)
