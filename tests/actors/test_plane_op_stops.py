"""Operations at the stop of their plane, and after it: told, recorded, and never waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from operation_builders import (
    CONTINUATION,
    ENDS_EPOCH,
    GatedDisk,
    Reader,
    complete,
    registered,
    rows_of_epoch,
    running,
    terminates,
    until_told,
)
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    error_of,
    prompt,
    result_of,
    tell,
)
from plane_stores import FrozenDisk

from meerkat import RunContext, SessionRuntimeBindings
from meerkat.errors import ControlPlaneStopped, RunCancelled
from meerkat.operation_errors import OwnerRetired
from meerkat.operations import OperationStatus, OperationTerminated
from meerkat.store import SqliteStore

STOPPED = OperationTerminated(reason="control plane stopped")


def until_cancelled(working: threading.Event) -> Any:
    """An executor whose run lasts until it is told to end."""

    def apply(context: RunContext, _primitive: Any) -> Any:
        working.set()
        assert context.cancelled.wait(WAIT_S)
        raise RunCancelled

    return apply


@pytest.mark.parametrize("at_work", [False, True])
def test_a_stop_ends_what_lives_and_the_next_start_tells_of_it(
    open_plane: OpenPlane, path: Path, at_work: bool
) -> None:
    """One continuation for all of it; a run that is cut short by the stop comes first."""
    working = threading.Event()
    first = open_plane(until_cancelled(working), grace_s=WAIT_S)
    bindings = first.register("a")
    live = [running(bindings) for _ in range(3)]
    watchers = [bindings.ops_lifecycle.watch(each) for each in live]
    if at_work:
        first.submit("a", prompt("run"))
        assert working.wait(WAIT_S)
    first.stop(timeout=0)
    assert [each.result(0) for each in watchers] == [STOPPED] * 3
    assert [row.outcome for row in rows_of_epoch(path, bindings.epoch_id)] == [STOPPED] * 3
    with pytest.raises(OwnerRetired):
        registered(bindings)
    agent = Reader()
    again = open_plane(agent)
    expected = ["run", CONTINUATION] if at_work else [CONTINUATION]
    assert [agent.next_call().text for _ in expected] == expected
    until_told(again, again.register("a"))
    assert agent.saw == [3] * len(expected)


def test_a_stop_ends_the_operations_of_many_sessions(open_plane: OpenPlane) -> None:
    plane = open_plane(grace_s=WAIT_S)
    sessions = plane.register_many([f"s-{number}" for number in range(40)])
    watchers = [each.ops_lifecycle.watch(running(each)) for each in sessions for _ in range(2)]
    plane.stop()
    assert [each.result(0) for each in watchers] == [STOPPED] * 80


@pytest.mark.parametrize("step", ENDS_EPOCH)
def test_a_stop_waits_for_the_end_of_an_epoch_that_is_over(
    open_plane: OpenPlane, path: Path, step: str
) -> None:
    """It has landed, and its operations are being ended, when the plane is stopped."""
    disk = GatedDisk(SqliteStore(path), terminates)
    plane = open_plane(store=disk, grace_s=WAIT_S)
    bindings = plane.register("a")
    watchers = [bindings.ops_lifecycle.watch(running(bindings)) for _ in range(20)]
    call, reason = ENDS_EPOCH[step]
    ending = tell(plane, "a", call())
    assert disk.reached.wait(WAIT_S)
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(plane.stop)
        assert not any(each.done() for each in watchers)
        disk.open()
        result_of(stopping)
    assert {each.result(0).reason for each in watchers} == {reason}
    assert len(rows_of_epoch(path, bindings.epoch_id)) == 20
    assert error_of(ending) is None


def test_a_disk_that_hangs_does_not_hang_the_stop_or_who_ends_operations(
    open_plane: OpenPlane, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk, grace_s=HUNG_S)
    bindings, other = plane.register_many(["a", "b"])
    live, waits = running(bindings), running(bindings)
    running(other)
    for name in ("a", "b"):
        plane.runtime_state(name)  # that they have begun is stored
    with ThreadPoolExecutor(3) as threads:
        disk.freeze()
        ending = threads.submit(bindings.ops_lifecycle.complete, live)
        assert disk.stuck.wait(WAIT_S)
        behind = threads.submit(bindings.ops_lifecycle.complete, waits)
        result_of(threads.submit(plane.stop, timeout=0))
        assert isinstance(error_of(ending), ControlPlaneStopped)
        assert isinstance(error_of(behind), ControlPlaneStopped | OwnerRetired)
    with pytest.raises((ControlPlaneStopped, OwnerRetired)):
        bindings.ops_lifecycle.complete(live)
    assert bindings.ops_lifecycle.snapshot(live).status is OperationStatus.RUNNING
    disk.thaw()


AFTERWARDS: dict[str, Callable[[SessionRuntimeBindings, Any], Any]] = {
    "end one": lambda bindings, live: bindings.ops_lifecycle.complete(live),
    "begin and end one": lambda bindings, _: complete(bindings),
    "wait for one": lambda bindings, live: bindings.ops_lifecycle.wait_all([live]),
    "report": lambda bindings, live: bindings.ops_lifecycle.progress(live),
}


@pytest.mark.parametrize("deed", AFTERWARDS)
def test_bindings_that_a_host_keeps_after_the_stop_refuse(open_plane: OpenPlane, deed: str) -> None:
    plane = open_plane(grace_s=WAIT_S)
    bindings = plane.register("a")
    live = running(bindings)
    plane.stop()
    with pytest.raises((OwnerRetired, ControlPlaneStopped)):
        AFTERWARDS[deed](bindings, live)
    assert bindings.ops_lifecycle.watch(live).result(0) == STOPPED
    assert bindings.ops_lifecycle.watermark == 1
    bindings.cursor_state.advance_agent_applied_cursor(1)


def test_bindings_without_a_live_operation_refuse_after_the_stop_too(
    open_plane: OpenPlane,
) -> None:
    """Nobody could ever end what began then, and tell those who wait for it."""
    plane = open_plane(grace_s=WAIT_S)
    bindings, other = plane.register_many(["a", "b"])
    running(other)
    plane.stop()
    for each in (bindings, other):
        with pytest.raises(OwnerRetired):
            registered(each)


def test_a_plane_that_is_started_again_has_bindings_of_its_own(open_plane: OpenPlane) -> None:
    plane = open_plane(grace_s=WAIT_S)
    before = plane.register("a")
    running(before)
    plane.stop()
    plane.start()
    after = plane.register("a")
    assert after.epoch_id == before.epoch_id
    assert after.ops_lifecycle is not before.ops_lifecycle
    assert after.ops_lifecycle.watermark == 1
    complete(after)
    with pytest.raises(OwnerRetired):
        complete(before)
    assert (before.ops_lifecycle.watermark, after.ops_lifecycle.watermark) == (1, 2)


def test_a_run_that_outlives_its_plane_gets_no_bindings(open_plane: OpenPlane, path: Path) -> None:
    """It would have to read the store, which is closed, and stays so."""
    refused: list[BaseException] = []
    left = threading.Event()

    def look_late(_called: Called, context: RunContext) -> None:
        try:
            running(context.bindings)
        except (ControlPlaneStopped, OwnerRetired) as error:
            refused.append(error)
        finally:
            left.set()

    first = open_plane()
    complete(first.register("a"))
    first.stop()
    agent = Agent(look_late, held=True)
    plane = open_plane(agent, grace_s=HUNG_S)
    agent.next_call()  # the continuation's
    plane.stop(timeout=0)
    agent.release()
    assert left.wait(WAIT_S)
    assert len(refused) == 1
    assert not [name for name in path.parent.iterdir() if name.name.endswith("-wal")]
