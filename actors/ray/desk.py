"""Desk: what one front door has asked of a shard, and what it is to be told.

Nothing that is told is forgotten before the front door has said that it has it, and no call is
taken twice: so whoever is in doubt, here or there, asks or sends again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from actors.ray.wire import BYTES_MAX, CALLS_MAX, Call, Numbered, Said, pack_said


class Desk:
    """One front door's place at a shard. Thread-safe.

    ``token`` is its name, ``expected`` the number of its first call. ``ring`` is called when
    there is something to tell: it is quick, and raises nothing.
    """

    def __init__(self, token: str, expected: int, ring: Callable[[], None]) -> None:
        self.token = token
        self.seen_at = 0.0
        """When the front door was last heard of, by the clock's monotonic time."""
        self._expected = expected
        self.ring = ring
        self._lock = threading.Lock()
        self._last = 0
        self._kept: deque[Numbered] = deque()

    def new_ones(self, calls: Sequence[Call]) -> list[Call]:
        """Those of these calls that have not come before, in their order."""
        with self._lock:
            fresh = [call for call in calls if call.number >= self._expected]
            if fresh:
                self._expected = fresh[-1].number + 1
            return fresh

    def tell(self, said: Said) -> None:
        """Tell the front door something. Any thread."""
        packed = pack_said(said)
        with self._lock:
            self._last += 1
            self._kept.append((self._last, said.number, packed))
        self.ring()

    def told(self, through: int) -> tuple[Numbered, ...]:
        """What is to be told behind ``through``, as much as one answer carries.

        What is up to there has arrived, and is dropped.
        """
        with self._lock:
            while self._kept and self._kept[0][0] <= through:
                self._kept.popleft()
            batch: list[Numbered] = []
            size = 0
            for each in self._kept:
                size += len(each[2])
                if batch and (size > BYTES_MAX or len(batch) == CALLS_MAX):
                    break
                batch.append(each)
            return tuple(batch)

    @property
    def waiting(self) -> int:
        """How much has been said that has not arrived, as far as is known here."""
        return len(self._kept)
