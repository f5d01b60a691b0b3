"""SQLite through apsw, in the clothes of ``sqlite3``: what ``SqliteStore(connect=…)`` needs of it.

apsw brings a SQLite library of its own, mostly a newer one than the interpreter's, and lets a
file system be put under it. This is a binding for tests: the part of ``sqlite3`` that the
store uses, with the same errors, and nothing else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

import apsw

T = TypeVar("T")

_URI_FLAGS: Final = (
    apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
)  # the ``mode`` of the URI takes away what it does not ask for

_CHANGING: Final = ("INSERT", "UPDATE", "DELETE", "REPLACE")
"""Statements that count the rows they change; of any other, ``rowcount`` is -1."""

_ERRORS: Final[dict[int, type[Exception]]] = {
    **dict.fromkeys((apsw.SQLITE_CONSTRAINT, apsw.SQLITE_MISMATCH), sqlite3.IntegrityError),
    **dict.fromkeys((apsw.SQLITE_INTERNAL, apsw.SQLITE_NOTFOUND), sqlite3.InternalError),
    **dict.fromkeys((apsw.SQLITE_MISUSE, apsw.SQLITE_RANGE), sqlite3.InterfaceError),
    **dict.fromkeys((apsw.SQLITE_CORRUPT, apsw.SQLITE_NOTADB), sqlite3.DatabaseError),
    **dict.fromkeys(
        (
            apsw.SQLITE_ERROR,
            apsw.SQLITE_PERM,
            apsw.SQLITE_ABORT,
            apsw.SQLITE_BUSY,
            apsw.SQLITE_LOCKED,
            apsw.SQLITE_READONLY,
            apsw.SQLITE_INTERRUPT,
            apsw.SQLITE_IOERR,
            apsw.SQLITE_FULL,
            apsw.SQLITE_CANTOPEN,
            apsw.SQLITE_PROTOCOL,
            apsw.SQLITE_EMPTY,
            apsw.SQLITE_SCHEMA,
        ),
        sqlite3.OperationalError,
    ),
    apsw.SQLITE_TOOBIG: sqlite3.DataError,
    apsw.SQLITE_NOMEM: MemoryError,
}
"""SQLite's result code → what ``sqlite3`` raises for it; DatabaseError for any other."""


def apsw_connect(
    database: str,
    *,
    uri: Literal[True] = True,
    isolation_level: None = None,
    check_same_thread: Literal[False] = False,
    cached_statements: int = 128,
    vfs: str | None = None,
) -> ApswConnection:
    """Open a database through apsw: ``SqliteStore(path, connect=apsw_connect)``.

    ``database`` is a file URI, and ``vfs`` the name of a file system that is registered with
    apsw. Transactions begin and end where statements say so. What SQLite says is wrong is the
    error that ``sqlite3`` would raise, ``sqlite_errorcode`` included. A connection is used by
    one thread at a time, any thread; the store sees to that.
    """
    del uri, isolation_level, check_same_thread  # there is no other way here
    opened = _translated(
        lambda: apsw.Connection(
            database, flags=_URI_FLAGS, vfs=vfs, statementcachesize=cached_statements
        )
    )
    return ApswConnection(opened)


class ApswConnection:
    """A connection with the methods and errors of ``sqlite3.Connection`` that the store uses."""

    def __init__(self, inner: apsw.Connection) -> None:
        self.inner = inner

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> ApswCursor:
        """Run one statement; raises ``sqlite3.Error``."""
        cursor = _translated(lambda: self.inner.execute(statement, values))
        return ApswCursor(cursor, self._changed(statement, self.inner.changes))

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> ApswCursor:
        """Run one statement for each row; raises ``sqlite3.Error``."""
        before = self.inner.total_changes()
        cursor = _translated(lambda: self.inner.executemany(statement, rows))
        return ApswCursor(
            cursor, self._changed(statement, lambda: self.inner.total_changes() - before)
        )

    @property
    def in_transaction(self) -> bool:
        """Has a transaction begun that has not ended?"""
        return _translated(lambda: self.inner.in_transaction)

    def close(self) -> None:
        """Let go of the file. Idempotent.

        SQLite goes over what fails then: a reader, say, cannot get the lock under which the
        last one to leave would put the log away. With a file system written in Python, apsw
        raises it all the same, once the connection is closed.
        """
        with suppress(apsw.Error):
            self.inner.close()

    @staticmethod
    def _changed(statement: str, count: Callable[[], int]) -> int:
        return count() if statement.lstrip()[:7].rstrip().upper() in _CHANGING else -1


class ApswCursor:
    """The rows of one statement, and ``rowcount``: how many it has changed."""

    def __init__(self, inner: apsw.Cursor, rowcount: int) -> None:
        self._inner = inner
        self.rowcount = rowcount

    def fetchone(self) -> Any:
        """The next row, or None."""
        return _translated(self._inner.fetchone)

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return _translated(self._inner.fetchall)

    def __iter__(self) -> Iterator[Any]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Let go of the statement."""
        _translated(self._inner.close)


def _translated(call: Callable[[], T]) -> T:
    try:
        return call()
    except apsw.Error as error:
        raise _error_of(error) from error
    except UnicodeDecodeError as error:  # text in the file that is no UTF-8
        raise sqlite3.OperationalError(f"Could not decode to UTF-8: {error}") from error


def _error_of(error: apsw.Error) -> Exception:
    code = getattr(error, "extendedresult", None)
    if code is None:  # not SQLite's: of a closed connection, of bindings that do not fit
        return sqlite3.ProgrammingError(str(error))
    made = _ERRORS.get(code & 0xFF, sqlite3.DatabaseError)(str(error))
    if isinstance(made, sqlite3.Error):
        made.sqlite_errorcode = code
        names = apsw.mapping_result_codes | apsw.mapping_extended_result_codes
        made.sqlite_errorname = str(names.get(code, "unknown"))
    return made
