"""Counts: what a plane has done since it was started, as numbers that only rise.

They are always kept, so they cost next to nothing. What happens with every input is put down as
one number in a list, which takes no lock, and sorted in later, many at a time, by whoever reads
or finds the list long; what is rare is counted under a lock. What is read was so a moment ago,
and is exact once nothing is under way. What the numbers mean is said in ``figures``.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import (
    AbandonedOutcome,
    CoalescedOutcome,
    ConsumedOutcome,
    SupersededOutcome,
    TerminalOutcome,
)
from meerkat.outcomes import Accepted, AcceptOutcome, Deduplicated, Rejected

TIME_BOUNDS_S: Final = tuple(
    factor * unit for unit in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3) for factor in (1, 2, 5)
)
"""Seconds, in steps of 1, 2 and 5, from below the fastest commit (a disk that syncs in 100 µs)
to above a run of an hour: no quantile is off by more than two and a half times."""

GROUP_BOUNDS: Final = tuple(2**power for power in range(10))
"""Batches a transaction, in powers of two up to what the journal puts in one."""

SEEN_MAX: Final = 512
"""Values that wait to be sorted in: so many share one sort, and weigh 16 KB."""

RESTARTED_KEPT: Final = 100
"""Runtimes restarted last that are remembered by name."""


class Buckets:
    """How often a value was how large. Thread-safe; nobody who puts a value in waits."""

    __slots__ = ("_counts", "_lock", "_seen", "_total", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._seen: list[float] = []
        self._lock = threading.RLock()  # a signal handler may read what its thread reads

    def see(self, value: float) -> None:
        """Put a value in; one below 0 counts as 0."""
        seen = self._seen
        seen.append(value)
        if len(seen) >= SEEN_MAX and self._lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self._lock.release()

    def read(self) -> tuple[tuple[int, ...], float]:
        """How many values each bucket has, and the sum of all."""
        with self._lock:
            self._sort_in()
            return tuple(self._counts), self._total

    def _sort_in(self) -> None:
        """Sort in what waits: a value belongs to the first bound that is not below it."""
        values = self._seen[: len(self._seen)]
        del self._seen[: len(values)]  # what came in between stays
        values.sort()
        before = 0
        for index, bound in enumerate(self.bounds):
            upto = bisect_right(values, bound, before)
            self._counts[index] += upto - before
            before = upto
        self._counts[-1] += len(values) - before
        self._total += sum(values[bisect_right(values, 0.0) :])


class Counts:
    """What the drivers of one plane have done. Thread-safe."""

    def __init__(self, started_at: datetime) -> None:
        self.started_at = started_at
        self.accept_to_durable_s = Buckets(TIME_BOUNDS_S)
        self.accept_to_consumed_s = Buckets(TIME_BOUNDS_S)
        self.answered: dict[type[AcceptOutcome], int] = dict.fromkeys(
            (Accepted, Deduplicated, Rejected), 0
        )
        """Inputs that were offered: of those taken in, the ones that no caller had offered."""
        self.ended: dict[type[TerminalOutcome], int] = dict.fromkeys(
            (ConsumedOutcome, SupersededOutcome, CoalescedOutcome, AbandonedOutcome), 0
        )
        """Inputs that have ended, but for those that were consumed."""
        self.failed_attempts = self.overloaded = self.restarts = 0
        self.offered = self.lost_runtimes = 0
        self.restarted: dict[LogicalRuntimeId, Restarted] = {}
        self._lock = threading.Lock()

    def answer(self, kind: type[AcceptOutcome]) -> None:
        """An input that was offered came to this."""
        with self._lock:
            self.answered[kind] += 1

    def end(self, kind: type[TerminalOutcome]) -> None:
        """An input has ended so."""
        with self._lock:
            self.ended[kind] += 1

    def overload(self) -> None:
        """An input was offered that there was no room for."""
        with self._lock:
            self.overloaded += 1

    def offered_elsewhere(self) -> None:
        """An input was handed to the process that has its runtime."""
        with self._lock:
            self.offered += 1

    def taken_over(self) -> None:
        """Another process has taken a runtime over."""
        with self._lock:
            self.lost_runtimes += 1

    def run_failed(self) -> None:
        """A run has failed."""
        with self._lock:
            self.failed_attempts += 1

    def driver_restarted(self, runtime_id: LogicalRuntimeId, at: float, reason: str) -> None:
        """A driver begins anew; the ones that did so last are remembered by name."""
        with self._lock:
            self.restarts += 1
            before = self.restarted.pop(runtime_id, None)
            times = 1 if before is None else before.times + 1
            self.restarted[runtime_id] = Restarted(times=times, at=at, reason=reason)
            if len(self.restarted) > RESTARTED_KEPT:
                del self.restarted[next(iter(self.restarted))]


@frozen(kw_only=True)
class Restarted:
    """A runtime whose driver was restarted: how often, when last by the monotonic clock, why."""

    times: int
    at: float
    reason: str


class JournalCounts:
    """What the writer has done. For whoever is the writer just now; read by any thread."""

    __slots__ = ("commit_errors", "group_size", "restarts")

    def __init__(self) -> None:
        self.commit_errors = 0
        self.restarts = 0
        self.group_size = Buckets(GROUP_BOUNDS)

    def group(self, landed: int, refused: int) -> None:
        """A group was written, as far as it was not refused."""
        if landed:
            self.group_size.see(landed)
        if refused:
            self.commit_errors += refused
