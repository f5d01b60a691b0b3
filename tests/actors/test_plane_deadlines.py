"""Deadlines: a run that has had its time is a failed attempt, whatever it still does.

It is tried again when its back-off is over and the old run is gone, or has had its grace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    FakeClock,
    OpenPlane,
    Puppet,
    code_of,
    decided,
    error_of,
    events_until,
    logged,
    prompt,
    result_of,
    steered,
    unregistering,
)
from plane_interrupts import LATE, begin_wait, state_of
from plane_stores import FrozenDisk

from actors import ControlPlane
from meerkat import InputPhase, LogicalRuntimeId, RuntimeState, WakeReason
from meerkat.errors import RunCancelled
from meerkat.limits import Backoff, Limits
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

A = LogicalRuntimeId("a")
DEADLINE_S, GRACE_S = 60.0, 5.0
SAID = "the run deadline of 60.0 s was reached"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def agent() -> Puppet:
    return Puppet()


@pytest.fixture
def open_timed(open_plane: OpenPlane, agent: Puppet, clock: FakeClock) -> OpenPlane:
    """Starts a plane with one runtime, "a", whose time passes when the clock says so."""

    def start(**settings: Any) -> ControlPlane:
        given = {"clock": clock, "grace_s": GRACE_S, "run_deadline_s": DEADLINE_S, **settings}
        plane = open_plane(agent, **given)
        plane.register("a")
        return plane

    return start


def slow(first_delay_s: float) -> Backoff:
    """Without jitter half of it is waited, and twice as long each time."""
    return Backoff(base_s=2 * first_delay_s, cap_s=1000.0)


def reach_deadline(plane: ControlPlane, clock: FakeClock) -> Any:
    """Let the deadline of the run in hand pass; gives the event of its failure."""
    with plane.subscribe("a") as events:
        clock.advance(plane, DEADLINE_S)
        return events_until(events, "run.failed")[-1]


def runs(plane: ControlPlane) -> bool:
    """Is a run in hand, once everything that has been told so far is decided and durable?"""
    decided(plane, "a")
    return plane.runtime_state("a") is RuntimeState.RUNNING


def test_a_run_that_has_had_its_time_is_a_failed_attempt_that_is_tried_again(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed(backoff=slow(4.0))
    submitted = plane.submit("a", prompt("slow"))
    run = agent.next_run()
    clock.advance(plane, DEADLINE_S - 0.1)
    assert not run.context.cancelled.is_set()
    assert runs(plane)
    failed = reach_deadline(plane, clock)
    assert (failed.event.run_id, failed.event.detail) == (run.called.run_id, SAID)
    assert run.context.cancelled.wait(WAIT_S)
    state = state_of(plane, submitted)
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 1)
    assert not submitted.completion.done()
    run.raises(RunCancelled())
    clock.advance(plane, 4.0)
    again = agent.next_run()
    assert again.called.attempt == 2
    assert not again.context.cancelled.is_set()
    again.returns()
    assert result_of(submitted.completion).result == "re: slow"


def test_a_run_that_waits_is_woken_by_its_deadline(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed()
    plane.submit("a", prompt())
    run = agent.next_run()
    waiting = begin_wait(run)
    clock.advance(plane, DEADLINE_S)
    assert result_of(waiting) is WakeReason.CANCELLED
    assert isinstance(error_of(run.asks(lambda context: context.boundary())), RunCancelled)


def test_it_is_not_tried_again_while_the_old_run_is_in_its_grace(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed(backoff=slow(2.0))
    plane.submit("a", prompt("slow"))
    agent.next_run()
    reach_deadline(plane, clock)
    clock.advance(plane, GRACE_S - 0.1)  # its back-off is long over
    other = plane.submit("a", steered("other"))  # another lane has to wait as well
    result_of(other.accepted)
    assert not runs(plane)
    with logged("did not return in time") as said:
        clock.advance(plane, 0.1)
        assert said.wait(WAIT_S)
    agent.next_run().returns()
    agent.next_run().returns()
    assert [(called.text, called.attempt) for called in agent.calls] == [
        ("slow", 1),
        ("other", 1),
        ("slow", 2),
    ]


def test_an_old_run_that_has_returned_does_not_shorten_the_back_off(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed(backoff=slow(9.0))
    submitted = plane.submit("a", prompt("slow"))
    run = agent.next_run()
    with logged("late result refused") as said:
        reach_deadline(plane, clock)
        run.returns()
        assert said.wait(WAIT_S)
    clock.advance(plane, 8.9)
    assert not runs(plane)
    clock.advance(plane, 0.1)
    assert runs(plane)
    agent.next_run().returns()
    assert result_of(submitted.completion).result == "re: slow"


def test_after_the_last_attempt_it_is_given_up(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed(limits=Limits(max_attempts=2))
    submitted = plane.submit("a", prompt("slow"))
    for attempt in (1, 2):
        assert agent.next_run().called.attempt == attempt
        reach_deadline(plane, clock)
        clock.advance(plane, GRACE_S)
    ended = result_of(submitted.completion)
    assert (ended.kind, ended.reason) == (CompletionKind.ABANDONED, "max_attempts_exhausted")
    assert ended.error == SAID
    assert state_of(plane, submitted).attempt_count == 2
    assert not runs(plane)


@pytest.mark.parametrize("in_grace", [True, False])
@pytest.mark.parametrize("name", LATE)
def test_what_it_brings_after_its_deadline_is_refused_and_reported(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock, *, name: str, in_grace: bool
) -> None:
    end, text = LATE[name]
    plane = open_timed(backoff=slow(1.0))
    submitted = plane.submit("a", prompt("slow"))
    run = agent.next_run()
    reach_deadline(plane, clock)
    again = None
    if not in_grace:
        clock.advance(plane, GRACE_S)
        again = agent.next_run()
    with plane.subscribe("a") as events, logged(f"late result refused: {text}") as said:
        end(run)
        assert said.wait(WAIT_S)
        told: Any = events_until(events, "run.progress")[-1]
    assert told.event.run_id == run.called.run_id
    assert told.event.detail == f"late result refused: {text}"
    assert plane.load_boundary_receipt("a", run.called.run_id, 0) is None
    assert not submitted.completion.done()
    if again is None:
        clock.advance(plane, GRACE_S)
        again = agent.next_run()
    assert again.context.messages == []
    again.returns()
    assert result_of(submitted.completion).result == "re: slow"
    assert state_of(plane, submitted).attempt_count == 2


def test_each_run_has_its_own_deadline(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed()
    submitted = [plane.submit("a", prompt(text)) for text in ("1", "2")]
    for each in submitted:
        result_of(each.accepted)
    first = agent.next_run()
    clock.advance(plane, DEADLINE_S - 1)
    first.returns()
    second = agent.next_run()
    clock.advance(plane, DEADLINE_S - 1)  # the first one's would have passed long ago
    assert runs(plane)
    assert not second.context.cancelled.is_set()
    second.returns()
    assert [result_of(each.completion).result for each in submitted] == ["re: 1", "re: 2"]


def test_the_wait_for_a_slot_is_not_counted(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed(max_concurrent_runs=1)
    plane.register("b")
    plane.submit("b", prompt("holder"))
    holder = agent.next_run()
    waits = plane.submit("a", prompt("waits"))
    result_of(waits.accepted)
    clock.advance(plane, DEADLINE_S - 1)
    holder.returns()
    run = agent.next_run()
    clock.advance(plane, DEADLINE_S - 1)
    assert runs(plane)
    run.returns()
    assert result_of(waits.completion).result == "re: waits"


def test_a_run_that_has_had_its_time_keeps_its_slot_for_its_grace(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    """No more executors at a time than there are slots, as long as they come back."""
    plane = open_timed(max_concurrent_runs=1, backoff=slow(1000.0))
    plane.register("b")
    plane.submit("a", prompt("slow"))
    agent.next_run()
    waits = plane.submit("b", prompt("waits"))
    result_of(waits.accepted)
    reach_deadline(plane, clock)
    clock.advance(plane, GRACE_S - 0.1)
    decided(plane, "a")
    decided(plane, "b")
    assert plane.runtime_state("b") is RuntimeState.ATTACHED
    clock.advance(plane, 0.1)
    agent.next_run().returns()
    assert result_of(waits.completion).result == "re: waits"


def test_the_deadline_is_on_disk_before_it_is_told_and_reaches_the_run_at_once(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_timed(store=disk)
    submitted = plane.submit("a", prompt())
    result_of(submitted.accepted)
    run = agent.next_run()
    with plane.subscribe("a") as events:
        disk.freeze()
        clock.advance(plane, DEADLINE_S)
        assert run.context.cancelled.wait(WAIT_S)
        assert disk.stuck.wait(WAIT_S)
        run.raises(RunCancelled())
        decided(plane, "a")
        assert events.next_within(0) is None
        disk.thaw()
        told = [code_of(each) for each in events_until(events, "runtime.state_changed")]
    assert told == ["input.queued", "run.failed", "runtime.state_changed"]
    stored = SqliteStore(path).load_input(A, result_of(submitted.accepted).input_id)
    assert stored is not None
    assert (stored.attempt_count, stored.last_error) == (1, SAID)


def test_a_runtime_that_unregisters_waits_no_longer_than_the_deadline(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed()
    submitted = plane.submit("a", prompt())
    agent.next_run()
    gone = unregistering(plane, "a")
    clock.advance(plane, DEADLINE_S)
    result_of(gone)
    assert result_of(submitted.completion).reason == "runtime session unregistered"


def test_without_a_deadline_a_run_has_all_its_time(
    open_timed: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_timed(run_deadline_s=None)
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    clock.advance(plane, 1e9)
    assert runs(plane)
    run.returns()
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
