"""No thread to be had: whoever needed one is answered, and the next one who asks, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from operation_builders import running
from plane_builders import WAIT_S, Hooked, OpenPlane, system_of

from actors import ControlPlane
from meerkat import RuntimeState
from meerkat.errors import InternalError

ENDS_EPOCH: list[Callable[[ControlPlane], object]] = [
    lambda plane: plane.reset("a", timeout=WAIT_S),
    lambda plane: plane.destroy("a", timeout=WAIT_S),
    lambda plane: plane.unregister("a", timeout=WAIT_S),
]


@contextmanager
def no_thread_for(plane: ControlPlane) -> Iterator[None]:
    """While this lasts the plane gets no thread for host code."""

    def start(*_task: object) -> None:
        raise RuntimeError("can't start new thread")

    threads = system_of(plane).threads
    threads.start = start
    try:
        yield
    finally:
        del threads.start


def test_a_stop_whose_hook_gets_no_thread_is_refused_and_the_next_one_stops(
    open_plane: OpenPlane,
) -> None:
    agent = Hooked()
    plane = open_plane(agent)
    plane.register("a")
    with no_thread_for(plane), pytest.raises(InternalError):
        plane.stop_runtime("a", timeout=WAIT_S)
    plane.stop_runtime("a", timeout=WAIT_S)
    assert agent.stops == ["a"]
    assert plane.runtime_state("a", timeout=WAIT_S) is RuntimeState.STOPPED


@pytest.mark.parametrize("end", ENDS_EPOCH, ids=["reset", "destroy", "unregister"])
def test_an_epoch_ends_though_its_operations_get_no_thread(
    open_plane: OpenPlane, end: Callable[[ControlPlane], object]
) -> None:
    plane = open_plane(Hooked())
    running(plane.register("a"))
    with no_thread_for(plane):
        end(plane)
    plane.register("b", timeout=WAIT_S)


def test_operations_that_got_no_thread_are_ended_by_the_stop(open_plane: OpenPlane) -> None:
    plane = open_plane(Hooked())
    bindings = plane.register("a")
    ended = bindings.ops_lifecycle.watch(running(bindings))
    with no_thread_for(plane):
        plane.reset("a", timeout=WAIT_S)
    assert not ended.done()
    plane.stop()
    assert ended.done()
