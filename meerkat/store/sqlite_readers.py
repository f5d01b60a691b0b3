"""Read connections: kept between calls, so that a read waits for nobody.

Readers have a lock of their own, held for a list operation only: never while the disk is
asked, and never together with the writer's.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from meerkat.errors import StoreError
from meerkat.store.at_fork import in_sqlite
from meerkat.store.schema import SCHEMA_VERSION
from meerkat.store.sqlite_file import BINDING_ERRORS, Connect, open_reader, said

T = TypeVar("T")

INPUT: Final = (
    "SELECT input_id, phase, CAST(state AS BLOB), CAST(payload AS BLOB) FROM inputs "
    "WHERE runtime_id = ?"
)
_PAYLOAD: Final = (
    "SELECT input_id, CAST(payload AS BLOB) FROM inputs "
    "WHERE runtime_id = ? AND payload IS NOT NULL"
)
# JSON is read as bytes: text that is not UTF-8 is then the row's fault, not the file's.

_IDLE_MAX: Final = 16
"""Idle connections kept: past this many, one that comes back is closed."""

_INHERITED: Final[list[Any]] = []
"""Connections that a fork has carried over."""


class Readers:
    """The read connections of one database file. Thread-safe.

    The file's schema is looked at once for each connection, when it is opened: the schema
    changes under a writer that opens the file, and never under one that has it open. One
    that was opened on an older schema is used once: the next may find the file migrated.
    """

    def __init__(self, path: Path, connect: Connect) -> None:
        self._path = path
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[Any] = []
        self._generation = 0

    def rows(self, statement: str, *values: object) -> list[Any]:
        """The rows of a query; none when nothing has been stored yet. Raises StoreError."""
        found = self.read(lambda reader: reader.execute(statement, values).fetchall())
        return found or []

    def read(self, look: Callable[[Any], T]) -> T | None:
        """What ``look`` makes of a connection; None when nothing has been stored yet."""
        with in_sqlite:
            return self._read(look)

    def _read(self, look: Callable[[Any], T]) -> T | None:
        with self._lock:
            generation = self._generation
            reader = self._idle.pop() if self._idle else None
        lasts = True
        if reader is None:
            opened = open_reader(self._path, self._connect)
            if opened is None:
                return None
            reader, lasts = opened.connection, opened.version == SCHEMA_VERSION
        try:
            seen = look(reader)
        except BINDING_ERRORS as error:
            _close(reader)
            raise StoreError(f"{self._path}: {said(error)}") from error
        except BaseException:
            _close(reader)
            raise
        with self._lock:
            room = generation == self._generation and len(self._idle) < _IDLE_MAX
            keep = lasts and room
            if keep:
                self._idle.append(reader)
        if not keep:
            _close(reader)
        return seen

    def leave(self) -> None:
        """In a forked child, leave the parent's connections alone: unused and unclosed."""
        self._lock = threading.Lock()
        _INHERITED.extend(self._idle)
        self._idle = []

    def close(self) -> None:
        """Close what is idle now, and each connection in use when its call is over."""
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, []
        with in_sqlite:
            for reader in idle:
                _close(reader)


def session_rows(reader: Any, runtime_id: str) -> tuple[list[Any], bytes | None]:
    """The messages and the snapshot of a session, as of one moment."""
    reader.execute("BEGIN")
    try:
        chunks = reader.execute(
            "SELECT position, count, CAST(body AS BLOB) FROM messages WHERE runtime_id = ? "
            "ORDER BY position",
            (runtime_id,),
        ).fetchall()
        opaque = reader.execute(
            "SELECT body FROM snapshots WHERE runtime_id = ?", (runtime_id,)
        ).fetchone()
    finally:
        reader.execute("END")
    return chunks, None if opaque is None else opaque[0]


def known_input_rows(
    readers: Readers, runtime_id: str, input_ids: list[str], keys: list[str]
) -> list[Any]:
    """The rows of inputs by id or key, each found through its index."""
    ids, named = _filled_up(input_ids), _filled_up(keys)
    parts, values = [], []
    for column, texts in (("input_id", ids), ("idempotency_key", named)):
        if texts:
            parts.append(f"{INPUT} AND {column} IN ({', '.join('?' * len(texts))})")
            values += [runtime_id, *texts]
    return readers.rows(" UNION ALL ".join(parts), *values) if parts else []


def payload_rows(readers: Readers, runtime_id: str, input_ids: list[str]) -> list[Any]:
    """The payloads of inputs by id, of those that have one."""
    if not input_ids:
        return []
    ids = _filled_up(input_ids)
    return readers.rows(
        f"{_PAYLOAD} AND input_id IN ({', '.join('?' * len(ids))})",
        runtime_id,
        *ids,
    )


def _filled_up(texts: list[str]) -> list[str]:
    """Repeat the last one up to a power of two: few texts of statements to prepare."""
    wanted = 1 << (len(texts) - 1).bit_length() if texts else 0
    return [*texts, *texts[-1:] * (wanted - len(texts))]


def terminal_input_rows(reader: Any, runtime_id: str, after: str | None, limit: int) -> list[Any]:
    """Finished inputs behind one: in the order of the index that lists a runtime's inputs."""
    place = (None, 0)
    if after is not None:
        place = reader.execute(
            "SELECT idempotency_key, rowid FROM inputs WHERE runtime_id = ? AND input_id = ?",
            (runtime_id, after),
        ).fetchone()
        if place is None:
            return []
    key, rowid = place
    rows: list[Any] = []
    if key is None:
        rows = reader.execute(
            f"{INPUT} AND idempotency_key IS NULL AND rowid > ? AND outcome IS NOT NULL "
            "ORDER BY rowid LIMIT ?",
            (runtime_id, rowid, limit),
        ).fetchall()
    if len(rows) < limit:
        rows += reader.execute(
            f"{INPUT} AND idempotency_key > ? AND outcome IS NOT NULL "
            "ORDER BY idempotency_key LIMIT ?",
            (runtime_id, key or "", limit - len(rows)),
        ).fetchall()
    return rows


def operation_rows(
    reader: Any, runtime_id: str, epoch_id: str, limit: int
) -> tuple[list[Any], list[Any]]:
    """An epoch's ended operations, the last first, and those begun, as of one moment.

    Read apart, one that ends in between would be in both or in neither.
    """
    reader.execute("BEGIN")
    try:
        ended = reader.execute(
            "SELECT seq, CAST(record AS BLOB) FROM operations "
            "WHERE runtime_id = ? AND epoch_id = ? ORDER BY seq DESC LIMIT ?",
            (runtime_id, epoch_id, limit),
        ).fetchall()
        begun = reader.execute(
            "SELECT CAST(record AS BLOB) FROM begun_operations "
            "WHERE runtime_id = ? AND epoch_id = ?",
            (runtime_id, epoch_id),
        ).fetchall()
    finally:
        reader.execute("END")
    return ended, begun


def _close(connection: Any) -> None:
    with suppress(sqlite3.Error):
        connection.close()
