"""An older PostgreSQL schema: migrated by who writes first, whole or not at all, losing nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from shared_stores import Schema, a_schema

from meerkat import InputPhase, LogicalRuntimeId, RuntimeEpochId, fail_points
from meerkat.conversation import AppendMessages, ReplaceSnapshot
from meerkat.errors import StoreError
from meerkat.fail_points import FailPoint
from meerkat.store import PostgresStore
from meerkat.store.postgres_schema import (
    CREATE_VERSIONS,
    MIGRATIONS,
    SCHEMA_VERSION,
    VERSIONS_TABLE,
)
from meerkat.testing.store_conformance.shared_base import kinds, offer
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    batch,
    ended,
    everything,
    live,
    prompt,
    receipt,
    row_of,
)

EPOCH = RuntimeEpochId.new()
WAIT_S = 120.0


@pytest.fixture
def schema() -> Iterator[Schema]:
    with a_schema() as made:
        yield made


def full() -> list[Any]:
    return [
        batch(
            R1,
            row_of(prompt(1, "k")),
            row_of(prompt(2, "ä"), InputPhase.CONSUMED),
            row_of(prompt(3), InputPhase.ACCEPTED),
            epoch_id=EPOCH,
            live_operations=1,
            receipts=(receipt(0, 2),),
            begun=(live(1), live(2)),
            operations=(ended(1, EPOCH, live(1)),),
            session=(AppendMessages(0, 1, b'["\xc3\xa4"]'), ReplaceSnapshot(b"\x00\xff")),
        ),
        batch(R2, set_aside="it said \x00"),
        batch(R3, registered=False),
    ]


def make_schema_1(schema: Schema) -> list[Any]:
    """Tables as the first schema left them, with a row of each kind; what they hold."""
    with a_schema() as present:
        store = present.alone()
        assert store.commit_many(full()) == [None] * 3
        held = everything(store)
        schema.run(f"CREATE SCHEMA {schema.name}")
        for statement in (CREATE_VERSIONS, *MIGRATIONS[1]):
            schema.run(statement)
        schema.run(f"INSERT INTO {VERSIONS_TABLE} (version) VALUES (1)")
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> %s"
        for (table,) in schema.run(tables, schema.name, VERSIONS_TABLE):
            columns = schema.run(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attnum > 0 AND attidentity = ''",
                f"{schema.name}.{table}",
            )[0][0]
            rows = f"SELECT {columns} FROM {present.name}.{table}"
            schema.run(f"INSERT INTO {table} ({columns}) {rows}")
    return held


def version(schema: Schema) -> int:
    found: int = schema.run(f"SELECT max(version) FROM {VERSIONS_TABLE}")[0][0]
    return found


@pytest.mark.parametrize("shares", [False, True])
def test_an_older_schema_is_migrated_by_its_owner_and_holds_the_same(
    schema: Schema, shares: bool
) -> None:
    held = make_schema_1(schema)
    store = schema.sharing("first") if shares else schema.alone()
    with pytest.raises(StoreError, match="has schema 1; open it once for writing"):
        store.load_runtime(R1)
    assert version(schema) == 1
    store.acquire()
    assert version(schema) == SCHEMA_VERSION
    assert everything(store) == held
    store.commit_many([batch(R1, after=1, fence=2), batch(R2, after=1, fence=2)])
    store.close()
    other = schema.joined("other")
    assert [each.input_id for each in other.load_offered(R1)] == [prompt(3).id]
    assert other.page_adoptable().items == (R1,)
    assert other.owned_elsewhere([R1, R2]) == {}
    other.commit(batch(R1, after=2, fence=3))
    assert other.offered() == [R1]
    assert kinds(other.offer_many([(R1, offer(1))]))[0].__name__ == "Deduplicated"


@pytest.mark.parametrize("step", range(len(MIGRATIONS[2]) + 1))
def test_a_migration_that_is_broken_off_has_not_happened(schema: Schema, step: int) -> None:
    held = make_schema_1(schema)
    store, left = schema.sharing("first"), [None] * step

    class Broken(Exception):
        pass

    def break_off(point: FailPoint) -> None:
        if point in (FailPoint.MIGRATION_STEP, FailPoint.MIGRATION_WRITTEN):
            if not left:
                raise Broken
            left.pop()

    fail_points.watch(break_off)
    try:
        with pytest.raises(Broken):
            store.acquire()
    finally:
        fail_points.unwatch(break_off)
    assert version(schema) == 1
    assert schema.run("SELECT to_regclass('owners')") == [(None,)]
    store.acquire()
    assert everything(store) == held


def test_tables_are_not_changed_under_who_owns_them(schema: Schema) -> None:
    make_schema_1(schema)
    older = PostgresStore(schema.url, schema=schema.name)
    older.acquire()  # it migrates: as one of the older release it is made to look like one
    try:
        schema.run("DROP TABLE owners CASCADE")
        schema.run("ALTER TABLE runtimes DROP COLUMN owner_id")
        schema.run("DROP INDEX inputs_offered")
        schema.run(f"DELETE FROM {VERSIONS_TABLE} WHERE version = 2")
        for store in (schema.sharing("newer"), schema.alone()):
            with pytest.raises(StoreError, match="is in use by process"):
                store.acquire()
        assert version(schema) == 1
    finally:
        older.close()
    schema.joined("newer").commit(batch(R1, after=1, fence=2))


def test_several_that_come_at_once_find_one_migration(schema: Schema) -> None:
    held = make_schema_1(schema)
    stores = [schema.sharing(f"shard-{number}") for number in range(4)]
    together = threading.Barrier(len(stores))

    def come(store: PostgresStore) -> None:
        together.wait(WAIT_S)
        store.acquire()

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(come, stores, timeout=WAIT_S))
    assert len(schema.owners()) == 4
    assert schema.run(f"SELECT version FROM {VERSIONS_TABLE} ORDER BY 1") == [(1,), (2,)]
    assert everything(stores[0]) == held
    stores[1].commit(batch(LogicalRuntimeId("new")))
