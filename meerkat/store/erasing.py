"""Erasing: a runtime removed from a SQL store, so many rows at a time, its own row last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_KEYS: Final[Mapping[str, str]] = {
    "inputs": "input_id",
    "receipts": "run_id, sequence",
    "messages": "position",
    "snapshots": "runtime_id",
    "operations": "epoch_id, seq",
    "begun_operations": "epoch_id, operation_id",
    "runtimes": "runtime_id",
}
"""table → what tells the rows of one runtime apart; the others refer to the last one."""


def _erasing(mark: str) -> tuple[str, ...]:
    """A statement for each table; ``mark`` is what stands for a value."""
    return tuple(
        f"DELETE FROM {table} WHERE runtime_id = {mark} AND ({key}) IN ("  # noqa: S608
        f"SELECT {key} FROM {table} WHERE runtime_id = {mark} LIMIT {mark}) RETURNING 1"
        for table, key in _KEYS.items()
    )


IN_SQLITE: Final = _erasing("?")
IN_POSTGRES: Final = _erasing("%s")


def erased(writer: Any, statements: tuple[str, ...], runtime_id: str, limit: int) -> bool:
    """Remove rows inside the open transaction; is nothing left?"""
    room = limit
    for statement in statements:
        gone = writer.execute(statement, (runtime_id, runtime_id, room))
        room -= len(gone.fetchall())
        if not room:
            return False
    return True
