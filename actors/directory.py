"""Directory: which driver runs for which runtime, and the way of a message to it.

A driver is started by the first message for its runtime, in the thread that sends it, so
that two messages of one sender never overtake each other. A driver leaves only with an
empty mailbox, when it has nothing to drive or has been at rest; whoever comes too late
starts its successor.

At most ``live_max`` drivers run. Where one more is asked for, the one that has rested
longest leaves; where none can, new work is refused, and everything else passes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import pykka

from actors import messages as m
from actors.awaiting import on_loop
from actors.clock import Clock
from actors.light import LightCondition
from actors.messages import DriverMessage
from actors.passivation import Resident, Resting
from actors.pool import PooledActor, actor_of, on_worker
from actors.restarts import Strategy, affected
from meerkat.errors import ControlPlaneStopped, Overloaded
from meerkat.identifiers import LogicalRuntimeId

ROOM_WAIT_S: Final = 0.005
"""Time in which a driver that has just answered comes to rest, and its place is free."""

Driver: TypeAlias = pykka.ActorRef[Any]


class Directory:
    """The drivers that run. Thread-safe."""

    def __init__(
        self,
        start: Callable[[LogicalRuntimeId], Driver],
        clock: Clock,
        live_max: int,
        too_late: Callable[[LogicalRuntimeId, DriverMessage], None],
    ) -> None:
        self._start = start
        self._too_late = too_late
        self._lock = self._has_room = LightCondition()
        self._wanted = 0  # places that callers wait for just now
        self._drivers: dict[LogicalRuntimeId, Driver] = {}
        self._resting = Resting(clock)
        self._live_max = live_max
        self._resumed_max = (live_max + 1) // 2
        self._unfinished: deque[LogicalRuntimeId] = deque()
        self._closed = False
        self.passivated = 0
        """How many times a driver at rest has left."""

    def __contains__(self, runtime_id: object) -> bool:
        return runtime_id in self._drivers

    def __len__(self) -> int:
        return len(self._drivers)

    def live(self) -> tuple[LogicalRuntimeId, ...]:
        """The runtimes that have a driver, in the order in which those were started."""
        return tuple(self._drivers)

    @property
    def resting(self) -> int:
        """How many of the drivers are at rest. Takes no lock."""
        return len(self._resting)

    def driver_of(self, runtime_id: LogicalRuntimeId) -> PooledActor | None:
        """The driver of a runtime, to look at; None when none runs. Takes no lock."""
        driver = self._drivers.get(runtime_id)
        return None if driver is None else actor_of(driver)

    # --- delivering ---------------------------------------------------------------------

    def deliver(self, runtime_id: LogicalRuntimeId, message: DriverMessage) -> None:
        """Put a message in the mailbox of the runtime's driver, starting one if need be.

        Overloaded for an input that would make a runtime too many live. Once closed, what a
        caller waits for is answered with ControlPlaneStopped.
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
                driver = self._present(runtime_id)
                if driver is None:
                    if not self._make_room() and isinstance(message, m.Accept):
                        self._wait_for_room(runtime_id)
                    driver = self._present(runtime_id) or self._started(runtime_id)
                driver.tell(message)
                return
        reply = getattr(message, "reply", None)
        if reply is not None:
            reply.fail(ControlPlaneStopped())
        else:
            self._too_late(runtime_id, message)

    def _present(self, runtime_id: LogicalRuntimeId) -> Driver | None:
        """The driver of a runtime; one whose leaving a signal has cut short has left now."""
        driver = self._drivers.get(runtime_id)
        actor = None if driver is None else actor_of(driver)
        if isinstance(actor, Resident) and not actor.takes_mail:
            self._passivated(actor)
            return None
        return driver

    def _wait_for_room(self, runtime_id: LogicalRuntimeId) -> None:
        """Overloaded, unless a driver that is about to rest does so within a moment.

        A thread that others wait for, one with an event loop too, does not wait itself.
        """
        if on_worker() or on_loop():
            raise Overloaded("live_runtimes_max", self._live_max)
        self._wanted += 1
        try:
            found = self._has_room.wait_for(
                lambda: self._closed or runtime_id in self._drivers or self._make_room(),
                ROOM_WAIT_S,
            )
        finally:
            self._wanted -= 1
        if self._closed:
            raise ControlPlaneStopped
        if not found:
            raise Overloaded("live_runtimes_max", self._live_max)

    def _started(self, runtime_id: LogicalRuntimeId) -> Driver:
        driver = self._drivers[runtime_id] = self._start(runtime_id)
        return driver

    def tell_affected(
        self, strategy: Strategy, failed: LogicalRuntimeId, message: DriverMessage
    ) -> None:
        """Tell the drivers that a strategy restarts together with one that failed."""
        with self._lock:
            drivers = dict(self._drivers)
        if failed in drivers:
            for runtime_id in affected(strategy, tuple(drivers), failed):
                if runtime_id != failed:
                    with suppress(pykka.ActorDeadError):
                        drivers[runtime_id].tell(message)

    def tell_live(
        self, runtime_ids: Iterable[LogicalRuntimeId], message: DriverMessage
    ) -> list[LogicalRuntimeId]:
        """Tell those of these runtimes that have a driver; gives the others."""
        others = []
        for runtime_id in runtime_ids:
            driver = self._drivers.get(runtime_id)
            try:
                if driver is not None:
                    driver.tell(message)
                else:
                    others.append(runtime_id)
            except pykka.ActorDeadError:
                others.append(runtime_id)
        return others

    def tell_all(self, message: DriverMessage) -> None:
        """Tell every driver that runs."""
        with self._lock:
            drivers = tuple(self._drivers.values())
        for driver in drivers:
            with suppress(pykka.ActorDeadError):
                driver.tell(message)

    # --- rest ---------------------------------------------------------------------------

    def rests(self, driver: Resident) -> None:
        """A driver has come to rest. For itself, in its own turn: it may end here and now."""
        with self._lock:
            if self._closed:
                return
            if self._is_crowded and not self._end_longest() and driver.end_if_idle():
                self._passivated(driver)
            else:
                self._resting.add(driver)
            if self._unfinished:
                self._resume_more()

    def wakes(self, driver: Resident) -> None:
        """Something is asked of a driver at rest."""
        with self._lock:
            self._resting.remove(driver)

    def passivate(self, until: float) -> bool:
        """End drivers that have rested since ``until``; says whether there may be more."""
        with self._lock:
            if self._closed:
                return False
            found = self._resting.since(until)
            ended = 0
            for driver in found:
                if driver.end_at_rest():
                    ended += 1
                    self._passivated(driver)
            self._resume_more()
            return ended > 0

    def rested_since(self) -> float | None:
        """Since when the driver has rested that has rested longest, by the clock."""
        with self._lock:
            return self._resting.first

    @property
    def _is_crowded(self) -> bool:
        """Is the place of a driver that rests wanted?"""
        live = len(self._drivers)
        if live + bool(self._wanted) > self._live_max:
            return True
        return bool(self._unfinished) and live >= self._resumed_max

    def _make_room(self) -> bool:
        """Is there room for one more, with whoever has rested longest gone if need be?"""
        while len(self._drivers) >= self._live_max:
            if not self._end_longest():
                return False
        return True

    def _end_longest(self) -> bool:
        """End the driver that has rested longest; False when none is at rest."""
        driver = self._resting.end_longest()
        if driver is not None:
            self._passivated(driver)
        return driver is not None

    def _passivated(self, driver: Resident) -> None:
        self._gone(driver)
        self.passivated += 1

    def _gone(self, driver: Resident) -> None:
        """It has ended. What it leaves is in its place before a successor can start.

        On the main thread a signal may cut this short: what is left of it is done when the
        driver is come upon again, each step a second time if need be.
        """
        present: object = self.driver_of(driver.runtime_id)
        if present is driver:
            try:
                driver.leave_behind()
            except Exception:
                del self._drivers[driver.runtime_id]  # it would fail again
                raise
            del self._drivers[driver.runtime_id]
        self._resting.remove(driver)
        if self._wanted:
            self._has_room.notify()

    # --- taking up ----------------------------------------------------------------------

    def resume(self, unfinished: Iterable[LogicalRuntimeId]) -> None:
        """Have runtimes loaded and worked in the background.

        They take up to half of the room, so that others find some; the rest come in turn.
        """
        with self._lock:
            waiting = set(self._unfinished)
            self._unfinished.extend(each for each in unfinished if each not in waiting)
            self._resume_more()

    @property
    def backlog(self) -> int:
        """How many runtimes wait to be taken up. Takes no lock."""
        return len(self._unfinished)

    def _resume_more(self) -> None:
        while self._unfinished and not self._closed:
            if len(self._drivers) >= self._resumed_max and not self._end_longest():
                return
            try:
                self._resume(self._unfinished[0])
            except RuntimeError:  # no thread to be had for its driver: another time
                return
            self._unfinished.popleft()

    def _resume(self, runtime_id: LogicalRuntimeId) -> None:
        if runtime_id not in self._drivers:  # else it was taken up when it was asked for
            self._started(runtime_id).tell(m.Resume())

    # --- the end ------------------------------------------------------------------------

    def leave(self, driver: Resident) -> None:
        """Let a driver that has nothing to drive end, if nobody has written to it meanwhile."""
        with self._lock:
            if driver.end_if_idle():
                self._gone(driver)
                self._resume_more()

    def close(self, unfinished: Iterable[LogicalRuntimeId] = ()) -> dict[LogicalRuntimeId, Driver]:
        """Start no driver any more but those of ``unfinished``; gives all that run."""
        with self._lock:
            for runtime_id in unfinished:
                with suppress(RuntimeError):  # no thread to be had for its driver
                    self._resume(runtime_id)
            self._closed = True
            return dict(self._drivers)
