"""Builders: operations of a session, how they begin and end, and what a store holds of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from attrs import fields
from plane_builders import WAIT_S, Agent, read_of, system_of
from plane_stores import StoreProxy

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import (
    LogicalRuntimeId,
    OperationId,
    OpsLifecycleRegistry,
    RunContext,
    RuntimeEpochId,
    SessionRuntimeBindings,
    from_json,
    kernel,
)
from meerkat.errors import StoreError
from meerkat.kernel import RuntimeMemory
from meerkat.operations import OperationKind, OperationRecord, OperationStatus
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.store import Batch, RuntimeStore

TOOL = OperationKind.BACKGROUND_TOOL_OP
CHILD = OperationKind.MOB_MEMBER_CHILD
SLOT = OperationKind.BACKGROUND_TOOL_CAPACITY_SLOT

A = LogicalRuntimeId("a")

CONTINUATION = ""
"""The text of a run that a continuation began: it says nothing by itself."""


ENDS_EPOCH: dict[str, tuple[Callable[[], Any], str]] = {
    "reset": (lambda: m.ResetRuntime(RuntimeEpochId.new(), Reply()), "runtime reset"),
    "unregister": (lambda: m.UnregisterRuntime(Reply()), "runtime unregistered"),
    "destroy": (lambda: m.Call(kernel.Destroy(), Reply()), "runtime destroyed"),
}
"""What ends an epoch: the call, and what the epoch's operations are told."""


def registered(
    bindings: SessionRuntimeBindings, kind: OperationKind = TOOL, name: str = "search"
) -> OperationId:
    """An operation that is being provisioned."""
    operation_id = OperationId.new()
    bindings.ops_lifecycle.register(operation_id, kind=kind, display_name=name)
    return operation_id


def running(
    bindings: SessionRuntimeBindings, kind: OperationKind = TOOL, name: str = "search"
) -> OperationId:
    """An operation that has been provisioned."""
    operation_id = registered(bindings, kind, name)
    bindings.ops_lifecycle.provisioning_succeeded(operation_id)
    return operation_id


def complete(
    bindings: SessionRuntimeBindings, kind: OperationKind = TOOL, result: Any = None
) -> OperationId:
    """An operation that is done."""
    operation_id = running(bindings, kind)
    bindings.ops_lifecycle.complete(operation_id, result)
    return operation_id


def stored_operations(store: RuntimeStore, name: str = "a") -> OpsSnapshot:
    """What the store holds of the runtime's present epoch."""
    snapshot = store.load_ops_snapshot(LogicalRuntimeId(name))
    assert snapshot is not None
    return snapshot


def plain(record: OperationRecord) -> OperationRecord:
    """A record without what a reader of the registry sees besides."""
    names = [each.name for each in fields(OperationRecord)]
    return OperationRecord(**{name: getattr(record, name) for name in names})


def check_against_store(
    registry: OpsLifecycleRegistry, store: RuntimeStore, name: str = "a"
) -> Sequence[OperationRecord]:
    """The feed is dense, and it says what the store says; gives the stored records."""
    stored, batch = stored_operations(store, name), registry.list_since(0)
    assert [entry.seq for entry in stored.feed] == list(range(1, batch.watermark + 1))
    assert stored.feed[batch.dropped_through :] == batch.entries
    assert len({record.operation_id for record in stored.operations}) == len(stored.operations)
    for record in stored.operations:
        assert record.outcome is not None
    return stored.operations


def cursors_of(bindings: SessionRuntimeBindings) -> tuple[int, int]:
    """How far the driver has read the feed, and through where it was told."""
    cursors = bindings.cursor_state.snapshot()
    return cursors.runtime_observed_seq, cursors.runtime_last_injected_seq


def check_cursors(bindings: SessionRuntimeBindings) -> None:
    """At any moment: injected <= observed <= watermark."""
    cursors, watermark = bindings.cursor_state.snapshot(), bindings.ops_lifecycle.watermark
    assert cursors.runtime_last_injected_seq <= cursors.runtime_observed_seq <= watermark


def crashed(path: Path) -> Path:
    """What another process finds when this one is killed now."""
    left = path.with_name(f"{path.stem}-left.db")
    with closing(sqlite3.connect(path)) as present, closing(sqlite3.connect(left)) as copy:
        present.backup(copy)
    left.chmod(0o600)
    return left


class Reader(Agent):
    """An agent that notes how far the feed is when a run begins."""

    def __init__(self, *, held: bool = False) -> None:
        super().__init__(held=held)
        self.saw: list[int] = []

    def __call__(self, context: RunContext, primitive: Any) -> Any:
        self.saw.append(context.bindings.ops_lifecycle.watermark)
        return super().__call__(context, primitive)


def until_told(plane: ControlPlane, bindings: SessionRuntimeBindings, name: str = "a") -> None:
    """Wait until the runtime has nothing to do, and was told of everything that has ended."""

    def is_at_rest(memory: RuntimeMemory, _store: RuntimeStore) -> bool:
        observed = memory.head.cursors.runtime_observed_seq
        return memory.quiescent and observed == bindings.ops_lifecycle.watermark

    with system_of(plane).events.subscribe(LogicalRuntimeId(name), None) as events:
        while True:
            with suppress(StoreError):  # it is about to be loaded again
                if read_of(plane, name, is_at_rest):
                    return
                assert events.next_within(WAIT_S) is not None, "an end was never told"


def rows_of_epoch(path: Path, epoch_id: RuntimeEpochId) -> list[OperationRecord]:
    """The operations of any epoch, an earlier one too, in the order of its feed."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT CAST(record AS BLOB) FROM operations WHERE epoch_id = ? ORDER BY seq",
            (str(epoch_id),),
        ).fetchall()
    return [from_json(OperationRecord, record) for (record,) in rows]


class GatedDisk(StoreProxy):
    """A store that holds up the commits a test picks, until it is opened."""

    def __init__(self, inner: RuntimeStore, picks: Callable[[Batch], bool]) -> None:
        super().__init__(inner)
        self.reached = threading.Event()
        self._picks = picks
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        if not self._open.is_set() and any(map(self._picks, batches)):
            self.reached.set()
            self._open.wait(WAIT_S * 3)
        return super().commit_many(batches)


def terminates(batch: Batch) -> bool:
    """Does it record an operation that its owner's end has ended?"""
    return any(row.record.status is OperationStatus.TERMINATED for row in batch.operations)
