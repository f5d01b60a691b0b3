"""Host loop: the host's own event loop, for coroutine runs that use what is bound to it.

The clients of a host, for HTTP or a database say, belong to the loop they were made on. The
loop is the host's, and so is everything else that runs there: what was begun here is cancelled
at the end, and nothing else is touched.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from actors.run_loop import LEFT, RunLoop
from actors.run_places import RunThreads

logger = logging.getLogger(__name__)

T = TypeVar("T")


class HostLoop(RunLoop):
    """An event loop of the host's. Thread-safe.

    Once the host has closed it nothing is called any more, as after a stop.
    """

    def __init__(self, threads: RunThreads, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(threads)
        self._host = loop
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        self._used = False
        self._wound_up = threading.Event()

    @property
    def is_missed(self) -> bool:
        """Was it used, and has its host closed it?"""
        return self._used and self._host.is_closed()

    @property
    def is_used(self) -> bool:
        """Was anything called on it?"""
        return self._used

    def call(self, callback: Callable[[], object]) -> bool:
        """Call back on the loop's thread, soon; False, and never, once stopped or closed."""
        self._used = True
        try:
            return super().call(callback)
        except RuntimeError:
            if self._host.is_closed():
                return False
            raise

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the loop, which is cancelled at the end of the plane."""
        self._thread_id = threading.get_ident()
        task = super().begin(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop(self, timeout_s: float) -> None:
        """Cancel what was begun here and wait for its end, for so long. Idempotent."""
        with self._lock:
            again, self._stopped = self._stopped, True
        if not self._used:
            return
        if not again:
            try:
                self._host.call_soon_threadsafe(self._begin_to_wind_up)
            except RuntimeError:  # it is closed, and took what was begun with it
                self._wound_up.set()
        if not self._wound_up.wait(timeout_s):
            logger.warning(LEFT)
        self._give_up()

    async def _wind_up(self) -> None:
        """Cancel what was begun here, once each, and wait for it."""
        told = set[asyncio.Task[Any]]()
        try:
            while left := set(self._tasks):
                for task in left - told:
                    task.cancel()
                told |= left
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._wound_up.set()
