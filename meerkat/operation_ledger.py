"""The ledger of operations: what a registry remembers, and the rules that need a memory.

Which ids are known, how many may be live, how long the ended ones are kept, who watches,
which wait is active, and the feed. No lock, no clock, nobody else's code: the registry
(:mod:`meerkat.operations_registry`) guards it, stamps times and tells. Not thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Final

from attrs import asdict, define, evolve, field, frozen

from meerkat.completion_feed import FEED_MAX, CompletionFeed, FeedEntry
from meerkat.errors import RecoveryCorruption
from meerkat.identifiers import OperationId, WaitRequestId
from meerkat.operation_errors import (
    AlreadyRegistered,
    DuplicateWaitOperation,
    MaxConcurrentExceeded,
    NotFound,
    WaitAlreadyActive,
)
from meerkat.operation_waits import PendingWait, Telling, WaitRequest, settle
from meerkat.operations import (
    END_STEPS,
    OperationOutcome,
    OperationRecord,
    OperationSnapshot,
    OperationStep,
    take_step,
)

FINISHED_MAX: Final = 256
"""Ended operations kept unless a host says otherwise: enough for a late reader to ask."""


@frozen(kw_only=True)
class LedgerBounds:
    """How much is kept. Positive integers, else ValueError; no ``operations_max``, no limit."""

    operations_max: int | None = None
    finished_max: int = FINISHED_MAX
    feed_max: int = FEED_MAX

    def __attrs_post_init__(self) -> None:
        for bound in (self.operations_max, self.finished_max, self.feed_max):
            if bound is not None and bound < 1:
                raise ValueError(f"a limit is a positive number, not {bound}")


@frozen(kw_only=True, eq=False)
class Fact:
    """The end of one operation, decided and not yet published."""

    record: OperationRecord
    step: OperationStep
    outcome: OperationOutcome
    entry: FeedEntry | None
    """What the feed will show; none for a kind that is neither stored nor fed."""


@define(eq=False)
class _Live:
    record: OperationRecord
    watchers: dict[Future[OperationOutcome], None] = field(factory=dict)


def _seen(record: OperationRecord, watcher_count: int) -> OperationSnapshot:
    return OperationSnapshot(**asdict(record, recurse=False), watcher_count=watcher_count)


def _origin(record: OperationRecord) -> tuple[object, ...]:
    return record.kind, record.display_name, record.created_at


class OperationLedger:
    """What is known of a session's operations. Every refusal leaves it as it was."""

    def __init__(self, bounds: LedgerBounds) -> None:
        self._bounds = bounds
        self._live: dict[OperationId, _Live] = {}
        self._finished: OrderedDict[OperationId, OperationRecord] = OrderedDict()
        self._wait: PendingWait | None = None
        self.feed = CompletionFeed(bounds.feed_max)

    def restore(
        self,
        records: Iterable[OperationRecord],
        entries: Iterable[FeedEntry],
        watermark: int,
        live: Iterable[OperationRecord] = (),
    ) -> None:
        """Fill an empty ledger from stored rows, oldest first; RecoveryCorruption."""
        known, fed = list(records), list(entries)
        _refuse_contradictions(known, fed)
        feed_max, finished_max = self._bounds.feed_max, self._bounds.finished_max
        self.feed = CompletionFeed.recover(fed, watermark=watermark, feed_max=feed_max)
        self._finished.update((record.operation_id, record) for record in known[-finished_max:])
        self._live.update((record.operation_id, _Live(record)) for record in live)

    # --- operations ---------------------------------------------------------------------

    @property
    def live_ids(self) -> tuple[OperationId, ...]:
        """The operations that have not ended, in the order of registration."""
        return tuple(self._live)

    def add(self, record: OperationRecord) -> None:
        """Take in a new operation; AlreadyRegistered, MaxConcurrentExceeded."""
        if record.operation_id in self._live or record.operation_id in self._finished:
            raise AlreadyRegistered(record.operation_id)
        limit, active = self._bounds.operations_max, len(self._live)
        if limit is not None and active >= limit:
            raise MaxConcurrentExceeded(limit, active)
        self._live[record.operation_id] = _Live(record)

    def record(self, operation_id: OperationId) -> OperationRecord:
        """What is known of one operation; NotFound."""
        live = self._live.get(operation_id)
        known = live.record if live is not None else self._finished.get(operation_id)
        if known is None:
            raise NotFound(operation_id)
        return known

    def replace(self, record: OperationRecord) -> None:
        """Put the next record of a live operation in the place of its last."""
        self._live[record.operation_id].record = record

    def snapshot(self, operation_id: OperationId) -> OperationSnapshot:
        """One operation as a reader sees it; NotFound."""
        live = self._live.get(operation_id)
        return _seen(self.record(operation_id), 0 if live is None else len(live.watchers))

    def snapshots(self) -> tuple[OperationSnapshot, ...]:
        """The ended operations in the order of their ends, then the live ones."""
        ended = [_seen(record, 0) for record in self._finished.values()]
        live = [_seen(it.record, len(it.watchers)) for it in self._live.values()]
        return (*ended, *live)

    # --- ends ---------------------------------------------------------------------------

    def facts(
        self,
        operation_ids: Sequence[OperationId],
        step: OperationStep,
        outcome: OperationOutcome,
        at: datetime,
    ) -> tuple[Fact, ...]:
        """Decide the ends, without changing anything; NotFound, InvalidTransition."""
        seq = self.feed.watermark
        facts = []
        for operation_id in operation_ids:
            record = take_step(self.record(operation_id), step, at=at, outcome=outcome)
            entry = None
            if record.kind.is_recorded:
                seq += 1
                entry = FeedEntry.of(seq, record)
            facts.append(Fact(record=record, step=step, outcome=outcome, entry=entry))
        return tuple(facts)

    def numbered(self, fact: Fact) -> Fact:
        """The fact under the sequence after the watermark: itself, unless that has moved."""
        seq = self.feed.watermark + 1
        if fact.entry is None or fact.entry.seq == seq:
            return fact
        return evolve(fact, entry=evolve(fact.entry, seq=seq))

    def adoptable(
        self, records: Sequence[OperationRecord], entries: Sequence[FeedEntry]
    ) -> tuple[Fact, ...]:
        """The facts in stored rows above the watermark, without changing anything.

        RecoveryCorruption for a hole, an entry without its record, and an operation that
        ends twice or is not the one known here.
        """
        above = [entry for entry in entries if entry.seq > self.feed.watermark]
        fed = {entry.operation_id for entry in above}
        rows = [record for record in records if record.operation_id in fed]
        _refuse_contradictions(rows, above)
        stored = {record.operation_id: record for record in rows}
        if len(fed) != len(above) or len(stored) != len(fed):
            raise RecoveryCorruption("completion feed: entries and operations do not pair")
        facts = []
        for seq, entry in enumerate(above, self.feed.watermark + 1):
            if entry.seq != seq:
                raise RecoveryCorruption(f"completion feed: entry {entry.seq} follows {seq - 1}")
            record = stored[entry.operation_id]
            self._refuse_another(record)
            step = END_STEPS[record.status]
            facts.append(Fact(record=record, step=step, outcome=entry.outcome, entry=entry))
        return tuple(facts)

    def publish(self, fact: Fact) -> list[Telling]:
        """Make an end known to readers; what is left is to tell those who wait for it."""
        operation_id = fact.record.operation_id
        live = self._live.pop(operation_id, None)
        watchers = () if live is None else tuple(live.watchers)
        self._finished[operation_id] = fact.record
        if len(self._finished) > self._bounds.finished_max:
            self._finished.popitem(last=False)
        if fact.entry is not None:
            self.feed.append(fact.entry)
        tellings: list[Telling] = [partial(settle, it, fact.outcome) for it in watchers]
        if self._wait is not None:
            self._wait.note(operation_id, fact.outcome)
            if not self._wait.missing:
                tellings.append(self._wait.telling())
                self._wait = None
        return tellings

    def _refuse_another(self, record: OperationRecord) -> None:
        """Refuse an end of another operation under a known id, and another end of one."""
        operation_id = record.operation_id
        live, ended = self._live.get(operation_id), self._finished.get(operation_id)
        if live is not None and _origin(live.record) != _origin(record):
            raise RecoveryCorruption(f"operation {operation_id} is another than the stored one")
        if ended is not None and (ended != record or self.feed.tells_of(operation_id)):
            raise RecoveryCorruption(f"operation {operation_id} ended twice")

    # --- those who wait -----------------------------------------------------------------

    def add_watcher(
        self, operation_id: OperationId, future: Future[OperationOutcome]
    ) -> OperationOutcome | None:
        """Have a future told of an end, or give the outcome there is already; NotFound."""
        outcome = self.record(operation_id).outcome
        if outcome is None:
            self._live[operation_id].watchers[future] = None
        return outcome

    def forget_watcher(self, operation_id: OperationId, future: Future[OperationOutcome]) -> None:
        """The future was cancelled; it is told nothing."""
        live = self._live.get(operation_id)
        if live is not None:
            live.watchers.pop(future, None)

    def begin_wait(self, operation_ids: Iterable[OperationId]) -> PendingWait:
        """Begin a wait, active unless it is over already.

        Raises NotFound, DuplicateWaitOperation, WaitAlreadyActive.
        """
        asked = tuple(operation_ids)
        wait = PendingWait(WaitRequest(id=WaitRequestId.new(), operation_ids=asked))
        for operation_id in asked:
            outcome = self.record(operation_id).outcome
            if operation_id in wait.missing or operation_id in wait.outcomes:
                raise DuplicateWaitOperation(operation_id)
            wait.missing.add(operation_id)
            if outcome is not None:
                wait.note(operation_id, outcome)
        if self._wait is not None:
            raise WaitAlreadyActive
        if wait.missing:
            self._wait = wait
        return wait

    def forget_wait(self, wait: PendingWait) -> None:
        """The wait was cancelled; another may begin."""
        if self._wait is wait:
            self._wait = None


def _refuse_contradictions(records: list[OperationRecord], entries: list[FeedEntry]) -> None:
    known: dict[OperationId, OperationRecord] = {}
    for record in records:
        if not record.status.is_terminal:
            raise RecoveryCorruption(f"operation {record.operation_id} is {record.status}")
        if record.operation_id in known:
            raise RecoveryCorruption(f"operation {record.operation_id} is stored twice")
        known[record.operation_id] = record
    for entry in entries:
        stored = known.get(entry.operation_id)
        if stored is not None and FeedEntry.of(entry.seq, stored) != entry:
            raise RecoveryCorruption(
                f"feed entry {entry.seq} contradicts operation {entry.operation_id}"
            )
