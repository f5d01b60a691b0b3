"""Offers: each is told what became of it, also where no thread is to be had."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

from plane_builders import prompt

from actors.offers import OFFERS_A_GROUP, Offer, Offers
from actors.run_places import RunThreads
from meerkat import InputState, LogicalRuntimeId
from meerkat.errors import StoreError
from meerkat.store import InputRow
from meerkat.store.sharing import SharedStore

A = LogicalRuntimeId("a")
ROW = InputRow(InputState.of(prompt(), datetime(2026, 1, 1, tzinfo=UTC)), b"{}")


def test_where_no_thread_is_to_be_had_all_are_told_so_and_a_later_one_may_have_one() -> None:
    """Also those that came while it was tried, more than go in one transaction."""
    told: list[Any] = []

    class NoThreads(RunThreads):
        tries = 0

        def start(self, work: Any) -> None:
            self.tries += 1
            if self.tries == 1:
                for _ in range(OFFERS_A_GROUP):
                    offers.put(Offer(A, ROW, told.append))
            raise RuntimeError("can't start new thread")

    threads = NoThreads()
    offers = Offers(cast("SharedStore", None), threads, lambda _: None, pending_max=1)
    offers.put(Offer(A, ROW, told.append))
    assert [type(each) for each in told] == [StoreError] * (OFFERS_A_GROUP + 1)
    assert not offers.has(A)
    offers.put(Offer(A, ROW, told.append))
    assert threads.tries == 2
    assert offers.stop(0.0)
