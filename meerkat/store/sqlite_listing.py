"""The statements behind the listings of a SQLite store: a page costs what is on it.

By name a page is found through the primary key. By what waits, the index of active inputs is
gone through once: it has an entry for each input that has not ended, whatever else is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from meerkat.errors import RecoveryCorruption
from meerkat.json_values import parse
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.protocol import EVERY_STATE, PLACE_MAX, Order, Page, RuntimeSummary
from meerkat.store.rows import runtime_of
from meerkat.store.sqlite_readers import INPUT

RUNTIME: Final = (
    "runtime_id, session_id, epoch_id, state, fence, registered, next_admission_sequence, "
    "CAST(silent_intents AS BLOB), CAST(cursors AS BLOB), feed_watermark, live_operations, "
    "set_aside, paused"
)
# JSON is read as bytes: text that is not UTF-8 is then the row's fault, not the file's.
_RUNTIME_COLUMNS: Final = 13

_IN_STATES: Final = "(?3 IS NULL OR instr(?3, '/' || state || '/'))"
_ACTIVE: Final = "FROM inputs AS i WHERE i.runtime_id = runtimes.runtime_id AND i.outcome IS NULL"
_BY_NAME: Final = (
    f"SELECT {RUNTIME}, 0 AS place, (SELECT count(*) {_ACTIVE}) AS pending, "
    f"(SELECT min(i.rowid) {_ACTIVE}) AS first FROM runtimes "
    f"WHERE ?1 IS NOT NULL AND runtime_id > ?2 AND {_IN_STATES}"
)
_WAITING: Final = (
    "(SELECT runtime_id, count(*) AS pending, min(rowid) AS first FROM inputs "
    "WHERE outcome IS NULL GROUP BY runtime_id)"
)
# An input that arrives gets a higher rowid than those there are: the lowest is the oldest.


def _by_what_waits(place: str) -> str:
    return (
        f"SELECT * FROM (SELECT {RUNTIME}, {place} AS place, coalesce(pending, 0) AS pending, "
        f"first FROM runtimes LEFT JOIN {_WAITING} USING (runtime_id)) "
        f"WHERE (place, runtime_id) > (?1, ?2) AND {_IN_STATES}"
    )


def _page(listed: str) -> str:
    return (
        f"SELECT page.*, CAST(inputs.state AS BLOB) FROM ({listed} "
        "ORDER BY place, runtime_id LIMIT ?4) AS page "
        "LEFT JOIN inputs ON inputs.rowid = page.first ORDER BY page.place, page.runtime_id"
    )


_STATEMENTS: Final[Mapping[Order, str]] = {
    Order.ID: _page(_BY_NAME),
    Order.PENDING: _page(_by_what_waits(f"{PLACE_MAX} - coalesce(pending, 0)")),
    Order.OLDEST: _page(_by_what_waits(f"coalesce(first, {PLACE_MAX})")),
}
_BEFORE_ALL: Final = -1

_ADMITTED: Final = "admission_sequence IS NULL, admission_sequence < 0, admission_sequence, rowid"


def summaries(
    reader: Any, order: Order, states: Collection[RuntimeState], after: str | None, limit: int
) -> Page[RuntimeSummary]:
    """A page of runtimes; ``after`` is ``place/name`` of the last one before it."""
    named = None if states == EVERY_STATE else f"/{'/'.join(state.value for state in states)}/"
    rows = reader.execute(_STATEMENTS[order], (*_place(after), named, limit + 1)).fetchall()
    items = tuple(map(_summary, rows[:limit]))
    if len(rows) <= limit:
        return Page(items, None)
    last = rows[limit - 1]
    return Page(items, f"{last[_RUNTIME_COLUMNS]}/{last[0]}")


def _place(after: str | None) -> tuple[int, str]:
    if after is None:
        return _BEFORE_ALL, ""
    place, _, name = after.partition("/")
    return int(place), name


def _summary(columns: tuple[Any, ...]) -> RuntimeSummary:
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


def active_input_rows(reader: Any, runtime_id: str, after: str | None, limit: int) -> list[Any]:
    """The inputs behind one that have not ended, in the order of ``load_active_inputs``."""
    behind, values = "", tuple[Any, ...]((runtime_id,))
    if after is not None:
        place = f"SELECT {_ADMITTED} FROM inputs WHERE runtime_id = ? AND input_id = ?"
        found = reader.execute(place, (runtime_id, after)).fetchone()
        if found is None:
            return []
        none, negative, number, rowid = found
        behind = (
            "AND (admission_sequence IS NULL, coalesce(admission_sequence, 0) < 0, "
            "coalesce(admission_sequence, 0), rowid) > (?, ?, ?, ?) "
        )
        values = (runtime_id, none, negative or 0, number or 0, rowid)
    return list(
        reader.execute(
            f"{INPUT} AND outcome IS NULL {behind}ORDER BY {_ADMITTED} LIMIT ?", (*values, limit)
        ).fetchall()
    )
