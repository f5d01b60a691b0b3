"""The statements behind the tally of one runtime in a SQLite store.

SQLite counts, which takes no other thread its turn: some hundred thousand inputs a second. What
a row says is read only where there is an error in it.
"""

from __future__ import annotations

from typing import Any, Final

from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.store.rows import input_of
from meerkat.store.sqlite_listing import ADMITTED
from meerkat.store.sqlite_readers import INPUT
from meerkat.store.tally import Tally, why_given_up

_PENDING: Final = "SELECT count(*) FROM inputs WHERE runtime_id = ? AND outcome IS NULL"
_ENDED: Final = (
    "SELECT phase, count(*) FROM inputs WHERE runtime_id = ? AND outcome IS NOT NULL GROUP BY phase"
)
_RECEIPTS: Final = "SELECT count(*) FROM receipts WHERE runtime_id = ?"
_MESSAGES: Final = (
    "SELECT position + count FROM messages WHERE runtime_id = ? ORDER BY position DESC LIMIT 1"
)
_SNAPSHOT_BYTES: Final = "SELECT length(body) FROM snapshots WHERE runtime_id = ?"
_FAILED: Final = (
    f"{INPUT} AND outcome IS NULL AND instr(state, '\"last_error\":') ORDER BY {ADMITTED} LIMIT 1"
)
_GIVEN_UP: Final = (
    f"{INPUT} AND outcome = 'abandoned' ORDER BY CASE WHEN json_valid(state) "
    "THEN json_extract(state, '$.updated_at') END DESC, rowid DESC LIMIT 1"
)


def tally_of(reader: Any, runtime_id: str) -> Tally:
    """The tally of a runtime; each count is as of a moment of its own."""

    def first(statement: str) -> Any:
        return reader.execute(statement, (runtime_id,)).fetchone() or (None,)

    phases = dict(reader.execute(_ENDED, (runtime_id,)).fetchall())
    failed = _input(first(_FAILED))
    return Tally(
        pending=first(_PENDING)[0],
        ended={phase: phases[phase.value] for phase in InputPhase if phase.value in phases},
        receipts=first(_RECEIPTS)[0],
        messages=first(_MESSAGES)[0] or 0,
        snapshot_bytes=first(_SNAPSHOT_BYTES)[0],
        last_error=failed.last_error if failed else why_given_up(_input(first(_GIVEN_UP))),
    )


def _input(columns: Any) -> InputState | None:
    return None if columns[0] is None else input_of(columns)
