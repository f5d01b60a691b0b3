"""What must hold of a store once every recorded session has been worked off."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from airline import (
    INPUT_COUNT,
    TOOL_RESULT_COUNT,
    recorded_inputs,
    recorded_sessions,
    recorded_tool_results,
)
from attrs import astuple

from meerkat import (
    InputPhase,
    InputState,
    LogicalRuntimeId,
    RunBoundaryReceipt,
    SessionRuntimeBindings,
)
from meerkat.completion_feed import FeedEntry
from meerkat.inputs import Durability
from meerkat.operations import (
    OperationCompleted,
    OperationKind,
    OperationOutcome,
    OperationTerminated,
)
from meerkat.store import RuntimeStore, SqliteStore


def all_receipts(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> list[RunBoundaryReceipt]:
    """Every receipt of a runtime, page by page."""
    receipts: list[RunBoundaryReceipt] = []
    after: str | None = None
    while True:
        page = store.page_receipts(runtime_id, after=after, limit=7)
        receipts += page.items
        after = page.next
        if after is None:
            return receipts


def finished_inputs(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> list[InputState]:
    """Every finished input of a runtime in order of admission."""
    states: list[InputState] = []
    after: str | None = None
    while True:
        page = store.page_terminal_inputs(runtime_id, after=after, limit=7)
        states += page.items
        after = page.next
        if after is None:
            return sorted(states, key=lambda state: state.admission_sequence or 0)


def stored_receipts(path: Path) -> dict[tuple[str, str, int], RunBoundaryReceipt]:
    """Every receipt in a database, by its key."""
    store = SqliteStore(path)
    found = {
        (runtime_id, str(receipt.run_id), receipt.sequence): receipt
        for runtime_id in recorded_sessions()
        for receipt in all_receipts(store, LogicalRuntimeId(runtime_id))
    }
    store.close()
    return found


def check_all_replayed(path: Path, *, continuations: int = 0) -> None:
    """As ``check_replayed``, in a file."""
    store = SqliteStore(path)
    check_replayed(store, continuations=continuations)
    store.close()


def check_replayed(
    store: RuntimeStore, *, continuations: int = 0, sessions: Collection[str] | None = None
) -> None:
    """Transcripts, consumption, order and receipts of all recorded sessions, or of these.

    ``continuations`` have been injected besides; they leave nothing but their receipt.
    """
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for line in recorded_inputs():
        keys[line["runtime_id"]].append(line["input"]["idempotency_key"])
    receipt_count = input_count = 0
    for name, messages in recorded_sessions().items():
        if sessions is not None and name not in sessions:
            continue
        input_count += len(keys[name])
        runtime_id = LogicalRuntimeId(name)
        snapshot = store.load_session_snapshot(runtime_id)
        assert snapshot is not None
        assert json.loads(snapshot.messages) == messages
        assert store.load_active_inputs(runtime_id) == []
        states = finished_inputs(store, runtime_id)
        offered = [state for state in states if state.durability is not Durability.DERIVED]
        assert [str(state.idempotency_key) for state in offered] == keys[name]
        assert [state.admission_sequence for state in states] == list(range(len(states)))
        assert {state.phase for state in states} == {InputPhase.CONSUMED}
        # The replay's result is the number of its turn: consumed in the order accepted.
        assert [state.result for state in offered] == list(range(len(offered)))
        receipt_count += check_receipts(store, runtime_id, states)
    assert receipt_count == input_count + continuations
    assert sessions is not None or input_count == INPUT_COUNT


def check_all_operations_stored(path: Path) -> None:
    """Every tool call is in its session's feed once, and all of the feed has been read."""
    store, operation_count = SqliteStore(path), 0
    for name in recorded_sessions():
        runtime_id = LogicalRuntimeId(name)
        row, snapshot = store.load_runtime(runtime_id), store.load_ops_snapshot(runtime_id)
        assert row is not None
        assert snapshot is not None
        check_feed(name, snapshot.feed)
        assert [record.outcome for record in snapshot.operations] == [
            entry.outcome for entry in snapshot.feed
        ]
        assert row.feed_watermark == len(snapshot.feed)
        assert astuple(row.cursors) == (row.feed_watermark,) * 3
        operation_count += len(brought_by(snapshot.feed))
    assert operation_count == TOOL_RESULT_COUNT
    store.close()


def stored_continuations(path: Path) -> Counter[str]:
    """How often each runtime has gone on by itself."""
    store, found = SqliteStore(path), Counter[str]()
    for name in recorded_sessions():
        states = finished_inputs(store, LogicalRuntimeId(name))
        found[name] = sum(state.durability is Durability.DERIVED for state in states)
    store.close()
    return found


def check_bindings(runtime_id: str, bindings: SessionRuntimeBindings) -> None:
    """The same of what a session's host holds in its hand."""
    batch = bindings.ops_lifecycle.list_since(0)
    check_feed(runtime_id, batch.entries)
    assert (batch.watermark, batch.gap) == (len(batch.entries), None)
    assert bindings.ops_lifecycle.live_ids == ()
    assert astuple(bindings.cursor_state.snapshot()) == (batch.watermark,) * 3


def check_feed(runtime_id: str, entries: Sequence[FeedEntry]) -> None:
    """One entry for each tool call of the recording, in its order, with what it has brought."""
    recorded = recorded_tool_results(runtime_id)
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert len({entry.operation_id for entry in entries}) == len(entries)
    assert {entry.kind for entry in entries} <= {OperationKind.BACKGROUND_TOOL_OP}
    brought = brought_by(entries)
    assert [entry.display_name for entry in brought] == [each["name"] for each in recorded]
    assert [entry.outcome for entry in brought] == outcomes_of(runtime_id)


def brought_by(entries: Sequence[FeedEntry]) -> list[FeedEntry]:
    """The calls that have brought something: all but those whose process was killed."""
    lost = OperationTerminated(reason="process ended")
    return [entry for entry in entries if entry.outcome != lost]


def outcomes_of(runtime_id: str) -> list[OperationOutcome]:
    """How the operations of a session are to end."""
    recorded = recorded_tool_results(runtime_id)
    return [OperationCompleted(result=message["content"]) for message in recorded]


def check_receipts(
    store: RuntimeStore, runtime_id: LogicalRuntimeId, states: list[InputState]
) -> int:
    """Each input is proven once, by a digest that recomputes from the stored messages."""
    receipts = all_receipts(store, runtime_id)
    proven = Counter(each for receipt in receipts for each in receipt.contributing_input_ids)
    assert proven == Counter(state.input_id for state in states)
    snapshot = store.load_session_snapshot(runtime_id)
    assert snapshot is not None
    messages = json.loads(snapshot.messages)
    for receipt in receipts:
        head = messages[: receipt.message_count]
        canonical = json.dumps(head, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert receipt.conversation_digest == hashlib.sha256(canonical.encode()).hexdigest()
        assert receipt.sequence == 0
    return len(receipts)
