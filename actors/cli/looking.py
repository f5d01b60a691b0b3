"""Looking: at a store that somebody else may own. Nothing is created, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.cli.status import NotFoundError, UsageError
from meerkat.errors import StoreError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeRow, RuntimeStore, SqliteStore


@contextmanager
def looking_at(store: RuntimeStore) -> Iterator[RuntimeStore]:
    """The store, which is closed behind it; StoreError where there is none."""
    if isinstance(store, SqliteStore):
        database_of(store)
    try:
        yield store
    finally:
        store.close()


def row_of(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> RuntimeRow:
    """The row of a runtime; NotFoundError when it is not there."""
    row = store.load_runtime(runtime_id)
    if row is None:
        raise NotFoundError(f"Runtime not found: {runtime_id}")
    return row


def database_of(store: RuntimeStore) -> Path:
    """The file behind a store; UsageError for one without, StoreError where there is none."""
    if not isinstance(store, SqliteStore):
        raise UsageError("--store: this command is about a database file")
    if not store.path.exists():
        raise StoreError(f"{store.path}: there is no such file")
    return store.path
