"""Codec: every value of this package as strict JSON, and back.

One wire form: fields by name, words as their snake_case text, identifiers as bare text,
times as ISO 8601 in UTC, unions closed by a tag. What is none or empty is left off.
Decoding coerces nothing, takes no unknown field, and raises DecodeError only.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from meerkat import (
    events,
    identifiers,
    input_lifecycle,
    inputs,
    operations,
    origins,
    outcomes,
    policy,
)
from meerkat.codec_parts import subclasses_of, teach_small_parts
from meerkat.errors import DecodeError
from meerkat.json_values import dump, parse
from meerkat.stored_input import StoredInputState

T = TypeVar("T")

_TAGS: Final[Mapping[type, tuple[str, Mapping[str, type]]]] = {
    origins.Source: (
        "type",
        {
            "operator": origins.Operator,
            "peer": origins.Peer,
            "flow": origins.Flow,
            "system": origins.System,
            "external": origins.External,
        },
    ),
    origins.Convention: (
        "convention_type",
        {
            "message": origins.PeerMessage,
            "request": origins.PeerRequest,
            "response_progress": origins.PeerResponseProgress,
            "response_terminal": origins.PeerResponseTerminal,
        },
    ),
    inputs.Input: (
        "input_type",
        {
            "prompt": inputs.PromptInput,
            "peer": inputs.PeerInput,
            "flow_step": inputs.FlowStepInput,
            "external_event": inputs.ExternalEventInput,
            "continuation": inputs.ContinuationInput,
            "operation": inputs.OperationInput,
        },
    ),
    input_lifecycle.TerminalOutcome: (
        "outcome_type",
        {
            "consumed": input_lifecycle.ConsumedOutcome,
            "superseded": input_lifecycle.SupersededOutcome,
            "coalesced": input_lifecycle.CoalescedOutcome,
            "abandoned": input_lifecycle.AbandonedOutcome,
        },
    ),
    outcomes.AcceptOutcome: (
        "outcome_type",
        {
            "accepted": outcomes.Accepted,
            "deduplicated": outcomes.Deduplicated,
            "rejected": outcomes.Rejected,
        },
    ),
    operations.OperationOutcome: (
        "outcome_type",
        {
            "completed": operations.OperationCompleted,
            "failed": operations.OperationFailed,
            "aborted": operations.OperationAborted,
            "cancelled": operations.OperationCancelled,
            "retired": operations.OperationRetired,
            "terminated": operations.OperationTerminated,
        },
    ),
    outcomes.RejectReason: (
        "reject_type",
        {
            "durability_violation": outcomes.DurabilityViolation,
            "peer_handling_mode_invalid": outcomes.PeerHandlingModeInvalid,
            "peer_response_terminal_invalid": outcomes.PeerResponseTerminalInvalid,
        },
    ),
}
"""base class → (tag on the wire, word → class): the closed unions whose tag lies beside."""

_EVENTS: Final[Mapping[str, type]] = {
    cls.category: cls
    for cls in (
        events.InputLifecycleEvent,
        events.RunLifecycleEvent,
        events.RuntimeStateChange,
        events.TopologyEvent,
        events.ProjectionEvent,
        events.OperationEvent,
    )
}

_RENAMED: Final[Mapping[type, Mapping[str, str]]] = {
    input_lifecycle.HistoryEntry: {"from_phase": "from", "to_phase": "to"},
    events.RuntimeStateChange: {"from_state": "from", "to_state": "to"},
}
"""class → field → wire name, where Python keeps the word for itself."""

_converter: Final = cattrs.Converter(
    forbid_extra_keys=True, detailed_validation=True, prefer_attrib_converters=False
)
teach_small_parts(_converter)


def to_json(value: object) -> bytes:
    """The wire form of a value of this package.

    Raises DecodeError, a ValueError, for what JSON cannot carry faithfully and for a value
    that has no wire form.
    """
    try:
        return dump(to_document(value))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeError(str(error)) from error


def to_document(value: object) -> Any:
    """The wire form as plain JSON values, for a larger document to hold."""
    return _converter.unstructure(value)


def from_json(type_: type[T], data: bytes | str) -> T:
    """Read the wire form of ``type_``; DecodeError for anything else, naming the place."""
    return from_document(type_, parse(data))


def from_document(type_: type[T], document: Any) -> T:
    """Read a value out of parsed JSON; DecodeError names the place."""
    try:
        return _converter.structure(document, type_)
    except Exception as error:  # noqa: BLE001 - whatever a hook raises, the bytes are at fault
        raise DecodeError("; ".join(_reasons(error))) from None


def _reasons(error: BaseException, path: str = "$") -> list[str]:
    if isinstance(error, cattrs.errors.BaseValidationError):
        reasons: list[str] = []
        for inner in error.exceptions:
            notes = getattr(inner, "__notes__", ())
            where = next((n for n in notes if isinstance(n, cattrs.AttributeValidationNote)), None)
            index = next((n for n in notes if isinstance(n, cattrs.IterableValidationNote)), None)
            below = path
            if where is not None:
                below = f"{path}.{where.name}"
            elif index is not None:
                below = f"{path}[{index.index}]"
            reasons += _reasons(inner, below)
        return reasons
    if isinstance(error, KeyError):
        return [f"{path}: missing"]
    if isinstance(error, cattrs.errors.ForbiddenExtraKeysError):
        return [f"{path}: unknown field {name!r}" for name in sorted(error.extra_fields)]
    return [f"{path}: {error}"]


# --- records ----------------------------------------------------------------------------


def _left_off(attribute: attrs.Attribute[Any]) -> bool:
    default = attribute.default
    return default is None or default == () or getattr(default, "factory", None) is list


def _overrides(cls: type) -> dict[str, Any]:
    renamed = _RENAMED.get(cls, {})
    return {
        attribute.name: override(
            omit_if_default=_left_off(attribute),
            rename=renamed.get(attribute.name),
        )
        for attribute in attrs.fields(cls)
    }


@functools.cache
def _record_out(cls: Any) -> Any:
    return make_dict_unstructure_fn(cls, _converter, **_overrides(cls))


@functools.cache
def _record_in(cls: Any) -> Any:
    return make_dict_structure_fn(
        cls, _converter, _cattrs_forbid_extra_keys=True, **_overrides(cls)
    )


def _plain_record(cls: Any) -> bool:
    return (
        isinstance(cls, type)
        and attrs.has(cls)
        and cls not in _TAGS
        and cls is not events.Event
        and not issubclass(cls, identifiers.UuidIdentifier | identifiers.TextIdentifier)
        and cls is not identifiers.PolicyVersion
    )


def _object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise TypeError(f"expected an object, not {type(value).__name__}")
    return value


def _strict_record(cls: type) -> Any:
    structure = _record_in(cls)
    return lambda value, _: structure(_object(value), cls)


def _tagged(base: type, tag: str, members: Mapping[str, type]) -> None:
    """Teach the converter one closed union: each member carries its word under the tag."""
    words_of = {cls: word for word, cls in members.items()}

    def structure(value: Any, wanted: Any) -> Any:
        document = dict(_object(value))
        word = document.pop(tag, None)
        cls = members.get(word) if isinstance(word, str) else None
        if cls is None or not issubclass(cls, wanted):
            said = "missing" if word is None else f"unknown {word!r:.60}"
            raise ValueError(f"{tag} {said}: expected one of {', '.join(members)}")
        return _record_in(cls)(document, cls)

    def unstructure(value: Any) -> Any:
        cls: Any = type(value)
        if cls not in words_of:
            raise TypeError(f"{cls.__name__} has no wire form")
        return {tag: words_of[cls], **_record_out(cls)(value)}

    _converter.register_structure_hook_func(subclasses_of(base), structure)
    _converter.register_unstructure_hook_func(subclasses_of(base), unstructure)


def _event_in(value: Any, wanted: Any) -> Any:
    document = _object(value)
    if set(document) != {"category", "data"}:
        raise ValueError("an event has category and data, and nothing else")
    cls = _EVENTS.get(document["category"]) if isinstance(document["category"], str) else None
    if cls is None or not issubclass(cls, wanted):
        raise ValueError(f"unknown category: expected one of {', '.join(_EVENTS)}")
    return _record_in(cls)(_object(document["data"]), cls)


def _event_out(value: events.Event) -> Any:
    cls: Any = type(value)
    return {"category": value.category, "data": _record_out(cls)(value)}


_converter.register_unstructure_hook_factory(_plain_record, _record_out)
_converter.register_structure_hook_factory(_plain_record, _strict_record)
for _base, (_tag, _members) in _TAGS.items():
    _tagged(_base, _tag, _members)
_converter.register_structure_hook_func(subclasses_of(events.Event), _event_in)
_converter.register_unstructure_hook_func(subclasses_of(events.Event), _event_out)


@functools.cache
def _without_input() -> Any:
    cls = input_lifecycle.InputState
    left_off = {**_overrides(cls), "input": override(omit=True)}
    return make_dict_unstructure_fn(cls, _converter, **left_off)


def to_stored_document(state: input_lifecycle.InputState) -> dict[str, Any]:
    """The stored form of an input, as plain JSON values, without the input itself."""
    version = {"stored_input_state_version": StoredInputState.CURRENT}
    return {**version, **_without_input()(state)}


# --- what is encoded most ---------------------------------------------------------------


@functools.lru_cache(maxsize=256)
def _decision_out(decision: policy.PolicyDecision) -> Any:
    return _record_out(policy.PolicyDecision)(decision)


_converter.register_unstructure_hook(policy.PolicyDecision, _decision_out)


# --- the stored form of an input --------------------------------------------------------


def _stored_out(stored: StoredInputState) -> Any:
    return {"stored_input_state_version": stored.version, **to_document(stored.state)}


def _stored_in(value: Any, _: Any) -> StoredInputState:
    document = dict(_object(value))
    version = document.pop("stored_input_state_version", None)
    if type(version) is not int or version != StoredInputState.CURRENT:
        raise ValueError(f"stored_input_state_version {version!r:.40} is not known here")
    state = _converter.structure(document, input_lifecycle.InputState)
    wrong = input_lifecycle.contradiction(state)
    if wrong is not None:
        raise ValueError(wrong)
    return StoredInputState(state=state)


_converter.register_unstructure_hook(StoredInputState, _stored_out)
_converter.register_structure_hook(StoredInputState, _stored_in)
