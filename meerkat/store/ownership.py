"""Ownership: one process, or plane, at a time may write to a database file.

An advisory flock on a file beside the database says so; the kernel lets go of it when the
process ends, however it ends. The file stays: only the lock on it counts. Its text names
the owner for whoever is refused. Not on the database file itself: SQLite locks that one,
and closing any handle on it would drop SQLite's locks.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from meerkat.errors import StoreError

if TYPE_CHECKING:
    from io import FileIO

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this platform
    fcntl = None  # type: ignore[assignment]

_OWNER_BYTES_MAX = 512


class StoreInUse(StoreError):
    """Another process, or plane, owns the database; the text names it."""


class OwnerLock:
    """The ownership of one database file. Not thread-safe; its store's lock guards it."""

    def __init__(self, database: Path) -> None:
        self._path = _path(database)
        self._database = database
        self._file: FileIO | None = None
        _locks.add(self)

    @property
    def held(self) -> bool:
        """Is the database ours?"""
        return self._file is not None

    def acquire(self) -> None:
        """Become the owner, or raise a StoreError that names the present one."""
        if self._file is not None:
            return
        if fcntl is None:  # pragma: no cover - not on this platform
            raise StoreError("SqliteStore needs a POSIX system, for its owner lock")
        try:
            file = open(self._path, "r+b", buffering=0, opener=_open_private)  # noqa: SIM115
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        try:
            self._lock(file)
        except OSError as error:
            file.close()
            raise StoreError(f"{self._path}: {error.strerror}") from error
        except BaseException:
            file.close()
            raise
        self._file = file

    def _lock(self, file: FileIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            present = file.read(_OWNER_BYTES_MAX).decode(errors="replace").strip()
            raise StoreInUse(
                f"{self._database} is in use by {present or 'another process'}"
            ) from None
        os.ftruncate(file.fileno(), 0)
        os.pwrite(
            file.fileno(), f"{this_process()}\n".encode(errors="replace")[:_OWNER_BYTES_MAX], 0
        )

    def release(self) -> None:
        """Let go, and say so. Idempotent."""
        if self._file is not None:
            with suppress(OSError):  # a full disk, say: only the lock counts
                os.ftruncate(self._file.fileno(), 0)
        self.let_go()

    def let_go(self) -> None:
        """Close the file: all that a forked child may do, whose parent goes on. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _open_private(path: str, _flags: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _path(database: Path) -> Path:
    return database.with_name(database.name + "-owner")


def said_owner(database: Path) -> str | None:
    """Who says to own a database, and lives; None where nobody does, or it cannot be read.

    It takes no lock, and so gets in nobody's way: only ``acquire`` knows.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(_path(database), flags), "rb", buffering=0) as file:
            text = file.read(_OWNER_BYTES_MAX).decode(errors="replace").strip()
    except OSError:
        return None
    named = _NAMED.match(text)
    return text if named is not None and is_alive(int(named[1])) else None


_NAMED: Final = re.compile(r"process ([0-9]+) ")


def is_alive(pid: int) -> bool:
    """Is there such a process? It may be another one of the same number."""
    if pid <= 0:  # those are groups
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:  # it lives, as another user
        return True
    except (OSError, OverflowError):
        return False
    return True


def this_process() -> str:
    """What an owner is called where another is refused."""
    return f"process {os.getpid()} ({_program()})"


def _program() -> str:
    """What a person calls this process: for ``python -m x`` it is x."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"


_locks: WeakSet[OwnerLock] = WeakSet()


def _let_go() -> None:
    """A forked child shares its parent's locks, and would hold them beyond its end."""
    for lock in list(_locks):
        lock.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
