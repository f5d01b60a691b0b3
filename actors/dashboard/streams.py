"""Streams: what a browser is told as it happens, as server-sent events.

A stream holds no thread: it waits on the event loop for what drivers wake it with. It ends when
the plane stops, when the page is closed, and when its reader goes away; one that is not read
loses events, and is told so, and holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from actors.aio import AsyncSubscription
from actors.awaiting import AsyncFuture, Bells
from actors.dashboard.answers import Refusal, Refused
from actors.light import LightFuture
from meerkat.codec import to_document
from meerkat.errors import MeerkatError
from meerkat.events import EventCode, EventGap, RuntimeEventEnvelope
from meerkat.json_values import dump

STREAMS_MAX: Final = 256
"""Streams open at once, of one page: a window has two or three, and is closed some time."""

QUIET_S: Final = 15.0
"""After so many seconds without news a stream gives a sign of life."""

TICK_S: Final = 1.0
"""How often the figures are sent."""

BURST: Final = 256
"""So many events are sent together, if they are there; then a reader waits."""

PIECE_BYTES: Final = 64 * 1024
"""Of those so much at a time, or one event that is larger: a reader has its time for each."""

PAUSE_S: Final = 0.1
"""How long it waits then, whatever comes: to wake the event loop for an event, to build it and to
send it costs more than to decide about it."""

Told = RuntimeEventEnvelope | EventGap

_SIGN_OF_LIFE: Final = b":\n\n"
_END: Final = b"event: end\ndata: {}\n\n"

_TOO_MANY: Final = Refusal(
    429,
    "too_many_streams",
    f"{STREAMS_MAX} streams are open: close some of them.",
    {"retry-after": "5"},
)
_CLOSED: Final = Refusal(503, "closed", "The page is being closed.")


class Streams:
    """The streams of one page: how many there are, and how they all end."""

    def __init__(self) -> None:
        self._ends: dict[Place, Callable[[], object]] = {}
        self._bells = Bells()
        self._closed: LightFuture[None] = LightFuture()

    def reserve(self) -> Place:
        """A place for one more; Refused where there is none. It is to be left again."""
        if self.closed:
            raise Refused(_CLOSED)
        if len(self._ends) >= STREAMS_MAX:
            raise Refused(_TOO_MANY)
        place = Place(self._ends)
        self._ends[place] = _nothing
        return place

    @property
    def closed(self) -> bool:
        """Are they all to end?"""
        return self._closed.done()

    async def pause(self, pause_s: float) -> None:
        """Wait so long, or until they are all to end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await AsyncFuture(self._closed, self._bells)

    def close(self) -> None:
        """Have them all end, and take no more. Any thread may call it. Idempotent."""
        if not self.closed:
            self._closed.set_result(None)
        for end in tuple(self._ends.values()):
            end()


class Place:
    """One stream's among those that may be open."""

    def __init__(self, ends: dict[Place, Callable[[], object]]) -> None:
        self._ends = ends

    def taken(self, texts: AsyncIterator[bytes], end: Callable[[], object]) -> EventStream:
        """The stream of these texts; ``end`` has them come to their end, from any thread."""
        self._ends[self] = end
        return EventStream(texts, self.leave)

    def leave(self) -> None:
        """End the stream, if there is one, and let another have the place. Idempotent."""
        self._ends.pop(self, _nothing)()


class EventStream(StreamingResponse):
    """An answer that goes on; ``end`` is called however it ends."""

    def __init__(self, texts: AsyncIterator[bytes], end: Callable[[], object]) -> None:
        super().__init__(texts, headers={"x-accel-buffering": "no"}, media_type="text/event-stream")
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, to its end."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()


def _nothing() -> None:
    """There is nothing to end."""


# --- what they say ----------------------------------------------------------------------


async def event_texts(
    feed: AsyncSubscription, streams: Streams, *, numbered: bool, payload: bool
) -> AsyncIterator[bytes]:
    """What a feed tells; ``numbered`` where its numbers are those of one runtime."""
    yield _SIGN_OF_LIFE  # so that the reader knows that it is heard from here on
    while not streams.closed:
        try:
            async with asyncio.timeout(QUIET_S):
                first = await anext(feed)
        except TimeoutError:
            yield _SIGN_OF_LIFE
        except StopAsyncIteration:
            break
        else:
            for piece in _pieces(first, feed, numbered=numbered, payload=payload):
                yield piece
            await streams.pause(PAUSE_S)
    yield _END


def _pieces(first: Told, feed: AsyncSubscription, **how: bool) -> Iterator[bytes]:
    """What is there, BURST events at most, in pieces that a reader has time enough to read."""
    told: Told | None = first
    piece, count = b"", 0
    while told is not None:
        piece, count = piece + _text_of(told, **how), count + 1
        if len(piece) >= PIECE_BYTES:
            yield piece
            piece = b""
        told = feed.next_ready() if count < BURST else None
    if piece:
        yield piece


def _text_of(told: Told, *, numbered: bool, payload: bool) -> bytes:
    if isinstance(told, EventGap):
        return _event("gap", dump(to_document(told)))
    document = to_document(told)
    if not payload and told.event.code in _SAID:
        document["event"]["data"].pop(_SAID[told.event.code], None)
    place = b"id: %d\n" % told.sequence if numbered else b""
    return place + _event("event", dump(document))


_SAID: Final[Mapping[EventCode, str]] = {
    EventCode.RUN_PROGRESS: "detail",
    EventCode.PROJECTION_EMITTED: "projection",
}
"""Where an event carries what a host, or its executor, says."""


async def figures_texts(
    read: Callable[[], Awaitable[bytes]], streams: Streams
) -> AsyncIterator[bytes]:
    """The figures, once a second."""
    with suppress(MeerkatError):  # it has stopped
        while not streams.closed:
            yield _event("figures", await read())
            await streams.pause(TICK_S)
    yield _END


def _event(name: str, document: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), document)
