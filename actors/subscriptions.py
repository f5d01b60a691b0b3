"""Subscriptions: one reader's way through the events, each told once, in order.

A reader that is too slow for the window of a runtime is told of the gap, and goes on behind it.
Everything here is done under the hub's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from actors.feeds import Reader
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import LogicalRuntimeId

if TYPE_CHECKING:
    from actors.event_hub import EventHub


@frozen
class _Stretch:
    """Neighbouring events of one runtime: those above ``after`` up to ``through``."""

    runtime_id: LogicalRuntimeId
    after: int
    through: int


class Subscription(Reader[RuntimeEventEnvelope | EventGap]):
    """Events as an iterator; it ends when it is closed or the control plane stops.

    Iterating blocks until there is an event. Yields an EventGap where the reader was too
    slow for the window. One thread reads; any thread may close.
    """

    def __init__(self, hub: EventHub, runtime_id: LogicalRuntimeId | None, after: int) -> None:
        self._hub = hub
        self.runtime_id = runtime_id
        self._after = after
        self._ready: deque[RuntimeEventEnvelope | EventGap] = deque()
        self._unread: deque[_Stretch] = deque()  # of everybody's events, in their order
        self._lost: dict[LogicalRuntimeId, _Stretch] = {}
        self._told: dict[LogicalRuntimeId, int] = {}
        self._listener: Callable[[], None] | None = None
        self.closed = False

    @property
    def position(self) -> int:
        """The number of the last event of the one runtime that was fetched, or passed over."""
        return self._after

    def next_within(self, timeout_s: float | None) -> RuntimeEventEnvelope | EventGap | None:
        """The next event, or None when it is closed or ``timeout_s`` seconds have passed.

        Where there is none yet, WouldDeadlock on a thread that has to bring it about.
        """
        self._hub.refuse_elsewhere()
        with self._hub.changed:
            if timeout_s != 0 and not self._fill():
                self._hub.refuse_to_wait(self.runtime_id)
            self._hub.changed.wait_for(self._fill, timeout_s)
            return self._ready.popleft() if self._ready else None

    def next_ready(self) -> RuntimeEventEnvelope | EventGap | None:
        """The next event, or None when there is none just now. Waits for nothing."""
        self._hub.refuse_elsewhere()
        with self._hub.changed:
            self._fill()
            return self._ready.popleft() if self._ready else None

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever there is something to look at; see ``feeds``."""
        with self._hub.changed:
            self._listener = listener

    def tell(self) -> None:
        """There is something to look at. The caller holds ``changed``."""
        if self._listener is not None:
            self._listener()

    def _fill(self) -> bool:
        """Fetch what is new; says whether there is something to return, the end included."""
        if not self._ready:
            self._ready.extend(self._fetch())
        return bool(self._ready) or self.closed

    def _fetch(self) -> Sequence[RuntimeEventEnvelope | EventGap]:
        if self.runtime_id is None:
            return self._fetch_any()
        gap, envelopes = self._hub.read(self.runtime_id, self._after)
        if gap is not None:
            self._after = gap.dropped_through
        if envelopes:
            self._after = envelopes[-1].sequence
        return [*([gap] if gap else []), *envelopes]

    def note(self, runtime_id: LogicalRuntimeId, after: int, through: int) -> None:
        """Put new events of a runtime behind all others. The caller holds ``changed``.

        Where too many wait, the oldest are lost to this reader, which is told so.
        """
        if len(self._unread) >= self._hub.limits.events_per_process_max:
            oldest = self._unread.popleft()
            first = self._lost.get(oldest.runtime_id, oldest)
            self._lost[oldest.runtime_id] = evolve(first, through=oldest.through)
        self._unread.append(_Stretch(runtime_id, after, through))

    def _fetch_any(self) -> Sequence[RuntimeEventEnvelope | EventGap]:
        found: list[RuntimeEventEnvelope | EventGap] = []
        while not found and (self._lost or self._unread):
            if self._lost:
                stretch = self._lost.pop(next(iter(self._lost)))
                found += self._gap_of(stretch, lost=stretch.through)
            else:
                found += self._read_stretch(self._unread.popleft())
        if not self._unread and not self._lost:
            self._told.clear()
        return found

    def _read_stretch(self, stretch: _Stretch) -> Sequence[RuntimeEventEnvelope | EventGap]:
        """What the window still holds of a stretch, behind the gap if some of it is gone."""
        gap = self._gap_of(stretch)
        after = self._after_told(stretch)
        _, envelopes = self._hub.read(stretch.runtime_id, after, stretch.through - after)
        return [*gap, *envelopes]

    def _gap_of(self, stretch: _Stretch, lost: int = 0) -> list[EventGap]:
        """The gap up to ``lost``, or as far as the window has moved on; it is told once."""
        after = self._after_told(stretch)
        oldest, watermark = self._hub.window(stretch.runtime_id, stretch.through)
        through = max(lost, oldest - 1)
        if through <= after or after >= stretch.through:
            return []
        self._told[stretch.runtime_id] = through
        return [EventGap(requested=after, dropped_through=through, watermark=watermark)]

    def _after_told(self, stretch: _Stretch) -> int:
        """Where a stretch goes on, as a gap told earlier may cover a part of it."""
        told = self._told.get(stretch.runtime_id, 0)
        return min(max(stretch.after, told), stretch.through)

    def close(self) -> None:
        """End the subscription; a blocked reader returns. Idempotent."""
        if self._hub.is_elsewhere:
            self.closed = True
        else:
            self._hub.drop(self)

    def abandon(self) -> None:
        """Nobody reads it any more: end it soon. Takes no lock, so a finalizer may call it."""
        self._hub.abandoned.append(self)
