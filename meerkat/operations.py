"""Operations: the words, the table of steps and the values of one asynchronous operation.

What may follow what is decided here, from data, without a lock and without a clock: times
arrive as arguments and :func:`take_step` answers with a new record. What is known of many
operations, who watches them and what is recorded first is the registry's
(:mod:`meerkat.operations_registry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeAlias

from attrs import Attribute, evolve, field, frozen, validators

from meerkat.checks import unsigned, utc_time
from meerkat.identifiers import OperationId
from meerkat.json_values import JsonValue, carriable, check, dump, own
from meerkat.operation_errors import AlreadyPeerReady, InvalidTransition, PeerNotExpected
from meerkat.words import Word


class OperationKind(Word):
    """What sort of work an operation is."""

    MOB_MEMBER_CHILD = "mob_member_child"
    BACKGROUND_TOOL_OP = "background_tool_op"
    BACKGROUND_TOOL_CAPACITY_SLOT = "background_tool_capacity_slot"

    @property
    def is_recorded(self) -> bool:
        """Whether its end is stored and fed; a capacity slot only ever counts as live."""
        return self is not OperationKind.BACKGROUND_TOOL_CAPACITY_SLOT


class OperationStatus(Word):
    """Where an operation is: live in the first three, ended in the others."""

    PROVISIONING = "provisioning"
    RUNNING = "running"
    RETIRING = "retiring"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    CANCELLED = "cancelled"
    RETIRED = "retired"
    TERMINATED = "terminated"

    @property
    def is_terminal(self) -> bool:
        """Whether no further step is possible."""
        return self not in LIVE


class OperationStep(Word):
    """What may be reported of an operation."""

    REGISTER = "register"
    PROVISIONING_SUCCEEDED = "provisioning_succeeded"
    PROVISIONING_FAILED = "provisioning_failed"
    COMPLETE = "complete"
    FAIL = "fail"
    ABORT = "abort"
    CANCEL = "cancel"
    PEER_READY = "peer_ready"
    PROGRESS = "progress"
    REQUEST_RETIRE = "request_retire"
    MARK_RETIRED = "mark_retired"
    TERMINATE_OWNER = "terminate_owner"


# --- the table --------------------------------------------------------------------------

_Targets: TypeAlias = Mapping[OperationStatus | None, OperationStatus]
_PROVISIONING: Final = OperationStatus.PROVISIONING
_RUNNING: Final = OperationStatus.RUNNING
_RETIRING: Final = OperationStatus.RETIRING
_UNDER_WAY: Final = (_RUNNING, _RETIRING)

LIVE: Final = frozenset({_PROVISIONING, _RUNNING, _RETIRING})
"""The statuses an operation can leave."""


def _all_to(target: OperationStatus, *sources: OperationStatus) -> _Targets:
    return MappingProxyType(dict.fromkeys(sources, target))


STEPS: Final[Mapping[OperationStep, _Targets]] = MappingProxyType(
    {
        OperationStep.REGISTER: MappingProxyType({None: _PROVISIONING}),
        OperationStep.PROVISIONING_SUCCEEDED: _all_to(_RUNNING, _PROVISIONING),
        OperationStep.PROVISIONING_FAILED: _all_to(
            OperationStatus.FAILED, _PROVISIONING, *_UNDER_WAY
        ),
        OperationStep.COMPLETE: _all_to(OperationStatus.COMPLETED, *_UNDER_WAY),
        OperationStep.FAIL: _all_to(OperationStatus.FAILED, _PROVISIONING, *_UNDER_WAY),
        OperationStep.ABORT: _all_to(OperationStatus.ABORTED, _PROVISIONING),
        OperationStep.CANCEL: _all_to(OperationStatus.CANCELLED, _PROVISIONING, *_UNDER_WAY),
        OperationStep.PEER_READY: MappingProxyType({at: at for at in _UNDER_WAY}),
        OperationStep.PROGRESS: MappingProxyType({at: at for at in _UNDER_WAY}),
        OperationStep.REQUEST_RETIRE: _all_to(_RETIRING, _RUNNING),
        OperationStep.MARK_RETIRED: _all_to(OperationStatus.RETIRED, *_UNDER_WAY),
        OperationStep.TERMINATE_OWNER: _all_to(
            OperationStatus.TERMINATED, _PROVISIONING, *_UNDER_WAY
        ),
    }
)
"""Every legal step: step -> {from: to}. ``None`` is an operation not yet registered."""

END_STEPS: Final[Mapping[OperationStatus, OperationStep]] = MappingProxyType(
    {
        target: step
        for step, targets in STEPS.items()
        for target in targets.values()
        if target.is_terminal and step is not OperationStep.PROVISIONING_FAILED
    }
)
"""The step that an end is told as when its record alone is known: failed is told as fail."""


# --- outcomes ---------------------------------------------------------------------------


def _json(_instance: object, _attribute: Attribute[Any], value: Any) -> None:
    check(value)
    dump(value)


_text: Final = validators.instance_of(str)


def _spelt(value: Any) -> Any:
    """A text as UTF-8 can carry it: a record that no store takes would end no more."""
    return carriable(value) if isinstance(value, str) else value


class OperationOutcome:
    """How an operation ended (tag ``outcome_type``, its word that of ``status``)."""

    __slots__ = ()
    status: ClassVar[OperationStatus]


@frozen(kw_only=True)
class OperationCompleted(OperationOutcome):
    """It did what it was for. ``result`` is JSON; ValueError for what JSON cannot carry."""

    status = OperationStatus.COMPLETED
    result: JsonValue = field(default=None, converter=own, validator=_json, repr=False)


@frozen(kw_only=True)
class OperationFailed(OperationOutcome):
    """It could not do what it was for."""

    status = OperationStatus.FAILED
    error: str = field(converter=_spelt, validator=_text, repr=False)


@frozen(kw_only=True)
class OperationAborted(OperationOutcome):
    """It was given up before it ran."""

    status = OperationStatus.ABORTED
    reason: str = field(converter=_spelt, validator=_text)


@frozen(kw_only=True)
class OperationCancelled(OperationOutcome):
    """Somebody no longer wanted it."""

    status = OperationStatus.CANCELLED
    reason: str = field(converter=_spelt, validator=_text)


@frozen(kw_only=True)
class OperationRetired(OperationOutcome):
    """It left in good order."""

    status = OperationStatus.RETIRED


@frozen(kw_only=True)
class OperationTerminated(OperationOutcome):
    """Its owner ended, and it with it."""

    status = OperationStatus.TERMINATED
    reason: str = field(converter=_spelt, validator=_text)


# --- records ----------------------------------------------------------------------------

_optional_utc: Final = validators.optional(utc_time)


@frozen(kw_only=True)
class OperationRecord:
    """All that is known of one operation at one moment. Immutable, safe to share.

    Raises TypeError and ValueError for a wrong type or range, and ValueError for a record
    that contradicts itself: outcome, ``completed_at`` and a terminal status come together.
    Lone surrogates in its texts, as in odd file names, are spelt out.
    """

    operation_id: OperationId = field(validator=validators.instance_of(OperationId))
    kind: OperationKind = field(validator=validators.instance_of(OperationKind))
    display_name: str = field(converter=_spelt, validator=_text)
    status: OperationStatus = field(
        default=_PROVISIONING, validator=validators.instance_of(OperationStatus)
    )
    progress_count: int = field(default=0, validator=unsigned)
    peer_handle: str | None = field(
        default=None, converter=_spelt, validator=validators.optional(_text)
    )
    created_at: datetime = field(validator=utc_time)
    started_at: datetime | None = field(default=None, validator=_optional_utc)
    completed_at: datetime | None = field(default=None, validator=_optional_utc)
    outcome: OperationOutcome | None = field(
        default=None, validator=validators.optional(validators.instance_of(OperationOutcome))
    )

    def __attrs_post_init__(self) -> None:
        ended = self.status if self.status.is_terminal else None
        if ended is not (self.outcome and self.outcome.status):
            raise ValueError(f"status {self.status} contradicts the outcome")
        if (ended is None) is not (self.completed_at is None):
            raise ValueError(f"status {self.status} contradicts completed_at")
        if self.peer_ready and self.kind is not OperationKind.MOB_MEMBER_CHILD:
            raise ValueError(f"a {self.kind} is never peer-ready")

    @property
    def peer_ready(self) -> bool:
        """Whether the operation was reported ready as a peer, under ``peer_handle``."""
        return self.peer_handle is not None

    @property
    def elapsed(self) -> timedelta | None:
        """From registration to the end, never negative; none while the operation is live."""
        if self.completed_at is None:
            return None
        return max(self.completed_at - self.created_at, timedelta(0))


@frozen(kw_only=True)
class OperationSnapshot(OperationRecord):
    """A record as a reader sees it: with the number of those who wait for its end."""

    watcher_count: int = field(default=0, validator=unsigned)


def take_step(
    record: OperationRecord,
    step: OperationStep,
    *,
    at: datetime,
    outcome: OperationOutcome | None = None,
    peer_handle: str | None = None,
) -> OperationRecord:
    """The record after ``step`` was taken at ``at``; the one given is unchanged.

    ``outcome`` goes with a step that ends, ``peer_handle`` with peer_ready. Raises
    InvalidTransition outside the table, PeerNotExpected and AlreadyPeerReady. Pure.
    """
    peers = step is OperationStep.PEER_READY
    if peers and record.kind is not OperationKind.MOB_MEMBER_CHILD:
        raise PeerNotExpected(record.operation_id, record.kind)
    status = STEPS[step].get(record.status)
    if status is None:
        raise InvalidTransition(record.operation_id, record.status, step)
    if status.is_terminal:
        return evolve(record, status=status, completed_at=at, outcome=outcome)
    if peers:
        if record.peer_ready:
            raise AlreadyPeerReady(record.operation_id)
        if peer_handle is None:
            raise TypeError("peer_ready takes the handle of the peer")
        return evolve(record, peer_handle=peer_handle)
    if step is OperationStep.PROGRESS:
        return evolve(record, progress_count=record.progress_count + 1)
    return evolve(record, status=status, started_at=record.started_at or at)
