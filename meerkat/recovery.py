"""Recovery: what a crash leaves, and what it becomes.

One table, from the phase an input was found in and whether its receipt is stored, to what
is done with it. It serves a restart, a rebuild after a failed commit, and a recovery asked
for by an operator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Final

from attrs import evolve

from meerkat import input_lifecycle as lifecycle
from meerkat.errors import RecoveryCorruption
from meerkat.identifiers import InputId, RunId
from meerkat.input_lifecycle import AbandonCause, AbandonReason, InputPhase, InputState
from meerkat.inputs import Input
from meerkat.policy import ConsumePoint, PolicyTable, ask
from meerkat.reports import RecoveryReport
from meerkat.words import Word

ReceiptKey = tuple[RunId, int]


class Repair(Word):
    """What recovery does with an input."""

    KEEP = "kept as queued"
    QUEUE = "queued what was only accepted"
    REQUEUE = "requeued what was in flight"
    CONSUME = "consumed what a receipt proves"
    KEEP_APPLIED = "kept as applied, for want of receipts"
    ABANDON = "abandoned after too many attempts"


_APPLIED: Final = frozenset({InputPhase.APPLIED, InputPhase.APPLIED_PENDING_CONSUMPTION})
_COUNTS_AS_REQUEUED: Final = frozenset({Repair.QUEUE, Repair.REQUEUE})
_AT_REST: Final[Mapping[InputPhase, Repair]] = {
    InputPhase.ACCEPTED: Repair.QUEUE,
    InputPhase.QUEUED: Repair.KEEP,
}


def receipts_wanted(states: Iterable[InputState]) -> tuple[ReceiptKey, ...]:
    """The receipts that decide what becomes of the applied inputs."""
    wanted = {
        (state.last_run_id, state.last_boundary_sequence or 0): None
        for state in states
        if state.phase in _APPLIED and state.last_run_id is not None
    }
    return tuple(wanted)


def repair_for(
    state: InputState, proven: AbstractSet[InputId] | None, crash_attempts_max: int
) -> Repair:
    """What becomes of a non-terminal input; ``proven`` None means no receipt can be asked for."""
    at_rest = _AT_REST.get(state.phase)
    if at_rest is not None:
        return at_rest
    if state.phase in _APPLIED:
        if proven is None:
            return Repair.KEEP_APPLIED
        if state.input_id in proven:
            return Repair.CONSUME
    if state.attempt_count >= crash_attempts_max:
        return Repair.ABANDON
    return Repair.REQUEUE


def repaired(
    state: InputState, repair: Repair, now: datetime, *, policy: PolicyTable, sequence: int
) -> InputState:
    """The input after its repair; ``sequence`` is used for one that has none yet."""
    after = _after(state, repair, now, policy, sequence)
    return after if after is state else evolve(after, recovery_count=state.recovery_count + 1)


def _after(
    state: InputState, repair: Repair, now: datetime, policy: PolicyTable, sequence: int
) -> InputState:
    match repair:
        case Repair.KEEP | Repair.KEEP_APPLIED:
            return state
        case Repair.QUEUE:
            return _queued(state, now, policy, sequence)
        case Repair.REQUEUE:
            return _requeued(state, now)
        case Repair.CONSUME:
            return _consumed(state, now)
        case Repair.ABANDON:
            reason = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, state.attempt_count)
            return lifecycle.abandon(state, now, reason=reason)


def _queued(state: InputState, now: datetime, policy: PolicyTable, sequence: int) -> InputState:
    offered = _payload(state)
    decision = state.policy or ask(policy, offered, running=False)
    if decision.consume_point is ConsumePoint.ON_ACCEPT:
        return lifecycle.consume_on_accept(state, now, policy=decision)
    place = sequence if state.admission_sequence is None else state.admission_sequence
    return lifecycle.queue_accepted(state, now, policy=decision, sequence=place)


def _requeued(state: InputState, now: datetime) -> InputState:
    _payload(state)
    return lifecycle.recover(state, now)


def _payload(state: InputState) -> Input:
    if state.input is None:
        raise RecoveryCorruption(f"input {state.input_id}: {state.phase} without its payload")
    return state.input


def _consumed(state: InputState, now: datetime) -> InputState:
    if state.phase is InputPhase.APPLIED:
        sequence = state.last_boundary_sequence or 0
        state = lifecycle.mark_applied_pending_consumption(state, now, sequence=sequence)
    return lifecycle.consume(state, now)


def report_of(repairs: Iterable[Repair]) -> RecoveryReport:
    """Count what was done; one line for each kind of action that was taken."""
    counts = Counter(repairs)
    if not counts:
        return RecoveryReport()
    return RecoveryReport(
        inputs_recovered=counts.total(),
        inputs_requeued=sum(counts[repair] for repair in _COUNTS_AS_REQUEUED),
        inputs_abandoned=counts[Repair.ABANDON],
        details=[
            f"{repair}: {counts[repair]}"
            for repair in Repair
            if counts[repair] and repair is not Repair.KEEP
        ],
    )


def refuse_corruption(state: InputState) -> InputState:
    """Pass a sound row on; RecoveryCorruption names one that contradicts itself."""
    wrong = lifecycle.contradiction(state)
    if wrong is not None:
        raise RecoveryCorruption(f"input {state.input_id}: {wrong}")
    return state
