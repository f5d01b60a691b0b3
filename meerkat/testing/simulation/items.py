"""Items: what a scheduler picks, and what a thread of a simulation sleeps on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from actors.clock import Timer

if TYPE_CHECKING:
    from meerkat.testing.simulation.scheduler import Scheduler

NEVER: Final = float("inf")


class Unwound(BaseException):
    """Raised, at the end of a simulation, where the threads of killed processes have stayed."""


class Process:
    """What a kill ends: everything that runs between two of them."""

    def __init__(self) -> None:
        self.alive = True
        self.ends: list[Callable[[], None]] = []
        """Called at its end: what the operating system does with what a process leaves."""


class Call(Timer):
    """Something that is done at once, and waits for nothing."""

    __slots__ = ("what",)

    def __init__(self, call: Callable[[], None], what: str) -> None:
        super().__init__(call)
        self.what = what


class Task:
    """Work that may wait, and has a thread for that."""

    __slots__ = ("process", "serves", "what", "work")

    def __init__(
        self,
        work: Callable[[], object],
        process: Process | None,
        what: str,
        *,
        serves: bool = False,
    ) -> None:
        self.work = work
        self.process = process
        self.what = what
        self.serves = serves
        """Does it what the threads of drivers do?"""


class Waiter:
    """A bell: what one thread of a simulation sleeps on."""

    __slots__ = (
        "asleep",
        "error",
        "lock",
        "process",
        "rung",
        "scheduler",
        "since",
        "thread",
        "turn",
        "until",
    )

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.lock = threading.Lock()
        self.lock.acquire()
        self.rung = False
        self.asleep = False
        self.process: Process | None = None
        self.thread = 0
        self.error: BaseException | None = None
        self.turn = 0
        self.since = 0.0
        self.until = NEVER

    def acquire(self, _blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 - a lock's
        """Sleep until it is rung, or the time is up; was it rung?"""
        return self.scheduler.sleep(self, timeout)

    def release(self) -> None:
        """Ring it."""
        if not self.rung:
            self.rung = True
            if self.asleep:
                self.scheduler.wake(self)


def is_stale(entry: tuple[float, int, Any, int]) -> bool:
    """Need it not be done any more, when it is due?"""
    item = entry[2]
    if item.__class__ is Waiter:
        return bool(item.turn != entry[3])
    return item.__class__ is Call and item.call is None


def may_wait(item: Any) -> bool:
    """May what it does wait, or is it another thread's?"""
    kind = item.__class__
    if kind is Call:
        return False
    return kind is Task or kind is Waiter or item.pool.may_wait


def outlives(item: Any) -> bool:
    """Is it the host's?"""
    return item.__class__ in (Waiter, Task) and item.process is None
