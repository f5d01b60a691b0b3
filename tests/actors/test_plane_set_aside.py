"""Set aside: a runtime whose driver fails too often is given up until somebody acts.

Every call says so, the reason is where people look for it, and nothing is lost by it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from passivation_builders import REST_S, is_live
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    Subscription,
    error_of,
    next_event,
    prompt,
    result_of,
)
from plane_stores import FrozenDisk, StoreProxy
from restart_builders import Plant, Refusing, drivers, fail, notice, notices_until

from actors import ControlPlane, NoticeKind
from actors.cli import main
from meerkat import InputId, LogicalRuntimeId, RunId, RuntimeEventEnvelope, RuntimeState
from meerkat.errors import CommitUnknown, RuntimeUnavailable, StoreError
from meerkat.events import EventCode, ProjectionEvent
from meerkat.identifiers import RuntimeEventId
from meerkat.outcomes import CompletionKind
from meerkat.store import RuntimeStore, SqliteStore

A = LogicalRuntimeId("a")
REASON = (
    "it failed more than 2 times in 60 s, lastly: "
    "Internal error: ZeroDivisionError while handling ExecutorReady"
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def set_aside(plane: ControlPlane, runtime_id: str = "a", *, intensity: int = 2) -> None:
    """Have it fail once too often; a defect is planted in it."""
    watch = plane.watch(runtime_id)
    fail(plane, runtime_id, times=intensity + 1)
    notices_until(watch, NoticeKind.SET_ASIDE)
    watch.close()


def noted(store: RuntimeStore) -> str | None:
    row = store.load_runtime(A)
    assert row is not None
    return row.set_aside


def projection() -> RuntimeEventEnvelope:
    event = ProjectionEvent({"of": "a host"})
    return RuntimeEventEnvelope(
        id=RuntimeEventId.new(), runtime_id=A, sequence=0, timestamp=datetime.now(UTC), event=event
    )


# --- what calls say ---------------------------------------------------------------------

CALLS: dict[str, Callable[[ControlPlane], Any]] = {
    "register": lambda plane: plane.register("a"),
    "register_many": lambda plane: plane.register_many(["b", "a"]),
    "unregister": lambda plane: plane.unregister("a"),
    "ingest": lambda plane: plane.ingest("a", prompt()),
    "completion": lambda plane: plane.completion("a", InputId.new()),
    "input_state": lambda plane: plane.input_state("a", InputId.new()),
    "active_input_ids": lambda plane: plane.active_input_ids("a"),
    "publish_event": lambda plane: plane.publish_event(projection()),
    "subscribe": lambda plane: plane.subscribe("a"),
    "retire": lambda plane: plane.retire("a"),
    "recycle": lambda plane: plane.recycle("a"),
    "reset": lambda plane: plane.reset("a"),
    "destroy": lambda plane: plane.destroy("a"),
    "stop_runtime": lambda plane: plane.stop_runtime("a"),
    "wake": lambda plane: plane.wake("a"),
    "set_silent_intents": lambda plane: plane.set_silent_intents("a", ["x"]),
    "attach_executor": lambda plane: plane.attach_executor("a", Agent()),
    "detach_executor": lambda plane: plane.detach_executor("a"),
    "interrupt": lambda plane: plane.interrupt("a", "now"),
    "runtime_state": lambda plane: plane.runtime_state("a"),
    "load_boundary_receipt": lambda plane: plane.load_boundary_receipt("a", RunId.new(), 0),
}


def test_every_call_says_that_it_is_unavailable_and_why(
    open_plane: OpenPlane, plant: Plant
) -> None:
    plane = open_plane(restart=drivers())
    plane.register_many(["a", "b"])
    plant("a")
    set_aside(plane)
    for name, call in CALLS.items():
        with pytest.raises(RuntimeUnavailable) as refused:
            call(plane)
        assert (refused.value.runtime_id, refused.value.reason) == (A, REASON), name
    lost = plane.submit("a", prompt())
    for future in (lost.accepted, lost.completion):
        assert isinstance(error_of(future), RuntimeUnavailable)
    assert plane.runtime_state("b") is RuntimeState.IDLE
    assert plane.ingest("b", prompt(), timeout=WAIT_S).is_accepted


def test_a_runtime_that_may_never_be_restarted_is_set_aside_at_once(
    open_plane: OpenPlane, plant: Plant
) -> None:
    plane = open_plane(restart=drivers(0))
    plane.register("a")
    plant("a")
    set_aside(plane, intensity=0)
    with pytest.raises(RuntimeUnavailable, match="more than 0 times"):
        plane.runtime_state("a")


# --- what becomes of its work -----------------------------------------------------------


def test_open_handles_stay_open_and_end_once_it_is_brought_back(
    open_plane: OpenPlane, plant: Plant
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, restart=drivers())
    plane.register("a")
    kept = [plane.submit("a", prompt(f"m{number}")) for number in range(3)]
    for each in kept:
        assert result_of(each.accepted).is_accepted
    assert agent.next_call().text == "m0"
    plant("a")
    set_aside(plane)
    agent.release()  # what the run brings comes too late: it is not the driver's any more
    assert not any(each.completion.done() for each in kept)
    report = plane.recover("a", timeout=WAIT_S)
    assert report.inputs_recovered == 3
    assert {result_of(each.completion).kind for each in kept} == {CompletionKind.COMPLETED}
    assert sorted(set(agent.texts)) == ["m0", "m1", "m2"]


def test_it_has_as_many_restarts_as_ever_once_it_is_brought_back(
    open_plane: OpenPlane, plant: Plant
) -> None:
    plane = open_plane(restart=drivers())
    plane.register("a")
    plant("a")
    for _ in range(3):
        set_aside(plane)
        plane.recover("a", timeout=WAIT_S)
        fail(plane, "a", times=2)
        assert plane.runtime_state("a") is RuntimeState.IDLE
        plane.recover("a", timeout=WAIT_S)  # which an operator does who has mended it


def test_an_unregister_that_waits_for_a_run_is_told(open_plane: OpenPlane, plant: Plant) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, restart=drivers(0))
    plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    asked = plane._door.unregister("a").reply
    plant("a")
    fail(plane, "a")
    assert isinstance(error_of(asked), RuntimeUnavailable)


def test_it_stays_though_it_is_at_rest(
    open_plane: OpenPlane, plant: Plant, clock: FakeClock
) -> None:
    plane = open_plane(clock=clock, restart=drivers(), passivate_after=REST_S)
    plane.register_many(["a", "b"])
    plant("a")
    set_aside(plane)
    while is_live(plane, "b"):
        clock.advance(plane, REST_S)
    for _ in range(3):
        with pytest.raises(RuntimeUnavailable):
            plane.runtime_state("a")  # answered by the driver that was there before
        clock.advance(plane, REST_S)
        clock.advance(plane, REST_S)
        assert is_live(plane, "a")


def test_another_plane_tries_it_again_and_takes_the_note_away(
    open_plane: OpenPlane, plant: Plant, path: Path, agent: Agent
) -> None:
    plane = open_plane(restart=drivers())
    plane.register("a")
    kept = plane.submit("a", prompt("kept"))
    assert result_of(kept.accepted).is_accepted
    plant("a")
    set_aside(plane)
    plane.stop()
    assert result_of(kept.completion).kind is CompletionKind.RUNTIME_TERMINATED
    reader = SqliteStore(path)
    assert noted(reader) == REASON
    again = open_plane(agent)
    handle = again.completion("a", result_of(kept.accepted), timeout=WAIT_S)
    assert result_of(handle).kind is CompletionKind.COMPLETED
    assert noted(reader) is None
    reader.close()


# --- where the reason is ----------------------------------------------------------------


def shown(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    capsys.readouterr()
    assert main(["show", "a", "--store", f"sqlite:///{path}", *more]) == 0
    return capsys.readouterr().out


def facts(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown(path, capsys, "--json"))
    return found


def test_the_reason_is_in_the_row_and_shown_until_it_is_brought_back(
    open_plane: OpenPlane, plant: Plant, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = open_plane(restart=drivers())
    plane.register("a")
    plant("a")
    reader = SqliteStore(path)
    assert noted(reader) is None
    assert "set_aside" not in facts(path, capsys)
    set_aside(plane)
    assert noted(reader) == REASON
    assert f"set aside      {REASON}\n" in shown(path, capsys)
    assert facts(path, capsys)["set_aside"] == REASON
    plane.recover("a", timeout=WAIT_S)
    assert noted(reader) is None
    assert "set_aside" not in facts(path, capsys)
    assert "set aside" not in shown(path, capsys)
    reader.close()


def drain(events: Subscription, last: EventCode) -> list[RuntimeEventEnvelope]:
    found = [next_event(events)]
    while found[-1].event.code is not last:
        found.append(next_event(events))
    return found


def test_an_event_tells_of_it_above_every_earlier_one(open_plane: OpenPlane, plant: Plant) -> None:
    plane = open_plane(restart=drivers())
    plane.register("a")
    plant("a")
    with plane.subscribe("a") as events, plane.subscribe() as of_all:
        told: list[int] = []
        for _ in range(3):
            plane.ingest("a", prompt(), timeout=WAIT_S)
            set_aside(plane)
            found = drain(events, EventCode.RUNTIME_SET_ASIDE)
            assert found[-1].event.reason == REASON  # type: ignore[union-attr]
            told += [each.sequence for each in found]
            assert drain(of_all, EventCode.RUNTIME_SET_ASIDE)[-1] == found[-1]
            plane.recover("a", timeout=WAIT_S)
        plane.ingest("a", prompt(), timeout=WAIT_S)
        told.append(next_event(events).sequence)
        assert told == sorted(set(told))


# --- when it cannot be noted down -------------------------------------------------------


@pytest.mark.parametrize("error", [StoreError, CommitUnknown])
def test_that_it_cannot_be_noted_down_changes_nothing_for_callers(
    open_plane: OpenPlane, plant: Plant, path: Path, error: type[StoreError]
) -> None:
    disk = Refusing(SqliteStore(path))
    disk.error = lambda: error("disk full")
    plane = open_plane(store=disk, restart=drivers())
    plane.register("a")
    plant("a")
    disk.refused = {"a"}
    set_aside(plane)
    assert noted(disk.inner) is None
    with pytest.raises(RuntimeUnavailable):
        plane.runtime_state("a")
    disk.refused = set()
    plane.recover("a", timeout=WAIT_S)
    assert plane.ingest("a", prompt(), timeout=WAIT_S).is_accepted


def test_who_calls_while_it_is_noted_down_is_answered_after_that(
    open_plane: OpenPlane, plant: Plant, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk, restart=drivers(0))
    plane.register("a")
    plant("a")
    disk.freeze()
    fail(plane, "a")
    assert disk.stuck.wait(WAIT_S)
    asked = [plane._door.runtime_state("a").reply for _ in range(3)]
    watching = plane._door.watch("a").reply
    assert not any(each.done() for each in asked)
    disk.thaw()
    for each in asked:
        assert isinstance(error_of(each), RuntimeUnavailable)
    assert notice(result_of(watching)).kind is NoticeKind.SET_ASIDE


class Unreadable(StoreProxy):
    """A store in which one runtime's row, or its inputs, cannot be read."""

    rows = inputs = True

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> Any:
        if not self.rows and runtime_id == A:
            raise StoreError("cannot read")
        return self.inner.load_runtime(runtime_id)

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> Any:
        if not self.inputs and runtime_id == A:
            raise StoreError("cannot read")
        return self.inner.load_active_inputs(runtime_id)


def test_a_recovery_that_fails_brings_nothing_back(
    open_plane: OpenPlane, plant: Plant, path: Path
) -> None:
    disk = Unreadable(SqliteStore(path))
    plane = open_plane(store=disk, restart=drivers())
    plane.register("a")
    plant("a")
    set_aside(plane)
    watch = plane.watch("a")
    assert notice(watch).kind is NoticeKind.SET_ASIDE
    disk.rows = False
    with pytest.raises(StoreError, match="cannot read"):
        plane.recover("a", timeout=WAIT_S)
    disk.rows = True
    with pytest.raises(RuntimeUnavailable) as refused:
        plane.runtime_state("a")
    assert refused.value.reason == REASON
    assert watch.next_ready() is None
    plane.recover("a", timeout=WAIT_S)
    assert notice(watch).kind is NoticeKind.BROUGHT_BACK
    assert plane.runtime_state("a") is RuntimeState.IDLE


def test_a_runtime_that_was_never_loaded_is_noted_down_above_its_earlier_events(
    open_plane: OpenPlane, path: Path, clock: FakeClock
) -> None:
    """Its driver knows no fence yet: what it writes goes by the row alone."""
    before = open_plane()
    before.register_many(["a", "b"])
    for _ in range(5):
        kept = before.ingest("a", prompt(), timeout=WAIT_S)
    before.stop()
    disk = Unreadable(SqliteStore(path))
    disk.inputs = False
    plane = open_plane(store=disk, clock=clock, restart=drivers(2))
    with plane.watch() as watch, plane.subscribe() as events:
        kind = None
        while kind is not NoticeKind.SET_ASIDE:
            clock.advance(plane, 1.0)
            plane.ingest("b", prompt(), timeout=WAIT_S)  # others are served meanwhile
            told = watch.next_ready()
            kind = None if told is None else told.kind
        found = [
            each for each in drain(events, EventCode.RUNTIME_SET_ASIDE) if each.runtime_id == A
        ]
        assert "cannot read" in (noted(disk.inner) or "")
        disk.inputs = True
        assert plane.recover("a", timeout=WAIT_S).inputs_recovered == 5
        with plane.subscribe("a", after=found[-1].sequence - 1) as of_a:
            assert next_event(of_a) == found[-1]  # it is kept for late readers
        plane.ingest("a", prompt(), timeout=WAIT_S)
        assert kept.input_id in plane.active_input_ids("a")  # type: ignore[union-attr]
