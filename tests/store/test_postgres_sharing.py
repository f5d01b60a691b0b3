"""Several processes on one PostgreSQL schema: the kit's cases, and who may come."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from shared_stores import Schema, a_schema

from meerkat.errors import StoreError
from meerkat.store import PostgresStore
from meerkat.store.ownership import StoreInUse
from meerkat.store.sharing import SharedStore, Sharing
from meerkat.testing import SharedStoreConformance
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.store_rows import R1, batch


@pytest.fixture
def schema() -> Iterator[Schema]:
    with a_schema() as made:
        yield made


class TestSharedPostgresStore(SharedStoreConformance):
    def open_shared(self, place: Path, sharing: Sharing) -> SharedStore:
        return PostgresStore(postgres_url(), schema=_schema_of(place), sharing=sharing)

    def end_lease(self, place: Path, name: str) -> None:
        with psycopg.connect(postgres_url()) as admin:
            admin.execute(
                f"UPDATE {_schema_of(place)}.owners "
                "SET lease_until = clock_timestamp() - interval '1 s' WHERE name = %s",
                [name],
            )


def _schema_of(place: Path) -> str:
    return "k_" + hashlib.sha256(str(place).encode()).hexdigest()[:24]


def test_one_that_has_it_alone_and_those_that_share_it_exclude_each_other(schema: Schema) -> None:
    alone, first, second = schema.alone(), schema.sharing("first"), schema.sharing("second")
    alone.acquire()
    alone.commit(batch(R1))
    with pytest.raises(StoreInUse, match=r"is in use by process \d+ \(.*\)$"):
        first.acquire()
    assert schema.owners() == []
    alone.close()
    first.acquire()
    second.acquire()
    with pytest.raises(StoreInUse, match=r"is in use by process \d+ \(.*\), sharing it"):
        alone.acquire()
    first.close()
    with pytest.raises(StoreInUse):
        alone.acquire()
    second.close()
    alone.acquire()
    alone.commit(batch(R1, after=1, fence=2))


def test_who_has_it_alone_waits_for_no_lease_of_one_that_is_gone(schema: Schema) -> None:
    gone, alone = schema.joined("gone"), schema.alone()
    gone.commit(batch(R1))
    schema.cut_off(gone)
    alone.acquire()
    alone.commit(batch(R1, after=1, fence=2))
    for call in (gone.renew, lambda: gone.commit(batch(R1, after=1, fence=2))):
        with pytest.raises(StoreInUse):
            call()


def test_who_was_long_away_has_its_lease_again(schema: Schema) -> None:
    store, other = schema.joined("first"), schema.joined("second")
    store.commit(batch(R1))
    schema.run("DELETE FROM owners WHERE name = 'first'")  # as after a day
    store.renew()
    assert other.owned_elsewhere([R1]) == {R1: "first"}


def test_a_lease_is_had_first_and_renewed_then(schema: Schema) -> None:
    store = schema.sharing("first")
    with pytest.raises(StoreError, match="acquire it first"):
        store.renew()
    store.acquire()
    with pytest.raises(StoreError, match="another control plane of this process"):
        store.acquire()
    before = schema.run("SELECT lease_until FROM owners")
    store.renew()
    assert schema.run("SELECT lease_until FROM owners") > before


def test_those_who_come_to_an_empty_database_together_all_come_in(schema: Schema) -> None:
    stores = [schema.sharing(f"owner-{number}") for number in range(6)]
    together = Barrier(len(stores))

    def acquire(store: PostgresStore) -> None:
        together.wait(10)
        store.acquire()

    with ThreadPoolExecutor(len(stores)) as threads:
        list(threads.map(acquire, stores))
    assert schema.owners() == [f"owner-{number}" for number in range(6)]
