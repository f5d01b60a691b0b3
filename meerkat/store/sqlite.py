"""The SQLite store: one writer, many readers, one file.

Writes go through one connection under a lock; the batches of many runtimes share a
transaction. Reads have connections of their own and wait for nobody (WAL).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from meerkat.completion_feed import FEED_MAX
from meerkat.conversation import SessionSnapshot
from meerkat.errors import CommitUnknown, StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.limits import JSON_INT_MAX, Retention
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import at_fork
from meerkat.store.ownership import OwnerLock
from meerkat.store.protocol import (
    EVERY_STATE,
    Batch,
    InputRow,
    Order,
    Page,
    Pruned,
    RuntimeRow,
    RuntimeSummary,
)
from meerkat.store.retention import Asked
from meerkat.store.rows import (
    input_columns,
    input_of,
    messages_of,
    ops_snapshot_of,
    receipt_of,
    runtime_id_of,
    runtime_of,
    signed,
)
from meerkat.store.sqlite_file import (
    BINDING_ERRORS,
    Connect,
    Synchronous,
    create_private,
    open_writer,
    said,
)
from meerkat.store.sqlite_listing import RUNTIME, active_input_rows, summaries
from meerkat.store.sqlite_prune import look, write
from meerkat.store.sqlite_readers import (
    INPUT,
    Readers,
    known_input_rows,
    operation_rows,
    session_rows,
    terminal_input_rows,
)
from meerkat.store.sqlite_write import (
    THE_BATCHS_FAULT,
    Encoded,
    Refused,
    encode,
    offer_rows,
    write_group,
    write_one,
)

_RUNTIME: Final = f"SELECT {RUNTIME} FROM runtimes"
_WITH_WORK: Final = (
    "SELECT runtime_id FROM runtimes WHERE registered AND runtime_id IN ("
    "SELECT DISTINCT runtime_id FROM inputs WHERE outcome IS NULL "
    "UNION ALL SELECT runtime_id FROM runtimes WHERE has_news <> 0) ORDER BY runtime_id"
)
# IN, and not OR: each part is found through its partial index, whatever else is known.
_RECEIPT: Final = (
    "SELECT run_id, sequence, boundary, CAST(contributing_input_ids AS BLOB), "
    "conversation_digest, message_count FROM receipts WHERE runtime_id = ?"
)
# JSON is read as bytes: text that is not UTF-8 is then the row's fault, not the file's.


_INHERITED: Final[list[Any]] = []
"""Connections that a fork has carried over: never used, never closed."""


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
                raise StoreError(f"{self.path}: {error}") from error
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

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        """The runtime's row, or None."""
        rows = self._readers.rows(f"{_RUNTIME} WHERE runtime_id = ?", runtime_id.value)
        return runtime_of(rows[0]) if rows else None

    def list_runtimes(self, *, after: str | None = None, limit: int = 1000) -> Page[RuntimeRow]:
        """The runtimes by id, a page at a time."""
        statement = f"{_RUNTIME} WHERE runtime_id > ? ORDER BY runtime_id LIMIT ?"
        rows = self._readers.rows(statement, after or "", limit + 1)
        items = tuple(runtime_of(row) for row in rows[:limit])
        return Page(items, rows[limit - 1][0] if len(rows) > limit else None)

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """The registered runtimes with non-terminal inputs or news, by id."""
        return [runtime_id_of(text) for (text,) in self._readers.rows(_WITH_WORK)]

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The non-terminal inputs in order of admission, those without a number last."""
        statement = (
            f"{INPUT} AND outcome IS NULL ORDER BY admission_sequence IS NULL, "
            "admission_sequence < 0, admission_sequence, rowid"
        )
        return [input_of(row) for row in self._readers.rows(statement, runtime_id.value)]

    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        """One input, finished or not."""
        statement = f"{INPUT} AND input_id = ?"
        rows = self._readers.rows(statement, runtime_id.value, str(input_id))
        return input_of(rows[0]) if rows else None

    def load_input_by_key(
        self, runtime_id: LogicalRuntimeId, key: IdempotencyKey
    ) -> InputState | None:
        """The one input that claimed an idempotency key."""
        statement = f"{INPUT} AND idempotency_key = ?"
        rows = self._readers.rows(statement, runtime_id.value, key.value)
        return input_of(rows[0]) if rows else None

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        """The inputs that have one of these ids or keys, finished or not."""
        named = [str(each) for each in input_ids], [each.value for each in keys]
        return [input_of(row) for row in known_input_rows(self._readers, runtime_id.value, *named)]

    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        if not 0 <= sequence <= JSON_INT_MAX:
            return None
        statement = f"{_RECEIPT} AND run_id = ? AND sequence = ?"
        rows = self._readers.rows(statement, runtime_id.value, str(run_id), signed(sequence))
        return receipt_of(rows[0]) if rows else None

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

    def page_summaries(
        self,
        order: Order = Order.ID,
        *,
        states: Collection[RuntimeState] = EVERY_STATE,
        after: str | None = None,
        limit: int = 1000,
    ) -> Page[RuntimeSummary]:
        """The runtimes at a glance, a page at a time."""
        page = self._readers.read(lambda reader: summaries(reader, order, states, after, limit))
        return page or Page((), None)

    def page_active_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The inputs that have not ended, in order of admission, a page at a time."""
        rows = self._readers.read(
            lambda reader: active_input_rows(reader, runtime_id.value, after, limit + 1)
        )
        return _page_of_inputs(rows or [], limit)

    def page_terminal_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs: those without a key as they came, then the others by key."""
        rows = self._readers.read(
            lambda reader: terminal_input_rows(reader, runtime_id.value, after, limit + 1)
        )
        return _page_of_inputs(rows or [], limit)

    def page_receipts(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[RunBoundaryReceipt]:
        """Receipts, by run id and sequence; ``after`` is ``run_id/sequence``."""
        run_id, _, number = (after or "/0").partition("/")
        statement = (
            f"{_RECEIPT} AND (run_id, sequence < 0, sequence) > (?, ?, ?) "
            "ORDER BY run_id, sequence < 0, sequence LIMIT ?"
        )
        last = signed(int(number))
        place = (run_id, last < 0, last)
        rows = self._readers.rows(statement, runtime_id.value, *place, limit + 1)
        items = tuple(receipt_of(row) for row in rows[:limit])
        more = len(rows) > limit
        return Page(items, f"{items[-1].run_id}/{items[-1].sequence:020d}" if more else None)

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
        step = self._readers.read(lambda reader: look(reader, asked, after))
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


def _page_of_inputs(rows: list[Any], limit: int) -> Page[InputState]:
    """A page of rows that are read up to one past it."""
    items = tuple(input_of(row) for row in rows[:limit])
    return Page(items, rows[limit - 1][0] if len(rows) > limit else None)
