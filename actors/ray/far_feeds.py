"""Far feeds: events and notices of shards, read in the host's process.

A shard sends as many as the reader has room for; the rest waits there, in the window that every
reader of a runtime's events has. Whatever is started anew is asked again for what is behind the
last event that has arrived, and tells of the gap, if there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from actors.feeds import Reader
from actors.light import LightCondition
from actors.ray.wire import FEED_WINDOW
from actors.replies import refuse_deadlock
from actors.watching import NoticeKind, RuntimeNotice
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import LogicalRuntimeId
from meerkat.outcomes import TerminationReason

T = TypeVar("T")

EVENTS_LOST = EventGap(requested=0, dropped_through=0, watermark=0)
"""What a reader of all events is told when a shard was started anew: whose are missing, and how
many, nobody knows."""


class Source(Protocol):
    """Where a feed comes from: what one shard was asked for."""

    def more(self, count: int) -> None:
        """So many have been read: there is room for as many."""
        ...

    def close(self) -> None:
        """Nobody reads it any more. Takes no lock that a finalizer may not take."""
        ...


class FarFeed(Reader[T], Generic[T]):
    """What shards tell, as an iterator; it ends once it is closed, or when they stop.

    Iterating blocks until there is something. One thread reads; any thread may close.
    """

    def __init__(self, call: str, runtime_id: LogicalRuntimeId | None, after: int | None) -> None:
        self.call = call
        self.runtime_id = runtime_id
        self.after = after
        """The number of the last event that has arrived, of one runtime."""
        self.closed = False
        self._changed = LightCondition()
        self._ready: deque[tuple[Source | None, T]] = deque()
        self._read: dict[Source, int] = {}
        self._sources: set[Source] = set()
        self._listener: Callable[[], None] | None = None

    # --- the reader's side --------------------------------------------------------------

    def next_within(self, timeout_s: float | None) -> T | None:
        """The next one, or None when it is closed or ``timeout_s`` seconds have passed.

        Where there is none yet, WouldDeadlock on a thread that has to bring it about.
        """
        if timeout_s != 0 and not self._has_something():
            refuse_deadlock("next_event" if self.call == "subscribe" else "next_notice")
        with self._changed:
            self._changed.wait_for(self._has_something, timeout_s)
        return self.next_ready()

    def next_ready(self) -> T | None:
        """The next one, or None when there is none just now. Waits for nothing."""
        with self._changed:
            if not self._ready:
                return None
            source, item = self._ready.popleft()
            count = 0
            if source is not None:
                count = self._read[source] = self._read.get(source, 0) + 1
                if count >= FEED_WINDOW // 2:
                    self._read[source] = 0
        if source is not None and count >= FEED_WINDOW // 2:
            source.more(count)
        return item

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever there is something to look at; see ``feeds``."""
        with self._changed:
            self._listener = listener

    def close(self) -> None:
        """End it; a blocked reader returns. Idempotent."""
        with self._changed:
            sources, self._sources = self._sources, set()
            self._end()
        for source in sources:
            source.close()

    def abandon(self) -> None:
        """Nobody reads it any more: end it soon. Takes no lock, so a finalizer may call it."""
        self.closed = True
        for source in tuple(self._sources):
            source.close()

    @property
    def is_of_one_that_ended(self) -> bool:
        """Does it tell of one runtime whose driver has ended, so that nothing can come behind?"""
        return self.call == "watch" and self.runtime_id is not None

    def _has_something(self) -> bool:
        return bool(self._ready) or self.closed

    # --- the line's side ----------------------------------------------------------------

    def opened(self, source: Source, position: int | None) -> None:
        """A shard has granted it, from ``position`` on."""
        with self._changed:
            if self.after is None:
                self.after = position
            if not self.closed:
                self._sources.add(source)
                return
        source.close()

    def arrived(self, source: Source, items: Iterable[Any]) -> None:
        """What a shard tells has arrived."""
        with self._changed:
            for item in items:
                self._note(item)
                self._ready.append((source, item))
            self._tell()

    def started_anew(self, source: Source) -> None:
        """A shard was started anew, or others have taken its place: it will be asked again."""
        with self._changed:
            self._sources.discard(source)
            self._read.pop(source, None)
            if self.call == "subscribe" and self.runtime_id is None:
                lost: Any = EVENTS_LOST
                self._ready.append((None, lost))
                self._tell()

    def over(self, source: Source) -> None:
        """A shard says that nothing comes any more; with the last of them it is closed."""
        with self._changed:
            self._sources.discard(source)
            if not self._sources:
                self._end()

    def end(self) -> None:
        """The front door has stopped."""
        with self._changed:
            self._sources.clear()
            self._end()

    def _note(self, item: Any) -> None:
        if isinstance(item, RuntimeEventEnvelope):
            self.after = item.sequence
        elif isinstance(item, EventGap):
            self.after = item.dropped_through

    def _end(self) -> None:
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        if self._listener is not None:
            self._listener()


def says_stopped(item: object) -> bool:
    """Is this the notice that a shard's control plane stops?"""
    return (
        isinstance(item, RuntimeNotice)
        and item.kind is NoticeKind.ENDED
        and item.reason == str(TerminationReason.PLANE_STOPPED)
    )
