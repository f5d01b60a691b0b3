"""Hands: whose a runtime is among those that share a store, who may come, and what is adopted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from attrs import evolve

from meerkat.errors import Fenced, OwnedElsewhere, StoreError
from meerkat.identifiers import LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase
from meerkat.shards import Shard
from meerkat.store.sharing import SharedStore, shared
from meerkat.testing.store_conformance.pruning import NONE_WHOLE, prune_all
from meerkat.testing.store_conformance.pruning import ended as consumed
from meerkat.testing.store_conformance.shared_base import (
    WAIT_S,
    Ended,
    Joined,
    SharedCases,
    kinds,
    offer,
)
from meerkat.testing.store_rows import R1, R2, R3, RUN, batch, input_id, prompt, receipt, row_of

ROUNDS = 40
OTHER_RUN = RunId(UUID(int=8))


class HandsCases(SharedCases):
    """Hands: whose a runtime is among those that share a store, and who may come."""

    def test_who_commits_first_has_a_runtime_and_others_are_told_who(self, joined: Joined) -> None:
        first, second = joined("first"), joined("second")
        first.commit(batch(R1))
        with pytest.raises(OwnedElsewhere) as caught:
            second.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))
        assert (caught.value.runtime_id, caught.value.owner) == (R1, "first")
        assert first.load_active_inputs(R1) == []
        assert second.owned_elsewhere([R1, R2]) == {R1: "first"}
        assert first.owned_elsewhere([R1, R2]) == {}
        first.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))

    def test_a_claim_that_is_refused_fails_alone(self, joined: Joined) -> None:
        first, second = joined("first"), joined("second")
        first.commit(batch(R1))
        second.commit(batch(R3))
        group = [batch(R1, after=1, fence=2), batch(R2), batch(R3, after=7), batch(R1)]
        answers = second.commit_many(group)
        assert kinds(answers) == [OwnedElsewhere, type(None), Fenced, OwnedElsewhere]
        assert second.load_runtime(R2) is not None

    def test_whose_lease_is_over_loses_what_another_commits(
        self, joined: Joined, ended: Ended
    ) -> None:
        first, second = joined("first"), joined("second")
        assert first.commit_many([batch(R1), batch(R2)]) == [None, None]
        ended("first")
        second.commit(batch(R1, after=1, fence=2))
        with pytest.raises(OwnedElsewhere, match="in the hands of second"):
            first.commit(batch(R1, after=1, fence=2))
        first.commit(batch(R2, after=1, fence=2))  # which nobody has taken
        assert not first.renew()
        assert first.renew()
        assert first.owned_elsewhere([R1, R2]) == {R1: "second"}
        assert second.owned_elsewhere([R1, R2]) == {R2: "first"}

    def test_whose_a_runtime_was_is_known_until_another_has_it(
        self, joined: Joined, ended: Ended
    ) -> None:
        first, second, third = (joined(name) for name in ("first", "second", "third"))
        assert first.commit_many([batch(R1), batch(R2)]) == [None, None]
        third.commit(batch(R3))
        ended("first")
        third.close()
        both = [R1, R2, R3]
        assert second.owned_elsewhere(both) == {}
        assert second.owned_elsewhere(both, lapsed_too=True) == {R1: "first", R2: "first"}
        assert first.owned_elsewhere(both, lapsed_too=True) == {}
        second.commit(batch(R1, after=1, fence=2))
        assert second.owned_elsewhere(both, lapsed_too=True) == {R2: "first"}

    def test_of_two_that_take_over_one_does(self, joined: Joined, ended: Ended) -> None:
        first, second, third = (joined(name) for name in ("first", "second", "third"))
        first.commit(batch(R1))
        first.close()
        second.commit(batch(R1, after=1, fence=2))
        with pytest.raises(OwnedElsewhere):
            third.commit(batch(R1, after=1, fence=2))
        ended("second")
        with pytest.raises(Fenced) as caught:  # nobody has it, and it was not seen as it is
            third.commit(batch(R1, after=1, fence=2))
        assert type(caught.value) is Fenced
        third.commit(batch(R1, after=2, fence=3))

    def test_who_closes_gives_everything_back_at_once(self, joined: Joined) -> None:
        first, second = joined("first"), joined("second")
        first.commit(batch(R1))
        first.close()
        assert second.owned_elsewhere([R1]) == {}
        second.commit(batch(R1, after=1, fence=2))

    def test_a_namesake_ends_the_lease_of_the_one_before(self, joined: Joined) -> None:
        before, other = joined("shard-0"), joined("other")
        assert before.commit_many([batch(R1), batch(R2)]) == [None, None]
        after = joined("shard-0")
        assert other.owned_elsewhere([R1]) == {}
        after.commit(batch(R1, after=1, fence=2))
        for refused in (batch(R1, after=2, fence=3), batch(R2, after=1, fence=2), batch(R3)):
            with pytest.raises(OwnedElsewhere, match="in the hands of shard-0"):
                before.commit(refused)
        with pytest.raises(StoreError, match="has come as shard-0"):
            before.renew()
        before.close()  # which takes nothing from the one that has come
        with pytest.raises(OwnedElsewhere):
            other.commit(batch(R1, after=2, fence=3))
        after.renew()

    def test_who_is_there_is_another_set_whenever_something_may_be_nobodys(
        self, joined: Joined, ended: Ended
    ) -> None:
        first, second = joined("first"), joined("second")
        seen = [first.owners()]
        assert {name for name, _ in seen[0]} == {"first", "second"}
        first.commit(batch(R1))
        second.renew()
        assert second.owners() == seen[0]
        joined("second")
        seen.append(first.owners())
        ended("second")
        seen.append(first.owners())
        first.close()
        seen.append(second.owners())
        assert len({*seen}) == len(seen)
        assert seen[-1] == frozenset()

    def test_those_without_a_name_are_told_apart(self, joined: Joined) -> None:
        first, second = joined(), joined()
        first.commit(batch(R1))
        with pytest.raises(OwnedElsewhere):
            second.commit(batch(R1, after=1, fence=2))
        assert first.owned_elsewhere([R1]) == {}

    def test_a_lease_is_had_first_and_renewed_then(self, opened: Joined) -> None:
        store = opened("first")
        assert shared(store)
        with pytest.raises(StoreError, match="acquire"):
            store.renew()
        store.acquire()
        with pytest.raises(StoreError):
            store.acquire()
        store.renew()

    def test_who_has_no_lease_may_write_what_nobody_has(
        self, joined: Joined, opened: Joined
    ) -> None:
        owner, by_hand = joined("owner"), opened("by hand")
        owner.commit(batch(R1))
        with pytest.raises(OwnedElsewhere, match="owner"):
            by_hand.commit(batch(R1, after=1, fence=2))
        by_hand.commit(batch(R2))
        owner.commit(batch(R2, after=1, fence=2))
        owner.close()
        by_hand.commit(batch(R1, after=1, fence=2))

    def test_another_count_of_shards_is_refused_and_nothing_is_lost(
        self, joined: Joined, opened: Joined, ended: Ended
    ) -> None:
        four = joined("shard-0", shard=Shard(number=0, of=4))
        four.commit(batch(R1))
        eight = opened("other-0", shard=Shard(number=0, of=8))
        for _ in range(2):
            with pytest.raises(StoreError, match=r"4 shards by shard-0.*8 here"):
                eight.acquire()
        four.renew()
        four.commit(batch(R1, after=1, fence=2))
        joined("unsharded").commit(batch(R2))
        ended("shard-0")
        eight.acquire()
        with pytest.raises(StoreError, match=r"8 shards by other-0.*4 here"):
            four.renew()
        eight.commit(batch(R1, after=2, fence=3))

    def test_three_that_race_for_runtimes_never_have_one_twice(
        self, joined: Joined, ended: Ended
    ) -> None:
        """Who is let in is the only one, by the fences that each has written: they are dense."""
        names = ("one", "two", "three")
        stores = [joined(name) for name in names]
        ids = [LogicalRuntimeId(f"r{number}") for number in range(4)]
        stores[0].commit_many([batch(each) for each in ids])
        wrote: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
        together = Barrier(len(stores))

        def race(place: int) -> None:
            name, store = names[place], stores[place]
            for turn in range(ROUNDS):
                together.wait(WAIT_S)
                if turn % len(names) == place:
                    ended(names[turn * 7 % len(names)])
                rows = [store.load_runtime(each) for each in ids]
                fences = [row.fence for row in rows if row is not None]
                group = [
                    batch(each, after=fence, fence=fence + 1)
                    for each, fence in zip(ids, fences, strict=True)
                ]
                answers = store.commit_many(group)
                for each, fence, answer in zip(ids, fences, answers, strict=True):
                    assert answer is None or isinstance(answer, Fenced)
                    if answer is None:
                        wrote[name].append((each.value, fence + 1))
                store.renew()

        with ThreadPoolExecutor(len(stores)) as pool:
            list(pool.map(race, range(len(stores)), timeout=WAIT_S))
        every = sorted(each for written in wrote.values() for each in written)
        assert every == [
            (each.value, fence) for each in ids for fence in range(2, _fence(stores[0], each) + 1)
        ]
        assert len(every) >= ROUNDS

    # --- reading ------------------------------------------------------------------------

    def test_work_that_nobody_has_is_adoptable(self, joined: Joined, ended: Ended) -> None:
        one, two = joined("one"), joined("two")
        ids = [LogicalRuntimeId(f"r{number}") for number in range(6)]
        one.commit_many([batch(each, row_of(prompt(1))) for each in ids[:3]])
        two.commit_many([batch(each, live_operations=1) for each in ids[3:5]])
        two.commit(batch(ids[5], row_of(prompt(1)), registered=False))
        one.commit(batch(R1))  # which has no work
        assert one.page_adoptable().items == tuple(ids[:3])
        assert two.page_adoptable().items == tuple(ids[3:5])
        ended("one")
        assert two.page_adoptable().items == tuple(ids[:5])
        two.close()
        for limit in (1, 2, 5):
            page = one.page_adoptable(limit=limit)
            found = [*page.items]
            while page.next is not None:
                page = one.page_adoptable(after=page.next, limit=limit)
                assert len(page.items) <= limit
                found += page.items
            assert found == ids[:5]
        one.offer_many([(R1, offer(2))])
        assert R1 in one.page_adoptable().items

    def test_the_ends_of_inputs_elsewhere_are_loaded_together(self, joined: Joined) -> None:
        one, two = joined("one"), joined("two")
        row = row_of(prompt(1), InputPhase.CONSUMED)
        one.commit_many([batch(R1, row, row_of(prompt(2))), batch(R2, row)])
        watched = [(R1, input_id(1)), (R1, input_id(2)), (R2, input_id(1)), (R3, input_id(1))]
        found = sorted(two.load_ended(watched), key=lambda each: each[0].value)
        expected = evolve(row.state, input=None)
        assert found == [(R1, expected), (R2, expected)]
        assert two.load_ended([]) == []

    # --- pruning ------------------------------------------------------------------------

    def test_runs_of_a_runtime_elsewhere_are_left_alone_by_pruning(
        self, joined: Joined, ended: Ended
    ) -> None:
        """One may be in hand there that no stored input tells of, begun by ephemeral ones."""
        first, second = joined("first"), joined("second")
        row, proof = consumed(1), receipt(0, 1)
        first.commit(batch(R1, row, receipts=(proof,), next_admission_sequence=2))
        assert prune_all(second, NONE_WHOLE) == (0, 0, 0)
        assert prune_all(first, NONE_WHOLE, spared=frozenset({RUN})) == (0, 0, 0)
        ended("first")
        assert prune_all(second, NONE_WHOLE) == (1, 1, 0)

    def test_each_process_prunes_what_it_has(self, joined: Joined) -> None:
        first, second = joined("first"), joined("second")
        second.commit(batch(R1, consumed(1), receipts=(receipt(0, 1),), next_admission_sequence=2))
        row, proof = consumed(2, run_id=OTHER_RUN), receipt(0, 2, run_id=OTHER_RUN)
        first.commit(batch(R2, row, receipts=(proof,), next_admission_sequence=3))
        without_run = row_of(prompt(3), InputPhase.ABANDONED, 1)
        second.commit(batch(R3, without_run, next_admission_sequence=2))
        assert prune_all(first, NONE_WHOLE, limit=1) == (2, 1, 0)  # no run can need the third
        assert prune_all(second, NONE_WHOLE) == (1, 1, 0)


def _fence(store: SharedStore, runtime_id: LogicalRuntimeId) -> int:
    row = store.load_runtime(runtime_id)
    assert row is not None
    return row.fence
