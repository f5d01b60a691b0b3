"""Control: attach, wake, retire, recycle, reset, recover, stop, destroy, (un)register."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Final

from attrs import evolve

from meerkat import input_lifecycle as lifecycle
from meerkat.errors import (
    InvalidRuntimeTransition,
    RunRefused,
    RuntimeDestroyed,
    RuntimeNotFound,
    RuntimeNotReady,
)
from meerkat.events import EventCode, TopologyEvent
from meerkat.input_lifecycle import AbandonCause, AbandonReason, InputState
from meerkat.kernel.commands import (
    AttachExecutor,
    Destroy,
    DetachExecutor,
    Initialize,
    PublishEvent,
    Recover,
    Recycle,
    Register,
    ReleaseLane,
    Reset,
    Retire,
    SetPaused,
    SetSilentIntents,
    Stop,
    Unregister,
    Wake,
)
from meerkat.kernel.memory import RuntimeHead, RuntimeMemory
from meerkat.kernel.run_steps import settled
from meerkat.kernel.telling import Emit, Telling, state_changed
from meerkat.kernel.transition import Effect, InterruptRun, RuntimeEnded, Transition
from meerkat.outcomes import TerminationReason
from meerkat.recovery import Repair, repair_for, repaired, report_of
from meerkat.reports import DestroyReport, RecycleReport, ResetReport, RetireReport, StopReport
from meerkat.runtime_lifecycle import Phase, RuntimeState, RuntimeStep

_FRESH: Final = RuntimeHead()
"""Whose values are shared: a runtime at rest has none of its own."""


def initialize(memory: RuntimeMemory, _command: Initialize, _now: datetime) -> Transition:
    """Bring a fresh runtime to idle."""
    return _to(memory.head, memory.head.phase.after(RuntimeStep.INITIALIZE))


def register(memory: RuntimeMemory, command: Register, _now: datetime) -> Transition:
    """Make the runtime known; one that is known already stays as it is."""
    head = memory.head
    _refuse_destroyed(head)
    if head.registered:
        return Transition(head=head)
    phase = head.phase
    if phase.state is RuntimeState.INITIALIZING:
        phase = phase.after(RuntimeStep.INITIALIZE)
        if head.executor_attached:
            phase = phase.after(RuntimeStep.ATTACH_EXECUTOR)
    head = evolve(
        head,
        phase=phase,
        registered=True,
        session_id=head.session_id or command.session_id,
        epoch_id=command.epoch_id,
        cursors=_FRESH.cursors,
        feed_watermark=0,
        live_operations=_FRESH.live_operations,
        awake=_has_work(memory),
    )
    return Transition(head=head, told=(_topology(EventCode.RUNTIME_CREATED),))


def unregister(memory: RuntimeMemory, _command: Unregister, _now: datetime) -> Transition:
    """Mark the runtime unregistered; what waits stays stored, its handles end."""
    if memory.head.run is not None:
        raise RunRefused("a run is in hand")
    head = evolve(memory.head, registered=False, epoch_id=None, awake=False)
    return Transition(head=head, effects=(RuntimeEnded(TerminationReason.UNREGISTERED),))


def attach(memory: RuntimeMemory, _command: AttachExecutor, _now: datetime) -> Transition:
    """Note that there is an executor, and wake."""
    head = memory.head
    _refuse_destroyed(head)
    phase = head.phase
    if phase.returns_to is RuntimeState.IDLE:
        phase = evolve(phase, returns_to=RuntimeState.ATTACHED)
    elif phase.allows(RuntimeStep.ATTACH_EXECUTOR):
        phase = phase.after(RuntimeStep.ATTACH_EXECUTOR)
    return _to(evolve(head, executor_attached=True, awake=_has_work(memory)), phase)


def detach(memory: RuntimeMemory, _command: DetachExecutor, _now: datetime) -> Transition:
    """Note that there is none any more; a run in hand goes on."""
    head = memory.head
    _refuse_destroyed(head)
    phase = head.phase
    if phase.returns_to is RuntimeState.ATTACHED:
        phase = evolve(phase, returns_to=RuntimeState.IDLE)
    elif phase.allows(RuntimeStep.DETACH_EXECUTOR):
        phase = phase.after(RuntimeStep.DETACH_EXECUTOR)
    return _to(evolve(head, executor_attached=False), phase)


def wake(memory: RuntimeMemory, _command: Wake, _now: datetime) -> Transition:
    """Work whatever waits, inputs that woke nobody included."""
    return Transition(head=evolve(memory.head, awake=_has_work(memory)))


def release_lane(memory: RuntimeMemory, command: ReleaseLane, _now: datetime) -> Transition:
    """End a lane's back-off."""
    return Transition(head=evolve(memory.head, held=memory.head.held - {command.lane}))


def set_silent_intents(
    memory: RuntimeMemory, command: SetSilentIntents, _now: datetime
) -> Transition:
    """Replace the set of request intents that wake nobody."""
    _refuse_destroyed(memory.head)
    return Transition(head=evolve(memory.head, silent_intents=command.intents))


def set_paused(memory: RuntimeMemory, command: SetPaused, _now: datetime) -> Transition:
    """Start no run any more, or start them again. It outlives every step but this one."""
    _refuse_destroyed(memory.head)
    if memory.head.phase.state is RuntimeState.INITIALIZING:
        raise RuntimeNotReady(RuntimeState.INITIALIZING)
    return Transition(head=evolve(memory.head, paused=command.paused))


def publish(memory: RuntimeMemory, command: PublishEvent, _now: datetime) -> Transition:
    """Put a host's event in order with the rest; one seen before is dropped."""
    _refuse_destroyed(memory.head)
    if memory.head.phase.state is RuntimeState.INITIALIZING:
        raise RuntimeNotReady(RuntimeState.INITIALIZING)
    envelope = command.envelope
    if envelope.runtime_id != memory.runtime_id:
        raise RuntimeNotFound(envelope.runtime_id)
    if envelope.id in memory.host_events:
        return Transition(head=memory.head)
    emit = Emit(
        envelope.event,
        envelope.causation_id,
        envelope.correlation_id,
        envelope.id,
        envelope.timestamp,
    )
    return Transition(head=memory.head, told=(emit,))


def retire(memory: RuntimeMemory, _command: Retire, now: datetime) -> Transition:
    """Take no more input; with an executor drain what waits, without one give it up."""
    head = memory.head
    phase = _step(head, RuntimeStep.RETIRE)
    if head.phase.retiring or head.phase.state is RuntimeState.RETIRED:
        return Transition(head=head, reply=RetireReport())
    if head.executor_attached:
        states: tuple[InputState, ...] = ()
        pending = memory.ledger.active_count
    else:
        in_hand = head.run.contributors if head.run else ()
        waiting = [s for s in memory.ledger.active() if s.input_id not in in_hand]
        states = _abandoned(waiting, AbandonCause.RETIRED, now)
        pending = len(in_hand)
    return Transition(
        head=evolve(head, phase=phase, awake=head.executor_attached and _has_work(memory)),
        states=states,
        told=_told(head.phase, phase, states, _topology(EventCode.RUNTIME_RETIRED)),
        effects=_interrupts(head.phase, phase),
        reply=RetireReport(inputs_abandoned=len(states), inputs_pending_drain=pending),
    )


def recycle(memory: RuntimeMemory, _command: Recycle, _now: datetime) -> Transition:
    """Start over from what is durable, with all pending work kept in order, and wake."""
    head = memory.head
    phase = _step(head, RuntimeStep.RECYCLE)
    return Transition(
        head=evolve(head, phase=phase, awake=_has_work(memory), held=_FRESH.held),
        told=_told(head.phase, phase, (), _topology(EventCode.RUNTIME_RECYCLED)),
        effects=_interrupts(head.phase, phase),
        reply=RecycleReport(inputs_transferred=memory.ledger.active_count),
        relane=True,
    )


def reset(memory: RuntimeMemory, command: Reset, now: datetime) -> Transition:
    """Give everything up and begin a new epoch."""
    head = memory.head
    phase = _step(head, RuntimeStep.RESET)
    states = _abandoned(memory.ledger.active(), AbandonCause.RESET, now)
    return Transition(
        head=evolve(
            _emptied(head, phase),
            epoch_id=command.epoch_id,
            cursors=_FRESH.cursors,
            feed_watermark=0,
            live_operations=_FRESH.live_operations,
        ),
        states=states,
        told=_told(head.phase, phase, states),
        effects=_interrupts(head.phase, phase),
        reply=ResetReport(inputs_abandoned=len(states)),
    )


def stop(memory: RuntimeMemory, _command: Stop, now: datetime) -> Transition:
    """Give everything up, the run in hand included; only a reset revives the runtime."""
    head = memory.head
    phase = _step(head, RuntimeStep.STOP)
    states = _abandoned(memory.ledger.active(), AbandonCause.STOPPED, now)
    return Transition(
        head=_emptied(head, phase),
        states=states,
        told=_told(head.phase, phase, states),
        effects=_interrupts(head.phase, phase),
        reply=StopReport(inputs_abandoned=len(states)),
    )


def destroy(memory: RuntimeMemory, _command: Destroy, now: datetime) -> Transition:
    """Give everything up, for good."""
    head = memory.head
    phase = _step(head, RuntimeStep.DESTROY)
    states = _abandoned(memory.ledger.active(), AbandonCause.DESTROYED, now)
    topology = _topology(EventCode.RUNTIME_DESTROYED)
    return Transition(
        head=_emptied(head, phase),
        states=states,
        told=_told(head.phase, phase, states, topology),
        effects=_interrupts(head.phase, phase),
        reply=DestroyReport(inputs_abandoned=len(states)),
    )


def recover(memory: RuntimeMemory, command: Recover, now: datetime) -> Transition:
    """Put right what a crash left, and wake."""
    head = memory.head
    _refuse_destroyed(head)
    if head.run is not None:
        raise RuntimeNotReady(RuntimeState.RUNNING)
    rules, sequence = memory.rules, head.next_admission_sequence
    repairs: list[Repair] = []
    changed: list[InputState] = []
    pending = 0
    for state in memory.ledger.active():
        repair = repair_for(state, command.proven, rules.limits.crash_attempts_max)
        after = repaired(state, repair, now, policy=rules.policy, sequence=sequence)
        if after is not state:
            changed.append(after)
            if after.admission_sequence is not None:
                sequence = max(sequence, after.admission_sequence + 1)
        repairs.append(repair)
        pending += not after.is_terminal
    return Transition(
        head=evolve(
            head,
            next_admission_sequence=sequence,
            awake=pending > 0,
            held=_FRESH.held,
            row_is_stale=False,
        ),
        states=tuple(changed),
        told=tuple(settled(state) for state in changed),
        reply=report_of(repairs),
        relane=True,
    )


# --- shared ------------------------------------------------------------------------------


def _has_work(memory: RuntimeMemory) -> bool:
    """Is there anything to be awake for? Else a later input that wakes nobody would run."""
    return memory.ledger.active_count > 0


def _refuse_destroyed(head: RuntimeHead) -> None:
    if head.phase.state is RuntimeState.DESTROYED:
        raise RuntimeDestroyed


def _step(head: RuntimeHead, step: RuntimeStep) -> Phase:
    """Take a step of the table, or say by the present state why not."""
    _refuse_destroyed(head)
    try:
        return head.phase.after(step)
    except InvalidRuntimeTransition as refused:
        raise RuntimeNotReady(head.phase.state) from refused


def _to(head: RuntimeHead, phase: Phase) -> Transition:
    return Transition(
        head=evolve(head, phase=phase),
        told=_told(head.phase, phase, ()),
        effects=_interrupts(head.phase, phase),
    )


def _emptied(head: RuntimeHead, phase: Phase) -> RuntimeHead:
    return evolve(
        head,
        phase=phase,
        run=None,
        awake=False,
        held=_FRESH.held,
        silent_intents=_FRESH.silent_intents,
    )


def _abandoned(
    states: Iterable[InputState], cause: AbandonCause, now: datetime
) -> tuple[InputState, ...]:
    reason = AbandonReason(cause)
    return tuple(lifecycle.abandon(state, now, reason=reason) for state in states)


def _interrupts(before: Phase, after: Phase) -> tuple[Effect, ...]:
    """What becomes of the run in hand when a step ends it."""
    if before.run_id is not None and after.run_id is None:
        return (InterruptRun(before.run_id),)
    return ()


def _told(
    before: Phase, after: Phase, states: Iterable[InputState], *last: Telling
) -> tuple[Telling, ...]:
    """What a control step tells: the inputs it gives up, the new state."""
    changed = [] if before.state is after.state else [state_changed(before.state, after.state)]
    return (*map(settled, states), *changed, *last)


@cache
def _topology(code: EventCode) -> Emit:
    return Emit(TopologyEvent(code))
