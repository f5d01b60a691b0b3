"""Event hub: hands the events of drivers to subscribers, in order, from a bounded window."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from meerkat.errors import ControlPlaneStopped
from meerkat.event_log import EventLog, first_sequence
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel import Emit
from meerkat.limits import Limits


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
        self.unread: deque[tuple[LogicalRuntimeId, int]] = deque(
            maxlen=hub.limits.events_per_process_max
        )
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

    def _fetch_any(self) -> Sequence[RuntimeEventEnvelope | EventGap]:
        found: list[RuntimeEventEnvelope | EventGap] = []
        while self.unread and not found:
            runtime_id, sequence = self.unread.popleft()
            gap, envelopes = self._hub.read(runtime_id, sequence - 1, limit=1)
            found += [gap] if gap is not None else envelopes
        return found

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
        self.changed = threading.Condition()
        self._logs: OrderedDict[LogicalRuntimeId, EventLog] = OrderedDict()
        self._fences: dict[LogicalRuntimeId, int] = {}
        self._subscribers: set[Subscription] = set()
        self._total = 0
        self._closed = False

    def begin(self, runtime_id: LogicalRuntimeId, stored_fence: int) -> None:
        """A driver has loaded its runtime: numbers go on above every earlier one."""
        with self.changed:
            log = self._logs.get(runtime_id)
            if log is None:
                first = first_sequence(stored_fence)
                window = self.limits.events_per_runtime_max
                self._logs[runtime_id] = EventLog(runtime_id, first, window)
            elif self._fences.get(runtime_id) != stored_fence:
                self._total -= len(log)
                log.rebase(first_sequence(stored_fence))
                self._total += len(log)
            self._fences[runtime_id] = stored_fence

    def claimed(self, runtime_id: LogicalRuntimeId, fence: int) -> None:
        """The driver has claimed its runtime: this fence's numbers are ours."""
        self._fences[runtime_id] = fence

    def append(self, runtime_id: LogicalRuntimeId, emits: Sequence[Emit], now: datetime) -> None:
        """Stamp and keep events of one runtime, and wake their readers."""
        with self.changed:
            log = self._logs[runtime_id]
            before = len(log)
            for emit in emits:
                log.append(emit, now)
            self._total += len(log) - before
            self._logs.move_to_end(runtime_id)
            self._make_room()
            if self._subscribers:
                self._tell(runtime_id, log.watermark, len(emits))

    def _tell(self, runtime_id: LogicalRuntimeId, watermark: int, count: int) -> None:
        for subscriber in self._subscribers:
            if subscriber.runtime_id is None:
                numbers = range(watermark - count + 1, watermark + 1)
                subscriber.unread.extend((runtime_id, number) for number in numbers)
        self.changed.notify_all()

    def _make_room(self) -> None:
        while self._total > self.limits.events_per_process_max:
            runtime_id, quietest = next(iter(self._logs.items()))
            if len(quietest):
                quietest.drop_oldest()
                self._total -= 1
            else:
                self._logs.move_to_end(runtime_id)

    def read(
        self, runtime_id: LogicalRuntimeId, after: int, limit: int | None = None
    ) -> tuple[EventGap | None, list[RuntimeEventEnvelope]]:
        """What is above ``after``. The caller holds ``changed``."""
        log = self._logs.get(runtime_id)
        if log is None:
            return None, []
        gap, envelopes = log.after(after, limit)
        return gap, envelopes

    def subscribe(
        self, runtime_id: LogicalRuntimeId | None, after: int | None
    ) -> Subscription:
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
            self.changed.notify_all()

    def close(self) -> None:
        """End every subscription, and take no more."""
        with self.changed:
            self._closed = True
            for subscription in self._subscribers:
                subscription.closed = True
            self._subscribers.clear()
            self.changed.notify_all()
