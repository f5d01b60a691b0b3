"""Writing to PostgreSQL: a group of batches in a handful of statements, sent in one go.

How a bad batch is found, and leaves nothing: all batches are written, and each statement says
whose rows it did not take (``postgres_statements``). Batches of different runtimes share no
row, so that one look finds all that are bad. Then the whole transaction is rolled back, and
what is left is written again. That needs no savepoint and no second set of rules in Python, a
good group pays nothing for it, and the answer is that of the unique keys and of the fence's
compare-and-set, which hold at any isolation level.

What the server throws at a statement as a whole, text that it cannot hold say, does not tell
whose it is: such a group is halved until it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
from attrs import evolve, frozen
from psycopg import errors

from meerkat.errors import Fenced, OwnedElsewhere, StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import postgres_statements as sql
from meerkat.store.encoding import Encoded, encode
from meerkat.store.postgres_arrays import arrays
from meerkat.store.postgres_owning import Owner
from meerkat.store.postgres_session import Connection
from meerkat.store.protocol import Batch
from meerkat.store.rows import Columns
from meerkat.store.session_writes import SessionWrites

_SET_ASIDE: Final = 12
_IDEMPOTENCY_KEY: Final = 3
"""Columns that are text in rows, and bytes in PostgreSQL."""

THE_BATCHS_FAULT: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    errors.ProgramLimitExceeded,
    errors.StatementTooComplex,
    ValueError,
    OverflowError,
)
"""What one batch alone can be blamed for: what it holds, or its size."""

_ENDED: Final = (
    "an input of the batch has ended already, and what has ended stays; or its key is taken"
)
_RECEIPT: Final = "a receipt of this run and sequence is stored already"
_OPERATION: Final = "an operation of this id is stored already"
_MESSAGES: Final = "messages do not extend the committed ones"


@frozen
class Prepared:
    """A batch as PostgreSQL takes it."""

    encoded: Encoded
    session: SessionWrites

    @property
    def name(self) -> str:
        """The id of its runtime."""
        return self.encoded.runtime_id.value


def prepare(batch: Batch) -> Prepared:
    """Turn a batch into columns; ValueError or TypeError for what a row cannot hold."""
    encoded = encode(batch)
    return Prepared(
        evolve(
            encoded,
            runtime=_bytes_at(encoded.runtime, _SET_ASIDE),
            inputs=input_rows(_latest(encoded.inputs)),
        ),
        SessionWrites.of(encoded.session),
    )


def _bytes_at(columns: Columns, place: int) -> Columns:
    text = columns[place]
    if text is None:
        return columns
    return (*columns[:place], text.encode(), *columns[place + 1 :])


def input_rows(rows: Iterable[Columns]) -> list[Columns]:
    """Rows of ``inputs`` as PostgreSQL takes them."""
    return [_bytes_at(row, _IDEMPOTENCY_KEY) for row in rows]


def _latest(rows: Iterable[Columns]) -> list[Columns]:
    """The last version of each input, with the payload of the first: a row is written once."""
    last: dict[str, Columns] = {}
    for row in rows:
        earlier = last.get(row[1])
        payload = row[-1] if earlier is None or earlier[-1] is None else earlier[-1]
        last[row[1]] = (*row[:-1], payload)
    return list(last.values())


class NotTaken(Exception):
    """Batches that the database refuses, by the name of their runtime, and why."""

    def __init__(self, refused: dict[str, StoreError]) -> None:
        super().__init__(f"{len(refused)} batches are refused")
        self.refused = refused


class Group:
    """Batches of different runtimes, on their way into one open transaction."""

    def __init__(
        self, connection: Connection, batches: Sequence[Prepared], address: str, me: Owner | None
    ) -> None:
        self._connection = connection
        self._batches = batches
        self._address = address
        self._me = me
        self._asked: list[tuple[psycopg.Cursor[tuple[Any, ...]], str | None]] = []

    def write(self) -> None:
        """Send every statement, then look at the answers. Raises NotTaken."""
        encoded = [each.encoded for each in self._batches]
        self._claim(sql.INSERT_RUNTIMES, [each.runtime for each in encoded if not each.known])
        self._claim(sql.UPDATE_RUNTIMES, [each.runtime for each in encoded if each.known])
        self._send(sql.PUT_INPUTS, [row for each in encoded for row in each.inputs], _ENDED)
        self._send(
            sql.INSERT_RECEIPTS, [row for each in encoded for row in each.receipts], _RECEIPT
        )
        present = [row for each in encoded for row in each.operations]
        self._send(sql.INSERT_OPERATIONS, present, _OPERATION)
        late = [row for each in encoded for row in each.late_operations]
        self._do(sql.INSERT_OPERATIONS, late)
        self._do(sql.NOTE_BEGUN, [row for each in encoded for row in each.begun])
        self._write_sessions()
        refused = self._refused()
        if refused:
            raise NotTaken(refused)

    def _write_sessions(self) -> None:
        sessions = [(each.name, each.session) for each in self._batches]
        follows = [(name, s.follows) for name, s in sessions if s.follows is not None]
        self._send(sql.MESSAGES_ELSEWHERE, follows, _MESSAGES)
        self._do(sql.DELETE_MESSAGES, [(name,) for name, s in sessions if s.rewrites])
        added = [(name, *row) for name, s in sessions for row in s.messages]
        self._send(sql.INSERT_MESSAGES, added, _MESSAGES)
        self._do(
            sql.PUT_SNAPSHOTS,
            [(name, s.snapshot) for name, s in sessions if s.snapshot is not None],
        )

    def _claim(self, statement: sql.ForRows, rows: list[Columns]) -> None:
        """Send rows of runtimes, in the order in which others lock them: by name."""
        if rows:
            rows.sort(key=_name)
            me = None if self._me is None else self._me.id
            self._asked.append((self._do(statement, rows, me), None))

    def _send(self, statement: sql.ForRows, rows: Sequence[Columns], why: str) -> None:
        """Send rows to a statement that answers whose it did not take, and why."""
        if rows:
            self._asked.append((self._do(statement, rows), why))

    def _do(
        self, statement: sql.ForRows, rows: Sequence[Columns], *values: object
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        if rows:
            given = (*arrays(statement.types, rows), *values)
            cursor = self._connection.execute(statement.text, given, prepare=True, binary=True)
            reached(FailPoint.ROWS_WRITTEN)
            return cursor
        return self._connection.cursor()

    def _refused(self) -> dict[str, StoreError]:
        """Why each batch is refused, the first reason; None stands for its claim."""
        found: dict[str, str | None] = {}
        for cursor, why in self._asked:
            for (name,) in cursor.fetchall():
                found.setdefault(name, why)
        claims = [name for name, why in found.items() if why is None]
        owners = whose(self._connection, claims, self._me) if claims else {}
        return {name: self._error(name, why, owners.get(name)) for name, why in found.items()}

    def _error(self, name: str, why: str | None, owner: str | None) -> StoreError:
        if why is not None:
            return StoreError(f"{self._address}: runtime {name}: {why}")
        runtime_id = LogicalRuntimeId(name)
        return Fenced(runtime_id) if owner is None else OwnedElsewhere(runtime_id, owner)


def _name(columns: Columns) -> str:
    name: str = columns[0]
    return name


def whose(
    connection: Connection, names: Sequence[str], me: Owner | None, *, lapsed_too: bool = False
) -> dict[str, str]:
    """Those of these runtimes that are in the hands of another owner, and its name.

    ``lapsed_too``: or were, until its lease was over, and nobody has taken them since.
    All of them are where another has come under our own name.
    """
    there = me is None or connection.execute(sql.IS_THERE, (me.id,)).fetchall() == [(True,)]
    if me is not None and not there:
        return dict.fromkeys(names, me.name)
    asked = (list(names), None if me is None else me.id, lapsed_too)
    return dict(connection.execute(sql.WHOSE, asked, binary=True).fetchall())


def offered(connection: Connection, runtime_id: LogicalRuntimeId, rows: Sequence[Columns]) -> bool:
    """Insert accepted inputs that are not stored yet; False for an unknown runtime."""
    arrays = [[row[place] for row in rows] for place in range(sql.INPUT_COLUMNS)]
    asked = connection.execute(sql.OFFER_INPUTS, (runtime_id.value, *arrays), binary=True)
    return bool(asked.fetchall())
