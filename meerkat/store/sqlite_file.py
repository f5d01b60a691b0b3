"""The SQLite file: created private, recognised before it is touched, migrated when older.

What is not ours, is no database, or comes from a newer schema is refused with not a byte
changed: it is looked at through a read-only connection first.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from meerkat.errors import StoreError
from meerkat.store.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    SCHEMA_VERSION,
    SQLITE_VERSION_MIN,
)
from meerkat.words import Word

Connect: TypeAlias = Callable[..., Any]
"""``sqlite3.connect``, or another binding's with the same arguments and methods."""

_CACHED_STATEMENTS: Final = 256
"""The writer uses a few dozen statement texts: one for each table and row count."""

_BUSY_TIMEOUT_MS: Final = 5_000
"""How long to wait for a foreign lock, a backup's say, before it counts as an error."""


class Synchronous(Word):
    """How much SQLite waits for the disk: FULL at each commit, EXTRA for directories too."""

    FULL = "full"
    EXTRA = "extra"


def create_private(path: Path) -> None:
    """Make sure that the file is there, is a file, and was made for its owner alone."""
    try:
        if stat.S_ISLNK(path.lstat().st_mode):
            raise StoreError(f"{path} is a symbolic link; name the database file itself")
    except FileNotFoundError:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(path, flags, 0o600))
        except OSError as error:
            raise StoreError(f"cannot create {path}: {error.strerror}") from error
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error.strerror}") from error


def open_reader(path: Path, connect: Connect) -> Any:
    """Open a connection that cannot change the file; refuse what is not ours."""
    connection = _connect(connect, path, "mode=ro")
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        recognise(path, connection)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"{path}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_writer(path: Path, connect: Connect, synchronous: Synchronous) -> Any:
    """Open the one connection that writes: WAL, full sync, migrated to our schema."""
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        wanted = ".".join(map(str, SQLITE_VERSION_MIN))
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: {wanted} is needed")
    open_reader(path, connect).close()
    connection = _connect(connect, path, "mode=rw")
    try:
        # EXTRA while the journal mode changes: the switch to WAL is itself a commit.
        connection.execute("PRAGMA synchronous = EXTRA")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(f"{path}: SQLite gave journal mode {mode}, not WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        migrate(connection)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"{path}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def recognise(path: Path, connection: Any) -> int:
    """The schema version of a file of ours, 0 for an empty one; StoreError for any other."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (tables or application):
        raise StoreError(f"{path} is another application's database")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} has schema {version}, from a newer meerkat; this one knows {SCHEMA_VERSION}"
        )
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
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _connect(connect: Connect, path: Path, mode: str) -> Any:
    try:
        return connect(
            f"file:{quote(str(path))}?{mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
