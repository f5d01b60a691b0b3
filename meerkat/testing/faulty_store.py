"""Faulty store: a store whose calls fail when a test says so, before or after they were done.

Which call it is, is said by its number, from 1, or by a plan that is asked about each. A call
that fails ``BEFORE`` did nothing; one that fails ``AFTER`` was done, and says that it was not,
or that nobody knows.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection
from typing import Final, TypeAlias, TypeVar

from attrs import field, frozen

from meerkat.errors import CommitUnknown, StoreError
from meerkat.store import RuntimeStore
from meerkat.testing.store_wrapper import WRITES, StoreWrapper
from meerkat.words import Word

T = TypeVar("T")

EVERY_CALL: Final = frozenset(name for name in vars(RuntimeStore) if not name.startswith("_"))
"""The methods of a store."""


class When(Word):
    """When a call fails: before it was done, or after."""

    BEFORE = "before"
    AFTER = "after"


def io_error() -> StoreError:
    """What SqliteStore says when the disk gives an error: nothing happened."""
    return _from_sqlite(StoreError, "disk I/O error")


def disk_full() -> StoreError:
    """What SqliteStore says when there is no room: nothing happened."""
    return _from_sqlite(StoreError, "database or disk is full")


def commit_unknown() -> StoreError:
    """What SqliteStore says when COMMIT failed: it may have happened."""
    return _from_sqlite(CommitUnknown, "disk I/O error")


def _from_sqlite(kind: type[StoreError], text: str) -> StoreError:
    error = kind(text)
    error.__cause__ = sqlite3.OperationalError(text)
    return error


AnError: TypeAlias = BaseException | Callable[[], BaseException]
"""An error, or what makes one: a fresh one each time does not gather tracebacks."""


@frozen
class StoreCall:
    """A call of a faulty store: the method, and its number among those that count."""

    method: str
    number: int


@frozen
class StoreFault:
    """How a call fails.

    Without an ``error``: as a disk that gives errors has it. A write that was done is
    CommitUnknown then; anything else is a StoreError.
    """

    when: When = When.BEFORE
    error: AnError | None = field(default=None)

    def error_of(self, call: StoreCall) -> BaseException:
        """The error that this call fails with."""
        if self.error is not None:
            return self.error if isinstance(self.error, BaseException) else self.error()
        done = self.when is When.AFTER and call.method in WRITES
        return commit_unknown() if done else io_error()


Plan: TypeAlias = Callable[[StoreCall], StoreFault | None]
"""Asked about every call that counts, one at a time: how it fails, if it does."""


class FaultyStore(StoreWrapper):
    """A RuntimeStore before another one, whose calls fail when they are told to. Thread-safe.

    ``fail_at`` is the number of the call that fails, or a collection of numbers, ``range(3, 9)``
    say; ``fail_from`` has that call and every later one fail. They fail as ``error`` and
    ``when`` say, like a :class:`StoreFault`. A ``plan`` says it call by call instead. ``calls``
    names the methods that count, and may fail; all of them when it is left out.

    ``called`` says how many calls counted so far, ``failed`` which of them failed.
    Raises TypeError for a plan beside numbers, ValueError for a method no store has.
    """

    def __init__(
        self,
        inner: RuntimeStore,
        *,
        fail_at: int | Collection[int] = (),
        fail_from: int | None = None,
        error: AnError | None = None,
        when: When = When.BEFORE,
        plan: Plan | None = None,
        calls: Collection[str] = EVERY_CALL,
    ) -> None:
        super().__init__(inner)
        unknown = frozenset(calls) - EVERY_CALL
        if unknown:
            raise ValueError(f"a store has no {', '.join(sorted(unknown))}")
        if plan is not None and (fail_at != () or fail_from is not None or error is not None):
            raise TypeError("a plan says by itself what fails, and how")
        self._calls = frozenset(calls)
        self._fault = StoreFault(when, error)
        self._at: Collection[int] = (fail_at,) if isinstance(fail_at, int) else fail_at
        self._from = fail_from
        self._plan = plan or self._planned
        self._lock = threading.Lock()
        self._called = 0
        self._failed: tuple[StoreCall, ...] = ()

    # --- what happened ------------------------------------------------------------------

    @property
    def called(self) -> int:
        """How many calls counted so far."""
        return self._called

    @property
    def failed(self) -> tuple[StoreCall, ...]:
        """The calls that failed so far, in their order."""
        return self._failed

    # --- what is to happen --------------------------------------------------------------

    def fail_next(self) -> None:
        """Have the next call fail, and no other. Not with a plan."""
        with self._lock:
            self._at, self._from = (self._called + 1,), None

    def fail_from_now(self) -> None:
        """Have every call fail until :meth:`heal`. Not with a plan."""
        with self._lock:
            self._at, self._from = (), self._called + 1

    def heal(self) -> None:
        """Have no more calls fail. With a plan: it is not asked any more."""
        with self._lock:
            self._plan = self._planned
            self._at, self._from = (), None

    def _planned(self, call: StoreCall) -> StoreFault | None:
        lasting = self._from is not None and call.number >= self._from
        return self._fault if lasting or call.number in self._at else None

    def around(self, method: str, call: Callable[[], T]) -> T:
        """Make a call, unless it is to fail before; after it fails if it is to."""
        if method not in self._calls:
            return call()
        here, fault = self._taken(method)
        if fault is None:
            return call()
        if fault.when is When.AFTER:
            call()
        raise fault.error_of(here)

    def _taken(self, method: str) -> tuple[StoreCall, StoreFault | None]:
        with self._lock:
            self._called += 1
            here = StoreCall(method, self._called)
            fault = self._plan(here)
            if fault is not None:
                self._failed = (*self._failed, here)
            return here, fault
