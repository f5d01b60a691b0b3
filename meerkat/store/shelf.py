"""Shelf: everything that a store in memory keeps of one runtime."""

from __future__ import annotations

from attrs import define, field

from meerkat.conversation import MessageLog
from meerkat.identifiers import IdempotencyKey, InputId, OperationId, RunId, RuntimeEpochId
from meerkat.input_lifecycle import InputState
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store.protocol import RuntimeRow


@define
class Shelf:
    """Everything of one runtime."""

    row: RuntimeRow | None = None
    inputs: dict[InputId, InputState] = field(factory=dict)
    keys: dict[IdempotencyKey, InputId] = field(factory=dict)
    receipts: dict[tuple[RunId, int], RunBoundaryReceipt] = field(factory=dict)
    log: MessageLog | None = None
    operations: dict[tuple[RuntimeEpochId, OperationId], OperationRow] = field(factory=dict)
    begun: dict[tuple[RuntimeEpochId, OperationId], OperationRecord] = field(factory=dict)
    active: dict[InputId, None] = field(factory=dict)
    payloads: dict[InputId, bytes] = field(factory=dict)
    """What inputs say: those that came with a payload, and have not been cut down."""

    @property
    def has_work(self) -> bool:
        """Does its runtime have to be loaded at a start?"""
        row = self.row
        return row is not None and row.registered and bool(self.active or row.has_news)
