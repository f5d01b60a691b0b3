"""Copy writes: the batches of a copy on their way, many to a transaction, none of them long."""

from __future__ import annotations

from attrs import define, field

from meerkat.identifiers import LogicalRuntimeId
from meerkat.store.copy_runtime import BYTES_A_BATCH, ROWS_A_BATCH
from meerkat.store.copyable import CopyableStore
from meerkat.store.protocol import Batch


@define
class CopyWrites:
    """Writes into the store that is copied into. For one thread."""

    _target: CopyableStore
    _waiting: dict[LogicalRuntimeId, Batch] = field(factory=dict)
    _rows: int = 0
    _bytes: int = 0

    def commit(self, batch: Batch) -> None:
        """Commit one that others follow on."""
        self._target.commit(batch)

    def add(self, batch: Batch) -> None:
        """Commit one, its runtime's last, some time soon; StoreError as :meth:`flush`."""
        rows = 1 + len(batch.inputs) + len(batch.receipts) + len(batch.operations)
        size = sum(len(row.payload or b"") for row in batch.inputs)
        size += sum(len(getattr(each, "body", b"")) for each in batch.session)
        if self._rows + rows > ROWS_A_BATCH or self._bytes + size > BYTES_A_BATCH:
            self.flush()
        self._waiting[batch.runtime.runtime_id] = batch
        self._rows += rows
        self._bytes += size

    def settle(self, runtime_id: LogicalRuntimeId) -> None:
        """Commit what waits, if this runtime is among it."""
        if runtime_id in self._waiting:
            self.flush()

    def flush(self) -> None:
        """Commit all that waits; StoreError when one of them is refused."""
        waiting, self._waiting = list(self._waiting.values()), {}
        self._rows = self._bytes = 0
        for refused in self._target.commit_many(waiting) if waiting else ():
            if refused is not None:
                raise refused
