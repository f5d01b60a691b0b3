"""Pausing, as the kernel and a driver alone have it: no run begins, and nothing else changes."""

from __future__ import annotations

import pytest
from attrs import evolve
from builders import Runtime, prompt

from meerkat import (
    EphemeralRuntimeDriver,
    PersistentRuntimeDriver,
    RunId,
    RuntimeState,
    kernel,
)
from meerkat.errors import RunRefused, RuntimeDestroyed, RuntimeNotReady
from meerkat.store import MemoryStore


@pytest.mark.parametrize("paused", [True, False])
def test_it_changes_the_pause_and_nothing_else(runtime: Runtime, paused: bool) -> None:
    runtime.admit(prompt())
    runtime.do(kernel.SetPaused(paused=not paused))
    before = runtime.memory.head
    done = runtime.do(kernel.SetPaused(paused=paused))
    assert done == kernel.Transition(head=evolve(before, paused=paused))
    assert runtime.memory.runnable is not paused


def test_a_run_that_is_asked_for_all_the_same_is_refused(driver: EphemeralRuntimeDriver) -> None:
    driver.attach_executor()
    driver.accept_input(prompt())
    driver.pause()
    with pytest.raises(RunRefused, match="refused: the runtime is paused"):
        driver.start_run(RunId.new())
    driver.resume()
    assert driver.start_run(RunId.new()).text == prompt().content


def test_a_destroyed_runtime_has_no_pause(driver: EphemeralRuntimeDriver) -> None:
    driver.destroy()
    for call in (driver.pause, driver.resume):
        with pytest.raises(RuntimeDestroyed):
            call()


def test_it_is_read_back_and_not_before_the_recovery() -> None:
    store = MemoryStore()
    PersistentRuntimeDriver("a", store).pause()
    again = PersistentRuntimeDriver("a", store)
    with pytest.raises(RuntimeNotReady) as refused:
        again.resume()
    assert refused.value.state is RuntimeState.INITIALIZING
    again.recover()
    again.attach_executor()
    again.accept_input(prompt())
    with pytest.raises(RunRefused):
        again.start_run(RunId.new())
