"""Facts: what is said of a runtime, an input or a receipt, whoever asks.

The command line prints them and the page sends them: one set of names. A time is a datetime
here, so that people can be told how long ago it was; ``plain`` is what JSON carries. What an
input says is among them only when it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias, cast

import attrs

from meerkat.codec import to_json
from meerkat.identifiers import LogicalRuntimeId, TextIdentifier, UuidIdentifier
from meerkat.input_lifecycle import HistoryEntry, InputState
from meerkat.json_values import parse
from meerkat.outcomes import completion_of
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import RuntimeRow, RuntimeStore, RuntimeSummary
from meerkat.store.tally import tally_in
from meerkat.words import Word

Facts: TypeAlias = dict[str, Any]
"""What is said of one thing, by name: the JSON of it, but for times."""


def plain(facts: Facts) -> Facts:
    """The same as JSON carries it: a time is its text."""
    return {
        name: text_of_time(value) if isinstance(value, datetime) else value
        for name, value in facts.items()
    }


def value_facts(value: object) -> Any:
    """The same of any value of ours: its fields by name, those that are None included."""
    if isinstance(value, datetime):
        return text_of_time(value)
    if isinstance(value, _WORDS):
        return str(value)
    if isinstance(value, tuple):
        return [value_facts(each) for each in value]
    kind = type(value)
    if attrs.has(kind):
        return {each.name: value_facts(getattr(value, each.name)) for each in attrs.fields(kind)}
    return value


_WORDS: Final = (Word, UuidIdentifier, TextIdentifier)
"""What is its text on the wire."""


def text_of_time(moment: datetime) -> str:
    """A time as it is written everywhere."""
    return moment.isoformat().replace("+00:00", "Z")


def text_of(value: object) -> str | None:
    """The text of a value, if there is one."""
    return None if value is None else str(value)


def runtime_facts(summary: RuntimeSummary, run: Facts | None = None) -> Facts:
    """A runtime at a glance, as a listing shows it, with its run in hand where that is known."""
    row = summary.row
    return {
        "runtime_id": summary.name,
        "state": None if row is None else str(row.state),
        "registered": None if row is None else row.registered,
        "paused": None if row is None else row.paused,
        "pending_inputs": summary.pending,
        "oldest_at": summary.oldest_at,
        "set_aside": None if row is None else row.set_aside,
        "unreadable": summary.unreadable,
        "run": run,
    }


def state_of(facts: Facts) -> str:
    """The state of a runtime of a listing: what is stored does not know of runs."""
    run = facts.get("run")
    if run and not run.get("cancelled"):
        return str(RuntimeState.RUNNING)
    return str(facts["state"] or "")


def note_of(facts: Facts) -> str | None:
    """What is wrong with a runtime of a listing, or unusual; None for what is as it should be."""
    for name in ("unreadable", "set_aside"):
        if facts[name] is not None:
            return f"{name.replace('_', ' ')}: {facts[name]}"
    if not facts["registered"]:
        return "unregistered"
    if facts["paused"]:
        return "paused"
    run = facts.get("run") or {}
    return f"no sign for {run['quiet_s']:.0f} s" if run.get("stuck") else None


def inputs_facts(
    store: RuntimeStore,
    runtime_id: LogicalRuntimeId,
    states: Sequence[InputState],
    *,
    payload: bool,
) -> list[Facts]:
    """Inputs; with ``payload`` what they say is among it, as far as it is kept.

    Raises StoreError, and DecodeError for what no longer can be read.
    """
    if not payload:
        return [_input_facts(state) for state in states]
    ended = [state.input_id for state in states if state.input is None]
    kept = store.load_payloads(runtime_id, ended) if ended else {}
    return [
        {**_input_facts(state), "payload": _payload_of(state, kept.get(state.input_id))}
        for state in states
    ]


def _payload_of(state: InputState, kept: bytes | None) -> Any:
    said = kept if state.input is None else to_json(state.input)
    return None if said is None else parse(said)


def _input_facts(state: InputState) -> Facts:
    return {
        "input_id": str(state.input_id),
        "phase": str(state.phase),
        "kind": None if state.input is None else str(state.input.kind),
        "admission_sequence": state.admission_sequence,
        "attempt_count": state.attempt_count,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "idempotency_key": text_of(state.idempotency_key),
        "correlation_id": text_of(state.correlation_id),
        "causation_id": text_of(state.causation_id),
        "last_run_id": text_of(state.last_run_id),
        "last_boundary_sequence": state.last_boundary_sequence,
        "reason": _reason_of(state),
        "last_error": state.last_error,
    }


def step_facts(entry: HistoryEntry) -> Facts:
    """One line of an input's history."""
    return {
        "at": entry.timestamp,
        "from": str(entry.from_phase),
        "to": str(entry.to_phase),
        "reason": entry.reason,
    }


def _reason_of(state: InputState) -> str | None:
    ending = completion_of(state)
    if ending is None:
        return None
    return ending.reason or text_of(ending.displaced_by)


def receipt_facts(receipt: RunBoundaryReceipt) -> Facts:
    """A receipt, as it is on the wire."""
    return cast("Facts", json.loads(to_json(receipt)))


def stored_facts(store: RuntimeStore, row: RuntimeRow) -> Facts:
    """All that is stored of one runtime, counted. Raises StoreError."""
    tally = tally_in(store, row.runtime_id)
    facts: Facts = {
        "runtime_id": str(row.runtime_id),
        "state": str(row.state),
        "registered": row.registered,
        "session_id": text_of(row.session_id),
        "epoch_id": text_of(row.epoch_id),
        "messages": tally.messages,
        "receipts": tally.receipts,
        "pending_inputs": tally.pending,
    }
    if tally.snapshot_bytes is not None:
        facts["snapshot_bytes"] = tally.snapshot_bytes
    if row.paused:
        facts["paused"] = True
    if row.set_aside is not None:
        facts["set_aside"] = row.set_aside
    facts.update({str(phase): number for phase, number in tally.ended.items()})
    if tally.last_error:
        facts["last_error"] = tally.last_error
    return facts
