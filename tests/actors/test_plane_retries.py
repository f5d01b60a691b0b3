"""Retries: three attempts with a back-off, counted on disk, at the head of the lane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    OpenPlane,
    decided,
    events_until,
    prompt,
    result_of,
    steered,
)

from actors import ControlPlane
from meerkat import InputPhase, InputState, RunContext, RuntimeState
from meerkat.errors import ApplyFailed, ExecutorStopped, RunCancelled
from meerkat.limits import Backoff, Limits
from meerkat.outcomes import CompletionKind

SLOW = Backoff(base_s=8.0, cap_s=24.0)  # without jitter half of it: 4, 8, 12, 12 seconds


def fail_bad(called: Called, _context: RunContext) -> None:
    if called.text == "bad":
        raise ApplyFailed(f"attempt {called.attempt}")


def failed(plane: ControlPlane, offered: Any) -> Any:
    """Offer an input, and wait until its first run has failed."""
    with plane.subscribe("a") as events:
        submission = plane.submit("a", offered)
        events_until(events, "run.failed")
    return submission


def state_of(plane: ControlPlane, input_id: Any) -> InputState:
    state = plane.input_state("a", input_id)
    assert state is not None
    return state


def test_three_attempts_each_after_its_back_off(open_plane: OpenPlane) -> None:
    clock, agent = FakeClock(), Agent(fail_bad)
    plane = open_plane(agent, clock=clock, backoff=SLOW, limits=Limits(max_attempts=5))
    plane.register("a")
    submission = failed(plane, prompt("bad"))
    for attempt, delay_s in ((1, 4.0), (2, 8.0), (3, 12.0), (4, 12.0)):
        with plane.subscribe("a") as events:
            clock.advance(plane, delay_s - 0.5)
            decided(plane, "a")
            assert len(agent.calls) == attempt
            clock.advance(plane, 0.5)
            events_until(events, "run.failed")
        assert len(agent.calls) == attempt + 1
    ended = result_of(submission.completion)
    assert ended.kind is CompletionKind.ABANDONED
    assert (ended.reason, ended.error) == ("max_attempts_exhausted", "attempt 5")
    assert [called.attempt for called in agent.calls] == [1, 2, 3, 4, 5]


def test_a_held_lane_waits_behind_its_head_and_the_other_goes_on(open_plane: OpenPlane) -> None:
    clock, agent = FakeClock(), Agent(fail_bad)
    plane = open_plane(agent, clock=clock, backoff=SLOW)
    plane.register("a")
    head = failed(plane, prompt("bad"))
    behind = plane.submit("a", prompt("behind"))
    assert result_of(plane.submit("a", steered("steered")).completion).result == "re: steered"
    decided(plane, "a")
    assert agent.texts == ["bad", "steered"]
    assert not behind.completion.done()
    assert state_of(plane, result_of(head.accepted).input_id).phase is InputPhase.QUEUED
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    agent.behaviour = None
    clock.advance(plane, 4.0)
    assert result_of(behind.completion).result == "re: behind"
    assert agent.texts == ["bad", "steered", "bad", "behind"]


@pytest.mark.parametrize("step", ["recover", "recycle"])
def test_what_waits_for_its_retry_is_due_at_once_after(open_plane: OpenPlane, step: str) -> None:
    agent = Agent(fail_bad)
    plane = open_plane(agent, clock=FakeClock(), backoff=SLOW)
    plane.register("a")
    submission = failed(plane, prompt("bad"))
    agent.behaviour = None
    getattr(plane, step)("a")
    assert result_of(submission.completion).result == "re: bad"
    assert [called.attempt for called in agent.calls] == [1, 2]


def test_attempts_are_counted_across_restarts(open_plane: OpenPlane) -> None:
    agent, offered = Agent(fail_bad), prompt("bad")
    for attempt in (1, 2):
        plane = open_plane(agent, clock=FakeClock(), backoff=SLOW)
        plane.register("a")
        with plane.subscribe("a", after=0) as events:
            if attempt == 1:
                plane.ingest("a", offered)
            events_until(events, "run.failed")
        assert state_of(plane, offered.id).attempt_count == attempt
        plane.stop()
    plane = open_plane(agent)
    ended = result_of(plane.completion("a", offered.id))
    assert (ended.kind, ended.error) == (CompletionKind.ABANDONED, "attempt 3")
    assert [called.attempt for called in agent.calls] == [1, 2, 3]
    assert state_of(plane, offered.id).attempt_count == 3


def test_a_run_that_a_crash_cut_short_has_counted(open_plane: OpenPlane, path: Path) -> None:
    """The plane ends without its run returning: the attempt stays, and it is tried again."""
    hung, offered = Agent(held=True), prompt("once more")
    first = open_plane(hung, grace_s=0.01)
    first.register("a")
    first.ingest("a", offered)
    hung.next_call()
    first.stop(timeout=0)
    agent = Agent()
    second = open_plane(agent)
    assert result_of(second.completion("a", offered.id)).result == "re: once more"
    assert [called.attempt for called in agent.calls] == [2]
    state = state_of(second, offered.id)
    assert (state.attempt_count, state.recovery_count) == (2, 1)


def test_what_keeps_crashing_is_given_up(open_plane: OpenPlane) -> None:
    limits, offered = Limits(crash_attempts_max=2), prompt("deadly")
    for _ in range(2):
        hung = Agent(held=True)
        plane = open_plane(hung, grace_s=0.01, limits=limits)
        plane.register("a")
        plane.ingest("a", offered)
        hung.next_call()
        plane.stop(timeout=0)
    agent = Agent()
    last = open_plane(agent, limits=limits)
    ended = result_of(last.completion("a", offered.id))
    assert (ended.kind, ended.reason) == (CompletionKind.ABANDONED, "max_attempts_exhausted")
    assert agent.calls == []


def hopeless(*_: Any) -> None:
    raise ApplyFailed("no such seat", recoverable=False)


def test_an_unrecoverable_failure_gives_up_at_once(open_plane: OpenPlane) -> None:
    agent = Agent(hopeless)
    plane = open_plane(agent)
    plane.register("a")
    submission = plane.submit("a", prompt())
    ended = result_of(submission.completion)
    assert (ended.kind, ended.error) == (CompletionKind.ABANDONED, "no such seat")
    outcome: Any = state_of(plane, result_of(submission.accepted).input_id).terminal_outcome
    assert outcome.reason.attempts == 1
    assert len(agent.calls) == 1


def test_a_cancelled_run_is_not_tried_again(open_plane: OpenPlane) -> None:
    def behave(called: Called, _context: RunContext) -> None:
        if called.text == "drop me":
            raise RunCancelled

    agent = Agent(behave)
    plane = open_plane(agent)
    plane.register("a")
    dropped, next_one = (plane.submit("a", prompt(text)) for text in ("drop me", "next"))
    assert result_of(dropped.completion).kind is CompletionKind.CANCELLED
    assert result_of(next_one.completion).kind is CompletionKind.COMPLETED
    assert agent.texts == ["drop me", "next"]


def test_an_executor_that_stops_costs_its_input_nothing(open_plane: OpenPlane) -> None:
    def behave(*_: Any) -> None:
        raise ExecutorStopped

    agent, second = Agent(behave), Agent()
    plane = open_plane(agent)
    plane.register("a")
    with plane.subscribe("a") as events:
        submissions = [plane.submit("a", prompt(text)) for text in ("1", "2")]
        events_until(events, "run.cancelled")
    decided(plane, "a")
    assert agent.texts == ["1"]
    assert not plane.executor_ready("a")
    assert plane.runtime_state("a") is RuntimeState.IDLE
    state = state_of(plane, result_of(submissions[0].accepted).input_id)
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)
    plane.attach_executor("a", second, timeout=WAIT_S)
    for each in submissions:
        assert result_of(each.completion).kind is CompletionKind.COMPLETED
    assert [(called.text, called.attempt) for called in second.calls] == [("1", 1), ("2", 1)]
