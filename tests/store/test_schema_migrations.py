"""An older file: read as it is, migrated by its writer, and the same to both."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from store_builders import driver_over, sql

from meerkat import (
    EpochCursorSnapshot,
    IdempotencyKey,
    InputPhase,
    LogicalRuntimeId,
    RuntimeEpochId,
    RuntimeState,
)
from meerkat.limits import Retention
from meerkat.ops_snapshot import OperationRow
from meerkat.store import RuntimeRow, SqliteStore
from meerkat.store.rows import (
    Columns,
    input_columns,
    operation_columns,
    receipt_columns,
    runtime_columns,
)
from meerkat.store.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from meerkat.store.sqlite import _READS
from meerkat.store.sqlite_prune import _FORGET_RUNS, _WHOLE
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    START,
    batch,
    ended,
    everything,
    live,
    prompt,
    receipt,
    row_of,
)

EPOCH, EARLIER = RuntimeEpochId.new(), RuntimeEpochId.new()
COLUMNS_OF_1, COLUMNS_OF_2 = 9, 12
"""Columns that ``runtimes`` had in schemas 1 and 2; what came later lies behind them."""


def known(runtime_id: LogicalRuntimeId, watermark: int = 0) -> RuntimeRow:
    """A runtime's row, as a schema of ours has it."""
    return RuntimeRow(
        runtime_id=runtime_id,
        epoch_id=EPOCH,
        fence=1,
        cursors=EpochCursorSnapshot(runtime_observed_seq=1),
        feed_watermark=watermark,
    )


def insert(connection: sqlite3.Connection, table: str, columns: Columns) -> None:
    places = ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO {table} VALUES ({places})", columns)


def make_schema_1(path: Path, *operations: OperationRow) -> None:
    """A file as the first schema left it: R1 ended operations, R2 has an input, R3 neither."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in MIGRATIONS[1]:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    for runtime_id in (R1, R2, R3):
        insert(connection, "runtimes", runtime_columns(known(runtime_id))[:COLUMNS_OF_1])
    insert(connection, "inputs", input_columns(R2, row_of(prompt(1))))
    for row in operations:
        insert(connection, "operations", operation_columns(R1, row))
    connection.close()


CASES: dict[str, tuple[list[tuple[int, RuntimeEpochId]], int]] = {
    "no operations": ([], 0),
    "operations": ([(1, EPOCH), (3, EPOCH), (2, EPOCH)], 3),
    "another epoch's besides": ([(2, EPOCH), (7, EARLIER)], 2),
    "another epoch's alone": ([(7, EARLIER)], 0),
    "all that were read": ([(1, EPOCH)], 1),
    "beyond the sign bit": ([(2**63 - 1, EPOCH), (2**63, EPOCH), (2**63 + 1, EPOCH)], 2**63 + 1),
}


def with_work(watermark: int) -> list[LogicalRuntimeId]:
    """A migrated feed counts as unread: a notice too many is harmless."""
    return [R1, R2] if watermark else [R2]


def assert_reads(store: SqliteStore, watermark: int) -> None:
    assert store.load_runtime(R1) == known(R1, watermark)
    expected = (known(R1, watermark), known(R2), known(R3))
    assert store.list_runtimes().items == expected
    assert store.runtimes_with_work() == with_work(watermark)
    assert store.load_active_inputs(R2) == [row_of(prompt(1)).state]


@pytest.mark.parametrize("case", CASES)
def test_an_older_file_is_read_unchanged_and_the_same_once_migrated(path: Path, case: str) -> None:
    seqs, watermark = CASES[case]
    make_schema_1(path, *(ended(*each) for each in seqs))
    before = path.read_bytes()
    store = SqliteStore(path)
    assert_reads(store, watermark)
    assert_reads(store, watermark)
    read = everything(store)
    assert path.read_bytes() == before
    assert sql(path, "PRAGMA user_version") == [(1,)]
    store.acquire()
    assert sql(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert_reads(store, watermark)
    assert everything(store) == read
    store.close()


def test_who_has_read_the_older_file_reads_the_migrated_one_as_it_is(path: Path) -> None:
    """No reader goes on seeing the older schema's feeds, which are all unread."""
    make_schema_1(path, ended(1, EPOCH))
    store, elsewhere = SqliteStore(path), SqliteStore(path)
    for reader in (store, elsewhere):
        assert reader.runtimes_with_work() == [R1, R2]
    store.commit(batch(R1, after=1, epoch_id=EPOCH, feed_watermark=1, cursors=known(R1).cursors))
    for reader in (store, elsewhere):
        assert reader.runtimes_with_work() == [R2]
        reader.close()


def test_a_reader_outlasts_a_migration_beneath_it(path: Path) -> None:
    make_schema_1(path, ended(1, EPOCH), ended(2, EPOCH))
    store, elsewhere = SqliteStore(path), SqliteStore(path)

    def look(reader: sqlite3.Connection) -> list[Sequence[object]]:
        found = reader.execute("SELECT * FROM runtimes ORDER BY 1").fetchall()
        store.acquire()
        assert reader.execute("SELECT * FROM runtimes ORDER BY 1").fetchall() == found
        assert reader.execute("SELECT * FROM begun_operations").fetchall() == []
        return found

    assert elsewhere._readers.read(look) == sql(path, "SELECT * FROM runtimes ORDER BY 1")
    store.close()


def test_a_driver_that_loads_an_older_file_keeps_the_watermark(path: Path) -> None:
    make_schema_1(path, ended(1, EPOCH), ended(2, EPOCH))
    store = SqliteStore(path)
    driver = driver_over(store)
    driver.accept_input(prompt(5))
    row = store.load_runtime(R1)
    assert row is not None
    assert (row.fence, row.feed_watermark) == (2, 2)
    store.close()


def test_one_unreadable_row_does_not_fail_the_migration(path: Path) -> None:
    make_schema_1(path, ended(1, EPOCH))
    sql(path, "UPDATE runtimes SET cursors = 'nonsense' WHERE runtime_id = ?", R1.value)
    store = SqliteStore(path)
    store.acquire()
    assert store.load_runtime(R2) == known(R2)
    assert store.runtimes_with_work() == [R1, R2]
    store.close()


def test_finding_work_passes_over_what_has_none(path: Path) -> None:
    """Each part goes through an index of what has work; the rest is looked up by its id."""
    store = SqliteStore(path)
    store.commit(batch(R1))
    plan = [row[3] for row in sql(path, f"EXPLAIN QUERY PLAN {_READS.with_work}")]
    scans = {step.split(" USING ")[0]: step for step in plan if step.startswith("SCAN")}
    assert "runtimes_with_news" in scans["SCAN runtimes"]
    assert "inputs_active" in scans["SCAN inputs"]
    assert len(scans) == sum(step.startswith("SCAN") for step in plan) == 2
    assert any(step.startswith("SEARCH runtimes") for step in plan)
    assert not any("ORDER BY" in step for step in plan)
    store.close()


def test_the_plan_would_show_a_full_scan(path: Path) -> None:
    """The control: the same question put with OR goes through every runtime."""
    store = SqliteStore(path)
    store.commit(batch(R1))
    asked_with_or = (
        "SELECT runtime_id FROM runtimes WHERE has_news <> 0 OR runtime_id IN "
        "(SELECT runtime_id FROM inputs WHERE outcome IS NULL) ORDER BY runtime_id"
    )
    plan = [row[3] for row in sql(path, f"EXPLAIN QUERY PLAN {asked_with_or}")]
    assert any(s.startswith("SCAN runtimes") and "runtimes_with_news" not in s for s in plan)
    store.close()


def test_operations_begin_and_end_in_a_file_that_was_migrated(path: Path) -> None:
    make_schema_1(path, ended(1, EPOCH))
    store, elsewhere = SqliteStore(path), SqliteStore(path)
    for after, begun, ends in ((1, (live(1), live(2)), ()), (2, (), (ended(2, EPOCH, live(1)),))):
        assert elsewhere.load_ops_snapshot(R1) == store.load_ops_snapshot(R1)
        changes: dict[str, Any] = {"begun": begun, "operations": ends}
        store.commit(batch(R1, after=after, fence=after + 1, epoch_id=EPOCH, **changes))
    for reader in (store, elsewhere):
        snapshot = reader.load_ops_snapshot(R1)
        assert snapshot is not None
        assert snapshot.live == (live(2),)
        assert [entry.seq for entry in snapshot.feed] == [1, 2]
        reader.close()


def test_a_row_knows_whether_it_has_news() -> None:
    assert not known(R1, 0).has_news
    assert not known(R1, 1).has_news
    assert known(R1, 2).has_news
    assert not evolve(known(R1), cursors=EpochCursorSnapshot()).has_news
    assert evolve(known(R1), live_operations=1).has_news
    for gone in (RuntimeState.STOPPED, RuntimeState.DESTROYED):
        assert not evolve(known(R1, 2), live_operations=1, state=gone).has_news


def make_schema_2(path: Path, version: int = 2) -> None:
    """A file as that schema left it: R1 has ended inputs, with and without a key."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in (each for step in range(1, version + 1) for each in MIGRATIONS[step]):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    columns = runtime_columns(evolve(known(R1), next_admission_sequence=9))
    insert(connection, "runtimes", columns[:COLUMNS_OF_2])
    for number, key in ((3, "b"), (1, None), (2, "a"), (4, None)):
        row = row_of(prompt(number, key), InputPhase.CONSUMED, number)
        insert(connection, "inputs", input_columns(R1, row))
    insert(connection, "inputs", input_columns(R1, row_of(prompt(5, "c"), sequence=5)))
    insert(connection, "receipts", receipt_columns(R1, receipt(0, 1, 2, 3, 4)))
    connection.close()


@pytest.mark.parametrize("version", [2, 3])
def test_an_older_schema_is_read_as_it_is_and_pruned_once_migrated(
    path: Path, version: int
) -> None:
    make_schema_2(path, version)
    store = SqliteStore(path)
    read, before = everything(store), path.read_bytes()
    listed = [s.input_id.value.int for s in store.page_terminal_inputs(R1).items]
    assert listed == [1, 4, 2, 3]
    assert path.read_bytes() == before
    store.acquire()
    assert everything(store) == read
    step = store.prune(Retention(max_count=0), START)
    assert (step.inputs, step.receipts) == (4, 1)
    assert store.load_input_by_key(R1, IdempotencyKey("a")) is not None
    assert [s.input_id.value.int for s in store.load_active_inputs(R1)] == [5]
    store.commit(batch(R1, after=1, set_aside="it failed nine times"))
    row = store.load_runtime(R1)
    assert row is not None
    assert row.set_aside == "it failed nine times"
    store.close()


def test_pruning_an_older_file_migrates_it_first(path: Path) -> None:
    make_schema_2(path)
    store = SqliteStore(path)
    assert store.prune(Retention(max_count=0), START).inputs == 4
    assert sql(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    store.close()


def test_what_is_left_to_prune_is_found_without_what_was(path: Path) -> None:
    store = SqliteStore(path)
    store.commit(batch(R1))
    plan = [row[3] for row in sql(path, f"EXPLAIN QUERY PLAN {_WHOLE}", 0, 9)]
    assert any("inputs_whole" in step for step in plan)
    assert not any(step.startswith("SCAN") or "ORDER BY" in step for step in plan)
    plan = [row[3] for row in sql(path, f"EXPLAIN QUERY PLAN {_FORGET_RUNS}", "[]")]
    assert any("inputs_by_id" in step for step in plan)
    assert {step.split()[1] for step in plan if step.startswith("SCAN")} <= {"json_each", "named"}
    store.close()
