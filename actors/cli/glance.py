"""A glance: what ``meerkat top`` shows, from the owner's page, or from the file without one."""

from __future__ import annotations

from typing import Any, Final

from actors.cli.looking import database_of
from actors.cli.owner import OwnerPage, page_of
from actors.cli.rates import Figures
from actors.cli.status import NotFoundError, OwnerError
from actors.cli.top_frame import Glance
from actors.clock import Clock
from actors.facts import Facts, plain, runtime_facts
from meerkat.store import Order, RuntimeStore
from meerkat.store.ownership import said_owner
from meerkat.words import Word

ALONE: Final = "nobody serves a page for it: this is what is stored"

LOOKS: Final = "the page only looks: this is what is stored"

PAGE_MAX: Final = 200
"""The most that a page lists at once."""


class Sort(Word):
    """Which runtimes come first."""

    PENDING = "pending"
    """Those with most inputs that have not ended."""
    OLDEST = "oldest"
    """Those whose oldest input waits longest."""
    AGE = "age"
    """Those whose run in hand is oldest, then those that wait longest."""


_ORDER: Final = {
    Sort.PENDING: Order.PENDING,
    Sort.OLDEST: Order.OLDEST,
    Sort.AGE: Order.OLDEST,
}


class Glances:
    """One look after the other at one database. Used by one thread.

    Whether its owner serves a page is seen anew with each: owners come and go.
    """

    def __init__(self, store: RuntimeStore, name: str, sort: Sort, clock: Clock) -> None:
        self._store, self._name, self._sort, self._clock = store, name, sort, clock
        self._database = database_of(store)
        self._before: Figures | None = None

    def look(self, limit: int) -> Glance:
        """Look now, at so many runtimes. Raises StoreError."""
        try:
            page = page_of(self._database)
            if page is None:
                return self._from_store(limit, ALONE)
            return self._from_page(page, limit)
        except (OwnerError, NotFoundError) as error:
            return self._from_store(limit, f"{error}: this is what is stored")

    def _from_page(self, page: OwnerPage, limit: int) -> Glance:
        overview = page.overview()
        # Whose run is oldest need not be among those that come first for another reason.
        most = PAGE_MAX if self._sort is Sort.AGE else min(limit, PAGE_MAX)
        listed = page.read("/api/runtimes", sort=str(_ORDER[self._sort]), limit=most)
        figures: Figures | None = overview["figures"]
        before, self._before = self._before, figures
        return Glance(
            store=self._name,
            at=self._clock.now(),
            owner=page.access.owner if overview["live"] else said_owner(self._database),
            note=None if overview["live"] else LOOKS,
            figures=figures,
            before=before,
            runtimes=self._sorted(listed["runtimes"])[:limit],
        )

    def _from_store(self, limit: int, note: str) -> Glance:
        self._before = None
        page = self._store.page_summaries(_ORDER[self._sort], limit=limit)
        runtimes = [plain(runtime_facts(each)) for each in page.items]
        return Glance(
            store=self._name,
            at=self._clock.now(),
            owner=said_owner(self._database),
            note=note,
            runtimes=self._sorted(runtimes),
        )

    def _sorted(self, runtimes: list[Facts]) -> list[Facts]:
        """Those that have something to do, or something wrong."""
        busy = [each for each in runtimes if _is_busy(each)]
        return sorted(busy, key=_run_began) if self._sort is Sort.AGE else busy


def _is_busy(facts: Facts) -> bool:
    return any(facts.get(name) for name in ("pending_inputs", "run", "set_aside", "unreadable"))


def _run_began(facts: Facts) -> Any:
    """Texts of times sort as the times do; those without a run come last."""
    return (facts.get("run") or {}).get("began_at") or "~"
