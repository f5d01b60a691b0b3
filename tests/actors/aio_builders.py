"""Builders: tests that live in an event loop, under asyncio's and under uvloop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop
from coroutine_builders import noiseless
from plane_builders import WAIT_S

from actors.aio import AsyncControlPlane, AsyncSubscription
from meerkat import EventGap, RuntimeEventEnvelope
from meerkat.limits import Backoff
from meerkat.store import SqliteStore

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}

Main = Callable[[], Coroutine[Any, Any, Any]]
OnLoop = Callable[[Main], Any]
"""Performs a coroutine on a loop of its own, which nothing may be left on."""


def performed(factory: Callable[[], asyncio.AbstractEventLoop], main: Main) -> Any:
    """What ``main`` gives. No task is left, and nobody has anything to complain about."""
    complaints: list[Any] = []

    async def whole() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        async with asyncio.timeout(6 * WAIT_S):
            result = await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    with noiseless():
        with asyncio.Runner(loop_factory=factory) as runner:
            result = runner.run(whole())
            gc.collect()
        assert complaints == []
    return result


def async_plane(path: Path, executor: Any = None, **settings: Any) -> AsyncControlPlane:
    """A plane of few means that has not been started."""
    settings = {"backoff": Backoff(base_s=0.001), "grace_s": WAIT_S, **settings}
    store = settings.pop("store", None) or SqliteStore(path)
    return AsyncControlPlane(store, executor, **settings)


@asynccontextmanager
async def running(path: Path, executor: Any = None, **settings: Any) -> AsyncIterator[Any]:
    """A plane with one runtime, "a"; its agent is let go before it is stopped."""
    async with async_plane(path, executor, **settings) as plane:
        await plane.register("a")
        try:
            yield plane
        finally:
            if hasattr(executor, "release"):
                executor.release()


def system_behind(plane: AsyncControlPlane) -> Any:
    return plane._plane._life.system


async def elsewhere(work: Callable[[], Any]) -> Any:
    """What blocks, beside the loop."""
    return await asyncio.to_thread(work)


async def soon(awaitable: Awaitable[Any]) -> Any:
    """What awaiting gives, within the patience of a test."""
    async with asyncio.timeout(WAIT_S):
        return await awaitable


async def begun(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that has come to where it waits."""
    task = asyncio.get_running_loop().create_task(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task that waits; it ends so."""
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def events_until(events: AsyncSubscription, code: str) -> list[Any]:
    """The events up to the first with this code, gaps included."""
    told: list[Any] = []
    while not told or code_of(told[-1]) != code:
        told.append(await soon(anext(events)))
    return told


def code_of(told: RuntimeEventEnvelope | EventGap) -> str:
    return "gap" if isinstance(told, EventGap) else str(told.event.code)


def waits_on(future: Future[Any]) -> int:
    """How many callbacks a future keeps."""
    return len(future._done_callbacks)  # type: ignore[attr-defined]
