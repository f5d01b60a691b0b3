"""Event hub: hands the events of drivers to subscribers, in order, from a bounded window."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from datetime import datetime
from itertools import chain

from actors.light import LightCondition
from actors.subscriptions import Subscription
from actors.waits import Waits
from meerkat.errors import ControlPlaneStopped
from meerkat.event_log import SEQUENCES_PER_FENCE, EventLog, first_sequence
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel import Telling
from meerkat.limits import Limits


class EventHub:
    """The event windows of all runtimes of a process. Thread-safe."""

    def __init__(self, limits: Limits, waits: Waits | None = None) -> None:
        self.limits = limits
        self._waits = waits
        self.changed = LightCondition()
        self.abandoned: deque[Subscription] = deque()
        self._logs: dict[LogicalRuntimeId, EventLog] = {}
        self._told: OrderedDict[LogicalRuntimeId, EventLog] = OrderedDict()  # those with events
        self._fences: dict[LogicalRuntimeId, int] = {}
        self._forgotten: set[LogicalRuntimeId] = set()
        self._watermarks: OrderedDict[LogicalRuntimeId, tuple[int, int]] = OrderedDict()
        self._subscribers = defaultdict[LogicalRuntimeId | None, dict[Subscription, None]](dict)
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
        if runtime_id not in self._subscribers:
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
                self._drop_abandoned()
                self._tell(runtime_id, watermark, log.watermark)

    def _drop_abandoned(self) -> None:
        while self.abandoned:
            self.drop(self.abandoned.popleft())

    def _tell(self, runtime_id: LogicalRuntimeId, after: int, through: int) -> None:
        for subscriber in self._subscribers.get(None, ()):
            subscriber.note(runtime_id, after, through)
            subscriber.tell()
        for subscriber in self._subscribers.get(runtime_id, ()):
            subscriber.tell()
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
            self._drop_abandoned()
            if after is None:
                log = None if runtime_id is None else self._logs.get(runtime_id)
                after = 0 if log is None else log.watermark
            subscription = Subscription(self, runtime_id, after)
            self._subscribers[runtime_id][subscription] = None  # told in the order they came
            return subscription

    @property
    def is_elsewhere(self) -> bool:
        """Is this a forked child, where nobody brings events and a lock may be held for ever?"""
        return self._waits is not None and self._waits.home.left

    def refuse_elsewhere(self) -> None:
        """Raise ControlPlaneForked in a forked child."""
        if self._waits is not None:
            self._waits.home.check()

    def refuse_to_wait(self, runtime_id: LogicalRuntimeId | None) -> None:
        """Raise WouldDeadlock on a thread that events need."""
        if self._waits is not None:
            self._waits.refuse("next_event", runtime_id)

    def drop(self, subscription: Subscription) -> None:
        """End one subscription."""
        with self.changed:
            subscription.closed = True
            others = self._subscribers.get(subscription.runtime_id, {})
            others.pop(subscription, None)
            if not others:
                self._subscribers.pop(subscription.runtime_id, None)
            self._drop_if_done(subscription.runtime_id)
            subscription.tell()
            self.changed.notify_all()

    def close(self) -> None:
        """End every subscription, and take no more."""
        with self.changed:
            self._closed = True
            for subscription in chain(*self._subscribers.values()):
                subscription.closed = True
                subscription.tell()
            self._subscribers.clear()
            self.changed.notify_all()
