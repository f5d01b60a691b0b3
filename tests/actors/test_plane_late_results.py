"""Late results: a run that was fenced changes nothing any more, and keeps nobody waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    Called,
    Hooked,
    OpenPlane,
    code_of,
    decided,
    events_until,
    logged,
    prompt,
    result_of,
)

from meerkat import InputPhase, LogicalRuntimeId, RunContext, RuntimeState
from meerkat.errors import ApplyFailed, ExecutorStopped, InvalidState
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

ENDS = {
    "stop_runtime": (RuntimeState.STOPPED, "runtime stopped"),
    "destroy": (RuntimeState.DESTROYED, "runtime destroyed"),
}


def endings() -> dict[str, Any]:
    def raise_(error: Exception) -> Any:
        def behave(*_: Any) -> None:
            raise error

        return behave

    return {
        "result": None,
        "failure": raise_(ApplyFailed("late")),
        "stopped": raise_(ExecutorStopped()),
    }


@pytest.mark.parametrize("ending", endings())
@pytest.mark.parametrize("end", ENDS)
def test_a_late_result_is_refused(open_plane: OpenPlane, path: Path, end: str, ending: str) -> None:
    state, reason = ENDS[end]
    hung, agent = Agent(endings()[ending], held=True), Agent()
    plane = open_plane(hung, max_concurrent_runs=1, grace_s=HUNG_S)
    plane.register_many(["a", "b"])
    submitted = [plane.submit("a", prompt(text)) for text in ("old", "waits")]
    run_id = hung.next_call().run_id
    assert getattr(plane, end)("a").inputs_abandoned == 2
    for each in submitted:
        ended = result_of(each.completion)
        assert (ended.kind, ended.reason) == (CompletionKind.RUNTIME_TERMINATED, reason)
    assert plane.runtime_state("a") is state

    plane.attach_executor("b", agent)  # the fenced run has given its slot back
    assert result_of(plane.submit("b", prompt("other")).completion).result == "re: other"

    with plane.subscribe("a") as events, logged("late result refused") as refused:
        hung.release()
        assert refused.wait(WAIT_S)
        decided(plane, "a")
        told = events.next_within(0)
        assert code_of(told) == "run.progress"
        assert told.event.detail.startswith("late result refused: it had ")
        assert events.next_within(0) is None
    assert plane.runtime_state("a") is state
    assert plane.load_boundary_receipt("a", run_id, 0) is None
    assert SqliteStore(path).load_session_snapshot(LogicalRuntimeId("a")) is None
    for each in submitted:
        found = plane.input_state("a", result_of(each.accepted).input_id)
        assert found is not None
        assert found.phase is InputPhase.ABANDONED
    with pytest.raises(InvalidState):
        plane.ingest("a", prompt())


def test_a_stopped_runtime_that_was_reset_does_not_mistake_the_old_run_for_its_own(
    open_plane: OpenPlane,
) -> None:
    hung, agent = Agent(held=True), Agent(held=True)
    plane = open_plane(hung, grace_s=HUNG_S)
    plane.register("a")
    plane.submit("a", prompt("old"))
    hung.next_call()
    plane.stop_runtime("a")
    plane.reset("a")
    plane.attach_executor("a", agent)
    new = plane.submit("a", prompt("new"))
    agent.next_call()
    with logged("late result refused") as refused:
        hung.release()
        assert refused.wait(WAIT_S)
    assert plane.runtime_state("a") is RuntimeState.RUNNING
    assert not new.completion.done()
    agent.release()
    assert result_of(new.completion).result == "re: new"


def test_the_fenced_run_is_told(open_plane: OpenPlane) -> None:
    told: list[bool] = []

    def wait(_called: Called, context: RunContext) -> None:
        told.append(context.cancelled.wait(WAIT_S))
        context.raise_if_cancelled()

    plane = open_plane(Agent(wait))
    plane.register("a")
    with plane.subscribe("a") as events:
        plane.submit("a", prompt())
        events_until(events, "run.started")
        plane.stop_runtime("a")
        events_until(events, "runtime.state_changed")
        plane.stop()  # waits for the run to be gone
        assert told == [True]
        late = [code_of(each) for each in events]
    assert "run.progress" not in late  # it ended as it was told: that is no late result


def test_what_a_fenced_run_reports_is_not_told(open_plane: OpenPlane) -> None:
    def report(called: Called, context: RunContext) -> None:
        context.progress(f"half of {called.text}")

    agent = Agent(report, held=True)
    plane = open_plane(agent)
    plane.register("a")
    plane.submit("a", prompt("old"))
    agent.next_call()
    plane.stop_runtime("a")
    with plane.subscribe("a") as events, logged("late result refused") as refused:
        agent.release()
        assert refused.wait(WAIT_S)
        plane.reset("a")
        result_of(plane.submit("a", prompt("new")).completion)
        codes = events_until(events, "run.completed")
    details = [each.event.detail for each in codes if code_of(each) == "run.progress"]
    assert details == ["late result refused: it had succeeded", "half of new"]


def test_a_run_that_outlives_its_unregistered_runtime_harms_nobody(
    open_plane: OpenPlane,
) -> None:
    """It reports, and ends, when its driver has long gone."""
    reported: list[str] = []

    def report(called: Called, context: RunContext) -> None:
        context.progress("still here")
        reported.append(called.text)

    agent = Hooked(report, held=True)
    plane = open_plane(agent, max_concurrent_runs=1)
    plane.register("a")
    plane.submit("a", prompt("old"))
    agent.next_call()
    plane.stop_runtime("a")
    plane.unregister("a")
    agent.release()
    plane.register("b")
    assert result_of(plane.submit("b", prompt("new")).completion).result == "re: new"
    while len(reported) < 2:
        plane.runtime_state("b")
    assert sorted(reported) == ["new", "old"]
