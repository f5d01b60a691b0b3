"""Recovery over a store: what a crash left, and that recovering twice gives the same."""

from __future__ import annotations

from uuid import UUID

import pytest
from attrs import evolve
from store_builders import Clock, driver_over

from meerkat import (
    Deduplicated,
    InputPhase,
    OperationId,
    OperationInput,
    PersistentRuntimeDriver,
    RecoveryReport,
    RuntimeState,
)
from meerkat.errors import CommitUnknown, StoreError
from meerkat.input_lifecycle import AbandonCause
from meerkat.policy import Lane
from meerkat.store import Batch, InputRow, MemoryStore, RuntimeStore
from meerkat.testing.store_rows import R1, batch, everything, input_id, prompt, receipt, row_of

PENDING = InputPhase.APPLIED_PENDING_CONSUMPTION
STEER = {"turn_metadata": {"handling_mode": "steer"}}


def phases(store: RuntimeStore, *numbers: int) -> list[InputPhase | None]:
    found = [store.load_input(R1, input_id(number)) for number in numbers]
    return [None if state is None else state.phase for state in found]


def test_rec_03_applied_work_with_its_receipt_is_consumed(store: RuntimeStore) -> None:
    rows = [row_of(prompt(number), PENDING, number) for number in (1, 2)]
    store.commit(batch(R1, *rows, receipts=(receipt(0, 1, 2),), state=RuntimeState.RUNNING))
    driver = driver_over(store, recovered=False)
    report = driver.recover()
    assert (report.inputs_recovered, report.inputs_requeued) == (2, 0)
    assert driver.active_input_ids() == []
    assert driver.runtime_state() is RuntimeState.IDLE
    assert phases(store, 1, 2) == [InputPhase.CONSUMED] * 2
    assert store.load_active_inputs(R1) == []
    for number in (1, 2):
        state = store.load_input(R1, input_id(number))
        assert state is not None
        assert state.recovery_count == 1


@pytest.mark.parametrize("phase", [InputPhase.STAGED, InputPhase.APPLIED, PENDING])
def test_in_flight_work_without_a_receipt_is_queued_again(
    store: RuntimeStore, phase: InputPhase
) -> None:
    store.commit(batch(R1, row_of(prompt(1), phase), receipts=(receipt(1),)))
    driver = driver_over(store, recovered=False)
    report = driver.recover()
    assert (report.inputs_recovered, report.inputs_requeued) == (1, 1)
    state = store.load_input(R1, input_id(1))
    assert state == driver.input_state(input_id(1))
    assert state is not None
    assert (state.phase, state.last_run_id, state.attempt_count) == (InputPhase.QUEUED, None, 1)
    assert state.last_boundary_sequence is None
    assert state.recovery_count == 1


def test_rec_07_all_is_queued_in_its_own_lane_what_was_in_flight_first(
    store: RuntimeStore,
) -> None:
    store.commit(
        batch(
            R1,
            row_of(prompt(1), sequence=1),
            row_of(prompt(2), InputPhase.STAGED, 2),
            row_of(prompt(3, **STEER), sequence=3),
            row_of(prompt(4, **STEER), InputPhase.STAGED, 4),
            row_of(prompt(5), InputPhase.ACCEPTED),
            row_of(prompt(6, **STEER), InputPhase.ACCEPTED),
            state=RuntimeState.RUNNING,
        )
    )
    driver = driver_over(store, recovered=False)
    report = driver.recover()
    assert (report.inputs_recovered, report.inputs_requeued) == (6, 4)
    assert driver.waiting_input_ids(Lane.QUEUE) == [input_id(n) for n in (2, 1, 5)]
    assert driver.waiting_input_ids(Lane.STEER) == [input_id(n) for n in (4, 3, 6)]
    assert driver.current_run_id is None
    assert {state.phase for state in store.load_active_inputs(R1)} == {InputPhase.QUEUED}
    sequences = {s.admission_sequence for s in store.load_active_inputs(R1)}
    assert sequences == {1, 2, 3, 4, 5, 6}
    assert driver.start_run().contributing_input_ids == (input_id(4), input_id(3), input_id(6))


def test_rec_09_a_recovered_key_still_deduplicates(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1, "k"), InputPhase.STAGED)))
    outcome = driver_over(store).accept_input(prompt(2, "k"))
    assert isinstance(outcome, Deduplicated)
    assert outcome.existing_id == input_id(1)


class Failing(MemoryStore):
    """A store whose commits fail as told: with the error, before or after they happened."""

    error: StoreError | None = None
    happens = False

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Batch] = []

    def commit(self, batch: Batch) -> None:
        self.commits.append(batch)
        error, self.error = self.error, None
        if error is None or self.happens:
            super().commit(batch)
        if error is not None:
            raise error


@pytest.mark.parametrize(
    ("error", "happens"),
    [
        (StoreError("disk full"), False),
        (CommitUnknown("who knows"), False),
        (CommitUnknown("who knows"), True),
    ],
)
def test_rec_11_a_recovery_that_could_not_be_written_can_be_repeated(
    error: StoreError, *, happens: bool
) -> None:
    store = Failing()
    store.commit(batch(R1, row_of(prompt(1), InputPhase.STAGED), state=RuntimeState.RUNNING))
    driver = driver_over(store, recovered=False)
    store.error, store.happens = error, happens
    with pytest.raises(type(error)):
        driver.recover()
    assert driver.runtime_state() is RuntimeState.INITIALIZING
    report = driver.recover()
    assert report.inputs_recovered == 1
    assert report.inputs_requeued == (0 if happens else 1)
    assert driver.runtime_state() is RuntimeState.IDLE
    assert phases(store, 1) == [InputPhase.QUEUED]
    driver.start_run()


def test_rec_11_a_live_driver_is_as_it_was_after_a_recovery_that_failed() -> None:
    store = Failing()
    driver = driver_over(store)
    driver.accept_input(prompt(1, durability="ephemeral"))
    driver.accept_input(prompt(2))
    store.offer(R1, [row_of(prompt(3), InputPhase.ACCEPTED)])
    store.error = StoreError("disk full")
    with pytest.raises(StoreError):
        driver.recover()
    assert driver.active_input_ids() == [input_id(1), input_id(2)]
    assert driver.recover().inputs_requeued == 1
    assert driver.active_input_ids() == [input_id(number) for number in (1, 2, 3)]


@pytest.mark.parametrize("happens", [False, True])
def test_a_live_driver_believes_nothing_after_a_recovery_in_doubt(*, happens: bool) -> None:
    store = Failing()
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    store.offer(R1, [row_of(prompt(2), InputPhase.ACCEPTED)])
    store.error, store.happens = CommitUnknown("who knows"), happens
    with pytest.raises(CommitUnknown):
        driver.recover()
    driver.accept_input(prompt(3))
    sequences = [state.admission_sequence for state in store.load_active_inputs(R1)]
    assert sequences == [0, 1, 2]


def test_rec_14_a_stored_running_runtime_is_rewritten_with_its_inputs() -> None:
    store = Failing()
    store.commit(batch(R1, row_of(prompt(1), InputPhase.STAGED), state=RuntimeState.RUNNING))
    driver = driver_over(store)
    settling = store.commits[-1]
    assert len(store.commits) == 2
    assert settling.runtime.state is RuntimeState.IDLE
    assert [row.state.phase for row in settling.inputs] == [InputPhase.QUEUED]
    assert driver.runtime_state() is RuntimeState.IDLE


def test_rec_14_a_stored_running_runtime_is_rewritten_without_inputs_too(
    store: RuntimeStore,
) -> None:
    store.commit(batch(R1, state=RuntimeState.RUNNING))
    driver_over(store)
    row = store.load_runtime(R1)
    assert row is not None
    assert row.state is RuntimeState.IDLE


def test_led_05_a_stored_ephemeral_row_is_dropped(store: RuntimeStore) -> None:
    ephemeral = prompt(1, durability="ephemeral")
    store.commit(batch(R1, row_of(ephemeral), row_of(prompt(2), sequence=1)))
    driver = driver_over(store, recovered=False)
    assert driver.recover().inputs_recovered == 1
    assert driver.active_input_ids() == [input_id(2)]


def test_recovering_twice_gives_the_same_and_writes_once(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1), InputPhase.STAGED), row_of(prompt(2), sequence=1)))
    driver = driver_over(store)
    after, order = everything(store, R1), driver.active_input_ids()
    again = RecoveryReport(inputs_recovered=2)
    assert driver.recover() == again
    assert driver_over(store, recovered=False).recover() == again
    assert everything(store, R1) == after
    assert driver.active_input_ids() == order


def test_loading_what_is_sound_writes_nothing(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1))))
    before = everything(store, R1)
    driver = driver_over(store)
    assert everything(store, R1) == before  # not even the fence
    driver.accept_input(prompt(2))
    row = store.load_runtime(R1)
    assert row is not None
    assert row.fence == 2


def test_work_that_kept_killing_the_process_is_given_up(store: RuntimeStore) -> None:
    rows = [row_of(prompt(n), InputPhase.STAGED, n, attempt_count=n) for n in (9, 10)]
    store.commit(batch(R1, *rows))
    driver = driver_over(store, recovered=False)
    report = driver.recover()
    assert (report.inputs_recovered, report.inputs_requeued, report.inputs_abandoned) == (2, 1, 1)
    state = store.load_input(R1, input_id(10))
    assert state is not None
    outcome = state.terminal_outcome
    assert outcome.reason.cause is AbandonCause.MAX_ATTEMPTS_EXHAUSTED  # type: ignore[union-attr]
    assert outcome.reason.attempts == 10  # type: ignore[union-attr]
    assert len(report.details) == 2


def test_in_place_recovery_carries_ephemeral_inputs_over(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    driver.accept_input(prompt(2, "e", durability="ephemeral"))
    assert driver.recover().inputs_recovered == 2
    driver.accept_input(prompt(3))
    assert driver.active_input_ids() == [input_id(number) for number in (1, 2, 3)]
    order = [driver.input_state(input_id(n)) for n in (1, 2, 3)]
    assert [s.admission_sequence for s in order if s is not None] == [0, 1, 2]
    driver.reset()
    driver.recover()
    assert isinstance(driver.accept_input(prompt(4, "e")), Deduplicated)
    assert PersistentRuntimeDriver(R1, store, now=Clock()).input_state(input_id(2)) is None


def test_an_offered_operation_is_consumed_and_takes_no_place(store: RuntimeStore) -> None:
    store.commit(batch(R1))
    offered = OperationInput(OperationId(UUID(int=5)), {}, id=input_id(1))
    store.offer(R1, [row_of(offered, InputPhase.ACCEPTED)])
    driver = driver_over(store)
    driver.accept_input(prompt(2))
    assert phases(store, 1) == [InputPhase.CONSUMED]
    state = store.load_input(R1, input_id(2))
    assert state is not None
    assert state.admission_sequence == 0


def test_the_next_admission_sequence_is_above_every_stored_one(store: RuntimeStore) -> None:
    row = row_of(prompt(1), sequence=7)
    store.commit(batch(R1, InputRow(evolve(row.state), row.payload), next_admission_sequence=3))
    driver_over(store).accept_input(prompt(2))
    state = store.load_input(R1, input_id(2))
    assert state is not None
    assert state.admission_sequence == 8
