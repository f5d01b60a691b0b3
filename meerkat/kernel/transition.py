"""Transitions: what a decision changes, and what it lets out once that is durable."""

from __future__ import annotations

from typing import TypeAlias

from attrs import field, frozen

from meerkat.conversation import SessionChange
from meerkat.epoch import EpochCursorSnapshot
from meerkat.identifiers import RunId
from meerkat.input_lifecycle import InputState
from meerkat.kernel.memory import RuntimeHead
from meerkat.kernel.telling import Telling
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow
from meerkat.outcomes import TerminationReason
from meerkat.policy import Lane, Signal
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunInHand, StagedInput


@frozen
class Signalled:
    """Tell whom an accepted input calls for."""

    signal: Signal


@frozen
class StartRun:
    """Call the executor."""

    run: RunInHand
    primitive: StagedInput


@frozen
class InterruptRun:
    """Tell the run that was in hand that it is over; its late result will be refused."""

    run_id: RunId


@frozen
class RetryLane:
    """Release a held lane after ``delay_s`` seconds."""

    lane: Lane
    delay_s: float


@frozen
class RuntimeEnded:
    """End the handles that are still waiting."""

    reason: TerminationReason


@frozen
class FeedRead:
    """Let everybody who holds the cursors see how far the feed has been read."""

    cursors: EpochCursorSnapshot


Effect: TypeAlias = Signalled | StartRun | InterruptRun | RetryLane | RuntimeEnded | FeedRead


@frozen(kw_only=True)
class Transition:
    """What a command changes. Applied whole or not at all.

    ``states`` are new versions of inputs; ``payload`` is the encoded input when the last of
    them is new; ``told`` are the events, in order; ``reply`` is what the caller is answered
    once everything is durable.
    """

    head: RuntimeHead
    states: tuple[InputState, ...] = ()
    payload: bytes | None = field(default=None, repr=False)
    receipt: RunBoundaryReceipt | None = None
    begun: tuple[OperationRecord, ...] = ()
    operations: tuple[OperationRow, ...] = ()
    session: SessionChange | None = field(default=None, repr=False)
    told: tuple[Telling, ...] = ()
    effects: tuple[Effect, ...] = ()
    reply: object = None
    relane: bool = False
