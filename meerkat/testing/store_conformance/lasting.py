"""What outlasts an instance: owners, readers, the next to open the place, threads, damage."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from meerkat.conversation import AppendMessages, ReplaceSnapshot
from meerkat.errors import Fenced, RecoveryCorruption, StoreError
from meerkat.identifiers import LogicalRuntimeId, RuntimeEpochId
from meerkat.input_lifecycle import InputPhase
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Batch, RuntimeStore
from meerkat.testing.invariants import Promises
from meerkat.testing.processes import Children
from meerkat.testing.store_conformance.base import OpenAgain, StoreCapability, StoreCases, needs
from meerkat.testing.store_conformance.killed import PROGRAM
from meerkat.testing.store_conformance.pruning import NONE_WHOLE, prune_all
from meerkat.testing.store_conformance.pruning import ended as input_ended
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    batch,
    ended,
    everything,
    input_id,
    live,
    prompt,
    receipt,
    row_of,
)

THREADS = 8
EPOCH = RuntimeEpochId.new()


def of_everything() -> list[Batch]:
    """Batches with something of each kind of row."""
    full = batch(
        R1,
        row_of(prompt(1, "k")),
        row_of(prompt(2, "ä"), InputPhase.CONSUMED),
        epoch_id=EPOCH,
        next_admission_sequence=2**64 - 1,
        live_operations=1,
        receipts=(receipt(0, 2),),
        begun=(live(1), live(2)),
        operations=(ended(1, EPOCH, live(1)),),
        session=(AppendMessages(0, 1, b'["\xc3\xa4"]'), ReplaceSnapshot(b"\x00\xff")),
        silent_intents=frozenset({"b"}),
    )
    return [full, batch(R2, registered=False), batch(R3, state=RuntimeState.DESTROYED)]


class LastingCases(StoreCases):
    """What outlasts an instance: owners, readers, the next to open the place, threads, damage."""

    def test_a_store_has_one_owner_until_it_is_closed(self, store: RuntimeStore) -> None:
        store.commit(batch(R1))  # a driver on its own needs no ownership, and is in nobody's way
        store.acquire()
        with pytest.raises(StoreError):
            store.acquire()
        store.close()
        store.close()
        store.acquire()
        assert store.load_runtime(R1) is not None

    def test_a_closed_store_opens_again_with_the_next_call(self, store: RuntimeStore) -> None:
        assert store.commit_many(of_everything()) == [None] * 3
        before = everything(store)
        store.close()
        assert everything(store) == before
        store.close()
        store.commit(batch(R1, row_of(prompt(3)), after=1))
        assert store.load_input(R1, input_id(3)) == row_of(prompt(3)).state

    # --- the next instance --------------------------------------------------------------

    @needs(StoreCapability.DURABLE)
    def test_the_next_instance_reads_all_of_it(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        assert store.commit_many(of_everything()) == [None] * 3
        before = everything(store)
        store.close()
        assert everything(open_again()) == before

    @needs(StoreCapability.DURABLE)
    def test_the_next_instance_holds_fences_keys_and_receipts(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        store.commit(batch(R1, row_of(prompt(1, "k")), fence=7, receipts=(receipt(0, 1),)))
        store.close()
        following = open_again()
        before = everything(following)
        for refused in (
            batch(R1, after=1),
            batch(R1, row_of(prompt(2, "k")), after=7),
            batch(R1, after=7, receipts=(receipt(0, 1),)),
        ):
            with pytest.raises(StoreError):
                following.commit(refused)
        assert everything(following) == before
        following.commit(batch(R1, after=7, fence=8))

    @needs(StoreCapability.DURABLE)
    def test_what_was_offered_and_what_was_pruned_last_too(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        store.commit(batch(R1, input_ended(1, "k"), next_admission_sequence=2))
        assert prune_all(store, NONE_WHOLE) == (1, 0, 0)
        store.offer(R1, [row_of(prompt(2), InputPhase.ACCEPTED)])
        before = everything(store)
        store.close()
        following = open_again()
        assert everything(following) == before
        assert prune_all(following, NONE_WHOLE) == (0, 0, 0)

    @needs(StoreCapability.DURABLE)
    def test_an_instance_that_is_closed_twice_takes_nothing_from_the_next(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        store.commit(batch(R1))
        store.close()
        following = open_again()
        following.acquire()
        store.close()
        following.commit(batch(R1, row_of(prompt(1)), after=1))
        assert following.load_active_inputs(R1) == [row_of(prompt(1)).state]

    # --- two instances ------------------------------------------------------------------

    @needs(StoreCapability.OWNS)
    def test_a_second_owner_is_refused_until_the_first_has_closed(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        other = open_again()
        store.acquire()
        with pytest.raises(StoreError):
            other.acquire()
        store.commit(batch(R1, row_of(prompt(1))))
        store.close()
        other.acquire()
        with pytest.raises(StoreError):
            store.acquire()
        other.commit(batch(R2))

    @needs(StoreCapability.OWNS)
    def test_a_refused_owner_leaves_the_first_one_alone(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        store.acquire()
        other = open_again()
        with pytest.raises(StoreError):
            other.acquire()
        other.close()
        store.commit(batch(R1))
        with pytest.raises(StoreError):
            other.acquire()

    @needs(StoreCapability.READERS)
    def test_a_reader_sees_what_was_committed_and_needs_no_ownership(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        reader = open_again()
        assert reader.load_runtime(R1) is None
        store.acquire()
        assert store.commit_many(of_everything()) == [None] * 3
        assert everything(reader) == everything(store)
        store.commit(batch(R1, row_of(prompt(3)), after=1, epoch_id=EPOCH))
        assert everything(reader) == everything(store)
        reader.close()
        store.commit(batch(R1, row_of(prompt(4)), after=1))
        assert everything(reader) == everything(store)

    @needs(StoreCapability.READERS)
    def test_a_reader_sees_nothing_of_what_was_refused(
        self, store: RuntimeStore, open_again: OpenAgain
    ) -> None:
        assert store.commit_many(of_everything()) == [None] * 3
        reader = open_again()
        before = everything(reader)
        for refused in (batch(R1, row_of(prompt(5))), batch(R1, after=1, receipts=(receipt(0),))):
            with pytest.raises(StoreError):
                store.commit(refused)
        assert everything(reader) == before

    # --- threads ------------------------------------------------------------------------

    def test_of_many_writers_on_one_fence_one_lands(self, store: RuntimeStore) -> None:
        start = Barrier(THREADS)
        store.commit(batch(R1))

        def claim(number: int) -> StoreError | None:
            start.wait()
            row = row_of(prompt(number), sequence=number)
            (answer,) = store.commit_many([batch(R1, row, after=1, fence=2)])
            return answer

        with ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(claim, range(THREADS)))
        assert sorted(type(each).__name__ for each in answers) == ["Fenced"] * 7 + ["NoneType"]
        (landed,) = (number for number, each in enumerate(answers) if each is None)
        assert [s.input_id for s in store.load_active_inputs(R1)] == [input_id(landed)]

    def test_writers_of_many_runtimes_are_in_nobodys_way(self, store: RuntimeStore) -> None:
        start, commits = Barrier(THREADS), 10

        def write(number: int) -> None:
            runtime_id = LogicalRuntimeId(f"r{number}")
            start.wait()
            for step in range(commits):
                row = row_of(prompt(step, f"k{step}"), sequence=step)
                store.commit(batch(runtime_id, row, after=step, fence=step + 1))
                assert len(store.load_active_inputs(runtime_id)) == step + 1

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(write, range(THREADS)))
        for number in range(THREADS):
            row = store.load_runtime(LogicalRuntimeId(f"r{number}"))
            assert row is not None
            assert row.fence == commits
        assert len(store.runtimes_with_work()) == THREADS

    def test_a_reading_thread_sees_batches_whole(self, store: RuntimeStore) -> None:
        """Each commit ends one input and brings the next: one is always active."""
        store.commit(batch(R1, row_of(prompt(0))))
        start, commits = Barrier(2), 40

        def write() -> None:
            start.wait()
            for step in range(commits):
                done = row_of(prompt(step), InputPhase.CONSUMED)
                store.commit(batch(R1, done, row_of(prompt(step + 1)), after=1))

        def read() -> set[int]:
            start.wait()
            return {len(store.load_active_inputs(R1)) for _ in range(commits)}

        with ThreadPoolExecutor(2) as threads:
            writing, reading = threads.submit(write), threads.submit(read)
            writing.result()
            assert reading.result() == {1}

    # --- kills --------------------------------------------------------------------------

    @needs(StoreCapability.SURVIVES_KILL)
    def test_what_was_committed_survives_a_kill_and_nothing_is_half_there(
        self, place: Path
    ) -> None:
        """A child opens the store of this class by its name, and is killed in its work."""
        promises = Promises()
        for commits in (1, 5, 9):
            with Children() as children:
                named = type(self).__module__, type(self).__qualname__, str(place)
                child = children.start(PROGRAM, *named, promises=promises)
                for _ in range(commits):
                    assert child.hear() is not None
                assert child.kill()
            store = self.open_store(place)
            promises.check(store)
            row = store.load_runtime(R1)
            fence = 0 if row is None else row.fence
            states = [row_of(prompt(n, f"k{n}"), sequence=n).state for n in range(fence)]
            assert store.load_active_inputs(R1) == states
            assert store.page_receipts(R1).items == tuple(receipt(n, n) for n in range(fence))
            session = store.load_session_snapshot(R1)
            assert (0 if session is None else session.message_count) == fence
            store.close()
        assert promises.acknowledged >= 1 + 5 + 9 - 3

    # --- damage -------------------------------------------------------------------------

    @needs(StoreCapability.NOTICES_DAMAGE)
    def test_a_row_that_cannot_be_read_is_named_and_stops_no_other_runtime(
        self, store: RuntimeStore, open_again: OpenAgain, place: Path
    ) -> None:
        store.commit(batch(R1, *(row_of(prompt(n), sequence=n) for n in (1, 2))))
        store.commit(batch(R2, row_of(prompt(1))))
        store.close()
        self.spoil_input(place, R1, input_id(2))
        following = open_again()
        for _ in range(2):
            with pytest.raises(RecoveryCorruption, match=str(input_id(2))):
                following.load_input(R1, input_id(2))
            with pytest.raises(RecoveryCorruption, match=str(input_id(2))):
                following.load_active_inputs(R1)
        with pytest.raises(RecoveryCorruption):
            following.load_known_inputs(R1, [input_id(1), input_id(2)], [])
        assert following.load_input(R1, input_id(1)) == row_of(prompt(1), sequence=1).state
        assert following.load_active_inputs(R2) == [row_of(prompt(1)).state]
        assert following.runtimes_with_work() == [R1, R2]
        with pytest.raises(Fenced):
            following.commit(batch(R1))
        following.commit(batch(R2, row_of(prompt(3)), after=1))
