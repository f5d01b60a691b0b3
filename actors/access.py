"""Access: how a command on this machine finds the page of the process that owns a database.

The owner writes a file beside the database, ``<database>-page``, that only its own user may
read: where the page is, and the token that opens it. It is the one channel to a living process.
One that its process has left behind counts as none. One that somebody else could have written
or read is not believed: it names where commands are sent to.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import asdict, field, frozen

from meerkat.errors import DecodeError
from meerkat.json_values import parse
from meerkat.store.ownership import is_alive

ACCESS_BYTES_MAX: Final = 4_096
"""Longest such file that is read: it holds one address and one token."""

_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class AccessDistrusted(Exception):
    """Such a file is there and cannot be used; the text says why, and what to do."""


@frozen(kw_only=True)
class Access:
    """Where the page of a process is, and what opens it."""

    url: str
    """Its root, with a slash at the end."""
    token: str = field(repr=False)
    pid: int
    allow_actions: bool

    @property
    def owner(self) -> str:
        """Who serves it, for people."""
        return f"process {self.pid}"


def access_path(database: Path) -> Path:
    """The file that says where the page of a database's owner is."""
    return database.with_name(database.name + "-page")


# --- reading it -------------------------------------------------------------------------


def access_to(database: Path) -> Access | None:
    """How to reach the page of the process that owns a database; None where there is none.

    AccessDistrusted for a file that others could have written or read, or of another form.
    """
    path = access_path(database)
    try:
        text = _read_private(path, database)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AccessDistrusted(f"{path}: {error.strerror}") from error
    try:
        access = _access_in(parse(text))
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        raise AccessDistrusted(
            f"{path} is no file of a page ({error}); delete it, or start its owner again"
        ) from error
    return access if is_alive(access.pid) else None


def _read_private(path: Path, database: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        wrong = _distrust(os.fstat(descriptor), database)
        if wrong is not None:
            raise AccessDistrusted(f"{path} {wrong}: it is not used; delete it if it is not yours")
        return os.read(descriptor, ACCESS_BYTES_MAX)
    finally:
        os.close(descriptor)


def _distrust(found: os.stat_result, database: Path) -> str | None:
    """Why nobody should believe such a file."""
    if not stat.S_ISREG(found.st_mode):
        return "is no ordinary file"
    if found.st_uid not in {os.geteuid(), _uid_of(database)}:
        return "belongs to somebody else"
    if found.st_mode & _OTHERS:
        return "may be read or written by others"
    return None


def _uid_of(database: Path) -> int | None:
    """Who has the database: root looks after those of others."""
    try:
        return database.stat().st_uid
    except OSError:
        return None


def _access_in(document: Any) -> Access:
    return Access(
        url=_page_url(_of_kind(str, document["url"])),
        token=_token(_of_kind(str, document["token"])),
        pid=_of_kind(int, document["pid"]),
        allow_actions=_of_kind(bool, document["allow_actions"]),
    )


def _of_kind(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _token(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError("its token fits no header")
    return text


def _page_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "http" or not parts.hostname or parts.port is None:
        raise ValueError("its address is none of a page")
    return text


# --- writing it -------------------------------------------------------------------------


@contextmanager
def offered(database: Path, access: Access) -> Iterator[None]:
    """While this lasts, the file says so. What an earlier page has left is replaced.

    Whoever calls it owns the database, so nobody else's page is lost by that. OSError where
    the file cannot be written.
    """
    path = access_path(database)
    fresh = path.with_name(f"{path.name}.{access.pid}")
    with suppress(FileNotFoundError):
        fresh.unlink()  # of a process that had this number, and was killed just here
    _write_private(fresh, json.dumps(asdict(access)).encode())
    fresh.rename(path)
    try:
        yield
    finally:
        with suppress(OSError, AccessDistrusted):
            # Another page may have replaced it, or this is a forked child, and it is the parent's.
            if os.getpid() == access.pid and access_to(database) == access:
                path.unlink()


def _write_private(path: Path, text: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, _MODE), "wb") as file:
        file.write(text)
