"""Retention: what is past its bound is cut down, and all that somebody may still ask stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from attrs import evolve

from meerkat import (
    EpochCursorSnapshot,
    IdempotencyKey,
    InputPhase,
    LogicalRuntimeId,
    RunId,
    RuntimeEpochId,
)
from meerkat.completion_feed import FEED_MAX
from meerkat.input_lifecycle import AbandonCause, AbandonReason, abandon
from meerkat.limits import KEEP_EVERYTHING, Retention
from meerkat.outcomes import completion_of
from meerkat.store import InputRow, Pruned, RuntimeStore
from meerkat.store.retention import slim
from meerkat.testing.store_rows import (
    R1,
    R2,
    RUN,
    START,
    batch,
    everything,
    input_id,
    prompt,
    receipt,
    row_of,
)
from meerkat.testing.store_rows import ended as operation_ended

NONE_WHOLE = Retention(max_count=0)
OTHER_RUN = RunId(UUID(int=8))
EPOCH, EARLIER = RuntimeEpochId.new(), RuntimeEpochId.new()
NOW = START + timedelta(days=1)


def ended(number: int, key: str | None = None, run_id: RunId = RUN, **changes: Any) -> InputRow:
    """A consumed input of a run, the ``number``-th that its runtime queued."""
    return row_of(prompt(number, key), InputPhase.CONSUMED, number, last_run_id=run_id, **changes)


def observed(seq: int) -> EpochCursorSnapshot:
    return EpochCursorSnapshot(runtime_observed_seq=seq)


def prune_all(
    store: RuntimeStore, keep: Retention, *, limit: int = 256, **asked: Any
) -> tuple[int, int, int]:
    """Step after step to the end; gives what went: inputs, receipts, operations."""
    steps: list[Pruned] = []
    after: str | None = None
    while True:
        steps.append(store.prune(keep, NOW, after=after, limit=limit, **asked))
        after = steps[-1].next
        if after is None:
            break
    return (
        sum(step.inputs for step in steps),
        sum(step.receipts for step in steps),
        sum(step.operations for step in steps),
    )


def whole(store: RuntimeStore, runtime_id: LogicalRuntimeId = R1) -> list[int]:
    """The finished inputs that still have their history."""
    states = store.page_terminal_inputs(runtime_id).items
    return sorted(state.input_id.value.int for state in states if state.history)


# --- what stays -------------------------------------------------------------------------


def test_a_pruned_input_keeps_all_but_policy_and_history(store: RuntimeStore) -> None:
    row = ended(1, "a", result={"ä": 2**64 - 1}, recovery_count=1)
    store.commit(batch(R1, row, next_admission_sequence=2))
    assert prune_all(store, NONE_WHOLE) == (1, 0, 0)
    kept = store.load_input(R1, input_id(1))
    assert kept == slim(row.state) == evolve(row.state, policy=None, history=())
    assert store.load_input_by_key(R1, IdempotencyKey("a")) == kept
    assert completion_of(slim(row.state)) == completion_of(row.state)


def test_an_abandoned_input_ends_its_handles_as_before(store: RuntimeStore) -> None:
    queued = row_of(prompt(1), sequence=1)
    reason = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, 0)
    state = abandon(queued.state, START, reason=reason, error="broken")
    store.commit(batch(R1, evolve(queued, state=state), next_admission_sequence=2))
    assert prune_all(store, NONE_WHOLE) == (1, 0, 0)
    kept = store.load_input(R1, input_id(1))
    assert kept is not None
    assert completion_of(kept) == completion_of(state)


def test_a_pruned_input_can_neither_be_written_again_nor_lose_its_key(store: RuntimeStore) -> None:
    store.commit(batch(R1, ended(1, "a"), next_admission_sequence=2))
    prune_all(store, NONE_WHOLE)
    before = everything(store)
    for again in (ended(1, "a"), ended(2, "a")):
        (refused,) = store.commit_many([batch(R1, again, after=1)])
        assert refused is not None
    store.offer(R1, [row_of(prompt(3, "a"), InputPhase.ACCEPTED)])
    assert everything(store) == before


def test_pruning_changes_no_runtime_row_and_needs_no_fence(store: RuntimeStore) -> None:
    store.commit(batch(R1, ended(1), next_admission_sequence=2))
    row = store.load_runtime(R1)
    prune_all(store, NONE_WHOLE)
    assert store.load_runtime(R1) == row
    store.commit(batch(R1, row_of(prompt(2)), after=1))


def test_what_has_been_pruned_is_not_looked_at_again(store: RuntimeStore) -> None:
    store.commit(batch(R1, ended(1), next_admission_sequence=2))
    assert prune_all(store, NONE_WHOLE) == (1, 0, 0)
    assert prune_all(store, NONE_WHOLE) == (0, 0, 0)


# --- what goes --------------------------------------------------------------------------


def test_keeping_everything_prunes_nothing(store: RuntimeStore) -> None:
    store.commit(batch(R1, ended(1), receipts=(receipt(0, 1),), next_admission_sequence=2))
    before = everything(store)
    assert prune_all(store, KEEP_EVERYTHING) == (0, 0, 0)
    assert everything(store) == before


@pytest.mark.parametrize("limit", [1, 2, 256])
def test_by_count_the_last_ones_of_each_runtime_stay(store: RuntimeStore, limit: int) -> None:
    for runtime_id, count in ((R1, 6), (R2, 2)):
        rows = [ended(number) for number in range(count)]
        store.commit(batch(runtime_id, *rows, next_admission_sequence=count))
    assert prune_all(store, Retention(max_count=3), limit=limit) == (3, 0, 0)
    assert (whole(store), whole(store, R2)) == ([3, 4, 5], [0, 1])


def test_those_that_wait_are_among_the_last_ones(store: RuntimeStore) -> None:
    waiting = [row_of(prompt(number), sequence=number) for number in (2, 3)]
    store.commit(batch(R1, ended(0), ended(1), *waiting, next_admission_sequence=4))
    assert prune_all(store, Retention(max_count=3)) == (1, 0, 0)
    assert whole(store) == [1]
    assert [s.input for s in store.load_active_inputs(R1)] == [s.state.input for s in waiting]


def test_what_was_never_queued_is_past_every_count(store: RuntimeStore) -> None:
    store.commit(batch(R1, evolve(ended(0), state=evolve(ended(0).state, admission_sequence=None))))
    assert prune_all(store, Retention(max_count=1_000)) == (1, 0, 0)


@pytest.mark.parametrize("limit", [1, 256])
def test_by_age_what_ended_too_long_ago_goes(store: RuntimeStore, limit: int) -> None:
    def at(number: int, created_s: float, ended_s: float) -> InputRow:
        created, end = (NOW - timedelta(seconds=ago) for ago in (created_s, ended_s))
        return ended(number, created_at=created, updated_at=end)

    rows = [at(0, 200, 50), at(1, 190, 150), at(2, 180, 100), at(3, 180, 100.000001), at(4, 9, 9)]
    store.commit(batch(R1, *rows, next_admission_sequence=5))
    assert prune_all(store, Retention(max_age_s=100), limit=limit) == (2, 0, 0)
    assert whole(store) == [0, 2, 4]


def test_an_input_of_a_clock_that_was_ahead_holds_up_none_behind_it(store: RuntimeStore) -> None:
    ahead = NOW + timedelta(days=365)
    rows = (ended(0, created_at=ahead, updated_at=ahead), ended(1))
    store.commit(batch(R1, *rows, next_admission_sequence=2))
    assert prune_all(store, Retention(max_age_s=60.0)) == (1, 0, 0)
    assert whole(store) == [0]


def test_either_bound_is_enough(store: RuntimeStore) -> None:
    young = ended(0, created_at=NOW, updated_at=NOW)
    store.commit(batch(R1, young, ended(1), next_admission_sequence=2))
    assert prune_all(store, Retention(max_age_s=100, max_count=1)) == (2, 0, 0)


# --- receipts ---------------------------------------------------------------------------


def test_a_run_keeps_its_receipts_until_every_contributor_has_gone(store: RuntimeStore) -> None:
    receipts = (receipt(0, 1, 2), receipt(1, 3))
    rows = [ended(number) for number in (1, 2, 3)]
    store.commit(batch(R1, *rows, receipts=receipts, next_admission_sequence=4))
    for count, left in ((2, 2), (1, 2), (0, 0)):
        prune_all(store, Retention(max_count=count))
        assert [each.sequence for each in store.page_receipts(R1).items] == list(range(left))


def test_receipts_of_other_runs_and_runtimes_stay(store: RuntimeStore) -> None:
    mine, other = receipt(0, 1), receipt(0, 2, run_id=OTHER_RUN)
    rows = [ended(1), ended(2, run_id=OTHER_RUN)]
    store.commit(batch(R1, *rows, receipts=(mine, other), next_admission_sequence=3))
    store.commit(batch(R2, ended(1), receipts=(mine,), next_admission_sequence=1))
    assert prune_all(store, Retention(max_count=1)) == (1, 1, 0)
    assert store.page_receipts(R1).items == (other,)
    assert store.page_receipts(R2).items == (mine,)


@pytest.mark.parametrize("phase", ["staged", "applied", "applied_pending_consumption"])
def test_a_run_that_has_a_contributor_in_flight_is_left_alone(
    store: RuntimeStore, phase: str
) -> None:
    """What recovery may need: the receipt of an input that has not ended; and its own run."""
    in_flight = row_of(prompt(2), InputPhase(phase), 2)
    receipts = (receipt(0, 1), receipt(1, 2))
    store.commit(batch(R1, ended(1), in_flight, receipts=receipts, next_admission_sequence=3))
    before = everything(store)
    assert prune_all(store, NONE_WHOLE) == (0, 0, 0)
    assert everything(store) == before


def test_a_receipt_stays_that_names_an_input_which_has_not_ended(store: RuntimeStore) -> None:
    """Even one that waits again, and came without a payload."""
    waiting = InputRow(row_of(prompt(2), sequence=2).state)
    store.commit(
        batch(R1, ended(1), waiting, receipts=(receipt(0, 1, 2),), next_admission_sequence=3)
    )
    assert prune_all(store, NONE_WHOLE) == (1, 0, 0)


def test_a_run_that_is_spared_is_left_alone(store: RuntimeStore) -> None:
    """The host knows of runs whose inputs no store knows: those of ephemeral ones."""
    store.commit(batch(R1, ended(1), receipts=(receipt(0, 1),), next_admission_sequence=2))
    assert prune_all(store, NONE_WHOLE, spared=frozenset({RUN})) == (0, 0, 0)
    assert prune_all(store, NONE_WHOLE, spared=frozenset({OTHER_RUN})) == (1, 1, 0)


# --- operations -------------------------------------------------------------------------


def seqs(store: RuntimeStore) -> list[int]:
    snapshot = store.load_ops_snapshot(R1)
    return [] if snapshot is None else [entry.seq for entry in snapshot.feed]


@pytest.mark.parametrize("limit", [1, 256])
def test_operations_go_that_are_out_of_the_feed_and_were_read(
    store: RuntimeStore, limit: int
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


def test_operations_that_nobody_read_of_stay(store: RuntimeStore) -> None:
    last = FEED_MAX + 6
    rows = tuple(operation_ended(seq, EPOCH) for seq in range(1, last + 1))
    store.commit(batch(R1, operations=rows, epoch_id=EPOCH, feed_watermark=last))
    assert prune_all(store, NONE_WHOLE) == (0, 0, 0)


def test_a_runtime_that_has_forgotten_its_epoch_forgets_its_operations(store: RuntimeStore) -> None:
    store.commit(batch(R1, operations=(operation_ended(1, EPOCH),)))
    assert prune_all(store, NONE_WHOLE) == (0, 0, 1)


# --- small steps ------------------------------------------------------------------------


def test_a_step_prunes_no_more_than_it_is_allowed(store: RuntimeStore) -> None:
    rows = [ended(number) for number in range(10)]
    receipts = [receipt(n, n) for n in range(10)]
    store.commit(batch(R1, *rows, receipts=tuple(receipts), next_admission_sequence=10))
    first = store.prune(NONE_WHOLE, NOW, limit=4)
    assert (first.inputs, first.receipts) == (4, 0)
    second = store.prune(NONE_WHOLE, NOW, after=first.next, limit=4)
    third = store.prune(NONE_WHOLE, NOW, after=second.next, limit=4)
    assert (second.inputs, third.inputs, third.receipts) == (4, 2, 10)


def test_commits_go_in_between_two_steps(store: RuntimeStore) -> None:
    store.commit(batch(R1, ended(0), ended(1), next_admission_sequence=2))
    step = store.prune(NONE_WHOLE, NOW, limit=1)
    store.commit(batch(R1, ended(2), after=1, next_admission_sequence=3))
    assert store.prune(NONE_WHOLE, NOW, after=step.next, limit=9).inputs == 2


def test_an_empty_store_has_nothing_to_prune(store: RuntimeStore) -> None:
    assert prune_all(store, NONE_WHOLE) == (0, 0, 0)
