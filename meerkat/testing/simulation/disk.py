"""Disk: the store of a simulated process, as that process sees it.

What was committed stays when the process is killed; the process itself, or what is left of its
code, gets at it no more. In between it fails as the faults have it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from meerkat.errors import CommitUnknown, StoreError
from meerkat.store import Batch, RuntimeStore
from meerkat.testing.simulation.faults import Draw, Faults
from meerkat.testing.simulation.items import Process, Waiter
from meerkat.testing.simulation.scheduler import Scheduler
from meerkat.testing.store_wrapper import WRITES, StoreWrapper

T = TypeVar("T")

SLOW_S: Final = 10.0
"""The longest that a commit takes on a slow disk, in seconds."""

_COMING_AND_GOING: Final = frozenset({"acquire", "close"})


class WriterFailed(Exception):
    """A failure of the writer that no store should have: planted."""


class Dice:
    """When the store of a simulation fails; one for all its processes."""

    def __init__(self, chance: random.Random, faults: Faults) -> None:
        self.chance = chance
        self.killed = Draw(chance, faults.kill_in_commit)
        self.fails = Draw(chance, faults.store_fails)
        self.forgets = Draw(chance, faults.store_forgets)
        self.refuses = Draw(chance, faults.batch_fails)
        self.slow = Draw(chance, faults.slow_disk)
        self.breaks = Draw(chance, faults.writer_fails)

    def cease(self) -> None:
        """From now on nothing fails."""
        for draw in (self.killed, self.fails, self.forgets, self.refuses, self.slow, self.breaks):
            draw.cease()


class Disk(StoreWrapper):
    """A store before ``inner`` for one process.

    ``committed`` is told of the batches that have landed, ``kill`` kills the process.
    """

    def __init__(
        self,
        inner: RuntimeStore,
        scheduler: Scheduler,
        dice: Dice,
        *,
        committed: Callable[[Sequence[Batch]], None],
        kill: Callable[[], None],
    ) -> None:
        super().__init__(inner)
        self._scheduler = scheduler
        self._process: Process = scheduler.process
        self._dice = dice
        self._committed = committed
        self._kill = kill
        scheduler.process.ends.append(inner.close)

    def around(self, method: str, call: Callable[[], T]) -> T:
        """Make a call, unless it fails."""
        if not self._process.alive:
            raise StoreError("this process is dead")
        if method in _COMING_AND_GOING:
            return call()
        if method == "commit_many":
            return self._as_a_disk(call)
        return self._as_told(method, call)

    def _as_told(self, method: str, call: Callable[[], T]) -> T:
        if self._dice.fails.happens():
            raise StoreError("disk I/O error")
        given = call()
        if method in WRITES and self._dice.forgets.happens():
            raise CommitUnknown("disk I/O error")
        return given

    def _as_a_disk(self, call: Callable[[], T]) -> T:
        dice = self._dice
        if dice.slow.happens():
            Waiter(self._scheduler).acquire(timeout=dice.chance.random() * SLOW_S)
            if not self._process.alive:
                raise StoreError("this process is dead")
        killed, breaks = dice.killed.happens(), dice.breaks.happens()
        before = (killed or breaks) and dice.chance.random() < 1 / 2
        given = None if before else self._as_told("commit_many", call)
        if killed:
            self._kill()
        if breaks:
            raise WriterFailed
        return given  # type: ignore[return-value]  # it is there, unless something was raised

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        """Commit many batches together; of those that are refused nothing happens."""
        refused = [self._dice.refuses.happens() for _ in batches]
        taken = [batch for batch, no in zip(batches, refused, strict=True) if not no]

        def commit() -> list[StoreError | None]:
            answers = self.inner.commit_many(taken)
            landed = zip(taken, answers, strict=True)
            self._committed([batch for batch, answer in landed if answer is None])
            return answers

        answers: Any = iter(self.around("commit_many", commit))
        return [StoreError("disk I/O error") if no else next(answers) for no in refused]
