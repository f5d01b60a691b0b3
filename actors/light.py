"""Light: the standard future and event, with a list of who waits only where somebody does.

A host may have a hundred thousand submissions under way, each with two futures, and most of
them are looked at when they are done. A ``threading.Condition`` is eight objects for the
garbage collector to go through, this one is one. All of the behaviour is the standard
library's: what is replaced is the object that it locks, waits on and notifies.
"""

from __future__ import annotations

import threading
from _thread import RLock
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures._base import PENDING
from typing import Any, Final, Generic, TypeVar

LOOK_UP_S: Final = 0.5
"""How long the main thread may not notice a signal that came just before it waited."""

T = TypeVar("T")


class LightCondition(RLock):  # type: ignore[misc]  # it may be subclassed
    """A lock that can be waited on. Thread-safe.

    It is taken and given back by the interpreter itself: a signal's exception comes before
    it is taken, or where it will be given back. ``threading.Condition`` takes its lock in
    Python, and one that comes in between leaves it taken for good.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: deque[Any] | None = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; the lock is held before and after."""
        if self._waiters is None:
            self._waiters = deque()
        return threading.Condition.wait(self, timeout)  # type: ignore[arg-type]

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until the predicate holds; says whether it does.

        The main thread looks up now and then: a signal that comes when it is about to wait,
        and does not wait yet, is handled by the interpreter once the wait is over.
        """
        left = timeout
        if threading.current_thread() is threading.main_thread():
            while left is None or left > LOOK_UP_S:
                if self._waited_for(predicate, LOOK_UP_S):
                    return True
                left = None if left is None else left - LOOK_UP_S
        return self._waited_for(predicate, left)

    def _waited_for(self, predicate: Callable[[], bool], timeout: float | None) -> bool:
        return threading.Condition.wait_for(self, predicate, timeout)  # type: ignore[arg-type]

    def notify_all(self) -> None:
        """Wake whoever waits; the lock is held."""
        if self._waiters:
            threading.Condition.notify(self, len(self._waiters))  # type: ignore[arg-type]


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
