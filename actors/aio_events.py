"""Async events: a subscription that is read on an event loop, without a thread for it.

The driver that tells an event wakes the loop; the reader there fetches what is new. An event
is taken and handed over in one step, so a wait that is cancelled loses none.
"""

from __future__ import annotations

from concurrent.futures import Future
from types import TracebackType
from typing import Self

from actors.awaiting import AsyncFuture, Bells, Waiters
from actors.subscriptions import Subscription, abandon_granted, close_granted
from meerkat.errors import MeerkatError
from meerkat.events import EventGap, RuntimeEventEnvelope


class AsyncSubscription:
    """Events as an asynchronous iterator; it ends when it is closed or the control plane stops.

    Yields an EventGap where the reader was too slow for the window. What the subscription is
    refused with is raised by the first wait. A wait that is cancelled, or timed out from
    outside, loses no event: the next one goes on there. Tasks of several loops may read; each
    event goes to one of them. One that nobody holds any more closes itself.
    """

    def __init__(
        self, subscribed: Future[Subscription], bells: Bells, timeout_s: float | None
    ) -> None:
        self._subscribed = AsyncFuture(subscribed, bells)
        self._timeout_s = timeout_s
        self._waiters = Waiters(bells)
        self._events: Subscription | None = None
        self._closed = False

    async def opened(self) -> Self:
        """Wait until it has been granted; raises what it was refused with, or CallTimedOut."""
        if self._events is None:
            try:
                events = await self._subscribed.within(self._timeout_s, "subscribe")
            except MeerkatError:
                self.close()
                raise
            if self._events is None:
                self._events = events
                events.listen(self._waiters.wake)
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RuntimeEventEnvelope | EventGap:
        await self.opened()
        while not self._closed and self._events is not None:
            event = self._events.next_ready()
            if event is not None:
                return event
            with self._waiters.one_more() as woken:
                event = self._events.next_ready()  # what came before there was a waiter
                if event is not None:
                    return event
                if self._events.closed:
                    break
                await woken
        raise StopAsyncIteration

    def close(self) -> None:
        """End it; whoever waits for an event learns that. Idempotent, waits for nothing."""
        self._closed = True
        self._subscribed.future.add_done_callback(close_granted)
        self._waiters.wake()

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
            self._subscribed.future.add_done_callback(abandon_granted)
