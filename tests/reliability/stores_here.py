"""The stores there are here, by name: a new one is a class of its own and a line in the table."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import psycopg

from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.store import MemoryStore, PostgresStore, RuntimeStore, SqliteStore
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.store_conformance import StoreCapability, StoreConformance


class TestMemoryStore(StoreConformance):
    capabilities = (StoreCapability.COPIES,)

    def open_store(self, place: Path) -> RuntimeStore:
        return MemoryStore()


class TestSqliteStore(StoreConformance):
    capabilities = StoreCapability

    def open_store(self, place: Path) -> RuntimeStore:
        return SqliteStore(place / "sessions.db")

    def spoil_input(self, place: Path, runtime_id: LogicalRuntimeId, input_id: InputId) -> None:
        spoil = "UPDATE inputs SET state = '{' WHERE runtime_id = ? AND input_id = ?"
        with closing(sqlite3.connect(place / "sessions.db")) as connection, connection:
            connection.execute(spoil, (str(runtime_id), str(input_id)))


class TestPostgresStore(StoreConformance):
    """A schema for each place. A child that is killed finds the server's URL beside its place."""

    capabilities = StoreCapability

    def open_store(self, place: Path) -> RuntimeStore:
        return PostgresStore(_url_for(place), schema=_schema_of(place))

    def spoil_input(self, place: Path, runtime_id: LogicalRuntimeId, input_id: InputId) -> None:
        spoil = f"UPDATE {_schema_of(place)}.inputs SET state = '{{' "
        with psycopg.connect(_url_for(place)) as connection:
            where = "WHERE runtime_id = %s AND input_id = %s"
            connection.execute(spoil + where, (str(runtime_id), str(input_id)))


def _schema_of(place: Path) -> str:
    return "t_" + hashlib.sha256(str(place).encode()).hexdigest()[:24]


def _url_for(place: Path) -> str:
    noted = place / "url"
    if not noted.exists():
        noted.write_text(postgres_url())
    return noted.read_text()


STORES: Final[dict[str, type[StoreConformance]]] = {
    "memory": TestMemoryStore,
    "postgres": TestPostgresStore,
    "sqlite": TestSqliteStore,
}
