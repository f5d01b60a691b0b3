"""A persistent runtime's states: initializing, destroyed for ever, and its epoch."""

from __future__ import annotations

import pytest
from store_builders import Clock, driver_over

from meerkat import Accepted, LogicalRuntimeId, PersistentRuntimeDriver, RunId, RuntimeState
from meerkat.errors import RuntimeDestroyed, RuntimeNotReady
from meerkat.store import RuntimeStore
from meerkat.testing.store_rows import R1, input_id, prompt


def test_a_known_runtime_is_initializing_until_it_is_recovered(store: RuntimeStore) -> None:
    driver_over(store).accept_input(prompt(1))
    driver = driver_over(store, recovered=False)
    assert driver.runtime_state() is RuntimeState.INITIALIZING
    with pytest.raises(RuntimeNotReady, match="initializing"):
        driver.accept_input(prompt(2))
    with pytest.raises(RuntimeNotReady, match="initializing"):
        driver.set_silent_intents(frozenset({"x"}))
    for refused in (driver.retire, driver.recycle, driver.stop):
        with pytest.raises(RuntimeNotReady, match="initializing"):
            refused()
    driver.recover()
    assert driver.runtime_state() is RuntimeState.IDLE
    assert driver.active_input_ids() == [input_id(1)]


@pytest.mark.parametrize("give_up", ["reset", "destroy"])
def test_an_initializing_runtime_can_be_given_up_whole(store: RuntimeStore, give_up: str) -> None:
    first = driver_over(store)
    first.set_silent_intents(frozenset({"x"}))
    first.accept_input(prompt(1))
    before = store.load_runtime(R1)
    assert before is not None
    report = getattr(driver_over(store, recovered=False), give_up)()
    assert report.inputs_abandoned == 1
    after = store.load_runtime(R1)
    assert after is not None
    assert (after.session_id, after.registered) == (before.session_id, True)
    assert (after.next_admission_sequence, after.silent_intents) == (1, frozenset())
    assert (after.epoch_id != before.epoch_id) is (give_up == "reset")
    assert store.load_active_inputs(R1) == []


def test_a_destroyed_runtime_answers_destroyed_for_ever(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    driver.destroy()
    for each in (driver, PersistentRuntimeDriver(R1, store, now=Clock())):
        assert each.runtime_state() is RuntimeState.DESTROYED
        for refused in (each.recover, each.destroy, each.reset):
            with pytest.raises(RuntimeDestroyed):
                refused()
        with pytest.raises(RuntimeDestroyed):
            each.accept_input(prompt(2))
        assert each.runtime_state() is RuntimeState.DESTROYED


def test_epo_08_the_stored_epoch_and_session_are_used_again(store: RuntimeStore) -> None:
    driver_over(store).accept_input(prompt(1))
    first = store.load_runtime(R1)
    assert first is not None
    assert first.epoch_id is not None
    again = driver_over(store)
    again.recycle()
    again.accept_input(prompt(2))
    second = store.load_runtime(R1)
    assert second is not None
    assert (second.epoch_id, second.session_id) == (first.epoch_id, first.session_id)
    again.reset()
    third = store.load_runtime(R1)
    assert third is not None
    assert third.epoch_id != first.epoch_id
    assert third.session_id == first.session_id
    driver_over(store).accept_input(prompt(3))
    fourth = store.load_runtime(R1)
    assert fourth is not None
    assert fourth.epoch_id == third.epoch_id


def test_drivers_of_two_runtimes_share_a_store(store: RuntimeStore) -> None:
    one, two = driver_over(store), PersistentRuntimeDriver(LogicalRuntimeId("b"), store)
    one.accept_input(prompt(1, "k"))
    assert isinstance(two.accept_input(prompt(1, "k")), Accepted)
    one.destroy()
    assert two.runtime_state() is RuntimeState.IDLE
    assert two.start_run(RunId.new()).text == "prompt 1"
