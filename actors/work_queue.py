"""Work queue: work for threads that sleep while there is none.

Waking a thread costs more than most of the work here, and one that wakes has to win the
interpreter lock first. So one is woken at a time: what comes meanwhile waits for it, and
whoever takes work and leaves some behind wakes the next. A burst costs one wake-up, and work
that blocks its thread holds up nobody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from actors.ground import Bell, new_bell

T = TypeVar("T")


class WorkQueue(Generic[T]):
    """Work in the order it came. Thread-safe.

    ``more_threads`` is called when work waits and no thread sleeps: it starts one that
    runs :meth:`serve`. It may raise, and then there are no more to be had.
    """

    def __init__(self, more_threads: Callable[[], object] | None = None) -> None:
        self._more_threads = more_threads
        self._lock = threading.Lock()
        self._work: deque[T] = deque()
        self._asleep: list[Bell] = []
        self._one_comes = False
        self._closed = False

    def put(self, work: T, *, mine: bool = False) -> None:
        """Have work done; what ``more_threads`` raises comes out if it was not taken.

        ``mine``: this thread is about to look for work, so it needs nobody for one piece. A
        signal's exception comes out whether it was taken or not.
        """
        call: Callable[[], object] | None = None
        taken = False
        try:
            with self._lock:
                alone = not self._work
                self._work.append(work)
                taken = True
                if not (mine and alone):
                    call = self._whom_to_call()
            if call is not None:
                call()
        except BaseException as error:
            if self._take_back(work) or not taken or not isinstance(error, Exception):
                raise

    def _take_back(self, work: T) -> bool:
        """Nobody may have been called: take work back, unless somebody has taken it."""
        with self._lock:
            self._one_comes = False
            if work not in self._work:
                return False
            self._work.remove(work)
            call = self._whom_to_call() if self._work else None
        if call is not None:
            self._call(call)  # others relied on the thread that did not come
        return True

    @property
    def has_work(self) -> bool:
        """Does work wait that nobody has taken?"""
        return bool(self._work)

    def waiting(self) -> tuple[T, ...]:
        """The work that nobody has taken, as it was a moment ago."""
        return tuple(self._work.copy())

    def arrived(self) -> None:
        """A thread that was started is here."""
        with self._lock:
            self._one_comes = False

    def serve(self, do: Callable[[T], object], lost: Callable[[T, BaseException], object]) -> None:
        """Do work until the queue is closed and empty, or ``do`` says False.

        ``lost`` is told what work broke off, and by what.
        """
        hand: list[T] = []
        bell: Bell | None = None
        while True:
            try:
                hand.clear()  # an idle thread keeps nothing
                if bell is None:
                    bell = new_bell()
                    self.arrived()
                if not self._take(hand, bell):
                    return
                if do(hand[0]) is False:
                    return
            except BaseException as error:  # noqa: BLE001 - a thread less would help nobody
                self._one_comes = False  # should it have been this one
                for work in hand:
                    lost(work, error)

    def get(self) -> T | None:
        """The next work, once there is some; None when the queue is closed and empty."""
        hand: list[T] = []
        return hand[0] if self._take(hand, new_bell()) else None

    def _take(self, hand: list[T], bell: Bell) -> bool:
        """Have the next work in hand, from the moment it is in the queue no more.

        Until there is some this thread sleeps, and ``bell``, which it alone has, wakes it.
        """
        while True:
            with self._lock:
                if bell in self._asleep:  # it was rung, or something else woke this thread
                    self._one_comes = False
                    self._asleep.remove(bell)
                if self._work:
                    hand.append(self._work.popleft())
                    call = self._whom_to_call() if self._work else None
                    break
                if self._closed:
                    return False
                self._asleep.append(bell)
            bell.acquire()
        if call is not None:
            self._call(call)
        return True

    def _whom_to_call(self) -> Callable[[], object] | None:
        """How to get one more thread to work, unless one is on its way. The lock is held.

        It may be that the call is never made: who sleeps stays known until it is awake.
        """
        if self._one_comes:
            return None
        if not self._asleep:
            self._one_comes = self._more_threads is not None
            return self._more_threads
        self._one_comes = True
        return partial(_ring, self._asleep[-1])

    def _call(self, call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException:  # noqa: BLE001 - no thread to be had: who is there does what waits
            self.arrived()

    def close(self) -> None:
        """Let the threads go, each once nothing is left for it."""
        with self._lock:
            self._closed = True
            asleep = tuple(self._asleep)
        for bell in asleep:
            _ring(bell)


def _ring(bell: Bell) -> None:
    """Wake who sleeps, or let it be: others may have rung."""
    with suppress(RuntimeError):
        bell.release()
