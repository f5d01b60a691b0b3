"""``meerkat show``: what is stored of one runtime.

It reads through the store and never becomes its owner, so it works beside a running
process, and it creates nothing.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from actors.cli.status import ExitStatus, NotFoundError, UsageError
from actors.cli.texts import json_line, many_lines, one_line
from meerkat.conversation import SessionSnapshot
from meerkat.errors import StoreError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeRow, RuntimeStore, SqliteStore


@frozen(kw_only=True)
class ShowOptions:
    """What the command line says."""

    runtime_id: str
    store: RuntimeStore
    messages: bool
    json: bool


def show(options: ShowOptions) -> ExitStatus:
    """Print it. Raises UsageError, NotFoundError and StoreError."""
    try:
        runtime_id = LogicalRuntimeId(options.runtime_id)
    except ValueError as error:
        raise UsageError(str(error)) from error
    store = options.store
    if isinstance(store, SqliteStore) and not store.path.exists():
        raise StoreError(f"{store.path}: there is no such file")
    try:
        row = store.load_runtime(runtime_id)
        if row is None:
            raise NotFoundError(f"Runtime not found: {runtime_id}")
        snapshot = store.load_session_snapshot(runtime_id) or SessionSnapshot()
        if options.messages:
            _print_messages(row, json.loads(snapshot.messages), as_json=options.json)
        else:
            _print_facts(_facts_of(store, row, snapshot), as_json=options.json)
    finally:
        store.close()
    return ExitStatus.OK


def _facts_of(store: RuntimeStore, row: RuntimeRow, snapshot: SessionSnapshot) -> dict[str, Any]:
    waiting = store.load_active_inputs(row.runtime_id)
    facts: dict[str, Any] = {
        "runtime_id": str(row.runtime_id),
        "state": str(row.state),
        "registered": row.registered,
        "session_id": None if row.session_id is None else str(row.session_id),
        "epoch_id": None if row.epoch_id is None else str(row.epoch_id),
        "messages": snapshot.message_count,
        "receipts": _count_receipts(store, row.runtime_id),
        "pending_inputs": len(waiting),
    }
    if snapshot.opaque is not None:
        facts["snapshot_bytes"] = len(snapshot.opaque)
    errors = [state.last_error for state in waiting if state.last_error]
    if errors:
        facts["last_error"] = errors[0]
    return facts


def _count_receipts(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> int:
    count, after = 0, None
    while True:
        page = store.page_receipts(runtime_id, after=after)
        count += len(page.items)
        if page.next is None:
            return count
        after = page.next


def _print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json_line(facts))
        return
    for name, value in facts.items():
        text = {"True": "yes", "False": "no", "None": "none"}.get(str(value), str(value))
        print(f"{name.replace('_', ' '):<14} {one_line(text)}")


def _print_messages(row: RuntimeRow, messages: list[Any], *, as_json: bool) -> None:
    if as_json:
        document = {
            "runtime_id": str(row.runtime_id),
            "state": str(row.state),
            "messages": messages,
        }
        print(json_line(document))
        return
    for number, message in enumerate(messages, start=1):
        content = message.get("content")
        text = content if isinstance(content, str) else json_line(content)
        print(f"[{number}] {one_line(str(message.get('role', 'no role')))}")
        print(many_lines(text), end="\n\n")
