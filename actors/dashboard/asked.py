"""Asked: what a request wants, read out of its query; a bad one is refused in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from starlette.datastructures import QueryParams

from actors.dashboard.answers import bad_request
from meerkat.identifiers import LogicalRuntimeId
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Order
from meerkat.store.protocol import EVERY_STATE

T = TypeVar("T")

PAGE: Final = 50
"""Entries of a listing, unless it is said."""

PAGE_MAX: Final = 200
"""Most entries of a listing at once: what a person looks through."""

PAYLOADS_MAX: Final = 20
"""Most inputs at once that say what is in them: a payload may be a mebibyte."""

NUMBER_MAX: Final = 2**63 - 1
"""The largest number that a place in a listing may have."""

_FLAGS: Final[Mapping[str, bool]] = {"0": False, "1": True}


class Asked:
    """One request's query."""

    def __init__(self, query: QueryParams) -> None:
        self._query = query

    def runtime_id(self) -> LogicalRuntimeId:
        """The runtime that is asked about."""
        return self._read("id", LogicalRuntimeId, self._text("id"))

    def any_runtime(self) -> LogicalRuntimeId | None:
        """The same, or None when no one is named."""
        return self.runtime_id() if "id" in self._query else None

    def flag(self, name: str) -> bool:
        """A 1, or nothing."""
        return self._read(name, _FLAGS.__getitem__, self._query.get(name, "0"))

    def limit(self, most: int = PAGE_MAX) -> int:
        """How many entries are wanted; more than ``most`` nobody gets."""
        limit = self._read("limit", int, self._query.get("limit", str(min(PAGE, most))))
        if not 1 <= limit <= most:
            raise bad_request(f"limit: from 1 to {most}")
        return limit

    def after(self) -> str | None:
        """Where the last page said it goes on."""
        return self._query.get("after")

    def number(self, name: str, said_elsewhere: str | None = None) -> int | None:
        """A number that is not negative, if there is one."""
        text = said_elsewhere if said_elsewhere is not None else self._query.get(name)
        if text is None:
            return None
        number = self._read(name, int, text)
        if not 0 <= number <= NUMBER_MAX:
            raise bad_request(f"{name}: from 0 to {NUMBER_MAX}")
        return number

    def order(self) -> Order:
        """How runtimes are sorted."""
        return self._read("sort", Order, self._query.get("sort", str(Order.ID)))

    def states(self) -> frozenset[RuntimeState]:
        """In which states they are to be."""
        named = self._query.getlist("state")
        return frozenset(self._read("state", RuntimeState, name) for name in named) or EVERY_STATE

    def _text(self, name: str) -> str:
        text = self._query.get(name)
        if text is None:
            raise bad_request(f"{name}: is missing")
        return text

    def _read(self, name: str, read: Callable[[str], T], text: str) -> T:
        try:
            return read(text)
        except (ValueError, TypeError, KeyError):
            raise bad_request(f"{name}: {text!r:.80} is none") from None


NOTHING_ASKED: Final = Asked(QueryParams())
