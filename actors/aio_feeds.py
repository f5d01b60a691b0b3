"""Async feeds: events and notices that are read on an event loop, without a thread for it.

The driver that tells something wakes the loop; the reader there fetches what is new. It is
taken and handed over in one step, so a wait that is cancelled loses nothing.
"""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self, TypeVar

from actors.awaiting import AsyncFuture, Bells, Waiters
from actors.feeds import Feed, abandon_granted, close_granted
from meerkat.errors import MeerkatError

T = TypeVar("T")


class AsyncFeed(Generic[T]):
    """What is told, as an asynchronous iterator; it ends once closed, or when the plane stops.

    What it is refused with is raised by the first wait. A wait that is cancelled, or timed out
    from outside, loses nothing: the next one goes on there. Tasks of several loops may read;
    each item goes to one of them. A feed that nobody holds any more closes itself.
    """

    def __init__(
        self,
        granted: AsyncFuture[Feed[T]],
        bells: Bells,
        *,
        call: str,
        timeout_s: float | None,
    ) -> None:
        self._granted = granted
        self._call = call
        self._timeout_s = timeout_s
        self._waiters = Waiters(bells)
        self._feed: Feed[T] | None = None
        self._closed = False

    async def opened(self) -> Self:
        """Wait until it has been granted; raises what it was refused with, or CallTimedOut."""
        if self._feed is None:
            try:
                feed = await self._granted.within(self._timeout_s, self._call)
            except MeerkatError:
                self.close()
                raise
            if self._feed is None:
                self._feed = feed
                feed.listen(self._waiters.wake)
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        await self.opened()
        while not self._closed and self._feed is not None:
            item = self._feed.next_ready()
            if item is not None:
                return item
            with self._waiters.one_more() as woken:
                item = self._feed.next_ready()  # what came before there was a waiter
                if item is not None:
                    return item
                if self._feed.closed:
                    break
                await woken
        raise StopAsyncIteration

    def next_ready(self) -> T | None:
        """The next one, or None when there is none just now. Waits for nothing."""
        return None if self._closed or self._feed is None else self._feed.next_ready()

    def close(self) -> None:
        """End it; whoever waits for something learns that. Idempotent, waits for nothing."""
        self._closed = True
        self._granted.future.add_done_callback(close_granted)

    async def aclose(self) -> None:
        """The same as :meth:`close`, by the name that ``contextlib.aclosing`` looks for."""
        self.close()

    async def __aenter__(self) -> Self:
        try:
            return await self.opened()
        except BaseException:
            self.close()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            self._granted.future.add_done_callback(abandon_granted)
