"""The stored form of a session's operations."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from meerkat import EpochCursorSnapshot, OperationId, RuntimeEpochId, from_json, to_json
from meerkat.errors import DecodeError
from meerkat.operations import (
    OperationAborted,
    OperationCancelled,
    OperationCompleted,
    OperationFailed,
    OperationKind,
    OperationOutcome,
    OperationRecord,
    OperationRetired,
    OperationStatus,
    OperationTerminated,
)
from meerkat.ops_snapshot import OperationRow, OpsSnapshot

EPOCH = RuntimeEpochId.new()
NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def ended(outcome: OperationOutcome) -> OperationRecord:
    word = type(outcome).__name__.removeprefix("Operation").lower()
    return OperationRecord(
        operation_id=OperationId.new(),
        kind=OperationKind.BACKGROUND_TOOL_OP,
        display_name="search flights",
        status=OperationStatus(word),
        created_at=NOW,
        completed_at=NOW,
        outcome=outcome,
    )


def test_opp_01_a_snapshot_with_one_entry_and_one_record_round_trips() -> None:
    cursors = EpochCursorSnapshot(agent_applied_cursor=1, runtime_observed_seq=1)
    record = ended(OperationCompleted(result={"found": [1, None, ""]}))
    row = OperationRow(epoch_id=EPOCH, seq=1, record=record)
    snapshot = OpsSnapshot.of(EPOCH, cursors, (row,))
    read = from_json(OpsSnapshot, to_json(snapshot))
    assert read == snapshot
    assert (read.epoch_id, read.cursors) == (EPOCH, cursors)
    assert (len(read.feed), len(read.operations)) == (1, 1)
    assert read.feed[0].seq == 1


@pytest.mark.parametrize(
    "outcome",
    [
        OperationCompleted(),
        OperationCompleted(result=""),
        OperationCompleted(result=False),
        OperationFailed(error="no seats"),
        OperationAborted(reason="not needed"),
        OperationCancelled(reason="by the user"),
        OperationRetired(),
        OperationTerminated(reason="runtime reset"),
    ],
)
def test_every_outcome_round_trips(outcome: OperationOutcome) -> None:
    record = ended(outcome)
    assert from_json(OperationRecord, to_json(record)) == record


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(DecodeError, match="outcome_type"):
        from_json(OperationOutcome, b'{"outcome_type":"vanished"}')
