"""Rows: values as columns, and back. What a SQL store writes, and what it makes of a row.

A row that cannot be read is RecoveryCorruption, naming the row: it is never skipped.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

from meerkat.codec import from_document, from_json, to_json, to_stored_document
from meerkat.epoch import AT_THE_START, EpochCursorSnapshot
from meerkat.errors import DecodeError, RecoveryCorruption
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, RuntimeEpochId, SessionId
from meerkat.input_lifecycle import InputState, contradiction
from meerkat.json_values import dump, parse
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow, OpsSnapshot
from meerkat.policy import RunBoundary
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.protocol import InputRow, RuntimeRow
from meerkat.stored_input import StoredInputState

Columns = tuple[Any, ...]

_NO_INTENTS: Final = "[]"
_NO_INTENTS_READ: Final = _NO_INTENTS.encode()  # JSON is written as text and read as bytes
_NOTHING_READ: Final = to_json(AT_THE_START)
"""Most rows say so, and are read without a parser."""
_NOTHING_SILENT: Final[frozenset[str]] = frozenset()
_U64: Final = 2**64
_I64_MAX: Final = 2**63 - 1


def signed(number: int) -> int:
    """A number up to 2^64-1 as SQLite's signed integer: the upper half wraps below zero."""
    if not 0 <= number < _U64:
        raise ValueError(f"{number} is outside 0 .. 2^64-1")
    return number if number <= _I64_MAX else number - _U64


def unsigned(number: int) -> int:
    """Read what :func:`signed` wrote."""
    return number if number >= 0 else number + _U64


@functools.lru_cache(maxsize=1024)
def _cursors_text(cursors: EpochCursorSnapshot) -> str:
    return to_json(cursors).decode()


def runtime_columns(row: RuntimeRow) -> Columns:
    """The columns of ``runtimes``."""
    return (
        row.runtime_id.value,
        None if row.session_id is None else str(row.session_id),
        None if row.epoch_id is None else str(row.epoch_id),
        row.state.value,
        signed(row.fence),
        int(row.registered),
        signed(row.next_admission_sequence),
        dump(sorted(row.silent_intents)).decode() if row.silent_intents else _NO_INTENTS,
        _cursors_text(row.cursors),
        signed(row.feed_watermark),
        signed(row.live_operations),
        int(row.has_news),
        row.set_aside,
        int(row.paused),
    )


def runtime_of(columns: Sequence[Any]) -> RuntimeRow:
    """Read a row of ``runtimes``, but for ``has_news``: an index's copy of what it says."""
    runtime_id, session_id, epoch_id, state, fence, registered = columns[:6]
    sequence, intents, cursors, watermark, live, set_aside, paused = columns[6:]
    try:
        return RuntimeRow(
            runtime_id=LogicalRuntimeId(runtime_id),
            session_id=None if session_id is None else SessionId.parse(session_id),
            epoch_id=None if epoch_id is None else RuntimeEpochId.parse(epoch_id),
            state=RuntimeState(state),
            fence=unsigned(fence),
            registered=bool((0, 1).index(registered)),
            next_admission_sequence=unsigned(sequence),
            silent_intents=_intents(intents),
            cursors=_cursors(cursors),
            feed_watermark=unsigned(watermark),
            live_operations=unsigned(live),
            set_aside=set_aside.decode() if isinstance(set_aside, bytes) else set_aside,
            paused=bool((0, 1).index(paused)),
        )
    except (ValueError, TypeError) as error:
        raise RecoveryCorruption(f"runtime {runtime_id!r:.80}: {error}") from error


def _cursors(stored: bytes) -> EpochCursorSnapshot:
    return AT_THE_START if stored == _NOTHING_READ else from_json(EpochCursorSnapshot, stored)


def _intents(stored: bytes) -> frozenset[str]:
    return _NOTHING_SILENT if stored == _NO_INTENTS_READ else frozenset(_texts(stored))


def runtime_id_of(text: str) -> LogicalRuntimeId:
    """Read a runtime's id."""
    try:
        return LogicalRuntimeId(text)
    except ValueError as error:
        raise RecoveryCorruption(f"runtime {text!r:.80}: {error}") from error


def _texts(stored: bytes | str) -> list[str]:
    """Read a JSON list of strings."""
    texts = parse(stored)
    if type(texts) is not list or not all(type(text) is str for text in texts):
        raise DecodeError("expected a list of strings")
    return texts


def input_columns(runtime_id: LogicalRuntimeId, row: InputRow) -> Columns:
    """The columns of ``inputs``; the payload lies beside the state, not in it.

    ``outcome`` is what settles an input. A state that contradicts itself has none, whatever
    it says: recovery then finds it among the active ones, and refuses it.
    """
    state, sequence = row.state, row.state.admission_sequence
    document = to_stored_document(state)
    settled = state.is_terminal and contradiction(state) is None
    return (
        runtime_id.value,
        str(state.input_id),
        None if sequence is None else signed(sequence),
        None if state.idempotency_key is None else state.idempotency_key.value,
        state.phase.value,
        document["terminal_outcome"]["outcome_type"] if settled else None,
        dump(document).decode(),
        None if row.payload is None else row.payload.decode(),
    )


def input_of(columns: Sequence[Any]) -> InputState:
    """Read (input_id, phase, state, payload) of a row of ``inputs``."""
    try:
        return _input_of(*columns)
    except DecodeError as error:
        raise RecoveryCorruption(f"input {columns[0]:.60}: {error.reason}") from error


def _input_of(input_id: str, phase: str, stored: bytes, payload: bytes | None) -> InputState:
    document = parse(stored)
    if type(document) is dict and payload is not None and "terminal_outcome" not in document:
        document["input"] = parse(payload)
    state = from_document(StoredInputState, document).state
    if state.phase.value != phase:
        raise DecodeError(f"its state says {state.phase}, its phase column {phase!r:.40}")
    if str(state.input_id) != input_id:
        raise DecodeError("its state names another input")
    if state.input is not None and state.input.id != state.input_id:
        raise DecodeError("its payload is another input's")
    return state


def receipt_columns(runtime_id: LogicalRuntimeId, receipt: RunBoundaryReceipt) -> Columns:
    """The columns of ``receipts``."""
    return (
        runtime_id.value,
        str(receipt.run_id),
        signed(receipt.sequence),
        receipt.boundary.value,
        dump([str(each) for each in receipt.contributing_input_ids]).decode(),
        receipt.conversation_digest,
        signed(receipt.message_count),
    )


def receipt_of(columns: Sequence[Any]) -> RunBoundaryReceipt:
    """Read a row of ``receipts`` without its runtime id."""
    run_id, sequence, boundary, contributors, digest, message_count = columns
    try:
        return RunBoundaryReceipt(
            run_id=RunId.parse(run_id),
            boundary=RunBoundary(boundary),
            contributing_input_ids=tuple(InputId.parse(each) for each in _texts(contributors)),
            conversation_digest=digest,
            message_count=unsigned(message_count),
            sequence=unsigned(sequence),
        )
    except (ValueError, TypeError) as error:
        named = f"receipt {run_id!r:.60}/{unsigned(sequence)}"
        raise RecoveryCorruption(f"{named}: {error}") from error


def operation_columns(runtime_id: LogicalRuntimeId, row: OperationRow) -> Columns:
    """The columns of ``operations``; ValueError for an operation that has not ended."""
    if row.record.outcome is None:
        raise ValueError(f"operation {row.record.operation_id} has not ended")
    return (
        runtime_id.value,
        str(row.epoch_id),
        signed(row.seq),
        str(row.record.operation_id),
        to_json(row.record).decode(),
    )


def operation_of(columns: Sequence[Any]) -> OperationRow:
    """Read (epoch_id, seq, record) of a row of ``operations``."""
    epoch_id, seq, record = columns
    try:
        return OperationRow(
            epoch_id=RuntimeEpochId.parse(epoch_id),
            seq=unsigned(seq),
            record=from_json(OperationRecord, record),
        )
    except (ValueError, TypeError) as error:
        raise RecoveryCorruption(f"operation {epoch_id!r:.60}/{unsigned(seq)}: {error}") from error


def begun_columns(runtime: RuntimeRow, begun: Sequence[OperationRecord]) -> list[Columns]:
    """Rows of ``begun_operations``, none without an epoch; ValueError for what has ended."""
    for record in begun:
        if record.outcome is not None:
            raise ValueError(f"operation {record.operation_id} has ended")
    if runtime.epoch_id is None:
        return []
    runtime_id, epoch_id = runtime.runtime_id.value, str(runtime.epoch_id)
    return [
        (runtime_id, epoch_id, str(record.operation_id), to_json(record).decode())
        for record in begun
    ]


def ops_snapshot_of(
    runtime: RuntimeRow, rows: Sequence[Sequence[Any]], begun: Sequence[Sequence[Any]]
) -> OpsSnapshot | None:
    """Read an epoch's (seq, record) of ``operations``, oldest first, and (record) of the begun."""
    if runtime.epoch_id is None:
        return None
    try:
        operations = tuple(
            OperationRow(
                epoch_id=runtime.epoch_id,
                seq=unsigned(seq),
                record=from_json(OperationRecord, record),
            )
            for seq, record in rows
        )
        live = [_live(record) for (record,) in begun]
        return OpsSnapshot.of(runtime.epoch_id, runtime.cursors, operations, live)
    except (ValueError, TypeError) as error:
        raise RecoveryCorruption(f"operations of {runtime.runtime_id}: {error}") from error


def _live(stored: bytes) -> OperationRecord:
    record = from_json(OperationRecord, stored)
    if record.outcome is not None:
        raise DecodeError(f"operation {record.operation_id} is noted as live, and has ended")
    return record


def messages_of(runtime_id: str, chunks: Sequence[Sequence[Any]]) -> tuple[bytes, int]:
    """Join the (position, count, body) of ``messages``: a JSON array, and its length."""
    total = 0
    for position, count, body in chunks:
        if position != total or count < 1 or body[:1] != b"[" or body[-1:] != b"]":
            raise RecoveryCorruption(
                f"messages of runtime {runtime_id} at {position}: they do not follow on {total}"
            )
        total += count
    return b"[" + b",".join(body[1:-1] for _, _, body in chunks) + b"]", total
