"""Pruning receipts and operations: none goes that somebody may still need."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import pytest

from meerkat.completion_feed import FEED_MAX
from meerkat.epoch import EpochCursorSnapshot
from meerkat.identifiers import RunId, RuntimeEpochId
from meerkat.input_lifecycle import InputPhase
from meerkat.limits import Retention
from meerkat.store import InputRow, RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_conformance.pruning import NONE_WHOLE, ended, prune_all
from meerkat.testing.store_rows import R1, R2, RUN, batch, everything, prompt, receipt, row_of
from meerkat.testing.store_rows import ended as operation_ended

OTHER_RUN: Final = RunId(UUID(int=8))
EPOCH: Final = RuntimeEpochId.new()
EARLIER: Final = RuntimeEpochId.new()


def observed(seq: int) -> EpochCursorSnapshot:
    """Cursors of a runtime that has read its feed up to here."""
    return EpochCursorSnapshot(runtime_observed_seq=seq)


def seqs(store: RuntimeStore) -> list[int]:
    """The places in the feed of R1 that are still there."""
    snapshot = store.load_ops_snapshot(R1)
    return [] if snapshot is None else [entry.seq for entry in snapshot.feed]


class ProofRetentionCases(StoreCases):
    """Pruning receipts and operations: none goes that somebody may still need."""

    def test_a_run_keeps_its_receipts_until_every_contributor_has_gone(
        self, store: RuntimeStore
    ) -> None:
        receipts = (receipt(0, 1, 2), receipt(1, 3))
        rows = [ended(number) for number in (1, 2, 3)]
        store.commit(batch(R1, *rows, receipts=receipts, next_admission_sequence=4))
        for count, left in ((2, 2), (1, 2), (0, 0)):
            prune_all(store, Retention(max_count=count))
            assert [each.sequence for each in store.page_receipts(R1).items] == list(range(left))

    def test_receipts_of_other_runs_and_runtimes_stay(self, store: RuntimeStore) -> None:
        mine, other = receipt(0, 1), receipt(0, 2, run_id=OTHER_RUN)
        rows = [ended(1), ended(2, run_id=OTHER_RUN)]
        store.commit(batch(R1, *rows, receipts=(mine, other), next_admission_sequence=3))
        store.commit(batch(R2, ended(1), receipts=(mine,), next_admission_sequence=1))
        assert prune_all(store, Retention(max_count=1)) == (1, 1, 0)
        assert store.page_receipts(R1).items == (other,)
        assert store.page_receipts(R2).items == (mine,)

    @pytest.mark.parametrize("phase", ["staged", "applied", "applied_pending_consumption"])
    def test_a_run_that_has_a_contributor_in_flight_is_left_alone(
        self, store: RuntimeStore, phase: str
    ) -> None:
        """What recovery may need: the receipt of an input that has not ended; and its own run."""
        in_flight = row_of(prompt(2), InputPhase(phase), 2)
        receipts = (receipt(0, 1), receipt(1, 2))
        store.commit(batch(R1, ended(1), in_flight, receipts=receipts, next_admission_sequence=3))
        before = everything(store)
        assert prune_all(store, NONE_WHOLE) == (0, 0, 0)
        assert everything(store) == before

    def test_a_receipt_stays_that_names_an_input_which_has_not_ended(
        self, store: RuntimeStore
    ) -> None:
        """Even one that waits again, and came without a payload."""
        waiting = InputRow(row_of(prompt(2), sequence=2).state)
        store.commit(
            batch(R1, ended(1), waiting, receipts=(receipt(0, 1, 2),), next_admission_sequence=3)
        )
        assert prune_all(store, NONE_WHOLE) == (1, 0, 0)

    def test_a_run_that_is_spared_is_left_alone(self, store: RuntimeStore) -> None:
        """The host knows of runs whose inputs no store knows: those of ephemeral ones."""
        store.commit(batch(R1, ended(1), receipts=(receipt(0, 1),), next_admission_sequence=2))
        assert prune_all(store, NONE_WHOLE, spared=frozenset({RUN})) == (0, 0, 0)
        assert prune_all(store, NONE_WHOLE, spared=frozenset({OTHER_RUN})) == (1, 1, 0)

    @pytest.mark.parametrize("limit", [1, 256])
    def test_operations_go_that_are_out_of_the_feed_and_were_read(
        self, store: RuntimeStore, limit: int
    ) -> None:
        last = FEED_MAX + 6
        rows = tuple(operation_ended(seq, EPOCH) for seq in range(1, last + 1))
        past = tuple(operation_ended(seq, EARLIER) for seq in (1, 2))
        fields: dict[str, Any] = {"epoch_id": EPOCH, "feed_watermark": last}
        store.commit(batch(R1, operations=(*past, *rows), **fields, cursors=observed(4)))
        store.commit(batch(R2, operations=(operation_ended(1, EPOCH),), epoch_id=EPOCH))
        before = store.load_ops_snapshot(R1), store.load_ops_snapshot(R2)
        assert prune_all(store, NONE_WHOLE, limit=limit) == (0, 0, 2 + 4)
        assert (store.load_ops_snapshot(R1), store.load_ops_snapshot(R2)) == before
        store.commit(batch(R1, after=1, **fields, cursors=observed(last)))
        read = seqs(store)
        assert prune_all(store, NONE_WHOLE, limit=limit) == (0, 0, 2)
        assert seqs(store) == read == list(range(7, last + 1))

    def test_operations_that_nobody_read_of_stay(self, store: RuntimeStore) -> None:
        last = FEED_MAX + 6
        rows = tuple(operation_ended(seq, EPOCH) for seq in range(1, last + 1))
        store.commit(batch(R1, operations=rows, epoch_id=EPOCH, feed_watermark=last))
        assert prune_all(store, NONE_WHOLE) == (0, 0, 0)

    def test_a_runtime_that_has_forgotten_its_epoch_forgets_its_operations(
        self, store: RuntimeStore
    ) -> None:
        store.commit(batch(R1, operations=(operation_ended(1, EPOCH),)))
        assert prune_all(store, NONE_WHOLE) == (0, 0, 1)
