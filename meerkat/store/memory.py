"""A store in memory: the same contract as on disk, gone with the process.

For tests, and for runtimes that need not outlive it.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TypeVar

from meerkat.completion_feed import FEED_MAX
from meerkat.conversation import (
    AppendMessages,
    MessageLog,
    RewriteMessages,
    SessionChange,
    SessionSnapshot,
)
from meerkat.errors import Fenced, StoreError
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState, contradiction
from meerkat.limits import Retention
from meerkat.ops_snapshot import OperationRow, OpsSnapshot
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import at_fork
from meerkat.store.memory_listing import summaries
from meerkat.store.memory_prune import Arrivals, prune_inputs, prune_operations
from meerkat.store.ownership import StoreInUse
from meerkat.store.protocol import (
    EVERY_STATE,
    Batch,
    InputRow,
    Order,
    Page,
    Pruned,
    RuntimeRow,
    RuntimeSummary,
)
from meerkat.store.retention import Asked
from meerkat.store.shelf import Shelf

T = TypeVar("T")


class MemoryStore:
    """A RuntimeStore that keeps everything in memory. Thread-safe; nothing survives it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._shelves: dict[LogicalRuntimeId, Shelf] = {}
        self._with_work: set[LogicalRuntimeId] = set()
        self._whole = Arrivals()
        self._owned = False
        at_fork.in_child(self, MemoryStore._leave)

    def _leave(self) -> None:
        """In a forked child: a copy of its own, whoever holds the lock."""
        self._lock = threading.RLock()
        self._owned = False

    def __repr__(self) -> str:
        return f"MemoryStore(runtimes={len(self._shelves)})"

    def acquire(self) -> None:
        """Become the one owner; StoreError when this object is owned already."""
        with self._lock:
            if self._owned:
                raise StoreInUse("this MemoryStore is owned by another control plane")
            self._owned = True

    def close(self) -> None:
        """Give the ownership back; what is stored stays."""
        with self._lock:
            self._owned = False

    def commit(self, batch: Batch) -> None:
        """Commit one batch, or raise and change nothing."""
        (refused,) = self.commit_many([batch])
        if refused is not None:
            raise refused

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        """Commit each batch on its own."""
        with self._lock:
            return [self._commit(batch) for batch in batches]

    def _commit(self, batch: Batch) -> StoreError | None:
        runtime_id = batch.runtime.runtime_id
        shelf = self._shelves.get(runtime_id, Shelf())
        stored = 0 if shelf.row is None else shelf.row.fence
        if stored != batch.expected_fence:
            return Fenced(runtime_id)
        refused = self._conflict(shelf, batch)
        if refused is not None:
            return StoreError(refused)
        self._shelves[runtime_id] = shelf
        shelf.row = batch.runtime
        for row in batch.inputs:
            self._put(runtime_id, shelf, row)
        for receipt in batch.receipts:
            shelf.receipts[receipt.run_id, receipt.sequence] = receipt
        for operation in batch.operations:
            place = (operation.epoch_id, operation.record.operation_id)
            shelf.operations.setdefault(place, operation)
            shelf.begun.pop(place, None)
        _note_begun(shelf, batch)
        for change in batch.session:
            shelf.log = shelf.log or MessageLog()
            shelf.log.apply(change)
        self._note_work(runtime_id, shelf)
        return None

    def _conflict(self, shelf: Shelf, batch: Batch) -> str | None:
        claimed: dict[IdempotencyKey, InputId] = {}
        for row in batch.inputs:
            key, input_id = row.state.idempotency_key, row.state.input_id
            before = shelf.inputs.get(input_id)
            if before is not None and before.is_terminal:
                return "an input of the batch has ended already, and what has ended stays"
            if key is None:
                continue
            if shelf.keys.get(key, claimed.setdefault(key, input_id)) != input_id:
                return f"idempotency key of input {input_id} is taken"
        fresh = [(receipt.run_id, receipt.sequence) for receipt in batch.receipts]
        if len(set(fresh)) != len(fresh) or any(each in shelf.receipts for each in fresh):
            return "a receipt of this run and sequence is stored already"
        if not _follows(shelf.log, batch.session):
            return "messages do not extend the committed ones"
        return _operations_conflict(shelf, batch)

    def _put(self, runtime_id: LogicalRuntimeId, shelf: Shelf, row: InputRow) -> None:
        state = row.state
        if row.payload is not None and state.input_id not in shelf.inputs:
            self._whole.add(runtime_id, state.input_id)
            shelf.payloads[state.input_id] = row.payload
        shelf.inputs[state.input_id] = state
        if state.idempotency_key is not None:
            shelf.keys[state.idempotency_key] = state.input_id
        if state.is_terminal and contradiction(state) is None:
            shelf.active.pop(state.input_id, None)
        else:
            shelf.active[state.input_id] = None

    def _note_work(self, runtime_id: LogicalRuntimeId, shelf: Shelf) -> None:
        """Keep the runtimes with work apart, so that finding them passes over no other."""
        if shelf.has_work:
            self._with_work.add(runtime_id)
        else:
            self._with_work.discard(runtime_id)

    def offer(self, runtime_id: LogicalRuntimeId, rows: Sequence[InputRow]) -> None:
        """Insert inputs as accepted; one that is stored already stays as it is."""
        if any(row.state.phase is not InputPhase.ACCEPTED for row in rows):
            raise StoreError("only accepted inputs can be offered")
        with self._lock:
            shelf = self._shelves.get(runtime_id)
            if shelf is None or shelf.row is None:
                raise StoreError(f"runtime {runtime_id} is not stored")
            for row in rows:
                key = row.state.idempotency_key
                if row.state.input_id not in shelf.inputs and key not in shelf.keys:
                    self._put(runtime_id, shelf, row)
            self._note_work(runtime_id, shelf)

    def load_runtime(self, runtime_id: LogicalRuntimeId) -> RuntimeRow | None:
        """The runtime's row, or None."""
        with self._lock:
            shelf = self._shelves.get(runtime_id)
            return None if shelf is None else shelf.row

    def list_runtimes(self, *, after: str | None = None, limit: int = 1000) -> Page[RuntimeRow]:
        """The runtimes by id, a page at a time."""
        with self._lock:
            rows = [shelf.row for shelf in self._shelves.values() if shelf.row is not None]
        rows.sort(key=lambda row: row.runtime_id.value)
        return _page(rows, [row.runtime_id.value for row in rows], after, limit)

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """The registered runtimes with non-terminal inputs or news, by id."""
        with self._lock:
            return sorted(self._with_work, key=str)

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The non-terminal inputs in order of admission."""
        with self._lock:
            shelf = self._shelves.get(runtime_id, Shelf())
            states = [shelf.inputs[input_id] for input_id in shelf.active]
        states.sort(key=lambda s: (s.admission_sequence is None, s.admission_sequence or 0))
        return states

    def load_input(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> InputState | None:
        """One input, finished or not."""
        with self._lock:
            return self._shelves.get(runtime_id, Shelf()).inputs.get(input_id)

    def load_input_by_key(
        self, runtime_id: LogicalRuntimeId, key: IdempotencyKey
    ) -> InputState | None:
        """The one input that claimed an idempotency key."""
        with self._lock:
            shelf = self._shelves.get(runtime_id, Shelf())
            input_id = shelf.keys.get(key)
            return None if input_id is None else shelf.inputs[input_id]

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        """The inputs that have one of these ids or keys, finished or not."""
        with self._lock:
            shelf = self._shelves.get(runtime_id, Shelf())
            named = {*input_ids, *(shelf.keys[key] for key in keys if key in shelf.keys)}
            return [shelf.inputs[each] for each in named if each in shelf.inputs]

    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        with self._lock:
            return self._shelves.get(runtime_id, Shelf()).receipts.get((run_id, sequence))

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        """What was committed last of the session, or None."""
        with self._lock:
            log = self._shelves.get(runtime_id, Shelf()).log
            if log is None:
                return None
            snapshot = log.snapshot()
        return None if snapshot == SessionSnapshot() else snapshot

    def load_ops_snapshot(self, runtime_id: LogicalRuntimeId) -> OpsSnapshot | None:
        """The present epoch's last ended operations, FEED_MAX at most, and its live ones."""
        with self._lock:
            shelf = self._shelves.get(runtime_id, Shelf())
            row, operations = shelf.row, list(shelf.operations.values())
            begun = list(shelf.begun.items())
        if row is None or row.epoch_id is None:
            return None
        present = sorted(
            (each for each in operations if each.epoch_id == row.epoch_id),
            key=lambda each: each.seq,
        )[-FEED_MAX:]
        live = [record for (epoch_id, _), record in begun if epoch_id == row.epoch_id]
        return OpsSnapshot.of(row.epoch_id, row.cursors, tuple(present), live)

    def page_summaries(
        self,
        order: Order = Order.ID,
        *,
        states: Collection[RuntimeState] = EVERY_STATE,
        after: str | None = None,
        limit: int = 1000,
    ) -> Page[RuntimeSummary]:
        """The runtimes at a glance, a page at a time."""
        with self._lock:
            return summaries(
                self._shelves, self._whole, order, states=states, after=after, limit=limit
            )

    def page_active_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The inputs that have not ended, in order of admission, a page at a time."""
        return _page_behind(self.load_active_inputs(runtime_id), after, limit)

    def page_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputRow]:
        """All inputs as they are stored, in the order in which they came."""
        with self._lock:
            shelf = self._shelves.get(runtime_id, Shelf())
            page = _page_behind(list(shelf.inputs.values()), after, limit)
            rows = [InputRow(each, shelf.payloads.get(each.input_id)) for each in page.items]
        return Page(tuple(rows), page.next)

    def page_operations(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[OperationRow]:
        """The ended operations of every epoch, by epoch and by their place in its feed."""
        with self._lock:
            rows = list(self._shelves.get(runtime_id, Shelf()).operations.values())
        rows.sort(key=_operation_place)
        return _page(rows, [_operation_place(each) for each in rows], after, limit)

    def erase(self, runtime_id: LogicalRuntimeId, *, limit: int = 1000) -> bool:  # noqa: ARG002
        """Remove a runtime with all that belongs to it, in one step."""
        with self._lock:
            self._shelves.pop(runtime_id, None)
            self._with_work.discard(runtime_id)
            self._whole.forget(runtime_id)
        return True

    def page_terminal_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """Finished inputs: those without a key as they came, then the others by key."""
        with self._lock:
            shelf = self._shelves.get(runtime_id, Shelf())
            states = sorted(shelf.inputs.values(), key=_listed_under)
            finished = [state for state in states if state.input_id not in shelf.active]
        return _page_behind(finished, after, limit)

    def page_abandoned_inputs(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[InputState]:
        """The inputs that were given up, in the order in which they came."""
        with self._lock:
            shelf = self._shelves.get(runtime_id, Shelf())
            found = [
                state
                for state in shelf.inputs.values()
                if state.phase is InputPhase.ABANDONED and state.input_id not in shelf.active
            ]
        return _page_behind(found, after, limit)

    def load_payloads(
        self, runtime_id: LogicalRuntimeId, input_ids: Sequence[InputId]
    ) -> dict[InputId, bytes]:
        """What these inputs say, of those whose payload is kept."""
        with self._lock:
            payloads = self._shelves.get(runtime_id, Shelf()).payloads
            return {each: payloads[each] for each in input_ids if each in payloads}

    def page_receipts(
        self, runtime_id: LogicalRuntimeId, *, after: str | None = None, limit: int = 1000
    ) -> Page[RunBoundaryReceipt]:
        """Receipts, by run id and sequence."""
        with self._lock:
            receipts = list(self._shelves.get(runtime_id, Shelf()).receipts.values())
        receipts.sort(key=receipt_place)
        return _page(receipts, [receipt_place(each) for each in receipts], after, limit)

    def prune(
        self,
        keep: Retention,
        now: datetime,
        *,
        after: str | None = None,
        limit: int = 256,
        spared: frozenset[RunId] = frozenset(),
    ) -> Pruned:
        """One step of cutting down what is past ``keep``."""
        asked = Asked(keep=keep, now=now, limit=limit, spared=spared)
        part, _, place = (after or "inputs/").partition("/")
        with self._lock:
            if part == "operations":
                return prune_operations(self._shelves, place, limit)
            return prune_inputs(self._shelves, self._whole, asked, int(place or 0))


def _listed_under(state: InputState) -> str:
    """Where an input stands in a listing; those that share a place stand as they came."""
    return "" if state.idempotency_key is None else state.idempotency_key.value


def _operations_conflict(shelf: Shelf, batch: Batch) -> str | None:
    present = [row for row in batch.operations if row.epoch_id == batch.runtime.epoch_id]
    ended = [(row.epoch_id, row.record.operation_id) for row in present]
    if len(set(ended)) != len(ended) or any(each in shelf.operations for each in ended):
        return "an operation of this id is stored already"
    if any(row.record.outcome is None for row in batch.operations):
        return "an operation that has not ended cannot be stored"
    if any(record.outcome is not None for record in batch.begun):
        return "an operation that has ended cannot be noted as begun"
    return None


def _note_begun(shelf: Shelf, batch: Batch) -> None:
    """Note what has begun in the batch's epoch, and has not ended with it or before."""
    epoch_id = batch.runtime.epoch_id
    for record in batch.begun:
        if epoch_id is not None and (epoch_id, record.operation_id) not in shelf.operations:
            shelf.begun.setdefault((epoch_id, record.operation_id), record)


def _follows(log: MessageLog | None, changes: Sequence[SessionChange]) -> bool:
    """Does every append start where the messages before it end?"""
    count = 0 if log is None else log.message_count
    for change in changes:
        if isinstance(change, AppendMessages):
            if change.position != count:
                return False
            count += change.count
        elif isinstance(change, RewriteMessages):
            count = change.count
    return True


def receipt_place(receipt: RunBoundaryReceipt) -> str:
    """Where a receipt stands in a listing: its run id, then its sequence in 20 digits."""
    return f"{receipt.run_id}/{receipt.sequence:020d}"


def _operation_place(row: OperationRow) -> str:
    return f"{row.epoch_id}/{row.seq:020d}"


def _page_behind(states: list[InputState], after: str | None, limit: int) -> Page[InputState]:
    """A page of inputs behind the one whose id is ``after``; empty when it is not there."""
    ids = [str(state.input_id) for state in states]
    if after is not None and after not in ids:
        return Page((), None)
    start = 0 if after is None else ids.index(after) + 1
    end = start + limit
    return Page(tuple(states[start:end]), ids[end - 1] if end < len(ids) else None)


def _page(items: list[T], places: list[str], after: str | None, limit: int) -> Page[T]:
    start = 0 if after is None else bisect_right(places, after)
    end = start + limit
    return Page(tuple(items[start:end]), places[end - 1] if end < len(items) else None)
