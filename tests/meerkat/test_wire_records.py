"""Reports, events and stored states on the wire: their names, their defaults, what is left off."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import START, prompt, round_trip, state_in, uuid_of

from meerkat import (
    DestroyReport,
    EpochCursorSnapshot,
    InputId,
    InputPhase,
    InputState,
    OperationId,
    RecoveryReport,
    RecycleReport,
    ResetReport,
    RetireReport,
    RunId,
    RuntimeEventEnvelope,
    RuntimeEventId,
    RuntimeState,
    StoredInputState,
    from_json,
    to_json,
)
from meerkat.errors import DecodeError
from meerkat.events import (
    Event,
    EventCode,
    InputLifecycleEvent,
    OperationEvent,
    ProjectionEvent,
    RunLifecycleEvent,
    RuntimeStateChange,
    TopologyEvent,
)
from meerkat.identifiers import CausationId, CorrelationId
from meerkat.reports import StopReport


def test_ser_01_recovery_report() -> None:
    report = RecoveryReport(
        inputs_recovered=5, inputs_abandoned=1, inputs_requeued=3, details=["one line"]
    )
    assert json.loads(to_json(report)) == {
        "inputs_recovered": 5,
        "inputs_abandoned": 1,
        "inputs_requeued": 3,
        "details": ["one line"],
    }
    assert round_trip(report) == report
    bare = RecoveryReport(inputs_recovered=5)
    assert "details" not in json.loads(to_json(bare))
    assert round_trip(bare).details == []


def test_ser_02_a_missing_count_is_zero() -> None:
    read = from_json(RetireReport, b'{"inputs_abandoned": 2}')
    assert read == RetireReport(inputs_abandoned=2, inputs_pending_drain=0)


@pytest.mark.parametrize(
    "report_type",
    [RecoveryReport, RetireReport, ResetReport, StopReport, DestroyReport, RecycleReport],
)
def test_reports_default_to_zero(report_type: Any) -> None:
    assert from_json(report_type, b"{}") == report_type()
    assert all(value in (0, []) for value in json.loads(to_json(report_type())).values())


EVENTS: list[tuple[Event, str, dict[str, Any]]] = [
    (
        RunLifecycleEvent(EventCode.RUN_FAILED, RunId(uuid_of(1)), "boom"),
        "run_lifecycle",
        {"code": "run.failed", "run_id": str(uuid_of(1)), "detail": "boom"},
    ),
    (
        RuntimeStateChange(RuntimeState.IDLE, RuntimeState.RUNNING),
        "runtime_state_change",
        {"code": "runtime.state_changed", "from": "idle", "to": "running"},
    ),
    (
        TopologyEvent(EventCode.RUNTIME_RETIRED),
        "topology",
        {"code": "topology.runtime_retired"},
    ),
    (
        ProjectionEvent({"a": [1]}),
        "projection",
        {"code": "runtime.projection_emitted", "projection": {"a": [1]}},
    ),
    (
        InputLifecycleEvent(EventCode.INPUT_ACCEPTED, InputId(uuid_of(2))),
        "input_lifecycle",
        {"code": "input.accepted", "input_id": str(uuid_of(2))},
    ),
    (
        OperationEvent(EventCode.OPERATION_COMPLETED, OperationId(uuid_of(3))),
        "operation",
        {"code": "operation.completed", "operation_id": str(uuid_of(3))},
    ),
]


@pytest.mark.parametrize(("event", "category", "data"), EVENTS, ids=[each[1] for each in EVENTS])
def test_ser_04_events(event: Event, category: str, data: dict[str, Any]) -> None:
    assert json.loads(to_json(event)) == {"category": category, "data": data}
    assert round_trip(event) == event
    assert event.code.value
    envelope = RuntimeEventEnvelope(
        id=RuntimeEventId(uuid_of(4)),
        runtime_id="agent-1",
        sequence=7,
        timestamp=START,
        event=event,
        causation_id=CausationId(uuid_of(5)),
        correlation_id=CorrelationId(uuid_of(6)),
    )
    assert json.loads(to_json(envelope)) == {
        "id": str(uuid_of(4)),
        "runtime_id": "agent-1",
        "sequence": 7,
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "event": {"category": category, "data": data},
        "causation_id": str(uuid_of(5)),
        "correlation_id": str(uuid_of(6)),
    }
    assert round_trip(envelope) == envelope


def test_ser_04_every_code_of_the_specification_and_one_of_supervision() -> None:
    inputs = "accepted deduplicated rejected superseded coalesced queued staged applied consumed"
    wanted = [f"input.{word}" for word in (*inputs.split(), "abandoned")]
    wanted += [f"run.{w}" for w in ("started", "progress", "completed", "failed", "cancelled")]
    wanted += ["runtime.state_changed", "runtime.projection_emitted"]
    wanted += [f"topology.runtime_{w}" for w in ("created", "retired", "recycled", "destroyed")]
    wanted += [f"operation.{w}" for w in ("started", "progress", "completed")]
    wanted += ["topology.runtime_set_aside"]
    assert sorted(code.value for code in EventCode) == sorted(wanted)


@pytest.mark.parametrize(
    ("build", "code"),
    [
        (lambda code: RunLifecycleEvent(code, RunId(uuid_of(1))), EventCode.INPUT_ACCEPTED),
        (lambda code: InputLifecycleEvent(code, InputId(uuid_of(1))), EventCode.RUN_STARTED),
        (TopologyEvent, EventCode.RUNTIME_STATE_CHANGED),
        (lambda code: ProjectionEvent(None, code), EventCode.RUNTIME_STATE_CHANGED),
    ],
)
def test_a_code_of_another_category_is_refused(build: Any, code: EventCode) -> None:
    with pytest.raises(ValueError, match="not a code of this category"):
        build(code)


# --- stored states ----------------------------------------------------------------------


@pytest.mark.parametrize("phase", InputPhase, ids=str)
def test_ser_06_a_stored_state_keeps_all_its_fields(phase: InputPhase) -> None:
    offered = prompt(idempotency_key="K", correlation_id=CorrelationId(uuid_of(1)))
    stored = StoredInputState(state=state_in(phase, offered))
    document = json.loads(to_json(stored))
    assert document["stored_input_state_version"] == 1
    assert document["input_id"] == str(offered.id)
    assert document["phase"] == phase.value
    assert ("input" in document) != phase.is_terminal
    assert [entry["to"] for entry in document.get("history", [])] == [
        entry.to_phase.value for entry in stored.state.history
    ]
    assert round_trip(stored) == stored


@pytest.mark.parametrize("version", [0, 2, 99, -1, True, 1.0, "1", None])
def test_ser_06_an_unknown_version_fails_closed(version: Any) -> None:
    document = json.loads(to_json(StoredInputState(state=state_in(InputPhase.QUEUED))))
    document["stored_input_state_version"] = version
    with pytest.raises(DecodeError, match="is not known here"):
        from_json(StoredInputState, json.dumps(document))
    del document["stored_input_state_version"]
    with pytest.raises(DecodeError, match="is not known here"):
        from_json(StoredInputState, json.dumps(document))


def test_a_stored_state_that_contradicts_itself_is_refused() -> None:
    document = json.loads(to_json(StoredInputState(state=state_in(InputPhase.CONSUMED))))
    del document["terminal_outcome"]
    with pytest.raises(DecodeError, match="terminal without its outcome"):
        from_json(StoredInputState, json.dumps(document))


def test_what_is_none_or_empty_is_left_off() -> None:
    document = json.loads(to_json(state_in(InputPhase.ACCEPTED, prompt())))
    assert sorted(document) == [
        "attempt_count",
        "created_at",
        "durability",
        "input",
        "input_id",
        "phase",
        "recovery_count",
        "updated_at",
    ]
    minimal = {name: document[name] for name in ("input_id", "created_at", "updated_at")}
    read = from_json(InputState, json.dumps(minimal))
    assert (read.phase, read.attempt_count, read.history) == (InputPhase.ACCEPTED, 0, ())


def test_cursors() -> None:
    cursors = EpochCursorSnapshot(
        agent_applied_cursor=1, runtime_observed_seq=3, runtime_last_injected_seq=2
    )
    assert json.loads(to_json(cursors)) == {
        "agent_applied_cursor": 1,
        "runtime_observed_seq": 3,
        "runtime_last_injected_seq": 2,
    }
    assert round_trip(cursors) == cursors
