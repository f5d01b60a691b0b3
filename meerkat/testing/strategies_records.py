"""Strategies for records: every value with a wire form but the inputs.

They are well-formed, not true: a state may contradict itself, as what is read from
somewhere may.
"""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from meerkat import outcomes
from meerkat.epoch import EpochCursorSnapshot
from meerkat.events import (
    Event,
    EventCode,
    InputLifecycleEvent,
    OperationEvent,
    ProjectionEvent,
    RunLifecycleEvent,
    RuntimeEventEnvelope,
    RuntimeStateChange,
    TopologyEvent,
)
from meerkat.identifiers import IdempotencyKey, RuntimeEventId
from meerkat.input_lifecycle import (
    AbandonCause,
    AbandonedOutcome,
    AbandonReason,
    CoalescedOutcome,
    ConsumedOutcome,
    HistoryEntry,
    InputPhase,
    InputState,
    SupersededOutcome,
)
from meerkat.inputs import Durability
from meerkat.operations import (
    OperationAborted,
    OperationCancelled,
    OperationCompleted,
    OperationFailed,
    OperationKind,
    OperationOutcome,
    OperationRecord,
    OperationRetired,
    OperationStatus,
    OperationTerminated,
)
from meerkat.outcomes import Accepted, AcceptOutcome, Deduplicated, Rejected
from meerkat.policy import RunBoundary
from meerkat.receipts import RunBoundaryReceipt
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    RedrivenInput,
    RedriveReport,
    ResetReport,
    RetireReport,
    SkippedInput,
    SkipReason,
    StopReport,
)
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.testing.strategies_inputs import (
    causation_ids,
    correlation_ids,
    input_ids,
    inputs,
    keys,
    operation_ids,
    run_ids,
    runtime_ids,
    times,
)
from meerkat.testing.strategies_json import Strategy, counts, json_text, json_values, optional
from meerkat.testing.strategies_policies import decisions

# --- states and outcomes ----------------------------------------------------------------

_EXHAUSTED: Final = AbandonCause.MAX_ATTEMPTS_EXHAUSTED
_ENDS: Final = st.one_of(
    st.just(ConsumedOutcome()),
    st.builds(SupersededOutcome, input_ids()),
    st.builds(CoalescedOutcome, input_ids()),
    st.builds(
        AbandonedOutcome,
        st.sampled_from([each for each in AbandonCause if each is not _EXHAUSTED]).map(
            AbandonReason
        )
        | counts().map(lambda attempts: AbandonReason(_EXHAUSTED, attempts)),
    ),
)
_PHASES: Final = st.sampled_from(InputPhase)
_STATES: Final = st.builds(
    InputState,
    input_id=input_ids(),
    phase=_PHASES,
    policy=optional(decisions()),
    durability=st.sampled_from(Durability),
    idempotency_key=optional(keys().map(IdempotencyKey)),
    correlation_id=optional(correlation_ids()),
    causation_id=optional(causation_ids()),
    attempt_count=counts(),
    recovery_count=counts(),
    history=st.lists(
        st.builds(HistoryEntry, times(), _PHASES, _PHASES, optional(json_text())), max_size=2
    ).map(tuple),
    created_at=times(),
    updated_at=times(),
    last_run_id=optional(run_ids()),
    last_boundary_sequence=optional(counts()),
    admission_sequence=optional(counts()),
    terminal_outcome=optional(_ENDS),
    result=json_values(),
    last_error=optional(json_text()),
    input=optional(inputs()),
)
_OUTCOMES: Final[Strategy[AcceptOutcome]] = st.one_of(
    st.builds(Accepted, input_id=input_ids(), policy=decisions(), state=_STATES),
    st.builds(Deduplicated, input_id=input_ids(), existing_id=input_ids(), existing_state=_STATES),
    st.builds(
        Rejected,
        reason=st.one_of(
            st.builds(outcomes.DurabilityViolation, json_text()),
            st.builds(outcomes.PeerHandlingModeInvalid, json_text()),
            st.builds(outcomes.PeerResponseTerminalInvalid, json_text()),
        ),
    ),
)


def states() -> Strategy[InputState]:
    """Any state of an input, the impossible ones too."""
    return _STATES


def accept_outcomes() -> Strategy[AcceptOutcome]:
    """Every answer to an offered input."""
    return _OUTCOMES


# --- receipts and reports ---------------------------------------------------------------

_RECEIPTS: Final = st.builds(
    RunBoundaryReceipt,
    run_id=run_ids(),
    boundary=st.sampled_from(RunBoundary),
    contributing_input_ids=st.lists(input_ids(), max_size=3).map(tuple),
    conversation_digest=optional(json_text()),
    message_count=counts(),
    sequence=counts(),
)
_REPORTS: Final = st.one_of(
    st.builds(
        RecoveryReport,
        inputs_recovered=counts(),
        inputs_abandoned=counts(),
        inputs_requeued=counts(),
        details=st.lists(json_text(), max_size=2).map(tuple),
    ),
    st.builds(RetireReport, inputs_abandoned=counts(), inputs_pending_drain=counts()),
    *(
        st.builds(kind, inputs_abandoned=counts())
        for kind in (ResetReport, StopReport, DestroyReport)
    ),
    st.builds(RecycleReport, inputs_transferred=counts()),
    st.builds(
        RedriveReport,
        redriven=st.lists(
            st.builds(RedrivenInput, input_id=input_ids(), redriven_as=input_ids()), max_size=2
        ).map(tuple),
        skipped=st.lists(
            st.builds(
                SkippedInput,
                input_id=input_ids(),
                reason=st.sampled_from(SkipReason),
                detail=optional(json_text()),
            ),
            max_size=2,
        ).map(tuple),
    ),
)
_CURSORS: Final = st.builds(
    EpochCursorSnapshot,
    agent_applied_cursor=counts(),
    runtime_observed_seq=counts(),
    runtime_last_injected_seq=counts(),
)


def receipts() -> Strategy[RunBoundaryReceipt]:
    """Receipts, of nothing too."""
    return _RECEIPTS


def reports() -> Strategy[Any]:
    """What each control call reports."""
    return _REPORTS


def cursors() -> Strategy[EpochCursorSnapshot]:
    """Cursors, in any order to one another."""
    return _CURSORS


# --- events -----------------------------------------------------------------------------


def _codes(prefix: str) -> Strategy[EventCode]:
    return st.sampled_from([code for code in EventCode if code.value.startswith(prefix)])


_EVENTS: Final[Strategy[Event]] = st.one_of(
    st.builds(
        InputLifecycleEvent,
        _codes("input."),
        input_ids(),
        optional(json_text()),
        optional(input_ids()),
    ),
    st.builds(RunLifecycleEvent, _codes("run."), run_ids(), optional(json_text())),
    st.builds(RuntimeStateChange, st.sampled_from(RuntimeState), st.sampled_from(RuntimeState)),
    st.builds(TopologyEvent, _codes("topology."), optional(json_text())),
    st.builds(ProjectionEvent, json_values()),
    st.builds(OperationEvent, _codes("operation."), operation_ids(), optional(json_text())),
)


def events() -> Strategy[Event]:
    """Every event there is."""
    return _EVENTS


def envelopes(runtime_id: Strategy[Any] | None = None) -> Strategy[RuntimeEventEnvelope]:
    """Events in their envelopes; ``runtime_id`` says of which runtimes, any if not given."""
    return st.builds(
        RuntimeEventEnvelope,
        id=st.builds(RuntimeEventId, st.uuids()),
        runtime_id=runtime_ids() if runtime_id is None else runtime_id,
        sequence=counts(),
        timestamp=times(),
        event=_EVENTS,
        causation_id=optional(causation_ids()),
        correlation_id=optional(correlation_ids()),
    )


# --- operations -------------------------------------------------------------------------

_OPERATION_ENDS: Final[Strategy[OperationOutcome]] = st.one_of(
    st.builds(OperationCompleted, result=json_values()),
    st.builds(OperationFailed, error=json_text()),
    st.builds(OperationAborted, reason=json_text()),
    st.builds(OperationCancelled, reason=json_text()),
    st.just(OperationRetired()),
    st.builds(OperationTerminated, reason=json_text()),
)
_LIVE: Final = (OperationStatus.PROVISIONING, OperationStatus.RUNNING, OperationStatus.RETIRING)


@st.composite
def operations(draw: st.DrawFn, *, live: bool | None = None) -> OperationRecord:
    """Operations of every kind, in every status; only live ones, or ended ones, if asked for."""
    ended = draw(st.booleans()) if live is None else not live
    outcome = draw(_OPERATION_ENDS) if ended else None
    kind = draw(st.sampled_from(OperationKind))
    is_peer = kind is OperationKind.MOB_MEMBER_CHILD
    return OperationRecord(
        operation_id=draw(operation_ids()),
        kind=kind,
        display_name=draw(json_text()),
        status=draw(st.sampled_from(_LIVE)) if outcome is None else outcome.status,
        progress_count=draw(counts()),
        peer_handle=draw(optional(json_text())) if is_peer else None,
        created_at=draw(times()),
        started_at=draw(optional(times())),
        completed_at=None if outcome is None else draw(times()),
        outcome=outcome,
    )


# --- all of them ------------------------------------------------------------------------


def wire_values() -> Strategy[Any]:
    """Any value that has a wire form, each as often as the others."""
    return st.one_of(
        inputs(),
        decisions(),
        _STATES,
        _OUTCOMES,
        _RECEIPTS,
        _REPORTS,
        envelopes(),
        _EVENTS,
        _CURSORS,
    )
