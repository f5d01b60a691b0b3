"""Directory: which driver runs for which runtime, and the way of a message to it.

A driver is started by the first message for its runtime, in the thread that sends it, so
that two messages of one sender never overtake each other. A driver that has nothing to
drive leaves only with an empty mailbox; whoever comes too late starts its successor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import pykka

from actors.messages import DriverMessage
from actors.pool import PooledActor
from meerkat.errors import ControlPlaneStopped
from meerkat.identifiers import LogicalRuntimeId

Driver: TypeAlias = pykka.ActorRef[Any]


class Directory:
    """The drivers that run. Thread-safe."""

    def __init__(self, start: Callable[[LogicalRuntimeId], Driver]) -> None:
        self._start = start
        self._lock = threading.RLock()
        self._drivers: dict[LogicalRuntimeId, Driver] = {}
        self._closed = False

    def __contains__(self, runtime_id: object) -> bool:
        return runtime_id in self._drivers

    def __len__(self) -> int:
        return len(self._drivers)

    def deliver(self, runtime_id: LogicalRuntimeId, message: DriverMessage) -> None:
        """Put a message in the mailbox of the runtime's driver, starting one if need be.

        Once closed, what a caller waits for is answered with ControlPlaneStopped.
        """
        driver = self._drivers.get(runtime_id)
        if driver is not None:
            try:
                driver.tell(message)
            except pykka.ActorDeadError:
                driver = None
        if driver is None:
            self.deliver_anew(runtime_id, message)

    def deliver_anew(self, runtime_id: LogicalRuntimeId, message: DriverMessage) -> None:
        """The same for a message whose driver has left, or was never there."""
        with self._lock:
            if not self._closed:
                driver = self._drivers.get(runtime_id)
                if driver is None:
                    driver = self._drivers[runtime_id] = self._start(runtime_id)
                driver.tell(message)
                return
        reply = getattr(message, "reply", None)
        if reply is not None:
            reply.fail(ControlPlaneStopped())

    def leave(self, runtime_id: LogicalRuntimeId, driver: PooledActor) -> bool:
        """Let a driver end, if nobody has written to it meanwhile."""
        with self._lock:
            if not driver.end_if_idle():
                return False
            del self._drivers[runtime_id]
            return True

    def close(self) -> dict[LogicalRuntimeId, Driver]:
        """Start no driver any more; gives those that run."""
        with self._lock:
            self._closed = True
            return dict(self._drivers)
