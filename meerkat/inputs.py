"""Inputs: what may come into a runtime.

Six variants under one header. Inputs are frozen values, checked for type and range when
they are built; whether a combination is legal is decided at admission, never here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from attrs import NOTHING, Attribute, field, frozen, validators

from meerkat.identifiers import (
    CorrelationId,
    IdempotencyKey,
    InputId,
    LogicalRuntimeId,
    OperationId,
    SupersessionKey,
)
from meerkat.json_values import JsonValue, own
from meerkat.words import Word


class InputKind(Word):
    """What sort of work an input is: the row a policy table is read by."""

    PROMPT = "prompt"
    PEER_MESSAGE = "peer_message"
    PEER_REQUEST = "peer_request"
    PEER_RESPONSE_PROGRESS = "peer_response_progress"
    PEER_RESPONSE_TERMINAL = "peer_response_terminal"
    FLOW_STEP = "flow_step"
    EXTERNAL_EVENT = "external_event"
    CONTINUATION = "continuation"
    OPERATION = "operation"


class Durability(Word):
    """Whether an input outlives the process."""

    DURABLE = "durable"
    EPHEMERAL = "ephemeral"
    DERIVED = "derived"


class HandlingMode(Word):
    """Whether an input waits its turn or is steered into the run in hand."""

    QUEUE = "queue"
    STEER = "steer"


class ProgressPhase(Word):
    """How far a peer has come with a request."""

    ACCEPTED = "accepted"
    IN_PROGRESS = "in_progress"
    PARTIAL_RESULT = "partial_result"


class TerminalStatus(Word):
    """How a peer's work on a request ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# --- checks and conversions at birth ----------------------------------------------------

_text = validators.instance_of(str)
_optional_text = validators.optional(_text)


def _unsigned(_instance: object, attribute: Attribute[int], value: object) -> None:
    if type(value) is not int:
        raise TypeError(f"{attribute.name} takes an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{attribute.name} is never negative")


def _as(wanted: type) -> Any:
    """Convert a plain string to the wanted type; leave everything else to the validator."""

    def convert(value: Any) -> Any:
        return wanted(value) if isinstance(value, str) else value

    return convert


def _content(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, tuple) or not all(isinstance(block, Mapping) for block in value):
        raise TypeError(f"{attribute.name} takes text or a list of JSON blocks (mappings)")


def _utc(_instance: object, attribute: Attribute[datetime], value: object) -> None:
    if not isinstance(value, datetime):
        raise TypeError(f"{attribute.name} takes a datetime, not {type(value).__name__}")
    if value.utcoffset() is None or value.utcoffset() != UTC.utcoffset(None):
        raise ValueError(f"{attribute.name} takes a time in UTC")


def _now() -> datetime:
    return datetime.now(UTC)


def _word(wanted: type[Word], default: Any = NOTHING) -> Any:
    return field(default=default, converter=_as(wanted), validator=validators.instance_of(wanted))


def _optional(wanted: type, *, converter: Any = None) -> Any:
    return field(
        default=None,
        converter=converter,
        validator=validators.optional(validators.instance_of(wanted)),
    )


def _required(wanted: type) -> Any:
    return field(validator=validators.instance_of(wanted))


# --- sources ----------------------------------------------------------------------------


class Source:
    """Who an input comes from (tag ``type``)."""

    __slots__ = ()


@frozen
class Operator(Source):
    """The person, or program, that the session serves."""


@frozen(kw_only=True)
class Peer(Source):
    """Another agent."""

    peer_id: str = _required(str)
    display_identity: str | None = _optional(str)
    runtime_id: LogicalRuntimeId | None = _optional(
        LogicalRuntimeId, converter=_as(LogicalRuntimeId)
    )


@frozen(kw_only=True)
class Flow(Source):
    """A step of a workflow."""

    flow_id: str = _required(str)
    step_index: int = field(validator=_unsigned)


@frozen
class System(Source):
    """The runtime itself."""


@frozen(kw_only=True)
class External(Source):
    """A system outside: a webhook, a timer, a queue."""

    source_name: str = _required(str)


# --- peer conventions -------------------------------------------------------------------


class Convention:
    """What a peer input means (tag ``convention_type``)."""

    __slots__ = ()
    kind: ClassVar[InputKind]


@frozen
class PeerMessage(Convention):
    """A message that asks for nothing."""

    kind = InputKind.PEER_MESSAGE


@frozen(kw_only=True)
class PeerRequest(Convention):
    """A request that will be answered under its ``request_id``."""

    kind = InputKind.PEER_REQUEST
    request_id: str = _required(str)
    intent: str = _required(str)


@frozen(kw_only=True)
class PeerResponseProgress(Convention):
    """News of a request under way."""

    kind = InputKind.PEER_RESPONSE_PROGRESS
    request_id: str = _required(str)
    phase: ProgressPhase = _word(ProgressPhase)


@frozen(kw_only=True)
class PeerResponseTerminal(Convention):
    """The last answer to a request."""

    kind = InputKind.PEER_RESPONSE_TERMINAL
    request_id: str = _required(str)
    status: TerminalStatus = _word(TerminalStatus)


# --- inputs -----------------------------------------------------------------------------


@frozen(kw_only=True)
class Visibility:
    """Who may see an input. Carried, not consulted by the policy."""

    transcript_eligible: bool = field(default=True, validator=validators.instance_of(bool))
    operator_eligible: bool = field(default=True, validator=validators.instance_of(bool))


_VISIBLE = Visibility()
_OPERATOR = Operator()
_SYSTEM = System()


def _source(default: Any = NOTHING) -> Any:
    return field(default=default, validator=validators.instance_of(Source), kw_only=True)


@frozen(kw_only=True)
class Input:
    """The header every input carries; one of the six variants below is what is built.

    ``id`` and ``timestamp`` are stamped when the value is built, unless given. Words may be
    given as their text (``durability="ephemeral"``), keys as strings. Raises TypeError for
    a wrong type and ValueError for a wrong range.
    """

    id: InputId = field(factory=InputId.new, validator=validators.instance_of(InputId))
    timestamp: datetime = field(factory=_now, validator=_utc)
    durability: Durability = _word(Durability, Durability.DURABLE)
    visibility: Visibility = field(
        default=_VISIBLE, validator=validators.instance_of(Visibility)
    )
    idempotency_key: IdempotencyKey | None = _optional(
        IdempotencyKey, converter=_as(IdempotencyKey)
    )
    supersession_key: SupersessionKey | None = _optional(
        SupersessionKey, converter=_as(SupersessionKey)
    )
    correlation_id: CorrelationId | None = _optional(CorrelationId)

    source: Source

    @property
    def kind(self) -> InputKind:
        """The row of the policy table this input is read by."""
        raise TypeError("build one of the six variants, not Input itself")

    @property
    def requested_mode(self) -> HandlingMode | None:
        """The handling mode the policy sees."""
        return None


def _mode_of(turn_metadata: Mapping[str, JsonValue] | None) -> HandlingMode | None:
    word = turn_metadata.get("handling_mode") if turn_metadata else None
    return None if word is None else HandlingMode(word)


def _turn_metadata(_instance: object, _attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise TypeError(f"turn_metadata takes a mapping, not {type(value).__name__}")
    word = value.get("handling_mode")
    if word is not None and word not in ("queue", "steer"):
        raise ValueError("turn_metadata.handling_mode is queue or steer")


def _metadata_field() -> Any:
    return field(default=None, converter=own, validator=_turn_metadata, repr=False, kw_only=True)


def _content_field() -> Any:
    return field(converter=own, validator=_content, repr=False, kw_only=False)


def _mode_field(default: HandlingMode | None = None) -> Any:
    wanted: Any = validators.instance_of(HandlingMode)
    unset: Any = default
    return field(
        default=unset,
        converter=_as(HandlingMode),
        validator=validators.optional(wanted) if default is None else wanted,
        kw_only=True,
    )


@frozen
class PromptInput(Input):
    """What the session is asked to do. ``content`` is text or a list of JSON blocks."""

    content: str | tuple[Mapping[str, JsonValue], ...] = _content_field()
    turn_metadata: Mapping[str, JsonValue] | None = _metadata_field()
    source: Source = _source(_OPERATOR)

    @property
    def kind(self) -> InputKind:
        """Always a prompt."""
        return InputKind.PROMPT

    @property
    def requested_mode(self) -> HandlingMode | None:
        """What the turn metadata asks for."""
        return _mode_of(self.turn_metadata)


@frozen
class PeerInput(Input):
    """Something another agent says; no convention means a message."""

    content: str | tuple[Mapping[str, JsonValue], ...] = _content_field()
    convention: Convention | None = field(
        default=None,
        validator=validators.optional(validators.instance_of(Convention)),
        kw_only=True,
    )
    payload: JsonValue = field(default=None, converter=own, repr=False, kw_only=True)
    handling_mode: HandlingMode | None = _mode_field()
    source: Source = _source()

    @property
    def kind(self) -> InputKind:
        """What the convention says."""
        return InputKind.PEER_MESSAGE if self.convention is None else self.convention.kind

    @property
    def requested_mode(self) -> HandlingMode | None:
        """The explicit mode, if there is one."""
        return self.handling_mode


@frozen
class FlowStepInput(Input):
    """A step of a workflow, to be done by this session."""

    content: str | tuple[Mapping[str, JsonValue], ...] = _content_field()
    step_id: str = field(validator=_text, kw_only=True)
    turn_metadata: Mapping[str, JsonValue] | None = _metadata_field()
    source: Source = _source()

    @property
    def kind(self) -> InputKind:
        """Always a flow step."""
        return InputKind.FLOW_STEP

    @property
    def requested_mode(self) -> HandlingMode | None:
        """What the turn metadata asks for."""
        return _mode_of(self.turn_metadata)


@frozen
class ExternalEventInput(Input):
    """Something that happened outside; its payload is JSON."""

    event_type: str = field(validator=_text, kw_only=False)
    payload: JsonValue = field(converter=own, repr=False, kw_only=False)
    handling_mode: HandlingMode = _mode_field(HandlingMode.QUEUE)
    source: Source = _source()

    @property
    def kind(self) -> InputKind:
        """Always an external event."""
        return InputKind.EXTERNAL_EVENT

    @property
    def requested_mode(self) -> HandlingMode | None:
        """Always set."""
        return self.handling_mode


@frozen
class ContinuationInput(Input):
    """The runtime's own reason to go on without being asked."""

    reason: str = field(validator=_text, kw_only=False)
    handling_mode: HandlingMode = _mode_field(HandlingMode.STEER)
    request_id: str | None = field(default=None, validator=_optional_text, kw_only=True)
    source: Source = _source(_SYSTEM)

    @property
    def kind(self) -> InputKind:
        """Always a continuation."""
        return InputKind.CONTINUATION

    @property
    def requested_mode(self) -> HandlingMode | None:
        """Always set."""
        return self.handling_mode


@frozen
class OperationInput(Input):
    """A lifecycle notice of an operation; it is consumed when it is accepted."""

    operation_id: OperationId = field(
        validator=validators.instance_of(OperationId), kw_only=False
    )
    event: JsonValue = field(converter=own, repr=False, kw_only=False)
    source: Source = _source(_SYSTEM)

    @property
    def kind(self) -> InputKind:
        """Always an operation."""
        return InputKind.OPERATION
