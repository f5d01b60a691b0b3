"""Writing: batches as SQL.

Rows of one table go in together, many to a statement: each step of SQLite lets go of the
interpreter lock and has to win it back, which costs more than the row.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from meerkat.conversation import AppendMessages, ReplaceSnapshot, RewriteMessages, SessionChange
from meerkat.errors import Fenced, StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store.encoding import Encoded, text_of
from meerkat.store.rows import Columns

_ROWS_A_STATEMENT: Final = (64, 16, 4, 1)
"""Row counts that statements exist for: few texts to prepare, few steps to take."""

_INSERT_RUNTIME: Final = "INSERT INTO runtimes VALUES {rows} ON CONFLICT DO NOTHING"

_UPDATE_RUNTIME: Final = """
UPDATE runtimes SET
    session_id = new.column2, epoch_id = new.column3, state = new.column4, fence = new.column5,
    registered = new.column6, next_admission_sequence = new.column7,
    silent_intents = new.column8, cursors = new.column9,
    feed_watermark = new.column10, live_operations = new.column11, has_news = new.column12,
    set_aside = new.column13, paused = new.column14
FROM (VALUES {rows}) AS new
WHERE runtimes.runtime_id = new.column1 AND runtimes.fence = new.column15
"""

_PUT_INPUT: Final = """
INSERT INTO inputs VALUES {rows}
ON CONFLICT (runtime_id, input_id) DO UPDATE SET
    admission_sequence = excluded.admission_sequence, phase = excluded.phase,
    outcome = excluded.outcome, state = excluded.state
WHERE inputs.outcome IS NULL
"""

_OFFER_INPUT: Final = "INSERT INTO inputs VALUES {rows} ON CONFLICT DO NOTHING"

_INSERT_RECEIPT: Final = "INSERT INTO receipts VALUES {rows}"

_INSERT_OPERATION: Final = "INSERT INTO operations VALUES {rows}"
_KEEP_OPERATION: Final = f"{_INSERT_OPERATION} ON CONFLICT DO NOTHING"

_NOTE_BEGUN: Final = """
INSERT INTO begun_operations SELECT * FROM (VALUES {rows}) AS new
WHERE NOT EXISTS (SELECT 1 FROM operations AS o
    WHERE o.runtime_id = new.column1 AND o.epoch_id = new.column2
        AND o.operation_id = new.column3)
ON CONFLICT DO NOTHING
"""
# After the ends, of which each takes the note of its operation away: what has ended, with this
# batch or before it, is not noted again.

_APPEND_MESSAGES: Final = "INSERT INTO messages VALUES {rows}"

_PUT_SNAPSHOT: Final = """
INSERT INTO snapshots VALUES {rows} ON CONFLICT (runtime_id) DO UPDATE SET body = excluded.body
"""


class Refused(Exception):
    """A batch of the group cannot be committed: another writer's fence is stored."""


THE_BATCHS_FAULT: Final = (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, ValueError)
"""What one batch alone can be blamed for: a conflict with what is stored, or its size."""


@functools.cache
def _statement(template: str, rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return template.format(rows=", ".join([row] * rows))


def _write_rows(connection: Any, template: str, rows: Sequence[Columns]) -> int:
    """Write rows in as few statements as there are sizes for; gives the rows changed."""
    changed = start = 0
    for size in _ROWS_A_STATEMENT:
        while len(rows) - start >= size:
            chunk = rows[start : start + size]
            values = [value for row in chunk for value in row]
            statement = _statement(template, size, len(chunk[0]))
            changed += connection.execute(statement, values).rowcount
            reached(FailPoint.ROWS_WRITTEN)
            start += size
    return changed


def write_group(connection: Any, batches: Sequence[Encoded]) -> None:
    """Write batches of different runtimes inside the open transaction.

    Raises Refused when a fence does not hold, and lets the binding's errors through; the
    caller rolls back.
    """
    fresh = [batch.runtime for batch in batches if not batch.known]
    known = [batch.runtime for batch in batches if batch.known]
    changed = _write_rows(connection, _INSERT_RUNTIME, fresh)
    changed += _write_rows(connection, _UPDATE_RUNTIME, known)
    if changed != len(batches):
        raise Refused
    inputs = [row for batch in batches for row in batch.inputs]
    if _write_rows(connection, _PUT_INPUT, inputs) != len(inputs):
        raise ValueError("an input of the batch has ended already, and what has ended stays")
    _write_rows(connection, _INSERT_RECEIPT, [row for batch in batches for row in batch.receipts])
    operations = [row for batch in batches for row in batch.operations]
    _write_rows(connection, _INSERT_OPERATION, operations)
    late = [row for batch in batches for row in batch.late_operations]
    _write_rows(connection, _KEEP_OPERATION, late)
    _write_rows(connection, _NOTE_BEGUN, [row for batch in batches for row in batch.begun])
    _write_session(
        connection, ((batch.runtime_id, change) for batch in batches for change in batch.session)
    )


def _write_session(
    connection: Any, changes: Iterable[tuple[LogicalRuntimeId, SessionChange]]
) -> None:
    appended: list[Columns] = []
    for runtime_id, change in changes:
        match change:
            case AppendMessages(position=position, count=count, body=body):
                appended.append((runtime_id.value, position, count, text_of(body)))
            case RewriteMessages(count=count, body=body):
                _write_rows(connection, _APPEND_MESSAGES, appended)
                appended = [(runtime_id.value, 0, count, text_of(body))] if count else []
                connection.execute("DELETE FROM messages WHERE runtime_id = ?", (runtime_id.value,))
            case ReplaceSnapshot(data=data):
                _write_rows(connection, _PUT_SNAPSHOT, [(runtime_id.value, data)])
    _write_rows(connection, _APPEND_MESSAGES, appended)


def write_one(connection: Any, batch: Encoded, path: str) -> StoreError | None:
    """Write one batch under a savepoint; what refuses it is the answer."""
    connection.execute("SAVEPOINT batch")
    refused: StoreError | None = None
    try:
        write_group(connection, [batch])
    except Refused:
        refused = Fenced(batch.runtime_id)
    except THE_BATCHS_FAULT as error:
        refused = StoreError(f"{path}: runtime {batch.runtime_id}: {error}")
    if refused is not None:
        connection.execute("ROLLBACK TO batch")
    connection.execute("RELEASE batch")
    return refused


def offer_rows(connection: Any, runtime_id: LogicalRuntimeId, rows: Sequence[Columns]) -> None:
    """Insert accepted inputs that are not stored yet; Refused for an unknown runtime."""
    known = connection.execute(
        "SELECT 1 FROM runtimes WHERE runtime_id = ?", (runtime_id.value,)
    ).fetchone()
    if known is None:
        raise Refused
    _write_rows(connection, _OFFER_INPUT, rows)
