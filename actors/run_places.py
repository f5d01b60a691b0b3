"""Run places: how many runs may be under way, and the threads they are under way on.

Whoever wants to run asks for a slot first and stages its work only with the slot in hand,
so that waiting costs no attempt.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from actors.work_queue import WorkQueue

T = TypeVar("T")


class RunSlots:
    """A bounded number of slots, handed on in the order they were asked for. Thread-safe."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, granted: Callable[[], None]) -> bool:
        """Take a slot now; or False, and ``granted`` is called once one is ours."""
        with self._lock:
            if self._free and not self._waiting:
                self._free -= 1
                return True
            self._waiting.append(granted)
            return False

    @property
    def contended(self) -> bool:
        """Does anybody wait for a slot?"""
        return bool(self._waiting)

    def give_back(self) -> None:
        """Hand the slot on."""
        with self._lock:
            granted = self._waiting.popleft() if self._waiting else None
            if granted is None:
                self._free += 1
        if granted is not None:
            granted()


class RunThreads:
    """Daemon threads for host code, made on demand and kept. Thread-safe.

    There are as many as tasks are under way: a thread that host code does not return is
    simply replaced.
    """

    def __init__(self) -> None:
        self._tasks: WorkQueue[Callable[[], object]] = WorkQueue(self._one_more)
        self._numbers = itertools.count(1)
        self._stopped = False

    def start(self, task: Callable[[], object]) -> None:
        """Run ``task``, which must not raise, on a thread of its own; never once stopped.

        Raises RuntimeError when a new thread cannot be had.
        """
        if not self._stopped:
            self._tasks.put(task)

    def outcome_of(self, work: Callable[[], T]) -> Future[T]:
        """What ``work`` gives or raises on a thread of its own; unlike a run it may raise."""
        outcome: Future[T] = Future()
        self.start(partial(_settle, outcome, work))
        return outcome

    def stop(self) -> None:
        """End the threads that are idle now, and the others when their task returns."""
        self._stopped = True
        self._tasks.close()

    def _one_more(self) -> None:
        name = f"meerkat-run-{next(self._numbers)}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        self._tasks.arrived()
        while (task := self._tasks.get()) is not None:
            task()
            del task  # nothing of it is kept until the next one comes


def _settle(outcome: Future[T], work: Callable[[], T]) -> None:
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        outcome.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is the waiter's to handle
        outcome.set_exception(error)
