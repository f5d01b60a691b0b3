"""Pruning: what is past its bound is cut down, and all that somebody may still ask stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from meerkat.identifiers import IdempotencyKey
from meerkat.input_lifecycle import AbandonCause, AbandonReason, InputPhase, abandon
from meerkat.limits import KEEP_EVERYTHING, Retention
from meerkat.outcomes import completion_of
from meerkat.store import InputRow, RuntimeStore
from meerkat.store.retention import slim
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_conformance.pruning import NONE_WHOLE, NOW, ended, prune_all, whole
from meerkat.testing.store_rows import (
    R1,
    R2,
    START,
    batch,
    everything,
    input_id,
    prompt,
    receipt,
    row_of,
)


class RetentionCases(StoreCases):
    """Pruning: what is past its bound is cut down, all that somebody may still ask stays."""

    def test_a_pruned_input_keeps_all_but_policy_and_history(self, store: RuntimeStore) -> None:
        row = ended(1, "a", result={"ä": 2**64 - 1}, recovery_count=1)
        store.commit(batch(R1, row, next_admission_sequence=2))
        assert prune_all(store, NONE_WHOLE) == (1, 0, 0)
        kept = store.load_input(R1, input_id(1))
        assert kept == slim(row.state) == evolve(row.state, policy=None, history=())
        assert store.load_input_by_key(R1, IdempotencyKey("a")) == kept
        assert completion_of(slim(row.state)) == completion_of(row.state)

    def test_an_abandoned_input_ends_its_handles_as_before(self, store: RuntimeStore) -> None:
        queued = row_of(prompt(1), sequence=1)
        reason = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, 0)
        state = abandon(queued.state, START, reason=reason, error="broken")
        store.commit(batch(R1, evolve(queued, state=state), next_admission_sequence=2))
        assert prune_all(store, NONE_WHOLE) == (1, 0, 0)
        kept = store.load_input(R1, input_id(1))
        assert kept is not None
        assert completion_of(kept) == completion_of(state)

    def test_a_pruned_input_can_neither_be_written_again_nor_lose_its_key(
        self, store: RuntimeStore
    ) -> None:
        store.commit(batch(R1, ended(1, "a"), next_admission_sequence=2))
        prune_all(store, NONE_WHOLE)
        before = everything(store)
        for again in (ended(1, "a"), ended(2, "a")):
            (refused,) = store.commit_many([batch(R1, again, after=1)])
            assert refused is not None
        store.offer(R1, [row_of(prompt(3, "a"), InputPhase.ACCEPTED)])
        assert everything(store) == before

    def test_pruning_changes_no_runtime_row_and_needs_no_fence(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, ended(1), next_admission_sequence=2))
        row = store.load_runtime(R1)
        prune_all(store, NONE_WHOLE)
        assert store.load_runtime(R1) == row
        store.commit(batch(R1, row_of(prompt(2)), after=1))

    def test_what_has_been_pruned_is_not_looked_at_again(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, ended(1), next_admission_sequence=2))
        assert prune_all(store, NONE_WHOLE) == (1, 0, 0)
        assert prune_all(store, NONE_WHOLE) == (0, 0, 0)

    def test_keeping_everything_prunes_nothing(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, ended(1), receipts=(receipt(0, 1),), next_admission_sequence=2))
        before = everything(store)
        assert prune_all(store, KEEP_EVERYTHING) == (0, 0, 0)
        assert everything(store) == before

    @pytest.mark.parametrize("limit", [1, 2, 256])
    def test_by_count_the_last_ones_of_each_runtime_stay(
        self, store: RuntimeStore, limit: int
    ) -> None:
        for runtime_id, count in ((R1, 6), (R2, 2)):
            rows = [ended(number) for number in range(count)]
            store.commit(batch(runtime_id, *rows, next_admission_sequence=count))
        assert prune_all(store, Retention(max_count=3), limit=limit) == (3, 0, 0)
        assert (whole(store), whole(store, R2)) == ([3, 4, 5], [0, 1])

    def test_those_that_wait_are_among_the_last_ones(self, store: RuntimeStore) -> None:
        waiting = [row_of(prompt(number), sequence=number) for number in (2, 3)]
        store.commit(batch(R1, ended(0), ended(1), *waiting, next_admission_sequence=4))
        assert prune_all(store, Retention(max_count=3)) == (1, 0, 0)
        assert whole(store) == [1]
        assert [s.input for s in store.load_active_inputs(R1)] == [s.state.input for s in waiting]

    def test_what_was_never_queued_is_past_every_count(self, store: RuntimeStore) -> None:
        store.commit(
            batch(R1, evolve(ended(0), state=evolve(ended(0).state, admission_sequence=None)))
        )
        assert prune_all(store, Retention(max_count=1_000)) == (1, 0, 0)

    @pytest.mark.parametrize("limit", [1, 256])
    def test_by_age_what_ended_too_long_ago_goes(self, store: RuntimeStore, limit: int) -> None:
        def at(number: int, created_s: float, ended_s: float) -> InputRow:
            created, end = (NOW - timedelta(seconds=ago) for ago in (created_s, ended_s))
            return ended(number, created_at=created, updated_at=end)

        rows = [
            at(0, 200, 50),
            at(1, 190, 150),
            at(2, 180, 100),
            at(3, 180, 100.000001),
            at(4, 9, 9),
        ]
        store.commit(batch(R1, *rows, next_admission_sequence=5))
        assert prune_all(store, Retention(max_age_s=100), limit=limit) == (2, 0, 0)
        assert whole(store) == [0, 2, 4]

    def test_an_input_of_a_clock_that_was_ahead_holds_up_none_behind_it(
        self, store: RuntimeStore
    ) -> None:
        ahead = NOW + timedelta(days=365)
        rows = (ended(0, created_at=ahead, updated_at=ahead), ended(1))
        store.commit(batch(R1, *rows, next_admission_sequence=2))
        assert prune_all(store, Retention(max_age_s=60.0)) == (1, 0, 0)
        assert whole(store) == [0]

    def test_either_bound_is_enough(self, store: RuntimeStore) -> None:
        young = ended(0, created_at=NOW, updated_at=NOW)
        store.commit(batch(R1, young, ended(1), next_admission_sequence=2))
        assert prune_all(store, Retention(max_age_s=100, max_count=1)) == (2, 0, 0)

    def test_a_step_prunes_no_more_than_it_is_allowed(self, store: RuntimeStore) -> None:
        rows = [ended(number) for number in range(10)]
        receipts = [receipt(n, n) for n in range(10)]
        store.commit(batch(R1, *rows, receipts=tuple(receipts), next_admission_sequence=10))
        steps = [store.prune(NONE_WHOLE, NOW, limit=4)]
        while steps[-1].next is not None:
            steps.append(store.prune(NONE_WHOLE, NOW, after=steps[-1].next, limit=4))
        assert max(step.inputs for step in steps) <= 4
        assert sum(step.inputs for step in steps) == 10
        (last,) = (step for step in steps if step.receipts)
        assert last.receipts == 10
        assert sum(step.inputs for step in steps[: steps.index(last) + 1]) == 10

    def test_commits_go_in_between_two_steps(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, ended(0), ended(1), next_admission_sequence=2))
        step = store.prune(NONE_WHOLE, NOW, limit=1)
        store.commit(batch(R1, ended(2), after=1, next_admission_sequence=3))
        assert store.prune(NONE_WHOLE, NOW, after=step.next, limit=9).inputs == 2

    def test_an_empty_store_has_nothing_to_prune(self, store: RuntimeStore) -> None:
        assert prune_all(store, NONE_WHOLE) == (0, 0, 0)
