"""Commands: everything that can be asked of a runtime, as values.

Identifiers, times and chance come in with the command; the kernel makes none.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen, validators

from meerkat.conversation import Plan
from meerkat.events import OperationEvent, RuntimeEventEnvelope
from meerkat.identifiers import InputId, RunId, RuntimeEpochId, SessionId
from meerkat.input_lifecycle import InputState
from meerkat.inputs import Input
from meerkat.json_values import JsonValue, carriable
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow
from meerkat.policy import Lane


@frozen
class Initialize:
    """Bring a fresh runtime to idle."""


@frozen
class Register:
    """Make the runtime known; ``session_id`` and ``epoch_id`` are used where none is kept."""

    session_id: SessionId = field(validator=validators.instance_of(SessionId))
    epoch_id: RuntimeEpochId = field(validator=validators.instance_of(RuntimeEpochId))


@frozen
class Unregister:
    """Mark the runtime unregistered; its ledger stays stored."""


@frozen
class AcceptInput:
    """Offer an input. ``known`` is what the store remembers of its id or key."""

    input: Input
    payload: bytes = field(repr=False)
    known: InputState | None = None


@frozen
class TakeIn:
    """Take in an input that another process has offered: its row says accepted, and no more."""

    state: InputState


@frozen
class StageRun:
    """Take the next batch in hand for the run ``run_id``."""

    run_id: RunId


@frozen
class HandOver:
    """Give the run in hand what is steered into it."""

    run_id: RunId


@frozen
class CommitBoundary:
    """Consume steered inputs at a boundary of the run in hand."""

    run_id: RunId
    input_ids: tuple[InputId, ...]
    plan: Plan


@frozen
class CompleteRun:
    """The run in hand succeeded."""

    run_id: RunId
    plan: Plan
    result: JsonValue = field(default=None, repr=False)


@frozen
class FailRun:
    """The run in hand failed; ``jitter`` in [0, 1) spreads its retry."""

    run_id: RunId
    error: str = field(converter=carriable, repr=False)
    recoverable: bool
    jitter: float


@frozen
class CancelRun:
    """The run in hand was cancelled."""

    run_id: RunId


@frozen
class RequeueRun:
    """The executor took no more work: its inputs wait, uncounted."""

    run_id: RunId


@frozen
class PostponeRun:
    """The run in hand could not begin, through nobody's fault: again in ``delay_s`` seconds."""

    run_id: RunId
    reason: str = field(converter=carriable, repr=False)
    delay_s: float


@frozen
class ReportProgress:
    """The run in hand says how far it is."""

    run_id: RunId
    text: str = field(converter=carriable, repr=False)


@frozen
class RemarkOnRun:
    """Say something of a run, in hand or over, that it does not say itself."""

    run_id: RunId
    text: str = field(converter=carriable, repr=False)


@frozen
class NoteOperation:
    """Keep in mind that an operation of the epoch has begun."""

    epoch_id: RuntimeEpochId
    record: OperationRecord


@frozen
class RecordOperation:
    """Keep how an operation of the session ended."""

    row: OperationRow


@frozen
class TellOperation:
    """Tell of a step in an operation's life."""

    event: OperationEvent


@frozen
class ReadFeed:
    """The completion feed was read ``through`` a sequence; a continuation tells of it."""

    through: int
    continuation: AcceptInput | None = None


@frozen
class Wake:
    """Work the lanes, whatever woke nobody included."""


@frozen
class ReleaseLane:
    """A lane's back-off is over."""

    lane: Lane


@frozen
class AttachExecutor:
    """There is an executor now."""


@frozen
class DetachExecutor:
    """There is none any more."""


@frozen
class SetSilentIntents:
    """Replace the set of request intents that wake nobody."""

    intents: frozenset[str]


@frozen
class SetPaused:
    """Start no run from now on, or start runs again; inputs are taken in either way."""

    paused: bool


@frozen
class PublishEvent:
    """Put a host's event in order with the rest."""

    envelope: RuntimeEventEnvelope


@frozen
class Retire:
    """Take no more input; drain or give up what waits."""


@frozen
class Recycle:
    """Start over with all pending work kept."""


@frozen
class Reset:
    """Give up everything and begin the epoch ``epoch_id``."""

    epoch_id: RuntimeEpochId


@frozen
class Recover:
    """Put right what a crash left; ``proven`` are the inputs that a stored receipt lists.

    None for a runtime without a store: there are no receipts to ask for.
    """

    proven: frozenset[InputId] | None


@frozen
class Stop:
    """Give up everything; only a reset revives the runtime."""


@frozen
class Destroy:
    """Give up everything, for good."""


Command: TypeAlias = (
    Initialize
    | Register
    | Unregister
    | AcceptInput
    | TakeIn
    | StageRun
    | HandOver
    | CommitBoundary
    | CompleteRun
    | FailRun
    | CancelRun
    | RequeueRun
    | PostponeRun
    | ReportProgress
    | RemarkOnRun
    | NoteOperation
    | RecordOperation
    | TellOperation
    | ReadFeed
    | Wake
    | ReleaseLane
    | AttachExecutor
    | DetachExecutor
    | SetPaused
    | SetSilentIntents
    | PublishEvent
    | Retire
    | Recycle
    | Reset
    | Recover
    | Stop
    | Destroy
)
