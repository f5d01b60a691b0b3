"""Receipts: written once, found by their exact key; and numbers, whole up to 64 bits."""

from __future__ import annotations

from typing import Final

import pytest
from attrs import evolve

from meerkat.errors import StoreError
from meerkat.identifiers import RunId
from meerkat.input_lifecycle import InputPhase
from meerkat.policy import RunBoundary
from meerkat.store import InputRow, RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import R1, R2, RUN, batch, input_id, prompt, receipt, row_of

EDGES: Final = (0, 2**63 - 1, 2**63, 2**64 - 1)


class ReceiptCases(StoreCases):
    """Receipts: written once, found by their exact key; and numbers, whole up to 64 bits."""

    def test_receipts_are_found_by_their_exact_key(self, store: RuntimeStore) -> None:
        first = receipt(0, 1, 2, conversation_digest="a" * 64, message_count=2)
        store.commit(batch(R1, receipts=(first,)))
        store.commit(batch(R1, after=1, receipts=(receipt(1, 3),)))
        assert store.load_boundary_receipt(R1, RUN, 0) == first
        assert store.load_boundary_receipt(R1, RUN, 1) == receipt(1, 3)
        assert store.load_boundary_receipt(R1, RUN, 2) is None
        assert store.load_boundary_receipt(R1, RunId.new(), 0) is None
        assert store.load_boundary_receipt(R2, RUN, 0) is None

    def test_receipt_sequences_up_to_64_bits_are_distinct(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, receipts=tuple(receipt(number, number % 5 + 1) for number in EDGES)))
        for number in EDGES:
            found = store.load_boundary_receipt(R1, RUN, number)
            assert found == receipt(number, number % 5 + 1)
        assert [each.sequence for each in store.page_receipts(R1).items] == list(EDGES)

    @pytest.mark.parametrize("number", EDGES[1:])
    def test_every_other_number_survives_too(self, store: RuntimeStore, number: int) -> None:
        pending = row_of(
            prompt(1), InputPhase.APPLIED_PENDING_CONSUMPTION, number, last_boundary_sequence=number
        )
        written = batch(
            R1,
            pending,
            fence=number,
            next_admission_sequence=number,
            feed_watermark=number,
            receipts=(receipt(0, message_count=number),),
        )
        store.commit(written)
        assert store.load_runtime(R1) == written.runtime
        assert store.load_active_inputs(R1) == [pending.state]
        assert store.load_boundary_receipt(R1, RUN, 0) == receipt(0, message_count=number)
        store.commit(batch(R1, after=number))

    def test_admission_order_holds_over_the_sign_bit(self, store: RuntimeStore) -> None:
        """Whatever the order of the ids, and that of arrival."""
        rows = [row_of(prompt(9 - place), sequence=EDGES[place]) for place in (3, 1, 2, 0)]
        store.commit(batch(R1, *rows))
        found = [state.input_id for state in store.load_active_inputs(R1)]
        assert found == [input_id(9 - place) for place in (0, 1, 2, 3)]

    def test_a_receipt_is_written_once(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, receipts=(receipt(0, 1),)))
        for again in (receipt(0, 1), receipt(0, 2), receipt(0, 1, message_count=5)):
            with pytest.raises(StoreError):
                store.commit(batch(R1, after=1, receipts=(receipt(1, 2), again)))
        assert store.page_receipts(R1).items == (receipt(0, 1),)
        store.commit(batch(R2, receipts=(receipt(0, 2),)))
        assert store.load_boundary_receipt(R1, RUN, 0) == receipt(0, 1)

    @pytest.mark.parametrize("boundary", RunBoundary, ids=str)
    def test_all_of_a_receipt_comes_back(self, store: RuntimeStore, boundary: RunBoundary) -> None:
        full = evolve(
            receipt(3, 3, 1, 2, conversation_digest="0f" * 32, message_count=7), boundary=boundary
        )
        store.commit(batch(R1, receipts=(full,)))
        assert store.load_boundary_receipt(R1, RUN, 3) == full
        assert store.page_receipts(R1).items == (full,)

    def test_a_sequence_that_no_run_gives_has_no_receipt(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, receipts=tuple(map(receipt, EDGES))))
        for sequence in (-1, 1, 2**63 + 1, 2**64, -(2**63)):
            assert store.load_boundary_receipt(R1, RUN, sequence) is None

    @pytest.mark.parametrize("number", [2**64, 2**70])
    def test_a_number_beyond_64_bits_is_kept_or_fails_its_own_batch_only(
        self, store: RuntimeStore, number: int
    ) -> None:
        state = evolve(row_of(prompt(1)).state, admission_sequence=number)
        refused, landed = store.commit_many([batch(R1, InputRow(state)), batch(R2)])
        assert landed is None
        assert store.load_runtime(R2) is not None
        if refused is None:
            assert store.load_active_inputs(R1) == [state]
        else:
            assert isinstance(refused, StoreError)
            assert store.load_runtime(R1) is None
