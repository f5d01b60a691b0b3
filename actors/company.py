"""Company: how long the writer of the journal waits for more batches, and for how many.

Callers that wait for their commits come back together, just after it: whoever commits the first of
them at once has the others wait for a whole commit, and needs two where one would do. So after a
group of several the writer waits for as many again, until SHARE times what that group took has
gone by since. Where they do not all come, the next groups are taken to be chance, twice as many
after each such wait: who works in groups that are now large, now small, seldom waits in vain. After
a group of one nobody waits, and neither does who comes later.

PostgreSQL has the same as commit_delay and commit_siblings, constants that somebody has to choose.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 3.0
"""Of the time that the last group took. From there on more brings next to nothing:
benchmarks/README.md has the figures."""

WAIT_S_MAX: Final = 0.005
"""On a disk however slow: what a caller hardly notices beside such a disk."""

DOUBLINGS_MAX: Final = 6
"""So often in a row the number of groups that are taken to be chance is doubled."""


class Company:
    """What the last group says of the next one. Not thread-safe: the writer's own."""

    __slots__ = ("_chance", "_in_vain", "expected", "until")

    def __init__(self) -> None:
        self.expected = 1
        self.until = 0.0
        self._in_vain = 0
        """How many waits in a row were."""
        self._chance = 0
        """How many groups of several are still taken to be that."""

    def committed(self, batches: int, begun: float, now: float) -> None:
        """A group of so many batches is written; the times are a monotonic clock's, in seconds."""
        if batches > 1 and self._chance:
            self._chance -= 1
            batches = 1
        self.expected = batches
        self.until = now + min(SHARE * (now - begun), WAIT_S_MAX)

    def waited(self, *, came: bool) -> None:
        """A wait is over; did as many come as were expected?"""
        self._in_vain = 0 if came else min(self._in_vain + 1, DOUBLINGS_MAX)
        self._chance = 0 if came else 2**self._in_vain

    def is_together(self, here: int) -> bool:
        """Are there as many as come together? One always is."""
        return here >= self.expected

    def left_s(self, here: int, now: float) -> float:
        """How long to wait yet, where so many are here: not at all, if it is 0 or less."""
        return 0.0 if self.is_together(here) else self.until - now
