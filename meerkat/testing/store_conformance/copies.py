"""What a copy needs: every input as it is stored, operations of every epoch, and a fresh start."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from attrs import evolve

from meerkat.identifiers import LogicalRuntimeId, RuntimeEpochId
from meerkat.input_lifecycle import InputPhase
from meerkat.store import InputRow, RuntimeStore
from meerkat.store.copyable import CopyableStore, copyable
from meerkat.testing.store_conformance.base import StoreCapability, StoreCases, needs
from meerkat.testing.store_conformance.listings import LIMITS, listed
from meerkat.testing.store_conformance.pruning import NONE_WHOLE, prune_all
from meerkat.testing.store_rows import R1, R2, batch, ended, input_id, live, prompt, receipt, row_of

_EPOCHS: Final = tuple(RuntimeEpochId(UUID(int=number)) for number in (2, 1))


def _copied(store: RuntimeStore) -> CopyableStore:
    assert copyable(store)
    return store


def _erased(store: RuntimeStore, runtime_id: LogicalRuntimeId, limit: int) -> int:
    """Erase a runtime, and give the number of calls that took."""
    calls = 1
    while not _copied(store).erase(runtime_id, limit=limit):
        calls += 1
    return calls


class CopyCases(StoreCases):
    """What a copy needs: every input as it is stored, operations of every epoch, a fresh start."""

    @LIMITS
    @needs(StoreCapability.COPIES)
    def test_all_inputs_are_listed_as_they_came_with_what_they_say(
        self, store: RuntimeStore, limit: int
    ) -> None:
        phases = (InputPhase.CONSUMED, InputPhase.QUEUED, InputPhase.ABANDONED, InputPhase.STAGED)
        keys = ("b", None, "a", "ä", None, "Z")
        rows = [
            row_of(prompt(9 - number, key), phases[number % len(phases)], number)
            for number, key in enumerate(keys)
        ]
        store.commit(batch(R1, *rows[:4]))
        store.commit(batch(R2, row_of(prompt(50))))
        store.commit(batch(R1, *rows[4:], after=1, fence=2))
        assert listed(_copied(store).page_inputs, R1, limit=limit) == rows
        assert listed(_copied(store).page_inputs, LogicalRuntimeId("nobody"), limit=limit) == []

    @needs(StoreCapability.COPIES)
    def test_an_input_keeps_its_place_and_what_it_said_when_it_ends(
        self, store: RuntimeStore
    ) -> None:
        first, second = row_of(prompt(2)), row_of(prompt(1), sequence=1)
        store.commit(batch(R1, first, second))
        consumed = row_of(prompt(2), InputPhase.CONSUMED)
        store.commit(batch(R1, InputRow(consumed.state), after=1, fence=2))
        assert list(_copied(store).page_inputs(R1).items) == [consumed, second]

    @needs(StoreCapability.COPIES)
    def test_an_input_that_was_cut_down_is_listed_without_what_it_said(
        self, store: RuntimeStore
    ) -> None:
        gone, waits = row_of(prompt(1, "k"), InputPhase.CONSUMED), row_of(prompt(2), sequence=1)
        store.commit(batch(R1, gone, waits, next_admission_sequence=2))
        assert prune_all(store, NONE_WHOLE)[0] == 1
        slim = InputRow(evolve(gone.state, policy=None, history=()))
        assert list(_copied(store).page_inputs(R1).items) == [slim, waits]

    @LIMITS
    @needs(StoreCapability.COPIES)
    def test_operations_of_every_epoch_are_listed_by_their_place(
        self, store: RuntimeStore, limit: int
    ) -> None:
        places = (2**63, 1, 2**64 - 1, 2)
        rows = [ended(place, epoch) for epoch in _EPOCHS for place in places]
        store.commit(batch(R1, epoch_id=_EPOCHS[0], operations=tuple(rows)))
        store.commit(batch(R2, epoch_id=_EPOCHS[0], operations=(ended(1, _EPOCHS[0]),)))
        wanted = sorted(rows, key=lambda row: (str(row.epoch_id), row.seq))
        assert listed(_copied(store).page_operations, R1, limit=limit) == wanted

    @LIMITS
    @needs(StoreCapability.COPIES)
    def test_an_erased_runtime_was_never_there_and_the_others_are(
        self, store: RuntimeStore, limit: int
    ) -> None:
        epoch = _EPOCHS[0]
        for runtime_id in (R1, R2):
            store.commit(
                batch(
                    runtime_id,
                    row_of(prompt(1, "k"), InputPhase.CONSUMED),
                    row_of(prompt(2), sequence=1),
                    receipts=(receipt(0), receipt(1)),
                    operations=(ended(1, epoch),),
                    begun=(live(9),),
                    epoch_id=epoch,
                )
            )
        other = [*_copied(store).page_inputs(R2).items]
        _erased(store, R1, limit)
        assert store.load_runtime(R1) is None
        assert store.runtimes_with_work() == [R2]
        assert store.load_input(R1, input_id(1)) is None
        assert _copied(store).page_inputs(R1).items == ()
        assert _copied(store).page_operations(R1).items == ()
        assert store.page_receipts(R1).items == ()
        assert [*_copied(store).page_inputs(R2).items] == other
        assert len(store.page_receipts(R2).items) == 2
        again = row_of(prompt(3, "k"))  # the key is free
        store.commit(batch(R1, again, receipts=(receipt(0),), epoch_id=epoch))
        assert [*_copied(store).page_inputs(R1).items] == [again]
        ops = store.load_ops_snapshot(R1)
        assert ops is not None
        assert (ops.operations, ops.live) == ((), ())

    @needs(StoreCapability.COPIES)
    def test_nothing_is_erased_where_nothing_is(self, store: RuntimeStore) -> None:
        assert _copied(store).erase(R1)
        store.commit(batch(R2))
        assert _copied(store).erase(R1)
        assert store.load_runtime(R2) is not None
