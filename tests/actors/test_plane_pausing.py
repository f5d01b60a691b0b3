"""Pausing: inputs are taken in, and no run is started, until somebody resumes it."""

from __future__ import annotations

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    decided,
    peer_message,
    prompt,
    result_of,
    steered,
)

from actors import ControlPlane
from meerkat import RuntimeState
from meerkat.errors import InvalidState


def paused(open_plane: OpenPlane, agent: Agent) -> ControlPlane:
    plane = open_plane(agent)
    plane.register("a")
    plane.pause("a")
    return plane


def test_what_comes_is_accepted_and_waits(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = paused(open_plane, agent)
    sent = [plane.submit("a", make(text)) for make in (prompt, steered) for text in "xy"]
    for each in sent:
        each.accepted.result(WAIT_S)
    plane.wake("a")
    decided(plane, "a").result(WAIT_S)
    assert agent.calls == []
    assert len(plane.active_input_ids("a")) == 4
    plane.resume("a")
    for each in sent:
        result_of(each.completion)
    assert sorted(" ".join(agent.texts).split()) == ["x", "x", "y", "y"]


def test_the_others_go_on(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = paused(open_plane, agent)
    plane.register("b")
    result_of(plane.submit("b", prompt("of b")).completion)
    assert agent.texts == ["of b"]


def test_a_run_in_hand_goes_on_to_its_end_and_no_other_begins(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    first, second = (plane.submit("a", prompt(text)) for text in ("first", "second"))
    agent.next_call()
    plane.pause("a")
    agent.release()
    result_of(first.completion)
    decided(plane, "a").result(WAIT_S)
    assert agent.texts == ["first"]
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    plane.resume("a")
    result_of(second.completion)


def test_it_outlives_the_process_and_what_else_is_done(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = paused(open_plane, agent)
    plane.ingest("a", prompt("early"))
    plane.stop()
    again = open_plane(agent)
    again.recycle("a")
    again.recover("a")
    again.reset("a")
    kept = again.submit("a", prompt("late"))
    kept.accepted.result(WAIT_S)
    decided(again, "a").result(WAIT_S)
    assert agent.calls == []
    again.resume("a")
    result_of(kept.completion)
    again.stop()
    last = open_plane(agent)
    result_of(last.submit("a", prompt("last")).completion)
    assert agent.texts == ["late", "last"]


def test_a_stop_that_drains_does_not_wait_for_it(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = paused(open_plane, agent)
    plane.ingest("a", prompt())
    report = plane.stop(drain=True, timeout=WAIT_S)
    assert report.runtimes_with_work == 1
    assert report.runtimes_unsettled == 0
    assert agent.calls == []


def test_a_retired_runtime_drains_once_it_is_resumed(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = paused(open_plane, agent)
    waiting = plane.submit("a", peer_message())
    waiting.accepted.result(WAIT_S)
    assert plane.retire("a").inputs_pending_drain == 1
    decided(plane, "a").result(WAIT_S)
    assert agent.calls == []
    plane.resume("a")
    result_of(waiting.completion)


def test_twice_is_once_and_a_destroyed_runtime_has_neither(open_plane: OpenPlane) -> None:
    plane = paused(open_plane, Agent())
    plane.pause("a")
    plane.resume("a")
    plane.resume("a")
    plane.destroy("a")
    for call in (plane.pause, plane.resume):
        with pytest.raises(InvalidState) as refused:
            call("a")
        assert refused.value.state is RuntimeState.DESTROYED
