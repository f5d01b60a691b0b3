"""Ops snapshot: what a store keeps of a session's operations, for its next process."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from meerkat.completion_feed import FeedEntry
from meerkat.epoch import EpochCursorSnapshot
from meerkat.identifiers import RuntimeEpochId
from meerkat.operations import OperationRecord


@frozen(kw_only=True)
class OperationRow:
    """One ended operation of an epoch, under its place in the completion feed."""

    epoch_id: RuntimeEpochId
    seq: int
    record: OperationRecord


@frozen(kw_only=True)
class OpsSnapshot:
    """The ended operations of an epoch and their feed, oldest first, and its cursors.

    ``live`` are those that have begun and not ended: whoever ran them is to say how they end,
    and after a crash the next process does.
    """

    epoch_id: RuntimeEpochId
    cursors: EpochCursorSnapshot = EpochCursorSnapshot()
    operations: tuple[OperationRecord, ...] = ()
    feed: tuple[FeedEntry, ...] = ()
    live: tuple[OperationRecord, ...] = ()

    @classmethod
    def of(
        cls,
        epoch_id: RuntimeEpochId,
        cursors: EpochCursorSnapshot,
        rows: tuple[OperationRow, ...],
        live: Iterable[OperationRecord] = (),
    ) -> OpsSnapshot:
        """Put an epoch's rows, in the order of the feed, together with those that are live.

        The live ones, in whatever order they come, are sorted by their birth, then their id.
        """
        return cls(
            epoch_id=epoch_id,
            cursors=cursors,
            operations=tuple(row.record for row in rows),
            feed=tuple(FeedEntry.of(row.seq, row.record) for row in rows),
            live=tuple(sorted(live, key=lambda each: (each.created_at, str(each.operation_id)))),
        )
