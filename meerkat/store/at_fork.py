"""At fork: what becomes of stores in a forked child, and what the parent does before it forks.

The child has a copy of every object, and of the threads only the one that forked: a lock that
another one held is held for ever, and connections are the parent's. The locks inside the SQLite
library are out of our reach, so no thread of a store is to be in there when the process forks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

FORK_WAIT_S: Final = 1.0
"""Time that a fork gives commits and reads to come to an end: a disk that hangs has no more."""


class SqliteGate:
    """Where threads go into SQLite: shut while the process forks. Thread-safe.

    Entered by a thread once at a time.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._forks = 0

    def __enter__(self) -> None:
        with self._changed:
            while self._forks:
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *_error: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._forks:
                self._changed.notify_all()

    def shut(self) -> None:
        """Before a fork: wait until everybody is out, for a while; nobody gets in from now on."""
        self._changed.acquire()
        self._forks += 1
        self._changed.wait_for(lambda: not self._inside, FORK_WAIT_S)

    def open(self) -> None:
        """Behind a fork, in the parent."""
        self._forks -= 1
        self._changed.notify_all()
        self._changed.release()

    def renew(self) -> None:
        """Behind a fork, in the child: nobody is in there."""
        self.__init__()  # type: ignore[misc]


in_sqlite: Final = SqliteGate()
"""One for the process, as the locks of the library are."""

_calls: Final[WeakKeyDictionary[Any, Callable[[Any], object]]] = WeakKeyDictionary()


def in_child(thing: T, leave: Callable[[T], object]) -> None:
    """Have each forked child call ``leave`` with a thing, if it is still there."""
    _calls[thing] = leave


def _leave_all() -> None:
    in_sqlite.renew()
    for thing, leave in list(_calls.items()):
        leave(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=in_sqlite.shut, after_in_parent=in_sqlite.open, after_in_child=_leave_all
    )
