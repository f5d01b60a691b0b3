"""Event hub: hands the events of drivers to subscribers, in order, from a bounded window."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from attrs import evolve, frozen

from actors.light import LightCondition
from meerkat.errors import ControlPlaneStopped
from meerkat.event_log import SEQUENCES_PER_FENCE, EventLog, first_sequence
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel import Telling
from meerkat.limits import Limits


@frozen
class _Stretch:
    """Neighbouring events of one runtime: those above ``after`` up to ``through``."""

    runtime_id: LogicalRuntimeId
    after: int
    through: int


class Subscription:
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
        self.closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> RuntimeEventEnvelope | EventGap:
        event = self.next_within(None)
        if event is None:
            raise StopIteration
        return event

    def next_within(self, timeout_s: float | None) -> RuntimeEventEnvelope | EventGap | None:
        """The next event, or None when it is closed or ``timeout_s`` seconds have passed."""
        with self._hub.changed:
            self._hub.changed.wait_for(self._fill, timeout_s)
            return self._ready.popleft() if self._ready else None

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
        self._hub.drop(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class EventHub:
    """The event windows of all runtimes of a process. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.changed = LightCondition()
        self._logs: dict[LogicalRuntimeId, EventLog] = {}
        self._told: OrderedDict[LogicalRuntimeId, EventLog] = OrderedDict()  # those with events
        self._fences: dict[LogicalRuntimeId, int] = {}
        self._forgotten: set[LogicalRuntimeId] = set()
        self._watermarks: OrderedDict[LogicalRuntimeId, tuple[int, int]] = OrderedDict()
        self._subscribers: set[Subscription] = set()
        self._total = 0
        self._closed = False

    def begin(self, runtime_id: LogicalRuntimeId, stored_fence: int) -> None:
        """A driver has loaded its runtime: numbers go on above every earlier one."""
        with self.changed:
            self._forgotten.discard(runtime_id)
            log = self._logs.get(runtime_id)
            if log is None:
                fence, watermark = self._watermarks.pop(runtime_id, (None, 0))
                first = watermark + 1 if fence == stored_fence else first_sequence(stored_fence)
                window = self.limits.events_per_runtime_max
                self._logs[runtime_id] = EventLog(runtime_id, first, window)
            elif self._fences.get(runtime_id) != stored_fence:
                self._total -= len(log)
                log.rebase(first_sequence(stored_fence))
                self._total += len(log)
            self._fences[runtime_id] = stored_fence

    def claimed(self, runtime_id: LogicalRuntimeId, fence: int) -> None:
        """The driver has claimed its runtime: this fence's numbers are ours."""
        if runtime_id not in self._logs or runtime_id in self._forgotten:
            self.begin(runtime_id, fence - 1)  # it was about to leave, and stays after all
        self._fences[runtime_id] = fence

    def forget(self, runtime_id: LogicalRuntimeId) -> None:
        """A driver leaves: keep of its runtime what can still be read, and its last number.

        Should it come back, that or its stored fence puts its numbers above every earlier one.
        """
        with self.changed:
            if runtime_id in self._logs:
                self._forgotten.add(runtime_id)
                self._drop_if_done(runtime_id)

    def _drop_if_done(self, runtime_id: LogicalRuntimeId | None) -> None:
        if runtime_id not in self._forgotten or len(self._logs[runtime_id]):
            return
        if not any(each.runtime_id == runtime_id for each in self._subscribers):
            self._forgotten.discard(runtime_id)
            self._told.pop(runtime_id, None)
            watermark, fence = self._logs.pop(runtime_id).watermark, self._fences.pop(runtime_id)
            if watermark % SEQUENCES_PER_FENCE:  # something was told
                self._watermarks[runtime_id] = (fence, watermark)
            if len(self._watermarks) > self.limits.events_per_process_max:
                self._watermarks.popitem(last=False)

    def append(self, runtime_id: LogicalRuntimeId, told: Sequence[Telling], now: datetime) -> None:
        """Stamp and keep events of one runtime, and wake their readers."""
        with self.changed:
            log = self._logs[runtime_id]
            before, watermark = len(log), log.watermark
            for telling in told:
                log.append(telling, now)
            self._total += len(log) - before
            self._told[runtime_id] = log
            self._told.move_to_end(runtime_id)
            self._make_room()
            if self._subscribers:
                self._tell(runtime_id, watermark, log.watermark)

    def _tell(self, runtime_id: LogicalRuntimeId, after: int, through: int) -> None:
        for subscriber in self._subscribers:
            if subscriber.runtime_id is None:
                subscriber.note(runtime_id, after, through)
        self.changed.notify_all()

    def _make_room(self) -> None:
        while self._total > self.limits.events_per_process_max:
            runtime_id, quietest = next(iter(self._told.items()))
            if len(quietest):
                quietest.drop_oldest()
                self._total -= 1
            if not len(quietest):
                del self._told[runtime_id]
                self._drop_if_done(runtime_id)

    def read(
        self, runtime_id: LogicalRuntimeId, after: int, limit: int | None = None
    ) -> tuple[EventGap | None, list[RuntimeEventEnvelope]]:
        """What is above ``after``. The caller holds ``changed``."""
        log = self._logs.get(runtime_id)
        if log is None:
            return None, []
        gap, envelopes = log.after(after, limit)
        return gap, envelopes

    def window(self, runtime_id: LogicalRuntimeId, known: int) -> tuple[int, int]:
        """The oldest number kept and the last one; ``known`` is the last one the caller knows.

        The caller holds ``changed``.
        """
        log = self._logs.get(runtime_id)
        if log is None:  # forgotten, with everything that was told of it
            return known + 1, known
        return log.watermark + 1 - len(log), log.watermark

    def subscribe(self, runtime_id: LogicalRuntimeId | None, after: int | None) -> Subscription:
        """Read one runtime's events above ``after``, or everybody's from now on."""
        with self.changed:
            if self._closed:
                raise ControlPlaneStopped
            if after is None:
                log = None if runtime_id is None else self._logs.get(runtime_id)
                after = 0 if log is None else log.watermark
            subscription = Subscription(self, runtime_id, after)
            self._subscribers.add(subscription)
            return subscription

    def drop(self, subscription: Subscription) -> None:
        """End one subscription."""
        with self.changed:
            subscription.closed = True
            self._subscribers.discard(subscription)
            self._drop_if_done(subscription.runtime_id)
            self.changed.notify_all()

    def close(self) -> None:
        """End every subscription, and take no more."""
        with self.changed:
            self._closed = True
            for subscription in self._subscribers:
                subscription.closed = True
            self._subscribers.clear()
            self.changed.notify_all()
