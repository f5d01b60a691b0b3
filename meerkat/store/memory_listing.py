"""Listings of a store in memory, under the store's lock: the same pages as on disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from meerkat.identifiers import LogicalRuntimeId
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.memory_prune import Arrivals, Shelves
from meerkat.store.protocol import PLACE_MAX, Order, Page, RuntimeSummary
from meerkat.store.shelf import Shelf

_Firsts = Mapping[LogicalRuntimeId, int]

_PLACES: Final[Mapping[Order, Callable[[RuntimeSummary, int], int]]] = {
    Order.ID: lambda _summary, _first: 0,
    Order.PENDING: lambda summary, _first: PLACE_MAX - summary.pending,
    Order.OLDEST: lambda _summary, first: first,
}


def summaries(
    shelves: Shelves,
    arrived: Arrivals,
    order: Order,
    *,
    states: Collection[RuntimeState],
    after: str | None,
    limit: int,
) -> Page[RuntimeSummary]:
    """A page of runtimes; ``after`` is ``place/name`` of the last one before it."""
    firsts = _first_arrivals(shelves, arrived) if order is Order.OLDEST else {}
    listed = []
    for runtime_id, shelf in shelves.items():
        if shelf.row is not None and shelf.row.state in states:
            summary = _summary(runtime_id, shelf)
            place = _PLACES[order](summary, firsts.get(runtime_id, PLACE_MAX))
            listed.append(((place, summary.name), summary))
    listed.sort(key=lambda each: each[0])
    if after is not None:
        last, _, name = after.partition("/")
        listed = [each for each in listed if each[0] > (int(last), name)]
    page = listed[:limit]
    items = tuple(summary for _, summary in page)
    return Page(items, "{}/{}".format(*page[-1][0]) if len(listed) > limit else None)


def _first_arrivals(shelves: Shelves, arrived: Arrivals) -> _Firsts:
    firsts: dict[LogicalRuntimeId, int] = {}
    for place, runtime_id, input_id in arrived.after(0):
        if input_id in shelves[runtime_id].active:
            firsts.setdefault(runtime_id, place)
    return firsts


def _summary(runtime_id: LogicalRuntimeId, shelf: Shelf) -> RuntimeSummary:
    oldest = next((shelf.inputs[each].created_at for each in shelf.active), None)
    return RuntimeSummary(
        name=runtime_id.value, row=shelf.row, pending=len(shelf.active), oldest_at=oldest
    )
