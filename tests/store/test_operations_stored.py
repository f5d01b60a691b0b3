"""Ended operations: one row each, under the epoch they ended in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from attrs import evolve

from meerkat import EpochCursorSnapshot, RuntimeEpochId
from meerkat.completion_feed import FEED_MAX
from meerkat.errors import RecoveryCorruption, StoreError
from meerkat.ops_snapshot import OperationRow
from meerkat.store import Batch, RuntimeRow, RuntimeStore, SqliteStore
from meerkat.testing.store_rows import R1, ended, live

EPOCH = RuntimeEpochId.new()
CURSORS = EpochCursorSnapshot(agent_applied_cursor=1, runtime_observed_seq=2)


def batch(*operations: OperationRow, epoch: RuntimeEpochId = EPOCH, known: bool = True) -> Batch:
    row = RuntimeRow(runtime_id=R1, epoch_id=epoch, fence=1, cursors=CURSORS)
    return Batch(runtime=row, expected_fence=int(known), operations=operations)


def test_operations_come_back_in_feed_order_with_their_epochs_cursors(store: RuntimeStore) -> None:
    assert store.load_ops_snapshot(R1) is None
    first, second = ended(1, EPOCH), ended(2, EPOCH)
    store.commit(batch(second, known=False))
    store.commit(batch(first))
    snapshot = store.load_ops_snapshot(R1)
    assert snapshot is not None
    assert (snapshot.epoch_id, snapshot.cursors) == (EPOCH, CURSORS)
    assert snapshot.operations == (first.record, second.record)
    assert [entry.seq for entry in snapshot.feed] == [1, 2]


def test_an_epoch_sees_its_own_operations_only(store: RuntimeStore) -> None:
    following = RuntimeEpochId.new()
    store.commit(batch(ended(1, EPOCH), known=False))
    store.commit(batch(ended(1, following), epoch=following))
    snapshot = store.load_ops_snapshot(R1)
    assert snapshot is not None
    assert [entry.seq for entry in snapshot.feed] == [1]
    assert snapshot.epoch_id == following


def test_no_more_than_a_feed_is_loaded_and_the_last_it_is(store: RuntimeStore) -> None:
    store.commit(batch(*(ended(seq, EPOCH) for seq in range(1, FEED_MAX + 3)), known=False))
    snapshot = store.load_ops_snapshot(R1)
    assert snapshot is not None
    assert [entry.seq for entry in snapshot.feed] == list(range(3, FEED_MAX + 3))
    assert len(snapshot.operations) == FEED_MAX


def test_an_operation_is_stored_once_and_only_when_it_has_ended(store: RuntimeStore) -> None:
    row = ended(1, EPOCH)
    store.commit(batch(row, known=False))
    for refused in (evolve(row, seq=2), OperationRow(epoch_id=EPOCH, seq=3, record=live(1))):
        with pytest.raises(StoreError):
            store.commit(batch(refused))
    snapshot = store.load_ops_snapshot(R1)
    assert snapshot is not None
    assert snapshot.operations == (row.record,)


def test_of_an_epoch_that_is_over_an_end_may_be_written_again_and_the_first_stays(
    store: RuntimeStore,
) -> None:
    """Whoever ends it does not know, after a commit in doubt, and the feed is closed."""
    following, begun = RuntimeEpochId.new(), live(1)
    first, again = ended(1, EPOCH, begun), ended(2, EPOCH, begun)
    store.commit(batch(first, epoch=following, known=False))
    for _ in range(2):
        store.commit(batch(again, epoch=following))
    store.commit(batch(epoch=EPOCH))  # to be asked about
    snapshot = store.load_ops_snapshot(R1)
    assert snapshot is not None
    assert snapshot.operations == (first.record,)


def test_an_unreadable_operation_names_its_runtime(sqlite_store: SqliteStore, path: Path) -> None:
    sqlite_store.commit(batch(ended(1, EPOCH), known=False))
    sqlite_store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE operations SET record = '{}'")
    connection.commit()
    connection.close()
    with pytest.raises(RecoveryCorruption, match="operations of agent-1"):
        sqlite_store.load_ops_snapshot(R1)
