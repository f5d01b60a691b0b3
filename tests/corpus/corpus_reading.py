"""What is read of a file of the corpus, as JSON: by the code that wrote it, and by later code."""

from __future__ import annotations

import json
from typing import Any

from meerkat import to_json
from meerkat.store import RuntimeRow, RuntimeStore


def document(value: Any) -> Any:
    return None if value is None else json.loads(to_json(value))


def runtime(store: RuntimeStore, row: RuntimeRow) -> dict[str, Any]:
    """Everything that a store answers about a runtime."""
    runtime_id = row.runtime_id
    session = store.load_session_snapshot(runtime_id)
    operations: Any = store.load_ops_snapshot(runtime_id)
    return {
        "row": {
            "session_id": row.session_id and str(row.session_id),
            "epoch_id": row.epoch_id and str(row.epoch_id),
            "state": str(row.state),
            "fence": row.fence,
            "registered": row.registered,
            "next_admission_sequence": row.next_admission_sequence,
            "silent_intents": sorted(row.silent_intents),
            "cursors": document(row.cursors),
            **{
                name: getattr(row, name)
                for name in ("feed_watermark", "live_operations", "set_aside", "paused")
                if hasattr(row, name)
            },
        },
        "active": list(map(document, store.load_active_inputs(runtime_id))),
        "ended": sorted(
            map(document, store.page_terminal_inputs(runtime_id).items),
            key=lambda state: str(state["input_id"]),  # their order is not promised
        ),
        "receipts": list(map(document, store.page_receipts(runtime_id).items)),
        "messages": session and json.loads(session.messages),
        "opaque": session and session.opaque and session.opaque.hex(),
        "operations": operations
        and {
            "feed": [[each.seq, str(each.operation_id)] for each in operations.feed],
            "ended": list(map(document, operations.operations)),
            "live": list(map(document, getattr(operations, "live", ()))),
        },
    }


def what_is_read(store: RuntimeStore) -> dict[str, Any]:
    """Everything that a store answers, as JSON."""
    return {row.runtime_id.value: runtime(store, row) for row in store.list_runtimes().items}
