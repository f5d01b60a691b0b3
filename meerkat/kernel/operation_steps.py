"""Operations: what a runtime keeps of its session's, and when it is told that some ended."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve

from meerkat.errors import StoreError
from meerkat.kernel.accept import accept
from meerkat.kernel.commands import NoteOperation, ReadFeed, RecordOperation, TellOperation
from meerkat.kernel.memory import RuntimeMemory
from meerkat.kernel.telling import Emit
from meerkat.kernel.transition import FeedRead, Transition
from meerkat.operation_errors import OwnerRetired
from meerkat.operations import OperationTerminated


def note(memory: RuntimeMemory, command: NoteOperation, _now: datetime) -> Transition:
    """Keep in mind what has begun, so that the next process can tell that it is gone."""
    head = memory.head
    if command.epoch_id != head.epoch_id:
        return Transition(head=head)
    live = head.live_operations | {command.record.operation_id}
    return Transition(head=evolve(head, live_operations=live), begun=(command.record,))


def record(memory: RuntimeMemory, command: RecordOperation, _now: datetime) -> Transition:
    """Keep how an operation ended, under the next number of its epoch's feed.

    An epoch that is over takes nothing any more but the end of its owner.
    """
    head, row = memory.head, command.row
    if row.epoch_id != head.epoch_id:
        if isinstance(row.record.outcome, OperationTerminated):
            return Transition(head=head, operations=(row,))
        raise OwnerRetired
    if row.seq != head.feed_watermark + 1:
        raise StoreError(f"the completion feed has gone on to {head.feed_watermark}: ask again")
    live = head.live_operations - {row.record.operation_id}
    head = evolve(head, feed_watermark=row.seq, live_operations=live)
    return Transition(head=head, operations=(row,))


def tell(memory: RuntimeMemory, command: TellOperation, _now: datetime) -> Transition:
    """Put a step of an operation in order with the runtime's other events."""
    return Transition(head=memory.head, told=(Emit(command.event),))


def read_feed(memory: RuntimeMemory, command: ReadFeed, now: datetime) -> Transition:
    """Advance the feed's cursors, and take in the continuation for what they pass.

    Both are in one commit. A continuation that is not taken in advances nothing.
    """
    through, cursors = command.through, memory.head.cursors
    cursors = evolve(cursors, runtime_observed_seq=max(cursors.runtime_observed_seq, through))
    if command.continuation is None:
        effects = (FeedRead(cursors),)
        return Transition(head=evolve(memory.head, cursors=cursors), effects=effects)
    accepted = accept(memory, command.continuation, now)
    if not accepted.states:
        return accepted
    injected = max(cursors.runtime_last_injected_seq, through)
    cursors = evolve(cursors, runtime_last_injected_seq=injected)
    return evolve(
        accepted,
        head=evolve(accepted.head, cursors=cursors),
        effects=(*accepted.effects, FeedRead(cursors)),
    )
