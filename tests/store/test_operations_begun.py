"""Operations that have begun: noted until they end, for the process after a crash to tell of."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from store_builders import read_again, sql

from meerkat import EpochCursorSnapshot, RuntimeEpochId, from_json, to_json
from meerkat.errors import RecoveryCorruption, StoreError
from meerkat.json_values import parse
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.store import Batch, RuntimeStore, SqliteStore
from meerkat.testing import FaultyBinding
from meerkat.testing.store_rows import R1, batch, ended, live

EPOCH = RuntimeEpochId.new()


def of_epoch(epoch_id: RuntimeEpochId | None = EPOCH, after: int = 1, **changes: Any) -> Batch:
    return batch(R1, after=after, epoch_id=epoch_id, **changes)


def live_in(store: RuntimeStore) -> tuple[OperationRecord, ...]:
    snapshot = store.load_ops_snapshot(R1)
    assert snapshot is not None
    return snapshot.live


def test_another_connection_reads_what_was_noted(sqlite_store: SqliteStore, path: Path) -> None:
    store = sqlite_store
    store.commit(of_epoch(after=0, begun=(live(1), live(2)), live_operations=2))
    store.close()
    again = read_again(path)
    row = again.load_runtime(R1)
    assert row is not None
    assert row.live_operations == 2
    assert live_in(again) == (live(1), live(2))
    again.commit(of_epoch(operations=(ended(1, EPOCH, live(2)),)))
    again.close()
    assert live_in(store) == (live(1),)


def test_a_commit_that_fails_at_any_statement_notes_nothing(path: Path) -> None:
    binding = FaultyBinding()
    store, elsewhere = SqliteStore(path, connect=binding), read_again(path)
    store.commit(of_epoch(after=0, begun=(live(1),)))
    change = of_epoch(begun=(live(2),), operations=(ended(1, EPOCH, live(1)),))
    failed: list[str] = []
    for number in range(1, 6):
        store.commit(of_epoch())  # on an open connection, so that only the change is counted
        binding.arm([number])
        with pytest.raises(StoreError):
            store.commit(change)
        failed += [statement.split()[0] for statement in binding.failed]
        assert live_in(elsewhere) == (live(1),)
    assert failed == ["BEGIN", "UPDATE", "INSERT", "INSERT", "COMMIT"]
    store.commit(change)
    assert live_in(elsewhere) == (live(2),)
    store.close()
    elsewhere.close()


def test_a_commit_without_operations_says_nothing_of_them(path: Path) -> None:
    said: list[str] = []

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        made = sqlite3.connect(*args, **options)
        made.set_trace_callback(said.append)
        return made

    store = SqliteStore(path, connect=connect)
    store.commit(of_epoch(after=0))
    said.clear()
    store.commit(of_epoch())
    assert [each.split()[0] for each in said] == ["BEGIN", "UPDATE", "COMMIT"]
    said.clear()
    store.commit(of_epoch(begun=(live(1),)))
    assert [each.split()[0] for each in said] == ["BEGIN", "UPDATE", "INSERT", "COMMIT"]
    store.close()


def test_an_end_finds_its_note_through_the_key(sqlite_store: SqliteStore, path: Path) -> None:
    """However many are noted of other runtimes."""
    sqlite_store.commit(of_epoch(after=0))
    (body,) = sql(path, "SELECT sql FROM sqlite_schema WHERE name = 'operations_end'")[0]
    deleting = body[body.index("DELETE") : body.rindex(";")].replace("NEW.runtime_id", "?")
    deleting = deleting.replace("NEW.epoch_id", "?").replace("NEW.operation_id", "?")
    plan = [row[3] for row in sql(path, f"EXPLAIN QUERY PLAN {deleting}", "a", "b", "c")]
    key = "runtime_id=? AND epoch_id=? AND operation_id=?"
    assert plan == [f"SEARCH begun_operations USING PRIMARY KEY ({key})"]


def test_an_operation_that_ends_during_a_read_is_in_it_once(path: Path) -> None:
    writer = SqliteStore(path)
    writer.commit(of_epoch(after=0, begun=(live(1),)))
    row = ended(1, EPOCH, live(1))
    ends = [of_epoch(operations=(row,))]

    class Slow:
        """A connection before whose look at what has begun the operation ends."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self.inner = sqlite3.connect(*args, **options)

        def execute(self, statement: str, values: Any = ()) -> Any:
            if "FROM begun_operations" in statement and ends:
                writer.commit(ends.pop())
            return self.inner.execute(statement, values)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    store = SqliteStore(path, connect=Slow)
    for operations, begun in (((), (live(1),)), ((row.record,), ())):
        snapshot = store.load_ops_snapshot(R1)
        assert snapshot is not None
        assert (snapshot.operations, snapshot.live) == (operations, begun)
    store.close()
    writer.close()


@pytest.mark.parametrize("stored", ["{}", to_json(ended(1, EPOCH).record).decode()])
def test_an_unreadable_note_names_its_runtime(
    sqlite_store: SqliteStore, path: Path, stored: str
) -> None:
    sqlite_store.commit(of_epoch(after=0, begun=(live(1),)))
    sql(path, "UPDATE begun_operations SET record = ?", stored)
    with pytest.raises(RecoveryCorruption, match="operations of agent-1"):
        sqlite_store.load_ops_snapshot(R1)


def test_a_snapshot_says_what_is_live_only_if_something_is() -> None:
    quiet = OpsSnapshot.of(EPOCH, EpochCursorSnapshot(), ())
    busy = OpsSnapshot.of(EPOCH, EpochCursorSnapshot(), (), [live(2), live(1)])
    assert "live" not in parse(to_json(quiet))
    for snapshot in (quiet, busy):
        assert from_json(OpsSnapshot, to_json(snapshot)) == snapshot
    assert busy.live == (live(1), live(2))
