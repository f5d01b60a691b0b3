"""The SQLite store: one writer, many readers, one file.

Writes go through one connection under a lock; the batches of many runtimes share a
transaction. Reads have connections of their own and wait for nobody (WAL).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from meerkat.completion_feed import FEED_MAX
from meerkat.conversation import SessionSnapshot
from meerkat.errors import CommitUnknown, StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.limits import Retention
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.store import at_fork
from meerkat.store.encoding import Encoded, encode
from meerkat.store.erasing import IN_SQLITE, erased
from meerkat.store.ownership import OwnerLock
from meerkat.store.protocol import Batch, InputRow, Page, Pruned
from meerkat.store.pruning import look
from meerkat.store.retention import Asked
from meerkat.store.rows import input_columns, input_of, messages_of, ops_snapshot_of, runtime_id_of
from meerkat.store.sql_reads import Listings, ReadStatements, SqlReads
from meerkat.store.sqlite_file import (
    BINDING_ERRORS,
    Connect,
    Synchronous,
    create_private,
    open_writer,
    said,
)
from meerkat.store.sqlite_listing import (
    RUNTIME,
    abandoned_input_rows,
    active_input_rows,
    arrived_input_rows,
    latest_input_rows,
    newest_input_rows,
    summaries,
)
from meerkat.store.sqlite_prune import SqliteFinder, write
from meerkat.store.sqlite_readers import (
    INPUT,
    Readers,
    known_input_rows,
    operation_rows,
    payload_rows,
    session_rows,
    terminal_input_rows,
)
from meerkat.store.sqlite_tally import tally_of
from meerkat.store.sqlite_write import THE_BATCHS_FAULT, Refused, offer_rows, write_group, write_one
from meerkat.store.tally import NOTHING, Tally

T = TypeVar("T")

_RUNTIME: Final = f"SELECT {RUNTIME} FROM runtimes"
_RECEIPT: Final = (
    "SELECT run_id, sequence, boundary, CAST(contributing_input_ids AS BLOB), "
    "conversation_digest, message_count FROM receipts WHERE runtime_id = ?"
)
# JSON is read as bytes: text that is not UTF-8 is then the row's fault, not the file's.

_READS: Final = ReadStatements(
    runtime=f"{_RUNTIME} WHERE runtime_id = ?",
    runtimes=f"{_RUNTIME} WHERE runtime_id > ? ORDER BY runtime_id LIMIT ?",
    # IN, and not OR: each part is found through its partial index, whatever else is known.
    with_work=(
        "SELECT runtime_id FROM runtimes WHERE registered AND runtime_id IN ("
        "SELECT DISTINCT runtime_id FROM inputs WHERE outcome IS NULL "
        "UNION ALL SELECT runtime_id FROM runtimes WHERE has_news <> 0) ORDER BY runtime_id"
    ),
    active_inputs=(
        f"{INPUT} AND outcome IS NULL ORDER BY admission_sequence IS NULL, "
        "admission_sequence < 0, admission_sequence, rowid"
    ),
    input=f"{INPUT} AND input_id = ?",
    input_by_key=f"{INPUT} AND idempotency_key = ?",
    receipt=f"{_RECEIPT} AND run_id = ? AND sequence = ?",
    receipts=(
        f"{_RECEIPT} AND (run_id, sequence < 0, sequence) > (?, ?, ?) "
        "ORDER BY run_id, sequence < 0, sequence LIMIT ?"
    ),
    operations=(
        "SELECT epoch_id, seq, CAST(record AS BLOB) FROM operations WHERE runtime_id = ? "
        "AND (epoch_id, seq < 0, seq) > (?, ?, ?) ORDER BY epoch_id, seq < 0, seq LIMIT ?"
    ),
    before_all=("", False, 0),
)

_LISTINGS: Final = Listings(
    summaries=summaries,
    active_inputs=active_input_rows,
    terminal_inputs=terminal_input_rows,
    abandoned_inputs=abandoned_input_rows,
    arrived_inputs=arrived_input_rows,
)


_INHERITED: Final[list[Any]] = []
"""Connections that a fork has carried over: never used, never closed."""


class SqliteStore(SqlReads):
    """A RuntimeStore in one SQLite file. Thread-safe.

    The file is created on the first write, for its owner alone. ``synchronous`` is FULL or
    EXTRA; ``connect`` puts another SQLite binding in the place of ``sqlite3.connect``.
    Everything that goes wrong is a StoreError that names the file.
    """

    _reads = _READS
    _listings = _LISTINGS

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous | str = Synchronous.FULL,
        connect: Connect = sqlite3.connect,
    ) -> None:
        if "\0" in str(path):
            raise StoreError(f"{str(path)!r} is not the name of a file")
        self.path = Path(path).absolute()
        self._synchronous = Synchronous(synchronous)
        self._connect = connect
        self._lock = threading.RLock()
        self._owner = OwnerLock(self.path)
        self._acquired = False
        self._writer: Any = None
        self._readers = Readers(self.path, connect)
        at_fork.in_child(self, SqliteStore._leave)

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    # --- opening and closing ------------------------------------------------------------

    def acquire(self) -> None:
        """Become the one owner and open the file; StoreError names the present owner."""
        with self._lock, at_fork.in_sqlite:
            if self._acquired:
                raise StoreError(f"{self.path} is in use by another control plane of this process")
            self._open_writer()
            self._acquired = True

    def close(self) -> None:
        """Close every connection and give the ownership back. Idempotent."""
        reached(FailPoint.STORE_CLOSING)
        self._readers.close()
        with self._lock, at_fork.in_sqlite:
            if self._owner.held:
                self._drop_writer()
            self._owner.release()
            self._acquired = False

    def _leave(self) -> None:
        """In a forked child: the connections, and whoever holds the lock, are the parent's.

        SQLite forbids to use them here, and closing them would meddle with the parent's.
        """
        self._lock = threading.RLock()
        self._acquired = False
        self._readers.leave()
        if self._writer is not None:
            _INHERITED.append(self._writer)
            self._writer = None

    def _open_writer(self) -> Any:
        if self._writer is None:
            create_private(self.path)
            reached(FailPoint.FILE_CREATED)
            owned_before = self._owner.held
            self._owner.acquire()
            try:
                self._writer = open_writer(self.path, self._connect, self._synchronous)
                reached(FailPoint.STORE_OPENED)
            except BaseException:
                if not owned_before:
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
        answers: list[StoreError | None] = [None] * len(batches)
        good: list[tuple[int, Encoded]] = []
        for place, batch in enumerate(batches):
            try:
                good.append((place, encode(batch)))
            except (ValueError, TypeError) as error:
                runtime_id = batch.runtime.runtime_id
                answers[place] = StoreError(f"{self.path}: runtime {runtime_id}: {error}")
        if good:
            refusals = self._commit_encoded([batch for _, batch in good])
            for (place, _), refused in zip(good, refusals, strict=True):
                answers[place] = refused
        return answers

    def _commit_encoded(self, batches: Sequence[Encoded]) -> list[StoreError | None]:
        if len({batch.runtime_id for batch in batches}) == len(batches):
            with suppress(Refused, *THE_BATCHS_FAULT):
                self._transact(lambda writer: write_group(writer, batches))
                return [None] * len(batches)
        answers: list[StoreError | None] = self._transact(
            lambda writer: [write_one(writer, batch, str(self.path)) for batch in batches]
        )
        return answers

    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        """Insert inputs as accepted; one that is stored already stays as it is."""
        if any(row.state.phase is not InputPhase.ACCEPTED for row in rows):
            raise StoreError("only accepted inputs can be offered")
        try:
            columns = [input_columns(runtime_id, row) for row in rows]
            self._transact(lambda writer: offer_rows(writer, runtime_id, columns))
        except Refused:
            raise StoreError(f"runtime {runtime_id} is not stored") from None
        except (*THE_BATCHS_FAULT, TypeError) as error:
            raise StoreError(f"{self.path}: runtime {runtime_id}: {error}") from error

    def _transact(self, write: Callable[[Any], Any]) -> Any:
        """Run ``write`` in a transaction: all of it is durable on return, or none of it.

        Lets through what one batch is to blame for.
        """
        with self._lock, at_fork.in_sqlite:
            writer = self._open_writer()
            try:
                writer.execute("BEGIN IMMEDIATE")
                reached(FailPoint.TRANSACTION_BEGUN)
                written = write(writer)
                reached(FailPoint.COMMIT_DUE)
            except UnicodeDecodeError as error:  # of the binding, and so no batch's fault
                self._roll_back(writer)
                raise StoreError(f"{self.path}: {said(error)}") from error
            except THE_BATCHS_FAULT:
                self._roll_back(writer)
                raise
            except sqlite3.Error as error:
                self._roll_back(writer)
                raise StoreError(f"{self.path}: {said(error)}") from error
            except BaseException:
                self._roll_back(writer)
                raise
            try:
                writer.execute("COMMIT")
            except BaseException as error:
                # What a failed COMMIT left is for the next connection to find out.
                self._drop_writer()
                if isinstance(error, BINDING_ERRORS):
                    raise CommitUnknown(f"{self.path}: {said(error)}") from error
                raise
            reached(FailPoint.COMMIT_DONE)
            return written

    def _roll_back(self, writer: Any) -> None:
        try:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
        except BINDING_ERRORS:
            self._drop_writer()

    # --- reading ------------------------------------------------------------------------

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return self._readers.rows(statement, *values)

    def _look(self, look: Callable[[Any], T]) -> T | None:
        return self._readers.read(look)

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        """The inputs that have one of these ids or keys, finished or not."""
        named = [str(each) for each in input_ids], [each.value for each in keys]
        return [input_of(row) for row in known_input_rows(self._readers, runtime_id.value, *named)]

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        """What was committed last of the session, or None."""
        stored = self._readers.read(lambda reader: session_rows(reader, runtime_id.value))
        chunks, opaque = stored or ([], None)
        if not chunks and opaque is None:
            return None
        messages, count = messages_of(runtime_id.value, chunks)
        return SessionSnapshot(messages=messages, message_count=count, opaque=opaque)

    def load_ops_snapshot(self, runtime_id: LogicalRuntimeId) -> OpsSnapshot | None:
        """The present epoch's last ended operations, FEED_MAX at most, and its live ones."""
        runtime = self.load_runtime(runtime_id)
        if runtime is None or runtime.epoch_id is None:
            return None
        epoch = (runtime_id.value, str(runtime.epoch_id))
        stored = self._readers.read(lambda reader: operation_rows(reader, *epoch, FEED_MAX))
        rows, begun = stored or ([], [])
        return ops_snapshot_of(runtime, rows[::-1], begun)

    def page_newest_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs, those first that came last; it looks at millions a second."""
        return self._inputs(newest_input_rows, runtime_id, after, limit)

    def load_payloads(
        self, runtime_id: LogicalRuntimeId, input_ids: Sequence[InputId]
    ) -> dict[InputId, bytes]:
        """What these inputs say, of those whose payload is kept."""
        named = [str(each) for each in input_ids]
        rows = payload_rows(self._readers, runtime_id.value, named)
        return {InputId.parse(input_id): payload for input_id, payload in rows}

    def tally(self, runtime_id: LogicalRuntimeId) -> Tally:
        """What is stored of a runtime, counted, at some hundred thousand inputs a second."""
        counted = self._readers.read(lambda reader: tally_of(reader, runtime_id.value))
        return counted or NOTHING

    def latest_inputs(
        self, runtime_id: LogicalRuntimeId | None = None, *, since: datetime | None, limit: int
    ) -> list[tuple[LogicalRuntimeId, InputState]]:
        """The inputs of a runtime, or of all, that something happened to last; the last first.

        Those whose history was let go are left out. It looks at every input that is asked
        about, at some hundred thousand a second.
        """
        name = None if runtime_id is None else runtime_id.value
        rows = self._readers.read(lambda reader: latest_input_rows(reader, name, since, limit))
        return [(runtime_id_of(name), input_of(row)) for name, *row in rows or []]

    def vacuum(self) -> None:
        """Write the file anew, as small as what is in it. It takes as much room again meanwhile.

        It holds up every commit, for seconds a gigabyte.
        """
        with self._lock, at_fork.in_sqlite:
            writer = self._open_writer()
            try:
                writer.execute("VACUUM")
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except BINDING_ERRORS as error:
                raise StoreError(f"{self.path}: {said(error)}") from error

    def erase(self, runtime_id: LogicalRuntimeId, *, limit: int = 1000) -> bool:
        """Remove a runtime with all that belongs to it, so many rows in one call; is it gone?"""
        gone: bool = self._transact(
            lambda writer: erased(writer, IN_SQLITE, runtime_id.value, limit)
        )
        return gone

    # --- retention ----------------------------------------------------------------------

    def prune(
        self,
        keep: Retention,
        now: datetime,
        *,
        after: str | None = None,
        limit: int = 256,
        spared: frozenset[RunId] = frozenset(),
    ) -> Pruned:
        """One step of cutting down what is past ``keep``."""
        with self._lock, at_fork.in_sqlite:
            self._open_writer()  # which migrates an older file
        asked = Asked(keep=keep, now=now, limit=limit, spared=spared)
        step = self._readers.read(lambda reader: look(SqliteFinder(reader), asked, after))
        if step is None:
            return Pruned()
        if not step.writes:
            return Pruned(next=step.next)
        reached(FailPoint.PRUNE_FOUND)
        try:
            pruned: Pruned = self._transact(lambda writer: write(writer, step))
        except (Refused, *THE_BATCHS_FAULT) as error:
            raise StoreError(f"{self.path}: {error}") from error
        return pruned
