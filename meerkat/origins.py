"""Origins: who an input comes from, and what it means when a peer sends it.

Frozen values, checked for type and range when they are built; whether a source may send
what it sends is decided at admission.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import field, frozen, validators

from meerkat.checks import unsigned
from meerkat.identifiers import LogicalRuntimeId
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


def _progress_phase(value: ProgressPhase | str) -> ProgressPhase:
    return ProgressPhase(value) if isinstance(value, str) else value


def _terminal_status(value: TerminalStatus | str) -> TerminalStatus:
    return TerminalStatus(value) if isinstance(value, str) else value


def _runtime_id(value: LogicalRuntimeId | str | None) -> LogicalRuntimeId | None:
    return LogicalRuntimeId(value) if isinstance(value, str) else value


def _optional(wanted: type) -> Any:
    return field(default=None, validator=validators.optional(validators.instance_of(wanted)))


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
    runtime_id: LogicalRuntimeId | None = field(
        default=None,
        converter=_runtime_id,
        validator=validators.optional(validators.instance_of(LogicalRuntimeId)),
    )


@frozen(kw_only=True)
class Flow(Source):
    """A step of a workflow."""

    flow_id: str = _required(str)
    step_index: int = field(validator=unsigned)


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
    phase: ProgressPhase = field(
        converter=_progress_phase, validator=validators.instance_of(ProgressPhase)
    )


@frozen(kw_only=True)
class PeerResponseTerminal(Convention):
    """The last answer to a request."""

    kind = InputKind.PEER_RESPONSE_TERMINAL
    request_id: str = _required(str)
    status: TerminalStatus = field(
        converter=_terminal_status, validator=validators.instance_of(TerminalStatus)
    )
