"""Passivation: which drivers are at rest, when they leave, and what is kept of those that left.

A driver is at rest while nothing is asked of it and all that it knows can be read back from
the store. It leaves memory once it has rested long enough, or to make room for another, the
longest at rest first; the next message brings its runtime back. What no store can give back
and is small enough is kept in a :class:`Note`; a runtime with anything else stays live. Which
is which is in ``driver_rest``.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final, Protocol, runtime_checkable

from attrs import frozen

from actors.clock import Clock, Timers
from actors.executors import Executor
from meerkat.identifiers import LogicalRuntimeId, RuntimeEventId

LOOKED_AT_MAX: Final = 1_000
"""Drivers at rest that are looked at to make room for one: all of them may just have got mail."""

LEAVING_AT_A_TIME: Final = 256
"""Drivers that leave in one go of the timers: other calls are due, too."""

SWEEPS_A_REST: Final = 8
"""A driver leaves late by at most this part of the time it has to rest."""

SWEEP_MIN_S: Final = 0.001
"""Shortest pause between two looks at who has rested long enough."""


@runtime_checkable
class Resident(Protocol):
    """A driver, as far as it comes and goes."""

    runtime_id: LogicalRuntimeId
    resting: bool

    @property
    def takes_mail(self) -> bool:
        """Has nobody begun to end it? Any thread."""
        ...

    def end_at_rest(self) -> bool:
        """End it, unless it has mail or a turn; True again of one that ended so. Any thread."""
        ...

    def end_if_idle(self) -> bool:
        """End it, unless it has mail. For itself, in its own turn."""
        ...

    def leave_behind(self) -> None:
        """It has ended, and nobody has taken its place yet: leave what its successor needs."""
        ...


@frozen(kw_only=True)
class Note:
    """What a driver that left knew of its runtime, and no store knows.

    ``idle``: it was idle though it had an executor, as after a reset; ``asleep``: what waits
    had woken nobody.
    """

    executor: Executor | None
    idle: bool
    asleep: bool
    host_events: Mapping[RuntimeEventId, None]


class Notes:
    """The notes on the runtimes that left. Thread-safe.

    They hold ``host_events_max`` ids, and beyond them only those of drivers that came to rest
    while there was room. A note is dropped when its runtime is back.
    """

    def __init__(self, host_events_max: int) -> None:
        self._lock = threading.Lock()
        self._notes: dict[LogicalRuntimeId, Note] = {}
        self._free = host_events_max

    def __len__(self) -> int:
        return len(self._notes)

    def has_room_for(self, host_events: int) -> bool:
        """Would a note with as many ids find room?"""
        return host_events <= self._free

    def put(self, runtime_id: LogicalRuntimeId, note: Note) -> None:
        """Keep a note."""
        with self._lock:
            before = self._notes.get(runtime_id)
            self._free -= len(note.host_events) - (len(before.host_events) if before else 0)
            self._notes[runtime_id] = note

    def of(self, runtime_id: LogicalRuntimeId) -> Note | None:
        """The note on a runtime, if there is one."""
        return self._notes.get(runtime_id)

    def drop(self, runtime_id: LogicalRuntimeId) -> None:
        """The runtime is back: its memory holds what the note said."""
        with self._lock:
            note = self._notes.pop(runtime_id, None)
            self._free += 0 if note is None else len(note.host_events)


class Resting:
    """The drivers at rest, the longest first. Not thread-safe; the directory guards it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: OrderedDict[Resident, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def add(self, driver: Resident) -> None:
        """It has come to rest, and was not at rest before."""
        self._since[driver] = self._clock.monotonic()
        driver.resting = True

    def remove(self, driver: Resident) -> None:
        """It has been woken, or has left."""
        self._since.pop(driver, None)
        driver.resting = False

    def end_longest(self) -> Resident | None:
        """End the one that has rested longest; None when all of them have been written to."""
        for driver in islice(self._since, LOOKED_AT_MAX):
            if driver.end_at_rest():
                return driver
        return None

    def since(self, until: float) -> list[Resident]:
        """Those that have rested since ``until`` or longer, a few at a time."""
        found = []
        for driver, since in islice(self._since.items(), LEAVING_AT_A_TIME):
            if since > until:
                break
            found.append(driver)
        return found

    @property
    def first(self) -> float | None:
        """Since when the one has rested that has rested longest."""
        return next(iter(self._since.values()), None)


class Sweep:
    """Has drivers leave that have rested for ``rest_s`` seconds: one timer for all of them.

    ``leave`` ends those that have rested since a time, as far as it gets, and says whether
    there may be more; ``first`` says since when the longest has rested.
    """

    def __init__(
        self,
        clock: Clock,
        timers: Timers,
        rest_s: float,
        *,
        leave: Callable[[float], bool],
        first: Callable[[], float | None],
    ) -> None:
        self._clock = clock
        self._timers = timers
        self._rest_s = rest_s
        self._leave = leave
        self._first = first

    def start(self) -> None:
        """Look from now on, until the timers stop."""
        self._timers.after(self._rest_s, self._sweep)

    def _sweep(self) -> None:
        more = False
        try:
            more = self._leave(self._clock.monotonic() - self._rest_s)
        finally:
            self._timers.after(0.0 if more else self._pause_s(), self._sweep)

    def _pause_s(self) -> float:
        first = self._first()
        due_s = self._rest_s if first is None else first + self._rest_s - self._clock.monotonic()
        return max(SWEEP_MIN_S, self._rest_s / SWEEPS_A_REST, min(due_s, self._rest_s))
