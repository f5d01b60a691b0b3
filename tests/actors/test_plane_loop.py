"""The loop of a runtime and its executor: who is called, how often, and attached to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    Called,
    Hooked,
    OpenPlane,
    decided,
    phase_of,
    progress,
    prompt,
    result_of,
    steered,
)

from actors import ControlPlane
from meerkat import InputPhase, RunContext, RuntimeState
from meerkat.errors import ApplyFailed, ExecutorStopped, RuntimeNotFound
from meerkat.outcomes import CompletionKind


def test_lop_01_a_prompt_is_run_once(plane: ControlPlane, agent: Agent) -> None:
    submitted = plane.submit("a", prompt("hi"))
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
    assert [(call.runtime_id, call.text, call.attempt) for call in agent.calls] == [("a", "hi", 1)]
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    assert plane.active_input_ids("a") == []
    assert plane.load_boundary_receipt("a", agent.calls[0].run_id, 0) is not None


def fail_on_bad(called: Called, _context: RunContext) -> None:
    if called.text == "bad":
        raise ApplyFailed("never")


def test_lop_03_a_hopeless_head_is_given_up_and_the_next_one_runs(open_plane: OpenPlane) -> None:
    agent = Agent(fail_on_bad)
    plane = open_plane(agent)
    plane.register("a")
    bad, good = (plane.submit("a", prompt(text)) for text in ("bad", "good"))
    ended = result_of(bad.completion)
    assert ended.kind is CompletionKind.ABANDONED
    assert (ended.reason, ended.error) == ("max_attempts_exhausted", "never")
    assert result_of(good.completion).result == "re: good"
    assert agent.texts == ["bad", "bad", "bad", "good"]
    assert [call.attempt for call in agent.calls] == [1, 2, 3, 1]
    assert phase_of(plane, "a", result_of(good.accepted).input_id) is InputPhase.CONSUMED


def test_lop_04_one_wake_runs_everything_that_waits(plane: ControlPlane, agent: Agent) -> None:
    plane.detach_executor("a")
    waiting = [plane.submit("a", prompt(text)) for text in ("1", "2", "3")]
    decided(plane, "a")
    assert agent.calls == []
    plane.attach_executor("a", agent)
    for each in waiting:
        assert result_of(each.completion).kind is CompletionKind.COMPLETED
    assert agent.texts == ["1", "2", "3"]


def test_the_steer_lane_comes_first(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("1", "2")]
    agent.next_call()
    submitted.append(plane.submit("a", steered("steered")))
    decided(plane, "a")
    agent.release()
    for each in submitted:
        result_of(each.completion)
    assert agent.texts == ["1", "steered", "2"]


def test_wake_works_what_wakes_nobody(plane: ControlPlane, agent: Agent) -> None:
    waiting = plane.submit("a", progress("told"))
    result_of(waiting.accepted)
    assert agent.calls == []
    plane.wake("a")
    result_of(waiting.completion)
    assert agent.texts == ["told"]


def test_lop_08_an_executor_that_comes_later_runs_what_waits(quiet_plane: ControlPlane) -> None:
    agent = Agent()
    waiting = quiet_plane.submit("a", prompt("early"))
    with ThreadPoolExecutor(4) as threads:
        calls: list[Any] = [threads.submit(quiet_plane.register, "a") for _ in range(2)]
        calls += [threads.submit(quiet_plane.attach_executor, "a", agent) for _ in range(2)]
        for call in calls:
            result_of(call)
    assert result_of(waiting.completion).result == "re: early"
    assert agent.texts == ["early"]
    assert quiet_plane.runtime_state("a") is RuntimeState.ATTACHED


def stop_taking(_called: Called, _context: RunContext) -> None:
    raise ExecutorStopped


def test_an_executor_that_stopped_is_replaced(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent(stop_taking))
    plane.register("a")
    submitted = plane.submit("a", prompt("again"))
    input_id = result_of(submitted.accepted).input_id
    while plane.executor_ready("a"):
        pass
    assert plane.runtime_state("a") is RuntimeState.IDLE
    state = plane.input_state("a", input_id)
    assert state is not None
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)
    second = Agent()
    plane.attach_executor("a", second)
    assert result_of(submitted.completion).result == "re: again"
    assert [call.attempt for call in second.calls] == [1]


def test_an_executor_that_stops_does_not_take_its_successor_along(open_plane: OpenPlane) -> None:
    first, second = Agent(stop_taking, held=True), Agent()
    plane = open_plane(first)
    plane.register("a")
    submitted = plane.submit("a", prompt("mine"))
    first.next_call()
    plane.attach_executor("a", second)
    first.release()
    assert result_of(submitted.completion).result == "re: mine"
    assert second.texts == ["mine"]
    assert plane.executor_ready("a")
    assert plane.runtime_state("a") is RuntimeState.ATTACHED


def test_lop_09_who_has_an_executor(open_plane: OpenPlane, agent: Agent) -> None:
    plane = open_plane()
    with pytest.raises(RuntimeNotFound):
        plane.executor_ready("unknown")
    plane.register_many(["bare", "manned"])
    plane.attach_executor("manned", agent)
    assert not plane.executor_ready("bare")
    assert plane.executor_ready("manned")
    plane.detach_executor("manned")
    assert not plane.executor_ready("manned")


def test_lop_10_a_runtime_stops_when_the_hook_has_returned(open_plane: OpenPlane) -> None:
    agent = Hooked()
    agent.leave_hook.clear()
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register("a")
    with ThreadPoolExecutor(2) as threads:
        stops = [threads.submit(plane.stop_runtime, "a", timeout=WAIT_S) for _ in range(2)]
        assert agent.in_hook.wait(WAIT_S)
        assert plane.runtime_state("a") is RuntimeState.ATTACHED
        agent.leave_hook.set()
        for stop in stops:
            assert result_of(stop).inputs_abandoned == 0
    assert plane.runtime_state("a") is RuntimeState.STOPPED
    assert agent.stops == ["a"]


def test_a_hook_that_hangs_or_fails_does_not_keep_a_runtime_from_stopping(
    open_plane: OpenPlane,
) -> None:
    hangs, fails = Hooked(), Hooked()
    hangs.leave_hook.clear()
    fails.leave_hook = None  # type: ignore[assignment]
    plane = open_plane(hangs, grace_s=HUNG_S)
    plane.register_many(["a", "b"])
    plane.attach_executor("b", fails)
    for runtime_id in ("a", "b"):
        plane.stop_runtime(runtime_id, timeout=WAIT_S)
        assert plane.runtime_state(runtime_id) is RuntimeState.STOPPED
    hangs.leave_hook.set()
