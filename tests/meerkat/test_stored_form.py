"""The stored form of an input is that of a whole one, but for the input itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meerkat import InputState, PromptInput, RunId, StoredInputState
from meerkat import input_lifecycle as lifecycle
from meerkat.codec import to_document, to_stored_document
from meerkat.identifiers import CausationId, CorrelationId, InputId
from meerkat.input_lifecycle import AbandonCause, AbandonReason
from meerkat.policy import DEFAULT_POLICY

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Step = Any


def _later(state: InputState) -> datetime:
    return state.updated_at + timedelta(microseconds=7)


def _queue(state: InputState, _value: Any) -> InputState:
    assert state.input is not None
    decision = DEFAULT_POLICY.resolve(state.input, running=False)
    return lifecycle.queue_accepted(state, _later(state), policy=decision, sequence=2**63)


def _stage(state: InputState, _value: Any) -> InputState:
    return lifecycle.stage_for_run(state, _later(state), run_id=RunId.new())


def _roll_back(state: InputState, value: Any) -> InputState:
    return lifecycle.rollback_staged(state, _later(state), reason="run_failed", error=str(value))


def _consume(state: InputState, value: Any) -> InputState:
    assert state.last_run_id is not None
    return lifecycle.consume_at_boundary(
        state, _later(state), run_id=state.last_run_id, sequence=3, result=value
    )


def _abandon(state: InputState, _value: Any) -> InputState:
    reason = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, state.attempt_count)
    return lifecycle.abandon(state, _later(state), reason=reason, error="no use")


def _supersede(state: InputState, _value: Any) -> InputState:
    return lifecycle.supersede(state, _later(state), by=InputId.new())


PATHS: list[list[Step]] = [
    [],
    [_queue],
    [_queue, _stage],
    [_queue, _stage, _roll_back, _stage, _consume],
    [_queue, _stage, _abandon],
    [_queue, _supersede],
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    path=st.sampled_from(PATHS),
    value=json_values,
    key=st.none() | st.just("key"),
    ids=st.fixed_dictionaries(
        {},
        optional={
            "correlation_id": st.builds(CorrelationId.new),
            "causation_id": st.builds(CausationId.new),
        },
    ),
    durability=st.sampled_from(["durable", "ephemeral"]),
)
def test_it_is_the_whole_one_without_the_input(
    path: list[Step],
    value: Any,
    key: str | None,
    ids: dict[str, Any],
    durability: Any,
) -> None:
    offered = PromptInput("hello", idempotency_key=key, durability=durability, **ids)
    state = InputState.of(offered, NOW)
    for step in path:
        state = step(state, value)
    expected = to_document(StoredInputState(state=state))
    expected.pop("input", None)
    assert to_stored_document(state) == expected


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}, 2**64, object()])
def test_what_no_row_can_hold_is_refused(value: Any) -> None:
    state = InputState.of(PromptInput("hello"), NOW)
    for step in (_queue, _stage):
        state = step(state, None)
    with pytest.raises(ValueError, match=r"JSON|integer"):
        to_stored_document(_consume(state, value))
