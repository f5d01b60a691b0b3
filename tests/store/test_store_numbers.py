"""Numbers up to 2^64-1 survive; larger ones are refused, and fail nobody else."""

from __future__ import annotations

import pytest
from attrs import evolve

from meerkat import InputPhase
from meerkat.errors import StoreError
from meerkat.store import RuntimeStore, SqliteStore
from meerkat.testing.store_rows import R1, R2, RUN, batch, input_id, prompt, receipt, row_of

EDGES = (0, 2**63 - 1, 2**63, 2**64 - 1)


def test_sto_10_receipt_sequences_up_to_64_bits_are_distinct(store: RuntimeStore) -> None:
    store.commit(batch(R1, receipts=tuple(receipt(number, number % 5 + 1) for number in EDGES)))
    for number in EDGES:
        found = store.load_boundary_receipt(R1, RUN, number)
        assert found == receipt(number, number % 5 + 1)
    assert [each.sequence for each in store.page_receipts(R1).items] == list(EDGES)


@pytest.mark.parametrize("number", EDGES[1:])
def test_every_other_number_survives_too(store: RuntimeStore, number: int) -> None:
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


def test_admission_order_holds_over_the_sign_bit(store: RuntimeStore) -> None:
    rows = [row_of(prompt(place), sequence=EDGES[place]) for place in (3, 1, 2, 0)]
    store.commit(batch(R1, *rows))
    found = [state.input_id for state in store.load_active_inputs(R1)]
    assert found == [input_id(place) for place in (0, 1, 2, 3)]


def test_a_number_beyond_64_bits_fails_its_own_batch_only(sqlite_store: SqliteStore) -> None:
    too_big = evolve(row_of(prompt(1)).state, admission_sequence=2**64)
    bad = batch(R1, evolve(row_of(prompt(1)), state=too_big))
    refused, landed = sqlite_store.commit_many([bad, batch(R2)])
    assert isinstance(refused, StoreError)
    assert landed is None
    assert sqlite_store.load_runtime(R1) is None
    assert sqlite_store.load_runtime(R2) is not None
