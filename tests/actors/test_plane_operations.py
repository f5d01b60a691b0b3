"""Control-plane operations: ingest, reset, stop, retire, and whom they make wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Hooked,
    OpenPlane,
    phase_of,
    progress,
    prompt,
    result_of,
    silent,
)

from actors import ControlPlane
from meerkat import InputPhase, LogicalRuntimeId, RuntimeState
from meerkat.errors import InvalidState, RuntimeNotFound, RuntimeNotReady
from meerkat.identifiers import RunId
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome
from meerkat.outcomes import CompletionKind
from meerkat.reports import RetireReport
from meerkat.store import SqliteStore


def given_up(plane: ControlPlane, input_id: Any) -> AbandonCause:
    state = plane.input_state("a", input_id)
    assert state is not None
    assert isinstance(state.terminal_outcome, AbandonedOutcome)
    return state.terminal_outcome.reason.cause


def test_cpl_01_without_an_executor_input_waits(quiet_plane: ControlPlane) -> None:
    offered = prompt()
    assert quiet_plane.ingest("a", offered).is_accepted
    assert phase_of(quiet_plane, "a", offered.id) is InputPhase.QUEUED
    assert quiet_plane.active_input_ids("a") == [offered.id]
    assert quiet_plane.runtime_state("a") is RuntimeState.IDLE


@pytest.mark.parametrize(
    "call",
    [
        lambda plane: plane.ingest("b", prompt()),
        lambda plane: plane.retire("b"),
        lambda plane: plane.recycle("b"),
        lambda plane: plane.reset("b"),
        lambda plane: plane.recover("b"),
        lambda plane: plane.destroy("b"),
        lambda plane: plane.stop_runtime("b"),
        lambda plane: plane.runtime_state("b"),
        lambda plane: plane.load_boundary_receipt("b", RunId.new(), 0),
    ],
)
def test_cpl_02_an_unknown_runtime_is_not_found(plane: ControlPlane, call: Any) -> None:
    with pytest.raises(RuntimeNotFound) as refused:
        call(plane)
    assert refused.value.runtime_id == LogicalRuntimeId("b")
    assert str(refused.value) == "Runtime not found: b"


def test_cpl_05_reset_gives_up_what_waits_and_calls_nobody(open_plane: OpenPlane) -> None:
    agent = Hooked()
    plane = open_plane(agent)
    plane.register("a")
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    waiting = plane.submit("a", progress())
    input_id = result_of(waiting.accepted).input_id
    assert plane.reset("a").inputs_abandoned == 1
    ended = result_of(waiting.completion)
    assert ended.kind is CompletionKind.RUNTIME_TERMINATED
    assert ended.reason == "runtime reset"
    assert (agent.calls, agent.stops) == ([], [])
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert plane.active_input_ids("a") == []
    assert given_up(plane, input_id) is AbandonCause.RESET
    assert plane.reset("a").inputs_abandoned == 0


def test_after_a_reset_the_executor_works_on_from_idle(plane: ControlPlane) -> None:
    plane.reset("a")
    done = result_of(plane.submit("a", prompt("on")).completion)
    assert done.result == "re: on"
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert plane.executor_ready("a")


def test_cpl_06_a_running_runtime_is_not_reset(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    agent.next_call()
    with pytest.raises(InvalidState) as refused:
        plane.reset("a")
    assert refused.value.state is RuntimeState.RUNNING
    assert str(refused.value) == "Invalid state for operation: running"
    with pytest.raises(InvalidState):
        plane.recycle("a")
    with pytest.raises(InvalidState):
        plane.recover("a")
    assert plane.runtime_state("a") is RuntimeState.RUNNING
    agent.release()
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED


def test_cpl_08_stop_is_stored_and_ends_the_waiters(quiet_plane: ControlPlane, path: Path) -> None:
    waiting = quiet_plane.submit("a", prompt())
    input_id = result_of(waiting.accepted).input_id
    assert quiet_plane.stop_runtime("a").inputs_abandoned == 1
    ended = result_of(waiting.completion)
    assert (ended.kind, ended.reason) == (CompletionKind.RUNTIME_TERMINATED, "runtime stopped")
    row = SqliteStore(path).load_runtime(LogicalRuntimeId("a"))
    assert row is not None
    assert row.state is RuntimeState.STOPPED
    assert given_up(quiet_plane, input_id) is AbandonCause.STOPPED
    assert quiet_plane.stop_runtime("a").inputs_abandoned == 0


def test_cpl_09_retire_drains_what_waits(open_plane: OpenPlane) -> None:
    agent = Hooked(silent)
    plane = open_plane(agent)
    plane.register("a")
    waiting = plane.submit("a", progress())
    input_id = result_of(waiting.accepted).input_id
    assert agent.calls == []
    report = plane.retire("a")
    assert report == RetireReport(inputs_abandoned=0, inputs_pending_drain=1)
    assert result_of(waiting.completion).kind is CompletionKind.COMPLETED_WITHOUT_RESULT
    assert len(agent.calls) == 1
    assert agent.stops == []
    assert plane.runtime_state("a") is RuntimeState.RETIRED
    assert phase_of(plane, "a", input_id) is InputPhase.CONSUMED


def test_a_run_in_hand_counts_as_pending_drain(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("one", "two")]
    agent.next_call()
    assert plane.retire("a") == RetireReport(inputs_abandoned=0, inputs_pending_drain=2)
    assert plane.runtime_state("a") is RuntimeState.RUNNING
    with pytest.raises(InvalidState) as refused:
        plane.ingest("a", prompt())
    assert refused.value.state is RuntimeState.RETIRED
    assert plane.retire("a") == RetireReport()
    agent.release()
    assert [result_of(each.completion).result for each in submitted] == ["re: one", "re: two"]
    assert plane.runtime_state("a") is RuntimeState.RETIRED


def test_eph_04_retire_without_an_executor_gives_up_what_waits(
    quiet_plane: ControlPlane,
) -> None:
    waiting = [quiet_plane.submit("a", prompt()) for _ in range(2)]
    report = quiet_plane.retire("a")
    assert report == RetireReport(inputs_abandoned=2, inputs_pending_drain=0)
    assert {result_of(each.completion).reason for each in waiting} == {
        "retired without runtime loop"
    }
    assert quiet_plane.runtime_state("a") is RuntimeState.RETIRED
    assert quiet_plane.active_input_ids("a") == []


def test_acc_08_a_retired_runtime_takes_no_input(quiet_plane: ControlPlane) -> None:
    quiet_plane.retire("a")
    submitted = quiet_plane.submit("a", prompt())
    for future in (submitted.accepted, submitted.completion):
        refused = future.exception(WAIT_S)
        assert isinstance(refused, InvalidState)
        assert refused.state is RuntimeState.RETIRED
        assert isinstance(refused.__cause__, RuntimeNotReady)
        assert refused.__cause__.state is RuntimeState.RETIRED


def test_cpl_11_a_second_retire_finds_nothing_to_do(quiet_plane: ControlPlane) -> None:
    with ThreadPoolExecutor(2) as threads:
        retires = [threads.submit(quiet_plane.retire, "a", timeout=WAIT_S) for _ in range(2)]
    assert [result_of(each) for each in retires] == [RetireReport(), RetireReport()]
    assert quiet_plane.retire("a") == RetireReport()


def test_cpl_12_a_stopped_runtime_can_retire(
    open_plane: OpenPlane, quiet_plane: ControlPlane
) -> None:
    quiet_plane.stop_runtime("a")
    quiet_plane.retire("a")
    assert quiet_plane.runtime_state("a") is RuntimeState.RETIRED
    quiet_plane.stop()
    assert open_plane().runtime_state("a") is RuntimeState.RETIRED


def test_cpl_13_runtimes_do_not_wait_for_each_other(open_plane: OpenPlane) -> None:
    """While the stop of "a" stands in its hook, "b" is retired."""
    agent = Hooked()
    agent.leave_hook.clear()
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register_many(["a", "b"])
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(plane.stop_runtime, "a", timeout=WAIT_S)
        assert agent.in_hook.wait(WAIT_S)
        assert plane.retire("b", timeout=WAIT_S) == RetireReport()
        assert not stopping.done()
        agent.leave_hook.set()
        assert result_of(stopping).inputs_abandoned == 0
