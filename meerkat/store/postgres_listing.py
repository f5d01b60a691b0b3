"""The statements behind the listings of a PostgreSQL store: a page costs what is on it.

By name a page is found through the primary key. By what waits, the index of active inputs is
gone through once: it has an entry for each input that has not ended, whatever else is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from meerkat.identifiers import InputId
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.listing import place_and_name, summaries_of
from meerkat.store.postgres_readers import fetch
from meerkat.store.postgres_schema import ADMITTED
from meerkat.store.postgres_session import Connection
from meerkat.store.postgres_statements import INPUT, RUNTIME
from meerkat.store.protocol import EVERY_STATE, PLACE_MAX, Order, Page, RuntimeSummary

_IN_STATES: Final = "(%(states)s::text[] IS NULL OR state = ANY(%(states)s::text[]))"
_WAITING: Final = (
    "(SELECT runtime_id, count(*) AS pending, min(place) AS first FROM inputs "
    "WHERE outcome IS NULL GROUP BY runtime_id) AS waiting"
)
_WAITING_OF_ONE: Final = (
    "LATERAL (SELECT count(*) AS pending, min(inputs.place) AS first FROM inputs "
    "WHERE inputs.runtime_id = page.runtime_id AND outcome IS NULL) AS waiting"
)
_OLDEST: Final = (
    "LEFT JOIN LATERAL (SELECT convert_to(inputs.state, 'UTF8') FROM inputs "
    "WHERE inputs.runtime_id = page.runtime_id AND inputs.outcome IS NULL "
    "AND inputs.place = first) AS oldest (oldest_state) ON true"
)

_BY_NAME: Final = (
    f"SELECT {RUNTIME}, 0 AS place, pending, first, oldest_state FROM (SELECT * FROM runtimes "
    f"WHERE runtime_id > %(name)s AND {_IN_STATES} ORDER BY runtime_id LIMIT %(limit)s) AS page "
    f"CROSS JOIN {_WAITING_OF_ONE} {_OLDEST} ORDER BY page.runtime_id"
)


def _by_what_waits(place: str) -> str:
    return (
        f"SELECT {RUNTIME}, page.place, pending, first, oldest_state FROM (SELECT * FROM ("
        f"SELECT runtimes.*, {place} AS place, coalesce(pending, 0) AS pending, first "
        f"FROM runtimes LEFT JOIN {_WAITING} USING (runtime_id)) AS listed "
        f"WHERE (place, runtime_id) > (%(place)s, %(name)s) AND {_IN_STATES} "
        f"ORDER BY place, runtime_id LIMIT %(limit)s) AS page {_OLDEST} "
        "ORDER BY page.place, page.runtime_id"
    )


_STATEMENTS: Final[Mapping[Order, str]] = {
    Order.ID: _BY_NAME,
    Order.PENDING: _by_what_waits(f"{PLACE_MAX} - coalesce(pending, 0)"),
    Order.OLDEST: _by_what_waits(f"coalesce(first, {PLACE_MAX})"),
}


def summaries(
    reader: Connection,
    order: Order,
    states: Collection[RuntimeState],
    after: str | None,
    limit: int,
) -> Page[RuntimeSummary]:
    """A page of runtimes; ``after`` is ``place/name`` of the last one before it."""
    place, name = place_and_name(after)
    named = None if states == EVERY_STATE else [state.value for state in states]
    asked = {"place": place, "name": name, "states": named, "limit": limit + 1}
    rows = reader.execute(_STATEMENTS[order], asked, binary=True).fetchall()
    return summaries_of(rows, limit)


_PLACE: Final = "SELECT place FROM inputs WHERE runtime_id = %s AND input_id = %s"
_ACTIVE_BEHIND: Final = (
    f"{INPUT} AND outcome IS NULL AND ({ADMITTED}) > (SELECT {ADMITTED} FROM inputs "
    f"WHERE runtime_id = %s AND input_id = %s) ORDER BY {ADMITTED} LIMIT %s"
)
_ACTIVE: Final = f"{INPUT} AND outcome IS NULL ORDER BY {ADMITTED} LIMIT %s"
_ENDED_BEHIND: Final = (
    f"{INPUT} AND outcome IS NOT NULL AND place > (SELECT place FROM inputs "
    "WHERE runtime_id = %s AND input_id = %s) ORDER BY place LIMIT %s"
)
_ENDED: Final = f"{INPUT} AND outcome IS NOT NULL ORDER BY place LIMIT %s"
_GIVEN_UP: Final = f"{INPUT} AND outcome = 'abandoned' ORDER BY place LIMIT %s"
_GIVEN_UP_BEHIND: Final = (
    f"{INPUT} AND outcome = 'abandoned' AND place > (SELECT place FROM inputs "
    "WHERE runtime_id = %s AND input_id = %s) ORDER BY place LIMIT %s"
)


_ROW: Final = INPUT.replace("SELECT ", "SELECT place, ", 1)
_BEHIND: Final = "AND place > %s ORDER BY place LIMIT %s"
_ARRIVED: Final = (
    f"({_ROW} AND outcome IS NOT NULL {_BEHIND}) UNION ALL ({_ROW} AND outcome IS NULL {_BEHIND}) "
    "ORDER BY place LIMIT %s"
)
# Those that have ended lie in the order of arrival; the others, few, are sorted.


def active_input_rows(
    reader: Connection, runtime_id: str, after: str | None, limit: int
) -> list[Any]:
    """The inputs behind one that have not ended, in the order of ``load_active_inputs``."""
    return _page(reader, (_ACTIVE, _ACTIVE_BEHIND), runtime_id, after, limit)


def terminal_input_rows(
    reader: Connection, runtime_id: str, after: str | None, limit: int
) -> list[Any]:
    """The finished inputs behind one, in the order in which they came."""
    return _page(reader, (_ENDED, _ENDED_BEHIND), runtime_id, after, limit)


def abandoned_input_rows(
    reader: Connection, runtime_id: str, after: str | None, limit: int
) -> list[Any]:
    """The inputs behind one that were given up, in the order in which they came."""
    return _page(reader, (_GIVEN_UP, _GIVEN_UP_BEHIND), runtime_id, after, limit)


def arrived_input_rows(
    reader: Connection, runtime_id: str, after: str | None, limit: int
) -> list[Any]:
    """All inputs behind one, in the order in which they came."""
    place = 0
    if after is not None:
        found = fetch(reader, _PLACE, runtime_id, after)
        if not found:
            return []
        ((place,),) = found
    part = (runtime_id, place, limit)
    return [row[1:] for row in fetch(reader, _ARRIVED, *part, *part, limit)]


def _page(
    reader: Connection, listed: tuple[str, str], runtime_id: str, after: str | None, limit: int
) -> list[Any]:
    """The rows of a page: of the first statement, or of the second behind an input."""
    first, behind = listed
    if after is None:
        return fetch(reader, first, runtime_id, limit)
    try:
        place = InputId.parse(after).value
    except ValueError:  # no input has such an id
        return []
    return fetch(reader, behind, runtime_id, runtime_id, place, limit)
