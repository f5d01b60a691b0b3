"""Coalescing and supersession: which later input takes whose place, and where it stands."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from builders import (
    Runtime,
    codes_of,
    continuation,
    effects_of,
    event,
    message,
    operation,
    progress,
    prompt,
    request,
    step,
    terminal,
)

from meerkat import Deduplicated, Input, InputPhase, Rejected, RunOutput, kernel, to_json
from meerkat.errors import Overloaded
from meerkat.events import InputLifecycleEvent
from meerkat.input_lifecycle import CoalescedOutcome, SupersededOutcome
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.policy import Lane

QUEUED = InputPhase.QUEUED


def accept(runtime: Runtime, offered: Input) -> kernel.Transition:
    return runtime.do(kernel.AcceptInput(offered, to_json(offered)))


@pytest.mark.parametrize(
    ("first", "second"), [("status-a", "status-b"), (None, None), ("status-a", None)]
)
@pytest.mark.parametrize("build", [prompt, progress, event])
def test_coa_03_other_keys_and_no_keys_stand_alone(
    runtime: Runtime, build: Any, first: str | None, second: str | None
) -> None:
    ids = runtime.admit(build(supersession_key=first), build(supersession_key=second))
    assert [runtime.phase(each) for each in ids] == [QUEUED, QUEUED]


def test_coa_04_kind_is_part_of_the_scope(runtime: Runtime) -> None:
    ids = runtime.admit(event(supersession_key="K"), prompt(supersession_key="K"))
    assert [runtime.phase(each) for each in ids] == [QUEUED, QUEUED]
    assert runtime.lane(Lane.QUEUE) == ids


def test_coa_06_newer_progress_absorbs_the_older(runtime: Runtime) -> None:
    older, newer = progress(supersession_key="K"), progress(supersession_key="K")
    runtime.admit(older)
    done = accept(runtime, newer)
    state = runtime.state(older.id)
    assert state.phase is InputPhase.COALESCED
    assert state.terminal_outcome == CoalescedOutcome(aggregate_id=newer.id)
    assert runtime.lane(Lane.STEER) == [newer.id]
    assert [s.input_id for s in runtime.memory.ledger.active()] == [newer.id]
    assert codes_of(done) == ["input.accepted", "input.coalesced", "input.queued"]


@pytest.mark.parametrize("build", [prompt, message, request, terminal, step, event])
def test_a_queue_lane_key_supersedes_the_queued_one(runtime: Runtime, build: Any) -> None:
    older, between, newer = build(supersession_key="K"), message(), build(supersession_key="K")
    runtime.admit(older, between)
    done = accept(runtime, newer)
    state = runtime.state(older.id)
    assert state.phase is InputPhase.SUPERSEDED
    assert state.terminal_outcome == SupersededOutcome(superseded_by=newer.id)
    assert runtime.lane(Lane.QUEUE) == [between.id, newer.id]
    assert runtime.state(newer.id).admission_sequence == 2
    told = [emit.event for emit in effects_of(done, kernel.Emit)]
    assert told[1] == InputLifecycleEvent(told[1].code, older.id, related_input_id=newer.id)
    assert codes_of(done) == ["input.accepted", "input.superseded", "input.queued"]


@pytest.mark.parametrize(
    "build",
    [
        continuation,
        lambda **header: message(handling_mode="steer", **header),
        lambda **header: prompt(turn_metadata={"handling_mode": "steer"}, **header),
    ],
)
def test_other_steer_lane_keys_have_no_effect(runtime: Runtime, build: Any) -> None:
    ids = runtime.admit(build(supersession_key="K"), build(supersession_key="K"))
    assert runtime.lane(Lane.STEER) == ids


def test_lanes_do_not_supersede_each_other(runtime: Runtime) -> None:
    steer = message(handling_mode="steer", supersession_key="K")
    ids = runtime.admit(steer, message(supersession_key="K"))
    assert (runtime.lane(Lane.STEER), runtime.lane(Lane.QUEUE)) == ([ids[0]], [ids[1]])


def test_three_in_a_row_leave_the_last(runtime: Runtime) -> None:
    ids = runtime.admit(*(prompt(supersession_key="K") for _ in range(3)))
    assert [str(runtime.phase(each)) for each in ids] == ["superseded", "superseded", "queued"]
    assert runtime.state(ids[0]).terminal_outcome == SupersededOutcome(ids[1])
    assert runtime.state(ids[1]).terminal_outcome == SupersededOutcome(ids[2])


def test_a_staged_input_is_not_superseded(runtime: Runtime) -> None:
    (first,) = runtime.admit(prompt(supersession_key="K"))
    run = runtime.stage()
    (second,) = runtime.admit(prompt(supersession_key="K"))
    assert runtime.phase(first) is InputPhase.STAGED
    runtime.complete(run)
    assert runtime.phase(first) is InputPhase.CONSUMED
    assert runtime.lane(Lane.QUEUE) == [second]


def test_what_a_failed_run_put_back_is_superseded_with_the_rest(runtime: Runtime) -> None:
    """Two of one key wait, the older one back from its run: the newest replaces both."""
    (older,) = runtime.admit(prompt(supersession_key="K"))
    run = runtime.stage()
    (newer,) = runtime.admit(prompt(supersession_key="K"))
    runtime.fail(run)
    assert runtime.lane(Lane.QUEUE) == [older, newer]
    (newest,) = runtime.admit(prompt(supersession_key="K"))
    assert runtime.lane(Lane.QUEUE) == [newest]
    for each in (older, newer):
        assert runtime.state(each).terminal_outcome == SupersededOutcome(newest)


def test_one_staged_again_does_not_hide_the_one_behind_it(runtime: Runtime) -> None:
    (older,) = runtime.admit(prompt(supersession_key="K"))
    run = runtime.stage()
    (newer,) = runtime.admit(prompt(supersession_key="K"))
    runtime.fail(run)
    runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    runtime.stage()
    assert runtime.contributors == [older]
    (newest,) = runtime.admit(prompt(supersession_key="K"))
    assert runtime.lane(Lane.QUEUE) == [newest]
    assert runtime.phase(newer) is InputPhase.SUPERSEDED


def test_a_key_on_an_operation_has_no_effect(runtime: Runtime) -> None:
    (waiting,) = runtime.admit(prompt(supersession_key="K"))
    runtime.admit(operation(supersession_key="K"))
    assert runtime.lane(Lane.QUEUE) == [waiting]


def test_coa_06_the_newer_progress_waits_in_its_own_place(runtime: Runtime) -> None:
    older, other, newer = (progress(supersession_key=key) for key in ("K", "L", "K"))
    runtime.admit(older, other, newer)
    assert runtime.lane(Lane.STEER) == [other.id, newer.id]
    assert runtime.state(newer.id).admission_sequence == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [(message, request), (request, terminal), (message, step), (step, event), (prompt, step)],
)
def test_coa_04_no_two_kinds_share_a_key(runtime: Runtime, first: Any, second: Any) -> None:
    ids = runtime.admit(first(supersession_key="K"), second(supersession_key="K"))
    assert runtime.lane(Lane.QUEUE) == ids


def test_what_is_not_taken_in_takes_nobodys_place() -> None:
    """Known already, rejected, past the limit, or not understood: the older one waits on."""
    runtime = Runtime(Rules(limits=Limits(pending_inputs_max=2)))
    waiting = prompt(supersession_key="K", idempotency_key="k-1")
    absorbed = progress(supersession_key="K")
    ids = runtime.admit(waiting, absorbed)
    before = [runtime.state(each) for each in ids]
    again = prompt(supersession_key="K", idempotency_key="k-1")
    assert isinstance(runtime.offer(again), Deduplicated)
    assert isinstance(runtime.offer(evolve(waiting, durability="derived", id=again.id)), Rejected)
    for each in (prompt(supersession_key="K"), progress(supersession_key="K")):
        with pytest.raises(Overloaded):
            runtime.offer(each)
    assert [runtime.state(each) for each in ids] == before


def test_a_silent_request_supersedes_without_a_wake(runtime: Runtime) -> None:
    runtime.do(kernel.SetSilentIntents(frozenset({"mob.peer_added"})))
    ids = runtime.admit(request(supersession_key="K"), request(supersession_key="K"))
    assert runtime.lane(Lane.QUEUE) == ids[1:]
    assert not runtime.memory.head.awake


@pytest.mark.parametrize("build", [prompt, progress])
def test_the_idempotency_key_of_a_displaced_input_still_names_it(
    runtime: Runtime, build: Any
) -> None:
    older, newer = (build(supersession_key="K", idempotency_key=key) for key in ("k-1", "k-2"))
    runtime.admit(older, newer)
    outcome = runtime.offer(build(supersession_key="K", idempotency_key="k-1"))
    assert isinstance(outcome, Deduplicated)
    assert outcome.existing_id == older.id
    assert outcome.existing_state.terminal_outcome is not None
    assert runtime.phase(newer.id) is QUEUED


def test_a_displaced_input_lets_its_content_go(runtime: Runtime) -> None:
    older, newer = prompt(supersession_key="K"), prompt(supersession_key="K")
    runtime.admit(older)
    assert runtime.state(older.id).input == older
    runtime.admit(newer)
    assert runtime.state(older.id).input is None


@pytest.mark.parametrize(("older", "newer"), [("durable", "ephemeral"), ("ephemeral", "durable")])
def test_durability_is_no_part_of_the_scope(runtime: Runtime, older: str, newer: str) -> None:
    ids = runtime.admit(*(prompt(supersession_key="K", durability=each) for each in (older, newer)))
    assert runtime.phase(ids[0]) is InputPhase.SUPERSEDED
    assert runtime.lane(Lane.QUEUE) == ids[1:]


def test_what_an_executor_was_handed_stays_and_only_later_ones_are_absorbed(
    runtime: Runtime,
) -> None:
    runtime.admit(prompt())
    run_id = runtime.stage()
    (handed,) = runtime.admit(progress(supersession_key="K"))
    runtime.do(kernel.HandOver(run_id))
    ids = runtime.admit(*(progress(supersession_key="K") for _ in range(2)))
    assert runtime.phase(ids[0]) is InputPhase.COALESCED
    assert runtime.lane(Lane.STEER) == [handed, ids[1]]
    plan = runtime.session.plan(RunOutput())
    runtime.do(kernel.CommitBoundary(run_id, (handed,), plan))
    assert runtime.phase(handed) is InputPhase.CONSUMED
    assert runtime.lane(Lane.STEER) == [ids[1]]


def test_what_was_handed_over_and_left_is_absorbed_once_its_run_is_over(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run_id = runtime.stage()
    (handed,) = runtime.admit(progress(supersession_key="K"))
    runtime.do(kernel.HandOver(run_id))
    (second,) = runtime.admit(progress(supersession_key="K"))
    runtime.complete(run_id)
    (third,) = runtime.admit(progress(supersession_key="K"))
    assert runtime.lane(Lane.STEER) == [third]
    for each in (handed, second):
        assert runtime.state(each).terminal_outcome == CoalescedOutcome(third)
