"""Pruning in PostgreSQL: a look through a read session, then one small transaction.

The state of an input is cut down here and not by the server, whose JSON functions fail at a
text with a NUL in it.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from meerkat.errors import DecodeError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import RunId
from meerkat.json_values import dump, parse
from meerkat.store.postgres_owning import Owner
from meerkat.store.postgres_readers import fetch
from meerkat.store.postgres_session import Connection
from meerkat.store.postgres_statements import LIVING
from meerkat.store.protocol import Pruned
from meerkat.store.pruning import Step
from meerkat.store.retention import IN_FLIGHT

_WHOLE: Final = (
    "SELECT i.place, i.runtime_id, i.admission_sequence, r.next_admission_sequence, "
    "convert_to(i.state, 'UTF8'), i.phase, owners.id IS NOT NULL "
    "FROM inputs AS i JOIN runtimes AS r USING (runtime_id) "
    "LEFT JOIN owners ON owners.id = r.owner_id AND owners.id IS DISTINCT FROM %s::bigint "
    f"AND {LIVING} "
    "WHERE i.outcome IS NOT NULL AND i.payload IS NOT NULL AND i.place > %s "
    "ORDER BY i.place LIMIT %s"
)
# With each, whether its runtime is in the hands of another process.
_IN_HAND: Final = (
    "SELECT convert_to(state, 'UTF8') FROM inputs "
    "WHERE outcome IS NULL AND runtime_id = ANY(%s) AND phase = ANY(%s)"
)
_WITH_OPERATIONS: Final = """
WITH RECURSIVE known (runtime_id, number) AS (
    SELECT min(runtime_id), 1 FROM operations WHERE runtime_id > %s
    UNION ALL
    SELECT (SELECT min(runtime_id) FROM operations WHERE runtime_id > known.runtime_id), number + 1
    FROM known WHERE known.runtime_id IS NOT NULL AND number < %s)
SELECT r.runtime_id, r.epoch_id::text, convert_to(r.cursors, 'UTF8'), r.feed_watermark
FROM known JOIN runtimes AS r ON r.runtime_id = known.runtime_id ORDER BY number
"""
_OUT_OF_SIGHT: Final = (
    "SELECT runtime_id, epoch_id::text, seq FROM operations WHERE runtime_id = %s "
    "AND (epoch_id IS DISTINCT FROM %s::uuid OR seq BETWEEN 0 AND %s) LIMIT %s"
)
_STATES: Final = (
    "SELECT place, convert_to(state, 'UTF8') FROM inputs "
    "WHERE outcome IS NOT NULL AND payload IS NOT NULL AND place = ANY(%b::bigint[]) FOR UPDATE"
)
_SLIM: Final = (
    "UPDATE inputs SET payload = NULL, state = slim.state "
    "FROM unnest(%b::bigint[], %b::text[]) AS slim (place, state) "
    "WHERE inputs.place = slim.place AND outcome IS NOT NULL AND payload IS NOT NULL "
    "RETURNING 1"
)
_FORGET_RUNS: Final = """
DELETE FROM receipts USING unnest(%b::text[], %b::uuid[]) AS gone (runtime_id, run_id)
WHERE receipts.runtime_id = gone.runtime_id AND receipts.run_id = gone.run_id
AND NOT EXISTS (
    SELECT FROM receipts AS r
    CROSS JOIN LATERAL jsonb_array_elements_text(r.contributing_input_ids) AS named (input_id)
    JOIN inputs AS i ON i.input_id = named.input_id::uuid AND i.runtime_id = r.runtime_id
    WHERE r.runtime_id = gone.runtime_id AND r.run_id = gone.run_id
        AND (i.outcome IS NULL OR i.payload IS NOT NULL))
RETURNING 1
"""
_FORGET_OPERATIONS: Final = (
    "DELETE FROM operations USING unnest(%b::text[], %b::uuid[], %b::bigint[]) "
    "AS gone (runtime_id, epoch_id, seq) WHERE operations.runtime_id = gone.runtime_id "
    "AND operations.epoch_id = gone.epoch_id AND operations.seq = gone.seq RETURNING 1"
)


_LET_GO: Final = ("policy", "history")
"""What a state loses that is cut down."""


@frozen
class PostgresFinder:
    """Finds through a read session, for this owner, or for a process without a lease.

    What is in hand elsewhere is not in the database if inputs that are not stored began it: so
    every run of a runtime that another process has is taken to be in hand.
    """

    reader: Connection
    me: Owner | None = None

    def whole(self, after: int, limit: int) -> tuple[list[Any], list[str | None]]:
        """Finished inputs behind a place that are whole, and the runs in hand."""
        reader = self.reader
        with reader.transaction():  # what is in flight is looked up as of the same moment
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            rows = fetch(reader, _WHOLE, self.me and self.me.id, after, limit)
            names = sorted({row[1] for row in rows})
            flying = fetch(reader, _IN_HAND, names, [phase.value for phase in IN_FLIGHT])
        states = [state for (state,) in flying]
        states += [row[4] for row in rows if row[6]]
        return [row[:6] for row in rows], [_run_of(state) for state in states]

    def said(self, stored: bytes) -> tuple[Any, ...]:
        """What a state says that pruning has to know."""
        document = parse(stored)
        try:
            times = document["created_at"], document["updated_at"]
            return (document["phase"], *times, document.get("last_run_id"))
        except (KeyError, AttributeError) as error:
            raise DecodeError(f"no state of an input: {error}") from error

    def with_operations(self, after: str, limit: int) -> list[Any]:
        """Runtimes behind a name that have ended operations."""
        return fetch(self.reader, _WITH_OPERATIONS, after, limit)

    def out_of_sight(
        self, runtime_id: str, epoch_id: str | None, through: int, limit: int
    ) -> list[Any]:
        """Ended operations of a runtime that nobody can ask for any more."""
        return fetch(self.reader, _OUT_OF_SIGHT, runtime_id, epoch_id, through, limit)


def _run_of(state: bytes) -> str | None:
    try:
        run_id: str | None = parse(state).get("last_run_id")
    except (DecodeError, AttributeError):
        return None
    return run_id


def write(writer: Connection, step: Step) -> Pruned:
    """Write what a look has found, inside the open transaction."""
    inputs = receipts = operations = 0
    if step.inputs:
        inputs = _slim(writer, step.places)
        reached(FailPoint.PRUNE_STEP)
        receipts = _forget_runs(writer, step.runs)
        reached(FailPoint.PRUNE_STEP)
    if step.operations:
        columns = [list(column) for column in zip(*step.operations, strict=True)]
        operations = _changed(writer, _FORGET_OPERATIONS, *columns)
    return Pruned(inputs=inputs, receipts=receipts, operations=operations, next=step.next)


def _slim(writer: Connection, places: list[int]) -> int:
    """Cut inputs down as ``retention.slim`` does."""
    found = writer.execute(_STATES, (places,), binary=True).fetchall()
    states = [
        dump({name: value for name, value in parse(state).items() if name not in _LET_GO}).decode()
        for _, state in found
    ]
    return _changed(writer, _SLIM, [place for place, _ in found], states) if found else 0


def _forget_runs(writer: Connection, runs: list[tuple[str, str]]) -> int:
    named = [run for run in runs if _is_run(run[1])]
    if not named:
        return 0
    return _changed(writer, _FORGET_RUNS, *([*column] for column in zip(*named, strict=True)))


def _is_run(text: str) -> bool:
    try:
        RunId.parse(text)
    except ValueError:
        return False
    return True


def _changed(writer: Connection, statement: str, *columns: list[Any]) -> int:
    """How many rows a statement has changed."""
    return len(writer.execute(statement, columns).fetchall())
