"""Policy: what is decided about an input, as a table.

A decision depends on the input's kind, its handling mode and whether a run is in hand.
The table below is the whole default policy; a host may give its own, as long as each
decision is one a runtime can carry out (:func:`refuse_impossible`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import IntEnum
from typing import Any, Final, Protocol

from attrs import evolve, field, frozen, validators

from meerkat.errors import PolicyRefused
from meerkat.identifiers import PolicyVersion
from meerkat.inputs import HandlingMode, Input, PeerInput
from meerkat.origins import InputKind, PeerRequest
from meerkat.words import Word


class ApplyMode(Word):
    """At which boundary an input is applied."""

    STAGE_RUN_START = "stage_run_start"
    STAGE_RUN_BOUNDARY = "stage_run_boundary"
    INJECT_NOW = "inject_now"
    IGNORE = "ignore"


class WakeMode(Word):
    """Whom an arriving input wakes."""

    WAKE_IF_IDLE = "wake_if_idle"
    INTERRUPT_YIELDING = "interrupt_yielding"
    NONE = "none"


class QueueMode(Word):
    """How an input shares its lane with those before it."""

    NONE = "none"
    FIFO = "fifo"
    COALESCE = "coalesce"
    SUPERSEDE = "supersede"
    PRIORITY = "priority"


class ConsumePoint(Word):
    """When an input counts as consumed."""

    ON_ACCEPT = "on_accept"
    ON_APPLY = "on_apply"
    ON_RUN_START = "on_run_start"
    ON_RUN_COMPLETE = "on_run_complete"
    EXPLICIT_ACK = "explicit_ack"


class DrainPolicy(Word):
    """How waiting inputs are taken up."""

    QUEUE_NEXT_TURN = "queue_next_turn"
    STEER_BATCH = "steer_batch"
    IMMEDIATE = "immediate"
    IGNORE = "ignore"


class RoutingDisposition(Word):
    """Which lane an input goes to."""

    QUEUE = "queue"
    STEER = "steer"
    IMMEDIATE = "immediate"
    DROP = "drop"


class RunBoundary(Word):
    """The moment of a run at which inputs are applied."""

    IMMEDIATE = "immediate"
    RUN_START = "run_start"
    RUN_CHECKPOINT = "run_checkpoint"


class Lane(Word):
    """Where an input waits."""

    STEER = "steer"
    QUEUE = "queue"


class Signal(IntEnum):
    """How urgently an acceptance calls for the runtime; several accumulate as the maximum."""

    NONE = 0
    WAKE_LOOP = 1
    INTERRUPT_YIELDING = 2
    REQUEST_IMMEDIATE_PROCESSING = 3

    @property
    def should_wake(self) -> bool:
        """Does an idle runtime wake?"""
        return self >= Signal.WAKE_LOOP

    @property
    def should_interrupt(self) -> bool:
        """Is a waiting run told?"""
        return self >= Signal.INTERRUPT_YIELDING

    @property
    def should_process_now(self) -> bool:
        """Is the input to be handled at the very next boundary?"""
        return self >= Signal.REQUEST_IMMEDIATE_PROCESSING


_BOUNDARY: Final[Mapping[ApplyMode, RunBoundary | None]] = {
    ApplyMode.STAGE_RUN_START: RunBoundary.RUN_START,
    ApplyMode.STAGE_RUN_BOUNDARY: RunBoundary.RUN_CHECKPOINT,
    ApplyMode.INJECT_NOW: RunBoundary.IMMEDIATE,
    ApplyMode.IGNORE: None,
}

_LANE: Final[Mapping[RoutingDisposition, Lane | None]] = {
    RoutingDisposition.QUEUE: Lane.QUEUE,
    RoutingDisposition.STEER: Lane.STEER,
    RoutingDisposition.IMMEDIATE: Lane.STEER,
    RoutingDisposition.DROP: None,
}

_SIGNAL: Final[Mapping[WakeMode, Signal]] = {
    WakeMode.WAKE_IF_IDLE: Signal.WAKE_LOOP,
    WakeMode.INTERRUPT_YIELDING: Signal.INTERRUPT_YIELDING,
    WakeMode.NONE: Signal.NONE,
}


def _is(word: type[Word]) -> Any:
    return validators.instance_of(word)


@frozen(kw_only=True, cache_hash=True)
class PolicyDecision:
    """What was decided about one input. Stored with it, so that a decision never changes."""

    apply_mode: ApplyMode = field(validator=_is(ApplyMode))
    wake_mode: WakeMode = field(validator=_is(WakeMode))
    queue_mode: QueueMode = field(validator=_is(QueueMode))
    consume_point: ConsumePoint = field(validator=_is(ConsumePoint))
    drain_policy: DrainPolicy = field(validator=_is(DrainPolicy))
    routing_disposition: RoutingDisposition = field(validator=_is(RoutingDisposition))
    record_transcript: bool = field(default=True, validator=validators.instance_of(bool))
    emit_operator_content: bool = field(default=True, validator=validators.instance_of(bool))
    policy_version: PolicyVersion = PolicyVersion(1)

    @property
    def boundary(self) -> RunBoundary | None:
        """The boundary its input is applied at; None for an ignored one."""
        return _BOUNDARY[self.apply_mode]

    @property
    def lane(self) -> Lane | None:
        """The lane its input waits in; None for a dropped one."""
        return _LANE[self.routing_disposition]

    @property
    def signal(self) -> Signal:
        """How urgently the acceptance calls for the runtime."""
        signal = _SIGNAL[self.wake_mode]
        if self.lane is Lane.STEER and signal is not Signal.NONE:
            return Signal.REQUEST_IMMEDIATE_PROCESSING
        return signal


class PolicyTable(Protocol):
    """A policy: given an input and whether a run is in hand, a decision. Must be pure.

    Called inside the runtime's own mailbox: it must not block.
    """

    def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
        """Decide about one input."""
        ...


def _row(
    wake: tuple[WakeMode, WakeMode],
    *,
    steer: bool = False,
    queue_mode: QueueMode = QueueMode.FIFO,
    transcript: bool = True,
) -> tuple[PolicyDecision, PolicyDecision]:
    """The decisions (idle, running) of one row of the table."""

    def decision(mode: WakeMode) -> PolicyDecision:
        return PolicyDecision(
            apply_mode=ApplyMode.STAGE_RUN_BOUNDARY if steer else ApplyMode.STAGE_RUN_START,
            wake_mode=mode,
            queue_mode=queue_mode,
            consume_point=ConsumePoint.ON_RUN_COMPLETE,
            drain_policy=DrainPolicy.STEER_BATCH if steer else DrainPolicy.QUEUE_NEXT_TURN,
            routing_disposition=RoutingDisposition.STEER if steer else RoutingDisposition.QUEUE,
            record_transcript=transcript,
        )

    idle, running = wake
    return decision(idle), decision(running)


_IF_IDLE = (WakeMode.WAKE_IF_IDLE, WakeMode.NONE)
_INTERRUPT = (WakeMode.WAKE_IF_IDLE, WakeMode.INTERRUPT_YIELDING)
_ALWAYS = (WakeMode.WAKE_IF_IDLE, WakeMode.WAKE_IF_IDLE)
_NEVER = (WakeMode.NONE, WakeMode.NONE)

_IGNORED = PolicyDecision(
    apply_mode=ApplyMode.IGNORE,
    wake_mode=WakeMode.NONE,
    queue_mode=QueueMode.PRIORITY,
    consume_point=ConsumePoint.ON_ACCEPT,
    drain_policy=DrainPolicy.IGNORE,
    routing_disposition=RoutingDisposition.DROP,
    record_transcript=False,
)

DEFAULTS: Final[Mapping[InputKind, tuple[PolicyDecision, PolicyDecision]]] = {
    InputKind.PROMPT: _row(_IF_IDLE),
    InputKind.FLOW_STEP: _row(_IF_IDLE),
    InputKind.EXTERNAL_EVENT: _row(_IF_IDLE),
    InputKind.PEER_MESSAGE: _row(_INTERRUPT),
    InputKind.PEER_REQUEST: _row(_INTERRUPT),
    InputKind.PEER_RESPONSE_PROGRESS: _row(_NEVER, steer=True, queue_mode=QueueMode.COALESCE),
    InputKind.PEER_RESPONSE_TERMINAL: _row(_ALWAYS),
    InputKind.CONTINUATION: _row(_INTERRUPT, steer=True, transcript=False),
    InputKind.OPERATION: (_IGNORED, _IGNORED),
}
"""kind → (decision for an idle runtime, decision for a running one)."""

EXPLICIT_MODES: Final[Mapping[HandlingMode, tuple[PolicyDecision, PolicyDecision]]] = {
    HandlingMode.QUEUE: _row(_IF_IDLE),
    HandlingMode.STEER: _row(_INTERRUPT, steer=True),
}
"""An explicit handling mode → the same, for every kind but those that ignore a mode."""

IGNORES_MODE: Final = frozenset({InputKind.PEER_RESPONSE_PROGRESS, InputKind.OPERATION})


def _by_kind_and_mode(
    kind: InputKind, mode: HandlingMode | None
) -> tuple[PolicyDecision, PolicyDecision]:
    default = DEFAULTS[kind]
    if mode is None or kind in IGNORES_MODE:
        return default
    transcript = default[0].record_transcript
    idle, running = EXPLICIT_MODES[mode]
    return (
        evolve(idle, record_transcript=transcript),
        evolve(running, record_transcript=transcript),
    )


_TABLE: Final = {
    (kind, mode): _by_kind_and_mode(kind, mode)
    for kind in InputKind
    for mode in (None, *HandlingMode)
}
_SUPERSEDING: Final = {
    decision: evolve(decision, queue_mode=QueueMode.SUPERSEDE)
    for row in _TABLE.values()
    for decision in row
    if decision.lane is Lane.QUEUE
}


class DefaultPolicy:
    """The policy table of this library. Stateless, safe to share."""

    def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
        """Look the decision up; a queue-lane input with a supersession key supersedes."""
        decision = _TABLE[input.kind, input.requested_mode][running]
        if input.supersession_key is not None and decision.lane is Lane.QUEUE:
            return _SUPERSEDING[decision]
        return decision

    def __repr__(self) -> str:
        return "DefaultPolicy()"


DEFAULT_POLICY: Final = DefaultPolicy()


def silence(
    decision: PolicyDecision,
    input: Input,  # noqa: A002
    silent_intents: AbstractSet[str],
) -> PolicyDecision:
    """Take the wake out of a decision about a peer request with a silent intent."""
    if not silent_intents or not isinstance(input, PeerInput):
        return decision
    convention = input.convention
    if isinstance(convention, PeerRequest) and convention.intent in silent_intents:
        return evolve(decision, wake_mode=WakeMode.NONE)
    return decision


def ask(
    table: PolicyTable,
    input: Input,  # noqa: A002
    *,
    running: bool,
) -> PolicyDecision:
    """What a table decides; PolicyRefused when it raises, or cannot be followed."""
    try:
        decision = table.resolve(input, running=running)
    except Exception as error:
        raise PolicyRefused(f"the policy raised {_told_by(error)}") from error
    return refuse_impossible(decision)


def _told_by(error: Exception) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:  # noqa: BLE001 - the text is host code too
        return name


_STAGED: Final = frozenset({ApplyMode.STAGE_RUN_START, ApplyMode.STAGE_RUN_BOUNDARY})
_LANED: Final = frozenset({QueueMode.FIFO, QueueMode.COALESCE, QueueMode.SUPERSEDE})


def refuse_impossible(decision: object) -> PolicyDecision:
    """Check that a host's decision is one a runtime can carry out; PolicyRefused if not."""
    if not isinstance(decision, PolicyDecision):
        raise PolicyRefused(f"a policy gives a PolicyDecision, not {type(decision).__name__}")
    if decision.apply_mode is ApplyMode.IGNORE:
        if decision.consume_point is ConsumePoint.ON_ACCEPT:
            return decision
        raise PolicyRefused("ignore goes with consume point on_accept")
    if decision.apply_mode not in _STAGED:
        raise PolicyRefused(f"apply mode {decision.apply_mode} cannot be carried out")
    if decision.queue_mode not in _LANED:
        raise PolicyRefused(f"queue mode {decision.queue_mode} cannot be carried out")
    if decision.consume_point is not ConsumePoint.ON_RUN_COMPLETE:
        raise PolicyRefused(f"consume point {decision.consume_point} cannot be carried out")
    if decision.lane is None:
        raise PolicyRefused("a staged input needs a lane: routing drop cannot be carried out")
    return decision
