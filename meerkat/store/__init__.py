"""Stores: where a runtime's truth is kept. The one part of this package that does I/O.

``PostgresStore`` is loaded when it is first asked for: it needs the extra ``[postgres]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from meerkat.store.postgres import PostgresStore
    from meerkat.store.postgres_session import PostgresTimeouts

__all__ = [
    "Batch",
    "InputRow",
    "MemoryStore",
    "Order",
    "Page",
    "PostgresStore",
    "PostgresTimeouts",
    "Pruned",
    "RuntimeRow",
    "RuntimeStore",
    "RuntimeSummary",
    "SqliteStore",
    "open_store",
]

_POSTGRES: Final = frozenset({"PostgresStore", "PostgresTimeouts"})
_EXTRA: Final = frozenset({"psycopg", "psycopg_pool"})


def __dir__() -> list[str]:
    """The names that need psycopg, too."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """The names that need psycopg."""
    if name not in _POSTGRES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from meerkat.store import postgres  # noqa: PLC0415 - it loads psycopg
    except ModuleNotFoundError as missing:
        if missing.name not in _EXTRA:
            raise
        raise ModuleNotFoundError(
            f"meerkat.store.{name} needs {missing.name}: "
            "pip install 'meerkat-runtime[postgres]' 'psycopg[binary]'",
            name=missing.name,
        ) from None
    return getattr(postgres, name)
