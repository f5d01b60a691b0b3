"""The SQLite store: one writer, many readers, one file.

Writes go through one connection under a lock; the batches of many runtimes share a
transaction. Reads have connections of their own and wait for nobody (WAL).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from meerkat.conversation import SessionSnapshot
from meerkat.errors import CommitUnknown, StoreError
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store.ownership import OwnerLock
from meerkat.store.protocol import Batch, InputRow, Page, RuntimeRow
from meerkat.store.rows import input_columns, input_of, receipt_of, runtime_of
from meerkat.store.sqlite_file import (
    Connect,
    Synchronous,
    create_private,
    open_reader,
    open_writer,
)
from meerkat.store.sqlite_write import Refused, offer_rows, write_group, write_one

_ACTIVE: Final = (
    "phase IN ('accepted', 'queued', 'staged', 'applied', 'applied_pending_consumption')"
)
_INPUT: Final = "SELECT input_id, phase, state, payload FROM inputs"
_RECEIPT: Final = (
    "SELECT run_id, sequence, boundary, contributing_input_ids, conversation_digest, "
    "message_count FROM receipts"
)


class SqliteStore:
    """A RuntimeStore in one SQLite file. Thread-safe.

    The file is created on the first write, for its owner alone. ``synchronous`` is FULL or
    EXTRA; ``connect`` puts another SQLite binding in the place of ``sqlite3.connect``.
    Everything that goes wrong is a StoreError that names the file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous | str = Synchronous.FULL,
        connect: Connect = sqlite3.connect,
    ) -> None:
        self.path = Path(path)
        self._synchronous = Synchronous(synchronous) if isinstance(synchronous, str) else synchronous
        self._connect = connect
        self._lock = threading.RLock()
        self._owner = OwnerLock(self.path)
        self._writer: Any = None
        self._readers: list[Any] = []

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    # --- opening and closing ------------------------------------------------------------

    def acquire(self) -> None:
        """Become the one owner and open the file; StoreError names the present owner."""
        with self._lock:
            if self._owner.held:
                raise StoreError(f"{self.path} is in use by another control plane of this process")
            self._open_writer()

    def close(self) -> None:
        """Close every connection and give the ownership back. Idempotent."""
        with self._lock:
            readers, self._readers = self._readers, []
            for connection in readers:
                connection.close()
            self._drop_writer()
            self._owner.release()

    def _open_writer(self) -> Any:
        if self._writer is None:
            create_private(self.path)
            self._owner.acquire()
            try:
                self._writer = open_writer(self.path, self._connect, self._synchronous)
            except BaseException:
                self._owner.release()
                raise
        return self._writer

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(sqlite3.Error):
                writer.close()

    # --- writing ------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Commit one batch: durable on return."""
        (refused,) = self.commit_many([batch])
        if refused is not None:
            raise refused

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        """Commit batches in one transaction; when one is bad, each under its savepoint."""
        runtimes = {batch.runtime.runtime_id for batch in batches}
        if len(runtimes) == len(batches):
            with suppress(Refused, sqlite3.IntegrityError):
                self._transact(lambda writer: write_group(writer, batches))
                return [None] * len(batches)
        return self._transact(
            lambda writer: [write_one(writer, batch, str(self.path)) for batch in batches]
        )

    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        """Insert inputs as accepted; one that is stored already stays as it is."""
        if any(row.state.phase is not InputPhase.ACCEPTED for row in rows):
            raise StoreError("only accepted inputs can be offered")
        columns = [input_columns(runtime_id, row) for row in rows]
        try:
            self._transact(lambda writer: offer_rows(writer, runtime_id, columns))
        except Refused:
            raise StoreError(f"runtime {runtime_id} is not stored") from None

    def _transact(self, write: Callable[[Any], Any]) -> Any:
        """Run ``write`` in a transaction: all of it is durable on return, or none of it."""
        with self._lock:
            writer = self._open_writer()
            try:
                writer.execute("BEGIN IMMEDIATE")
                written = write(writer)
            except (Refused, sqlite3.IntegrityError):
                self._roll_back(writer)
                raise
            except sqlite3.Error as error:
                self._roll_back(writer)
                raise StoreError(f"{self.path}: {error}") from error
            except BaseException:
                self._roll_back(writer)
                raise
            try:
                writer.execute("COMMIT")
            except BaseException as error:
                # What a failed COMMIT left is for the next connection to find out.
                self._drop_writer()
                if isinstance(error, sqlite3.Error):
                    raise CommitUnknown(f"{self.path}: {error}") from error
                raise
            return written

    def _roll_back(self, writer: Any) -> None:
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        except sqlite3.Error:
            self._drop_writer()

    # --- reading ------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        """A read connection for the time of one call; None when there is no file yet."""
        with self._lock:
            connection = self._readers.pop() if self._readers else None
        if connection is None:
            if not self.path.exists():
                yield None
                return
            connection = open_reader(self.path, self._connect)
        try:
            yield connection
        except sqlite3.Error as error:
            connection.close()
            raise StoreError(f"{self.path}: {error}") from error
        with self._lock:
            self._readers.append(connection)

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._reading() as connection:
            if connection is None or not _has_tables(connection):
                return []
            rows: list[Any] = connection.execute(statement, values).fetchall()
            return rows

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        """The runtime's row, or None."""
        rows = self._rows("SELECT * FROM runtimes WHERE runtime_id = ?", runtime_id.value)
        return runtime_of(rows[0]) if rows else None

    def list_runtimes(self, *, after: str | None = None, limit: int = 1000) -> Page[RuntimeRow]:
        """The runtimes by id, a page at a time."""
        statement = "SELECT * FROM runtimes WHERE runtime_id > ? ORDER BY runtime_id LIMIT ?"
        rows = self._rows(statement, after or "", limit + 1)
        items = tuple(runtime_of(row) for row in rows[:limit])
        return Page(items, rows[limit - 1][0] if len(rows) > limit else None)

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """The registered runtimes that have non-terminal inputs."""
        statement = (
            f"SELECT runtime_id FROM runtimes WHERE registered AND EXISTS "  # noqa: S608
            f"(SELECT 1 FROM inputs WHERE inputs.runtime_id = runtimes.runtime_id AND {_ACTIVE})"
        )
        return [LogicalRuntimeId(text) for (text,) in self._rows(statement)]

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The non-terminal inputs in order of admission, those without a number last."""
        statement = (
            f"{_INPUT} WHERE runtime_id = ? AND {_ACTIVE} "
            "ORDER BY admission_sequence IS NULL, admission_sequence, rowid"
        )
        return [input_of(row) for row in self._rows(statement, runtime_id.value)]

    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        """One input, finished or not."""
        statement = f"{_INPUT} WHERE runtime_id = ? AND input_id = ?"
        rows = self._rows(statement, runtime_id.value, str(input_id))
        return input_of(rows[0]) if rows else None

    def load_input_by_key(
        self, runtime_id: LogicalRuntimeId, key: IdempotencyKey
    ) -> InputState | None:
        """The one input that claimed an idempotency key."""
        statement = f"{_INPUT} WHERE runtime_id = ? AND idempotency_key = ?"
        rows = self._rows(statement, runtime_id.value, key.value)
        return input_of(rows[0]) if rows else None

    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        stored = sequence if sequence < 2**63 else sequence - 2**64
        statement = f"{_RECEIPT} WHERE runtime_id = ? AND run_id = ? AND sequence = ?"
        rows = self._rows(statement, runtime_id.value, str(run_id), stored)
        return receipt_of(rows[0]) if rows else None

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        """What was committed last of the session, or None."""
        with self._reading() as connection:
            if connection is None or not _has_tables(connection):
                return None
            return _read_session(connection, runtime_id.value)

    def page_terminal_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs, by id."""
        statement = (
            f"{_INPUT} WHERE runtime_id = ? AND input_id > ? AND NOT {_ACTIVE} "
            "ORDER BY input_id LIMIT ?"
        )
        rows = self._rows(statement, runtime_id.value, after or "", limit + 1)
        items = tuple(input_of(row) for row in rows[:limit])
        return Page(items, rows[limit - 1][0] if len(rows) > limit else None)

    def page_receipts(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[RunBoundaryReceipt]:
        """Receipts, by run id and sequence; ``after`` is ``run_id/sequence``."""
        run_id, _, number = (after or "/0").partition("/")
        statement = (
            f"{_RECEIPT} WHERE runtime_id = ? AND (run_id, sequence < 0, sequence) > (?, ?, ?) "
            "ORDER BY run_id, sequence < 0, sequence LIMIT ?"
        )
        last = int(number)
        place = (run_id, last >= 2**63, last if last < 2**63 else last - 2**64)
        rows = self._rows(statement, runtime_id.value, *place, limit + 1)
        items = tuple(receipt_of(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, f"{items[-1].run_id}/{items[-1].sequence:020d}" if more else None)


def _has_tables(connection: Any) -> bool:
    """Has the file been migrated? An empty one is an empty store."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version)


def _read_session(connection: Any, runtime_id: str) -> SessionSnapshot | None:
    """Read messages and snapshot as of one moment."""
    connection.execute("BEGIN")
    try:
        chunks = connection.execute(
            "SELECT count, body FROM messages WHERE runtime_id = ? ORDER BY position",
            (runtime_id,),
        ).fetchall()
        opaque = connection.execute(
            "SELECT body FROM snapshots WHERE runtime_id = ?", (runtime_id,)
        ).fetchone()
    finally:
        connection.execute("COMMIT")
    if not chunks and opaque is None:
        return None
    body = ",".join(body[1:-1] for _, body in chunks)
    return SessionSnapshot(
        messages=f"[{body}]".encode(),
        message_count=sum(count for count, _ in chunks),
        opaque=None if opaque is None else opaque[0],
    )
