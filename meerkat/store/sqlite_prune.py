"""Pruning in SQLite: a look through a read connection, then one small transaction.

What has ended never changes again, so that the look needs no lock, and the writer's is held
for a few statements only: each of them is the same text whatever it is given, and takes all
its rows at once. Rows that cannot be read are passed over, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from meerkat.codec import from_json
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import DecodeError
from meerkat.fail_points import FailPoint, reached
from meerkat.json_values import dump, parse
from meerkat.limits import JSON_INT_MAX
from meerkat.store.protocol import Pruned
from meerkat.store.retention import Asked, Ended, let_go, operations_gone_through
from meerkat.store.rows import unsigned

_INPUTS, _OPERATIONS = "inputs/", "operations/"
"""The two parts of a pass: in front of the place where a step starts."""

_RUNTIMES_A_STEP: Final = 64
"""Runtimes whose operations one step looks at."""

_I64_MAX: Final = JSON_INT_MAX // 2

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
class Step:
    """What a look has found for the transaction behind it."""

    next: str | None
    inputs: list[Ended] = field(factory=list)
    operations: list[tuple[str, str, int]] = field(factory=list)

    @property
    def writes(self) -> bool:
        """Is there anything to write?"""
        return bool(self.inputs or self.operations)


def look(reader: Any, asked: Asked, after: str | None) -> Step:
    """Find what the next step prunes: of the inputs first, then of the operations."""
    place = after or _INPUTS
    if place.startswith(_OPERATIONS):
        return _look_at_operations(reader, place.removeprefix(_OPERATIONS), asked.limit)
    return _look_at_inputs(reader, asked, int(place.removeprefix(_INPUTS) or 0))


def _look_at_inputs(reader: Any, asked: Asked, after: int) -> Step:
    reader.execute("BEGIN")  # what is in flight is looked up as of the same moment
    try:
        rows = reader.execute(_WHOLE, (after, asked.limit)).fetchall()
        names = dump(sorted({row[1] for row in rows})).decode()
        in_hand = [run_id for (run_id,) in reader.execute(_IN_HAND, (names,))]
    finally:
        reader.execute("END")
    read = [each for each in map(_ended, rows) if each is not None]
    gone, place = let_go(read, asked, in_hand)
    if len(rows) < asked.limit or (read and place is None):
        return Step(_OPERATIONS, gone)
    return Step(f"{_INPUTS}{rows[-1][0]}", gone)


def _ended(row: Sequence[Any]) -> Ended | None:
    """Read a row of a finished input; None for one that says something else."""
    place, runtime_id, sequence, next_sequence, said, phase = row
    try:
        stored_phase, created_at, ended_at, run_id = parse(said or "null")
        if stored_phase != phase:
            return None
        return Ended(
            place=place,
            runtime_id=runtime_id,
            created_at=datetime.fromisoformat(created_at),
            ended_at=datetime.fromisoformat(ended_at),
            sequence=None if sequence is None else unsigned(sequence),
            next_sequence=unsigned(next_sequence),
            run_id=None if run_id is None else str(run_id),
        )
    except (ValueError, TypeError):
        return None


def _look_at_operations(reader: Any, after: str, limit: int) -> Step:
    runtimes = reader.execute(_WITH_OPERATIONS, (after, _RUNTIMES_A_STEP)).fetchall()
    found: list[tuple[str, str, int]] = []
    for runtime_id, epoch_id, cursors, watermark in runtimes:
        try:
            observed = from_json(EpochCursorSnapshot, cursors).runtime_observed_seq
        except DecodeError:
            after = runtime_id
            continue
        through = min(operations_gone_through(unsigned(watermark), observed), _I64_MAX)
        room = limit - len(found)
        rows = reader.execute(_OUT_OF_SIGHT, (runtime_id, epoch_id, through, room)).fetchall()
        found += rows
        if len(rows) == room:
            return Step(f"{_OPERATIONS}{after}", operations=found)
        after = runtime_id
    more = len(runtimes) == _RUNTIMES_A_STEP
    return Step(f"{_OPERATIONS}{after}" if more else None, operations=found)


def write(writer: Any, step: Step) -> Pruned:
    """Write what a look has found, inside the open transaction."""
    inputs = receipts = operations = 0
    if step.inputs:
        places = dump([each.place for each in step.inputs]).decode()
        inputs = writer.execute(_SLIM, (places,)).rowcount
        reached(FailPoint.PRUNE_STEP)
        runs = {(each.runtime_id, each.run_id) for each in step.inputs if each.run_id is not None}
        named = dump([list(run) for run in sorted(runs)]).decode()
        receipts = writer.execute(_FORGET_RUNS, (named,)).rowcount
        reached(FailPoint.PRUNE_STEP)
    if step.operations:
        keys = dump([list(key) for key in step.operations]).decode()
        operations = writer.execute(_FORGET_OPERATIONS, (keys,)).rowcount
    return Pruned(inputs=inputs, receipts=receipts, operations=operations, next=step.next)
