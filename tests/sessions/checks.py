"""What must hold of a store once every recorded session has been worked off."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path

from airline import INPUT_COUNT, recorded_inputs, recorded_sessions

from meerkat import InputPhase, InputState, LogicalRuntimeId, RunBoundaryReceipt
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


def check_all_replayed(path: Path) -> None:
    """Transcripts, consumption, order and receipts of all recorded sessions."""
    store = SqliteStore(path)
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for line in recorded_inputs():
        keys[line["runtime_id"]].append(line["input"]["idempotency_key"])
    receipt_count = 0
    for name, messages in recorded_sessions().items():
        runtime_id = LogicalRuntimeId(name)
        snapshot = store.load_session_snapshot(runtime_id)
        assert snapshot is not None
        assert json.loads(snapshot.messages) == messages
        assert store.load_active_inputs(runtime_id) == []
        states = finished_inputs(store, runtime_id)
        assert [str(state.idempotency_key) for state in states] == keys[name]
        assert [state.admission_sequence for state in states] == list(range(len(states)))
        assert {state.phase for state in states} == {InputPhase.CONSUMED}
        # The replay's result is the number of its turn: consumed in the order accepted.
        assert [state.result for state in states] == list(range(len(states)))
        receipt_count += check_receipts(store, runtime_id, states)
    assert receipt_count == INPUT_COUNT
    store.close()


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
