"""Outcomes: what became of an offered input, and how a completion handle ends."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Final

from attrs import field, frozen

from meerkat.identifiers import InputId
from meerkat.input_lifecycle import (
    AbandonCause,
    AbandonedOutcome,
    CoalescedOutcome,
    ConsumedOutcome,
    InputState,
    SupersededOutcome,
)
from meerkat.json_values import JsonValue, plain
from meerkat.policy import PolicyDecision
from meerkat.words import Word


class RejectReason:
    """Why an input was not admitted (tag ``reject_type``); prints its detail."""

    __slots__ = ()
    detail: str

    def __str__(self) -> str:
        return self.detail


@frozen(str=False)
class DurabilityViolation(RejectReason):
    """Derived durability where it is not allowed."""

    detail: str


@frozen(str=False)
class PeerHandlingModeInvalid(RejectReason):
    """A handling mode on a progress response."""

    detail: str


@frozen(str=False)
class PeerResponseTerminalInvalid(RejectReason):
    """A terminal response without a peer, or without the request it answers."""

    detail: str


class AcceptOutcome:
    """What became of an offered input (tag ``outcome_type``)."""

    __slots__ = ()

    @property
    def is_accepted(self) -> bool:
        """Was it taken in?"""
        return isinstance(self, Accepted)

    @property
    def is_deduplicated(self) -> bool:
        """Was it known already?"""
        return isinstance(self, Deduplicated)

    @property
    def is_rejected(self) -> bool:
        """Was it refused at the door?"""
        return isinstance(self, Rejected)


@frozen(kw_only=True)
class Accepted(AcceptOutcome):
    """Taken in, and on disk if it is durable."""

    input_id: InputId
    policy: PolicyDecision
    state: InputState


@frozen(kw_only=True)
class Deduplicated(AcceptOutcome):
    """Known already, by its idempotency key or its id; nothing was stored."""

    input_id: InputId
    existing_id: InputId
    existing_state: InputState


@frozen(kw_only=True)
class Rejected(AcceptOutcome):
    """Not admitted; nothing was stored."""

    reason: RejectReason


class CompletionKind(str, Word):  # noqa: SLOT000 - an enumeration has none
    """The ways a completion handle ends. A member equals its word: ``kind == "completed"``."""

    __hash__ = str.__hash__

    COMPLETED = "completed"
    COMPLETED_WITHOUT_RESULT = "completed_without_result"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"
    DISPLACED = "displaced"
    RUNTIME_TERMINATED = "runtime_terminated"


class TerminationReason(Word):
    """Why a runtime ended the handles of its inputs."""

    RESET = "runtime reset"
    STOPPED = "runtime stopped"
    DESTROYED = "runtime destroyed"
    UNREGISTERED = "runtime session unregistered"
    RETIRED = "retired without runtime loop"
    PLANE_STOPPED = "control plane stopped"
    TAKEN_OVER = "taken over"
    PROCESS_ENDED = "ephemeral input lost with its process"


@frozen
class CompletionOutcome:
    """How an input ended, as a waiting host sees it.

    ``result`` with completed; ``reason`` with abandoned and runtime_terminated; ``error``
    the last failure of an abandoned one; ``displaced_by`` the input that took its place.
    """

    kind: CompletionKind
    result: JsonValue = field(default=None, converter=plain, repr=False)
    reason: str | None = None
    error: str | None = field(default=None, repr=False)
    displaced_by: InputId | None = None


class CompletionHandle(Future[CompletionOutcome]):
    """A standard future that ends with a CompletionOutcome, whatever the ending.

    ``result()`` never raises for an ending. ``cancel()`` returns False: waiting is the
    caller's, the work is not. Thread-safe.
    """

    def cancel(self) -> bool:
        """Refuse: a handle cannot cancel the work it watches."""
        return False

    @classmethod
    def resolved(cls, outcome: CompletionOutcome) -> CompletionHandle:
        """A handle that has ended already."""
        handle = cls()
        handle.set_result(outcome)
        return handle


_TERMINATED: Final[Mapping[AbandonCause, TerminationReason]] = {
    AbandonCause.RESET: TerminationReason.RESET,
    AbandonCause.STOPPED: TerminationReason.STOPPED,
    AbandonCause.DESTROYED: TerminationReason.DESTROYED,
    AbandonCause.RETIRED: TerminationReason.RETIRED,
}


def terminated(reason: TerminationReason) -> CompletionOutcome:
    """The ending of a handle whose runtime ended first."""
    return CompletionOutcome(CompletionKind.RUNTIME_TERMINATED, reason=str(reason))


def completion_of(state: InputState) -> CompletionOutcome | None:
    """How the handles of an input end; None while it is not terminal.

    The one rule for handles in waiting and for those asked for later, so both end equally.
    """
    match state.terminal_outcome:
        case None:
            return None
        case ConsumedOutcome() if state.result is None:
            return CompletionOutcome(CompletionKind.COMPLETED_WITHOUT_RESULT)
        case ConsumedOutcome():
            return CompletionOutcome(CompletionKind.COMPLETED, result=state.result)
        case SupersededOutcome(superseded_by=by) | CoalescedOutcome(aggregate_id=by):
            return CompletionOutcome(CompletionKind.DISPLACED, displaced_by=by)
        case AbandonedOutcome(reason=reason) if reason.cause in _TERMINATED:
            return terminated(_TERMINATED[reason.cause])
        case AbandonedOutcome(reason=reason) if reason.cause is AbandonCause.CANCELLED:
            return CompletionOutcome(
                CompletionKind.CANCELLED, reason=str(reason), error=state.last_error
            )
        case AbandonedOutcome(reason=reason):
            return CompletionOutcome(
                CompletionKind.ABANDONED, reason=str(reason), error=state.last_error
            )
    raise TypeError(f"unknown outcome {type(state.terminal_outcome).__name__}")
