"""Pruning in SQL stores: what one step looks at, and what it found for the transaction behind it.

What has ended never changes again, so that the look needs no lock, and the writer is held up
for a few statements only. How rows are found and cut down is each store's own; rows that cannot
be read are passed over, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from attrs import field, frozen

from meerkat.codec import from_json
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import DecodeError
from meerkat.limits import JSON_INT_MAX
from meerkat.store.retention import Asked, Ended, let_go, operations_gone_through
from meerkat.store.rows import unsigned

_INPUTS, _OPERATIONS = "inputs/", "operations/"
"""The two parts of a pass: in front of the place where a step starts."""

_RUNTIMES_A_STEP: Final = 64
"""Runtimes whose operations one step looks at."""

_I64_MAX: Final = JSON_INT_MAX // 2


class Finder(Protocol):
    """What a store finds for a look. None of it writes."""

    def whole(self, after: int, limit: int) -> tuple[Sequence[Sequence[Any]], Iterable[str | None]]:
        """Finished inputs behind a place that are whole, and the runs in hand of their runtimes.

        As of one moment. Of an input: its place, its runtime's id, its number, the runtime's
        next number, what it says of itself, and its phase.
        """
        ...

    def said(self, stored: Any) -> Sequence[Any]:
        """What an input says: phase, when it came, when it ended, run. ValueError for nothing."""
        ...

    def with_operations(self, after: str, limit: int) -> Sequence[tuple[str, str, bytes, int]]:
        """Runtimes behind a name that have ended operations: id, epoch, cursors, watermark."""
        ...

    def out_of_sight(
        self, runtime_id: str, epoch_id: str | None, through: int, limit: int
    ) -> Sequence[tuple[str, str, int]]:
        """Ended operations of a runtime that are of no epoch but this, or up to a place in it."""
        ...


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

    @property
    def places(self) -> list[int]:
        """Where the inputs stand that are cut down."""
        return [each.place for each in self.inputs]

    @property
    def runs(self) -> list[tuple[str, str]]:
        """The runs that they were of, by runtime."""
        named = {(each.runtime_id, each.run_id) for each in self.inputs if each.run_id is not None}
        return sorted(named)


def look(finder: Finder, asked: Asked, after: str | None) -> Step:
    """Find what the next step prunes: of the inputs first, then of the operations."""
    place = after or _INPUTS
    if place.startswith(_OPERATIONS):
        return _look_at_operations(finder, place.removeprefix(_OPERATIONS), asked.limit)
    return _look_at_inputs(finder, asked, int(place.removeprefix(_INPUTS) or 0))


def _look_at_inputs(finder: Finder, asked: Asked, after: int) -> Step:
    rows, in_hand = finder.whole(after, asked.limit)
    read = [each for each in (_ended(finder, row) for row in rows) if each is not None]
    gone, place = let_go(read, asked, in_hand)
    if len(rows) < asked.limit or (read and place is None):
        return Step(_OPERATIONS, gone)
    return Step(f"{_INPUTS}{rows[-1][0]}", gone)


def _ended(finder: Finder, row: Sequence[Any]) -> Ended | None:
    """Read a row of a finished input; None for one that says something else."""
    place, runtime_id, sequence, next_sequence, stored, phase = row
    try:
        stored_phase, created_at, ended_at, run_id = finder.said(stored)
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


def _look_at_operations(finder: Finder, after: str, limit: int) -> Step:
    runtimes = finder.with_operations(after, _RUNTIMES_A_STEP)
    found: list[tuple[str, str, int]] = []
    for runtime_id, epoch_id, cursors, watermark in runtimes:
        try:
            observed = from_json(EpochCursorSnapshot, cursors).runtime_observed_seq
        except DecodeError:
            after = runtime_id
            continue
        through = min(operations_gone_through(unsigned(watermark), observed), _I64_MAX)
        room = limit - len(found)
        rows = finder.out_of_sight(runtime_id, epoch_id, through, room)
        found += rows
        if len(rows) == room:
            return Step(f"{_OPERATIONS}{after}", operations=found)
        after = runtime_id
    more = len(runtimes) == _RUNTIMES_A_STEP
    return Step(f"{_OPERATIONS}{after}" if more else None, operations=found)
