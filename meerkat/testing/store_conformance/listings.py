"""Listings: all of it, once, in one order, whatever the size of the pages."""

from __future__ import annotations

from typing import Any

import pytest

from meerkat.identifiers import LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.store import Page, RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import R1, R2, batch, prompt, receipt, row_of

LIMITS = pytest.mark.parametrize("limit", [1, 2, 3, 100])


def listed(read: Any, *which: object, limit: int) -> list[Any]:
    """All that a listing gives, in pages of at most ``limit``, none of them empty but a first."""
    found: list[Any] = []
    after: str | None = None
    while True:
        page: Page[Any] = read(*which, after=after, limit=limit)
        assert len(page.items) <= limit
        assert page.items or after is None
        found += page.items
        after = page.next
        if after is None:
            return found


class ListingCases(StoreCases):
    """Listings: all of it, once, in one order, whatever the size of the pages."""

    def test_runtimes_are_listed_by_id(self, store: RuntimeStore) -> None:
        ids = [LogicalRuntimeId(f"r{number:03d}") for number in range(250)]
        assert store.commit_many([batch(each) for each in ids[::-1]]) == [None] * 250
        for limit in (1, 7, 249, 250, 251):
            rows = listed(store.list_runtimes, limit=limit)
            assert [row.runtime_id for row in rows] == ids

    @LIMITS
    def test_ids_are_in_the_order_of_their_code_points(
        self, store: RuntimeStore, limit: int
    ) -> None:
        names = ["0", "A", "Z", "a", "a-b", "a.b", "a/b", "a:b", "aB", "a_b", "ab", "b"]
        runtime_ids = [LogicalRuntimeId(name) for name in names]
        store.commit_many([batch(each, row_of(prompt(1))) for each in runtime_ids[::-1]])
        rows = listed(store.list_runtimes, limit=limit)
        assert [row.runtime_id for row in rows] == runtime_ids
        assert store.runtimes_with_work() == runtime_ids

    @LIMITS
    def test_receipts_are_listed_once_those_of_a_run_in_sequence(
        self, store: RuntimeStore, limit: int
    ) -> None:
        runs = [RunId.new() for _ in range(3)]
        sequences = (2**63, 0, 2**64 - 1, 1, 3)
        written = [receipt(n, run_id=run_id) for n in sequences for run_id in runs]
        store.commit(batch(R1, receipts=tuple(written)))
        store.commit(batch(R2, receipts=(receipt(0),)))
        found = listed(store.page_receipts, R1, limit=limit)
        assert len(found) == len(written)
        for run_id in runs:
            of_run = [each.sequence for each in found if each.run_id == run_id]
            assert of_run == sorted(sequences)
        assert listed(store.page_receipts, R2, limit=limit) == [receipt(0)]

    @LIMITS
    def test_finished_inputs_are_listed_once_in_one_order(
        self, store: RuntimeStore, limit: int
    ) -> None:
        keys = {5: "b", 3: None, 4: "a", 1: None, 2: "ä", 7: None, 6: "Z"}
        rows = [row_of(prompt(number, key), InputPhase.CONSUMED) for number, key in keys.items()]
        store.commit(batch(R1, *rows, row_of(prompt(99, "aa")), row_of(prompt(98))))
        store.commit(batch(R2, row_of(prompt(50, "a"), InputPhase.CONSUMED)))
        found = listed(store.page_terminal_inputs, R1, limit=limit)
        assert found == listed(store.page_terminal_inputs, R1, limit=1_000)
        assert sorted(state.input_id.value.int for state in found) == sorted(keys)

    @LIMITS
    def test_a_listing_goes_on_where_it_was_while_more_is_written(
        self, store: RuntimeStore, limit: int
    ) -> None:
        """What was there when it began is listed once."""
        rows = [row_of(prompt(number), InputPhase.CONSUMED) for number in range(6)]
        store.commit(batch(R1, *rows))
        found: list[InputState] = []
        after: str | None = None
        for more in range(10, 20):
            page = store.page_terminal_inputs(R1, after=after, limit=limit)
            found += page.items
            after = page.next
            if after is None:
                break
            store.commit(batch(R1, row_of(prompt(more), InputPhase.CONSUMED), after=1))
        ids = [state.input_id.value.int for state in found]
        assert len(ids) == len(set(ids))
        assert after is not None or {*range(6)} <= {*ids}

    def test_the_last_page_says_so(self, store: RuntimeStore) -> None:
        rows = [row_of(prompt(number), InputPhase.CONSUMED) for number in range(4)]
        store.commit(batch(R1, *rows, receipts=tuple(map(receipt, range(4)))))
        store.commit(batch(R2))
        assert store.list_runtimes(limit=2).next is None
        assert store.page_terminal_inputs(R1, limit=4).next is None
        assert store.page_receipts(R1, limit=4).next is None
        assert store.page_terminal_inputs(R2).items == ()
