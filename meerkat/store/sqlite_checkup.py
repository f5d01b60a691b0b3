"""Checkup: everything that is wrong with a database file, and where; nothing is changed.

What a runtime meets first when it is loaded is an error, and the end of it. Here the whole file
is gone through, row by row, and each thing that is wrong is one finding.
"""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from meerkat.codec import from_json
from meerkat.conversation import digest_of
from meerkat.errors import DecodeError, RecoveryCorruption, StoreError
from meerkat.identifiers import InputId, RunId
from meerkat.input_lifecycle import InputPhase, InputState, contradiction
from meerkat.json_values import parse
from meerkat.operations import OperationRecord
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store.rows import input_of, messages_of, receipt_of, runtime_of, signed
from meerkat.store.sqlite_file import BINDING_ERRORS, Connect, Damaged, NotOurs, open_reader, said
from meerkat.store.sqlite_listing import RUNTIME
from meerkat.words import Word

LINES_MAX: Final = 100
"""Damage to pages and indexes that is listed: past this a file is not to be mended by hand."""

_INPUTS: Final = (
    "SELECT input_id, phase, CAST(state AS BLOB), CAST(payload AS BLOB), admission_sequence, "
    "idempotency_key, outcome FROM inputs WHERE runtime_id = ? ORDER BY rowid"
)
_RECEIPTS: Final = (
    "SELECT run_id, sequence, boundary, CAST(contributing_input_ids AS BLOB), "
    "conversation_digest, message_count FROM receipts WHERE runtime_id = ? "
    "ORDER BY run_id, sequence < 0, sequence"
)
_OPERATIONS: Final = (
    "SELECT operation_id, CAST(record AS BLOB) FROM operations WHERE runtime_id = ? "
    "UNION ALL SELECT operation_id, CAST(record AS BLOB) FROM begun_operations "
    "WHERE runtime_id = ?"
)

_Place = tuple[RunId | None, int | None]


class Part(Word):
    """What of a database a finding is about."""

    FILE = "file"
    """The file itself: its pages, its indexes."""
    ACCESS = "access"
    """Who may open the file."""
    SCHEMA = "schema"
    """Whose file it is, and of which version."""
    RUNTIME = "runtime"
    INPUT = "input"
    RECEIPT = "receipt"
    MESSAGES = "messages"
    OPERATION = "operation"


@frozen(kw_only=True)
class Finding:
    """One thing that is wrong; ``runtime`` is the id of the runtime whose it is, if any."""

    part: Part
    found: str
    runtime: str | None = None


@define
class Checkup:
    """The findings of one file, as an iterator, and what was looked at meanwhile.

    What is damaged, or not ours, is a finding; StoreError when the file cannot be opened, which
    says nothing of what is in it. For one thread.
    """

    path: Path
    connect: Connect = sqlite3.connect
    checked: Counter[Part] = field(factory=Counter)
    schema: int | None = None
    """The version of its schema; None until that was read, and for an empty file."""
    readable: bool = True
    """Could it be looked into, and was it ours? Known at the end."""

    def __iter__(self) -> Iterator[Finding]:
        """Go through the file."""
        yield from self._of_the_mode()
        try:
            opened = open_reader(self.path, self.connect)
        except (Damaged, NotOurs) as error:
            self.readable = False
            part = Part.FILE if isinstance(error, Damaged) else Part.SCHEMA
            found = error.text.replace(f"{self.path} ", "it ").removeprefix(f"{self.path}: ")
            yield Finding(part=part, found=found)
            return
        if opened is None:
            return
        reader = opened.connection
        try:
            self.schema = opened.version
            reader.execute("BEGIN")  # all of it as of one moment
            yield from self._of_the_pages(reader)
            for (name,) in reader.execute("SELECT runtime_id FROM runtimes ORDER BY runtime_id"):
                yield from self._of_runtime(reader, name)
        except BINDING_ERRORS as error:
            yield Finding(part=Part.FILE, found=f"it cannot be read further: {said(error)}")
        finally:
            reader.close()

    def _of_the_mode(self) -> Iterator[Finding]:
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except OSError as error:
            raise StoreError(f"cannot open {self.path}: {error.strerror}") from error
        self.checked[Part.FILE] += 1
        if mode & 0o077:
            yield Finding(part=Part.ACCESS, found=f"others may open it: its mode is {mode:04o}")

    def _of_the_pages(self, reader: Any) -> Iterator[Finding]:
        for (line,) in reader.execute(f"PRAGMA integrity_check({LINES_MAX})").fetchall():
            if line != "ok":
                yield Finding(part=Part.FILE, found=line)
        for table, _, parent, _ in reader.execute("PRAGMA foreign_key_check").fetchall():
            yield Finding(part=Part.FILE, found=f"a row of {table} names none of {parent}")

    # --- one runtime ------------------------------------------------------------------------

    def _of_runtime(self, reader: Any, name: str) -> Iterator[Finding]:
        """What is wrong with a runtime's own row, and with all that belongs to it."""
        self.checked[Part.RUNTIME] += 1
        statement = f"SELECT {RUNTIME} FROM runtimes WHERE runtime_id = ?"
        try:
            runtime_of(reader.execute(statement, (name,)).fetchone())
        except RecoveryCorruption as error:
            yield Finding(part=Part.RUNTIME, found=error.reason, runtime=name)
        consumed: dict[InputId, _Place] = {}
        yield from self._of_inputs(reader, name, consumed)
        receipts: list[RunBoundaryReceipt] = []
        yield from self._of_receipts(reader, name, receipts)
        yield from _of_proofs(name, consumed, receipts)
        yield from self._of_messages(reader, name, receipts)
        yield from self._of_operations(reader, name)

    def _of_inputs(
        self, reader: Any, name: str, consumed: dict[InputId, _Place]
    ) -> Iterator[Finding]:
        """Notes in ``consumed`` by which boundary those were consumed that are whole."""
        for row in reader.execute(_INPUTS, (name,)):
            self.checked[Part.INPUT] += 1
            try:
                state = input_of(row[:4])
            except RecoveryCorruption as error:
                yield Finding(part=Part.INPUT, found=error.reason, runtime=name)
                continue
            wrong = contradiction(state) or _column_that_differs(state, row[4:])
            if wrong is not None:
                found = f"input {state.input_id}: {wrong}"
                yield Finding(part=Part.INPUT, found=found, runtime=name)
            by_run = state.last_boundary_sequence is not None and row[3] is not None
            if state.phase is InputPhase.CONSUMED and by_run:
                consumed[state.input_id] = state.last_run_id, state.last_boundary_sequence

    def _of_receipts(
        self, reader: Any, name: str, receipts: list[RunBoundaryReceipt]
    ) -> Iterator[Finding]:
        """Adds to ``receipts`` those that can be read."""
        for row in reader.execute(_RECEIPTS, (name,)):
            self.checked[Part.RECEIPT] += 1
            try:
                receipts.append(receipt_of(row))
            except RecoveryCorruption as error:
                yield Finding(part=Part.RECEIPT, found=error.reason, runtime=name)

    def _of_messages(
        self, reader: Any, name: str, receipts: list[RunBoundaryReceipt]
    ) -> Iterator[Finding]:
        """Are they whole, and does a receipt prove them? Unless the past was cut down."""
        statement = (
            "SELECT position, count, CAST(body AS BLOB) FROM messages WHERE runtime_id = ? "
            "ORDER BY position"
        )
        chunks = reader.execute(statement, (name,)).fetchall()
        try:
            messages, count = messages_of(name, chunks)
            _refuse_miscounted(messages, count)
        except (RecoveryCorruption, DecodeError) as error:
            yield Finding(part=Part.MESSAGES, found=error.reason, runtime=name)
            return
        self.checked[Part.MESSAGES] += count
        proof = count, digest_of(messages)
        proven = {(each.message_count, each.conversation_digest) for each in receipts}
        if count and receipts and proof not in proven:
            found = (
                f"none of {len(receipts)} receipts proves the {count} messages: they were "
                "changed, unless the executor says digests of its own"
            )
            yield Finding(part=Part.MESSAGES, found=found, runtime=name)

    def _of_operations(self, reader: Any, name: str) -> Iterator[Finding]:
        for operation_id, record in reader.execute(_OPERATIONS, (name, name)):
            self.checked[Part.OPERATION] += 1
            try:
                named = str(from_json(OperationRecord, record).operation_id)
            except DecodeError as error:
                found = f"operation {operation_id:.60}: {error.reason}"
                yield Finding(part=Part.OPERATION, found=found, runtime=name)
                continue
            if named != operation_id:
                found = f"operation {operation_id:.60}: its record names another one, {named}"
                yield Finding(part=Part.OPERATION, found=found, runtime=name)


def _refuse_miscounted(messages: bytes, count: int) -> None:
    """Raise DecodeError for what is no list of so many objects."""
    found = parse(messages)
    if len(found) != count or not all(type(message) is dict for message in found):
        raise DecodeError(f"messages: there are {len(found)}, and {count} were counted")


def _column_that_differs(state: InputState, columns: tuple[Any, ...]) -> str | None:
    """The columns beside a state are what it is found by: they have to say the same."""
    sequence, key, outcome = columns
    number = None if state.admission_sequence is None else signed(state.admission_sequence)
    named = None if state.idempotency_key is None else state.idempotency_key.value
    if sequence != number:
        return f"its column says number {sequence}, its state {number}"
    if key != named:
        return f"its column says key {key!r:.60}, its state {named!r:.60}"
    if (outcome is None) == state.is_terminal:
        return f"its column says it has {'not ' if outcome is None else ''}ended"
    return None


def _of_proofs(
    name: str, consumed: dict[InputId, _Place], receipts: list[RunBoundaryReceipt]
) -> Iterator[Finding]:
    """Every input that a run has consumed has its receipt; those of a run have no hole."""
    proven = {
        (input_id, (receipt.run_id, receipt.sequence))
        for receipt in receipts
        for input_id in receipt.contributing_input_ids
    }
    for input_id, (run_id, sequence) in consumed.items():
        if (input_id, (run_id, sequence)) not in proven:
            found = f"input {input_id} was consumed by run {run_id} at {sequence}: no such receipt"
            yield Finding(part=Part.RECEIPT, found=found, runtime=name)
    expected: Counter[RunId] = Counter()
    for receipt in receipts:  # by run and sequence
        if receipt.sequence != expected[receipt.run_id]:
            found = f"run {receipt.run_id} has no receipt {expected[receipt.run_id]}"
            yield Finding(part=Part.RECEIPT, found=found, runtime=name)
        expected[receipt.run_id] = receipt.sequence + 1
