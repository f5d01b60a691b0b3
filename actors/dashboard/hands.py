"""Hands: threads for what blocks, a few at a time, so that the event loop never does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from actors.awaiting import AsyncFuture, Bells
from actors.run_places import RunThreads

T = TypeVar("T")


class Hands:
    """At most ``most`` of them work at once; whoever comes then waits for one. Of one loop.

    Work whose asker has gone away goes on to its end, and has its hand until then.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)
        self._bells = Bells()

    @property
    def all_busy(self) -> bool:
        """Would the next one wait?"""
        return self._free.locked()

    async def do(self, work: Callable[[], T]) -> T:
        """What ``work`` gives or raises, on a thread that ends with it."""
        await self._free.acquire()
        bell = self._bells.here()
        threads = RunThreads()
        try:
            done = threads.outcome_of(work)
        except BaseException:
            self._free.release()
            raise
        finally:
            threads.stop()

        def give_back(_done: Future[T]) -> None:
            bell.call(self._free.release)

        done.add_done_callback(give_back)
        return await AsyncFuture(done, self._bells)
