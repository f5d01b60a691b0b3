"""Drivers that begin anew: who is told what, what is kept, how soon, and who goes along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    Puppet,
    decided,
    error_of,
    prompt,
    result_of,
    system_of,
)
from plane_stores import FrozenDisk
from restart_builders import (
    PAUSE_S,
    Defect,
    Plant,
    Refusing,
    drivers,
    fail,
    notice,
    notices_until,
    pauses,
)

from actors import ControlPlane, NoticeKind, RuntimeWatch, Strategy
from actors import messages as m
from meerkat import LogicalRuntimeId, RuntimeState
from meerkat.errors import (
    CommitUnknown,
    InternalError,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

FAILURES = [ZeroDivisionError, SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ready(plane: ControlPlane, defect: Defect, runtime_id: str) -> bool:
    """Ask what a defect is planted in, without it."""
    armed, defect.armed = defect.armed, False
    try:
        return plane.executor_ready(runtime_id, timeout=WAIT_S)
    finally:
        defect.armed = armed


# --- who is told what, and what is kept -------------------------------------------------


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_defect_is_its_callers_and_nobody_elses(
    open_plane: OpenPlane, plant: Plant, agent: Agent, error: type[BaseException], after: bool
) -> None:
    plane = open_plane(agent)
    plane.register_many(["a", "b"])
    others = plane.watch("b")
    defect = plant("a", message=m.Accept, error=error, after=after)
    lost = plane.submit("a", prompt("lost", idempotency_key="k"))
    for future in (lost.accepted, lost.completion):
        failure = error_of(future)
        assert type(failure) is InternalError
        assert str(failure) == f"Internal error: {error.__name__} while handling Accept"
        assert isinstance(failure.__cause__, error)
    good = plane.submit("b", prompt("good"))
    assert result_of(good.completion).kind is CompletionKind.COMPLETED
    defect.armed = False
    again = plane.submit("a", prompt("again", idempotency_key="k"))
    assert result_of(again.accepted).is_accepted  # what failed did not happen
    assert result_of(again.completion).kind is CompletionKind.COMPLETED
    assert agent.texts == ["good", "again"]
    assert others.next_ready() is None


def test_what_was_acknowledged_is_kept_and_run_once(open_plane: OpenPlane, plant: Plant) -> None:
    puppet = Puppet()
    plane = open_plane(puppet, restart=drivers(1_000))
    plane.register("a")
    kept = [plane.submit("a", prompt(f"m{number}")) for number in range(4)]
    first = puppet.next_run()
    for each in kept:
        assert result_of(each.accepted).is_accepted
    first.returns()
    second = puppet.next_run()
    plant("a")
    fail(plane, "a", times=3)
    assert not any(each.completion.done() for each in kept[1:])
    second.returns()
    puppet.release()
    outcomes = [result_of(each.completion) for each in kept]
    assert {outcome.kind for outcome in outcomes} == {CompletionKind.COMPLETED}
    consumed = [each.text for each in puppet.calls]
    assert [text for text in consumed if text == "m0"] == ["m0"]  # it had its receipt
    assert sorted(set(consumed)) == ["m0", "m1", "m2", "m3"]


def test_what_is_on_its_way_to_the_disk_is_answered_as_the_disk_decides(
    open_plane: OpenPlane, plant: Plant, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register("a")
    disk.freeze()
    on_its_way = plane.submit("a", prompt("on its way"))
    assert disk.stuck.wait(WAIT_S)
    behind = plane.submit("a", prompt("behind"))
    waiting = decided(plane, "a")
    plant("a")
    fail(plane, "a")
    late = plane.submit("a", prompt("late"))
    assert not on_its_way.accepted.done()
    disk.thaw()
    accepted = result_of(on_its_way.accepted)
    assert accepted.is_accepted
    for reply in (behind.accepted, waiting):
        error = error_of(reply)
        assert type(error) is StoreError
        assert "not attempted" in str(error)
    found = result_of(late.accepted)
    assert plane.active_input_ids("a") == [accepted.input_id, found.input_id]


def test_a_failure_on_the_landing_of_a_batch_loses_nothing(
    open_plane: OpenPlane, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events cannot be appended: what has landed is made good from the store."""
    plane = open_plane(agent)
    plane.register("a")
    events = system_of(plane).events
    append, broken = events.append, iter([True])

    def appended(*arguments: Any) -> None:
        if next(broken, False):
            raise MemoryError
        append(*arguments)

    monkeypatch.setattr(events, "append", appended)
    watch = plane.watch("a")
    offered = plane.submit("a", prompt("m"))
    assert result_of(offered.accepted).is_accepted  # which is true
    assert notice(watch).kind is NoticeKind.RESTARTED
    assert result_of(offered.completion).kind is CompletionKind.COMPLETED
    assert len(agent.texts) <= 2  # a run that began along with it has no receipt


def test_a_run_whose_end_is_lost_to_a_defect_is_made_again(
    open_plane: OpenPlane, plant: Plant, agent: Agent, clock: FakeClock
) -> None:
    """It has returned: its seat is free, and nothing waits for its grace to pass."""
    plane = open_plane(agent, clock=clock, restart=drivers(), grace_s=100 * PAUSE_S)
    plane.register("a")
    watch = plane.watch("a")
    defect = plant("a", message=m.RunEnded)
    kept = plane.submit("a", prompt("m"))
    assert notice(watch).kind is NoticeKind.RESTARTED
    defect.armed = False
    clock.advance(plane, PAUSE_S)
    assert result_of(kept.completion).kind is CompletionKind.COMPLETED
    assert [each.attempt for each in agent.calls] == [1, 2]


# --- how soon ---------------------------------------------------------------------------


def test_no_run_is_started_before_the_pause_is_over_though_calls_are_answered(
    open_plane: OpenPlane, plant: Plant, agent: Agent, clock: FakeClock
) -> None:
    plane = open_plane(agent, clock=clock, restart=drivers())
    plane.register("a")
    plant("a")
    fail(plane, "a")
    kept = plane.submit("a", prompt("m"))
    assert result_of(kept.accepted).is_accepted
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    clock.advance(plane, PAUSE_S * 0.99)
    assert plane.active_input_ids("a") == [result_of(kept.accepted).input_id]
    assert agent.texts == []
    clock.advance(plane, PAUSE_S * 0.01)
    assert result_of(kept.completion).kind is CompletionKind.COMPLETED


def test_the_pause_doubles_with_each_failure_within_the_period(
    open_plane: OpenPlane, plant: Plant, clock: FakeClock
) -> None:
    plane = open_plane(clock=clock, restart=drivers(4, period_s=60.0))
    plane.register("a")
    watch = plane.watch("a")
    plant("a")
    for number in range(4):
        fail(plane, "a")
        restarted = notice(watch)
        assert restarted.kind is NoticeKind.RESTARTED
        assert restarted.restart_in_s == PAUSE_S * 2**number
        clock.advance(plane, PAUSE_S * 2**number)


def test_failures_are_counted_within_the_period_alone(
    open_plane: OpenPlane, plant: Plant, clock: FakeClock
) -> None:
    plane = open_plane(clock=clock, restart=drivers(2, period_s=60.0))
    plane.register("a")
    watch = plane.watch("a")
    defect = plant("a")
    for _ in range(3):
        fail(plane, "a", times=2)
        assert pauses([notice(watch), notice(watch)]) == [PAUSE_S, 2 * PAUSE_S]
        clock.advance(plane, 60.1)
    assert ready(plane, defect, "a") is False
    fail(plane, "a", times=3)
    with pytest.raises(RuntimeUnavailable):
        plane.runtime_state("a")


def test_each_runtime_has_a_count_of_its_own(open_plane: OpenPlane, plant: Plant) -> None:
    plane = open_plane(restart=drivers(2))
    plane.register_many(["a", "b"])
    plant("a", "b")
    fail(plane, "a", times=2)
    fail(plane, "b", times=2)
    assert plane.runtime_state("a") is plane.runtime_state("b") is RuntimeState.IDLE


# --- who goes along ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "along"),
    [
        (Strategy.ONE_FOR_ONE, []),
        (Strategy.REST_FOR_ONE, ["c"]),
        (Strategy.ONE_FOR_ALL, ["a", "c"]),
    ],
)
def test_the_strategy_says_who_is_restarted_along(
    open_plane: OpenPlane, plant: Plant, strategy: Strategy, along: list[str]
) -> None:
    plane = open_plane(restart=drivers(2, strategy=strategy))
    plane.register_many(["a"])  # one after the other: that is their order
    plane.register_many(["b"])
    plane.register_many(["c"])
    watches = {name: plane.watch(name) for name in "abc"}
    ids = {
        name: plane.ingest(name, prompt(), timeout=WAIT_S).input_id  # type: ignore[union-attr]
        for name in "abc"
    }
    plant("b")
    fail(plane, "b", times=2)
    for name in along:
        for _ in range(2):
            told = notice(watches[name])
            assert (told.kind, told.restart_in_s) == (NoticeKind.RESTARTED, 0.0)
            assert told.reason is not None
            assert "restarted with runtime b" in told.reason
    for name in "abc":
        assert plane.active_input_ids(name) == [ids[name]]
        assert (watches[name].next_ready() is None) is (name != "b")
    fail(plane, "b")
    with pytest.raises(RuntimeUnavailable):
        plane.runtime_state("b")
    for name in along:  # who goes along has not failed, and is not set aside
        assert plane.runtime_state(name) is RuntimeState.IDLE


# --- whose failure counts ---------------------------------------------------------------


def fail_in_vain(plane: ControlPlane, watch: RuntimeWatch, times: int) -> None:
    """Have commits of the watched runtime refused, or lost sight of."""
    for _ in range(times):
        with pytest.raises(StoreError):
            plane.ingest(str(watch.runtime_id), prompt(), timeout=WAIT_S)
        assert notice(watch).kind is NoticeKind.RESTARTED


def test_a_store_that_refuses_everybody_sets_nobody_aside(
    open_plane: OpenPlane, path: Path, clock: FakeClock
) -> None:
    disk = Refusing(SqliteStore(path))
    plane = open_plane(store=disk, clock=clock, restart=drivers(2, period_s=5.0))
    plane.register_many(["a", "b"])
    watches = [plane.watch("a"), plane.watch("b")]
    clock.advance(plane, 10.0)
    disk.refused = None
    for _ in range(20):
        for watch in watches:
            fail_in_vain(plane, watch, 1)
        clock.advance(plane, 0.1)
    disk.refused = set()
    for name in "ab":
        assert plane.ingest(name, prompt(), timeout=WAIT_S).is_accepted


@pytest.mark.parametrize("intensity", [0, 2])
def test_a_store_that_refuses_one_runtime_while_others_are_served_sets_that_one_aside(
    open_plane: OpenPlane, path: Path, clock: FakeClock, intensity: int
) -> None:
    disk = Refusing(SqliteStore(path))
    plane = open_plane(store=disk, clock=clock, restart=drivers(intensity, period_s=5.0))
    plane.register_many(["a", "b"])
    watch = plane.watch("a")
    clock.advance(plane, 10.0)
    disk.refused = {"a"}
    fail_in_vain(plane, watch, intensity + 3)  # nobody else was served within the period
    assert plane.ingest("b", prompt(), timeout=WAIT_S).is_accepted
    with pytest.raises(StoreError):
        plane.ingest("a", prompt(), timeout=WAIT_S)
    aside = notices_until(watch, NoticeKind.SET_ASIDE)[-1]
    assert aside.reason is not None
    assert "disk full" in aside.reason
    with pytest.raises(RuntimeUnavailable):
        plane.runtime_state("a")
    assert disk.inner.load_runtime(LogicalRuntimeId("a")).set_aside is None  # type: ignore[union-attr]


def test_that_nobody_knows_whether_it_was_written_is_not_the_drivers_failure(
    open_plane: OpenPlane, path: Path, clock: FakeClock
) -> None:
    disk = Refusing(SqliteStore(path))
    disk.error = lambda: CommitUnknown("I/O error")
    plane = open_plane(store=disk, clock=clock, restart=drivers(0))
    plane.register_many(["a", "b"])
    watch = plane.watch("a")
    disk.refused = {"a"}
    for _ in range(5):
        assert plane.ingest("b", prompt(), timeout=WAIT_S).is_accepted
        fail_in_vain(plane, watch, 1)
    disk.refused = set()
    assert plane.ingest("a", prompt(), timeout=WAIT_S).is_accepted
