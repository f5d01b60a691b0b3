"""Redriving: what was given up is back as something new, once, whatever goes wrong on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aio_builders import OnLoop, async_plane
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    code_of,
    decided,
    events_until,
    phase_of,
    prompt,
    read_of,
    result_of,
    steered,
)

from actors import ControlPlane
from actors.driver_redrive import AT_ONCE
from meerkat import InputId, InputPhase, LogicalRuntimeId, PolicyDecision, RunContext, to_json
from meerkat.errors import (
    ApplyFailed,
    CallTimedOut,
    ControlPlaneStopped,
    InvalidState,
    Overloaded,
    RuntimeNotFound,
    StoreError,
)
from meerkat.identifiers import CausationId, CorrelationId
from meerkat.input_lifecycle import AbandonCause
from meerkat.limits import Limits, Retention
from meerkat.policy import DEFAULT_POLICY
from meerkat.redrive import redriven_id
from meerkat.reports import RedriveReport, SkipReason
from meerkat.store import SqliteStore
from meerkat.testing import FaultyStore, StoreFault, disk_full
from meerkat.testing.store_wrapper import COMMITS

A = LogicalRuntimeId("a")
MORE_THAN_ONE_TURN = AT_ONCE * 2 + 1


def given_up(plane: ControlPlane, count: int = 1, **header: Any) -> list[InputId]:
    """Inputs that a reset gave up, in the order of their admission."""
    sent = [prompt(f"input {number}", **header) for number in range(count)]
    for accepted in [plane.submit("a", each).accepted for each in sent]:
        result_of(accepted)
    plane.reset("a")
    return [each.id for each in sent]


def pairs(report: RedriveReport) -> list[tuple[InputId, InputId]]:
    return [(each.input_id, each.redriven_as) for each in report.redriven]


def reasons(report: RedriveReport) -> list[tuple[InputId, SkipReason]]:
    return [(each.input_id, each.reason) for each in report.skipped]


def texts_waiting(plane: ControlPlane) -> list[str]:
    """What the inputs that wait say, in the order of their admission."""
    states = (plane.input_state("a", each) for each in plane.active_input_ids("a"))
    return [state.input.content for state in states if state and state.input]


# --- all of them ------------------------------------------------------------------------


def test_everything_that_was_given_up_is_back_the_oldest_first(quiet_plane: ControlPlane) -> None:
    old = given_up(quiet_plane, MORE_THAN_ONE_TURN)
    report = quiet_plane.redrive("a", timeout=WAIT_S)
    assert pairs(report) == [(each, redriven_id(each)) for each in old]
    assert report.skipped == ()
    assert texts_waiting(quiet_plane) == [f"input {n}" for n in range(MORE_THAN_ONE_TURN)]
    assert all(phase_of(quiet_plane, "a", each) is InputPhase.ABANDONED for each in old)


def test_a_second_time_nothing_is_left_to_come_back(quiet_plane: ControlPlane) -> None:
    given_up(quiet_plane, 3)
    quiet_plane.redrive("a")
    waiting = quiet_plane.active_input_ids("a")
    with quiet_plane.subscribe("a") as events:
        assert quiet_plane.redrive("a") == RedriveReport()
        quiet_plane.ingest("a", prompt())
        assert [code_of(each) for each in events_until(events, "input.queued")] == [
            "input.accepted",
            "input.queued",
        ]
    assert quiet_plane.active_input_ids("a")[:-1] == waiting


def test_what_came_back_and_is_given_up_again_comes_back_again(quiet_plane: ControlPlane) -> None:
    (first,) = given_up(quiet_plane)
    ids = [first]
    for _ in range(3):
        (pair,) = pairs(quiet_plane.redrive("a"))
        assert pair == (ids[-1], redriven_id(ids[-1]))
        ids.append(pair[1])
        quiet_plane.reset("a")
    assert len(set(ids)) == 4
    assert quiet_plane.input_state("a", ids[-1]).causation_id == CausationId(ids[-2].value)  # type: ignore[union-attr]


def test_only_those_given_up_for_a_cause(open_plane: OpenPlane) -> None:
    def fail(_called: Any, _context: RunContext) -> None:
        raise ApplyFailed("no", recoverable=False)

    agent = Agent(fail)
    plane = open_plane(agent)
    plane.register("a")
    failed = plane.submit("a", prompt("failed"))
    assert result_of(failed.completion).kind == "abandoned"
    plane.pause("a")
    (reset,) = given_up(plane)
    exhausted = {AbandonCause.MAX_ATTEMPTS_EXHAUSTED}
    report = plane.redrive("a", causes=exhausted)
    assert [old for old, _ in pairs(report)] == [failed.accepted.result().input_id]
    assert reset not in dict(pairs(report))
    assert pairs(plane.redrive("a", causes=exhausted)) == []
    assert [old for old, _ in pairs(plane.redrive("a"))] == [reset]


# --- by name ----------------------------------------------------------------------------


def test_inputs_that_are_named_come_back_in_that_order(quiet_plane: ControlPlane) -> None:
    old = given_up(quiet_plane, MORE_THAN_ONE_TURN)[::-1]
    twice = [*old, *old[:3]]
    assert [each for each, _ in pairs(quiet_plane.redrive("a", twice))] == old
    assert texts_waiting(quiet_plane)[0] == f"input {MORE_THAN_ONE_TURN - 1}"


def test_what_does_not_come_back_is_named_and_keeps_nobody_else(quiet_plane: ControlPlane) -> None:
    quiet_plane.register("b")
    elsewhere = prompt("of b")
    quiet_plane.ingest("b", elsewhere)
    quiet_plane.reset("b")
    fine, again = given_up(quiet_plane, 2)
    quiet_plane.redrive("a", [again])
    (waits,) = quiet_plane.active_input_ids("a")
    report = quiet_plane.redrive("a", [InputId.new(), elsewhere.id, waits, again, fine])
    assert pairs(report) == [(fine, redriven_id(fine))]
    assert [reason for _, reason in reasons(report)] == [
        SkipReason.UNKNOWN,
        SkipReason.UNKNOWN,
        SkipReason.NOT_ABANDONED,
        SkipReason.REDRIVEN_ALREADY,
    ]
    assert report.skipped[3].detail == str(redriven_id(again))


def test_what_nobody_remembers_the_words_of_stays_gone(
    quiet_plane: ControlPlane, open_plane: OpenPlane
) -> None:
    """An ephemeral input was never written: of what it said nothing is left."""
    passing = prompt("not kept", durability="ephemeral")
    quiet_plane.ingest("a", passing)
    (kept,) = given_up(quiet_plane)
    report = quiet_plane.redrive("a", [passing.id, kept])
    assert reasons(report) == [(passing.id, SkipReason.PAYLOAD_GONE)]
    assert pairs(report) == [(kept, redriven_id(kept))]
    assert pairs(quiet_plane.redrive("a")) == []


def test_what_retention_has_let_go_is_named(path: Path, open_plane: OpenPlane) -> None:
    plane = open_plane()
    plane.register("a")
    gone = given_up(plane, 2)
    plane.stop()
    store = SqliteStore(path)
    after: str | None = None
    while True:
        done = store.prune(Retention(max_count=0), FakeClock().now(), after=after)
        after = done.next
        if after is None:
            break
    store.close()
    again = open_plane()
    (fresh,) = given_up(again)
    for back in ([(fresh, redriven_id(fresh))], []):
        report = again.redrive("a")
        assert pairs(report) == back
        assert reasons(report) == [(each, SkipReason.PAYLOAD_GONE) for each in gone]


# --- as what ----------------------------------------------------------------------------


def test_it_has_no_key_and_says_what_it_came_of(quiet_plane: ControlPlane) -> None:
    exchange = CorrelationId.new()
    keys = {"idempotency_key": "k", "supersession_key": "s", "correlation_id": exchange}
    (old,) = given_up(quiet_plane, **keys)
    later = prompt("later", supersession_key="s")
    quiet_plane.ingest("a", later)
    quiet_plane.redrive("a")
    assert quiet_plane.active_input_ids("a") == [later.id, redriven_id(old)]
    state = quiet_plane.input_state("a", redriven_id(old))
    assert state is not None
    assert (state.idempotency_key, state.correlation_id) == (None, exchange)
    assert state.causation_id == CausationId(old.value)
    assert state.input is not None
    assert state.input.supersession_key is None
    known = quiet_plane.ingest("a", prompt(idempotency_key="k"))
    assert known.existing_id == old  # type: ignore[union-attr]


def test_its_events_name_the_old_one_as_their_cause_also_after_a_restart(
    open_plane: OpenPlane,
) -> None:
    agent = Agent()
    plane = open_plane()
    plane.register("a")
    (old,) = given_up(plane)
    with plane.subscribe("a") as events:
        plane.redrive("a")
        told = events_until(events, "input.queued")
    plane.pause("a")
    plane.stop()
    again = open_plane(agent)
    plain = again.submit("a", prompt("plain"))
    result_of(plain.accepted)
    with again.subscribe("a") as events:
        again.resume("a")
        told += events_until(events, "run.completed", times=2)
    about = [each for each in told if getattr(each.event, "input_id", None) == redriven_id(old)]
    assert {code_of(each) for each in about} >= {"input.accepted", "input.staged", "input.consumed"}
    assert {each.causation_id for each in about} == {CausationId(old.value)}
    runs = [each for each in told if code_of(each) == "run.completed"]
    assert runs[0].causation_id == CausationId(redriven_id(old).value)


def test_it_runs_like_any_other(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = open_plane(agent)
    plane.register("a")
    plane.pause("a")
    old = given_up(plane, 3)
    report = plane.redrive("a")
    handles = [plane.completion("a", new) for _, new in pairs(report)]
    plane.resume("a")
    assert [result_of(each).kind for each in handles] == ["completed"] * 3
    assert agent.texts == ["input 0", "input 1", "input 2"]
    assert len(old) == 3


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize("end", ["retire", "stop_runtime", "destroy"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "all"])
def test_a_runtime_that_takes_no_input_takes_none_back(
    quiet_plane: ControlPlane, end: str, named: bool
) -> None:
    old = given_up(quiet_plane, 2)
    getattr(quiet_plane, end)("a")
    with pytest.raises(InvalidState) as refused:
        quiet_plane.redrive("a", old if named else None)
    assert refused.value.state is quiet_plane.runtime_state("a")
    assert quiet_plane.active_input_ids("a") == []


@pytest.mark.parametrize("named", [[], None], ids=["none", "all"])
def test_it_is_refused_also_where_nothing_would_come_back(
    quiet_plane: ControlPlane, named: list[InputId] | None
) -> None:
    quiet_plane.retire("a")
    with pytest.raises(InvalidState):
        quiet_plane.redrive("a", named)


def test_nobody_s_inputs_and_those_of_the_unregistered_are_refused(
    quiet_plane: ControlPlane,
) -> None:
    with pytest.raises(RuntimeNotFound):
        quiet_plane.redrive("nobody")
    given_up(quiet_plane)
    quiet_plane.unregister("a")
    with pytest.raises(RuntimeNotFound):
        quiet_plane.redrive("a")
    quiet_plane.register("a")
    assert len(quiet_plane.redrive("a").redriven) == 1
    quiet_plane.stop()
    with pytest.raises(ControlPlaneStopped):
        quiet_plane.redrive("a")


@pytest.mark.parametrize(
    "wrong", [{"input_ids": "text"}, {"input_ids": [1]}, {"causes": ["reset"]}, {"input_ids": 1}]
)
def test_what_is_no_collection_of_ids_or_causes_is_a_type_error(
    quiet_plane: ControlPlane, wrong: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        quiet_plane.redrive("a", **wrong)


def test_what_a_policy_refuses_by_now_is_named(open_plane: OpenPlane) -> None:
    class Choosy:
        refuses = False

        def resolve(self, offered: Any, *, running: bool) -> PolicyDecision:
            if self.refuses and offered.content == "input 1":
                raise ValueError("not any more")
            return DEFAULT_POLICY.resolve(offered, running=running)

    policy = Choosy()
    plane = open_plane(policy=policy)
    plane.register("a")
    old = given_up(plane, 3)
    policy.refuses = True
    report = plane.redrive("a")
    assert [each for each, _ in pairs(report)] == [old[0], old[2]]
    assert reasons(report) == [(old[1], SkipReason.REFUSED)]
    assert "not any more" in str(report.skipped[0].detail)


def test_what_is_too_large_by_now_is_named(open_plane: OpenPlane) -> None:
    plane = open_plane()
    plane.register("a")
    old = given_up(plane, 2)
    size = len(to_json(prompt("input 0")))
    plane.stop()
    small = open_plane(limits=Limits(payload_bytes_max=size))
    report = small.redrive("a")
    assert reasons(report) == [(each, SkipReason.REFUSED) for each in old]
    assert "over the limit" in str(report.skipped[0].detail)


# --- half-way ---------------------------------------------------------------------------


def test_without_room_it_stops_and_goes_on_where_it_was(open_plane: OpenPlane) -> None:
    plane = open_plane(limits=Limits(pending_inputs_max=AT_ONCE + 3))
    plane.register("a")
    old = [*given_up(plane, AT_ONCE), *given_up(plane, 6)]
    with pytest.raises(Overloaded):
        plane.redrive("a")
    assert plane.active_input_ids("a") == [redriven_id(each) for each in old[: AT_ONCE + 3]]
    with pytest.raises(Overloaded):
        plane.redrive("a")
    agent = Agent()
    plane.attach_executor("a", agent)
    for each in old[: AT_ONCE + 3]:
        result_of(plane.completion("a", redriven_id(each)))
    assert [each for each, _ in pairs(plane.redrive("a"))] == old[AT_ONCE + 3 :]


@pytest.mark.parametrize("named", [True, False], ids=["named", "all"])
def test_a_disk_that_fails_half_way_leaves_what_is_back(
    open_plane: OpenPlane, path: Path, named: bool
) -> None:
    due: list[int] = []
    fault = StoreFault(error=disk_full)
    failing = FaultyStore(
        SqliteStore(path),
        plan=lambda call: fault if call.number in due else None,
        calls=COMMITS,
    )
    plane = open_plane(store=failing)
    plane.register("a")
    old = given_up(plane, MORE_THAN_ONE_TURN)
    due.append(failing.called + 2)
    with pytest.raises(StoreError):
        plane.redrive("a", old if named else None)
    assert plane.active_input_ids("a") == [redriven_id(each) for each in old[:AT_ONCE]]
    report = plane.redrive("a")
    assert [each for each, _ in pairs(report)] == old[AT_ONCE:]
    assert len(plane.active_input_ids("a")) == MORE_THAN_ONE_TURN


def test_it_bounds_the_caller_and_goes_on_later(open_plane: OpenPlane) -> None:
    clock = FakeClock()
    plane = open_plane(clock=clock)
    plane.register("a")
    old = given_up(plane, 2)
    with pytest.raises(CallTimedOut, match="redrive"):
        plane.redrive("a", timeout=0)
    decided(plane, "a").result(WAIT_S)
    assert plane.active_input_ids("a") == [redriven_id(each) for each in old]
    assert plane.redrive("a") == RedriveReport()


def test_steered_inputs_and_a_run_in_hand(open_plane: OpenPlane) -> None:
    """What was steered is steered again; the run in hand is told of it."""
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    plane.pause("a")
    late = steered("late")
    plane.ingest("a", late)
    plane.reset("a")
    plane.resume("a")
    running = plane.submit("a", prompt("long"))
    agent.next_call()
    plane.redrive("a")
    waiting = read_of(plane, "a", lambda memory, _: [s.policy.lane for s in memory.ledger.active()])
    assert "steer" in map(str, waiting)
    agent.release()
    assert result_of(plane.completion("a", redriven_id(late.id))).kind == "completed"
    result_of(running.completion)


# --- in an event loop -------------------------------------------------------------------


def test_an_event_loop_awaits_the_same(path: Path, on_loop: OnLoop) -> None:
    async def main() -> None:
        plane = async_plane(path)
        async with plane:
            await plane.register("a")
            sent = [prompt(f"input {n}") for n in range(AT_ONCE + 1)]
            for each in sent:
                await plane.ingest("a", each)
            await plane.reset("a")
            first = await plane.redrive("a", [sent[0].id, InputId.new()])
            assert pairs(first) == [(sent[0].id, redriven_id(sent[0].id))]
            assert [each.reason for each in first.skipped] == [SkipReason.UNKNOWN]
            rest = await plane.redrive("a", causes={AbandonCause.RESET}, timeout=WAIT_S)
            assert [old for old, _ in pairs(rest)] == [each.id for each in sent[1:]]
            await plane.destroy("a")
            with pytest.raises(InvalidState):
                await plane.redrive("a")

    on_loop(main)
