"""Store URLs: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``memory:``."""

from __future__ import annotations

from typing import Final

from meerkat.errors import StoreError
from meerkat.store.memory import MemoryStore
from meerkat.store.protocol import RuntimeStore
from meerkat.store.sqlite import SqliteStore

_SQLITE: Final = "sqlite:///"


def open_store(url: str) -> RuntimeStore:
    """The store a URL names. Opens nothing yet; StoreError for a URL of another form."""
    if url == "memory:":
        return MemoryStore()
    path = url.removeprefix(_SQLITE)
    if path == url or not path:
        raise StoreError(f"unknown store URL {url!r}: use sqlite:///FILE or memory:")
    return SqliteStore(path)
