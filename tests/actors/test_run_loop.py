"""The event loop of coroutine runs: one thread, which comes with the first who needs it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from coroutine_builders import STRICT, AsyncAgent, noiseless, runs, threads_gone
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    prompt,
    result_of,
    system_of,
)

from actors import ControlPlane
from actors.run_loop import RunLoop

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless(), threads_gone():
        yield


def loop_of(plane: ControlPlane) -> RunLoop:
    loop: RunLoop = system_of(plane).loop
    return loop


async def nothing() -> None:
    pass


def test_a_loop_that_is_not_used_has_no_thread(loop: RunLoop, open_plane: OpenPlane) -> None:
    loop.stop(WAIT_S)
    assert not runs(loop)
    plane = open_plane(Agent())
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    assert not runs(loop_of(plane))
    plane.attach_executor("a", AsyncAgent())
    result_of(plane.submit("a", prompt()).completion)
    assert runs(loop_of(plane))


def test_calls_are_made_in_order_on_one_thread(loop: RunLoop) -> None:
    made: list[Any] = []
    done = threading.Event()
    for number in range(100):
        loop.call(lambda number=number: made.append((number, threading.current_thread().name)))
    loop.call(done.set)
    assert done.wait(WAIT_S)
    assert made == [(number, "meerkat-run-loop") for number in range(100)]


def test_many_threads_that_come_first_start_one_loop(loop: RunLoop) -> None:
    line, there = threading.Barrier(8), []

    def first(_: int) -> None:
        line.wait(WAIT_S)
        loop.perform(noted(there))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(first, range(8)))
    assert len(there) == 8
    assert len(set(there)) == 1


async def noted(there: list[Any]) -> None:
    there.append(asyncio.get_running_loop())


def test_perform_waits_for_the_end_and_raises_what_it_raises(loop: RunLoop) -> None:
    seen: list[Any] = []

    async def performs() -> None:
        await asyncio.sleep(0)
        seen.append(threading.current_thread().name)

    async def fails() -> None:
        raise ValueError("bad seat")

    loop.perform(performs())
    assert seen == ["meerkat-run-loop"]
    with pytest.raises(ValueError, match="bad seat"):
        loop.perform(fails())
