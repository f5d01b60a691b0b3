"""Looking: at a store that somebody else may own. Nothing is created, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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
        path = getattr(store, "path", None)  # another --store is what was meant, often
        raise NotFoundError(f"Runtime not found: {runtime_id}" + (f", in {path}" if path else ""))
    return row


def sqlite_of(store: RuntimeStore) -> SqliteStore:
    """A store that is a database file; UsageError for any other."""
    if isinstance(store, SqliteStore):
        return store
    raise UsageError(f"--store: this command is about a database file, sqlite:///FILE; {_INSTEAD}")


_INSTEAD: Final = (
    "in another store look with runtimes, show, inputs and receipts, act through the process "
    "that has it, and check and copy with what belongs to it"
)
"""What there is for a store that is no file."""

_NO_FILE: Final = (
    "there is no such file; sqlite:///FILE is counted from this folder, sqlite:////FILE from /"
)


def database_of(store: RuntimeStore) -> Path:
    """The file behind a store; UsageError for one without, StoreError where there is none."""
    path = sqlite_of(store).path
    if not path.exists():
        raise StoreError(f"{path}: {_NO_FILE}")
    if not path.is_file():
        raise StoreError(f"{path} is not a file")
    return path
