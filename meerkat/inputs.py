"""Inputs: what may come into a runtime.

Six variants under one header. Inputs are frozen values, checked for type and range when
they are built; whether a combination is legal is decided at admission, never here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import NoneType
from typing import Any, TypeAlias

from attrs import NOTHING, Attribute, field, frozen

from meerkat.checks import of_kind, utc_time
from meerkat.identifiers import (
    CausationId,
    CorrelationId,
    IdempotencyKey,
    InputId,
    OperationId,
    SupersessionKey,
)
from meerkat.json_values import JsonValue, own
from meerkat.minting import stamp
from meerkat.origins import Convention, InputKind, Operator, Source, System
from meerkat.words import Word


class Durability(Word):
    """Whether an input outlives the process."""

    DURABLE = "durable"
    EPHEMERAL = "ephemeral"
    DERIVED = "derived"


class HandlingMode(Word):
    """Whether an input waits its turn or is steered into the run in hand."""

    QUEUE = "queue"
    STEER = "steer"


Content: TypeAlias = str | tuple[Mapping[str, JsonValue], ...]
"""Text, or JSON blocks; a list of blocks may be given."""

# --- checks and conversions at birth ----------------------------------------------------

_text = of_kind(str)
_optional_text = of_kind(str, NoneType)


# Plain strings become the wanted type; everything else is left to the validator. One function
# for each type, so that a type checker knows what a caller may give.


def _durability(value: Durability | str) -> Durability:
    return Durability(value) if isinstance(value, str) else value


def _mode(value: HandlingMode | str) -> HandlingMode:
    return HandlingMode(value) if isinstance(value, str) else value


def _optional_mode(value: HandlingMode | str | None) -> HandlingMode | None:
    return HandlingMode(value) if isinstance(value, str) else value


def _idempotency_key(value: IdempotencyKey | str | None) -> IdempotencyKey | None:
    return IdempotencyKey(value) if isinstance(value, str) else value


def _supersession_key(value: SupersessionKey | str | None) -> SupersessionKey | None:
    return SupersessionKey(value) if isinstance(value, str) else value


def _own_content(value: str | Sequence[Mapping[str, JsonValue]]) -> Content:
    owned: Content = own(value)
    return owned


def _own_mapping(value: Mapping[str, JsonValue] | None) -> Mapping[str, JsonValue] | None:
    owned: Mapping[str, JsonValue] | None = None if value == {} else own(value)
    return owned


def _content(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, tuple) or not all(isinstance(block, Mapping) for block in value):
        raise TypeError(f"{attribute.name} takes text or a list of JSON blocks (mappings)")


# --- inputs -----------------------------------------------------------------------------


@frozen(kw_only=True)
class Visibility:
    """Who may see an input. Carried, not consulted by the policy."""

    transcript_eligible: bool = field(default=True, validator=of_kind(bool))
    operator_eligible: bool = field(default=True, validator=of_kind(bool))


_VISIBLE = Visibility()
_OPERATOR = Operator()
_SYSTEM = System()


def _source(default: Any = NOTHING) -> Any:
    return field(default=default, validator=of_kind(Source), kw_only=True)


@frozen(kw_only=True)
class Input:
    """The header every input carries; one of the six variants below is what is built.

    ``id`` and ``timestamp`` are stamped when the value is built, unless given. Words may be
    given as their text (``durability="ephemeral"``), keys as strings. ``causation_id`` is what
    brought it about, if that was an input or event: its own events name it as their cause.
    Raises TypeError for a wrong type and ValueError for a wrong range.
    """

    id: InputId = field(factory=InputId.new, validator=of_kind(InputId))
    timestamp: datetime = field(factory=stamp, validator=utc_time)
    durability: Durability = field(
        default=Durability.DURABLE,
        converter=_durability,
        validator=of_kind(Durability),
    )
    visibility: Visibility = field(default=_VISIBLE, validator=of_kind(Visibility))
    idempotency_key: IdempotencyKey | None = field(
        default=None,
        converter=_idempotency_key,
        validator=of_kind(IdempotencyKey, NoneType),
    )
    supersession_key: SupersessionKey | None = field(
        default=None,
        converter=_supersession_key,
        validator=of_kind(SupersessionKey, NoneType),
    )
    correlation_id: CorrelationId | None = field(
        default=None, validator=of_kind(CorrelationId, NoneType)
    )
    causation_id: CausationId | None = field(default=None, validator=of_kind(CausationId, NoneType))

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


@frozen
class PromptInput(Input):
    """What the session is asked to do. ``content`` is text or a list of JSON blocks."""

    content: Content = field(converter=_own_content, validator=_content, repr=False)
    turn_metadata: Mapping[str, JsonValue] | None = field(
        default=None, converter=_own_mapping, validator=_turn_metadata, repr=False, kw_only=True
    )
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

    content: Content = field(converter=_own_content, validator=_content, repr=False)
    convention: Convention | None = field(
        default=None,
        validator=of_kind(Convention, NoneType),
        kw_only=True,
    )
    payload: JsonValue = field(default=None, converter=own, repr=False, kw_only=True)
    handling_mode: HandlingMode | None = field(
        default=None,
        converter=_optional_mode,
        validator=of_kind(HandlingMode, NoneType),
        kw_only=True,
    )
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

    content: Content = field(converter=_own_content, validator=_content, repr=False)
    step_id: str = field(validator=_text, kw_only=True)
    turn_metadata: Mapping[str, JsonValue] | None = field(
        default=None, converter=_own_mapping, validator=_turn_metadata, repr=False, kw_only=True
    )
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
    handling_mode: HandlingMode = field(
        default=HandlingMode.QUEUE,
        converter=_mode,
        validator=of_kind(HandlingMode),
        kw_only=True,
    )
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
    handling_mode: HandlingMode = field(
        default=HandlingMode.STEER,
        converter=_mode,
        validator=of_kind(HandlingMode),
        kw_only=True,
    )
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

    operation_id: OperationId = field(validator=of_kind(OperationId), kw_only=False)
    event: JsonValue = field(converter=own, repr=False, kw_only=False)
    source: Source = _source(_SYSTEM)

    @property
    def kind(self) -> InputKind:
        """Always an operation."""
        return InputKind.OPERATION
