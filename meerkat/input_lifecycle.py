"""The input's lifecycle: which phase follows which, as a table, with its guards.

An :class:`InputState` is the whole of what is known of one input. Each step gives a new
one with one line more of history, or raises InvalidInputTransition and gives nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from meerkat.copies import changed
from meerkat.errors import InvalidInputTransition
from meerkat.identifiers import CausationId, CorrelationId, IdempotencyKey, InputId, RunId
from meerkat.inputs import Durability, Input
from meerkat.json_values import JsonValue, own
from meerkat.policy import PolicyDecision
from meerkat.words import Word


class InputPhase(Word):
    """How far an input has come."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    STAGED = "staged"
    APPLIED = "applied"
    APPLIED_PENDING_CONSUMPTION = "applied_pending_consumption"
    CONSUMED = "consumed"
    SUPERSEDED = "superseded"
    COALESCED = "coalesced"
    ABANDONED = "abandoned"

    @property
    def is_terminal(self) -> bool:
        """Is no further step possible?"""
        return self in TERMINAL


TERMINAL: Final = frozenset(
    {InputPhase.CONSUMED, InputPhase.SUPERSEDED, InputPhase.COALESCED, InputPhase.ABANDONED}
)
ACTIVE: Final = frozenset(InputPhase) - TERMINAL


class InputStep(Word):
    """What may happen to an input."""

    QUEUE_ACCEPTED = "queue_accepted"
    CONSUME_ON_ACCEPT = "consume_on_accept"
    STAGE_FOR_RUN = "stage_for_run"
    ROLLBACK_STAGED = "rollback_staged"
    MARK_APPLIED = "mark_applied"
    MARK_APPLIED_PENDING_CONSUMPTION = "mark_applied_pending_consumption"
    CONSUME = "consume"
    RECOVER = "recover"
    SUPERSEDE = "supersede"
    COALESCE = "coalesce"
    ABANDON = "abandon"


_P = InputPhase

TRANSITIONS: Final[Mapping[InputStep, Mapping[InputPhase, InputPhase]]] = {
    InputStep.QUEUE_ACCEPTED: {_P.ACCEPTED: _P.QUEUED},
    InputStep.CONSUME_ON_ACCEPT: {_P.ACCEPTED: _P.CONSUMED},
    InputStep.STAGE_FOR_RUN: {_P.QUEUED: _P.STAGED},
    InputStep.ROLLBACK_STAGED: {_P.STAGED: _P.QUEUED},
    InputStep.MARK_APPLIED: {_P.STAGED: _P.APPLIED},
    InputStep.MARK_APPLIED_PENDING_CONSUMPTION: {_P.APPLIED: _P.APPLIED_PENDING_CONSUMPTION},
    InputStep.CONSUME: {_P.APPLIED_PENDING_CONSUMPTION: _P.CONSUMED},
    InputStep.RECOVER: dict.fromkeys(
        (_P.STAGED, _P.APPLIED, _P.APPLIED_PENDING_CONSUMPTION), _P.QUEUED
    ),
    InputStep.SUPERSEDE: {_P.QUEUED: _P.SUPERSEDED},
    InputStep.COALESCE: {_P.QUEUED: _P.COALESCED},
    InputStep.ABANDON: dict.fromkeys(ACTIVE, _P.ABANDONED),
}
"""step → {phase before: phase after}; what is not here is refused."""


class AbandonCause(Word):
    """Why an input was given up."""

    RETIRED = "retired"
    RESET = "reset"
    STOPPED = "stopped"
    DESTROYED = "destroyed"
    CANCELLED = "cancelled"
    MAX_ATTEMPTS_EXHAUSTED = "max_attempts_exhausted"


@frozen
class AbandonReason:
    """Why an input was given up; ``attempts`` with max_attempts_exhausted alone."""

    cause: AbandonCause
    attempts: int | None = None

    def __attrs_post_init__(self) -> None:
        exhausted = self.cause is AbandonCause.MAX_ATTEMPTS_EXHAUSTED
        if exhausted != (self.attempts is not None):
            raise ValueError("attempts goes with max_attempts_exhausted, and with nothing else")

    def __str__(self) -> str:
        return str(self.cause)


class TerminalOutcome:
    """How an input ended (tag ``outcome_type``)."""

    __slots__ = ()


@frozen
class ConsumedOutcome(TerminalOutcome):
    """A run, or its acceptance, used it up."""


@frozen
class SupersededOutcome(TerminalOutcome):
    """A later input took its place."""

    superseded_by: InputId


@frozen
class CoalescedOutcome(TerminalOutcome):
    """It was merged into a later input."""

    aggregate_id: InputId


@frozen
class AbandonedOutcome(TerminalOutcome):
    """It was given up."""

    reason: AbandonReason


_CONSUMED: Final = ConsumedOutcome()

_OUTCOME_PHASE: Final[Mapping[type[TerminalOutcome], InputPhase]] = {
    ConsumedOutcome: InputPhase.CONSUMED,
    SupersededOutcome: InputPhase.SUPERSEDED,
    CoalescedOutcome: InputPhase.COALESCED,
    AbandonedOutcome: InputPhase.ABANDONED,
}


@frozen
class HistoryEntry:
    """One step of an input's life. On the wire: timestamp, from, to, reason."""

    timestamp: datetime
    from_phase: InputPhase
    to_phase: InputPhase
    reason: str | None = None


@frozen(kw_only=True)
class InputState:
    """All that is known of one input. ``input`` itself only while it is not terminal."""

    input_id: InputId
    phase: InputPhase = InputPhase.ACCEPTED
    policy: PolicyDecision | None = None
    durability: Durability = Durability.DURABLE
    idempotency_key: IdempotencyKey | None = None
    correlation_id: CorrelationId | None = None
    causation_id: CausationId | None = None
    attempt_count: int = 0
    recovery_count: int = 0
    history: tuple[HistoryEntry, ...] = ()
    created_at: datetime
    updated_at: datetime
    last_run_id: RunId | None = None
    last_boundary_sequence: int | None = None
    admission_sequence: int | None = None
    terminal_outcome: TerminalOutcome | None = None
    result: JsonValue = field(default=None, converter=own, repr=False)
    last_error: str | None = field(default=None, repr=False)
    input: Input | None = None

    @classmethod
    def of(cls, input: Input, now: datetime) -> InputState:  # noqa: A002
        """A newly accepted input: nothing decided yet, no history."""
        return cls(
            input_id=input.id,
            durability=input.durability,
            idempotency_key=input.idempotency_key,
            correlation_id=input.correlation_id,
            causation_id=input.causation_id,
            created_at=now,
            updated_at=now,
            input=input,
        )

    @property
    def is_terminal(self) -> bool:
        """Is no further step possible?"""
        return self.phase in TERMINAL


def allows(state: InputState, step: InputStep) -> bool:
    """Can this step be taken, guards aside? Changes nothing."""
    return state.phase in TRANSITIONS[step]


def _step(state: InputState, step: InputStep, now: datetime, /, **changes: Any) -> InputState:
    return _steps(state, (step,), now, **changes)


def _steps(
    state: InputState, steps: tuple[InputStep, ...], now: datetime, /, **changes: Any
) -> InputState:
    """Take steps one after the other: one line of history each, one new value for all."""
    phase, history, reason = state.phase, list(state.history), changes.pop("reason", None)
    for step in steps:
        after = TRANSITIONS[step].get(phase)
        if after is None:
            raise InvalidInputTransition(str(step), str(phase), "no such step from here")
        said = None if reason is None else str(reason)
        history.append(HistoryEntry(now, phase, after, said))
        phase = after
    if phase in TERMINAL:
        changes["input"] = None
    return changed(state, phase=phase, history=tuple(history), updated_at=now, **changes)


def _refuse(state: InputState, step: InputStep, reason: str) -> InvalidInputTransition:
    return InvalidInputTransition(str(step), str(state.phase), reason)


def queue_accepted(
    state: InputState, now: datetime, *, policy: PolicyDecision, sequence: int
) -> InputState:
    """Put an accepted input in its lane under its place in the order of admission."""
    return _step(state, InputStep.QUEUE_ACCEPTED, now, policy=policy, admission_sequence=sequence)


def consume_on_accept(state: InputState, now: datetime, *, policy: PolicyDecision) -> InputState:
    """Consume an input that its acceptance uses up."""
    return _step(
        state,
        InputStep.CONSUME_ON_ACCEPT,
        now,
        policy=policy,
        terminal_outcome=_CONSUMED,
        reason="consume_on_accept",
    )


def stage_for_run(state: InputState, now: datetime, *, run_id: RunId) -> InputState:
    """Take a queued input in hand for a run: one attempt more."""
    return _step(
        state,
        InputStep.STAGE_FOR_RUN,
        now,
        attempt_count=state.attempt_count + 1,
        last_run_id=run_id,
        last_boundary_sequence=None,
    )


def rollback_staged(
    state: InputState, now: datetime, *, reason: str, error: str | None, uncounted: bool = False
) -> InputState:
    """Put a staged input back at the head of its lane; an uncounted one gets its attempt back."""
    return _step(
        state,
        InputStep.ROLLBACK_STAGED,
        now,
        reason=reason,
        last_run_id=None,
        attempt_count=state.attempt_count - (1 if uncounted else 0),
        last_error=error if error is not None else state.last_error,
    )


def mark_applied(state: InputState, now: datetime, *, run_id: RunId) -> InputState:
    """Say that the run it was staged for has applied it."""
    _refuse_other_run(state, run_id)
    return _step(state, InputStep.MARK_APPLIED, now)


def _refuse_other_run(state: InputState, run_id: RunId) -> None:
    if state.phase is InputPhase.STAGED and state.last_run_id != run_id:
        raise _refuse(state, InputStep.MARK_APPLIED, f"staged for another run than {run_id}")


def mark_applied_pending_consumption(
    state: InputState, now: datetime, *, sequence: int
) -> InputState:
    """Say which boundary of its run proves it."""
    return _step(
        state,
        InputStep.MARK_APPLIED_PENDING_CONSUMPTION,
        now,
        last_boundary_sequence=sequence,
    )


def consume(state: InputState, now: datetime, *, result: JsonValue = None) -> InputState:
    """End an applied input; the run's result stays with it."""
    return _step(state, InputStep.CONSUME, now, terminal_outcome=_CONSUMED, result=result)


_AT_BOUNDARY: Final = (
    InputStep.MARK_APPLIED,
    InputStep.MARK_APPLIED_PENDING_CONSUMPTION,
    InputStep.CONSUME,
)


def consume_at_boundary(
    state: InputState, now: datetime, *, run_id: RunId, sequence: int, result: JsonValue = None
) -> InputState:
    """Take the last three steps of a staged input at once: applied, pending, consumed."""
    _refuse_other_run(state, run_id)
    return _steps(
        state,
        _AT_BOUNDARY,
        now,
        last_boundary_sequence=sequence,
        terminal_outcome=_CONSUMED,
        result=result,
    )


def recover(state: InputState, now: datetime) -> InputState:
    """Put back an input that was in flight when its process ended; its attempt counts."""
    return _step(
        state,
        InputStep.RECOVER,
        now,
        reason="recovered",
        last_run_id=None,
        last_boundary_sequence=None,
    )


def supersede(state: InputState, now: datetime, *, by: InputId) -> InputState:
    """End a queued input whose place a later one takes."""
    return _step(
        state, InputStep.SUPERSEDE, now, terminal_outcome=SupersededOutcome(by), reason="superseded"
    )


def coalesce(state: InputState, now: datetime, *, into: InputId) -> InputState:
    """End a queued input that a later one absorbs."""
    return _step(
        state, InputStep.COALESCE, now, terminal_outcome=CoalescedOutcome(into), reason="coalesced"
    )


def abandon(
    state: InputState, now: datetime, *, reason: AbandonReason, error: str | None = None
) -> InputState:
    """Give up an input that is not terminal."""
    return _step(
        state,
        InputStep.ABANDON,
        now,
        reason=reason,
        terminal_outcome=AbandonedOutcome(reason),
        last_error=error if error is not None else state.last_error,
    )


_IN_LINE: Final = ("input", "admission_sequence", "policy")
_NEEDED: Final[Mapping[InputPhase, tuple[str, ...]]] = {
    InputPhase.QUEUED: _IN_LINE,
    InputPhase.STAGED: (*_IN_LINE, "last_run_id"),
    InputPhase.APPLIED: ("admission_sequence", "policy", "last_run_id"),
    InputPhase.APPLIED_PENDING_CONSUMPTION: ("admission_sequence", "policy", "last_run_id"),
}
"""phase → what an input in it cannot be without."""


def contradiction(state: InputState) -> str | None:
    """What a stored state says against itself; None when it is sound."""
    outcome = state.terminal_outcome
    if state.is_terminal != (outcome is not None):
        return "terminal without its outcome" if outcome is None else "an outcome, yet not terminal"
    if outcome is not None and _OUTCOME_PHASE[type(outcome)] is not state.phase:
        return f"phase {state.phase} with another phase's outcome"
    if isinstance(outcome, AbandonedOutcome):
        attempts = outcome.reason.attempts
        if attempts is not None and attempts != state.attempt_count:
            return f"exhausted after {attempts} attempts, yet {state.attempt_count} were counted"
    for name in _NEEDED.get(state.phase, ()):
        if getattr(state, name) is None:
            return f"{state.phase} without its {'payload' if name == 'input' else name}"
    return None
