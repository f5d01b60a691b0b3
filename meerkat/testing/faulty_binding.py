"""Faulty binding: a ``connect=`` for SqliteStore whose calls to SQLite fail when they are told to.

It is below the store what FaultyStore is above it: one call of the store is many statements,
and each of them can fail on its own, before or after SQLite carried it out.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection
from typing import Any

from meerkat.testing.faulty_store import When


def sqlite_io_error() -> sqlite3.Error:
    """What SQLite says when the disk gives an error."""
    return sqlite3.OperationalError("disk I/O error")


def sqlite_full() -> sqlite3.Error:
    """What SQLite says when there is no room."""
    return sqlite3.OperationalError("database or disk is full")


class FaultyBinding:
    """Stands in for ``sqlite3.connect``. Thread-safe.

    Counts the connects and statements of all its connections, from 1. Those that :meth:`arm`
    names fail with what ``error`` makes, before or after they were carried out.
    """

    def __init__(
        self,
        *,
        when: When = When.BEFORE,
        error: Callable[[], Exception] = sqlite_io_error,
        connect: Callable[..., Any] = sqlite3.connect,
    ) -> None:
        self._when = when
        self._error = error
        self._connect = connect
        self._lock = threading.Lock()
        self._called = 0
        self._failed: tuple[str, ...] = ()
        self._fail_at: Collection[int] = ()

    @property
    def called(self) -> int:
        """How many calls there were since it was armed last."""
        return self._called

    @property
    def failed(self) -> tuple[str, ...]:
        """Which of them failed: their statements, or ``connect``."""
        return self._failed

    def arm(self, fail_at: Collection[int] = ()) -> None:
        """Fail the calls of these numbers, counted from now; no others."""
        with self._lock:
            self._called, self._failed, self._fail_at = 0, (), fail_at

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Open a connection, if that is not to fail."""
        return _FaultyConnection(self, self.around("connect", self._connect, *args, **options))

    def around(self, name: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Make a call, or fail before or after it."""
        fails = self._takes(name)
        if fails and self._when is When.BEFORE:
            raise self._error()
        done = call(*args, **options)
        if fails:
            done.close()  # an error's traceback would keep a cursor, and with it a lock
            raise self._error()
        return done

    def _takes(self, name: str) -> bool:
        with self._lock:
            self._called += 1
            fails = self._called in self._fail_at
            if fails:
                self._failed = (*self._failed, name)
            return fails


class _FaultyConnection:
    """A connection whose every statement goes past its binding."""

    def __init__(self, binding: FaultyBinding, inner: Any) -> None:
        self._binding = binding
        self._inner = inner

    def execute(self, statement: str, values: Any = ()) -> Any:
        """Carry a statement out, if it is not to fail."""
        return self._binding.around(statement, self._inner.execute, statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
