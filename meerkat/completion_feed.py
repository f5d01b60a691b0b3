"""Completion feed: which operations ended, in order, for readers that come when they like.

A reader keeps the sequence it has read through and asks for what came after. The feed is
bounded: whoever comes too late is told so, by a gap, and never silently. Who may append,
and when, is the registry's to say; nothing here is thread-safe by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from typing import Final, Self

from attrs import evolve, field, frozen, validators

from meerkat.checks import unsigned, utc_time
from meerkat.errors import RecoveryCorruption
from meerkat.identifiers import OperationId
from meerkat.operations import OperationKind, OperationOutcome, OperationRecord

FEED_MAX: Final = 1_024
"""Entries kept unless a host says otherwise: a burst of work, and little memory."""


@frozen(kw_only=True)
class FeedEntry:
    """One operation that ended. ``seq`` counts from 1, by one, over the epoch."""

    seq: int = field(validator=(unsigned, validators.ge(1)))
    operation_id: OperationId = field(validator=validators.instance_of(OperationId))
    kind: OperationKind = field(validator=validators.instance_of(OperationKind))
    display_name: str = field(validator=validators.instance_of(str))
    outcome: OperationOutcome = field(validator=validators.instance_of(OperationOutcome))
    completed_at: datetime = field(validator=utc_time)

    @classmethod
    def of(cls, seq: int, record: OperationRecord) -> Self:
        """The entry that tells of an ended operation; ValueError for a live one."""
        if record.outcome is None or record.completed_at is None:
            raise ValueError(f"operation {record.operation_id} has not ended")
        return cls(
            seq=seq,
            operation_id=record.operation_id,
            kind=record.kind,
            display_name=record.display_name,
            outcome=record.outcome,
            completed_at=record.completed_at,
        )


@frozen(kw_only=True)
class FeedGap:
    """What a reader has missed: everything after ``requested`` through ``dropped_through``."""

    requested: int
    dropped_through: int
    watermark: int


@frozen(kw_only=True)
class FeedBatch:
    """What one reading gave, all of it seen at the same moment."""

    requested: int = field(default=0, validator=unsigned)
    """The sequence asked after."""
    entries: tuple[FeedEntry, ...] = ()
    """The entries after ``requested`` that are still kept, in order."""
    watermark: int = field(default=0, validator=unsigned)
    """The last sequence given to any entry; 0 when there was none."""
    dropped_through: int = field(default=0, validator=unsigned)
    """The last sequence no longer kept; 0 when all are."""

    @property
    def gap(self) -> FeedGap | None:
        """What this reader has missed, or none."""
        return self.gap_after(self.requested)

    def gap_after(self, seq: int) -> FeedGap | None:
        """What a reader that has read through ``seq`` would have missed, or none."""
        if seq >= self.dropped_through:
            return None
        return FeedGap(
            requested=seq, dropped_through=self.dropped_through, watermark=self.watermark
        )


class CompletionFeed:
    """The last ``feed_max`` entries. Not thread-safe: its owner holds a lock."""

    __slots__ = ("_dropped_through", "_entries")

    def __init__(self, feed_max: int = FEED_MAX) -> None:
        self._entries: deque[FeedEntry] = deque(maxlen=feed_max)
        self._dropped_through = 0

    @classmethod
    def recover(
        cls, entries: Iterable[FeedEntry], *, watermark: int = 0, feed_max: int = FEED_MAX
    ) -> Self:
        """Rebuild a feed from stored entries, oldest first.

        ``watermark`` is the highest sequence known to have been given; when it lies above
        the stored entries, all through it count as dropped, so that no sequence is ever
        given twice and every reader is told. Raises RecoveryCorruption when the entries
        are out of order or leave one out.
        """
        feed = cls(feed_max)
        for entry in entries:
            if not feed._entries:
                feed._dropped_through = entry.seq - 1
            if entry.seq != feed.watermark + 1:
                raise RecoveryCorruption(
                    f"completion feed: entry {entry.seq} follows {feed.watermark}"
                )
            feed.append(entry)
        if watermark > feed.watermark:
            feed._entries.clear()
            feed._dropped_through = watermark
        return feed

    @property
    def watermark(self) -> int:
        """The last sequence given; 0 when there was none."""
        return self._dropped_through + len(self._entries)

    def append(self, entry: FeedEntry) -> None:
        """Add the entry after the watermark, dropping the oldest when full; ValueError else."""
        if entry.seq != self.watermark + 1:
            raise ValueError(f"entry {entry.seq} does not follow {self.watermark}")
        if len(self._entries) == self._entries.maxlen:
            self._dropped_through += 1
        self._entries.append(entry)

    def tells_of(self, operation_id: OperationId) -> bool:
        """Whether an entry that is still kept tells of this operation."""
        return any(entry.operation_id == operation_id for entry in self._entries)

    def list_since(self, seq: int) -> FeedBatch:
        """The entries strictly after ``seq``, with watermark and gap.

        A sequence beyond the watermark gives no entries and no gap. Raises TypeError for
        anything but an int and ValueError for a negative one.
        """
        batch = FeedBatch(
            requested=seq, watermark=self.watermark, dropped_through=self._dropped_through
        )
        skip = max(seq - self._dropped_through, 0)
        return evolve(batch, entries=tuple(islice(self._entries, skip, None)))
