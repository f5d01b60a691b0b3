"""Stores: where a runtime's truth is kept. The one part of this package that does I/O."""

from meerkat.store.memory import MemoryStore
from meerkat.store.opening import open_store
from meerkat.store.protocol import (
    Batch,
    InputRow,
    Order,
    Page,
    Pruned,
    RuntimeRow,
    RuntimeStore,
    RuntimeSummary,
)
from meerkat.store.sqlite import SqliteStore

__all__ = [
    "Batch",
    "InputRow",
    "MemoryStore",
    "Order",
    "Page",
    "Pruned",
    "RuntimeRow",
    "RuntimeStore",
    "RuntimeSummary",
    "SqliteStore",
    "open_store",
]
