"""Events: what a runtime tells of itself.

An envelope names its runtime and carries a sequence number that the driver stamps; that
number, not the id, is the order. Events live in memory; the input histories are the
durable record.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from attrs import field, frozen

from meerkat.identifiers import (
    CausationId,
    CorrelationId,
    InputId,
    LogicalRuntimeId,
    OperationId,
    RunId,
    RuntimeEventId,
    as_runtime_id,
)
from meerkat.json_values import JsonValue, own
from meerkat.minting import stamp
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.words import Word


class EventCode(Word):
    """What happened, in one word."""

    INPUT_ACCEPTED = "input.accepted"
    INPUT_DEDUPLICATED = "input.deduplicated"
    INPUT_REJECTED = "input.rejected"
    INPUT_SUPERSEDED = "input.superseded"
    INPUT_COALESCED = "input.coalesced"
    INPUT_QUEUED = "input.queued"
    INPUT_STAGED = "input.staged"
    INPUT_APPLIED = "input.applied"
    INPUT_CONSUMED = "input.consumed"
    INPUT_ABANDONED = "input.abandoned"
    RUN_STARTED = "run.started"
    RUN_PROGRESS = "run.progress"
    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    RUNTIME_STATE_CHANGED = "runtime.state_changed"
    RUNTIME_CREATED = "topology.runtime_created"
    RUNTIME_RETIRED = "topology.runtime_retired"
    RUNTIME_RECYCLED = "topology.runtime_recycled"
    RUNTIME_DESTROYED = "topology.runtime_destroyed"
    RUNTIME_SET_ASIDE = "topology.runtime_set_aside"
    PROJECTION_EMITTED = "runtime.projection_emitted"
    OPERATION_STARTED = "operation.started"
    OPERATION_PROGRESS = "operation.progress"
    OPERATION_COMPLETED = "operation.completed"


def _code_of(*codes: EventCode) -> Any:
    def check(_instance: object, _attribute: object, value: object) -> None:
        if value not in codes:
            raise ValueError(f"{value} is not a code of this category")

    return check


def _codes(prefix: str) -> Any:
    return _code_of(*(code for code in EventCode if code.value.startswith(prefix)))


class Event:
    """What happened (tag ``category``)."""

    __slots__ = ()
    category: ClassVar[str]
    code: EventCode


@frozen
class InputLifecycleEvent(Event):
    """A step in an input's life."""

    category = "input_lifecycle"
    code: EventCode = field(validator=_codes("input."))
    input_id: InputId
    reason: str | None = None
    related_input_id: InputId | None = None


@frozen
class RunLifecycleEvent(Event):
    """A step in a run's life. ``detail`` is the error's or the progress text."""

    category = "run_lifecycle"
    code: EventCode = field(validator=_codes("run."))
    run_id: RunId
    detail: str | None = field(default=None, repr=False)


@frozen
class RuntimeStateChange(Event):
    """A runtime went from one state to another. On the wire: from, to."""

    category = "runtime_state_change"
    from_state: RuntimeState
    to_state: RuntimeState
    code: EventCode = field(
        default=EventCode.RUNTIME_STATE_CHANGED,
        validator=_code_of(EventCode.RUNTIME_STATE_CHANGED),
    )


@frozen
class TopologyEvent(Event):
    """A runtime came, or went. ``reason`` says why it was set aside."""

    category = "topology"
    code: EventCode = field(validator=_codes("topology."))
    reason: str | None = None


@frozen
class ProjectionEvent(Event):
    """Something a host wants to be told in order with the rest."""

    category = "projection"
    projection: JsonValue = field(default=None, converter=own, repr=False)
    code: EventCode = field(
        default=EventCode.PROJECTION_EMITTED, validator=_code_of(EventCode.PROJECTION_EMITTED)
    )


@frozen
class OperationEvent(Event):
    """A step in an operation's life."""

    category = "operation"
    code: EventCode = field(validator=_codes("operation."))
    operation_id: OperationId
    detail: str | None = None


@frozen(kw_only=True)
class RuntimeEventEnvelope:
    """One event of one runtime. ``sequence`` is stamped by the driver; 0 until then."""

    id: RuntimeEventId = field(factory=RuntimeEventId.new)
    runtime_id: LogicalRuntimeId = field(converter=as_runtime_id)
    sequence: int = 0
    timestamp: datetime = field(factory=stamp)
    event: Event
    causation_id: CausationId | None = None
    correlation_id: CorrelationId | None = None


@frozen(kw_only=True)
class EventGap:
    """Events that a reader missed: everything after ``requested`` to ``dropped_through``."""

    requested: int
    dropped_through: int
    watermark: int
