"""Completion handles: one ending each, the same one whenever it is asked for."""

from __future__ import annotations

from concurrent.futures import as_completed, wait
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    code_of,
    decided,
    error_of,
    event,
    events_until,
    operation,
    phase_of,
    progress,
    prompt,
    result_of,
    silent,
)

from actors import ControlPlane
from meerkat import InputId, InputPhase, LogicalRuntimeId, RunOutput
from meerkat.errors import ApplyFailed, InputNotFound, InputValidationFailed, RunCancelled
from meerkat.outcomes import CompletionKind


def waiting_in(plane: ControlPlane) -> list[InputId]:
    return plane._life.system.completions.waiting(LogicalRuntimeId("a"))


def test_cmp_01_a_waiter_gets_the_result(plane: ControlPlane) -> None:
    submitted = plane.submit("a", prompt("hi"))
    ended = result_of(submitted.completion)
    assert (ended.kind, ended.result) == (CompletionKind.COMPLETED, "re: hi")
    assert waiting_in(plane) == []
    assert submitted.completion.cancel() is False


def refuse(*_: Any) -> None:
    raise ApplyFailed("no such seat", recoverable=False)


def test_cmp_03_an_abandoned_input_says_why(open_plane: OpenPlane) -> None:
    agent = Agent(refuse)
    plane = open_plane(agent)
    plane.register("a")
    ended = result_of(plane.submit("a", prompt()).completion)
    assert ended.kind is CompletionKind.ABANDONED
    assert (ended.reason, ended.error) == ("max_attempts_exhausted", "no such seat")
    assert len(agent.calls) == 1


ENDINGS = {
    "reset": "runtime reset",
    "stop_runtime": "runtime stopped",
    "destroy": "runtime destroyed",
    "unregister": "runtime session unregistered",
}


@pytest.mark.parametrize("end", ENDINGS)
def test_cmp_04_ending_the_runtime_ends_every_handle(quiet_plane: ControlPlane, end: str) -> None:
    offered = [prompt(), progress(), event({"n": 1})]
    submitted = [quiet_plane.submit("a", each) for each in offered]
    accepted = [result_of(each.accepted) for each in submitted]
    handles = [each.completion for each in submitted]
    handles += [quiet_plane.completion("a", outcome) for outcome in accepted]
    assert len(waiting_in(quiet_plane)) == 3
    getattr(quiet_plane, end)("a")
    outcomes = [result_of(handle) for handle in handles]
    assert {each.kind for each in outcomes} == {CompletionKind.RUNTIME_TERMINATED}
    assert {each.reason for each in outcomes} == {ENDINGS[end]}
    assert waiting_in(quiet_plane) == []


@pytest.mark.parametrize("end", ["reset", "stop_runtime", "destroy"])
def test_a_handle_asked_for_later_ends_equally(
    open_plane: OpenPlane, quiet_plane: ControlPlane, end: str
) -> None:
    submitted = quiet_plane.submit("a", prompt())
    accepted = result_of(submitted.accepted)
    getattr(quiet_plane, end)("a")
    outcome = result_of(submitted.completion)
    assert result_of(quiet_plane.completion("a", accepted)) == outcome
    quiet_plane.stop()
    assert result_of(open_plane().completion("a", accepted.input_id)) == outcome


def test_cmp_06_a_handle_on_what_has_ended_is_resolved(
    open_plane: OpenPlane, plane: ControlPlane
) -> None:
    submitted = plane.submit("a", prompt("hi"))
    outcome = result_of(submitted.completion)
    accepted = result_of(submitted.accepted)
    for handle in (plane.completion("a", accepted), plane.completion("a", accepted.input_id)):
        assert handle.done()
        assert handle.result(0) == outcome
    plane.stop()
    handle = open_plane().completion("a", accepted.input_id)
    assert handle.done()
    assert handle.result(0) == outcome


@pytest.mark.parametrize("result", [None, "", 0, False, [], {"a": [1]}])
def test_cmp_07_no_result_is_not_an_empty_one(open_plane: OpenPlane, result: Any) -> None:
    plane = open_plane(Agent(lambda *_: RunOutput(append=[], result=result)))
    plane.register("a")
    ended = result_of(plane.submit("a", prompt()).completion)
    none = result is None
    assert ended.kind.value == ("completed_without_result" if none else "completed")
    assert ended.result == result
    assert type(ended.result) is type(result)


def test_cmp_10_a_duplicate_gets_a_handle_on_the_first(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    first, second = prompt("first", idempotency_key="K"), prompt("second", idempotency_key="K")
    submitted = [plane.submit("a", each) for each in (first, second)]
    outcome = result_of(submitted[1].accepted)
    assert outcome.is_deduplicated
    assert (outcome.input_id, outcome.existing_id) == (second.id, first.id)
    handles = [*(each.completion for each in submitted), plane.completion("a", outcome)]
    agent.release()
    assert [result_of(handle).result for handle in handles] == ["re: first"] * 3
    assert agent.texts == ["first"]
    late = plane.submit("a", prompt("third", idempotency_key="K"))
    assert result_of(late.completion).result == "re: first"


def test_cmp_11_the_loop_completes_a_queued_prompt(plane: ControlPlane, agent: Agent) -> None:
    plane.detach_executor("a")
    outcome = plane.ingest("a", prompt("hi"))
    handle = plane.completion("a", outcome)
    assert not handle.done()
    plane.attach_executor("a", agent)
    assert result_of(handle).kind is CompletionKind.COMPLETED


def test_cmp_12_a_duplicate_wakes_nobody(plane: ControlPlane, agent: Agent) -> None:
    first = plane.submit("a", progress(idempotency_key="K"))
    result_of(first.accepted)
    with plane.subscribe("a") as events:
        duplicate = plane.submit("a", prompt(idempotency_key="K"))
        assert result_of(duplicate.accepted).is_deduplicated
        told = events_until(events, "input.deduplicated")
    decided(plane, "a")
    assert [code_of(each) for each in told] == ["input.deduplicated"]
    assert agent.calls == []
    assert not duplicate.completion.done()


def cancel(*_: Any) -> None:
    raise RunCancelled


def test_cmp_13_a_cancelled_run_ends_its_waiters_as_cancelled(open_plane: OpenPlane) -> None:
    agent = Agent(cancel)
    plane = open_plane(agent)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    ended = result_of(submitted.completion)
    assert (ended.kind, ended.reason) == (CompletionKind.CANCELLED, "cancelled")
    input_id = result_of(submitted.accepted).input_id
    assert phase_of(plane, "a", input_id) is InputPhase.ABANDONED
    assert len(agent.calls) == 1
    assert plane.runtime_state("a").value == "attached"


def test_a_displaced_input_says_by_what(quiet_plane: ControlPlane) -> None:
    older, newer = (progress(supersession_key="status") for _ in range(2))
    displaced = quiet_plane.submit("a", older)
    quiet_plane.submit("a", newer)
    ended = result_of(displaced.completion)
    assert (ended.kind, ended.displaced_by) == (CompletionKind.DISPLACED, newer.id)
    superseded = quiet_plane.submit("a", prompt(supersession_key="k"))
    by = prompt(supersession_key="k")
    quiet_plane.submit("a", by)
    assert result_of(superseded.completion).displaced_by == by.id


def test_an_operation_has_ended_when_it_is_accepted(quiet_plane: ControlPlane) -> None:
    submitted = quiet_plane.submit("a", operation())
    assert result_of(submitted.accepted).state.phase is InputPhase.CONSUMED
    ended = submitted.completion.result(WAIT_S)
    assert ended.kind is CompletionKind.COMPLETED_WITHOUT_RESULT


def test_nobody_waits_for_an_unknown_or_a_rejected_input(quiet_plane: ControlPlane) -> None:
    with pytest.raises(InputNotFound):
        quiet_plane.completion("a", InputId.new())
    submitted = quiet_plane.submit("a", prompt(durability="derived"))
    rejected = result_of(submitted.accepted)
    assert rejected.is_rejected
    refused = error_of(submitted.completion)
    assert isinstance(refused, InputValidationFailed)
    assert refused.reason == str(rejected.reason)
    with pytest.raises(InputValidationFailed):
        quiet_plane.completion("a", rejected)


def test_waiting_bounds_the_caller_and_never_the_work(open_plane: OpenPlane) -> None:
    agent = Agent(silent, held=True)
    plane = open_plane(agent)
    plane.register("a")
    handle = plane.submit("a", prompt()).completion
    agent.next_call()
    with pytest.raises(TimeoutError):
        handle.result(timeout=0.001)
    agent.release()
    assert result_of(handle).kind is CompletionKind.COMPLETED_WITHOUT_RESULT


def test_handles_are_futures_to_whoever_waits_for_futures(plane: ControlPlane) -> None:
    handles = [plane.submit("a", prompt(text)).completion for text in ("one", "two", "three")]
    done, left = wait(handles, WAIT_S)
    assert (done, left) == (set(handles), set())
    assert {each.result().result for each in as_completed(handles)} == {
        "re: one",
        "re: two",
        "re: three",
    }
