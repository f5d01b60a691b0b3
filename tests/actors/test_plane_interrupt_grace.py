"""The grace of an interrupted run: one that does not return in time is left behind.

Its runtime goes on at once; whatever it still brings is refused, and said.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    OpenPlane,
    Puppet,
    PuppetRun,
    code_of,
    decided,
    error_of,
    events_until,
    logged,
    prompt,
    result_of,
    steered,
    system_of,
)
from plane_interrupts import LATE, MODES, check_cancelled, state_of

from actors import ControlPlane
from meerkat import InputPhase, LogicalRuntimeId, RunContext, RuntimeState, WakeReason
from meerkat.errors import (
    RunCancelled,
)
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

A = LogicalRuntimeId("a")
GRACE_S = 5.0


def ignore(context: RunContext) -> None:
    """Look up, and go on as if nothing had been said."""
    with pytest.raises(RunCancelled):
        context.boundary()


def left_behind(plane: ControlPlane, run: PuppetRun, clock: FakeClock, mode: str) -> PuppetRun:
    """A run of "a" that is interrupted, and has not returned in its grace."""
    with plane.subscribe("a") as events:
        assert plane.interrupt("a", mode)
        run.does(ignore)
        clock.advance(plane, GRACE_S)
        events_until(events, "run.progress")
    return run


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def agent() -> Puppet:
    return Puppet()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Puppet, clock: FakeClock) -> ControlPlane:
    """A plane with one slot, and a grace that passes when the clock says so."""
    plane = open_plane(agent, clock=clock, grace_s=GRACE_S, max_concurrent_runs=1)
    plane.register_many(["a", "b"])
    return plane


@pytest.mark.parametrize("mode", MODES)
def test_the_runtime_goes_on_when_the_grace_is_over(
    plane: ControlPlane, agent: Puppet, clock: FakeClock, mode: str
) -> None:
    submitted, waits = (plane.submit("a", prompt(text)) for text in ("hung", "waits"))
    run = agent.next_run()
    other = plane.submit("b", prompt("other"))
    with plane.subscribe("a") as events, logged("did not return in time") as said:
        assert plane.interrupt("a", mode)
        run.does(ignore)  # with after_boundary, the grace begins here
        clock.advance(plane, GRACE_S - 0.1)
        assert plane.runtime_state("a") is RuntimeState.RUNNING
        assert not submitted.completion.done()
        assert not said.is_set()
        clock.advance(plane, 0.1)
        told = events_until(events, "run.started")
    check_cancelled(plane, submitted)
    assert said.is_set()
    assert [code_of(each) for each in told][:3] == [
        "input.abandoned",
        "run.cancelled",
        "runtime.state_changed",
    ]
    remark = next(each.event for each in told if code_of(each) == "run.progress")
    assert remark.run_id == run.called.run_id
    assert "did not return in time" in remark.detail
    assert "in perform" in remark.detail  # and where it is
    assert "plane_builders.py" in remark.detail

    for text in ("other", "waits"):  # the slot is free, and there is a thread for each
        again = agent.next_run()
        assert again.called.text in {"other", "waits"}, text
        again.returns()
    assert result_of(waits.completion).result == "re: waits"
    assert result_of(other.completion).result == "re: other"


def test_before_it_looks_up_a_run_that_is_to_end_at_a_boundary_has_all_its_time(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    plane.interrupt("a", "after_boundary")
    clock.advance(plane, 100 * GRACE_S)
    assert plane.runtime_state("a") is RuntimeState.RUNNING
    run.returns()
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED


def test_a_run_that_goes_on_past_after_boundary_is_cancelled_in_the_end(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    """Whatever it waits for by itself, it is told that nobody waits for it."""
    plane.submit("a", prompt())
    run = left_behind(plane, agent.next_run(), clock, "after_boundary")
    assert run.context.cancelled.wait(WAIT_S)


def test_a_run_that_asks_over_and_over_leaves_one_timer(plane: ControlPlane, agent: Puppet) -> None:
    plane.submit("a", prompt())
    run = agent.next_run()
    plane.interrupt("a", "after_boundary")
    for _ in range(100):
        run.does(ignore)
    assert len(system_of(plane).timers._due) < 10


# --- what it still brings ---------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LATE)
def test_a_late_end_is_refused_and_reported(
    plane: ControlPlane, agent: Puppet, clock: FakeClock, path: Path, *, name: str, mode: str
) -> None:
    end, text = LATE[name]
    submitted = plane.submit("a", prompt("hung"))
    run = left_behind(plane, agent.next_run(), clock, mode)
    new = plane.submit("a", prompt("new"))
    after = agent.next_run()
    with plane.subscribe("a") as events, logged(f"late result refused: {text}") as said:
        end(run)
        assert said.wait(WAIT_S)
        decided(plane, "a")
        told: Any = events.next_within(WAIT_S)
        assert (code_of(told), told.event.run_id) == ("run.progress", run.called.run_id)
        assert told.event.detail == f"late result refused: {text}"
        assert events.next_within(0) is None
    assert plane.runtime_state("a") is RuntimeState.RUNNING
    assert not after.context.cancelled.is_set()
    assert SqliteStore(path).load_session_snapshot(A) is None
    after.returns()
    assert result_of(new.completion).result == "re: new"
    check_cancelled(plane, submitted)
    assert [each.contributing_input_ids for each in SqliteStore(path).page_receipts(A).items] == [
        (result_of(new.accepted).input_id,)
    ]
    assert plane.executor_ready("a")


def test_a_run_that_ends_late_as_it_was_told_is_not_reported(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    submitted = plane.submit("a", prompt())
    run = left_behind(plane, agent.next_run(), clock, "now")
    with plane.subscribe("a") as events, logged("late result refused") as said:
        run.raises(RunCancelled())
        after = plane.submit("b", prompt("other"))
        agent.next_run().returns()
        result_of(after.completion)
        plane.stop()
        assert [code_of(each) for each in events] == []
    assert not said.is_set()
    assert result_of(submitted.completion).kind is CompletionKind.CANCELLED


def test_what_a_run_says_and_commits_too_late_is_refused(
    plane: ControlPlane, agent: Puppet, clock: FakeClock, path: Path
) -> None:
    plane.submit("a", prompt("hung"))
    run = agent.next_run()
    more = plane.submit("a", steered("more"))
    result_of(more.accepted)
    boundary = run.does(lambda context: context.boundary())
    with plane.subscribe("a") as events:
        plane.interrupt("a", "now")
        clock.advance(plane, GRACE_S)
        after = agent.next_run()  # the steered input, in a run of its own
        events_until(events, "run.started")
        run.does(lambda context: context.progress("still here"))
        for deed in (lambda _: boundary.commit(append=[]), lambda context: context.boundary()):
            assert isinstance(error_of(run.asks(deed)), RunCancelled)
        decided(plane, "a")
        assert events.next_within(0) is None
    after.returns()
    assert result_of(more.completion).result == "re: more"
    assert [each.run_id for each in SqliteStore(path).page_receipts(A).items] == [
        after.called.run_id
    ]


# --- slots and threads ------------------------------------------------------------------


def test_runs_that_never_return_cost_no_slot_and_no_thread(open_plane: OpenPlane) -> None:
    hung, agent = Agent(held=True), Agent()
    plane = open_plane(hung, max_concurrent_runs=2, grace_s=0.001)
    runtimes = [f"r{number}" for number in range(7)]
    plane.register_many([*runtimes, "z"])
    submitted = [plane.submit(each, prompt()) for each in runtimes]
    for _ in runtimes:
        assert plane.interrupt(hung.next_call().runtime_id, "now") is True
    for each in submitted:
        assert result_of(each.completion).kind is CompletionKind.CANCELLED
    plane.attach_executor("z", agent)
    assert result_of(plane.submit("z", prompt("fine")).completion).result == "re: fine"

    returned = threading.Semaphore(0)
    hung.behaviour = lambda *_: returned.release()
    hung.release()
    for _ in runtimes:
        assert returned.acquire(timeout=WAIT_S)
    both = Agent(held=True)
    for each in runtimes[:2]:
        plane.attach_executor(each, both)
        plane.submit(each, prompt())
        both.next_call()
    third = plane.submit("z", prompt("third"))
    result_of(third.accepted)
    decided(plane, "z")
    assert system_of(plane).slots.contended  # two slots, not three, and not fewer
    both.release()
    assert result_of(third.completion).result == "re: third"


@pytest.mark.parametrize("mode", MODES)
def test_a_grace_that_ends_as_the_run_does(open_plane: OpenPlane, mode: str) -> None:
    """Whoever comes first: one end for each input, and the slot is not lost."""
    rounds = 200

    def stay(_called: Called, context: RunContext) -> None:
        with suppress(RunCancelled):
            while context.wait(WAIT_S) is not WakeReason.CANCELLED:
                pass

    agent = Agent(stay)
    plane = open_plane(agent, grace_s=0, max_concurrent_runs=1)
    plane.register("a")
    submissions = []
    for number in range(rounds):
        submissions.append(plane.submit("a", prompt(f"{number}")))
        agent.next_call()
        assert plane.interrupt("a", mode) is True
    for each in submissions:
        if result_of(each.completion).kind is CompletionKind.CANCELLED:
            check_cancelled(plane, each)
        else:
            state = state_of(plane, each)
            assert (state.phase, state.attempt_count) == (InputPhase.CONSUMED, 1)
            assert plane.load_boundary_receipt("a", state.last_run_id, 0) is not None
    plane.stop()
    assert system_of(plane).slots.free == 1
