"""Boundaries: what a run is handed of what was steered into it, while it goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from boundary_builders import (
    TAKEN_IN,
    A,
    at_boundary,
    begun,
    commit,
    ingested,
    said,
    stored,
)
from plane_builders import (
    WAIT_S,
    OpenPlane,
    Puppet,
    continuation,
    event,
    peer_message,
    phase_of,
    progress,
    prompt,
    result_of,
    steered,
)

from actors import ControlPlane
from meerkat import (
    Input,
    InputPhase,
    PromptInput,
)
from meerkat.limits import BATCH_INPUTS_MAX
from meerkat.outcomes import CompletionKind
from meerkat.policy import DEFAULT_POLICY, PolicyDecision, PolicyTable, QueueMode
from meerkat.store import SqliteStore


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet)
    plane.register("a")
    return plane


# --- what is handed over ----------------------------------------------------------------


def test_a_boundary_hands_over_the_content_turns_of_the_steer_lane_in_order(
    plane: ControlPlane, puppet: Puppet
) -> None:
    _, run = begun(plane, puppet)
    offered: list[Input] = [
        steered("one"),
        prompt("waits"),
        continuation(),
        peer_message("two", handling_mode="steer"),
        peer_message("waits too"),
        event({"n": 3}, handling_mode="steer"),
        progress("four"),
    ]
    ingested(plane, *offered)
    boundary = run.does(at_boundary)
    assert [each.id for each in boundary.inputs] == [offered[at].id for at in (0, 3, 5, 6)]
    assert list(boundary.inputs) == [offered[at] for at in (0, 3, 5, 6)]
    assert boundary.texts == ["one", "two", '{"n":3}', "four"]
    run.does(lambda _: boundary.commit())
    assert not run.does(at_boundary)
    run.returns()
    resumed = puppet.next_run()
    assert resumed.does(lambda context: context.boundary().inputs) == ()
    resumed.returns()
    for text in ("waits", "waits too"):
        after = puppet.next_run()
        assert after.called.text == text
        after.returns()
    assert puppet.texts == ["first", "", "waits", "waits too"]


def test_a_boundary_is_no_batch(plane: ControlPlane, puppet: Puppet) -> None:
    """It hands over all there is: more than a run takes, and what contradicts itself."""
    _, run = begun(plane, puppet)
    offered = [
        PromptInput(str(number), turn_metadata={"handling_mode": "steer", "model": str(number)})
        for number in range(BATCH_INPUTS_MAX + 1)
    ]
    ids = ingested(plane, *offered)
    receipt = run.does(commit())
    assert list(receipt.contributing_input_ids) == ids


def test_a_run_is_not_handed_its_own_inputs(plane: ControlPlane, puppet: Puppet) -> None:
    submission = plane.submit("a", steered("mine"))
    run = puppet.next_run()
    assert not run.does(at_boundary)
    (other,) = ingested(plane, steered("other"))
    assert [each.id for each in run.does(at_boundary).inputs] == [other]
    run.returns()
    assert result_of(submission.completion).kind is CompletionKind.COMPLETED


def test_what_is_not_committed_is_handed_over_again_and_run_later(
    plane: ControlPlane, puppet: Puppet
) -> None:
    first, run = begun(plane, puppet)
    ids = ingested(plane, steered("one"), steered("two"))
    for _ in range(2):
        assert run.does(at_boundary).texts == ["one", "two"]
    for each in ids:
        state = plane.input_state("a", each)
        assert state is not None
        assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)
        assert state.last_run_id is None
    handles = [plane.completion("a", each) for each in ids]
    run.returns()
    assert result_of(first).result == "re: first"
    later = puppet.next_run()
    assert (later.called.text, later.called.attempt) == ("one\n\ntwo", 1)
    later.returns()
    assert [result_of(each).result for each in handles] == ["re: one\n\ntwo"] * 2


def test_a_commit_consumes_exactly_what_its_boundary_handed_over(
    plane: ControlPlane, puppet: Puppet
) -> None:
    _, run = begun(plane, puppet)
    one = ingested(plane, steered("one"))
    boundary = run.does(at_boundary)
    two = ingested(plane, steered("two"))
    receipt = run.does(lambda _: boundary.commit())
    assert list(receipt.contributing_input_ids) == one
    assert run.does(at_boundary).texts == ["two"]
    assert plane.active_input_ids("a")[1:] == two


# --- inputs that take each other's place ------------------------------------------------


def test_coa_06_of_coalesced_progress_a_boundary_hands_over_the_newest(
    plane: ControlPlane, puppet: Puppet
) -> None:
    _, run = begun(plane, puppet)
    submitted = [
        plane.submit("a", progress(f"{number} %", supersession_key="p")) for number in (1, 2, 3)
    ]
    (other,) = ingested(plane, progress("apart"))
    newest = result_of(submitted[-1].accepted).input_id
    receipt = run.does(commit())
    assert list(receipt.contributing_input_ids) == [newest, other]
    for older, by in itertools.pairwise(submitted):
        ended = result_of(older.completion)
        assert ended.kind is CompletionKind.DISPLACED
        assert ended.displaced_by == result_of(by.accepted).input_id
    assert result_of(submitted[-1].completion).kind is CompletionKind.COMPLETED_WITHOUT_RESULT


class Superseding:
    """A policy by which what is steered under a key supersedes."""

    def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
        decision = DEFAULT_POLICY.resolve(input, running=running)
        keyed = input.supersession_key is not None
        return evolve(decision, queue_mode=QueueMode.SUPERSEDE) if keyed else decision


KEYED: dict[str, tuple[Callable[..., Input], PolicyTable, CompletionKind]] = {
    "coalescing": (progress, DEFAULT_POLICY, CompletionKind.DISPLACED),
    "superseding": (steered, Superseding(), CompletionKind.DISPLACED),
    "a key without effect": (steered, DEFAULT_POLICY, TAKEN_IN),
}


@pytest.mark.parametrize("how", KEYED)
def test_what_a_run_has_in_its_hands_is_not_replaced(
    open_plane: OpenPlane, puppet: Puppet, how: str
) -> None:
    """A newer one waits beside it, and is replaced by the next one in its turn."""
    make, policy, fate = KEYED[how]
    plane = open_plane(puppet, policy=policy)
    plane.register("a")
    _, run = begun(plane, puppet)
    submitted = [plane.submit("a", make("1", supersession_key="k"))]
    result_of(submitted[0].accepted)
    boundary = run.does(at_boundary)
    submitted += [plane.submit("a", make(text, supersession_key="k")) for text in ("2", "3")]
    ids = [result_of(each.accepted).input_id for each in submitted]
    assert phase_of(plane, "a", ids[0]) is InputPhase.QUEUED
    left = ["3"] if fate is CompletionKind.DISPLACED else ["2", "3"]
    assert run.does(at_boundary).texts == ["1", *left]
    receipt = run.does(lambda _: boundary.commit())
    assert list(receipt.contributing_input_ids) == ids[:1]
    assert run.does(at_boundary).texts == left
    run.does(commit())
    assert [result_of(each.completion).kind for each in submitted] == [TAKEN_IN, fate, TAKEN_IN]


@pytest.mark.parametrize("how", ["coalescing", "superseding"])
def test_what_a_run_had_in_its_hands_and_left_may_be_replaced_after_it(
    open_plane: OpenPlane, puppet: Puppet, how: str
) -> None:
    make, policy, _ = KEYED[how]
    plane = open_plane(puppet, policy=policy)
    plane.register("a")
    first, run = begun(plane, puppet)
    ingested(plane, continuation())
    old = plane.submit("a", make("old", supersession_key="k"))
    result_of(old.accepted)
    assert run.does(at_boundary).texts == ["old"]
    run.returns()
    result_of(first)
    resumed = puppet.next_run()  # of the continuation, which is before it
    (new,) = ingested(plane, make("new", supersession_key="k"))
    assert result_of(old.completion).displaced_by == new
    assert resumed.does(at_boundary).texts == ["new"]


# --- inputs that are not stored ---------------------------------------------------------


def test_ephemeral_inputs_are_taken_in_and_never_written(
    plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    _, run = begun(plane, puppet)
    offered = [steered("gone", durability="ephemeral"), steered("kept")]
    handles = [plane.submit("a", each).completion for each in offered]
    plane.runtime_state("a")
    receipt = run.does(commit(append=said("both")))
    assert [each.id for each in offered] == list(receipt.contributing_input_ids)
    for handle in handles:
        assert handle.result(WAIT_S).kind is CompletionKind.COMPLETED_WITHOUT_RESULT
    store = SqliteStore(path)
    assert store.load_input(A, offered[0].id) is None
    assert store.load_input(A, offered[1].id) is not None
    assert store.load_boundary_receipt(A, run.called.run_id, 0) == receipt
    alone = plane.submit("a", steered("alone", durability="ephemeral"))
    result_of(alone.accepted)
    assert run.does(commit(append=said("alone"))).sequence == 1
    assert result_of(alone.completion).kind is CompletionKind.COMPLETED_WITHOUT_RESULT
    assert stored(path) == said("both", "alone")
