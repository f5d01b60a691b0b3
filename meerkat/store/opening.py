"""Store URLs.

``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``postgresql://host/database``, ``memory:``.
"""

from __future__ import annotations

from typing import Final

from meerkat.errors import StoreError
from meerkat.store.memory import MemoryStore
from meerkat.store.protocol import RuntimeStore
from meerkat.store.sqlite import SqliteStore

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")


def open_store(url: str) -> RuntimeStore:
    """The store a URL names. Opens nothing yet; StoreError for a URL of another form.

    ModuleNotFoundError for PostgreSQL where psycopg is not installed; its text says what is.
    TypeError for what is no text, a path say.
    """
    if not isinstance(url, str):
        raise TypeError(f"a store URL is a text, not {type(url).__name__}")
    if url == "memory:":
        return MemoryStore()
    if url.startswith(_POSTGRES):
        from meerkat.store import PostgresStore  # noqa: PLC0415 - it loads psycopg

        return PostgresStore(url)
    path = url.removeprefix(_SQLITE)
    if path == url or not path:
        shown = url.partition("://")[0] + "://..." if "@" in url else url  # without a password
        known = "sqlite:///FILE, postgresql://HOST/DATABASE or memory:"
        raise StoreError(f"unknown store URL {shown!r}: use {known}")
    return SqliteStore(path)
