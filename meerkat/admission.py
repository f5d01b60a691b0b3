"""Admission: what may be offered to a runtime at all.

Two gates. :func:`encode_input` refuses, with an error, what cannot be carried: it runs at
the door, before anything else sees the input. :func:`reject_reason` rejects, as an
outcome, combinations that make no sense; the first hit counts.
"""

from __future__ import annotations

from typing import Final

from meerkat.codec import to_json
from meerkat.errors import DecodeError, InputValidationFailed
from meerkat.inputs import Durability, Input, PeerInput
from meerkat.origins import External, InputKind, Operator, Peer, PeerResponseTerminal
from meerkat.outcomes import (
    DurabilityViolation,
    PeerHandlingModeInvalid,
    PeerResponseTerminalInvalid,
    RejectReason,
)

_NEVER_DERIVED_SOURCES: Final = (Operator, Peer, External)
_NEVER_DERIVED_KINDS: Final = frozenset(
    {
        InputKind.PROMPT,
        InputKind.PEER_MESSAGE,
        InputKind.PEER_REQUEST,
        InputKind.PEER_RESPONSE_TERMINAL,
        InputKind.FLOW_STEP,
    }
)


def encode_input(input: Input, payload_bytes_max: int) -> bytes:  # noqa: A002
    """The wire form of an input; InputValidationFailed for what JSON or the limit refuses."""
    if not isinstance(input, Input):
        raise InputValidationFailed(f"expected an Input, not {type(input).__name__}")
    try:
        payload = to_json(input)
    except DecodeError as error:
        raise InputValidationFailed(error.reason) from None
    if len(payload) > payload_bytes_max:
        raise InputValidationFailed(
            f"payload of {len(payload)} bytes is over the limit of {payload_bytes_max}"
        )
    return payload


def reject_reason(input: Input) -> RejectReason | None:  # noqa: A002
    """Why an input is not admitted; None when it is."""
    kind = input.kind
    if input.durability is Durability.DERIVED:
        if isinstance(input.source, _NEVER_DERIVED_SOURCES):
            source = type(input.source).__name__.lower()
            return DurabilityViolation(f"derived durability from source {source}")
        if kind in _NEVER_DERIVED_KINDS:
            return DurabilityViolation(f"derived durability is forbidden for {kind}")
    if not isinstance(input, PeerInput):
        return None
    if kind is InputKind.PEER_RESPONSE_PROGRESS and input.handling_mode is not None:
        return PeerHandlingModeInvalid("a progress response takes no handling mode")
    if isinstance(input.convention, PeerResponseTerminal):
        if not isinstance(input.source, Peer):
            return PeerResponseTerminalInvalid("a terminal response comes from a peer")
        if not input.convention.request_id:
            return PeerResponseTerminalInvalid("a terminal response names its request")
    return None
