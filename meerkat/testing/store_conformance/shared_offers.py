"""Offers: inputs for runtimes in other hands, taken in once, or refused, each alone; and hints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, Final

import pytest

from meerkat.errors import (
    Overloaded,
    RuntimeDestroyed,
    RuntimeNotFound,
    RuntimeNotReady,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputPhase
from meerkat.outcomes import Accepted, Deduplicated
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.testing.store_conformance.shared_base import (
    WAIT_S,
    Ended,
    Joined,
    SharedCases,
    kinds,
    offer,
)
from meerkat.testing.store_rows import R1, R2, R3, batch, input_id, prompt, row_of

REFUSED: Final[dict[RuntimeState, type[Exception]]] = {
    RuntimeState.INITIALIZING: RuntimeNotReady,
    RuntimeState.RETIRED: RuntimeNotReady,
    RuntimeState.STOPPED: RuntimeNotReady,
    RuntimeState.DESTROYED: RuntimeDestroyed,
}


class OfferCases(SharedCases):
    """Offers: inputs for runtimes in other hands, taken in once, or refused; and hints."""

    def test_no_more_is_taken_in_than_may_wait(self, joined: Joined) -> None:
        owner, other = joined("owner"), joined("other")
        ended = row_of(prompt(1), InputPhase.CONSUMED)
        owner.commit_many([batch(R1, ended, row_of(prompt(2), sequence=1)), batch(R2)])
        numbers = (3, 2, 4, 5, 3, 1)
        asked = [(R1, offer(number)) for number in numbers] + [(R2, offer(1))]
        answers = other.offer_many(asked, pending_max=4)
        assert kinds(answers[:3] + answers[4:]) == [
            Accepted, Deduplicated, Accepted, Deduplicated, Deduplicated, Accepted
        ]  # fmt: skip
        assert type(answers[3]) in (Accepted, Overloaded)  # what is known may count as new
        full = other.offer_many([(R1, offer(6)), (R1, offer(7)), (R1, offer(3))], pending_max=3)
        assert kinds(full) == [Overloaded, Overloaded, Deduplicated]
        assert isinstance(full[0], Overloaded)
        assert (full[0].limit, full[0].value) == ("pending_inputs_max", 3)
        assert {state.input_id for state in owner.load_offered(R1)} <= {*map(input_id, (3, 4, 5))}
        assert kinds(other.offer_many([(R1, offer(6))])) == [Accepted]

    def test_a_group_is_taken_in_as_far_as_there_is_room(self, joined: Joined) -> None:
        owner, other = joined("owner"), joined("other")
        owner.commit_many([batch(R1), batch(R2)])
        asked = [(name, offer(number)) for number in range(5) for name in (R1, R2)]
        answers = other.offer_many(asked, pending_max=3)
        assert kinds(answers) == [Accepted] * 6 + [Overloaded] * 4

    def test_what_is_offered_waits_for_the_owner_in_the_order_it_came(self, joined: Joined) -> None:
        owner, other = joined("owner"), joined("other")
        owner.commit_many([batch(R1), batch(R2)])
        rows = [offer(number, f"k{number}") for number in (3, 1, 2)]
        for row, answer in zip(rows, other.offer_many([(R1, row) for row in rows]), strict=True):
            assert row.state.policy is not None
            assert answer == Accepted(
                input_id=row.state.input_id, policy=row.state.policy, state=row.state
            )
        assert owner.offered() == [R1]
        assert other.offered() == []
        assert owner.load_offered(R1) == [row.state for row in rows]
        assert owner.load_offered(R2) == []
        taken = [row_of(prompt(n, f"k{n}"), sequence=place) for place, n in enumerate((3, 1, 2))]
        owner.commit(batch(R1, *taken, after=1, fence=2))
        assert owner.offered() == owner.load_offered(R1) == []
        assert owner.load_active_inputs(R1) == [row.state for row in taken]

    def test_what_was_offered_goes_over_with_its_runtime(
        self, joined: Joined, ended: Ended
    ) -> None:
        owner, other = joined("owner"), joined("other")
        owner.commit(batch(R1))
        other.offer_many([(R1, offer(1))])
        ended("owner")
        assert other.page_adoptable().items == (R1,)
        other.commit(batch(R1, after=1, fence=2))
        assert (owner.offered(), other.offered()) == ([], [R1])

    def test_what_is_known_by_its_key_or_its_id_is_told_as_it_is_stored(
        self, joined: Joined
    ) -> None:
        owner, other = joined("owner"), joined("other")
        first = row_of(prompt(1, "a"), InputPhase.CONSUMED)
        owner.commit(batch(R1, first, row_of(prompt(2, "b"))))
        asked = [offer(7, "a"), offer(2), offer(2, "a"), offer(8, "new"), offer(9, "new"), offer(8)]
        answers: list[Any] = other.offer_many([(R1, row) for row in asked])
        assert kinds(answers) == [*[Deduplicated] * 3, Accepted, Deduplicated, Deduplicated]
        existing = [(each.existing_id, each.existing_state.phase) for each in answers[:3]]
        assert existing == [
            (input_id(1), InputPhase.CONSUMED),
            (input_id(2), InputPhase.QUEUED),
            (input_id(1), InputPhase.CONSUMED),  # its key counts before its id
        ]
        assert [each.existing_id for each in answers[4:]] == [input_id(8), input_id(8)]
        found = [each.input_id for each in owner.load_active_inputs(R1)]
        assert found == [input_id(2), input_id(8)]

    @pytest.mark.parametrize("state", RuntimeState, ids=str)
    def test_a_runtimes_state_says_whether_it_takes_anything_in(
        self, joined: Joined, state: RuntimeState
    ) -> None:
        owner, other = joined("owner"), joined("other")
        owner.commit(batch(R1, row_of(prompt(1, "k")), state=state))
        answers = other.offer_many([(R1, offer(2)), (R1, offer(3, "k"))])
        expected = [REFUSED[state]] * 2 if state in REFUSED else [Accepted, Deduplicated]
        assert kinds(answers) == expected
        assert len(owner.load_active_inputs(R1)) == 1 + (state not in REFUSED)

    def test_a_bad_offer_fails_alone(self, joined: Joined) -> None:
        owner, other = joined("owner"), joined("other")
        ids = [LogicalRuntimeId(f"good-{number}") for number in range(5)]
        owner.commit_many([*map(batch, ids), batch(R1, registered=False), batch(R2, set_aside="x")])
        owner.commit(batch(R3, registered=False, state=RuntimeState.DESTROYED))
        bad = [
            (LogicalRuntimeId("nobody"), offer(1), RuntimeNotFound),
            (R1, offer(1), RuntimeNotFound),
            (R2, offer(1), RuntimeUnavailable),
            (R3, offer(1), RuntimeDestroyed),
            (ids[0], row_of(prompt(2)), StoreError),  # it is queued
            (ids[0], row_of(prompt(2), InputPhase.ACCEPTED), StoreError),  # nothing is decided
        ]
        asked = [(runtime_id, row) for runtime_id, row, _ in bad]
        asked[4:4] = [(each, offer(3, "k")) for each in ids]
        expected: list[type] = [error for _, _, error in bad]
        expected[4:4] = [Accepted] * 5
        assert kinds(other.offer_many(asked)) == expected
        assert owner.offered() == ids
        assert other.offer_many([]) == []

    def test_of_two_processes_that_offer_one_key_one_is_accepted(self, joined: Joined) -> None:
        stores = [joined("one"), joined("two")]
        stores[0].commit_many([batch(R1), batch(R2), batch(R3)])
        together = Barrier(2)

        def offered(place: int) -> dict[tuple[LogicalRuntimeId, int], type]:
            asked = [
                (runtime_id, number)
                for runtime_id in ((R1, R2, R3), (R3, R2, R1))[place]
                for number in range(100)
            ]
            rows = [(each, offer(place * 100 + number, f"k{number}")) for each, number in asked]
            together.wait(WAIT_S)
            return dict(zip(asked, kinds(stores[place].offer_many(rows)), strict=True))

        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(offered, range(2), timeout=WAIT_S)
        assert len(one) == 300
        assert all({one[each], two[each]} == {Accepted, Deduplicated} for each in one)
        for runtime_id in (R1, R2, R3):
            assert len(stores[0].load_offered(runtime_id)) == 100

    def test_commits_and_offers_of_one_runtime_lose_nothing(self, joined: Joined) -> None:
        """The owner retires it in the end: what was accepted is there, and nothing else."""
        owner, other = joined("owner"), joined("other")
        owner.commit(batch(R1))
        together = Barrier(2)

        def offered() -> list[int]:
            together.wait(WAIT_S)
            accepted, number = list[int](), 0
            while True:
                number += 1
                (answer,) = other.offer_many([(R1, offer(number, f"k{number}"))])
                if isinstance(answer, RuntimeNotReady):
                    return accepted
                assert isinstance(answer, Accepted)
                accepted.append(number)

        with ThreadPoolExecutor(1) as pool:
            offering = pool.submit(offered)
            together.wait(WAIT_S)
            for fence in range(1, 30):
                owner.commit(batch(R1, after=fence, fence=fence + 1))
            owner.commit(batch(R1, after=30, fence=31, state=RuntimeState.RETIRED))
            accepted = offering.result(WAIT_S)
        found = [each.input_id for each in owner.load_offered(R1)]
        assert found == [input_id(number) for number in accepted]

    # --- hints --------------------------------------------------------------------------

    def test_an_offer_wakes_who_has_the_runtime(self, joined: Joined) -> None:
        owner, other = joined("owner"), joined("other")
        owner.commit(batch(R1))
        while owner.wait_for_hint(0):
            continue
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(owner.wait_for_hint, WAIT_S)
            other.offer_many([(R1, offer(1))])
            assert waits.result(WAIT_S)

    def test_what_is_given_back_wakes_the_others(self, joined: Joined) -> None:
        owner, other = joined("owner"), joined("other")
        owner.commit(batch(R1, row_of(prompt(1))))
        while other.wait_for_hint(0):
            continue
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(other.wait_for_hint, WAIT_S)
            owner.close()
            assert waits.result(WAIT_S)
        assert other.page_adoptable().items == (R1,)

    def test_who_waits_is_hurried_or_does_not_begin_to_wait(self, joined: Joined) -> None:
        store = joined("owner")
        while store.wait_for_hint(0):
            continue
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(store.wait_for_hint, WAIT_S)
            store.hurry()
            assert not waits.result(WAIT_S)
        store.hurry()
        assert not store.wait_for_hint(WAIT_S)
