"""The PostgreSQL store: one session that writes, a pool of them that read, one schema.

The batches of many runtimes share a transaction, and a statement a table. It needs psycopg:
``pip install 'meerkat-runtime[postgres]'``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import psycopg

from meerkat.completion_feed import FEED_MAX
from meerkat.conversation import SessionSnapshot
from meerkat.errors import StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.limits import Retention
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.store import at_fork
from meerkat.store.erasing import IN_POSTGRES, erased
from meerkat.store.postgres_listing import (
    abandoned_input_rows,
    active_input_rows,
    arrived_input_rows,
    summaries,
    terminal_input_rows,
)
from meerkat.store.postgres_owning import own_alone, own_with_others
from meerkat.store.postgres_prune import PostgresFinder, write
from meerkat.store.postgres_readers import Readers
from meerkat.store.postgres_session import Address, PostgresTimeouts
from meerkat.store.postgres_sharing import SharedCalls
from meerkat.store.postgres_statements import KNOWN_INPUTS, OPERATIONS, PAYLOADS, READS, SESSION
from meerkat.store.postgres_write import (
    THE_BATCHS_FAULT,
    Group,
    NotTaken,
    Prepared,
    input_rows,
    offered,
    prepare,
)
from meerkat.store.postgres_writer import Writer
from meerkat.store.protocol import Batch, InputRow, Pruned
from meerkat.store.pruning import look
from meerkat.store.retention import Asked
from meerkat.store.rows import input_columns, input_of, messages_of, ops_snapshot_of
from meerkat.store.sharing import Sharing
from meerkat.store.sql_reads import Listings

_LISTINGS: Final = Listings(
    summaries=summaries,
    active_inputs=active_input_rows,
    terminal_inputs=terminal_input_rows,
    abandoned_inputs=abandoned_input_rows,
    arrived_inputs=arrived_input_rows,
)

_INHERITED: Final[list[Any]] = []
"""Sessions that a fork has carried over: never used, never closed."""

Answers = list[StoreError | None]

T = TypeVar("T")


class PostgresStore(SharedCalls):
    """A RuntimeStore in one schema of a PostgreSQL database. Thread-safe.

    ``url`` is what libpq takes; the database has to be there, its encoding UTF8. The schema
    and its tables are made on the first write. A server that restarts is waited for; every
    call ends within the times of ``timeouts``. Everything that goes wrong is a StoreError that
    names host and database, and never the password.
    """

    _reads = READS
    _listings = _LISTINGS

    def __init__(
        self,
        url: str,
        *,
        schema: str = "meerkat",
        timeouts: PostgresTimeouts = PostgresTimeouts(),  # noqa: B008 - frozen
        sharing: Sharing | None = None,
    ) -> None:
        self._address = Address(url, schema, timeouts)
        self._sharing = sharing
        self._start()
        at_fork.in_child(self, PostgresStore._leave)

    def __repr__(self) -> str:
        return f"PostgresStore({self._address.name!r}, schema={self._address.schema!r})"

    def _start(self) -> None:
        self._writer = Writer(self._address, own_with_others if self._sharing else own_alone)
        self._readers = Readers(self._address)
        self._start_sharing()

    def _leave(self) -> None:
        """In a forked child: the sessions are the parent's, and so is whoever holds the locks."""
        self._address = self._address.another()
        _INHERITED.append((self._writer, self._readers, self._lease, self._offers, self._hints))
        self._start()

    # --- opening and closing ------------------------------------------------------------

    def acquire(self) -> None:
        """Become the one owner, or one of those that share it.

        StoreError names who is in the way, or says why there is no session.
        """
        self._writer.acquire()
        if self._lease is not None:
            try:
                self._lease.join()
            except BaseException:
                self._writer.disown()
                raise

    def close(self) -> None:
        """Close every session, which gives the ownership back. Idempotent."""
        reached(FailPoint.STORE_CLOSING)
        self._readers.close()
        self._writer.close()
        self._stop_sharing()

    # --- writing ------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Commit one batch: durable on return."""
        (refused,) = self.commit_many([batch])
        if refused is not None:
            raise refused

    def commit_many(self, batches: Sequence[Batch]) -> Answers:
        """Commit batches in one transaction; when one is bad, again without it.

        A runtime's second batch begins another transaction.
        """
        answers: Answers = [None] * len(batches)
        good: list[tuple[int, Prepared]] = []
        for place, batch in enumerate(batches):
            try:
                good.append((place, prepare(batch)))
            except (ValueError, TypeError) as error:
                answers[place] = self._blamed(batch.runtime.runtime_id, error)
        groups = list(_groups(good))
        for number, group in enumerate(groups):
            try:
                told = self._commit_group([batch for _, batch in group])
            except StoreError as error:
                if len(groups) == 1:
                    raise
                for later in groups[number:]:
                    for place, _ in later:
                        answers[place] = error
                break
            for (place, _), answer in zip(group, told, strict=True):
                answers[place] = answer
        return answers

    def _blamed(self, runtime_id: LogicalRuntimeId, error: Exception) -> StoreError:
        return self._address.says(f"runtime {runtime_id}: {self._address.said(error)}")

    def _commit_group(self, batches: Sequence[Prepared]) -> Answers:
        """Commit batches of different runtimes; the answers in their order."""
        refused: dict[str, StoreError] = {}
        rest = list(batches)
        while rest:
            try:
                self._write(rest)
            except NotTaken as found:
                refused |= found.refused
                rest = [each for each in rest if each.name not in refused]
            except THE_BATCHS_FAULT as error:
                if len(rest) == 1:
                    refused[rest[0].name] = self._blamed(rest[0].encoded.runtime_id, error)
                else:
                    refused |= self._halved(rest)
                rest = []
            else:
                rest = []
        return [refused.get(each.name) for each in batches]

    def _halved(self, batches: Sequence[Prepared]) -> dict[str, StoreError]:
        """Commit a group that one is to blame for in two; what did not land, and why."""
        refused: dict[str, StoreError] = {}
        middle = len(batches) // 2
        for half in (batches[:middle], batches[middle:]):
            try:
                answers = self._commit_group(half)
            except StoreError as error:
                answers = [error] * len(half)
            told = zip(half, answers, strict=True)
            refused |= {each.name: answer for each, answer in told if answer is not None}
        return refused

    def _write(self, batches: Sequence[Prepared]) -> None:
        names = [each.name for each in batches]
        try:
            self._writer.transact(
                lambda writer: Group(writer, batches, self._address.name, self._me).write(), names
            )
        except THE_BATCHS_FAULT:
            raise
        except psycopg.Error as error:
            raise self._address.says(self._address.said(error)) from error

    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        """Insert inputs as accepted; one that is stored already stays as it is."""
        if any(row.state.phase is not InputPhase.ACCEPTED for row in rows):
            raise StoreError("only accepted inputs can be offered")
        try:
            columns = input_rows(input_columns(runtime_id, row) for row in rows)
            known = self._writer.transact(lambda writer: offered(writer, runtime_id, columns))
        except (psycopg.Error, ValueError, TypeError) as error:
            raise self._blamed(runtime_id, error) from error
        if not known:
            raise StoreError(f"runtime {runtime_id} is not stored")

    def erase(self, runtime_id: LogicalRuntimeId, *, limit: int = 1000) -> bool:
        """Remove a runtime with all that belongs to it, so many rows in one call; is it gone?"""
        try:
            return self._writer.transact(
                lambda writer: erased(writer, IN_POSTGRES, runtime_id.value, limit)
            )
        except psycopg.Error as error:
            raise self._address.says(self._address.said(error)) from error

    # --- reading ------------------------------------------------------------------------

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return self._readers.rows(statement, *values)

    def _look(self, look: Callable[[Any], T]) -> T | None:
        return self._readers.read(look)

    def _key(self, key: IdempotencyKey) -> bytes:
        return key.value.encode(errors="surrogatepass")  # such a key is in no row

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        """The inputs that have one of these ids or keys, finished or not."""
        if not input_ids and not keys:
            return []
        named = [str(each) for each in input_ids], [self._key(each) for each in keys]
        name = runtime_id.value
        return [input_of(row) for row in self._rows(KNOWN_INPUTS, name, named[0], name, named[1])]

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        """What was committed last of the session, or None."""
        rows = self._rows(SESSION, runtime_id.value, runtime_id.value)
        chunks = [row[:3] for row in rows if row[0] is not None]
        opaque = next((row[3] for row in rows if row[0] is None), None)
        if not rows:
            return None
        messages, count = messages_of(runtime_id.value, chunks)
        return SessionSnapshot(messages=messages, message_count=count, opaque=opaque)

    def load_ops_snapshot(self, runtime_id: LogicalRuntimeId) -> OpsSnapshot | None:
        """The present epoch's last ended operations, FEED_MAX at most, and its live ones."""
        runtime = self.load_runtime(runtime_id)
        if runtime is None or runtime.epoch_id is None:
            return None
        epoch = (runtime_id.value, str(runtime.epoch_id))
        rows = self._rows(OPERATIONS, *epoch, FEED_MAX, *epoch)
        ended = [row for row in rows if row[0] is not None]
        return ops_snapshot_of(runtime, ended[::-1], [row[1:] for row in rows if row[0] is None])

    def load_payloads(
        self, runtime_id: LogicalRuntimeId, input_ids: Sequence[InputId]
    ) -> dict[InputId, bytes]:
        """What these inputs say, of those whose payload is kept."""
        rows = self._rows(PAYLOADS, runtime_id.value, [str(each) for each in input_ids])
        return {InputId.parse(input_id): payload for input_id, payload in rows}

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
        asked = Asked(keep=keep, now=now, limit=limit, spared=spared)
        me = self._me
        step = self._readers.read(lambda reader: look(PostgresFinder(reader, me), asked, after))
        if step is None:
            return Pruned()
        if not step.writes:
            return Pruned(next=step.next)
        reached(FailPoint.PRUNE_FOUND)
        try:
            return self._writer.transact(lambda writer: write(writer, step))
        except psycopg.Error as error:
            raise self._address.says(self._address.said(error)) from error


def _groups(
    batches: Sequence[tuple[int, Prepared]],
) -> Iterator[Sequence[tuple[int, Prepared]]]:
    """Cut a group where a runtime comes again: the order of what arrives stays as it is."""
    group: list[tuple[int, Prepared]] = []
    names: set[str] = set()
    for each in batches:
        if each[1].name in names:
            yield group
            group, names = [], set()
        group.append(each)
        names.add(each[1].name)
    if group:
        yield group
