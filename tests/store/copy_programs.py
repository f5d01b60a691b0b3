"""What a child does that is killed: a copy, and the end of its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meerkat.store import PostgresStore, RuntimeStore, SqliteStore
from meerkat.store.copying import copy_store

if TYPE_CHECKING:
    from meerkat.testing.processes import Told

PROGRAM = f"{__name__}:copy"


def named(name: str) -> RuntimeStore:
    """A file, or a schema of a server: ``URL schema``."""
    url, _, schema = name.partition(" ")
    return PostgresStore(url, schema=schema) if schema else SqliteStore(name)


def copy(_told: Told, source: str, target: str) -> None:
    copy_store(named(source), named(target))
