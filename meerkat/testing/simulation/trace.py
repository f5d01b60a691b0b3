"""Trace: what happened in a simulation, in a few words each, and a digest of all of it.

Two simulations of one seed have the same trace, in any process. Ids that are drawn are the same
there too, but tell nobody anything: they are left out.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from actors.pool import PooledActor
from meerkat.store import Batch
from meerkat.testing.simulation.scheduler import Scheduler

KEPT: Final = 10_000
"""Lines that are kept; the digest is of all."""


class Trace:
    """The last of what happened. Written by whoever has the baton."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._kept: deque[tuple[float, str, int]] = deque(maxlen=KEPT)
        self._digest = 0

    def note(self, what: str, number: int = 0) -> None:
        """Something happened, so many times."""
        self._kept.append((self._scheduler.now, what, number))
        self._digest = zlib.crc32(b"%s %d" % (what.encode(), number), self._digest)

    def picked(self, item: Any, handled: int) -> None:
        """The scheduler has picked something, and an actor has handled so many messages."""
        if isinstance(item, PooledActor):
            self.note(_name(item), handled)
        else:
            self.note(item.what)

    def committed(self, batches: Sequence[Batch]) -> None:
        """Something is on disk."""
        for batch in batches:
            row = batch.runtime
            phases = " ".join(str(each.state.phase) for each in batch.inputs)
            self.note(f"on disk: {row.runtime_id} {row.state} [{phases}]", row.fence)

    @property
    def digest(self) -> str:
        """The same for two simulations in which the same happened."""
        return f"{self._digest:08x}{self._scheduler.steps:x}"

    def lines(self) -> Iterable[str]:
        """The last of what happened, a line each: when, in seconds, what, and how often."""
        return [f"{at:.6f} {what} {number}" for at, what, number in self._kept]


def _name(actor: PooledActor) -> str:
    runtime_id = getattr(actor, "runtime_id", None)
    return type(actor).__name__ if runtime_id is None else f"driver {runtime_id}"
