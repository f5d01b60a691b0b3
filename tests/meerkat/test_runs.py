"""Runs: how one starts, what its boundaries commit, and the ways it ends."""

from __future__ import annotations

import pytest
from builders import (
    Runtime,
    codes_of,
    continuation,
    effects_of,
    event,
    message,
    progress,
    prompt,
    step,
    uuid_of,
)

from meerkat import InputId, InputPhase, RunId, RunOutput, RuntimeState, kernel
from meerkat.errors import RunRefused, RuntimeNotReady
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, AbandonReason
from meerkat.kernel.memory import Rules
from meerkat.kernel.run_steps import steered
from meerkat.limits import Backoff, Limits
from meerkat.policy import Lane, RunBoundary

P = InputPhase


def commit(runtime: Runtime, run: RunId, *ids: InputId) -> kernel.Transition:
    plan = runtime.session.plan(RunOutput())
    return runtime.do(kernel.CommitBoundary(run, ids, plan))


# --- starting ---------------------------------------------------------------------------


def test_a_start_is_one_commit_told_in_order(runtime: Runtime) -> None:
    first, second = runtime.admit(message(), message())
    run = RunId(uuid_of(5))
    done = runtime.do(kernel.StageRun(run))
    assert codes_of(done) == [
        "runtime.state_changed",
        "input.staged",
        "input.staged",
        "run.started",
    ]
    (started,) = effects_of(done, kernel.StartRun)
    assert done.effects[-1] is started
    assert (started.run.run_id, started.run.contributors) == (run, (first, second))
    assert (started.run.attempt, started.run.lane) == (1, Lane.QUEUE)
    for each in (first, second):
        state = runtime.state(each)
        assert (state.phase, state.attempt_count, state.last_run_id) == (P.STAGED, 1, run)
    assert runtime.memory.head.phase.state is RuntimeState.RUNNING


def test_the_attempt_of_a_run_is_that_of_its_oldest_input(runtime: Runtime) -> None:
    runtime.admit(message())
    runtime.fail(runtime.stage())
    runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    runtime.admit(message())
    done = runtime.do(kernel.StageRun(RunId.new()))
    (started,) = effects_of(done, kernel.StartRun)
    assert (started.run.attempt, len(started.run.contributors)) == (2, 2)


# --- boundaries -------------------------------------------------------------------------


def test_a_boundary_hands_over_the_content_turns_of_the_steer_lane(runtime: Runtime) -> None:
    runtime.admit(prompt())
    runtime.stage()
    offered = [
        message(handling_mode="steer"),
        continuation(),
        progress(),
        event(handling_mode="steer"),
        prompt(),
        message(),
    ]
    ids = runtime.admit(*offered)
    assert [state.input_id for state in steered(runtime.memory)] == [ids[0], ids[2], ids[3]]


def test_a_boundary_commits_exactly_what_it_names(runtime: Runtime) -> None:
    (in_hand,) = runtime.admit(prompt())
    run = runtime.stage()
    taken, left = runtime.admit(progress(), progress())
    done = commit(runtime, run, taken)
    receipt = done.receipt
    assert receipt is not None
    assert done.reply is receipt
    assert (receipt.boundary, receipt.sequence) == (RunBoundary.RUN_CHECKPOINT, 0)
    assert receipt.contributing_input_ids == (taken,)
    state = runtime.state(taken)
    assert (state.phase, state.attempt_count, state.last_run_id) == (P.CONSUMED, 1, run)
    assert state.last_boundary_sequence == 0
    assert codes_of(done) == ["input.applied", "input.consumed"]
    assert (runtime.phase(left), runtime.state(left).attempt_count) == (P.QUEUED, 0)
    assert runtime.phase(in_hand) is P.STAGED
    assert runtime.memory.head.phase.state is RuntimeState.RUNNING


def test_a_boundary_that_commits_nothing_or_something_twice_is_refused(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    taken, twice = runtime.admit(progress(), progress())
    commit(runtime, run, taken)
    before = runtime.memory.head
    for ids in ((), (taken,), (twice, twice), (InputId(uuid_of(1)),)):
        with pytest.raises(RunRefused):
            commit(runtime, run, *ids)
    assert runtime.memory.head is before
    assert runtime.phase(twice) is P.QUEUED


def test_a_boundary_takes_nothing_that_was_not_handed_over(runtime: Runtime) -> None:
    (in_hand,) = runtime.admit(prompt())
    run = runtime.stage()
    queued, resuming = runtime.admit(message(), continuation())
    for each in (in_hand, queued, resuming):
        with pytest.raises(RunRefused, match="is not waiting at a boundary"):
            commit(runtime, run, each)
    assert [runtime.phase(each) for each in (queued, resuming)] == [P.QUEUED, P.QUEUED]


def test_rcp_07_receipts_of_a_run_have_no_hole(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    first, second = runtime.admit(progress(), progress())
    receipts = [
        commit(runtime, run, first).receipt,
        commit(runtime, run, second).receipt,
        runtime.complete(run).receipt,
    ]
    told = [(r.sequence, r.boundary.value, r.run_id) for r in receipts if r is not None]
    assert told == [(0, "run_checkpoint", run), (1, "run_checkpoint", run), (2, "run_start", run)]
    runtime.admit(prompt())
    again = runtime.complete(runtime.stage()).receipt
    assert again is not None
    assert again.sequence == 0


def test_uncommitted_steered_inputs_are_uncounted_when_a_run_ends(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    (waiting,) = runtime.admit(progress())
    runtime.complete(run)
    assert (runtime.phase(waiting), runtime.state(waiting).attempt_count) == (P.QUEUED, 0)
    assert runtime.memory.runnable


# --- success ----------------------------------------------------------------------------


def test_success_consumes_all_contributors_in_staging_order(runtime: Runtime) -> None:
    ids = runtime.admit(message(), step(), event(1))
    run = runtime.stage()
    done = runtime.complete(run, RunOutput(result="fine"))
    assert done.receipt is not None
    assert done.receipt.contributing_input_ids == tuple(ids)
    assert [runtime.state(each).result for each in ids] == ["fine"] * 3
    assert [runtime.phase(each) for each in ids] == [P.CONSUMED] * 3
    assert codes_of(done)[-2:] == ["run.completed", "runtime.state_changed"]
    assert runtime.memory.head.run is None
    assert runtime.memory.head.phase.state is RuntimeState.ATTACHED


def test_a_result_json_cannot_carry_is_refused_before_anything_changes(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    for result in (float("nan"), object(), "\ud800", 2**64, {1: 2}):
        with pytest.raises(ValueError):  # noqa: PT011
            runtime.complete(run, RunOutput(result=result))  # type: ignore[arg-type]
    assert runtime.memory.head.run is not None


# --- progress ---------------------------------------------------------------------------


def test_progress_is_told_of_the_run_in_hand_alone(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    done = runtime.do(kernel.ReportProgress(run, "half"))
    (emit,) = effects_of(done, kernel.Emit)
    assert (str(emit.event.code), getattr(emit.event, "detail", None)) == ("run.progress", "half")
    runtime.complete(run)
    with pytest.raises(RunRefused):
        runtime.do(kernel.ReportProgress(run, "late"))


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
def test_recover_and_recycle_make_it_due_at_once(
    runtime: Runtime, control: kernel.Command
) -> None:
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
