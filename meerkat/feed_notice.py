"""Feed notice: when a runtime goes on by itself because work in the background has ended.

One continuation is for everything that has ended since the last one, and it comes only to
a runtime that has nothing else to do: a run in hand, and whatever waits, comes first.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from meerkat.completion_feed import FeedBatch
from meerkat.inputs import ContinuationInput, Durability, HandlingMode, Visibility
from meerkat.operations import OperationKind

DETACHED_OP_COMPLETED: Final = "detached_background_op_completed"
"""The reason of the continuation that tells of ended background operations."""

_UNSEEN: Final = Visibility(transcript_eligible=False, operator_eligible=False)


@frozen
class Notice:
    """What a reading of the feed calls for: cursors go ``through``, a continuation or not."""

    through: int
    continues: bool


def notice_of(batch: FeedBatch) -> Notice | None:
    """What the feed after the observed cursor calls for in a quiescent runtime, if anything.

    What was dropped unread may have been background work: it counts as such.
    """
    if batch.watermark <= batch.requested:
        return None
    continues = batch.gap is not None or any(
        entry.kind is OperationKind.BACKGROUND_TOOL_OP for entry in batch.entries
    )
    return Notice(batch.watermark, continues)


def continuation_for_ended_operations() -> ContinuationInput:
    """The input that has an executor look at what ended: derived, unseen, steered."""
    return ContinuationInput(
        DETACHED_OP_COMPLETED,
        durability=Durability.DERIVED,
        visibility=_UNSEEN,
        handling_mode=HandlingMode.STEER,
    )
