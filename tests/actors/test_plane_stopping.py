"""Stopping: what is let end, what is cut short, and what the next start takes up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    Hooked,
    OpenPlane,
    error_of,
    event,
    progress,
    prompt,
    result_of,
    system_of,
    tell,
)

from actors import ControlPlane
from actors import messages as m
from actors.replies import OpenCalls, Reply
from meerkat import InputPhase, RunContext, RuntimeState
from meerkat.errors import ApplyFailed, ControlPlaneStopped, RuntimeNotFound
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind


def test_a_stop_lets_the_runs_in_hand_end_and_keeps_the_rest(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("1", "2")]
    agent.next_call()
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(plane.stop)
        while not system_of(plane).calls._refusing:
            decided_or_stopped(plane)
        assert not wait([stopping], 0.2).done  # time enough for a stop that waits for nobody
        agent.release()
        result_of(stopping)
    assert result_of(submitted[0].completion).result == "re: 1"
    ended = result_of(submitted[1].completion)
    assert (ended.kind, ended.reason) == (
        CompletionKind.RUNTIME_TERMINATED,
        "control plane stopped",
    )
    assert agent.texts == ["1"]
    second = Agent()
    again = open_plane(second)
    input_id = result_of(submitted[1].accepted).input_id
    assert result_of(again.completion("a", input_id)).result == "re: 2"


def decided_or_stopped(plane: ControlPlane) -> None:
    try:
        plane.runtime_state("a")
    except ControlPlaneStopped:
        return


def fail_first(called: Any, _context: RunContext) -> None:
    if called.attempt == 1:
        raise ApplyFailed("not yet")


def test_a_stop_that_drains_empties_the_lanes_first(open_plane: OpenPlane) -> None:
    agent = Agent(fail_first, held=True)
    plane = open_plane(agent, max_concurrent_runs=1)
    plane.register_many(["a", "b"])
    offered = [prompt("1"), prompt("2"), progress("nobody is woken"), event(4)]
    submitted = [
        plane.submit(runtime_id, each) for runtime_id in "ab" for each in map(copy, offered)
    ]
    agent.next_call()
    agent.release()
    plane.stop(drain=True, timeout=WAIT_S)
    for each in submitted:
        assert each.completion.result(0).kind is CompletionKind.COMPLETED
    assert open_plane().active_input_ids("a") == []


def copy(offered: Any) -> Any:
    """The same content under an id of its own."""
    makers = {"prompt": lambda: prompt(offered.content), "peer_response_progress": progress}
    return makers.get(str(offered.kind), lambda: event(4))()


def test_a_drain_waits_for_no_executor_that_is_not_there(quiet_plane: ControlPlane) -> None:
    waiting = quiet_plane.submit("a", prompt())
    result_of(waiting.accepted)
    quiet_plane.stop(drain=True, timeout=WAIT_S)
    assert result_of(waiting.completion).reason == "control plane stopped"


def test_a_stop_with_a_hung_run_returns_and_its_work_is_taken_up(open_plane: OpenPlane) -> None:
    hung = Agent(held=True)
    plane = open_plane(hung, grace_s=0.01)
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("1", "2")]
    hung.next_call()
    plane.stop(timeout=0.01)
    assert [result_of(each.completion).reason for each in submitted] == [
        "control plane stopped"
    ] * 2
    agent = Agent()
    again = open_plane(agent)
    for each in submitted:
        handle = again.completion("a", result_of(each.accepted).input_id)
        assert result_of(handle).kind is CompletionKind.COMPLETED
    assert agent.texts == ["1", "2"]


def test_a_run_that_gives_way_at_a_stop_costs_its_input_nothing(open_plane: OpenPlane) -> None:
    def give_way(_called: Any, context: RunContext) -> None:
        context.cancelled.wait(WAIT_S)
        context.raise_if_cancelled()

    agent = Agent(give_way)
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    agent.next_call()
    plane.stop(timeout=0)
    again = open_plane()
    input_id = result_of(submitted.accepted).input_id
    state = again.input_state("a", input_id)
    assert state is not None
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)


def test_a_stop_waits_for_no_back_off(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent(fail_first), clock=FakeClock(), backoff=Backoff(base_s=60.0))
    plane.register("a")
    with plane.subscribe("a") as events:
        submitted = plane.submit("a", prompt())
        while (told := events.next_within(WAIT_S)) and "failed" not in str(told):
            pass
    plane.stop(timeout=WAIT_S)
    assert result_of(submitted.completion).reason == "control plane stopped"


@pytest.mark.parametrize("name", ["unknown runtime", "unregister"])
def test_a_stop_is_not_held_up_by_a_driver_that_is_leaving(
    open_plane: OpenPlane, name: str
) -> None:
    """It has nothing to drive any more, and has not been let go yet."""
    plane = open_plane(Agent())
    plane.register("a")
    system_of(plane).directory.leave = lambda *_: False
    if name == "unregister":
        plane.unregister("a")
    else:
        refused = error_of(plane.submit("unknown", prompt()).accepted)
        assert isinstance(refused, RuntimeNotFound)
    with ThreadPoolExecutor(1) as threads:
        result_of(threads.submit(plane.stop, timeout=2 * WAIT_S))


def test_a_stop_answers_who_waits_for_something_that_will_not_come(open_plane: OpenPlane) -> None:
    """A stop hook hangs, and has much grace left: its caller learns that the plane stopped."""
    agent = Hooked()
    agent.leave_hook.clear()
    plane = open_plane(agent, grace_s=100 * WAIT_S)
    plane.register("a")
    stopping = tell(plane, "a", m.StopRuntime(Reply()))
    assert agent.in_hook.wait(WAIT_S)
    plane.stop()
    assert isinstance(error_of(stopping), ControlPlaneStopped)
    agent.leave_hook.set()
    assert open_plane().runtime_state("a") is RuntimeState.IDLE


def test_a_call_that_slips_in_while_the_doors_close_is_refused() -> None:
    """Whoever is not refused is in the list of those that are answered at the end."""
    calls = OpenCalls(10)

    class Door(dict[Any, None]):
        def __setitem__(self, reply: Any, _nothing: None) -> None:
            calls.refuse()
            calls.fail_all(ControlPlaneStopped())
            super().__setitem__(reply, None)

    calls._open = Door()
    with pytest.raises(ControlPlaneStopped):
        calls.opened(Reply())
    assert len(calls) == 0
