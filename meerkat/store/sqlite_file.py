"""The SQLite file: created private, recognised before it is touched, migrated when older.

What is not ours, is no database, or comes from a newer schema is refused with not a byte
changed: it is looked at through a read-only connection first.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from attrs import frozen

from meerkat.errors import StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.store.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    READ_AS_OURS,
    SCHEMA_VERSION,
    SQLITE_VERSION_MIN,
)
from meerkat.words import Word

Connect: TypeAlias = Callable[..., Any]
"""``sqlite3.connect``, or another binding's with the same arguments, methods and errors."""

BINDING_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What the binding raises: the second for words of SQLite's that quote what is no text."""

_CACHED_STATEMENTS: Final = 256
"""The writer uses a few dozen statement texts: one for each table and row count."""

_BUSY_TIMEOUT_MS: Final = 5_000
"""How long to wait for a foreign lock, a backup's say, before it counts as an error."""

_WRITER_CACHE_KIB: Final = 16_384
"""The writer's page cache: a group's commit touches a page of several indexes a runtime."""

_CHECKPOINT_PAGES: Final = 4_000
"""Pages in the log before they are carried over (16 MB): most are written again before that."""

_DATABASE_BYTES_MIN: Final = 512
"""SQLite's smallest page, and so its smallest file that is not empty."""

_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
"""What SQLite's rollback journals begin with."""


_MODES: Final = "see who owns the file and its folder, and their modes"
_WRITABLE: Final = f"even who reads has to be able to write to its folder: {_MODES}"

_ADVICE: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_CANTOPEN: _MODES,
    sqlite3.SQLITE_READONLY: _WRITABLE,
    sqlite3.SQLITE_READONLY_CANTINIT: _WRITABLE,
    sqlite3.SQLITE_READONLY_DIRECTORY: _WRITABLE,
}
"""What to look at where SQLite's words say neither what was refused nor to whom."""


def said(error: Exception) -> str:
    """What SQLite said when the binding raised one of its errors, and what to look at."""
    if isinstance(error, UnicodeDecodeError):  # a damaged schema, quoted as it is
        return error.object.decode(errors="replace")
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0))
    return f"{error}; {advice}" if advice else str(error)


class NotOurs(StoreError):
    """The file is another application's database, or has a schema that nobody here knows."""


class Damaged(StoreError):
    """The file cannot be read as a database: it was cut short, written over, or never was one."""


_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY: Final = 0xFF
"""What of an extended code of SQLite's says what kind of an error it is."""


class Synchronous(Word):
    """How much SQLite waits for the disk: FULL at each commit, EXTRA for directories too."""

    FULL = "full"
    EXTRA = "extra"


def is_there(path: Path) -> bool:
    """Is there a file? StoreError for what is no plain file, or cannot be one of ours."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise StoreError(f"{path} is a symbolic link; name the database file itself")
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path} is not a file")
    if 0 < found.st_size < _DATABASE_BYTES_MIN and not _was_cut_short(path):
        # SQLite takes a byte or two for an empty file
        raise Damaged(f"{path}: file is not a database")
    return True


def _was_cut_short(path: Path) -> bool:
    """Is there a journal, from which SQLite takes back what it had begun to write?"""
    try:
        with path.with_name(path.name + "-journal").open("rb") as journal:
            return journal.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC
    except OSError:
        return False


def create_private(path: Path) -> None:
    """Make sure that the file is there; a new one is its owner's alone."""
    if is_there(path):
        return
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, 0o600))
    except OSError as error:
        raise StoreError(f"cannot create {path}: {error.strerror}") from error


@frozen
class Reader:
    """A connection that cannot change the file, and the schema it found when it was opened."""

    connection: Any
    version: int


def open_reader(path: Path, connect: Connect) -> Reader | None:
    """Open a connection that cannot change the file; refuse what is not ours.

    A file of an older schema reads as one of ours, and stays as it is. None when there is
    nothing to read yet: no file, or an empty one.
    """
    if not is_there(path):
        return None
    connection = _connect(connect, path, "mode=ro")
    try:
        _harden(connection)
        version = recognise(path, connection)
        for statement in READ_AS_OURS.get(version, ()):
            connection.execute(statement)
        connection.execute("PRAGMA query_only = ON")
    except BINDING_ERRORS as error:
        connection.close()
        damaged = getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _DAMAGE
        kind = Damaged if damaged else StoreError
        raise kind(f"{path}: {said(error)}") from error
    except BaseException:
        connection.close()
        raise
    if version:
        return Reader(connection, version)
    connection.close()
    return None


def open_writer(path: Path, connect: Connect, synchronous: Synchronous) -> Any:
    """Open the one connection that writes: WAL, full sync, migrated to our schema."""
    _look_first(path, connect)
    connection = _connect(connect, path, "mode=rw")
    try:
        _harden(connection)
        recognise(path, connection)
        _switch_to_wal(path, connection)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = {-_WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        migrate(connection)
    except BINDING_ERRORS as error:
        connection.close()
        raise StoreError(f"{path}: {said(error)}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _switch_to_wal(path: Path, connection: Any) -> None:
    """Change the journal mode; with EXTRA, as the switch is itself a commit."""
    connection.execute("PRAGMA synchronous = EXTRA")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(f"{path}: SQLite gave journal mode {mode}, not WAL")


def _look_first(path: Path, connect: Connect) -> None:
    """Refuse through a read-only connection what is not ours.

    A transaction that a crash cut short has to be rolled back before anybody can look,
    which is the writer's to do; it recognises the file by itself then.
    """
    try:
        reader = open_reader(path, connect)
    except StoreError as error:
        code = getattr(error.__cause__, "sqlite_errorcode", None)
        if code != sqlite3.SQLITE_READONLY_ROLLBACK:
            raise
        return
    if reader is not None:
        reader.connection.close()


def _harden(connection: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA trusted_schema = OFF")


def recognise(path: Path, connection: Any) -> int:
    """The schema version of a file of ours, 0 for an empty one; StoreError for any other."""
    (library,) = connection.execute("SELECT sqlite_version()").fetchone()
    if tuple(map(int, library.split("."))) < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        raise StoreError(f"SQLite {library} is too old: {wanted} is needed")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (tables or application or version):
        raise NotOurs(f"{path} is another application's database")
    if version > SCHEMA_VERSION:
        raise NotOurs(
            f"{path} has schema {version}, from a newer meerkat; this one knows {SCHEMA_VERSION}"
        )
    if version < 0:
        raise NotOurs(f"{path} has schema {version}, which no meerkat has written")
    return int(version)


def migrate(connection: Any) -> None:
    """Bring an older file to our schema, in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version + 1, SCHEMA_VERSION + 1):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
                reached(FailPoint.MIGRATION_STEP)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        reached(FailPoint.MIGRATION_WRITTEN)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(connect: Connect, path: Path, mode: str) -> Any:
    try:
        return connect(
            f"file://{quote(os.fsencode(path))}?{mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
    except BINDING_ERRORS as error:
        raise StoreError(f"{path}: {said(error)}") from error
