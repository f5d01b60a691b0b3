"""Coming and going: start, stop, drain, restart, and one owner at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, decided, phase_of, prompt, result_of
from plane_stores import StoreProxy

from actors import ControlPlane
from meerkat import (
    InputId,
    InputPhase,
    LogicalRuntimeId,
    RuntimeEventEnvelope,
    RuntimeState,
    SessionId,
)
from meerkat.errors import ControlPlaneStopped, StoreError
from meerkat.events import ProjectionEvent
from meerkat.identifiers import RunId
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore

CALLS: dict[str, Callable[[ControlPlane], Any]] = {
    "register": lambda plane: plane.register("a"),
    "register_many": lambda plane: plane.register_many(["a"]),
    "prepare_bindings": lambda plane: plane.prepare_bindings(SessionId.new()),
    "watch": lambda plane: plane.watch("a"),
    "unregister": lambda plane: plane.unregister("a"),
    "ingest": lambda plane: plane.ingest("a", prompt()),
    "submit": lambda plane: plane.submit("a", prompt()),
    "completion": lambda plane: plane.completion("a", InputId.new()),
    "input_state": lambda plane: plane.input_state("a", InputId.new()),
    "active_input_ids": lambda plane: plane.active_input_ids("a"),
    "publish_event": lambda plane: plane.publish_event(
        RuntimeEventEnvelope(runtime_id="a", event=ProjectionEvent(1))
    ),
    "subscribe": lambda plane: plane.subscribe("a"),
    "subscribe to all": lambda plane: plane.subscribe(),
    "retire": lambda plane: plane.retire("a"),
    "recycle": lambda plane: plane.recycle("a"),
    "reset": lambda plane: plane.reset("a"),
    "recover": lambda plane: plane.recover("a"),
    "destroy": lambda plane: plane.destroy("a"),
    "stop_runtime": lambda plane: plane.stop_runtime("a"),
    "pause": lambda plane: plane.pause("a"),
    "resume": lambda plane: plane.resume("a"),
    "wake": lambda plane: plane.wake("a"),
    "set_silent_intents": lambda plane: plane.set_silent_intents("a", []),
    "attach_executor": lambda plane: plane.attach_executor("a", Agent()),
    "detach_executor": lambda plane: plane.detach_executor("a"),
    "interrupt": lambda plane: plane.interrupt("a", "now"),
    "runtime_state": lambda plane: plane.runtime_state("a"),
    "executor_ready": lambda plane: plane.executor_ready("a"),
    "load_boundary_receipt": lambda plane: plane.load_boundary_receipt("a", RunId.new(), 0),
    "redrive": lambda plane: plane.redrive("a"),
    "figures": lambda plane: plane.figures(),
    "runs_in_hand": lambda plane: plane.runs_in_hand(),
    "supervision": lambda plane: plane.supervision(),
}


@pytest.mark.parametrize("name", CALLS)
def test_before_the_start_and_after_the_stop_every_call_is_refused(
    quiet_plane: ControlPlane, path: Path, name: str
) -> None:
    quiet_plane.stop()
    why = "it was not started; start() it, or use it as a context manager"
    for plane, reason in ((quiet_plane, None), (ControlPlane(SqliteStore(path)), why)):
        with pytest.raises(ControlPlaneStopped) as refused:
            CALLS[name](plane)
        assert refused.value.reason == reason


def test_every_public_call_is_in_the_table() -> None:
    public = {name for name in vars(ControlPlane) if not name.startswith("_")}
    assert public - set(CALLS) == {"start", "stop", "wrap", "dead_letters"}


def test_dead_letters_can_be_read_after_the_stop(quiet_plane: ControlPlane) -> None:
    quiet_plane.stop()
    assert quiet_plane.dead_letters().count >= 0


@pytest.mark.parametrize("make", [SqliteStore, lambda _path: MemoryStore()])
def test_starts_and_stops_leave_no_threads(path: Path, make: Any) -> None:
    before = threading.active_count()
    same = ControlPlane(make(path), Agent())
    for _ in range(10):
        with ControlPlane(make(path), Agent()) as plane:
            work(plane)
        work(same.start())
        assert same.start() is same
        same.stop()
        same.stop()
    left = [each for each in threading.enumerate() if each.name.startswith("meerkat")]
    for thread in left:
        thread.join(WAIT_S)
    while threading.active_count() > before:  # the supervisor's own last step
        threading.Event().wait(0.001)


def work(plane: ControlPlane) -> None:
    plane.register_many(["a", "b"])
    for runtime_id in ("a", "b"):
        ended = plane.submit(runtime_id, prompt("hi")).completion.result(WAIT_S)
        assert ended.result == "re: hi"


def test_a_second_plane_is_told_who_owns_the_store(open_plane: OpenPlane, path: Path) -> None:
    store = SqliteStore(path)
    first = open_plane(store=store)
    first.register("a")
    with pytest.raises(StoreError, match="in use by another control plane of this process"):
        ControlPlane(store).start()
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()}|of this process"):
        ControlPlane(SqliteStore(path)).start()
    assert first.runtime_state("a") is RuntimeState.IDLE
    first.ingest("a", prompt())
    first.stop()
    assert open_plane().active_input_ids("a") != []
    memory = MemoryStore()
    open_plane(store=memory)
    with pytest.raises(StoreError, match="owned by another control plane"):
        ControlPlane(memory).start()


SECOND = """
import sys
from actors import ControlPlane
from meerkat.errors import StoreError
from meerkat.store import SqliteStore
try:
    ControlPlane(SqliteStore(sys.argv[1])).start()
except StoreError as error:
    print(error)
"""


def test_a_second_process_is_told_who_owns_the_store(open_plane: OpenPlane, path: Path) -> None:
    open_plane().register("a")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run(
        [sys.executable, "-c", SECOND, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"in use by process {os.getpid()}" in told.stdout, told.stderr


class Odd(StoreProxy):
    """A store that cannot say who has work left."""

    def __init__(self, inner: RuntimeStore, error: Exception) -> None:
        super().__init__(inner)
        self._error = error

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        raise self._error


@pytest.mark.parametrize("error", [StoreError("I/O"), ValueError("a runtime id")])
def test_a_plane_starts_when_the_list_of_work_cannot_be_read(
    open_plane: OpenPlane, quiet_plane: ControlPlane, path: Path, error: Exception
) -> None:
    offered = prompt("kept")
    quiet_plane.ingest("a", offered)
    quiet_plane.stop()
    plane = open_plane(Agent(), store=Odd(SqliteStore(path), error))
    handle = plane.completion("a", offered.id)
    assert result_of(handle).result == "re: kept"
    assert phase_of(plane, "a", offered.id) is InputPhase.CONSUMED
    decided(plane, "a")
