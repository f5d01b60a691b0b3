"""Copying one runtime: what another store lacks of it, as batches of bounded size.

Until the whole store is copied nothing goes on in the copy: the row of a runtime says that it is
destroyed, which no plane takes up or revives, and ``set_aside`` says why, and whether all of it
is there. A copy that was begun goes on where it stopped, whatever stopped it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias, TypeVar

from attrs import define, evolve, field

from meerkat.conversation import (
    AppendMessages,
    ReplaceSnapshot,
    RewriteMessages,
    SessionChange,
    SessionSnapshot,
)
from meerkat.errors import RecoveryCorruption
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.copy_digest import every
from meerkat.store.copyable import CopyableStore
from meerkat.store.protocol import Batch, InputRow, Page, RuntimeRow

T = TypeVar("T")

UNDER_WAY: Final = "meerkat copy: not all of it is here yet"
WHOLE: Final = "meerkat copy: all of it is here, and it goes on once the copy is finished"

ROWS_A_BATCH: Final = 256
BYTES_A_BATCH: Final = 4 * 1024 * 1024
"""A transaction of a copy is no longer than one of a busy plane."""

STRETCH_BYTES: Final = 1024 * 1024
"""Messages that are stored together: a longer list is cut."""

Piece: TypeAlias = InputRow | RunBoundaryReceipt | OperationRow | OperationRecord | SessionChange


class Conflict(Exception):
    """The copy has something that cannot become what is copied by adding to it."""


def held_back(row: RuntimeRow, why: str) -> RuntimeRow:
    """The row of a runtime that is copied, and not to go on yet."""
    return evolve(row, state=RuntimeState.DESTROYED, registered=False, set_aside=why)


def is_held_back(row: RuntimeRow) -> bool:
    """Was it written by a copy that is not finished?"""
    return row.state is RuntimeState.DESTROYED and row.set_aside in (UNDER_WAY, WHOLE)


def is_here(row: RuntimeRow, there: RuntimeRow | None) -> bool:
    """Is the copy as far as the runtime is, as far as its row says?"""
    return there in (row, held_back(row, WHOLE))


def batches(
    source: CopyableStore, target: CopyableStore, row: RuntimeRow, there: RuntimeRow | None
) -> Iterator[Batch]:
    """What ``target`` lacks of a runtime, to be committed there in this order.

    The last one says that it is whole, unless the runtime has gone on meanwhile. Raises Conflict;
    RecoveryCorruption for a row of ``source`` that cannot be read; StoreError.
    """
    expected, pile = 0 if there is None else there.fence, _Pile()
    for piece in lacking(source, None if there is None else target, row):
        if pile.is_full:
            yield pile.batch(held_back(row, UNDER_WAY), expected)
            expected, pile = row.fence, _Pile()
        pile.add(piece)
    still = source.load_runtime(row.runtime_id) == row
    yield pile.batch(held_back(row, WHOLE if still else UNDER_WAY), expected)


def lacking(
    source: CopyableStore, target: CopyableStore | None, row: RuntimeRow
) -> Iterator[Piece]:
    """What ``target`` lacks of a runtime, piece by piece; raises as :func:`batches`.

    None for one that has no row of it, and so nothing else: it is not asked, as most of what a
    first pass takes is the way to the target and back.
    """
    yield from _inputs(source, target, row)
    receipts, operations = (target.page_receipts, target.page_operations) if target else _NONE
    yield from _merged(source.page_receipts, receipts, row, _place_of_receipt)
    ended = set()
    for each in _merged(source.page_operations, operations, row, _place_of_operation):
        ended.add(each.record.operation_id)
        yield each
    present = _live(source, row)
    noted = _live(target, row) if target else {}
    for operation_id, record in noted.items():
        if present.get(operation_id, record) != record or (
            operation_id not in present and operation_id not in ended
        ):
            raise Conflict(f"operation {operation_id}")
    yield from (record for each, record in present.items() if each not in noted)
    yield from _session(source, target, row)


# --- rows -------------------------------------------------------------------------------


def _nothing(*_asked: object, **_page: object) -> Page[Any]:
    return Page((), None)


_NONE: Final = (_nothing, _nothing)


def _inputs(
    source: CopyableStore, target: CopyableStore | None, row: RuntimeRow
) -> Iterator[InputRow]:
    """Both have them in the order in which they came: those that are new come last."""
    listed = target.page_inputs if target else _nothing
    theirs = _readable(every(listed, row.runtime_id))
    for each in every(source.page_inputs, row.runtime_id):
        there = next(theirs, None)
        if there is None:
            yield each
        elif there != each:
            yield _later_version(there, each)
    if next(theirs, None) is not None:
        raise Conflict("inputs")


def _later_version(there: InputRow, now: InputRow) -> InputRow:
    """The version of an input that takes the place of an earlier one; Conflict for another's."""
    before, after = there.state, now.state
    if (
        before.input_id != after.input_id
        or before.is_terminal
        or there.payload != now.payload
        or after.history[: len(before.history)] != before.history
    ):
        raise Conflict(f"input {before.input_id}")
    return InputRow(after)


def _merged(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    row: RuntimeRow,
    place: Callable[[Any], tuple[str, int]],
) -> Iterator[Any]:
    """What is in one listing and not in the other, which has nothing else; both by place."""
    others = _readable(every(theirs, row.runtime_id))
    there = next(others, None)
    for each in every(ours, row.runtime_id):
        if there is None or place(there) > place(each):
            yield each
        elif there == each:
            there = next(others, None)
        else:
            raise Conflict(f"{type(there).__name__} {place(there)}")
    if there is not None:
        raise Conflict(f"{type(there).__name__} {place(there)}")


def _place_of_receipt(receipt: RunBoundaryReceipt) -> tuple[str, int]:
    return str(receipt.run_id), receipt.sequence


def _place_of_operation(row: OperationRow) -> tuple[str, int]:
    return str(row.epoch_id), row.seq


def _live(store: CopyableStore, row: RuntimeRow) -> dict[object, OperationRecord]:
    """The operations that are live in the row's epoch, by id."""
    found = store.load_ops_snapshot(row.runtime_id)
    if found is None or found.epoch_id != row.epoch_id:
        return {}
    return {record.operation_id: record for record in found.live}


def _readable(rows: Iterator[T]) -> Iterator[T]:
    """Rows of the copy: one that cannot be read is none that can be gone on from."""
    try:
        yield from rows
    except RecoveryCorruption as error:
        raise Conflict(error.reason) from error


# --- messages ---------------------------------------------------------------------------


def _session(
    source: CopyableStore, target: CopyableStore | None, row: RuntimeRow
) -> Iterator[SessionChange]:
    ours = source.load_session_snapshot(row.runtime_id) or SessionSnapshot()
    try:
        there = target.load_session_snapshot(row.runtime_id) if target else None
    except RecoveryCorruption as error:
        raise Conflict(error.reason) from error
    theirs = there or SessionSnapshot()
    if ours.messages != theirs.messages:
        yield from _messages(row, ours, theirs)
    if ours.opaque != theirs.opaque:
        if ours.opaque is None:
            raise Conflict("snapshot")
        yield ReplaceSnapshot(ours.opaque)


def _messages(
    row: RuntimeRow, ours: SessionSnapshot, theirs: SessionSnapshot
) -> Iterator[SessionChange]:
    """What makes one list of messages of another: those behind it, or all of them anew."""
    head = theirs.messages[:-1] + b"," if theirs.message_count else b"["
    follows = ours.message_count > 0 and ours.messages.startswith(head)
    position = theirs.message_count if follows else 0
    if not follows:
        yield RewriteMessages(0, b"[]")
    body = b"[" + ours.messages[len(head) :] if follows else ours.messages
    for count, stretch in _stretches(body, ours.message_count - position):
        if count:
            yield AppendMessages(position, count, stretch)
        position += count
    if position != ours.message_count:
        raise RecoveryCorruption(
            f"messages of runtime {row.runtime_id}: there are {position}, "
            f"and {ours.message_count} were counted"
        )


def _stretches(body: bytes, count: int) -> Iterator[tuple[int, bytes]]:
    """Cut a JSON array between its elements, so that no part is much longer than it may be."""
    if len(body) <= STRETCH_BYTES:
        yield count, body
        return
    text, decoder = body.decode(), json.JSONDecoder()
    begin = end = 1
    counted = 0
    while end < len(text) - 1:
        try:
            _, end = decoder.raw_decode(text, end)
        except ValueError as error:
            raise RecoveryCorruption(f"messages: {error}") from error
        counted += 1
        if end - begin >= STRETCH_BYTES or end >= len(text) - 1:
            yield counted, f"[{text[begin:end]}]".encode()
            begin, counted = end + 1, 0
        end += 1  # behind the comma


# --- batches ----------------------------------------------------------------------------


@define
class _Pile:
    """Pieces of one runtime on their way into a batch."""

    _pieces: list[Piece] = field(factory=list)
    _bytes: int = 0

    @property
    def is_full(self) -> bool:
        """Is it as much as one transaction may be?"""
        return len(self._pieces) >= ROWS_A_BATCH or self._bytes >= BYTES_A_BATCH

    def add(self, piece: Piece) -> None:
        """Put one more on it."""
        self._pieces.append(piece)
        match piece:
            case InputRow(payload=bytes(body)) | AppendMessages(body=body):
                self._bytes += len(body)
            case ReplaceSnapshot(data=body):
                self._bytes += len(body)

    def batch(self, row: RuntimeRow, expected: int) -> Batch:
        """All of it under a row."""
        return Batch(
            runtime=row,
            expected_fence=expected,
            inputs=self._of(InputRow),
            receipts=self._of(RunBoundaryReceipt),
            begun=self._of(OperationRecord),
            operations=self._of(OperationRow),
            session=tuple(
                each
                for each in self._pieces
                if isinstance(each, AppendMessages | RewriteMessages | ReplaceSnapshot)
            ),
        )

    def _of(self, kind: type[T]) -> tuple[T, ...]:
        pieces: Iterable[object] = self._pieces
        return tuple(each for each in pieces if isinstance(each, kind))
