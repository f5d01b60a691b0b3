"""Listings of SQL stores: what becomes of the rows that a page's statement has found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from meerkat.errors import RecoveryCorruption
from meerkat.input_lifecycle import InputState
from meerkat.json_values import parse
from meerkat.store.protocol import PLACE_MAX, Page, RuntimeSummary
from meerkat.store.rows import input_of, runtime_of

_RUNTIME_COLUMNS: Final = 13
_BEFORE_ALL: Final = -1


def place_and_name(after: str | None) -> tuple[int, str]:
    """What a page of summaries begins behind: a place in its order, and a name there.

    ValueError for what no page has named.
    """
    if after is None:
        return _BEFORE_ALL, ""
    text, _, name = after.partition("/")
    place = int(text)
    if abs(place) > PLACE_MAX:
        raise ValueError(f"{text} is no place in a listing")
    return place, name


def summaries_of(rows: Sequence[Sequence[Any]], limit: int) -> Page[RuntimeSummary]:
    """A page of rows that are read up to one past it.

    Each is what ``runtime_of`` reads, then its place in the order, how many inputs have not
    ended, where the first of them stands, and the state of that one.
    """
    items = tuple(map(_summary, rows[:limit]))
    if len(rows) <= limit:
        return Page(items, None)
    last = rows[limit - 1]
    return Page(items, f"{last[_RUNTIME_COLUMNS]}/{last[0]}")


def _summary(columns: Sequence[Any]) -> RuntimeSummary:
    row, unreadable = None, None
    try:
        row = runtime_of(columns[:_RUNTIME_COLUMNS])
    except RecoveryCorruption as error:
        unreadable = error.reason
    _, pending, _, oldest = columns[_RUNTIME_COLUMNS:]
    return RuntimeSummary(
        name=str(columns[0]),
        row=row,
        pending=pending,
        oldest_at=None if oldest is None else _created_at(oldest),
        unreadable=unreadable,
    )


def _created_at(state: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(parse(state)["created_at"])
    except (ValueError, TypeError, KeyError):  # whoever reads that input is told
        return None


def inputs_of(rows: Sequence[Sequence[Any]], limit: int) -> Page[InputState]:
    """A page of rows of ``inputs`` that are read up to one past it."""
    items = tuple(input_of(row) for row in rows[:limit])
    return Page(items, rows[limit - 1][0] if len(rows) > limit else None)
