"""Watching: who is told when a runtime is restarted, set aside, brought back, or ends.

These are notices about the driver of a runtime, not steps of the runtime: what the runtime
itself does is told by its events. A notice has no number; a watch hears what happens while it
is open, and first how things stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from attrs import frozen

from actors.feeds import Reader
from actors.light import LightCondition
from actors.waits import Waits
from meerkat.identifiers import LogicalRuntimeId
from meerkat.outcomes import TerminationReason
from meerkat.words import Word

NOTICES_MAX: Final = 1_024
"""Notices that wait for one reader; the oldest are dropped for a reader that never comes."""


class NoticeKind(Word):
    """What became of a runtime's driver."""

    RESTARTED = "restarted"
    """It failed: its memory was thrown away, and it goes on from the store after a pause."""
    SET_ASIDE = "set_aside"
    """It failed too often: until somebody acts, calls raise RuntimeUnavailable."""
    BROUGHT_BACK = "brought_back"
    """Somebody has acted: ``recover`` took it up again."""
    ENDED = "ended"
    """It was destroyed, unregistered or taken over, or its control plane has stopped."""


@frozen(kw_only=True)
class RuntimeNotice:
    """What happened to a runtime's driver, why, and when (UTC).

    ``restart_in_s`` is the pause, in seconds, before a restarted one works again.
    """

    runtime_id: LogicalRuntimeId
    kind: NoticeKind
    reason: str | None = None
    at: datetime
    restart_in_s: float | None = None


class RuntimeWatch(Reader[RuntimeNotice]):
    """Notices as an iterator; it ends once it is closed, or behind the runtime's end.

    Iterating blocks until there is a notice. One thread reads; any thread may close.
    """

    def __init__(self, watchers: Watchers, runtime_id: LogicalRuntimeId | None) -> None:
        self._watchers = watchers
        self.runtime_id = runtime_id
        self._ready: deque[RuntimeNotice] = deque(maxlen=NOTICES_MAX)
        self._listener: Callable[[], None] | None = None
        self.closed = False

    def next_within(self, timeout_s: float | None) -> RuntimeNotice | None:
        """The next notice, or None when it is closed or ``timeout_s`` seconds have passed.

        Where there is none yet, WouldDeadlock on a thread that has to bring it about.
        """
        self._watchers.home.check()
        changed = self._watchers.changed
        with changed:
            if timeout_s != 0 and not self._has_something:
                self._watchers.waits.refuse("next_notice", self.runtime_id)
            changed.wait_for(lambda: self._has_something, timeout_s)
            return self._ready.popleft() if self._ready else None

    @property
    def _has_something(self) -> bool:
        return bool(self._ready) or self.closed

    def next_ready(self) -> RuntimeNotice | None:
        """The next notice, or None when there is none just now. Waits for nothing."""
        self._watchers.home.check()
        with self._watchers.changed:
            return self._ready.popleft() if self._ready else None

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever there is something to look at; see ``feeds``."""
        with self._watchers.changed:
            self._listener = listener

    def put(self, notice: RuntimeNotice) -> None:
        """One more notice. The caller holds ``changed``."""
        self._ready.append(notice)
        if self.runtime_id is not None and notice.kind is NoticeKind.ENDED:
            self.end()
        elif self._listener is not None:
            self._listener()

    def end(self) -> None:
        """Nothing comes any more. The caller holds ``changed``."""
        self.closed = True
        if self._listener is not None:
            self._listener()

    def close(self) -> None:
        """End the watch; a blocked reader returns. Idempotent."""
        if self._watchers.home.left:
            self.closed = True
        else:
            self._watchers.drop(self)

    def abandon(self) -> None:
        """Nobody reads it any more: end it soon. Takes no lock, so a finalizer may call it."""
        self._watchers.abandoned.append(self)


class Watchers:
    """The open watches of one control plane. Thread-safe.

    ``always`` hears of everything, whoever watches; it is not to raise.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        waits: Waits,
        always: Callable[[RuntimeNotice], object] | None = None,
    ) -> None:
        self.waits = waits
        self.home = waits.home
        self.changed = LightCondition()
        self._now = now
        self._always = always
        self.abandoned: deque[RuntimeWatch] = deque()
        self._open: dict[RuntimeWatch, None] = {}
        self._ended = False

    def watch(
        self,
        runtime_id: LogicalRuntimeId | None = None,
        stands: NoticeKind | None = None,
        reason: str | None = None,
    ) -> RuntimeWatch:
        """Hear of one runtime, or of all, and first how it ``stands``, if there is need to say."""
        watch = RuntimeWatch(self, runtime_id)
        with self.changed:
            if runtime_id is not None and stands is not None:
                watch.put(self._notice(runtime_id, stands, reason))
            if self._ended:
                self._end(watch)
            elif not watch.closed:
                self._drop_abandoned()
                self._open[watch] = None
        return watch

    def _notice(
        self,
        runtime_id: LogicalRuntimeId,
        kind: NoticeKind,
        reason: str | None,
        restart_in_s: float | None = None,
    ) -> RuntimeNotice:
        return RuntimeNotice(
            runtime_id=runtime_id,
            kind=kind,
            reason=reason,
            at=self._now(),
            restart_in_s=restart_in_s,
        )

    def tell(
        self,
        runtime_id: LogicalRuntimeId,
        kind: NoticeKind,
        reason: str | None = None,
        *,
        restart_in_s: float | None = None,
    ) -> None:
        """Something became of a runtime's driver."""
        if not self._open and self._always is None:
            return
        notice = self._notice(runtime_id, kind, reason, restart_in_s)
        if self._always is not None:
            self._always(notice)
        with self.changed:
            self._drop_abandoned()
            for watch in self._open:
                if watch.runtime_id in (None, runtime_id):
                    watch.put(notice)
            self._open = {watch: None for watch in self._open if not watch.closed}
            self.changed.notify_all()

    def drop(self, watch: RuntimeWatch) -> None:
        """End one watch."""
        with self.changed:
            watch.end()
            self._open.pop(watch, None)
            self.changed.notify_all()

    def _drop_abandoned(self) -> None:
        while self.abandoned:
            self.drop(self.abandoned.popleft())

    def close(self) -> None:
        """The control plane has ended, and every runtime's driver with it."""
        with self.changed:
            self._ended = True
            for watch in self._open:
                self._end(watch)
            self._open.clear()
            self.changed.notify_all()

    def _end(self, watch: RuntimeWatch) -> None:
        if watch.runtime_id is not None:
            reason = str(TerminationReason.PLANE_STOPPED)
            watch.put(self._notice(watch.runtime_id, NoticeKind.ENDED, reason))
        watch.end()
