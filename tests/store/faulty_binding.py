"""A binding that fails: the k-th call that reaches SQLite, before or after it was carried out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

NEVER: Final = 10**9


class FaultyBinding:
    """Stands in for ``sqlite3.connect``. Counts connects and statements of all connections."""

    def __init__(self, *, after: bool) -> None:
        self.calls = 0
        self.failed: list[str] = []
        self._fail_at: frozenset[int] = frozenset()
        self._after = after

    def arm(self, fail_at: Iterable[int]) -> None:
        """Fail the calls of these numbers, counted from now."""
        self.calls, self.failed, self._fail_at = 0, [], frozenset(fail_at)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return FaultyConnection(self, self.around("connect", sqlite3.connect, *args, **options))

    def around(self, name: str, call: Any, *args: Any, **options: Any) -> Any:
        """Make a call, or fail before or after it."""
        number, self.calls = self.calls, self.calls + 1
        fails = number in self._fail_at
        if fails and not self._after:
            self._fail(name)
        done = call(*args, **options)
        if fails:
            done.close()  # an error's traceback would keep a cursor, and with it a lock
            self._fail(name)
        return done

    def _fail(self, name: str) -> None:
        self.failed.append(name)
        raise sqlite3.OperationalError("disk I/O error")


class FaultyConnection:
    """A connection whose every statement goes past its binding."""

    def __init__(self, binding: FaultyBinding, inner: sqlite3.Connection) -> None:
        self._binding = binding
        self._inner = inner

    def execute(self, statement: str, values: Any = ()) -> Any:
        return self._binding.around(statement, self._inner.execute, statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
