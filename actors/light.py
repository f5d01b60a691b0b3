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

import pykka

from actors.ground import Ground, ground_here

LOOK_UP_S: Final = 0.5
"""How long the main thread may not notice a signal that came just before it waited."""

T = TypeVar("T")


def waitable_s(seconds: float) -> float:
    """A host's seconds as a lock takes them: infinity is very long, and no number is none."""
    return min(max(0.0, seconds), threading.TIMEOUT_MAX)  # in this order, for NaN


def check_patience(timeout_s: object) -> None:
    """TypeError for a host's time-out that is neither seconds nor None."""
    if not isinstance(timeout_s, int | float | None):
        raise TypeError(f"timeout takes seconds or None, not {type(timeout_s).__name__}")


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
        ground = ground_here()
        if ground is not None:
            return self._wait_on(ground, timeout)
        held: bool = self._is_owned()  # type: ignore[attr-defined]
        try:
            return threading.Condition.wait(self, timeout)  # type: ignore[arg-type]
        except BaseException:  # a signal's, which may come just after the lock was given up
            if held and not self._is_owned():  # type: ignore[attr-defined]
                self.acquire()
            raise

    def _wait_on(self, ground: Ground, timeout: float | None) -> bool:
        """The standard library's wait, on a bell of that ground in the place of a lock."""
        bell, rung = ground.bell(), False
        waiters: deque[Any] = self._waiters or deque()
        self._waiters = waiters
        waiters.append(bell)
        depth = self._release_save()  # type: ignore[attr-defined]
        try:
            rung = bell.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
            return rung
        finally:
            self._acquire_restore(depth)  # type: ignore[attr-defined]
            if not rung and bell in waiters:
                waiters.remove(bell)

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until the predicate holds; says whether it does.

        The main thread looks up now and then: a signal that comes when it is about to wait,
        and does not wait yet, is handled by the interpreter once the wait is over.
        """
        left = None if timeout is None else waitable_s(timeout)
        ground = ground_here()
        if ground is not None:
            return self._waited_for_on(ground, predicate, left)
        if threading.current_thread() is threading.main_thread():
            while left is None or left > LOOK_UP_S:
                if self._waited_for(predicate, LOOK_UP_S):
                    return True
                left = None if left is None else left - LOOK_UP_S
        return self._waited_for(predicate, left)

    def _waited_for(self, predicate: Callable[[], bool], timeout: float | None) -> bool:
        return threading.Condition.wait_for(self, predicate, timeout)  # type: ignore[arg-type]

    def _waited_for_on(
        self, ground: Ground, predicate: Callable[[], bool], timeout: float | None
    ) -> bool:
        """The same by the time of that ground."""
        now = ground.clock.monotonic
        until = None if timeout is None else now() + timeout
        while not (holds := predicate()):
            left = None if until is None else until - now()
            if left is not None and left <= 0:
                return False
            self.wait(left)
        return holds

    def notify(self) -> None:
        """Wake one that waits; the lock is held."""
        if self._waiters:
            threading.Condition.notify(self)  # type: ignore[arg-type]

    def notify_all(self) -> None:
        """Wake whoever waits; the lock is held."""
        if self._waiters:
            threading.Condition.notify(self, len(self._waiters))  # type: ignore[arg-type]


class LightEvent(threading.Event):
    """A standard event. Thread-safe."""

    def __init__(self) -> None:
        self._cond = LightCondition()
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; says whether it is. The main thread looks up now and then."""
        with self._cond:
            return self._cond.wait_for(self.is_set, timeout)


class LightSemaphore:
    """A number of places. Thread-safe."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._changed = LightCondition()

    def acquire(self, timeout_s: float | None = None) -> bool:
        """Take a place; False when none has come free within the time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._places > 0, timeout_s):
                return False
            self._places -= 1
            return True

    def release(self) -> None:
        """Give a place back."""
        with self._changed:
            self._places += 1
            self._changed.notify()


class LightMailbox:
    """A mailbox of one actor that has a thread: what Pykka asks of one. Thread-safe."""

    def __init__(self) -> None:
        self._mail: deque[Any] = deque()
        self._changed = LightCondition()

    def put(self, item: Any, /) -> None:
        """Add a message."""
        with self._changed:
            self._mail.append(item)
            self._changed.notify()

    def get(self) -> Any:
        """The next message; waits for it."""
        with self._changed:
            while not self._mail:
                self._changed.wait()
            return self._mail.popleft()

    def empty(self) -> bool:
        """Does none wait?"""
        return not self._mail


class LightAnswer(pykka.ThreadingFuture[T], Generic[T]):
    """A Pykka future. Thread-safe."""

    def __init__(self) -> None:
        super().__init__()
        self._condition = LightCondition()  # type: ignore[assignment]

    def get(self, *, timeout: float | None = None) -> Any:
        """What it was set to; pykka.Timeout."""
        if self._get_hook is None:
            with self._condition:
                if not self._condition.wait_for(lambda: self._result is not None, timeout):
                    raise pykka.Timeout(f"{timeout} seconds")
        return super().get(timeout=timeout)


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
