"""Messages: what a driver can be told, and what the supervisor can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import field, frozen

from actors.executors import Ending, Executor
from actors.replies import Reply
from actors.subscriptions import Subscription
from actors.watching import RuntimeWatch
from meerkat import kernel
from meerkat.bindings import SessionRuntimeBindings
from meerkat.conversation import Conversation, Plan
from meerkat.errors import MeerkatError
from meerkat.events import OperationEvent
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, RuntimeEpochId
from meerkat.input_lifecycle import AbandonCause
from meerkat.inputs import Input
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow
from meerkat.outcomes import AcceptOutcome, CompletionHandle
from meerkat.policy import Lane
from meerkat.receipts import RunBoundaryReceipt
from meerkat.reports import RecoveryReport, RedrivenInput, ResetReport, SkippedInput
from meerkat.runs import InterruptMode
from meerkat.store import RuntimeStore


class FrontDoorMessage:
    """A message that a caller waits for: it is handed on when its driver has ended."""

    __slots__ = ()


# --- from the front door ----------------------------------------------------------------


@frozen(eq=False)
class Accept(FrontDoorMessage):
    """Offer an input, encoded at the door; the reply's completion waits for its end."""

    input: Input
    payload: bytes = field(repr=False)
    reply: Reply[AcceptOutcome]


@frozen(eq=False)
class Call(FrontDoorMessage):
    """Carry out a control command."""

    command: kernel.Command
    reply: Reply[Any]


@frozen(eq=False)
class Query(FrontDoorMessage):
    """Read something. The answer leaves after everything decided before it is durable."""

    read: Callable[[kernel.RuntimeMemory, RuntimeStore], Any]
    reply: Reply[Any]


@frozen(kw_only=True)
class Redriven:
    """What came of some inputs that were to come back.

    ``next`` is where the listing goes on, None at its end. ``refused`` stopped it half-way:
    what had come back by then is back.
    """

    redriven: tuple[RedrivenInput, ...] = ()
    skipped: tuple[SkippedInput, ...] = ()
    next: str | None = None
    refused: MeerkatError | None = None


@frozen(eq=False)
class Redrive(FrontDoorMessage):
    """Offer again what was given up: these inputs, or a few of the listing behind ``after``."""

    input_ids: tuple[InputId, ...] | None
    after: str | None
    causes: frozenset[AbandonCause]
    reply: Reply[Redriven]


@frozen(eq=False)
class Watch(FrontDoorMessage):
    """Wait for an input's end."""

    input_id: InputId
    reply: Reply[CompletionHandle]


@frozen(eq=False)
class Subscribe(FrontDoorMessage):
    """Read the events of the runtime, from behind all that was told when the answer leaves."""

    after: int | None
    reply: Reply[Subscription]


@frozen(eq=False)
class ResetRuntime(FrontDoorMessage):
    """Give everything up and begin a new epoch."""

    epoch_id: RuntimeEpochId
    reply: Reply[ResetReport]


@frozen(eq=False)
class RecoverRuntime(FrontDoorMessage):
    """Put right what a crash left; load again what was unavailable."""

    reply: Reply[RecoveryReport]


@frozen(eq=False)
class ExecutorReady(FrontDoorMessage):
    """Say whether there is somebody to run what waits."""

    reply: Reply[bool]


@frozen(eq=False)
class RegisterRuntime(FrontDoorMessage):
    """Make the runtime known and give its bindings."""

    command: kernel.Register
    reply: Reply[SessionRuntimeBindings]


@frozen(eq=False)
class UnregisterRuntime(FrontDoorMessage):
    """Finish the run in hand, end the handles, forget the runtime."""

    reply: Reply[None]


@frozen(eq=False)
class StopRuntime(FrontDoorMessage):
    """Call the executor's stop hook, then stop the runtime."""

    reply: Reply[Any]


@frozen(eq=False)
class ReplaceExecutor(FrontDoorMessage):
    """Use another executor from the next run on; None detaches."""

    executor: Executor | None
    reply: Reply[None]


@frozen(eq=False)
class Interrupt(FrontDoorMessage):
    """Tell the run in hand, if there is one, that it is to end."""

    mode: InterruptMode
    reply: Reply[bool]


@frozen(eq=False)
class RecordOperation(FrontDoorMessage):
    """Store how an operation of the session ended."""

    row: OperationRow
    reply: Reply[None]


@frozen(eq=False)
class WatchRuntime(FrontDoorMessage):
    """Hear what becomes of the runtime's driver, from how things stand on."""

    reply: Reply[RuntimeWatch]


# --- from a run -------------------------------------------------------------------------


class RunCall:
    """A message that a run waits for: it is refused when the run's driver has ended."""

    __slots__ = ()
    reply: Reply[Any]


@frozen(eq=False)
class TakeBoundary(RunCall):
    """Hand over what is steered into the run."""

    run_id: RunId
    reply: Reply[tuple[Input, ...]]


@frozen(eq=False)
class CommitAtBoundary(RunCall):
    """Consume inputs that the run has taken in; ``conversation`` takes the plan over."""

    run_id: RunId
    input_ids: tuple[InputId, ...]
    plan: Plan
    conversation: Conversation = field(repr=False)
    reply: Reply[RunBoundaryReceipt]


# --- from the rest of the system --------------------------------------------------------


@frozen(eq=False)
class Landed:
    """What became of a ticket's batch; None when it is durable."""

    ticket: object
    error: MeerkatError | None


@frozen
class RunEnded:
    """How a run ended."""

    run_id: RunId
    ending: Ending


@frozen
class RunOverdue:
    """A run that was told to end has had its grace; the runtime goes on without it."""

    run_id: RunId


@frozen
class RunDeadline:
    """A run has taken as long as any may."""

    run_id: RunId


@frozen
class RunStuck:
    """A run gives no sign; ``text`` says since when, and where it is."""

    run_id: RunId
    text: str = field(repr=False)


@frozen
class OperationBegan:
    """An operation of the session has begun."""

    epoch_id: RuntimeEpochId
    record: OperationRecord


@frozen
class OperationMoved:
    """An operation of the session has taken a step."""

    event: OperationEvent


@frozen
class RunProgressed:
    """How far a run is."""

    run_id: RunId
    text: str = field(repr=False)


@frozen
class SlotGranted:
    """A run slot is ours."""


@frozen
class LaneDue:
    """A lane's back-off is over; ``hold`` says which one, of all that the driver began."""

    lane: Lane
    hold: int


@frozen(eq=False)
class StopHookReturned:
    """The executor's stop hook is through."""

    reply: Reply[Any]


@frozen
class EpochRetired:
    """All operations of an epoch that is over have ended."""


@frozen
class Resume:
    """Load the runtime and work what waits."""


@frozen
class TakeOffered:
    """Take in what another process, which shares the store, has offered."""


@frozen
class TakenElsewhere:
    """Another process has taken the runtime over; ``owner`` names it."""

    owner: str


@frozen
class BeginAnew:
    """A strategy restarts the runtime together with one that failed; ``reason`` says which."""

    reason: str


@frozen(eq=False)
class Quiesce:
    """Start no run any more, or only what waits (``drain``); say when nothing is under way."""

    drain: bool
    quiet: Callable[[LogicalRuntimeId], None]


@frozen
class CancelRuns:
    """The control plane's patience has ended: cancel the run in hand."""


DriverMessage: TypeAlias = (
    FrontDoorMessage
    | RunCall
    | Landed
    | RunEnded
    | RunOverdue
    | RunDeadline
    | RunStuck
    | OperationBegan
    | OperationMoved
    | RunProgressed
    | SlotGranted
    | LaneDue
    | StopHookReturned
    | EpochRetired
    | Resume
    | TakeOffered
    | TakenElsewhere
    | BeginAnew
    | Quiesce
    | CancelRuns
)


# --- to the supervisor ------------------------------------------------------------------


def _waitable(seconds: float) -> float:
    """A time that can be waited for; TypeError, ValueError. Without end means very long."""
    if not isinstance(seconds, int | float):
        raise TypeError(f"timeout takes seconds, not {type(seconds).__name__}")
    if not seconds >= 0:
        raise ValueError("timeout is 0 or above")
    return min(seconds, threading.TIMEOUT_MAX)


@frozen
class ShutDown:
    """Stop everything; see ControlPlane.stop."""

    drain: bool
    timeout_s: float = field(converter=_waitable)


@frozen
class JournalFailed:
    """The journal's writer has failed once too often: nobody writes any more."""

    error: BaseException


@frozen
class GiveSystem:
    """Ask for the parts behind the front door."""
