"""Encoding: a batch as columns, before a transaction begins, so that it cannot fail one.

What every SQL store has done before it says a word to its database: what cannot be encoded is
its own batch's fault, and never comes into a group.
"""

from __future__ import annotations

from attrs import field, frozen

from meerkat.conversation import SessionChange
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store.protocol import Batch
from meerkat.store.rows import (
    Columns,
    begun_columns,
    input_columns,
    operation_columns,
    receipt_columns,
    runtime_columns,
    signed,
)


@frozen
class Encoded:
    """A batch as columns. Those of a known runtime end with the fence that is expected."""

    runtime_id: LogicalRuntimeId
    known: bool
    runtime: Columns
    inputs: list[Columns] = field(repr=False)
    receipts: list[Columns]
    begun: list[Columns] = field(repr=False)
    operations: list[Columns] = field(repr=False)
    late_operations: list[Columns] = field(repr=False)
    session: tuple[SessionChange, ...]


def encode(batch: Batch) -> Encoded:
    """Turn a batch into columns; ValueError or TypeError for what a row cannot hold."""
    runtime_id, known = batch.runtime.runtime_id, batch.expected_fence > 0
    operations: dict[bool, list[Columns]] = {False: [], True: []}
    for row in batch.operations:
        late = row.epoch_id != batch.runtime.epoch_id
        operations[late].append(operation_columns(runtime_id, row))
    columns = runtime_columns(batch.runtime)
    return Encoded(
        runtime_id,
        known,
        (*columns, signed(batch.expected_fence)) if known else columns,
        [input_columns(runtime_id, row) for row in batch.inputs],
        [receipt_columns(runtime_id, receipt) for receipt in batch.receipts],
        begun_columns(batch.runtime, batch.begun),
        operations[False],
        operations[True],
        batch.session,
    )


def text_of(body: bytes) -> str:
    """A body as the text it is stored as; ValueError for one that is none."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:  # as the batch's fault: a binding raises its own
        raise ValueError(str(error)) from error
