"""The statements behind the listings of a SQLite store: a page costs what is on it.

By name a page is found through the primary key. By what waits, the index of active inputs is
gone through once: it has an entry for each input that has not ended, whatever else is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.listing import place_and_name, summaries_of
from meerkat.store.protocol import EVERY_STATE, PLACE_MAX, Order, Page, RuntimeSummary
from meerkat.store.sqlite_readers import INPUT

RUNTIME: Final = (
    "runtime_id, session_id, epoch_id, state, fence, registered, next_admission_sequence, "
    "CAST(silent_intents AS BLOB), CAST(cursors AS BLOB), feed_watermark, live_operations, "
    "set_aside, paused"
)
# JSON is read as bytes: text that is not UTF-8 is then the row's fault, not the file's.

_IN_STATES: Final = "(:states IS NULL OR instr(:states, '/' || state || '/'))"
_ACTIVE: Final = "FROM inputs AS i WHERE i.runtime_id = runtimes.runtime_id AND i.outcome IS NULL"
_BY_NAME: Final = (
    f"SELECT {RUNTIME}, 0 AS place, (SELECT count(*) {_ACTIVE}) AS pending, "
    f"(SELECT min(i.rowid) {_ACTIVE}) AS first FROM runtimes "
    f"WHERE runtime_id > :name AND {_IN_STATES}"
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
        f"WHERE (place, runtime_id) > (:place, :name) AND {_IN_STATES}"
    )


def _page(listed: str) -> str:
    return (
        f"SELECT page.*, CAST(inputs.state AS BLOB) FROM ({listed} "
        "ORDER BY place, runtime_id LIMIT :limit) AS page "
        "LEFT JOIN inputs ON inputs.rowid = page.first ORDER BY page.place, page.runtime_id"
    )


_STATEMENTS: Final[Mapping[Order, str]] = {
    Order.ID: _page(_BY_NAME),
    Order.PENDING: _page(_by_what_waits(f"{PLACE_MAX} - coalesce(pending, 0)")),
    Order.OLDEST: _page(_by_what_waits(f"coalesce(first, {PLACE_MAX})")),
}
ADMITTED: Final = "admission_sequence IS NULL, admission_sequence < 0, admission_sequence, rowid"


def summaries(
    reader: Any, order: Order, states: Collection[RuntimeState], after: str | None, limit: int
) -> Page[RuntimeSummary]:
    """A page of runtimes; ``after`` is ``place/name`` of the last one before it."""
    named = None if states == EVERY_STATE else f"/{'/'.join(state.value for state in states)}/"
    place, name = place_and_name(after)
    values = {"place": place, "name": name, "states": named, "limit": limit + 1}
    return summaries_of(reader.execute(_STATEMENTS[order], values).fetchall(), limit)


_ARRIVED: Final = (
    "SELECT input_id, phase, CAST(state AS BLOB), CAST(payload AS BLOB) FROM inputs "
    "WHERE rowid IN (SELECT rowid FROM inputs WHERE runtime_id = ? AND +rowid > ? "
    "ORDER BY +rowid LIMIT ?) ORDER BY rowid"
)
# With the plus the rows are those of the index that lists a runtime's inputs, and not all of
# the table that lie behind a place, whosever they are.


def arrived_input_rows(reader: Any, runtime_id: str, after: str | None, limit: int) -> list[Any]:
    """All inputs behind one, in the order in which they came.

    A page looks at an index entry for each input of the runtime.
    """
    place = 0
    if after is not None:
        found = reader.execute(
            "SELECT rowid FROM inputs WHERE runtime_id = ? AND input_id = ?", (runtime_id, after)
        ).fetchone()
        if found is None:
            return []
        (place,) = found
    return list(reader.execute(_ARRIVED, (runtime_id, place, limit)).fetchall())


def active_input_rows(reader: Any, runtime_id: str, after: str | None, limit: int) -> list[Any]:
    """The inputs behind one that have not ended, in the order of ``load_active_inputs``."""
    behind, values = "", tuple[Any, ...]((runtime_id,))
    if after is not None:
        place = f"SELECT {ADMITTED} FROM inputs WHERE runtime_id = ? AND input_id = ?"
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
            f"{INPUT} AND outcome IS NULL {behind}ORDER BY {ADMITTED} LIMIT ?", (*values, limit)
        ).fetchall()
    )


_NEWEST: Final = (
    f"{INPUT} AND rowid IN (SELECT rowid FROM inputs WHERE runtime_id = ? AND rowid < ? "
    "AND rowid NOT IN (SELECT rowid FROM inputs WHERE runtime_id = ? AND outcome IS NULL) "
    "ORDER BY rowid DESC LIMIT ?) ORDER BY rowid DESC"
)
# The inner two look at indexes alone: of a runtime's inputs, and of those that have not ended.


def newest_input_rows(reader: Any, runtime_id: str, after: str | None, limit: int) -> list[Any]:
    """The finished inputs that arrived before one, the last that arrived first."""
    behind = PLACE_MAX
    if after is not None:
        place = "SELECT rowid FROM inputs WHERE runtime_id = ? AND input_id = ?"
        found = reader.execute(place, (runtime_id, after)).fetchone()
        if found is None:
            return []
        (behind,) = found
    values = (runtime_id, runtime_id, behind, runtime_id, limit)
    return list(reader.execute(_NEWEST, values).fetchall())


def abandoned_input_rows(reader: Any, runtime_id: str, after: str | None, limit: int) -> list[Any]:
    """The inputs behind one that were given up, in the order of arrival, by their own index."""
    behind = 0
    if after is not None:
        place = "SELECT rowid FROM inputs WHERE runtime_id = ? AND input_id = ?"
        found = reader.execute(place, (runtime_id, after)).fetchone()
        if found is None:
            return []
        (behind,) = found
    return list(
        reader.execute(
            f"{INPUT} AND outcome = 'abandoned' AND rowid > ? ORDER BY rowid LIMIT ?",
            (runtime_id, behind, limit),
        ).fetchall()
    )


_CHANGED: Final = (
    "CASE WHEN json_valid(state) AND json_type(state, '$.history') IS NOT NULL "
    "THEN json_extract(state, '$.updated_at') END"
)
_LATEST: Final = (
    "SELECT runtime_id, input_id, phase, CAST(state AS BLOB), CAST(payload AS BLOB) FROM inputs "
    f"WHERE {_CHANGED} >= ?{{of}} ORDER BY {_CHANGED} DESC, rowid DESC LIMIT ?"
)


def latest_input_rows(
    reader: Any, runtime_id: str | None, since: datetime | None, limit: int
) -> list[Any]:
    """The inputs that changed last, with their runtimes; times sort as their texts do."""
    text = "" if since is None else since.isoformat(timespec="microseconds")
    of, whose = ("", ()) if runtime_id is None else (" AND runtime_id = ?", (runtime_id,))
    return list(reader.execute(_LATEST.format(of=of), (text, *whose, limit)).fetchall())
