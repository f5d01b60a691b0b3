"""Lanes and signals: what is taken up first, who is woken, and what is taken once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from builders import Runtime, effects_of, message, progress, prompt, terminal

from meerkat import EphemeralRuntimeDriver, RunId, kernel, to_json
from meerkat.errors import RunRefused, RuntimeDriverError
from meerkat.outcomes import Deduplicated
from meerkat.policy import Lane, Signal


def test_que_01_first_in_first_out(runtime: Runtime) -> None:
    ids = runtime.admit(prompt("1"), prompt("2"), prompt("3"))
    assert runtime.lane(Lane.QUEUE) == ids
    taken = []
    for _ in range(3):
        run = runtime.stage()
        taken += runtime.contributors
        runtime.complete(run)
    assert taken == ids
    assert runtime.lane(Lane.QUEUE) == []
    with pytest.raises(RunRefused, match="nothing waits"):
        runtime.stage()


def test_que_03_lanes_and_their_signals(runtime: Runtime) -> None:
    queued, steered = message(handling_mode="queue"), message(handling_mode="steer")
    first = runtime.do(kernel.AcceptInput(queued, to_json(queued)))
    second = runtime.do(kernel.AcceptInput(steered, to_json(steered)))
    assert runtime.lane(Lane.QUEUE) == [queued.id]
    assert runtime.lane(Lane.STEER) == [steered.id]
    assert effects_of(first, kernel.Signalled) == [kernel.Signalled(Signal.WAKE_LOOP)]
    (signalled,) = effects_of(second, kernel.Signalled)
    assert signalled.signal is Signal.REQUEST_IMMEDIATE_PROCESSING
    assert (signalled.signal.should_wake, signalled.signal.should_process_now) == (True, True)


def test_que_04_the_steer_lane_comes_first(runtime: Runtime) -> None:
    _, steered = runtime.admit(prompt(), message(handling_mode="steer"))
    runtime.stage()
    assert runtime.contributors == [steered]


def test_que_06_one_run_at_a_time(runtime: Runtime) -> None:
    first, second, steered = runtime.admit(prompt(), prompt(), progress())
    runtime.do(kernel.Wake())
    run = runtime.stage()
    assert runtime.contributors == [steered]
    with pytest.raises(RunRefused, match=f"run {run} is in hand"):
        runtime.stage()
    assert runtime.lane(Lane.QUEUE) == [first, second]
    assert runtime.memory.head.run is not None
    assert runtime.memory.head.run.run_id == run


def test_que_07_an_id_is_admitted_once(runtime: Runtime) -> None:
    offered = prompt()
    runtime.admit(offered)
    before = runtime.state(offered.id)
    assert isinstance(runtime.offer(offered), Deduplicated)
    assert runtime.lane(Lane.QUEUE) == [offered.id]
    assert runtime.state(offered.id) is before
    assert runtime.memory.head.next_admission_sequence == 1


def test_que_09_a_signal_is_taken_once(driver: EphemeralRuntimeDriver) -> None:
    driver.accept_input(message(handling_mode="steer"))
    taken = driver.take_signal()
    assert (taken.should_wake, taken.should_process_now) == (True, True)
    again = driver.take_signal()
    assert (again.should_wake, again.should_process_now) == (False, False)


def test_que_10_signals_are_ordered_and_accumulate() -> None:
    ordered = [
        Signal.NONE,
        Signal.WAKE_LOOP,
        Signal.INTERRUPT_YIELDING,
        Signal.REQUEST_IMMEDIATE_PROCESSING,
    ]
    assert sorted(Signal) == ordered
    assert all(weak < strong for weak, strong in pairwise(ordered))
    assert [signal.should_wake for signal in ordered] == [False, True, True, True]
    assert [signal.should_interrupt for signal in ordered] == [False, False, True, True]
    assert [signal.should_process_now for signal in ordered] == [False, False, False, True]


def test_que_10_a_driver_keeps_the_strongest(driver: EphemeralRuntimeDriver) -> None:
    for offered in (prompt(), message(handling_mode="steer"), terminal(), progress()):
        driver.accept_input(offered)
    assert driver.take_signal() is Signal.REQUEST_IMMEDIATE_PROCESSING
    driver.start_run()
    driver.accept_input(prompt())
    assert driver.take_signal() is Signal.NONE
    driver.accept_input(message())
    driver.accept_input(terminal())
    assert driver.take_signal() is Signal.INTERRUPT_YIELDING


# --- who is woken -----------------------------------------------------------------------


def test_progress_alone_wakes_nobody_until_it_is_woken(runtime: Runtime) -> None:
    runtime.admit(progress())
    assert not runtime.memory.runnable
    runtime.do(kernel.Wake())
    assert runtime.memory.runnable


def test_progress_goes_with_whatever_wakes_the_runtime(runtime: Runtime) -> None:
    waiting, woke = runtime.admit(progress(), prompt())
    assert runtime.memory.runnable
    run = runtime.stage()
    assert runtime.contributors == [waiting]
    runtime.complete(run)
    assert runtime.memory.runnable
    runtime.stage()
    assert runtime.contributors == [woke]


def test_without_an_executor_nothing_runs() -> None:
    runtime = Runtime(attached=False)
    runtime.admit(prompt())
    assert not runtime.memory.runnable
    runtime.do(kernel.AttachExecutor())
    assert runtime.memory.runnable


def test_a_run_of_nothing_changes_nothing(runtime: Runtime) -> None:
    before = runtime.memory.head
    with pytest.raises(RuntimeDriverError):
        runtime.do(kernel.StageRun(RunId.new()))
    assert runtime.memory.head is before
