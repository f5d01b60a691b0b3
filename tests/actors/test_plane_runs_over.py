"""A context whose run is over, or was ended by its runtime: refused, or told so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from boundary_builders import (
    COMPLETED,
    Midway,
    at_boundary,
    expect_run,
    proven,
    stored,
    texts_in,
)
from plane_builders import (
    WAIT_S,
    FakeClock,
    OpenPlane,
    Puppet,
    code_of,
    error_of,
    result_of,
    system_of,
    tell,
)
from plane_stores import FrozenDisk

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import RunContext, RunOutput, WakeReason
from meerkat.errors import ApplyFailed, RunCancelled, RunRefused
from meerkat.store import SqliteStore


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet, grace_s=WAIT_S)
    plane.register("a")
    return plane


CALLS: dict[str, Callable[[RunContext], Any]] = {
    "boundary": at_boundary,
    "wait": lambda context: context.wait(WAIT_S),
    "progress": lambda context: context.progress("on"),
    "raise_if_cancelled": lambda context: context.raise_if_cancelled(),
}


@pytest.mark.parametrize("error", [None, ApplyFailed("no", recoverable=False), RunCancelled()])
def test_a_context_is_of_no_use_once_its_run_is_over(
    plane: ControlPlane, puppet: Puppet, path: Path, error: Exception | None
) -> None:
    midway = Midway(plane, puppet, committed=False)
    kept = midway.run.context
    with plane.subscribe("a") as events:
        midway.run.returns(RunOutput()) if error is None else midway.run.raises(error)
        result_of(midway.handles["first"])
        for call in (*CALLS.values(), lambda _: midway.boundary.commit()):
            with pytest.raises(RunRefused, match="the run is over"):
                call(kept)
        expect_run(puppet, "one\n\ntwo")
        assert result_of(midway.handles["two"]).kind is COMPLETED
        plane.runtime_state("a")
        told = iter(lambda: events.next_within(0), None)
        assert "run.progress" not in [code_of(each) for each in told]
    assert texts_in(path) == ["one\n\ntwo", "re: one\n\ntwo"]


def deadline(plane: ControlPlane) -> None:
    clock = system_of(plane).clock
    clock.advance(plane, 60.0)


FENCES: dict[str, Callable[[ControlPlane], Any]] = {
    "stopped": lambda plane: plane.stop_runtime("a"),
    "destroyed": lambda plane: plane.destroy("a"),
    "out of time": deadline,
}


@pytest.mark.parametrize("fence", FENCES)
def test_a_fenced_run_is_told_that_it_is_cancelled(
    open_plane: OpenPlane, puppet: Puppet, path: Path, fence: str
) -> None:
    plane = open_plane(puppet, clock=FakeClock(), run_deadline_s=30.0)
    plane.register("a")
    midway = Midway(plane, puppet, committed=False)
    FENCES[fence](plane)
    assert midway.run.does(lambda context: context.cancelled.wait(WAIT_S))
    for deed in (at_boundary, lambda _: midway.boundary.commit(), CALLS["raise_if_cancelled"]):
        with pytest.raises(RunCancelled):
            midway.run.does(deed)
    assert midway.run.does(CALLS["wait"]) is WakeReason.CANCELLED
    with plane.subscribe("a") as events:
        midway.run.does(CALLS["progress"])
        plane.runtime_state("a")
        assert events.next_within(0) is None
    assert (proven(path), stored(path)) == ({}, [])


@contextmanager
def asking(context: Any) -> Iterator[threading.Event]:
    """An Event that is set once the run has asked its runtime for something."""
    asked, link = threading.Event(), context._link
    ask = link._ask

    def ask_and_say_so(message: Any, reply: Any) -> Any:
        ask(message, reply)
        asked.set()
        return reply

    link._ask = ask_and_say_so
    yield asked
    link._ask = ask


@pytest.mark.parametrize("deed", ["boundary", "commit"])
def test_a_run_whose_end_is_still_being_written_is_told_the_same(
    open_plane: OpenPlane, puppet: Puppet, path: Path, deed: str
) -> None:
    """It asks after its runtime was stopped, and before that is on disk."""
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(puppet, store=disk, grace_s=WAIT_S)
    plane.register("a")
    midway = Midway(plane, puppet, committed=False)
    disk.freeze()
    stopped = tell(plane, "a", m.StopRuntime(Reply()))
    assert disk.stuck.wait(WAIT_S)
    with asking(midway.run.context) as on_its_way:
        asked = midway.run.asks(at_boundary) if deed == "boundary" else midway.committing()
        assert on_its_way.wait(WAIT_S)
    disk.thaw()
    assert isinstance(error_of(asked), RunCancelled)
    assert result_of(stopped).inputs_abandoned == 3
    assert (proven(path), stored(path)) == ({}, [])
