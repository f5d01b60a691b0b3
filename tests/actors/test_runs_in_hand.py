"""Runs in hand: what is told of each run that is under way, and of none that is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from coroutine_builders import AsyncAgent
from plane_builders import (
    MIDNIGHT,
    Agent,
    OpenPlane,
    Puppet,
    PuppetRun,
    Timed,
    prompt,
    result_of,
    steered,
    system_of,
)
from plane_interrupts import begin_wait

from actors import ControlPlane
from actors.run_watch import RunNow
from meerkat import LogicalRuntimeId
from meerkat.errors import ApplyFailed
from meerkat.outcomes import CompletionKind

A = LogicalRuntimeId("a")
STUCK_S = 100.0


@pytest.fixture
def clock() -> Timed:
    return Timed()


@pytest.fixture
def agent() -> Puppet:
    return Puppet()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Puppet, clock: Timed) -> ControlPlane:
    plane = open_plane(agent, clock=clock, stuck_after_s=STUCK_S, passivate_after=None)
    plane.register_many(["a", "b"])
    return plane


def begin(plane: ControlPlane, agent: Puppet, runtime_id: str = "a") -> PuppetRun:
    plane.submit(runtime_id, prompt())
    run = agent.next_run()
    run.does(lambda _: None)  # from now on it is where it waits for what to do
    return run


def the_run(plane: ControlPlane) -> RunNow:
    (run,) = plane.runs_in_hand()
    return run


def none_left(plane: ControlPlane) -> bool:
    """Is no run in hand any more, now or very soon? A handle ends before its run's place does."""
    while plane.runs_in_hand():
        pass
    return plane.figures().runs_in_hand == 0


def test_a_run_is_told_from_its_beginning_to_its_end(
    plane: ControlPlane, agent: Puppet, clock: Timed
) -> None:
    assert plane.runs_in_hand() == ()
    clock.pass_time(5.0)
    sent = plane.submit("a", prompt())
    run = agent.next_run()
    now = the_run(plane)
    assert (now.runtime_id, now.run_id, now.attempt) == (A, run.called.run_id, 1)
    assert now.input_ids == (result_of(sent.accepted).input_id,)
    assert now.began_at == MIDNIGHT + timedelta(seconds=5)
    assert (now.quiet_s, now.waits, now.stuck, now.cancelled) == (0.0, False, False, False)
    run.returns()
    result_of(sent.completion)
    assert none_left(plane)


def test_how_long_it_has_been_quiet_is_told_and_when_it_began_stays_as_it_is(
    plane: ControlPlane, agent: Puppet, clock: Timed
) -> None:
    run = begin(plane, agent)
    clock.pass_time(7.0)
    assert the_run(plane).quiet_s == 7.0
    run.does(lambda context: context.progress("half way"))
    clock.pass_time(2.0)
    now = the_run(plane)
    assert (now.quiet_s, now.began_at) == (2.0, MIDNIGHT)
    run.returns()


def test_when_it_began_is_right_though_nobody_looks_for_long(
    plane: ControlPlane, agent: Puppet, clock: Timed
) -> None:
    clock.pass_time(3.0)
    run = begin(plane, agent)
    clock.pass_time(3_600.0)
    looks = [the_run(plane).began_at]
    clock.pass_time(1.0)
    looks.append(the_run(plane).began_at)
    assert looks == [MIDNIGHT + timedelta(seconds=3)] * 2
    run.returns()


def test_a_run_that_gives_no_sign_is_stuck_and_one_that_waits_is_not(
    plane: ControlPlane, agent: Puppet, clock: Timed
) -> None:
    silent, waiting = begin(plane, agent, "a"), begin(plane, agent, "b")
    told = begin_wait(waiting)
    clock.advance(plane, STUCK_S * 2)
    of_a, of_b = plane.runs_in_hand()
    assert (of_a.stuck, of_a.waits) == (True, False)
    assert (of_b.stuck, of_b.waits) == (False, True)
    silent.does(lambda context: context.progress("here"))
    assert not plane.runs_in_hand()[0].stuck
    plane.ingest("b", steered())
    result_of(told)
    assert not plane.runs_in_hand()[1].waits
    silent.returns()
    waiting.returns()


def test_runs_are_told_in_the_order_in_which_they_began(plane: ControlPlane, agent: Puppet) -> None:
    runs = [begin(plane, agent, name) for name in "ba"]
    assert [str(each.runtime_id) for each in plane.runs_in_hand()] == ["b", "a"]
    for run in runs:
        run.returns()
    assert none_left(plane)


def test_a_run_that_was_told_to_end_says_so_until_it_has_returned(
    plane: ControlPlane, agent: Puppet
) -> None:
    sent = plane.submit("a", prompt())
    run = agent.next_run()
    plane.interrupt("a", "now")
    assert the_run(plane).cancelled
    run.does(lambda _: None)
    assert the_run(plane).cancelled
    run.returns()
    assert result_of(sent.completion).kind is CompletionKind.COMPLETED
    assert none_left(plane)


def test_a_run_that_its_runtime_has_gone_on_without_is_in_hand_until_it_returns(
    open_plane: OpenPlane, agent: Puppet
) -> None:
    plane = open_plane(agent, run_deadline_s=0.01)
    plane.register("a")
    plane.submit("a", prompt())
    run = agent.next_run()
    assert run.context.cancelled.wait(10)
    assert the_run(plane).run_id == run.called.run_id
    assert the_run(plane).cancelled
    agent.release()
    assert none_left(plane)


def test_a_second_attempt_is_told_as_one(open_plane: OpenPlane) -> None:
    def behave(called: Any, _context: Any) -> None:
        if called.attempt == 1:
            raise ApplyFailed("once", recoverable=True)
        seen.append(the_run(plane).attempt)

    seen: list[int] = []
    plane = open_plane(Agent(behave))
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    assert seen == [2]


def test_a_batch_names_all_inputs_that_it_was_begun_with(
    plane: ControlPlane, agent: Puppet
) -> None:
    first = begin(plane, agent)
    sent = [plane.submit("a", steered(text)) for text in ("1", "2")]
    ids = tuple(result_of(each.accepted).input_id for each in sent)
    first.returns()
    run = agent.next_run()
    now = the_run(plane)
    assert now.run_id == run.called.run_id
    assert set(now.input_ids) <= set(ids)
    agent.release()
    for each in sent:
        result_of(each.completion)


def test_a_coroutine_run_is_told_like_any_other(open_plane: OpenPlane) -> None:
    agent = AsyncAgent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    sent = plane.submit("a", prompt())
    called = agent.next_call()
    now = the_run(plane)
    assert (now.runtime_id, now.run_id) == (A, called.run_id)
    agent.release()
    result_of(sent.completion)
    assert none_left(plane)


def test_nothing_is_kept_of_runs_that_are_over(open_plane: OpenPlane, agent: Puppet) -> None:
    plane = open_plane(agent)
    plane.register("a")
    agent.release()
    for _ in range(5):
        result_of(plane.submit("a", prompt()).completion)
    assert none_left(plane)
    assert system_of(plane).watch._watched == {}
