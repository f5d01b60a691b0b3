"""Backup: a copy of a database file as of one moment, while its owner goes on writing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from meerkat.errors import StoreError
from meerkat.store.sqlite_file import BINDING_ERRORS, Connect, create_private, open_reader, said


def back_up(source: Path, target: Path, connect: Connect = sqlite3.connect) -> int:
    """Copy a database to a file that is not there yet; gives its size in bytes.

    What was committed before the call is in it, and it is on disk on return: its owner's
    alone, without a log beside it. StoreError, and then there is no new file, when ``source``
    is no database of ours, ``target`` is there, or the copy fails or is unsound.
    """
    if os.path.lexists(target):
        raise StoreError(f"{target} is there already")
    opened = open_reader(source, connect)
    if opened is None:
        raise StoreError(f"{source}: there is nothing in it")
    part = target.with_name(target.name + "-part")
    with closing(opened.connection) as reader:
        try:
            create_private(part)
            _copy(reader, part, connect)
            _sync(part)
            os.link(part, target)  # whole or not at all, and never over another file
            _sync(target.parent)
        except BINDING_ERRORS as error:
            raise StoreError(f"{target}: {said(error)}") from error
        except OSError as error:
            raise StoreError(f"{target}: {error.strerror}") from error
        finally:
            _drop(part)
    return target.stat().st_size


def _copy(reader: sqlite3.Connection, target: Path, connect: Connect) -> None:
    with closing(connect(str(target), isolation_level=None)) as copy:
        reader.backup(copy)  # all pages in one step: as of one moment, whoever writes meanwhile
        (sound,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise StoreError(f"{target}: the copy is unsound: {sound}")
        copy.execute("PRAGMA journal_mode = DELETE")


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _drop(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            part.with_name(part.name + suffix).unlink()
