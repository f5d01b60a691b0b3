"""Company: how long the writer of the journal waits for more batches, and for how many.

Callers that wait for their commits come back together, just after it: whoever commits the first of
them at once has the others wait for a whole commit, and needs two where one would do. So after a
group of several the writer waits for as many again, until SHARE times what that group took has
gone by since. Where they stay away it learns so once; who comes later, or alone, never waits.

PostgreSQL has the same as commit_delay and commit_siblings, constants that somebody has to choose.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 3.0
"""Of the time that the last group took. From there on it brings next to nothing, and with callers
that come at random it costs nothing: benchmarks/README.md has the figures."""

WAIT_S_MAX: Final = 0.005
"""On a disk however slow: what a caller hardly notices beside such a disk."""


class Company:
    """What the last group says of the next one. Not thread-safe: the writer's own."""

    __slots__ = ("expected", "until")

    def __init__(self) -> None:
        self.expected = 1
        self.until = 0.0

    def committed(self, batches: int, begun: float, now: float) -> None:
        """A group of so many batches is written; the times are a monotonic clock's, in seconds."""
        self.expected = batches
        self.until = now + min(SHARE * (now - begun), WAIT_S_MAX)

    def is_together(self, here: int) -> bool:
        """Are there as many as come together? One always is."""
        return here >= self.expected

    def wait_s(self, here: int, now: float) -> float:
        """How long to wait for more than are here: not at all, if it is 0 or less."""
        return 0.0 if self.is_together(here) else self.until - now
