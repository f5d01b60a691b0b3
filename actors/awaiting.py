"""Awaiting: how an event loop waits for what threads bring about.

A thread that settles a thousand calls in a row rings the loop once, not a thousand times:
each ring costs a system call, and whoever makes it gives up the interpreter meanwhile. A wait
that is cancelled leaves, and takes nothing with it; whatever it waited for goes on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

from actors.light import check_patience, waitable_s
from meerkat.errors import CallTimedOut

T_co = TypeVar("T_co", covariant=True)


def on_loop() -> bool:
    """Does an event loop run on this thread, which is not to wait then?"""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Bell:
    """Has one event loop call what any thread asks for. Thread-safe.

    What is asked for is called in its order, and not at all once the loop is closed: whoever
    waited there is gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._rung = False

    def call(self, callback: Callable[[], object]) -> None:
        """Have the loop call ``callback``, which must not raise, soon. Raises nothing."""
        self._calls.append(callback)
        self._ring()

    def _ring(self) -> None:
        if self._rung:
            return
        self._rung = True
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # the loop is closed
            self._calls.clear()
            self._rung = False

    def _answer(self) -> None:
        self._rung = False  # first: who comes from now on rings again
        try:
            for _ in range(len(self._calls)):
                self._calls.popleft()()
        finally:
            if self._calls:  # a signal may have cut this short
                self._ring()


class Bells:
    """The bells of all event loops that one front door is used from. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells: dict[asyncio.AbstractEventLoop, Bell] = {}

    def here(self) -> Bell:
        """The bell of the loop that runs here."""
        loop = asyncio.get_running_loop()
        bell = self._bells.get(loop)
        if bell is None:
            with self._lock:
                for other in tuple(self._bells):
                    if other.is_closed():
                        del self._bells[other]
                bell = self._bells.setdefault(loop, Bell(loop))
        return bell


class Waiters:
    """Who waits for one thing, on whichever loop. Woken from any thread."""

    def __init__(self, bells: Bells) -> None:
        self._bells = bells
        self._lock = threading.RLock()  # a signal handler may wake whom its thread adds
        self._waiting: dict[asyncio.Future[None], Bell] = {}

    @contextmanager
    def one_more(self) -> Iterator[asyncio.Future[None]]:
        """Wait from here on: to be entered before one looks whether there is a need to."""
        bell = self._bells.here()
        woken = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[woken] = bell
        try:
            yield woken
        finally:
            with self._lock:
                del self._waiting[woken]

    def wake(self) -> None:
        """Wake everybody. It is quick and raises nothing, in any thread."""
        with self._lock:
            waiting = tuple(self._waiting.items())
        for woken, bell in waiting:
            bell.call(partial(_wake, woken))


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class AsyncFuture(Generic[T_co]):
    """What a control plane will know: to be awaited as often as wanted, on any event loop.

    Awaiting gives the value, or raises the error. A wait that is cancelled changes nothing.
    Thread-safe.
    """

    def __init__(self, future: Future[T_co], bells: Bells) -> None:
        self.future = future
        """The standard future behind it, for who waits on a thread."""
        self._waiters = Waiters(bells)
        self._listens = False

    def done(self) -> bool:
        """Is it known?"""
        return self.future.done()

    def __await__(self) -> Generator[Any, None, T_co]:
        yield from self._known().__await__()
        return self.future.result()

    async def _known(self) -> None:
        if self.future.done():
            return
        with self._waiters.one_more() as woken:
            if not self._listens:
                self._listens = True
                self.future.add_done_callback(self._settled)  # at once when it is known by now
            elif self.future.done():
                return
            await woken

    def _settled(self, _future: Future[Any]) -> None:
        self._waiters.wake()

    async def within(self, timeout_s: float | None, call: str) -> T_co:
        """The same for so many seconds; CallTimedOut then, and the work goes on."""
        check_patience(timeout_s)
        try:
            async with asyncio.timeout(None if timeout_s is None else waitable_s(timeout_s)):
                await self._known()
        except TimeoutError:
            if not self.done():
                raise CallTimedOut(call, timeout_s or 0.0) from None
        return self.future.result()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'known' if self.done() else 'pending'})"
