"""The stores there are here, by name: a new one is a class of its own and a line in the table."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.testing.store_conformance import StoreCapability, StoreConformance


class TestMemoryStore(StoreConformance):
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


STORES: Final[dict[str, type[StoreConformance]]] = {
    "memory": TestMemoryStore,
    "sqlite": TestSqliteStore,
}
