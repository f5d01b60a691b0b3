"""Bad use of a run's context: refused with a typed error, and nothing is lost by it.

What an executor catches has not happened; what it lets through is a failed attempt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from boundary_builders import (
    COMPLETED,
    TAKEN_IN,
    Midway,
    at_boundary,
    begun,
    commit,
    expect_run,
    ingested,
    proven,
    said,
    stored,
    texts_in,
)
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    Puppet,
    prompt,
    result_of,
)

from actors import ControlPlane
from meerkat import InputPhase, RunContext, RunOutput, SessionOwned
from meerkat.bindings import SessionBindingsMismatch
from meerkat.errors import ApplyFailed, RunRefused
from meerkat.outcomes import CompletionKind


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet, grace_s=WAIT_S)
    plane.register("a")
    return plane


# --- boundaries -------------------------------------------------------------------------


def test_an_empty_boundary_cannot_be_committed(
    plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    first, run = begun(plane, puppet)
    ingested(plane, prompt("not steered"))
    with pytest.raises(RunRefused, match="nothing to commit"):
        run.does(commit(append=said("nothing")))
    run.returns()
    assert result_of(first).kind is COMPLETED
    assert proven(path).keys() == {(run.called.run_id, 0)}


def test_a_boundary_is_committed_once(plane: ControlPlane, puppet: Puppet, path: Path) -> None:
    midway = Midway(plane, puppet)
    with pytest.raises(RunRefused, match="committed already"):
        midway.commit()
    assert texts_in(path) == ["taken: one"]
    assert midway.run.does(commit()).sequence == 1


def test_what_two_boundaries_handed_over_is_taken_in_once(
    plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    """Also where one of them has more: it has to be asked for again."""
    midway = Midway(plane, puppet, committed=False)
    both = midway.run.does(at_boundary)
    assert both.texts == ["one", "two"]
    midway.commit()
    with pytest.raises(RunRefused, match=str(midway.ids["one"])):
        midway.run.does(lambda _: both.commit(append=said("taken: one, two")))
    receipt = midway.run.does(commit(append=said("taken: two")))
    assert (receipt.sequence, list(receipt.contributing_input_ids)) == (1, [midway.ids["two"]])
    midway.run.returns(RunOutput())
    assert midway.ended() == {
        "first": CompletionKind.COMPLETED_WITHOUT_RESULT,
        "one": TAKEN_IN,
        "two": TAKEN_IN,
    }
    assert texts_in(path) == ["taken: one", "taken: two"]


UNSTORABLE: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "a text": ({"append": "text"}, TypeError),
    "a message that is no mapping": ({"messages": ["text"]}, TypeError),
    "an object": ({"append": said(object())}, ValueError),  # type: ignore[arg-type]
    "a key that is no string": ({"append": [{1: "x"}]}, ValueError),  # type: ignore[dict-item]
    "NaN": ({"append": said(math.nan)}, ValueError),  # type: ignore[arg-type]
    "infinity": ({"messages": said(math.inf)}, ValueError),  # type: ignore[arg-type]
    "a lone surrogate": ({"append": said("\ud800")}, ValueError),
    "a large integer": ({"messages": said(2**64)}, ValueError),  # type: ignore[arg-type]
    "a snapshot of text": ({"snapshot": "text"}, TypeError),
    "two of three": ({"append": [], "snapshot": b""}, ValueError),
}


@pytest.mark.parametrize("name", UNSTORABLE)
def test_what_cannot_be_stored_at_a_boundary_has_not_happened(
    plane: ControlPlane, puppet: Puppet, path: Path, name: str
) -> None:
    form, error = UNSTORABLE[name]
    midway = Midway(plane, puppet, committed=False)
    with pytest.raises(error):
        midway.run.does(lambda _: midway.boundary.commit(**form))
    state = plane.input_state("a", midway.ids["one"])
    assert state is not None
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)
    assert (proven(path), stored(path)) == ({}, [])
    assert midway.commit().sequence == 0  # the same boundary, done right
    midway.run.returns()
    expect_run(puppet, "two")
    assert midway.ended() == {"first": COMPLETED, "one": TAKEN_IN, "two": COMPLETED}


def test_an_output_that_cannot_be_stored_leaves_the_boundaries_before_it(
    plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    midway = Midway(plane, puppet)
    midway.run.returns(RunOutput(append=said(math.nan)))  # type: ignore[arg-type]
    expect_run(puppet, "two")
    expect_run(puppet, "first", 2)
    assert midway.ended() == {"first": COMPLETED, "one": TAKEN_IN, "two": COMPLETED}
    assert texts_in(path) == ["taken: one", "two", "re: two", "first", "re: first"]


# --- what an executor lets through ------------------------------------------------------


async def answer() -> RunOutput:
    return RunOutput()


BAD: dict[str, tuple[Callable[[RunContext], Any], str]] = {
    "an empty boundary": (lambda context: context.boundary().commit(), "nothing to commit"),
    "progress that is no text": (lambda context: context.progress(7), "progress is a text"),  # type: ignore[arg-type]
    "a wait for a text": (lambda context: context.wait("1"), "TypeError"),  # type: ignore[arg-type]
    "a coroutine": (lambda _: answer(), "RunOutput, not coroutine"),
    "the class": (lambda _: RunOutput, "RunOutput, not type"),
    "a boundary": (at_boundary, "RunOutput, not Boundary"),
    "the context": (lambda context: context, "RunOutput, not Run"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD)
def test_bad_use_that_is_let_through_is_a_failed_attempt(open_plane: OpenPlane, name: str) -> None:
    bad, text = BAD[name]
    agent = Agent(lambda called, context: bad(context) if called.text == "bad" else None)
    plane = open_plane(agent)
    plane.register("a")
    handles = [plane.submit("a", prompt(each)).completion for each in ("bad", "good")]
    ended = result_of(handles[0])
    assert (ended.kind, ended.reason) == (CompletionKind.ABANDONED, "max_attempts_exhausted")
    assert text in (ended.error or "")
    assert result_of(handles[1]).result == "re: good"
    assert agent.texts == ["bad"] * 3 + ["good"]


def test_a_context_from_an_earlier_attempt_is_a_failed_attempt(open_plane: OpenPlane) -> None:
    kept: list[RunContext] = []

    def behave(called: Called, context: RunContext) -> None:
        kept.append(context)
        if called.attempt < 3:
            kept[0].boundary()
            raise ApplyFailed("first attempt")

    plane = open_plane(Agent(behave))
    plane.register("a")
    offered = prompt("late")
    result_of(plane.submit("a", offered).completion)
    state = plane.input_state("a", offered.id)
    assert state is not None
    assert state.attempt_count == 3
    assert "the run is over" in (state.last_error or "")


# --- bindings ---------------------------------------------------------------------------


def never() -> Any:
    raise AssertionError("a registry was made beside the session's own")


def test_bindings_of_another_session_are_refused_in_a_build(
    plane: ControlPlane, puppet: Puppet
) -> None:
    own, others = plane.register("a"), plane.register("b")
    first, run = begun(plane, puppet)

    def build(context: RunContext, bindings: Any) -> Any:
        mode = SessionOwned(bindings)
        return mode.resolve(context.bindings.session_id, new_registry=never)

    with pytest.raises(SessionBindingsMismatch) as refused:
        run.does(lambda context: build(context, others))
    assert refused.value.session_id == own.session_id
    assert refused.value.bound_session_id == others.session_id
    built = run.does(lambda context: build(context, context.bindings))
    assert built.ops_lifecycle is own.ops_lifecycle
    assert built.cursor_state is own.cursor_state
    run.raises(refused.value)
    expect_run(puppet, "first", 2)
    assert result_of(first).kind is COMPLETED
