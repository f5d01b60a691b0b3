"""A binding under which the k-th call that reaches SQLite is the last, or fails."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from meerkat.store import SqliteStore

if TYPE_CHECKING:
    from meerkat.testing.processes import Told

PROGRAM = f"{__name__}:migrate"


def fail() -> NoReturn:
    raise sqlite3.OperationalError("disk I/O error")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Binding:
    """Stands in for ``sqlite3.connect``: at call ``at`` it does ``act``, before or after the call.

    ``said`` has every call: ``connect``, or the statement.
    """

    def __init__(
        self, at: int | None = None, *, after: bool = False, act: Callable[[], object] = fail
    ) -> None:
        self.said: list[str] = []
        self._at, self._after, self._act = at, after, act

    def __call__(self, *args: Any, **options: Any) -> Connection:
        return Connection(self, self.around("connect", lambda: sqlite3.connect(*args, **options)))

    def around(self, what: str, call: Callable[[], Any]) -> Any:
        here = self._at == len(self.said)
        self.said.append(what)
        if here and not self._after:
            self._act()
        done = call()
        if here and self._after:
            done.close()  # an error's traceback would keep a cursor, and with it a lock
            self._act()
        return done


class Connection:
    """A connection whose statements go past its binding."""

    def __init__(self, binding: Binding, inner: sqlite3.Connection) -> None:
        self._binding, self._inner = binding, inner

    def execute(self, statement: str, values: Any = ()) -> Any:
        return self._binding.around(statement, lambda: self._inner.execute(statement, values))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def migrate(_told: Told, path: str, at: int, after: bool) -> None:
    """What a child does: open the file to write, which migrates it, and be killed in it."""
    SqliteStore(Path(path), connect=Binding(at, after=after, act=die)).acquire()
