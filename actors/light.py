"""Light: the standard future and event, with a condition only where somebody waits.

A host may have a hundred thousand submissions under way, each with two futures, and most of
them are looked at when they are done. A ``threading.Condition`` is eight objects for the
garbage collector to go through, this one is two. All of the behaviour is the standard
library's: what is replaced is the object that it locks, waits on and notifies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import PENDING
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class LightCondition:
    """A lock, which becomes a ``threading.Condition`` on it once somebody waits."""

    __slots__ = ("_lock", "_waited_on")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waited_on: threading.Condition | None = None

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def acquire(self) -> bool:
        """Take the lock."""
        return self._lock.acquire()

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; the lock is held before and after."""
        if self._waited_on is None:
            self._waited_on = threading.Condition(self._lock)
        return self._waited_on.wait(timeout)

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until the predicate holds; says whether it does."""
        return threading.Condition.wait_for(self, predicate, timeout)  # type: ignore[arg-type]

    def notify_all(self) -> None:
        """Wake whoever waits; the lock is held."""
        if self._waited_on is not None:
            self._waited_on.notify_all()


class LightEvent(threading.Event):
    """A standard event. Thread-safe."""

    def __init__(self) -> None:
        self._cond = LightCondition()
        self._flag = False


class LightFuture(Future[T], Generic[T]):
    """A standard future. Thread-safe.

    Its attributes are those of ``concurrent.futures.Future``, which ``wait``, ``as_completed``
    and asyncio use too; a test fails when a new Python changes them.
    """

    def __init__(self) -> None:
        self._condition = LightCondition()  # type: ignore[assignment]
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters = []
        self._done_callbacks: list[Callable[[Future[T]], object]] = []
