"""Strategies for inputs: every kind, under every header, from every source."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import strategies as st

from meerkat.identifiers import (
    CausationId,
    CorrelationId,
    IdempotencyKey,
    InputId,
    LogicalRuntimeId,
    OperationId,
    RunId,
    SupersessionKey,
)
from meerkat.inputs import (
    ContinuationInput,
    Durability,
    ExternalEventInput,
    FlowStepInput,
    HandlingMode,
    Input,
    OperationInput,
    PeerInput,
    PromptInput,
    Visibility,
)
from meerkat.origins import (
    Convention,
    External,
    Flow,
    Operator,
    Peer,
    PeerMessage,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
    ProgressPhase,
    Source,
    System,
    TerminalStatus,
)
from meerkat.testing.strategies_json import (
    Strategy,
    counts,
    json_objects,
    json_text,
    json_values,
    optional,
)

_TIMES: Final = st.datetimes(
    min_value=datetime(1, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(UTC),
)
_KEYS: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_RUNTIME_IDS: Final = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,30}", fullmatch=True).map(
    LogicalRuntimeId
)
_INPUT_IDS: Final = st.builds(InputId, st.uuids())
_RUN_IDS: Final = st.builds(RunId, st.uuids())
_CORRELATION_IDS: Final = st.builds(CorrelationId, st.uuids())
_CAUSATION_IDS: Final = st.builds(CausationId, st.uuids())
_OPERATION_IDS: Final = st.builds(OperationId, st.uuids())


def times() -> Strategy[datetime]:
    """Any moment, in UTC."""
    return _TIMES


def runtime_ids() -> Strategy[LogicalRuntimeId]:
    """Names of runtimes, up to 31 characters of the grammar."""
    return _RUNTIME_IDS


def input_ids() -> Strategy[InputId]:
    """Input ids of any UUID, not of version 7 alone."""
    return _INPUT_IDS


def run_ids() -> Strategy[RunId]:
    """Run ids of any UUID."""
    return _RUN_IDS


def operation_ids() -> Strategy[OperationId]:
    """Operation ids of any UUID."""
    return _OPERATION_IDS


def correlation_ids() -> Strategy[CorrelationId]:
    """Correlation ids of any UUID."""
    return _CORRELATION_IDS


def causation_ids() -> Strategy[CausationId]:
    """Causation ids of any UUID."""
    return _CAUSATION_IDS


def keys() -> Strategy[str]:
    """Texts that serve as idempotency and supersession keys."""
    return _KEYS


# --- where inputs come from -------------------------------------------------------------

_SOURCES: Final[Strategy[Source]] = st.one_of(
    st.just(Operator()),
    st.just(System()),
    st.builds(
        Peer,
        peer_id=json_text(),
        display_identity=optional(json_text()),
        runtime_id=optional(_RUNTIME_IDS),
    ),
    st.builds(Flow, flow_id=json_text(), step_index=counts()),
    st.builds(External, source_name=json_text()),
)
_CONVENTIONS: Final[Strategy[Convention]] = st.one_of(
    st.just(PeerMessage()),
    st.builds(PeerRequest, request_id=json_text(), intent=json_text()),
    st.builds(PeerResponseProgress, request_id=json_text(), phase=st.sampled_from(ProgressPhase)),
    st.builds(PeerResponseTerminal, request_id=json_text(), status=st.sampled_from(TerminalStatus)),
)


def sources() -> Strategy[Source]:
    """Every source an input can name."""
    return _SOURCES


def conventions() -> Strategy[Convention]:
    """Every convention between peers."""
    return _CONVENTIONS


# --- inputs -----------------------------------------------------------------------------

_MODES: Final = st.sampled_from(HandlingMode)
_CONTENTS: Final = json_text() | st.lists(json_objects(), max_size=2)
_METADATA: Final = optional(
    st.builds(
        lambda extra, mode: {**extra, **mode},
        json_objects().filter(lambda each: "handling_mode" not in each),
        st.sampled_from([{}, {"handling_mode": "steer"}]),
    )
)
_HEADER: Final[dict[str, Strategy[Any]]] = {
    "id": _INPUT_IDS,
    "timestamp": _TIMES,
    "durability": st.sampled_from(Durability),
    "visibility": st.builds(
        Visibility, transcript_eligible=st.booleans(), operator_eligible=st.booleans()
    ),
    "idempotency_key": optional(_KEYS.map(IdempotencyKey)),
    "supersession_key": optional(_KEYS.map(SupersessionKey)),
    "correlation_id": optional(_CORRELATION_IDS),
    "causation_id": optional(_CAUSATION_IDS),
    "source": _SOURCES,
}


def headers(**fixed: Strategy[Any]) -> Strategy[dict[str, Any]]:
    """Headers, as the keywords that every input takes; ``fixed`` has some from elsewhere.

    ``headers(durability=st.just("durable"))`` varies all but the durability.
    """
    return st.fixed_dictionaries({**_HEADER, **fixed})


def inputs(**fixed: Strategy[Any]) -> Strategy[Input]:
    """Every input that can be built, whether it is admitted or not.

    ``fixed`` has fields of the header from elsewhere, as :func:`headers`. Ids are drawn too:
    two of them are equal as rarely as two UUIDs that Hypothesis draws.
    """
    header = {**_HEADER, **fixed}
    return st.one_of(
        st.builds(PromptInput, _CONTENTS, turn_metadata=_METADATA, **header),
        st.builds(
            PeerInput,
            _CONTENTS,
            convention=optional(_CONVENTIONS),
            payload=json_values(),
            handling_mode=optional(_MODES),
            **header,
        ),
        st.builds(FlowStepInput, _CONTENTS, step_id=json_text(), turn_metadata=_METADATA, **header),
        st.builds(ExternalEventInput, json_text(), json_values(), handling_mode=_MODES, **header),
        st.builds(
            ContinuationInput,
            json_text(),
            handling_mode=_MODES,
            request_id=optional(json_text()),
            **header,
        ),
        st.builds(OperationInput, _OPERATION_IDS, json_values(), **header),
    )
