"""The end of the event loop: what is left is cancelled, tidies up, and keeps nobody waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from coroutine_builders import STRICT, Gate, joined, noiseless, runs, threads_gone
from plane_builders import (
    WAIT_S,
    error_of,
    logged,
    result_of,
)

from actors.run_loop import RunLoop
from actors.run_places import RunThreads
from meerkat.errors import ControlPlaneStopped

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless(), threads_gone():
        yield


async def nothing() -> None:
    pass


def test_a_stopped_loop_calls_and_performs_nothing(loop: RunLoop) -> None:
    loop.perform(nothing())
    called: list[int] = []
    loop.stop(WAIT_S)
    loop.call(lambda: called.append(1))
    with pytest.raises(ControlPlaneStopped):
        loop.perform(nothing())
    assert not runs(loop)
    assert called == []


def test_a_stop_again_does_nothing(loop: RunLoop) -> None:
    loop.perform(nothing())
    for _ in range(3):
        loop.stop(WAIT_S)
    assert not runs(loop)


def test_a_stop_cancels_what_is_left_and_lets_it_tidy_up(loop: RunLoop) -> None:
    tidied: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            tidied.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            tidied.append("generator")

    kept: list[Any] = []

    async def leaves_much_behind() -> None:
        kept.append(asyncio.get_running_loop().create_task(waits()))
        kept.append(numbers())
        await anext(kept[-1])
        await asyncio.sleep(0)

    loop.perform(leaves_much_behind())
    loop.stop(WAIT_S)
    assert tidied == ["task", "generator"]
    assert kept[0].cancelled()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("no")])
def test_a_task_that_leaves_when_it_is_cancelled_does_not_cut_a_stop_short(
    loop: RunLoop, error: BaseException
) -> None:
    tidied: list[int] = []

    async def leaves() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise error from None

    async def tidies(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            tidied.append(number)

    kept: list[asyncio.Task[None]] = []

    async def begin() -> None:
        kept.extend(asyncio.create_task(tidies(number)) for number in (1, 2))
        kept.append(asyncio.create_task(leaves()))
        kept.extend(asyncio.create_task(tidies(number)) for number in (3, 4))
        await asyncio.sleep(0)

    loop.perform(begin())
    loop.stop(WAIT_S)
    assert sorted(tidied) == [1, 2, 3, 4]
    assert kept[2].exception() is error
    assert not runs(loop)


def test_a_task_that_begins_another_while_it_tidies_up_leaves_nothing_behind(
    loop: RunLoop,
) -> None:
    kept: list[asyncio.Task[None]] = []

    async def waits() -> None:
        await asyncio.Event().wait()

    async def begins_another() -> None:
        try:
            await waits()
        finally:
            kept.append(asyncio.create_task(waits()))

    async def begin() -> None:
        kept.append(asyncio.create_task(begins_another()))
        await asyncio.sleep(0)

    loop.perform(begin())
    loop.stop(WAIT_S)
    assert [task.cancelled() for task in kept] == [True, True]
    assert not runs(loop)


def test_a_task_that_goes_on_when_it_is_cancelled_is_left_behind_and_ends_when_it_likes(
    loop: RunLoop,
) -> None:
    """The loop is not closed under it: it may await, and Python has nothing to add."""
    gate, heard, tidied = Gate(), threading.Event(), list[str]()

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.set()
        await gate.passed()
        await asyncio.to_thread(tidied.append, "late")

    kept: list[asyncio.Task[None]] = []

    async def begin() -> None:
        kept.append(asyncio.create_task(goes_on()))
        await asyncio.sleep(0)

    loop.perform(begin())
    with logged("coroutines did not end when they were cancelled") as told:
        loop.stop(0.01)
    assert told.is_set()
    assert heard.wait(WAIT_S)
    assert runs(loop)
    gate.open()
    joined([loop._thread])
    assert (kept[0].done(), tidied) == (True, ["late"])


@pytest.mark.parametrize("listens", [True, False])
def test_who_waits_for_what_a_stop_cuts_off_is_told_so(loop: RunLoop, listens: bool) -> None:
    gate, begun = Gate(), threading.Event()

    async def hangs() -> None:
        begun.set()
        try:
            await gate.passed()
        except asyncio.CancelledError:
            if not listens:
                await gate.passed()
            raise

    with ThreadPoolExecutor(1) as threads:
        performed = threads.submit(loop.perform, hangs())
        assert begun.wait(WAIT_S)
        loop.stop(WAIT_S if listens else 0.01)
        assert isinstance(error_of(performed), ControlPlaneStopped)
    gate.open()


def test_a_stop_that_comes_while_something_is_to_be_performed_leaves_nobody_waiting() -> None:
    for number in range(200):
        loop, line = RunLoop(RunThreads()), threading.Barrier(2)

        def stop(loop: RunLoop = loop, line: threading.Barrier = line) -> None:
            line.wait(WAIT_S)
            loop.stop(WAIT_S)

        if number % 2:
            loop.perform(nothing())
        with ThreadPoolExecutor(1) as threads:
            stopping = threads.submit(stop)
            line.wait(WAIT_S)
            with suppress(ControlPlaneStopped):
                loop.perform(nothing())
            result_of(stopping)


def test_a_host_that_stops_the_loop_while_it_tidies_up_does_not_cut_a_stop_short(
    loop: RunLoop,
) -> None:
    tidied: list[int] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0)
            tidied.append(1)

    kept: list[asyncio.Task[None]] = []

    async def begin() -> None:
        kept.append(asyncio.create_task(waits()))
        await asyncio.sleep(0)

    loop.perform(begin())
    loop.stop(WAIT_S)
    assert tidied == [1]
    assert not runs(loop)


def test_a_loop_that_is_held_up_ends_when_it_is_let_go(loop: RunLoop) -> None:
    held_up, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        held_up.set()
        go_on.wait(WAIT_S)

    loop.call(hold_up)
    assert held_up.wait(WAIT_S)
    loop.stop(0.01)
    assert runs(loop)
    go_on.set()
