"""The two ends of a copy: stores that can be copied, that are two, and whose owner is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from meerkat.store.copy_report import CopyRefused
from meerkat.store.copyable import CopyableStore, copyable
from meerkat.store.memory import MemoryStore
from meerkat.store.ownership import OwnerLock
from meerkat.store.protocol import RuntimeStore
from meerkat.store.sqlite import SqliteStore


def able(store: RuntimeStore) -> CopyableStore:
    """The store, which has the calls of a copy; CopyRefused for another."""
    if not copyable(store):
        raise CopyRefused(f"{store!r} cannot be copied: it has no page_inputs, or no erase")
    return store


def refuse_the_same(source: RuntimeStore, target: RuntimeStore) -> None:
    """Raise CopyRefused for one store under two names, as far as the names tell."""
    named = repr(source) == repr(target) and not isinstance(source, MemoryStore)
    if source is target or named or _one_file(source, target):
        place = target.path if isinstance(target, SqliteStore) else repr(target)
        raise CopyRefused(f"{place} is the store that is to be copied")


def _one_file(source: RuntimeStore, target: RuntimeStore) -> bool:
    if isinstance(source, SqliteStore) and isinstance(target, SqliteStore):
        with suppress(OSError):
            return source.path.samefile(target.path)
    return False


@contextmanager
def owned(store: RuntimeStore) -> Iterator[None]:
    """While it lasts nobody else owns the store; a file is not opened for that."""
    if isinstance(store, SqliteStore):
        lock = OwnerLock(store.path)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()
    else:
        store.acquire()
        try:
            yield
        finally:
            store.close()
