"""Strategies: any JSON, and any value that has a wire form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from meerkat import (
    Accepted,
    AcceptOutcome,
    ContinuationInput,
    Deduplicated,
    DestroyReport,
    EpochCursorSnapshot,
    External,
    ExternalEventInput,
    Flow,
    FlowStepInput,
    Input,
    InputId,
    InputPhase,
    InputState,
    OperationId,
    OperationInput,
    Operator,
    Peer,
    PeerInput,
    PeerMessage,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
    PolicyDecision,
    PromptInput,
    RecoveryReport,
    RecycleReport,
    Rejected,
    ResetReport,
    RetireReport,
    RunBoundaryReceipt,
    RunId,
    RuntimeEventEnvelope,
    RuntimeState,
    System,
    events,
    inputs,
    origins,
    outcomes,
    policy,
)
from meerkat import input_lifecycle as lifecycle
from meerkat.identifiers import (
    CausationId,
    CorrelationId,
    IdempotencyKey,
    LogicalRuntimeId,
    PolicyVersion,
    RuntimeEventId,
    SupersessionKey,
)
from meerkat.reports import StopReport

# --- JSON -------------------------------------------------------------------------------

json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_integers = st.integers(-(2**63), 2**64 - 1)
json_scalars = (
    st.none()
    | st.booleans()
    | json_integers
    | st.floats(allow_nan=False, allow_infinity=False)
    | json_text
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_text, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(json_text, json_values, max_size=3)

# --- what values are made of ------------------------------------------------------------

times = st.datetimes(
    min_value=datetime(1, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(UTC),
)
counts = st.integers(0, 2**64 - 1)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
runtime_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,30}", fullmatch=True).map(
    LogicalRuntimeId
)
input_ids = st.builds(InputId, st.uuids())
run_ids = st.builds(RunId, st.uuids())
correlation_ids = st.builds(CorrelationId, st.uuids())


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


# --- inputs -----------------------------------------------------------------------------

sources = st.one_of(
    st.just(Operator()),
    st.just(System()),
    st.builds(
        Peer,
        peer_id=json_text,
        display_identity=optional(json_text),
        runtime_id=optional(runtime_ids),
    ),
    st.builds(Flow, flow_id=json_text, step_index=counts),
    st.builds(External, source_name=json_text),
)
conventions = st.one_of(
    st.just(PeerMessage()),
    st.builds(PeerRequest, request_id=json_text, intent=json_text),
    st.builds(
        PeerResponseProgress, request_id=json_text, phase=st.sampled_from(origins.ProgressPhase)
    ),
    st.builds(
        PeerResponseTerminal, request_id=json_text, status=st.sampled_from(origins.TerminalStatus)
    ),
)
modes = st.sampled_from(inputs.HandlingMode)
contents = json_text | st.lists(json_objects, max_size=2)
metadata = optional(
    st.builds(
        lambda extra, mode: {**extra, **mode},
        json_objects.filter(lambda each: "handling_mode" not in each),
        st.sampled_from([{}, {"handling_mode": "steer"}]),
    )
)
header: dict[str, st.SearchStrategy[Any]] = {
    "id": input_ids,
    "timestamp": times,
    "durability": st.sampled_from(inputs.Durability),
    "visibility": st.builds(
        inputs.Visibility, transcript_eligible=st.booleans(), operator_eligible=st.booleans()
    ),
    "idempotency_key": optional(keys.map(IdempotencyKey)),
    "supersession_key": optional(keys.map(SupersessionKey)),
    "correlation_id": optional(correlation_ids),
    "source": sources,
}
any_input: st.SearchStrategy[Input] = st.one_of(
    st.builds(PromptInput, contents, turn_metadata=metadata, **header),
    st.builds(
        PeerInput,
        contents,
        convention=optional(conventions),
        payload=json_values,
        handling_mode=optional(modes),
        **header,
    ),
    st.builds(FlowStepInput, contents, step_id=json_text, turn_metadata=metadata, **header),
    st.builds(ExternalEventInput, json_text, json_values, handling_mode=modes, **header),
    st.builds(
        ContinuationInput,
        json_text,
        handling_mode=modes,
        request_id=optional(json_text),
        **header,
    ),
    st.builds(OperationInput, st.builds(OperationId, st.uuids()), json_values, **header),
)

# --- decisions, states and outcomes -----------------------------------------------------

decisions = st.builds(
    PolicyDecision,
    apply_mode=st.sampled_from(policy.ApplyMode),
    wake_mode=st.sampled_from(policy.WakeMode),
    queue_mode=st.sampled_from(policy.QueueMode),
    consume_point=st.sampled_from(policy.ConsumePoint),
    drain_policy=st.sampled_from(policy.DrainPolicy),
    routing_disposition=st.sampled_from(policy.RoutingDisposition),
    record_transcript=st.booleans(),
    emit_operator_content=st.booleans(),
    policy_version=counts.map(PolicyVersion),
)
_EXHAUSTED = lifecycle.AbandonCause.MAX_ATTEMPTS_EXHAUSTED
abandon_reasons = st.one_of(
    st.sampled_from([c for c in lifecycle.AbandonCause if c is not _EXHAUSTED]).map(
        lifecycle.AbandonReason
    ),
    counts.map(lambda attempts: lifecycle.AbandonReason(_EXHAUSTED, attempts)),
)
terminal_outcomes = st.one_of(
    st.just(lifecycle.ConsumedOutcome()),
    st.builds(lifecycle.SupersededOutcome, input_ids),
    st.builds(lifecycle.CoalescedOutcome, input_ids),
    st.builds(lifecycle.AbandonedOutcome, abandon_reasons),
)
phases = st.sampled_from(InputPhase)
states = st.builds(
    InputState,
    input_id=input_ids,
    phase=phases,
    policy=optional(decisions),
    durability=st.sampled_from(inputs.Durability),
    idempotency_key=optional(keys.map(IdempotencyKey)),
    correlation_id=optional(correlation_ids),
    attempt_count=counts,
    recovery_count=counts,
    history=st.lists(
        st.builds(lifecycle.HistoryEntry, times, phases, phases, optional(json_text)), max_size=2
    ).map(tuple),
    created_at=times,
    updated_at=times,
    last_run_id=optional(run_ids),
    last_boundary_sequence=optional(counts),
    admission_sequence=optional(counts),
    terminal_outcome=optional(terminal_outcomes),
    result=json_values,
    last_error=optional(json_text),
    input=optional(any_input),
)
reject_reasons = st.one_of(
    *(
        st.builds(cls, json_text)
        for cls in (
            outcomes.DurabilityViolation,
            outcomes.PeerHandlingModeInvalid,
            outcomes.PeerResponseTerminalInvalid,
        )
    )
)
accept_outcomes: st.SearchStrategy[AcceptOutcome] = st.one_of(
    st.builds(Accepted, input_id=input_ids, policy=decisions, state=states),
    st.builds(Deduplicated, input_id=input_ids, existing_id=input_ids, existing_state=states),
    st.builds(Rejected, reason=reject_reasons),
)

# --- receipts, reports and events -------------------------------------------------------

receipts = st.builds(
    RunBoundaryReceipt,
    run_id=run_ids,
    boundary=st.sampled_from(policy.RunBoundary),
    contributing_input_ids=st.lists(input_ids, max_size=3).map(tuple),
    conversation_digest=optional(json_text),
    message_count=counts,
    sequence=counts,
)
reports = st.one_of(
    st.builds(
        RecoveryReport,
        inputs_recovered=counts,
        inputs_abandoned=counts,
        inputs_requeued=counts,
        details=st.lists(json_text, max_size=2).map(tuple),
    ),
    st.builds(RetireReport, inputs_abandoned=counts, inputs_pending_drain=counts),
    *(st.builds(cls, inputs_abandoned=counts) for cls in (ResetReport, StopReport, DestroyReport)),
    st.builds(RecycleReport, inputs_transferred=counts),
)


def _codes(prefix: str) -> st.SearchStrategy[events.EventCode]:
    return st.sampled_from([code for code in events.EventCode if code.value.startswith(prefix)])


any_event = st.one_of(
    st.builds(
        events.InputLifecycleEvent,
        _codes("input."),
        input_ids,
        optional(json_text),
        optional(input_ids),
    ),
    st.builds(events.RunLifecycleEvent, _codes("run."), run_ids, optional(json_text)),
    st.builds(
        events.RuntimeStateChange, st.sampled_from(RuntimeState), st.sampled_from(RuntimeState)
    ),
    st.builds(events.TopologyEvent, _codes("topology.")),
    st.builds(events.ProjectionEvent, json_values),
    st.builds(
        events.OperationEvent,
        _codes("operation."),
        st.builds(OperationId, st.uuids()),
        optional(json_text),
    ),
)
envelopes = st.builds(
    RuntimeEventEnvelope,
    id=st.builds(RuntimeEventId, st.uuids()),
    runtime_id=runtime_ids,
    sequence=counts,
    timestamp=times,
    event=any_event,
    causation_id=optional(st.builds(CausationId, st.uuids())),
    correlation_id=optional(correlation_ids),
)
cursors = st.builds(
    EpochCursorSnapshot,
    agent_applied_cursor=counts,
    runtime_observed_seq=counts,
    runtime_last_injected_seq=counts,
)

wire_values: st.SearchStrategy[Any] = st.one_of(
    any_input, decisions, states, accept_outcomes, receipts, reports, envelopes, any_event, cursors
)
"""Any value that has a wire form."""
