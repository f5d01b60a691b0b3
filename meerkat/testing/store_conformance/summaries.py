"""Listings for people: runtimes at a glance, and what waits of one, a page at a time."""

from __future__ import annotations

from typing import Final

import pytest

from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputPhase
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Order, RuntimeStore
from meerkat.store.protocol import EVERY_STATE
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_conformance.listings import listed
from meerkat.testing.store_rows import R1, R2, R3, START, batch, prompt, row_of

QUEUED: Final = InputPhase.QUEUED
CONSUMED: Final = InputPhase.CONSUMED
ORDERS: Final = {Order.ID: [R1, R2, R3], Order.PENDING: [R2, R3, R1], Order.OLDEST: [R3, R2, R1]}


def fill(store: RuntimeStore) -> None:
    """R3's input comes first, R2 has most, R1 has none that waits."""
    store.commit(batch(R1, row_of(prompt(1), CONSUMED)))
    store.commit(batch(R3, row_of(prompt(2), QUEUED), state=RuntimeState.RETIRED))
    store.commit(batch(R2, row_of(prompt(3), QUEUED, 0), row_of(prompt(4), QUEUED, 1)))


class SummaryCases(StoreCases):
    """Listings for people: runtimes at a glance, and what waits of one, a page at a time."""

    @pytest.mark.parametrize("limit", [1, 2, 3])
    @pytest.mark.parametrize("order", Order, ids=str)
    def test_runtimes_are_summed_up_in_every_order(
        self, store: RuntimeStore, order: Order, limit: int
    ) -> None:
        fill(store)
        found = listed(store.page_summaries, order, limit=limit)
        assert [each.name for each in found] == [each.value for each in ORDERS[order]]
        pending = {R1.value: 0, R2.value: 2, R3.value: 1}
        assert {each.name: each.pending for each in found} == pending
        assert {each.name for each in found if each.oldest_at == START} == {R2.value, R3.value}
        assert all(each.row == store.load_runtime(LogicalRuntimeId(each.name)) for each in found)

    def test_an_input_that_has_ended_is_the_oldest_no_more(self, store: RuntimeStore) -> None:
        fill(store)
        store.commit(batch(R3, row_of(prompt(2), CONSUMED), row_of(prompt(5)), after=1, fence=2))
        names = [each.name for each in store.page_summaries(Order.OLDEST).items]
        assert names == [R2.value, R3.value, R1.value]

    @pytest.mark.parametrize("order", Order, ids=str)
    def test_runtimes_are_summed_up_in_the_states_that_are_wanted(
        self, store: RuntimeStore, order: Order
    ) -> None:
        fill(store)
        retired = store.page_summaries(order, states={RuntimeState.RETIRED})
        assert [each.name for each in retired.items] == [R3.value]
        assert not store.page_summaries(order, states=frozenset()).items
        assert len(store.page_summaries(order, states=EVERY_STATE).items) == 3

    @pytest.mark.parametrize("limit", [1, 2, 7])
    def test_active_inputs_are_paged_in_the_order_of_the_whole(
        self, store: RuntimeStore, limit: int
    ) -> None:
        sequences = [2**63, 5, 0, 2**64 - 1, 2**63 - 1]
        rows = [row_of(prompt(n), QUEUED, sequence) for n, sequence in enumerate(sequences)]
        unnumbered = [row_of(prompt(n), InputPhase.ACCEPTED) for n in (7, 6)]
        store.commit(batch(R1, *rows, *unnumbered, row_of(prompt(9), CONSUMED)))
        whole = store.load_active_inputs(R1)
        assert len(whole) == 7
        assert listed(store.page_active_inputs, R1, limit=limit) == whole
        assert not store.page_active_inputs(R1, after="nobody").items
        assert not store.page_active_inputs(R2).items

    def test_where_nothing_is_nothing_is_listed(self, store: RuntimeStore) -> None:
        assert store.page_summaries() == store.page_summaries(Order.OLDEST)
        assert store.page_summaries().items == ()
        assert store.page_active_inputs(R1).next is None
