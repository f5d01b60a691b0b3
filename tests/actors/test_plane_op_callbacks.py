"""Callbacks of those who wait for operations: what they raise, and whom they call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from operation_builders import complete, running, until_told
from plane_builders import HUNG_S, WAIT_S, Agent, FakeClock, OpenPlane, progress, result_of

from actors import ControlPlane
from meerkat import OperationId, RuntimeState, SessionRuntimeBindings
from meerkat.errors import (
    CommitUnknown,
    ControlPlaneStopped,
    RuntimeNotFound,
    WouldDeadlock,
)
from meerkat.limits import Backoff
from meerkat.operations import OperationStatus
from meerkat.store import MemoryStore
from meerkat.testing import FaultyStore, When
from meerkat.testing.store_wrapper import COMMITS

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")

End = Callable[[ControlPlane, SessionRuntimeBindings, OperationId], Any]
ENDS: dict[str, tuple[End, Any]] = {
    "complete": (lambda _, bindings, live: bindings.ops_lifecycle.complete(live), None),
    "reset": (lambda plane, *_: plane.reset("a"), None),
    "destroy": (lambda plane, *_: plane.destroy("a"), None),
    "unregister": (lambda plane, *_: plane.unregister("a"), RuntimeNotFound),
    "stop": (lambda plane, *_: plane.stop(), ControlPlaneStopped),
}
"""How an operation comes to its end → what its watcher's call of the plane raises then."""


def told_by(future: Future[Any], call: Callable[[], Any]) -> Future[Any]:
    """What ``call`` gives or raises in a callback of the future."""
    told: Future[Any] = Future()

    def callback(_future: Any) -> None:
        try:
            told.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the test's to look at
            told.set_exception(error)

    future.add_done_callback(callback)
    return told


@pytest.mark.parametrize("end", ENDS)
def test_a_watcher_may_call_the_plane(open_plane: OpenPlane, end: str) -> None:
    plane = open_plane(grace_s=WAIT_S)
    bindings = plane.register("a")
    live = running(bindings)
    told = told_by(bindings.ops_lifecycle.watch(live), lambda: plane.runtime_state("a"))
    act, refused = ENDS[end]
    act(plane, bindings, live)
    error = told.exception(WAIT_S)
    assert error is None if refused is None else isinstance(error, refused)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=["error", "exit"])
@pytest.mark.parametrize("end", ENDS)
def test_what_a_watcher_raises_keeps_nobody_from_being_told(
    open_plane: OpenPlane, end: str, error: BaseException
) -> None:
    plane = open_plane(grace_s=WAIT_S)
    bindings = plane.register("a")
    live, other = running(bindings), running(bindings)
    registry = bindings.ops_lifecycle

    def fail(_future: Any) -> None:
        raise error

    watchers = [registry.watch(live) for _ in range(3)]
    for each in watchers:
        each.add_done_callback(fail)
    everybody = registry.wait_all([live])
    try:
        ENDS[end][0](plane, bindings, live)
    except SystemExit:
        assert end == "complete"  # it passes, last, to whoever took the step
    assert all(each.done() for each in (*watchers, everybody.future))
    if end != "complete":
        assert registry.snapshot(other).status is OperationStatus.TERMINATED
    else:
        assert registry.complete(other).status is OperationStatus.COMPLETED


def test_a_watcher_may_end_and_begin_other_operations(plane: ControlPlane, agent: Agent) -> None:
    bindings = plane.register("a")
    first, second = running(bindings), running(bindings)
    told = told_by(
        bindings.ops_lifecycle.watch(first),
        lambda: (bindings.ops_lifecycle.complete(second), complete(bindings)),
    )
    bindings.ops_lifecycle.complete(first)
    result_of(told)
    assert bindings.ops_lifecycle.watermark == 3
    until_told(plane, bindings)
    assert set(agent.texts) == {""}


def test_a_watcher_may_reset_the_runtime_that_is_being_reset(open_plane: OpenPlane) -> None:
    plane = open_plane()
    bindings = plane.register("a")
    live = running(bindings)
    told = told_by(bindings.ops_lifecycle.watch(live), lambda: plane.reset("a", timeout=WAIT_S))
    plane.reset("a")
    assert result_of(told).inputs_abandoned == 0
    assert complete(plane.register("a"))


def test_a_watcher_that_hangs_does_not_hang_the_stop(open_plane: OpenPlane) -> None:
    plane = open_plane(grace_s=HUNG_S)
    bindings = plane.register("a")
    watcher, go_on = bindings.ops_lifecycle.watch(running(bindings)), threading.Event()
    watcher.add_done_callback(lambda _: go_on.wait(3 * WAIT_S))
    with ThreadPoolExecutor(1) as threads:
        result_of(threads.submit(plane.stop))
        go_on.set()


# --- on a thread that drives runtimes ---------------------------------------------------


def test_an_end_in_a_callback_on_a_driver_thread_is_refused_and_has_not_happened(
    open_plane: OpenPlane,
) -> None:
    """It would wait for the very thread that records it."""
    plane = open_plane()
    bindings = plane.register("a")
    registry, live = bindings.ops_lifecycle, running(bindings)
    waiting = plane.submit("a", progress())  # it wakes nobody: its handle waits for the stop
    result_of(waiting.accepted)
    told = told_by(waiting.completion, lambda: registry.complete(live))
    plane.stop_runtime("a")
    assert isinstance(told.exception(WAIT_S), WouldDeadlock)
    assert registry.live_ids == (live,)
    assert registry.complete(live).status is OperationStatus.COMPLETED
    assert registry.watermark == 1
    complete(bindings)
    assert registry.watermark == 2


def test_steps_that_wait_for_nothing_may_be_taken_on_a_driver_thread(
    open_plane: OpenPlane,
) -> None:
    plane = open_plane()
    bindings = plane.register("a")
    waiting = plane.submit("a", progress())
    result_of(waiting.accepted)
    told = told_by(waiting.completion, lambda: running(bindings))
    plane.stop_runtime("a")
    assert bindings.ops_lifecycle.snapshot(result_of(told)).status is OperationStatus.RUNNING


def test_a_watcher_that_is_told_on_a_driver_thread_is_refused_what_would_wait(
    open_plane: OpenPlane,
) -> None:
    """An end that was in doubt is told by the driver, once it has read the store."""
    disk = FaultyStore(MemoryStore(), fail_at=4, when=When.AFTER, calls=COMMITS)
    plane = open_plane(store=disk, clock=FakeClock(), backoff=Backoff(base_s=8.0))
    bindings = plane.register("a")
    live = running(bindings)
    plane.runtime_state("a")  # each commits that it has begun
    other = running(bindings)
    plane.runtime_state("a")
    registry = bindings.ops_lifecycle
    asked = told_by(registry.watch(live), lambda: plane.runtime_state("a"))
    ended = told_by(registry.watch(live), lambda: registry.complete(other))
    with pytest.raises(CommitUnknown):
        registry.complete(live)
    assert not asked.done()
    plane.recover("a")
    assert isinstance(asked.exception(WAIT_S), WouldDeadlock)
    assert isinstance(ended.exception(WAIT_S), WouldDeadlock)
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert registry.complete(other).status is OperationStatus.COMPLETED
