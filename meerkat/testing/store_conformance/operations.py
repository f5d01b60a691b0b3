"""Operations: noted when they begin, stored once when they end."""

from __future__ import annotations

from typing import Any, Final

import pytest
from attrs import evolve

from meerkat.completion_feed import FEED_MAX
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import Fenced, StoreError
from meerkat.identifiers import RuntimeEpochId
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow
from meerkat.store import Batch, RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import R1, R2, batch, ended, live

EPOCH: Final = RuntimeEpochId.new()
NEXT: Final = RuntimeEpochId.new()
CURSORS: Final = EpochCursorSnapshot(agent_applied_cursor=1, runtime_observed_seq=2)


def of_epoch(epoch_id: RuntimeEpochId | None = EPOCH, after: int = 1, **changes: Any) -> Batch:
    """A batch of R1 in an epoch."""
    return batch(R1, after=after, epoch_id=epoch_id, **changes)


def ends(*operations: OperationRow, epoch: RuntimeEpochId = EPOCH, known: bool = True) -> Batch:
    """A batch of R1 with the ends of operations."""
    changes = {"operations": operations, "cursors": CURSORS}
    return of_epoch(epoch, after=int(known), **changes)


def live_in(store: RuntimeStore) -> tuple[OperationRecord, ...]:
    """The operations of R1 that live."""
    snapshot = store.load_ops_snapshot(R1)
    assert snapshot is not None
    return snapshot.live


class OperationCases(StoreCases):
    """Operations: noted when they begin, stored once when they end."""

    def test_what_has_begun_is_live_by_its_birth_and_then_its_id(self, store: RuntimeStore) -> None:
        store.commit(of_epoch(after=0, begun=(live(3, 1), live(2, 1))))
        assert live_in(store) == (live(2, 1), live(3, 1))
        store.commit(of_epoch(begun=(live(9), live(1, 2))))
        assert live_in(store) == (live(9), live(2, 1), live(3, 1), live(1, 2))

    def test_what_is_noted_stays_as_it_is(self, store: RuntimeStore) -> None:
        store.commit(of_epoch(after=0, begun=(live(1), evolve(live(1), progress_count=1))))
        store.commit(of_epoch(begun=(evolve(live(1), progress_count=2), live(2))))
        assert live_in(store) == (live(1), live(2))

    def test_an_end_takes_the_note_away_and_no_other(self, store: RuntimeStore) -> None:
        store.commit(batch(R2, epoch_id=EPOCH, begun=(live(1),)))
        store.commit(of_epoch(after=0, begun=tuple(map(live, range(100)))))
        rows = tuple(ended(number + 1, EPOCH, live(number)) for number in range(1, 99))
        store.commit(of_epoch(operations=rows))
        snapshot = store.load_ops_snapshot(R1)
        assert snapshot is not None
        assert snapshot.live == (live(0), live(99))
        assert snapshot.operations == tuple(row.record for row in rows)
        other = store.load_ops_snapshot(R2)
        assert other is not None
        assert other.live == (live(1),)

    def test_what_has_ended_is_not_noted_again(self, store: RuntimeStore) -> None:
        """With the batch that ends it, or after it."""
        store.commit(of_epoch(after=0, begun=(live(1),), operations=(ended(1, EPOCH, live(1)),)))
        assert live_in(store) == ()
        store.commit(of_epoch(begun=(live(1), live(2))))
        assert live_in(store) == (live(2),)

    def test_an_epoch_sees_its_own_live_operations_only(self, store: RuntimeStore) -> None:
        store.commit(of_epoch(after=0, begun=(live(1), live(2))))
        store.commit(of_epoch(NEXT, begun=(live(3),)))
        assert live_in(store) == (live(3),)
        store.commit(of_epoch(NEXT, operations=(ended(1, EPOCH, live(1)), ended(1, NEXT, live(3)))))
        assert live_in(store) == ()
        store.commit(of_epoch())
        assert live_in(store) == (live(2),)
        store.commit(of_epoch(NEXT, operations=(ended(2, NEXT, live(2)),)))
        store.commit(of_epoch())
        assert live_in(store) == (live(2),)  # of the same id, and not the same operation

    def test_without_an_epoch_nothing_is_noted(self, store: RuntimeStore) -> None:
        """A runtime that is given up in the same commit leaves its epoch and what was live."""
        store.commit(of_epoch(None, after=0, begun=(live(1),)))
        assert store.load_ops_snapshot(R1) is None
        store.commit(of_epoch())
        assert live_in(store) == ()

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            (of_epoch(after=2, begun=(live(2),)), Fenced),
            (of_epoch(begun=(live(2),), operations=(ended(2, EPOCH, live(9)),)), StoreError),
            (of_epoch(begun=(live(2), ended(3, EPOCH, live(3)).record)), StoreError),
            (of_epoch(operations=(ended(3, EPOCH, live(1)), ended(4, EPOCH, live(9)))), StoreError),
        ],
        ids=["fenced", "ended already", "begun as ended", "a note taken away"],
    )
    def test_a_refused_batch_notes_nothing(
        self, store: RuntimeStore, wrong: Batch, error: type[StoreError]
    ) -> None:
        store.commit(of_epoch(after=0, begun=(live(1),), operations=(ended(1, EPOCH, live(9)),)))
        good = batch(R2, epoch_id=EPOCH, begun=(live(4),))
        refused, landed = store.commit_many([wrong, good])
        assert type(refused) is error
        assert landed is None
        assert live_in(store) == (live(1),)
        other = store.load_ops_snapshot(R2)
        assert other is not None
        assert other.live == (live(4),)

    def test_operations_come_back_in_feed_order_with_their_epochs_cursors(
        self, store: RuntimeStore
    ) -> None:
        assert store.load_ops_snapshot(R1) is None
        first, second = ended(1, EPOCH), ended(2, EPOCH)
        store.commit(ends(second, known=False))
        store.commit(ends(first))
        snapshot = store.load_ops_snapshot(R1)
        assert snapshot is not None
        assert (snapshot.epoch_id, snapshot.cursors) == (EPOCH, CURSORS)
        assert snapshot.operations == (first.record, second.record)
        assert [entry.seq for entry in snapshot.feed] == [1, 2]

    def test_an_epoch_sees_its_own_ended_operations_only(self, store: RuntimeStore) -> None:
        following = RuntimeEpochId.new()
        store.commit(ends(ended(1, EPOCH), known=False))
        store.commit(ends(ended(1, following), epoch=following))
        snapshot = store.load_ops_snapshot(R1)
        assert snapshot is not None
        assert [entry.seq for entry in snapshot.feed] == [1]
        assert snapshot.epoch_id == following

    def test_no_more_than_a_feed_is_loaded_and_the_last_it_is(self, store: RuntimeStore) -> None:
        store.commit(ends(*(ended(seq, EPOCH) for seq in range(1, FEED_MAX + 3)), known=False))
        snapshot = store.load_ops_snapshot(R1)
        assert snapshot is not None
        assert [entry.seq for entry in snapshot.feed] == list(range(3, FEED_MAX + 3))
        assert len(snapshot.operations) == FEED_MAX

    def test_an_operation_is_stored_once_and_only_when_it_has_ended(
        self, store: RuntimeStore
    ) -> None:
        row = ended(1, EPOCH)
        store.commit(ends(row, known=False))
        for refused in (evolve(row, seq=2), OperationRow(epoch_id=EPOCH, seq=3, record=live(1))):
            with pytest.raises(StoreError):
                store.commit(ends(refused))
        snapshot = store.load_ops_snapshot(R1)
        assert snapshot is not None
        assert snapshot.operations == (row.record,)

    def test_of_an_epoch_that_is_over_an_end_may_be_written_again_and_the_first_stays(
        self,
        store: RuntimeStore,
    ) -> None:
        """Whoever ends it does not know, after a commit in doubt, and the feed is closed."""
        following, begun = RuntimeEpochId.new(), live(1)
        first, again = ended(1, EPOCH, begun), ended(2, EPOCH, begun)
        store.commit(ends(first, epoch=following, known=False))
        for _ in range(2):
            store.commit(ends(again, epoch=following))
        store.commit(ends(epoch=EPOCH))  # to be asked about
        snapshot = store.load_ops_snapshot(R1)
        assert snapshot is not None
        assert snapshot.operations == (first.record,)
