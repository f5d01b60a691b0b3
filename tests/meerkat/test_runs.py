"""Runs: how one starts, what its boundaries commit, and how it succeeds."""

from __future__ import annotations

from typing import Any

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
from meerkat.errors import RunRefused
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
    run = runtime.stage()
    offered = [
        message(handling_mode="steer"),
        continuation(),
        progress(),
        event(handling_mode="steer"),
        prompt(),
        message(),
    ]
    ids = runtime.admit(*offered)
    handed_over: Any = runtime.do(kernel.HandOver(run)).reply
    assert [each.id for each in handed_over] == [ids[0], ids[2], ids[3]]


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
        with pytest.raises(ValueError):
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


def test_what_a_boundary_commits_of_the_conversation_goes_with_it(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    first, second = runtime.admit(progress(), progress())
    plan = runtime.session.plan(RunOutput(append=[{"role": "user", "content": "so far"}]))
    done = runtime.do(kernel.CommitBoundary(run, (first,), plan))
    assert done.session is not None
    assert done.session is plan.change
    assert done.receipt is not None
    assert (done.receipt.conversation_digest, done.receipt.message_count) == (plan.digest, 1)
    assert commit(runtime, run, second).receipt is not None
    ended = runtime.complete(run)
    assert ended.receipt is not None
    assert ended.receipt.sequence == 2


def test_another_run_takes_and_ends_nothing_of_the_one_in_hand(runtime: Runtime) -> None:
    (in_hand,) = runtime.admit(prompt())
    runtime.stage()
    (steered,) = runtime.admit(progress())
    other, before = RunId.new(), runtime.memory.head
    for command in (
        kernel.HandOver(other),
        kernel.CommitBoundary(other, (steered,), runtime.session.plan(RunOutput())),
        kernel.ReportProgress(other, "half way"),
        kernel.CompleteRun(other, runtime.session.plan(RunOutput()), None),
    ):
        with pytest.raises(RunRefused, match="not the run in hand"):
            runtime.do(command)
    assert runtime.memory.head is before
    assert (runtime.phase(in_hand), runtime.phase(steered)) == (P.STAGED, P.QUEUED)
