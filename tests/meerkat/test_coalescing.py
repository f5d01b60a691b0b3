"""Coalescing and supersession: which later input takes whose place, and where it stands."""

from __future__ import annotations

from typing import Any

import pytest
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

from meerkat import Input, InputPhase, kernel, to_json
from meerkat.events import InputLifecycleEvent
from meerkat.input_lifecycle import CoalescedOutcome, SupersededOutcome
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
