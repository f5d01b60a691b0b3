"""A commit in doubt is settled by the store; a driver that was fenced gives its runtime up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from attrs import evolve
from store_builders import Clock, driver_over

from meerkat import (
    Accepted,
    Deduplicated,
    InputPhase,
    PersistentRuntimeDriver,
    RunOutput,
    RuntimeState,
)
from meerkat.errors import CommitUnknown, Fenced, RunRefused, RuntimeDriverError, StoreError
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.store import Batch, InputRow, MemoryStore, RuntimeStore
from meerkat.testing.store_rows import R1, input_id, prompt


class Doubtful(MemoryStore):
    """A store whose next commit, when told, ends in doubt: done, or not done."""

    doubt: bool | None = None

    def commit(self, batch: Batch) -> None:
        doubt, self.doubt = self.doubt, None
        if doubt is not False:
            super().commit(batch)
        if doubt is not None:
            raise CommitUnknown("the disk went away")


@pytest.fixture(params=[True, False], ids=["done", "not done"])
def done(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def in_doubt(store: Doubtful, call: Callable[[], object], *, done: bool) -> None:
    store.doubt = done
    with pytest.raises(CommitUnknown):
        call()


def test_an_acceptance_in_doubt_is_found_or_made_when_it_is_repeated(*, done: bool) -> None:
    store = Doubtful()
    driver = driver_over(store)
    in_doubt(store, lambda: driver.accept_input(prompt(1, "k")), done=done)
    again = driver.accept_input(prompt(1, "k"))
    assert isinstance(again, Deduplicated if done else Accepted)
    assert driver.active_input_ids() == [input_id(1)]
    assert len(store.load_active_inputs(R1)) == 1


def test_a_run_whose_end_is_in_doubt_is_never_run_twice(*, done: bool) -> None:
    store = Doubtful()
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    driver.start_run()
    run_id = driver.current_run_id
    assert run_id is not None
    output = RunOutput(append=[{"n": 1}])
    in_doubt(store, lambda: driver.complete_run(run_id, output), done=done)
    with pytest.raises(RunRefused):
        driver.complete_run(run_id, output)
    assert driver.runtime_state() is RuntimeState.IDLE
    if done:
        assert driver.input_phase(input_id(1)) is InputPhase.CONSUMED
        assert driver.active_input_ids() == []
    else:
        assert driver.input_phase(input_id(1)) is InputPhase.QUEUED
        driver.start_run()
        again = driver.current_run_id
        assert again is not None
        driver.complete_run(again, output)
    snapshot = store.load_session_snapshot(R1)
    assert snapshot is not None
    assert snapshot.message_count == 1
    assert [receipt.sequence for receipt in store.page_receipts(R1).items] == [0]


def test_a_doubt_that_cannot_be_settled_yet_stays_one() -> None:
    store = Doubtful()
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    in_doubt(store, driver.start_run, done=True)
    keep, store.load_runtime = store.load_runtime, unreadable  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(StoreError, match="unreadable"):
            driver.runtime_state()
    store.load_runtime = keep  # type: ignore[method-assign]
    in_doubt(store, driver.runtime_state, done=False)  # settling is a commit, in doubt itself
    assert driver.runtime_state() is RuntimeState.IDLE
    assert driver.input_phase(input_id(1)) is InputPhase.QUEUED
    assert driver.start_run().contributing_input_ids == (input_id(1),)


def unreadable(_runtime_id: object) -> None:
    raise StoreError("unreadable")


def test_ephemeral_inputs_are_lost_with_a_memory_in_doubt(*, done: bool) -> None:
    """The commit may have used them up: they must not run again."""
    store = Doubtful()
    driver = driver_over(store)
    driver.accept_input(prompt(1, durability="ephemeral"))
    driver.start_run()
    run_id = driver.current_run_id
    assert run_id is not None
    in_doubt(store, lambda: driver.complete_run(run_id), done=done)
    assert driver.active_input_ids() == []


def test_a_destroy_in_doubt_is_settled(*, done: bool) -> None:
    store = Doubtful()
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    in_doubt(store, driver.destroy, done=done)
    wanted = RuntimeState.DESTROYED if done else RuntimeState.IDLE
    assert driver.runtime_state() is wanted
    assert driver.active_input_ids() == ([] if done else [input_id(1)])


def test_a_first_commit_in_doubt_is_settled(*, done: bool) -> None:
    store = Doubtful()
    driver = driver_over(store)
    in_doubt(store, lambda: driver.accept_input(prompt(1)), done=done)
    assert driver.active_input_ids() == ([input_id(1)] if done else [])
    driver.accept_input(prompt(2))
    row = store.load_runtime(R1)
    assert row is not None
    assert row.fence == (2 if done else 1)


# --- fences -----------------------------------------------------------------------------


def test_a_fenced_driver_gives_its_runtime_up(store: RuntimeStore) -> None:
    old = driver_over(store)
    old.accept_input(prompt(1))
    new = driver_over(store)
    new.accept_input(prompt(2))
    for _ in range(2):
        with pytest.raises(Fenced) as caught:
            old.accept_input(prompt(3))
        assert caught.value.runtime_id == R1
    for call in (old.runtime_state, old.active_input_ids, old.start_run, old.reset):
        with pytest.raises(Fenced):
            call()
    new.accept_input(prompt(4))  # and the new one was never disturbed
    assert [s.input_id for s in store.load_active_inputs(R1)] == [input_id(n) for n in (1, 2, 4)]


def test_a_fenced_driver_may_take_its_runtime_back(store: RuntimeStore) -> None:
    old = driver_over(store)
    old.accept_input(prompt(1))
    new = driver_over(store)
    new.start_run()
    with pytest.raises(Fenced):
        old.start_run()
    report = old.recover()
    assert report.inputs_requeued == 1
    run_id = new.current_run_id
    assert run_id is not None
    with pytest.raises(Fenced):
        new.complete_run(run_id)
    assert old.start_run().contributing_input_ids == (input_id(1),)
    assert store.page_receipts(R1).items == ()


def test_two_drivers_that_load_together_cannot_both_claim(store: RuntimeStore) -> None:
    driver_over(store).accept_input(prompt(1))
    one, two = driver_over(store), driver_over(store)
    one.accept_input(prompt(2))
    with pytest.raises(Fenced):
        two.start_run()
    one.start_run()


def test_two_drivers_of_a_new_runtime_cannot_both_claim(store: RuntimeStore) -> None:
    one, two = driver_over(store), driver_over(store)
    one.accept_input(prompt(1))
    with pytest.raises(Fenced):
        two.accept_input(prompt(2))
    two.recover()
    assert two.active_input_ids() == [input_id(1)]


def test_event_numbers_go_on_above_those_of_every_earlier_load(store: RuntimeStore) -> None:
    first = driver_over(store)
    first.accept_input(prompt(1))
    second = driver_over(store)
    second.accept_input(prompt(2))
    with pytest.raises(Fenced):
        first.accept_input(prompt(3))
    first.recover()
    first.accept_input(prompt(3))
    numbers = [envelope.sequence for envelope in first.drain_events()]
    others = [envelope.sequence for envelope in second.drain_events()]
    assert numbers == sorted(set(numbers))
    assert numbers[1] < others[0] <= others[-1] < numbers[-1]


def test_events_nobody_drains_are_bounded() -> None:
    rules = Rules(limits=Limits(events_per_runtime_max=4))
    driver = PersistentRuntimeDriver(R1, MemoryStore(), rules=rules, now=Clock())
    for number in range(5):
        driver.accept_input(prompt(number))
    assert [envelope.sequence for envelope in driver.drain_events()] == [7, 8, 9, 10]
    assert driver.drain_events() == []


class Interrupting:
    """A store that is interrupted once, right after its first commit of an input."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store
        self._done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, batch: Batch) -> None:
        self._store.commit(batch)
        if batch.inputs and not self._done:
            self._done = True
            raise KeyboardInterrupt


def complete(driver: PersistentRuntimeDriver) -> None:
    driver.start_run()
    run_id = driver.current_run_id
    assert run_id is not None
    driver.complete_run(run_id)


def test_a_driver_that_missed_a_commit_cannot_write(store: RuntimeStore) -> None:
    """Loaded before another writer's commit under the same claim: refused, not believed."""
    first = driver_over(store)
    first.accept_input(prompt(1))
    second = driver_over(store)  # has read input 1 as queued, and has written nothing
    complete(first)
    with pytest.raises(Fenced):
        second.start_run()
    second.recover()
    assert second.active_input_ids() == []
    with pytest.raises(RuntimeDriverError):
        second.start_run()


def test_an_interrupted_commit_leaves_a_doubt(store: RuntimeStore) -> None:
    """Whatever comes out of the store but a refusal: the store is asked what is true."""
    driver = driver_over(cast("RuntimeStore", Interrupting(store)))
    with pytest.raises(KeyboardInterrupt):
        driver.accept_input(prompt(1, "k"))
    assert isinstance(driver.accept_input(prompt(2, "k")), Deduplicated)
    assert driver.start_run().contributing_input_ids == (input_id(1),)


def test_what_has_ended_stays_as_it_ended(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    queued = driver.input_state(input_id(1))
    assert queued is not None
    complete(driver)
    ended = store.load_input(R1, input_id(1))
    row = store.load_runtime(R1)
    assert row is not None
    with pytest.raises(StoreError, match="has ended already"):
        store.commit(
            Batch(
                runtime=evolve(row, fence=row.fence + 1),
                expected_fence=row.fence,
                inputs=(InputRow(queued),),
            )
        )
    assert store.load_input(R1, input_id(1)) == ended
