"""Rows: values as columns, and back. What a SQL store writes, and what it makes of a row.

A row that cannot be read is RecoveryCorruption, naming the row: it is never skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import evolve

from meerkat.codec import from_document, from_json, to_document, to_json
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import DecodeError, RecoveryCorruption
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, RuntimeEpochId, SessionId
from meerkat.input_lifecycle import InputState
from meerkat.json_values import dump, parse
from meerkat.policy import RunBoundary
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.protocol import InputRow, RuntimeRow
from meerkat.stored_input import StoredInputState

Columns = tuple[Any, ...]

_NO_INTENTS: Final = "[]"
_U64: Final = 2**64
_I64_MAX: Final = 2**63 - 1


def runtime_columns(row: RuntimeRow) -> Columns:
    """The columns of ``runtimes``."""
    return (
        row.runtime_id.value,
        None if row.session_id is None else str(row.session_id),
        None if row.epoch_id is None else str(row.epoch_id),
        row.state.value,
        row.fence,
        int(row.registered),
        row.next_admission_sequence,
        dump(sorted(row.silent_intents)).decode() if row.silent_intents else _NO_INTENTS,
        to_json(row.cursors).decode(),
    )


def runtime_of(columns: Sequence[Any]) -> RuntimeRow:
    """Read a row of ``runtimes``."""
    (runtime_id, session_id, epoch_id, state, fence, registered, sequence, intents, cursors) = (
        columns
    )
    try:
        return RuntimeRow(
            runtime_id=LogicalRuntimeId(runtime_id),
            session_id=None if session_id is None else SessionId.parse(session_id),
            epoch_id=None if epoch_id is None else RuntimeEpochId.parse(epoch_id),
            state=RuntimeState(state),
            fence=fence,
            registered=bool(registered),
            next_admission_sequence=sequence,
            silent_intents=frozenset(parse(intents)),
            cursors=from_json(EpochCursorSnapshot, cursors),
        )
    except (ValueError, TypeError) as error:
        raise RecoveryCorruption(f"runtime {runtime_id!r:.80}: {error}") from error


def input_columns(runtime_id: LogicalRuntimeId, row: InputRow) -> Columns:
    """The columns of ``inputs``; the payload lies beside the state, not in it."""
    state = row.state
    document = to_document(state if state.input is None else evolve(state, input=None))
    return (
        runtime_id.value,
        str(state.input_id),
        state.admission_sequence,
        None if state.idempotency_key is None else state.idempotency_key.value,
        state.phase.value,
        dump({"stored_input_state_version": StoredInputState.CURRENT, **document}).decode(),
        None if row.payload is None else row.payload.decode(),
    )


def input_of(columns: Sequence[Any]) -> InputState:
    """Read (input_id, phase, state, payload) of a row of ``inputs``."""
    input_id, phase, stored, payload = columns
    try:
        document = parse(stored)
        if type(document) is dict and document.get("phase") != phase:
            raise DecodeError(f"phase column {phase!r:.40} is not the state's")
        state = _without_contradiction(document, payload)
    except (DecodeError, TypeError) as error:
        raise RecoveryCorruption(f"input {input_id!r:.60}: {error}") from error
    if str(state.input_id) != input_id:
        raise RecoveryCorruption(f"input {input_id!r:.60}: its state names another input")
    return state


def _without_contradiction(document: Any, payload: str | None) -> InputState:
    if type(document) is dict and document.get("terminal_outcome") is None and payload is not None:
        document = {**document, "input": parse(payload)}
    return from_document(StoredInputState, document).state


def receipt_columns(runtime_id: LogicalRuntimeId, receipt: RunBoundaryReceipt) -> Columns:
    """The columns of ``receipts``; numbers above 2^63-1 wrap, as SQLite's are signed."""
    sequence = receipt.sequence
    return (
        runtime_id.value,
        str(receipt.run_id),
        sequence if sequence <= _I64_MAX else sequence - _U64,
        receipt.boundary.value,
        dump([str(each) for each in receipt.contributing_input_ids]).decode(),
        receipt.conversation_digest,
        receipt.message_count,
    )


def receipt_of(columns: Sequence[Any]) -> RunBoundaryReceipt:
    """Read a row of ``receipts`` without its runtime id."""
    run_id, sequence, boundary, contributors, digest, message_count = columns
    try:
        return RunBoundaryReceipt(
            run_id=RunId.parse(run_id),
            boundary=RunBoundary(boundary),
            contributing_input_ids=tuple(InputId.parse(each) for each in parse(contributors)),
            conversation_digest=digest,
            message_count=message_count,
            sequence=sequence if sequence >= 0 else sequence + _U64,
        )
    except (ValueError, TypeError) as error:
        raise RecoveryCorruption(f"receipt {run_id!r:.60}/{sequence}: {error}") from error

