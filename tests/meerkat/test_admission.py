"""Admission: the two gates, what each refuses, and in which order."""

from __future__ import annotations

import math
from typing import Any

import pytest
from builders import (
    ONE_OF_EACH_KIND,
    PEER,
    Clock,
    continuation,
    event,
    message,
    nested,
    operation,
    progress,
    prompt,
    request,
    step,
    terminal,
)

from meerkat import (
    EphemeralRuntimeDriver,
    External,
    Flow,
    Input,
    Operator,
    Peer,
    PromptInput,
    Rejected,
    System,
    from_json,
    to_json,
)
from meerkat.admission import encode_input, reject_reason
from meerkat.errors import InputValidationFailed, Overloaded
from meerkat.kernel.memory import Rules
from meerkat.limits import DEFAULT_LIMITS, Limits
from meerkat.origins import Source
from meerkat.outcomes import (
    DurabilityViolation,
    PeerHandlingModeInvalid,
    PeerResponseTerminalInvalid,
    RejectReason,
)

FLOW = Flow(flow_id="f", step_index=0)
NEVER_DERIVED = (prompt, message, request, terminal, step)
DERIVABLE = (progress, event, continuation, operation)
NO_PAYLOAD_LIMIT = DEFAULT_LIMITS.payload_bytes_max


def reason_for(offered: Input) -> type[RejectReason] | None:
    reason = reject_reason(offered)
    return None if reason is None else type(reason)


# --- combinations -----------------------------------------------------------------------


@pytest.mark.parametrize("source", [System(), FLOW])
@pytest.mark.parametrize("build", NEVER_DERIVED)
def test_inp_08_derived_is_forbidden_for_these_kinds(build: Any, source: Source) -> None:
    offered = build(durability="derived", source=source)
    reason = reject_reason(offered)
    assert reason == DurabilityViolation(f"derived durability is forbidden for {offered.kind}")


@pytest.mark.parametrize("source", [System(), FLOW])
@pytest.mark.parametrize("build", DERIVABLE)
def test_inp_09_derived_is_legal_for_these_kinds(build: Any, source: Source) -> None:
    assert reject_reason(build(durability="derived", source=source)) is None


@pytest.mark.parametrize("durability", ["durable", "ephemeral"])
def test_inp_10_durable_and_ephemeral_prompts_pass(durability: str) -> None:
    assert reject_reason(prompt(durability=durability)) is None


@pytest.mark.parametrize("source", [Operator(), PEER, External(source_name="m")])
@pytest.mark.parametrize("build", ONE_OF_EACH_KIND)
def test_derived_is_never_legal_from_outside(build: Any, source: Source) -> None:
    reason = reject_reason(build(durability="derived", source=source))
    assert isinstance(reason, DurabilityViolation)
    assert type(source).__name__.lower() in reason.detail


@pytest.mark.parametrize("build", ONE_OF_EACH_KIND)
def test_ephemeral_is_legal_for_every_kind(build: Any) -> None:
    assert reject_reason(build(durability="ephemeral")) is None


@pytest.mark.parametrize("mode", ["queue", "steer"])
def test_acc_11_progress_takes_no_handling_mode(driver: EphemeralRuntimeDriver, mode: str) -> None:
    outcome = driver.accept_input(progress(handling_mode=mode))
    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.reason, PeerHandlingModeInvalid)
    assert driver.active_input_ids() == []
    for build in (message, request, terminal):
        assert driver.accept_input(build(handling_mode=mode)).is_accepted
    assert driver.accept_input(message(convention=None, handling_mode=mode)).is_accepted


def test_acc_12_terminal_response_names_its_request(driver: EphemeralRuntimeDriver) -> None:
    outcome = driver.accept_input(terminal(request_id=""))
    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.reason, PeerResponseTerminalInvalid)
    assert driver.active_input_ids() == []


@pytest.mark.parametrize("source", [System(), FLOW, Operator(), External(source_name="m")])
def test_terminal_response_comes_from_a_peer(source: Source) -> None:
    assert reason_for(terminal(source=source)) is PeerResponseTerminalInvalid
    assert reason_for(terminal(source=PEER)) is None
    assert reason_for(progress(source=source)) is None


def test_the_first_hit_rejects() -> None:
    outside = {"durability": "derived", "source": PEER}
    assert reason_for(progress(handling_mode="steer", **outside)) is DurabilityViolation
    assert reason_for(terminal("", **outside)) is DurabilityViolation
    assert reason_for(terminal("", durability="derived", source=System())) is DurabilityViolation
    derived = progress(handling_mode="queue", durability="derived", source=System())
    assert reason_for(derived) is PeerHandlingModeInvalid


# --- what JSON cannot carry -------------------------------------------------------------

UNFAITHFUL = [
    pytest.param(math.nan, id="nan"),
    pytest.param(math.inf, id="infinity"),
    pytest.param(-math.inf, id="minus infinity"),
    pytest.param("\ud800", id="lone surrogate"),
    pytest.param({"\udfff": 1}, id="lone surrogate in a key"),
    pytest.param(2**64, id="above 2^64-1"),
    pytest.param(-(2**63) - 1, id="below -2^63"),
    pytest.param({1: "x"}, id="a key that is no string"),
    pytest.param(b"bytes", id="bytes"),
    pytest.param({1, 2}, id="a set"),
    pytest.param(object(), id="an object"),
    pytest.param(nested(33), id="nested 33 deep"),
    pytest.param(nested(5_000), id="nested 5,000 deep"),
]


@pytest.mark.parametrize("value", UNFAITHFUL)
def test_what_json_cannot_carry_is_refused_and_leaves_nothing(
    driver: EphemeralRuntimeDriver, value: Any
) -> None:
    offered = event(value, idempotency_key="k")
    with pytest.raises(InputValidationFailed) as refused:
        driver.accept_input(offered)
    assert str(refused.value).startswith("Input validation failed: ")
    assert driver.active_input_ids() == []
    assert driver.input_state(offered.id) is None
    assert driver.drain_events() == []
    assert driver.accept_input(event(1, idempotency_key="k")).is_accepted


@pytest.mark.parametrize("value", [nested(32), 2**64 - 1, -(2**63), "\U0001f600", -0.0, 1e308])
def test_what_json_can_just_carry_is_accepted_and_reads_back(value: Any) -> None:
    offered = event(value)
    payload = encode_input(offered, NO_PAYLOAD_LIMIT)
    assert from_json(Input, payload) == offered


@pytest.mark.parametrize(
    ("build", "around"),
    [
        (lambda deep: PromptInput([{"x": deep}]), 2),
        (lambda deep: prompt(turn_metadata={"x": deep}), 1),
        (lambda deep: message(payload=[deep]), 1),
        (event, 0),
    ],
)
def test_depth_counts_within_each_value(build: Any, around: int) -> None:
    deepest = build(nested(32 - around))
    assert from_json(Input, encode_input(deepest, NO_PAYLOAD_LIMIT)) == deepest
    with pytest.raises(InputValidationFailed, match="nested deeper than 32"):
        encode_input(build(nested(33 - around)), NO_PAYLOAD_LIMIT)


@pytest.mark.parametrize(
    "offered",
    [
        prompt("\ud800"),
        prompt(idempotency_key="\ud800"),
        prompt(source=Peer(peer_id="\ud800")),
        prompt(source=Source()),
        request(intent="\ud800"),
    ],
)
def test_every_field_of_the_header_must_be_carried_too(offered: Input) -> None:
    with pytest.raises(InputValidationFailed):
        encode_input(offered, NO_PAYLOAD_LIMIT)


@pytest.mark.parametrize("wrong", ["text", None, {"input_type": "prompt"}, 7])
def test_only_an_input_can_be_offered(driver: EphemeralRuntimeDriver, wrong: Any) -> None:
    with pytest.raises(InputValidationFailed, match="expected an Input"):
        driver.accept_input(wrong)


# --- limits at n-1, n, n+1 --------------------------------------------------------------


def test_payload_limit_counts_encoded_bytes() -> None:
    offered = prompt("ü" * 100)
    size = len(to_json(offered))
    assert len(encode_input(offered, size + 1)) == size
    assert len(encode_input(offered, size)) == size
    said = f"{size} bytes is over the limit of {size - 1}"
    with pytest.raises(InputValidationFailed, match=said):
        encode_input(offered, size - 1)


def test_payload_limit_of_a_driver_is_one_mebibyte() -> None:
    driver = EphemeralRuntimeDriver("agent-1", now=Clock())
    room = 1024 * 1024 - len(to_json(prompt("")))
    for text_bytes, fits in ((room - 1, True), (room, True), (room + 1, False)):
        offered = prompt("x" * text_bytes)
        if fits:
            assert driver.accept_input(offered).is_accepted
        else:
            with pytest.raises(InputValidationFailed, match="over the limit of 1048576"):
                driver.accept_input(offered)
    assert len(driver.active_input_ids()) == 2


def test_pending_inputs_are_limited() -> None:
    rules = Rules(limits=Limits(pending_inputs_max=3))
    driver = EphemeralRuntimeDriver("agent-1", rules=rules, now=Clock())
    first = prompt(idempotency_key="first")
    for offered in (first, prompt(), prompt()):
        assert driver.accept_input(offered).is_accepted
    with pytest.raises(Overloaded) as refused:
        driver.accept_input(prompt())
    assert (refused.value.limit, refused.value.value) == ("pending_inputs_max", 3)
    assert driver.accept_input(prompt(idempotency_key="first")).is_deduplicated
    assert driver.accept_input(progress(handling_mode="steer")).is_rejected
    driver.start_run()
    assert driver.current_run_id is not None
    driver.complete_run(driver.current_run_id)
    assert driver.accept_input(prompt()).is_accepted
