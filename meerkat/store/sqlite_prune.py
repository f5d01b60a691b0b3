"""Pruning in SQLite: a look through a read connection, then one small transaction.

Each statement is the same text whatever it is given, and takes all its rows at once.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from meerkat.fail_points import FailPoint, reached
from meerkat.json_values import dump, parse
from meerkat.store.protocol import Pruned
from meerkat.store.pruning import Step

_WHOLE: Final = (
    "SELECT i.rowid, i.runtime_id, i.admission_sequence, r.next_admission_sequence, "
    "CASE WHEN json_valid(i.state) THEN json_extract(i.state, '$.phase', '$.created_at', "
    "'$.updated_at', '$.last_run_id') END, i.phase FROM inputs AS i "
    "JOIN runtimes AS r ON r.runtime_id = i.runtime_id "
    "WHERE i.outcome IS NOT NULL AND i.payload IS NOT NULL AND (i.payload IS NULL) = 0 "
    "AND i.rowid > ? ORDER BY i.rowid LIMIT ?"
)
# (payload IS NULL) = 0 is what the index of these rows is on.

_IN_HAND: Final = (
    "SELECT DISTINCT CASE WHEN json_valid(state) THEN json_extract(state, '$.last_run_id') END "
    "FROM inputs WHERE outcome IS NULL AND runtime_id IN (SELECT value FROM json_each(?)) "
    "AND phase IN ('staged', 'applied', 'applied_pending_consumption')"
)

_SLIM: Final = (
    "UPDATE inputs SET payload = NULL, state = json_remove(state, '$.policy', '$.history') "
    "WHERE outcome IS NOT NULL AND rowid IN (SELECT value FROM json_each(?))"
)
# As ``slim`` does; the state is never read into Python.

_FORGET_RUNS: Final = """
DELETE FROM receipts WHERE (runtime_id, run_id) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
AND NOT EXISTS (
    SELECT 1 FROM receipts AS r WHERE r.runtime_id = receipts.runtime_id
        AND r.run_id = receipts.run_id AND (NOT json_valid(r.contributing_input_ids)
        OR EXISTS (
            SELECT 1 FROM json_each(CASE WHEN json_valid(r.contributing_input_ids)
                THEN r.contributing_input_ids ELSE '[]' END) AS named
            CROSS JOIN inputs AS i
            WHERE i.input_id = named.value AND i.runtime_id = r.runtime_id
                AND (i.outcome IS NULL OR i.payload IS NOT NULL))))
"""

_WITH_OPERATIONS: Final = """
WITH RECURSIVE known (runtime_id) AS (
    SELECT min(runtime_id) FROM operations WHERE runtime_id > ?
    UNION ALL
    SELECT (SELECT min(runtime_id) FROM operations WHERE runtime_id > known.runtime_id)
    FROM known WHERE known.runtime_id IS NOT NULL LIMIT ?)
SELECT r.runtime_id, r.epoch_id, CAST(r.cursors AS BLOB), r.feed_watermark
FROM known JOIN runtimes AS r ON r.runtime_id = known.runtime_id
"""

_OUT_OF_SIGHT: Final = (
    "SELECT runtime_id, epoch_id, seq FROM operations WHERE runtime_id = ? "
    "AND (epoch_id IS NOT ? OR seq BETWEEN 0 AND ?) LIMIT ?"
)

_FORGET_OPERATIONS: Final = (
    "DELETE FROM operations WHERE (runtime_id, epoch_id, seq) IN (SELECT "
    "json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') "
    "FROM json_each(?))"
)


@frozen
class SqliteFinder:
    """Finds through a read connection."""

    reader: Any

    def whole(self, after: int, limit: int) -> tuple[list[Any], list[str | None]]:
        """Finished inputs behind a place that are whole, and the runs in hand."""
        self.reader.execute("BEGIN")  # what is in flight is looked up as of the same moment
        try:
            rows = self.reader.execute(_WHOLE, (after, limit)).fetchall()
            names = dump(sorted({row[1] for row in rows})).decode()
            in_hand = [run_id for (run_id,) in self.reader.execute(_IN_HAND, (names,))]
        finally:
            self.reader.execute("END")
        return rows, in_hand

    def said(self, stored: str | None) -> list[Any]:
        """What the statement has taken out of the state."""
        read: list[Any] = parse(stored or "null")
        return read

    def with_operations(self, after: str, limit: int) -> list[Any]:
        """Runtimes behind a name that have ended operations."""
        rows: list[Any] = self.reader.execute(_WITH_OPERATIONS, (after, limit)).fetchall()
        return rows

    def out_of_sight(
        self, runtime_id: str, epoch_id: str | None, through: int, limit: int
    ) -> list[Any]:
        """Ended operations of a runtime that nobody can ask for any more."""
        values = (runtime_id, epoch_id, through, limit)
        rows: list[Any] = self.reader.execute(_OUT_OF_SIGHT, values).fetchall()
        return rows


def write(writer: Any, step: Step) -> Pruned:
    """Write what a look has found, inside the open transaction."""
    inputs = receipts = operations = 0
    if step.inputs:
        places = dump(step.places).decode()
        inputs = writer.execute(_SLIM, (places,)).rowcount
        reached(FailPoint.PRUNE_STEP)
        named = dump([list(run) for run in step.runs]).decode()
        receipts = writer.execute(_FORGET_RUNS, (named,)).rowcount
        reached(FailPoint.PRUNE_STEP)
    if step.operations:
        keys = dump([list(key) for key in step.operations]).decode()
        operations = writer.execute(_FORGET_OPERATIONS, (keys,)).rowcount
    return Pruned(inputs=inputs, receipts=receipts, operations=operations, next=step.next)
