"""Run places: how many runs may be under way, and the threads they are under way on.

Whoever wants to run asks for a slot first and stages its work only with the slot in hand,
so that waiting costs no attempt.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from actors.forks import Home
from actors.ground import start_thread
from actors.light import LightFuture
from actors.logs import without_text
from actors.work_queue import WorkQueue

logger = logging.getLogger(__name__)

T = TypeVar("T")


_Task = tuple[Callable[[], object], Callable[[BaseException], object] | None]
"""What is to be done, and who is told if it breaks off."""


class RunSlots:
    """A bounded number of slots, handed on in the order they were asked for. Thread-safe.

    Each is somebody's, so that a step that was cut off can be taken again.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
        self._holders: set[object] = set()
        self._waiting: dict[object, Callable[[], None]] = {}

    def take(self, owner: object, granted: Callable[[], None]) -> bool:
        """Take a slot now; or False, and ``granted`` is called once one is the owner's."""
        with self._lock:
            if owner in self._holders:
                return True
            if len(self._holders) < self._slots and not self._waiting:
                self._holders.add(owner)
                return True
            self._waiting[owner] = granted
            return False

    def holds(self, owner: object) -> bool:
        """Has it a slot?"""
        return owner in self._holders

    @property
    def free(self) -> int:
        """How many are nobody's."""
        return self._slots - len(self._holders)

    @property
    def size(self) -> int:
        """How many there are."""
        return self._slots

    @property
    def waiting(self) -> int:
        """How many owners wait for one."""
        return len(self._waiting)

    @property
    def contended(self) -> bool:
        """Does anybody wait for a slot?"""
        return bool(self._waiting)

    def give_back(self, owner: object) -> None:
        """Hand the owner's slot on, if it has one; one that waits, waits no longer."""
        with self._lock:
            self._holders.discard(owner)
            self._waiting.pop(owner, None)
        while (granted := self._next()) is not None:
            granted()
            self._told(granted)

    def _next(self) -> Callable[[], None] | None:
        """Give a slot to who has waited longest; whoever was not told of his is first."""
        with self._lock:
            for owner, granted in self._waiting.items():
                if owner in self._holders or len(self._holders) < self._slots:
                    self._holders.add(owner)
                    return granted
                break
            return None

    def _told(self, granted: Callable[[], None]) -> None:
        with self._lock:
            for owner, waiting in self._waiting.items():
                if waiting is granted:
                    del self._waiting[owner]
                    return


class RunThreads:
    """Daemon threads for host code, made on demand and kept. Thread-safe.

    There are as many as tasks are under way: a thread that host code does not return is
    simply replaced.
    """

    def __init__(self, home: Home | None = None) -> None:
        self._home = home or Home()
        self._tasks: WorkQueue[_Task] = WorkQueue(self._one_more)
        self._numbers = itertools.count(1)
        self._stopped = False

    def start(
        self, task: Callable[[], object], lost: Callable[[BaseException], object] | None = None
    ) -> None:
        """Run ``task`` on a thread of its own; never once stopped.

        It is not to raise: what it raises all the same is logged, and ``lost`` is called with
        it. Raises RuntimeError when a new thread cannot be had.
        """
        if not self._stopped:
            self._tasks.put((task, lost))

    def outcome_of(self, work: Callable[[], T]) -> Future[T]:
        """What ``work`` gives or raises on a thread of its own; unlike a run it may raise."""
        outcome: LightFuture[T] = LightFuture()
        self.start(partial(_settle, outcome, work))
        return outcome

    def stop(self) -> None:
        """End the threads that are idle now, and the others when their task returns."""
        self._stopped = True
        self._tasks.close()

    def _one_more(self) -> None:
        name = f"meerkat-run-{next(self._numbers)}"
        serve = partial(self._tasks.serve, self._do, _lost)
        start_thread(serve, name)

    def _do(self, work: _Task) -> bool:
        task, _ = work
        task()
        return not self._home.left  # or host code has forked here, and this is the child


def _lost(work: _Task, error: BaseException) -> None:
    _, lost = work
    logger.error("a task of the run threads failed", exc_info=without_text(error))
    if lost is not None:
        lost(error)


def _settle(outcome: Future[T], work: Callable[[], T]) -> None:
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        outcome.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is the waiter's to handle
        outcome.set_exception(error)
