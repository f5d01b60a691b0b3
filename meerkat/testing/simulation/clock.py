"""Clock: time in a simulation. It passes when nothing can be done, and costs nothing.

Monotonic time only goes on. The time of day goes on with it, unless it is told otherwise: it may
jump, either way, or stand still, as it does on machines that are set right or are suspended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import uuid6

from meerkat.testing.simulation.scheduler import Scheduler

BEGINNING: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""The time of day when a simulation begins."""

_ID_BITS: Final = 80


class SimulatedClock:
    """The time and the chance of a simulation. For its host and whatever runs in it."""

    def __init__(self) -> None:
        self._scheduler: Scheduler | None = None
        self._off = timedelta()
        self._stands_at: datetime | None = None
        self.glance: Callable[[], None] | None = None
        """Called whenever somebody looks at the time of day: what it raises, who looked gets."""

    def belongs_to(self, scheduler: Scheduler) -> None:
        """Show that scheduler's time."""
        self._scheduler = scheduler

    @property
    def _of(self) -> Scheduler:
        if self._scheduler is None:
            raise RuntimeError("this clock belongs to no simulation")
        return self._scheduler

    # --- looking ------------------------------------------------------------------------

    def now(self) -> datetime:
        """The time of day, in UTC."""
        if self.glance is not None:
            self.glance()
        return self.time_of_day()

    def time_of_day(self) -> datetime:
        """The same, for those who look on."""
        if self._stands_at is not None:
            return self._stands_at
        return BEGINNING + self._off + timedelta(seconds=self._of.now)

    def monotonic(self) -> float:
        """Seconds since the simulation began."""
        return self._of.now

    def jitter(self) -> float:
        """A number in [0, 1), drawn from the seed."""
        return self._of.chance.random()

    def mint(self) -> UUID:
        """A UUID of version 7, drawn from the seed."""
        milliseconds = int(self.time_of_day().timestamp() * 1000)
        chance = self._of.chance.getrandbits(_ID_BITS)
        return uuid6.UUID(int=milliseconds << _ID_BITS | chance, version=7)

    # --- setting ------------------------------------------------------------------------

    def jump(self, *, days: float = 0.0, seconds: float = 0.0) -> None:
        """Set the time of day forward, or back; monotonic time takes no notice."""
        jump = timedelta(days=days, seconds=seconds)
        self._off += jump
        if self._stands_at is not None:
            self._stands_at += jump

    def freeze(self) -> None:
        """Have the time of day stand still."""
        self._stands_at = self.time_of_day()

    def thaw(self) -> None:
        """Have it go on from where it stood."""
        if self._stands_at is not None:
            stood, self._stands_at = self._stands_at, None
            self._off += stood - self.time_of_day()
