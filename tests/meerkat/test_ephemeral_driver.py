"""The driver in memory, used alone: one input's way through it, and its states."""

from __future__ import annotations

import pytest
from builders import Clock, message, operation, progress, prompt, terminal, uuid_of

from meerkat import (
    EphemeralRuntimeDriver,
    InputId,
    InputPhase,
    RunId,
    RunOutput,
    RuntimeDriver,
    RuntimeState,
    StoredInputState,
)
from meerkat.errors import RunRefused, RuntimeDestroyed, RuntimeNotReady
from meerkat.policy import Lane, Signal
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    ResetReport,
    RetireReport,
    StopReport,
)

RUN = RunId(uuid_of(7))


def test_eph_01_staging_empties_the_lane(driver: EphemeralRuntimeDriver) -> None:
    offered = prompt()
    driver.accept_input(offered)
    primitive = driver.start_run(RUN)
    assert primitive.contributing_input_ids == (offered.id,)
    assert driver.waiting_input_ids(Lane.QUEUE) == []
    assert driver.input_phase(offered.id) is InputPhase.STAGED
    assert driver.input_last_run_id(offered.id) == RUN
    assert driver.current_run_id == RUN
    assert driver.runtime_state() is RuntimeState.RUNNING


@pytest.mark.parametrize("attached", [False, True])
def test_eph_02_completing_consumes_and_returns(
    driver: EphemeralRuntimeDriver, attached: bool
) -> None:
    if attached:
        driver.attach_executor()
    before = driver.runtime_state()
    offered = prompt()
    driver.accept_input(offered)
    driver.start_run(RUN)
    receipt = driver.complete_run(RUN, RunOutput(result={"answer": 42}))
    state = driver.input_state(offered.id)
    assert state is not None
    assert (state.phase, state.last_run_id, state.last_boundary_sequence) == (
        InputPhase.CONSUMED,
        RUN,
        0,
    )
    assert state.result == {"answer": 42}
    assert (receipt.run_id, receipt.sequence) == (RUN, 0)
    assert driver.runtime_state() is before
    assert driver.active_input_ids() == []
    assert driver.current_run_id is None


def test_eph_04_retired_without_an_executor_gives_up(driver: EphemeralRuntimeDriver) -> None:
    offered = [prompt(), prompt()]
    for each in offered:
        driver.accept_input(each)
    assert driver.retire() == RetireReport(inputs_abandoned=2, inputs_pending_drain=0)
    assert driver.runtime_state() is RuntimeState.RETIRED
    assert driver.active_input_ids() == []
    assert [driver.input_phase(each.id) for each in offered] == [InputPhase.ABANDONED] * 2


def test_eph_05_retired_with_an_executor_drains(driver: EphemeralRuntimeDriver) -> None:
    driver.attach_executor()
    offered = prompt()
    driver.accept_input(offered)
    assert driver.retire() == RetireReport(inputs_abandoned=0, inputs_pending_drain=1)
    assert driver.runtime_state() is RuntimeState.RETIRED
    driver.start_run(RUN)
    assert driver.runtime_state() is RuntimeState.RUNNING
    driver.complete_run(RUN)
    assert driver.runtime_state() is RuntimeState.RETIRED
    assert driver.input_phase(offered.id) is InputPhase.CONSUMED
    assert driver.waiting_input_ids(Lane.QUEUE) == []


def test_eph_07_a_running_runtime_is_not_reset(driver: EphemeralRuntimeDriver) -> None:
    driver.accept_input(prompt())
    driver.start_run(RUN)
    with pytest.raises(RuntimeNotReady) as refused:
        driver.reset()
    assert refused.value.state is RuntimeState.RUNNING
    assert driver.runtime_state() is RuntimeState.RUNNING
    assert driver.current_run_id == RUN


def test_eph_08_a_retired_runtime_is_reset_or_destroyed() -> None:
    reset, destroyed = EphemeralRuntimeDriver("a"), EphemeralRuntimeDriver("b")
    reset.retire()
    assert reset.reset() == ResetReport(inputs_abandoned=0)
    assert reset.runtime_state() is RuntimeState.IDLE
    assert reset.accept_input(prompt()).is_accepted
    destroyed.retire()
    assert destroyed.destroy() == DestroyReport(inputs_abandoned=0)
    assert destroyed.runtime_state() is RuntimeState.DESTROYED


def test_eph_10_progress_waits_and_a_terminal_response_wakes(
    driver: EphemeralRuntimeDriver,
) -> None:
    waiting = progress()
    driver.accept_input(waiting)
    assert driver.waiting_input_ids(Lane.STEER) == [waiting.id]
    assert driver.take_signal() is Signal.NONE
    driver.accept_input(terminal())
    assert driver.take_signal() is Signal.WAKE_LOOP


# --- what it answers --------------------------------------------------------------------


def test_it_is_a_runtime_driver_and_starts_idle(driver: EphemeralRuntimeDriver) -> None:
    assert isinstance(driver, RuntimeDriver)
    assert driver.runtime_state() is RuntimeState.IDLE
    assert driver.active_input_ids() == []
    assert driver.drain_events() == []


def test_an_unknown_input_is_none(driver: EphemeralRuntimeDriver) -> None:
    unknown = InputId(uuid_of(1))
    assert driver.input_state(unknown) is None
    assert driver.input_phase(unknown) is None
    assert driver.input_last_run_id(unknown) is None
    assert driver.input_last_boundary_sequence(unknown) is None
    assert driver.stored_input_state(unknown) is None


def test_the_stored_form_is_the_state(driver: EphemeralRuntimeDriver) -> None:
    offered = prompt()
    driver.accept_input(offered)
    state = driver.input_state(offered.id)
    assert state is not None
    assert driver.stored_input_state(offered.id) == StoredInputState(state=state)


def test_a_report_of_nothing_is_zero(driver: EphemeralRuntimeDriver) -> None:
    assert driver.recover() == RecoveryReport()
    assert driver.recycle() == RecycleReport(inputs_transferred=0)
    assert driver.stop() == StopReport(inputs_abandoned=0)
    assert driver.stop() == StopReport(inputs_abandoned=0)


def test_every_step_after_destroy_says_destroyed(driver: EphemeralRuntimeDriver) -> None:
    driver.destroy()
    for call in (
        driver.destroy,
        driver.stop,
        driver.retire,
        driver.reset,
        driver.recycle,
        driver.recover,
        driver.attach_executor,
        driver.detach_executor,
        lambda: driver.set_silent_intents(frozenset({"x"})),
        lambda: driver.accept_input(prompt()),
    ):
        with pytest.raises(RuntimeDestroyed):
            call()
    assert driver.runtime_state() is RuntimeState.DESTROYED


def test_another_run_cannot_end_this_one(driver: EphemeralRuntimeDriver) -> None:
    driver.accept_input(prompt())
    driver.start_run(RUN)
    other = RunId(uuid_of(8))
    for call in (
        lambda: driver.complete_run(other),
        lambda: driver.fail_run(other, "boom"),
        lambda: driver.fail_run_for_good(other, "boom"),
        lambda: driver.cancel_run(other),
        lambda: driver.commit_boundary(other, (InputId(uuid_of(1)),)),
    ):
        with pytest.raises(RunRefused, match="is not the run in hand"):
            call()
    assert driver.current_run_id == RUN
    assert driver.runtime_state() is RuntimeState.RUNNING


def test_failed_work_is_due_at_once_and_given_up_after_three(
    driver: EphemeralRuntimeDriver,
) -> None:
    offered = prompt()
    driver.accept_input(offered)
    for attempt in (1, 2, 3):
        run = RunId(uuid_of(10 + attempt))
        driver.start_run(run)
        driver.fail_run(run, f"boom {attempt}")
        state = driver.input_state(offered.id)
        assert state is not None
        assert (state.attempt_count, state.last_error) == (attempt, f"boom {attempt}")
    assert state.phase is InputPhase.ABANDONED
    assert driver.active_input_ids() == []


def test_a_rebuilt_driver_knows_nothing(driver: EphemeralRuntimeDriver) -> None:
    offered = message()
    driver.accept_input(offered)
    assert EphemeralRuntimeDriver("agent-1", now=Clock()).input_state(offered.id) is None


def test_consumed_on_accept_is_never_active(driver: EphemeralRuntimeDriver) -> None:
    offered = operation()
    driver.accept_input(offered)
    assert driver.active_input_ids() == []
    assert driver.input_phase(offered.id) is InputPhase.CONSUMED
