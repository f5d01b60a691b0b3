"""A boundary of the run in hand: what was steered into it, taken in while it goes on."""

from __future__ import annotations

import pytest
from builders import prompt

from meerkat import Accepted, EphemeralRuntimeDriver, InputId, InputPhase, RunId
from meerkat.errors import RunRefused
from meerkat.policy import RunBoundary


def steer(driver: EphemeralRuntimeDriver, text: str) -> InputId:
    outcome = driver.accept_input(prompt(text, turn_metadata={"handling_mode": "steer"}))
    assert isinstance(outcome, Accepted)
    return outcome.input_id


def running() -> tuple[EphemeralRuntimeDriver, RunId]:
    driver = EphemeralRuntimeDriver("agent-1")
    driver.accept_input(prompt("first"))
    driver.start_run()
    run_id = driver.current_run_id
    assert run_id is not None
    return driver, run_id


def test_nothing_steered_is_falsy_and_cannot_be_committed() -> None:
    driver, run_id = running()
    driver.accept_input(prompt("waits its turn"))
    boundary = driver.boundary(run_id)
    assert not boundary
    assert boundary.texts == []
    with pytest.raises(RunRefused, match="nothing to commit"):
        boundary.commit()


def test_what_was_steered_is_consumed_with_a_checkpoint_receipt() -> None:
    driver, run_id = running()
    steered = [steer(driver, text) for text in ("one", "two")]
    boundary = driver.boundary(run_id)
    assert boundary
    assert boundary.texts == ["one", "two"]
    receipt = boundary.commit(append=[{"role": "user", "content": "one, two"}])
    assert receipt.boundary is RunBoundary.RUN_CHECKPOINT
    assert (receipt.sequence, receipt.message_count) == (0, 1)
    assert list(receipt.contributing_input_ids) == steered
    assert {driver.input_phase(each) for each in steered} == {InputPhase.CONSUMED}
    assert driver.complete_run(run_id).sequence == 1


def test_a_boundary_is_committed_once() -> None:
    driver, run_id = running()
    steer(driver, "one")
    boundary = driver.boundary(run_id)
    boundary.commit()
    with pytest.raises(RunRefused, match="committed already"):
        boundary.commit()


def test_what_is_not_committed_stays_queued_and_uncounted() -> None:
    driver, run_id = running()
    input_id = steer(driver, "one")
    assert driver.boundary(run_id)
    driver.complete_run(run_id)
    state = driver.input_state(input_id)
    assert state is not None
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)


def test_there_is_no_boundary_outside_the_run_in_hand() -> None:
    driver, run_id = running()
    with pytest.raises(RunRefused):
        driver.boundary(RunId.new())
    driver.complete_run(run_id)
    with pytest.raises(RunRefused):
        driver.boundary(run_id)
