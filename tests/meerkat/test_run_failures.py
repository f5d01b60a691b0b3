"""Runs that do not succeed: failed, given up, cancelled, requeued, or late."""

from __future__ import annotations

import pytest
from builders import (
    Runtime,
    codes_of,
    effects_of,
    message,
    prompt,
)

from meerkat import InputPhase, RuntimeState, kernel
from meerkat.errors import RunRefused, RuntimeNotReady
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, AbandonReason
from meerkat.kernel.memory import Rules
from meerkat.limits import Backoff, Limits
from meerkat.policy import Lane

P = InputPhase


# --- failure ----------------------------------------------------------------------------


def test_rts_05_a_failed_and_a_cancelled_run_return() -> None:
    for end in ("fail", "cancel"):
        runtime = Runtime()
        runtime.admit(prompt())
        run = runtime.stage()
        if end == "fail":
            runtime.fail(run)
        else:
            runtime.do(kernel.CancelRun(run))
        assert runtime.memory.head.phase.state is RuntimeState.ATTACHED


def test_a_failed_batch_goes_back_to_the_head_of_its_lane(runtime: Runtime) -> None:
    failed = runtime.admit(message(), message())
    run = runtime.stage()
    later = runtime.admit(message())
    done = runtime.fail(run)
    assert runtime.lane(Lane.QUEUE) == [*failed, *later]
    state = runtime.state(failed[0])
    assert (state.phase, state.last_run_id, state.attempt_count) == (P.QUEUED, None, 1)
    assert state.last_error == "boom"
    assert codes_of(done) == [
        "input.queued",
        "input.queued",
        "run.failed",
        "runtime.state_changed",
    ]


def test_the_failed_lane_waits_and_the_other_goes_on(runtime: Runtime) -> None:
    (failed,) = runtime.admit(prompt())
    done = runtime.fail(runtime.stage())
    (retry,) = effects_of(done, kernel.RetryLane)
    assert retry.lane is Lane.QUEUE
    behind, steered_in = runtime.admit(prompt(), message(handling_mode="steer"))
    run = runtime.stage()
    assert runtime.contributors == [steered_in]
    runtime.complete(run)
    assert not runtime.memory.runnable
    with pytest.raises(RunRefused, match="nothing waits"):
        runtime.stage()
    runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    assert runtime.memory.runnable
    runtime.stage()
    assert runtime.contributors == [failed]
    assert runtime.lane(Lane.QUEUE) == [behind]


def test_a_failed_steer_lane_lets_the_queue_lane_go_on(runtime: Runtime) -> None:
    runtime.admit(message(handling_mode="steer"))
    runtime.fail(runtime.stage())
    (queued,) = runtime.admit(prompt())
    runtime.stage()
    assert runtime.contributors == [queued]


@pytest.mark.parametrize(
    ("attempt", "ceiling"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (8, 12.8), (9, 25.6), (10, 30.0), (11, 30.0), (10_000, 30.0)],
)
def test_backoff_doubles_to_its_cap_and_is_jittered(attempt: int, ceiling: float) -> None:
    backoff = Backoff()
    assert backoff.delay_s(attempt, 0.0) == pytest.approx(ceiling / 2)
    assert backoff.delay_s(attempt, 0.5) == pytest.approx(ceiling * 0.75)
    assert ceiling * 0.99 < backoff.delay_s(attempt, 0.999) < ceiling


def test_a_retry_waits_by_the_attempts_it_has_had() -> None:
    runtime = Runtime(Rules(backoff=Backoff(base_s=1.0, cap_s=3.0), limits=Limits(max_attempts=9)))
    runtime.admit(prompt())
    delays = []
    for _ in range(4):
        done = runtime.fail(runtime.stage(), jitter=0.5)
        delays += [effect.delay_s for effect in effects_of(done, kernel.RetryLane)]
        runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    assert delays == [0.75, 1.5, 2.25, 2.25]


@pytest.mark.parametrize("control", [kernel.Recover(None), kernel.Recycle()])
def test_recover_and_recycle_make_it_due_at_once(runtime: Runtime, control: kernel.Command) -> None:
    runtime.admit(prompt())
    runtime.fail(runtime.stage())
    assert not runtime.memory.runnable
    runtime.do(control)
    assert runtime.memory.runnable


@pytest.mark.parametrize("max_attempts", [1, 3, 5])
def test_an_input_that_only_fails_is_tried_max_attempts_times(max_attempts: int) -> None:
    runtime = Runtime(Rules(limits=Limits(max_attempts=max_attempts)))
    (failing,) = runtime.admit(prompt())
    for tried in range(1, max_attempts + 1):
        done = runtime.fail(runtime.stage())
        runtime.do(kernel.ReleaseLane(Lane.QUEUE))
        assert runtime.phase(failing) is (P.ABANDONED if tried == max_attempts else P.QUEUED)
    assert effects_of(done, kernel.RetryLane) == []
    assert "input.abandoned" in codes_of(done)
    exhausted = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, max_attempts)
    assert runtime.state(failing).terminal_outcome == AbandonedOutcome(exhausted)
    assert runtime.state(failing).last_error == "boom"


def test_an_exhausted_head_lets_the_one_behind_it_run(runtime: Runtime) -> None:
    head, behind = runtime.admit(prompt(), prompt())
    for _ in range(3):
        runtime.fail(runtime.stage())
        runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    runtime.complete(runtime.stage())
    assert (runtime.phase(head), runtime.phase(behind)) == (P.ABANDONED, P.CONSUMED)


def test_a_mixed_batch_gives_up_the_exhausted_and_retries_the_rest(runtime: Runtime) -> None:
    (old,) = runtime.admit(message())
    for _ in range(2):
        runtime.fail(runtime.stage())
        runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    (young,) = runtime.admit(message())
    runtime.stage()
    assert runtime.contributors == [old, young]
    assert runtime.memory.head.run is not None
    done = runtime.fail(runtime.memory.head.run.run_id, jitter=0.0)
    assert (runtime.phase(old), runtime.phase(young)) == (P.ABANDONED, P.QUEUED)
    assert [effect.delay_s for effect in effects_of(done, kernel.RetryLane)] == [0.05]


def test_an_unrecoverable_failure_abandons_at_once(runtime: Runtime) -> None:
    (failing,) = runtime.admit(prompt())
    done = runtime.fail(runtime.stage(), recoverable=False)
    exhausted = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, 1)
    assert runtime.state(failing).terminal_outcome == AbandonedOutcome(exhausted)
    assert effects_of(done, kernel.RetryLane) == []
    assert runtime.memory.head.held == frozenset()


def test_an_error_text_with_lone_surrogates_can_be_stored(runtime: Runtime) -> None:
    (failing,) = runtime.admit(prompt())
    runtime.do(kernel.FailRun(runtime.stage(), "bad \udcff name", recoverable=True, jitter=0.0))
    assert runtime.state(failing).last_error == "bad \\udcff name"


# --- cancelled, requeued, and late ------------------------------------------------------


def test_cancelled_contributors_are_abandoned(runtime: Runtime) -> None:
    ids = runtime.admit(message(), message())
    behind = runtime.admit(prompt())
    done = runtime.do(kernel.CancelRun(runtime.stage()))
    for each in ids:
        outcome = runtime.state(each).terminal_outcome
        assert outcome == AbandonedOutcome(AbandonReason(AbandonCause.CANCELLED))
    assert "run.cancelled" in codes_of(done)
    assert runtime.lane(Lane.QUEUE) == behind
    assert runtime.memory.runnable


def test_a_requeue_is_uncounted_and_detaches(runtime: Runtime) -> None:
    (stopped,) = runtime.admit(prompt())
    run = runtime.stage()
    done = runtime.do(kernel.RequeueRun(run))
    state = runtime.state(stopped)
    assert (state.phase, state.attempt_count, state.last_run_id) == (P.QUEUED, 0, None)
    head = runtime.memory.head
    assert (head.phase.state, head.executor_attached, head.held) == (
        RuntimeState.IDLE,
        False,
        frozenset(),
    )
    assert not runtime.memory.runnable
    changes = [e.event for e in effects_of(done, kernel.Emit) if hasattr(e.event, "to_state")]
    assert [(c.from_state.value, c.to_state.value) for c in changes] == [
        ("running", "attached"),
        ("attached", "idle"),
    ]
    runtime.do(kernel.AttachExecutor())
    runtime.stage()
    assert runtime.state(stopped).attempt_count == 1


def test_a_late_result_is_refused(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    runtime.complete(run)
    with pytest.raises(RunRefused):
        runtime.complete(run)
    with pytest.raises(RunRefused):
        runtime.fail(run)


def test_recovery_waits_for_the_run_in_hand(runtime: Runtime) -> None:
    runtime.admit(prompt())
    runtime.stage()
    with pytest.raises(RuntimeNotReady) as refused:
        runtime.do(kernel.Recover(None))
    assert refused.value.state is RuntimeState.RUNNING


@pytest.mark.parametrize("end", ["failed", "requeued", "postponed"])
def test_what_comes_back_alone_is_run_again_without_being_woken(runtime: Runtime, end: str) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    if end == "failed":
        runtime.fail(run)
    elif end == "requeued":
        runtime.do(kernel.RequeueRun(run))
    else:
        runtime.do(kernel.PostponeRun(run, "no disk", 1.0))
    runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    if end == "requeued":
        runtime.do(kernel.AttachExecutor())
    assert runtime.memory.runnable
