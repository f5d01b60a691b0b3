"""Inputs: six variants on the wire, their defaults, and what is refused when one is built."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from builders import (
    ONE_OF_EACH_KIND,
    PEER,
    START,
    continuation,
    event,
    message,
    operation,
    progress,
    prompt,
    request,
    round_trip,
    step,
    terminal,
    uuid_of,
)

from meerkat import (
    ContinuationInput,
    External,
    ExternalEventInput,
    Flow,
    FlowStepInput,
    Input,
    InputId,
    OperationId,
    OperationInput,
    Operator,
    Peer,
    PeerInput,
    PeerMessage,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
    PromptInput,
    System,
    from_json,
    to_json,
)
from meerkat.errors import DecodeError
from meerkat.identifiers import CausationId, CorrelationId
from meerkat.inputs import Durability, HandlingMode, Visibility
from meerkat.origins import InputKind, ProgressPhase, Source

HEADER: dict[str, Any] = {
    "id": InputId(uuid_of(1)),
    "timestamp": START + timedelta(microseconds=6),
    "durability": "ephemeral",
    "visibility": Visibility(transcript_eligible=False, operator_eligible=True),
    "idempotency_key": "key-1",
    "supersession_key": "scope-1",
    "correlation_id": CorrelationId(uuid_of(2)),
    "causation_id": CausationId(uuid_of(4)),
}
BLOCKS = [{"type": "text", "text": "ünïcode \U0001f600", "n": [1, 2.5, None, True]}]

FULL: list[tuple[str, Input, dict[str, Any]]] = [
    (
        "prompt",
        PromptInput(BLOCKS, turn_metadata={"model": "m", "tags": ["a"]}, **HEADER),
        {"content": BLOCKS, "turn_metadata": {"model": "m", "tags": ["a"]}},
    ),
    (
        "peer",
        PeerInput(
            "hi",
            convention=PeerMessage(),
            payload={"a": [1]},
            handling_mode="steer",
            source=PEER,
            **HEADER,
        ),
        {"content": "hi", "payload": {"a": [1]}, "handling_mode": "steer"},
    ),
    (
        "flow_step",
        FlowStepInput("go", step_id="s1", source=Flow(flow_id="f", step_index=3), **HEADER),
        {"content": "go", "step_id": "s1"},
    ),
    (
        "external_event",
        ExternalEventInput("mail", [1, {"x": None}], source=External(source_name="m"), **HEADER),
        {"event_type": "mail", "payload": [1, {"x": None}], "handling_mode": "queue"},
    ),
    (
        "continuation",
        ContinuationInput("more", request_id="r-1", **HEADER),
        {"reason": "more", "handling_mode": "steer", "request_id": "r-1"},
    ),
    (
        "operation",
        OperationInput(OperationId(uuid_of(3)), {"status": "failed"}, **HEADER),
        {"operation_id": str(uuid_of(3)), "event": {"status": "failed"}},
    ),
]


@pytest.mark.parametrize(("tag", "offered", "fields"), FULL, ids=[tag for tag, *_ in FULL])
def test_inp_01_six_variants_round_trip(tag: str, offered: Input, fields: dict[str, Any]) -> None:
    document = json.loads(to_json(offered))
    assert document["input_type"] == tag
    assert {name: document[name] for name in fields} == fields
    assert document["id"] == str(uuid_of(1))
    assert document["timestamp"] == "2026-01-01T00:00:00.000006Z"
    assert document["durability"] == "ephemeral"
    assert document["visibility"] == {"transcript_eligible": False, "operator_eligible": True}
    assert document["idempotency_key"] == "key-1"
    assert document["supersession_key"] == "scope-1"
    assert document["correlation_id"] == str(uuid_of(2))
    assert document["causation_id"] == str(uuid_of(4))
    assert round_trip(offered) == offered
    assert from_json(Input, to_json(offered)) == offered


@pytest.mark.parametrize(
    ("convention", "document"),
    [
        (
            PeerRequest(request_id="req-1", intent="mob.peer_added"),
            {"convention_type": "request", "request_id": "req-1", "intent": "mob.peer_added"},
        ),
        (
            PeerResponseProgress(request_id="req-1", phase="in_progress"),
            {"convention_type": "response_progress", "request_id": "req-1", "phase": "in_progress"},
        ),
        (
            PeerResponseTerminal(request_id="req-1", status="completed"),
            {"convention_type": "response_terminal", "request_id": "req-1", "status": "completed"},
        ),
        (PeerMessage(), {"convention_type": "message"}),
    ],
)
def test_inp_03_conventions_survive(convention: Any, document: dict[str, str]) -> None:
    offered = PeerInput("x", convention=convention, source=PEER)
    assert json.loads(to_json(offered))["convention"] == document
    assert round_trip(offered).convention == convention


def test_inp_04_absent_handling_mode_is_left_off() -> None:
    assert "handling_mode" not in json.loads(to_json(message()))
    assert round_trip(message()).handling_mode is None
    for word in ("queue", "steer"):
        offered = message(handling_mode=word)
        assert json.loads(to_json(offered))["handling_mode"] == word
        assert round_trip(offered).handling_mode is HandlingMode(word)


@pytest.mark.parametrize(
    ("source", "document"),
    [
        (Operator(), {"type": "operator"}),
        (Peer(peer_id="p"), {"type": "peer", "peer_id": "p"}),
        (
            Peer(peer_id="p", display_identity="P", runtime_id="agent-2"),
            {"type": "peer", "peer_id": "p", "display_identity": "P", "runtime_id": "agent-2"},
        ),
        (
            Flow(flow_id="f", step_index=2**64 - 1),
            {"type": "flow", "flow_id": "f", "step_index": 2**64 - 1},
        ),
        (System(), {"type": "system"}),
        (External(source_name="mail"), {"type": "external", "source_name": "mail"}),
    ],
)
def test_inp_05_sources_equal_themselves(source: Source, document: dict[str, Any]) -> None:
    assert json.loads(to_json(source)) == document
    assert from_json(Source, to_json(source)) == source


@pytest.mark.parametrize("word", ["durable", "ephemeral", "derived"])
def test_inp_06_durabilities_are_their_word(word: str) -> None:
    durability = Durability(word)
    assert to_json(durability) == f'"{word}"'.encode()
    assert round_trip(durability) is durability
    assert str(durability) == word


@pytest.mark.parametrize("tag", ["system_generated", "projected", "Prompt", "", None, 1])
def test_inp_11_retired_tags_are_refused(tag: object) -> None:
    with pytest.raises(DecodeError, match="input_type"):
        from_json(Input, json.dumps({"input_type": tag, "content": "x"}))


def test_inp_11_retired_shapes_are_refused() -> None:
    with pytest.raises(DecodeError, match="unknown field 'blocks'"):
        from_json(Input, b'{"input_type":"prompt","content":"x","blocks":[]}')
    with pytest.raises(DecodeError, match=r"\$.content: missing"):
        from_json(Input, b'{"input_type":"prompt","text":"x","blocks":[]}')


# --- kinds, modes and defaults ----------------------------------------------------------


def test_every_kind_has_its_variant() -> None:
    assert [build().kind for build in ONE_OF_EACH_KIND] == [
        InputKind.PROMPT,
        InputKind.PEER_MESSAGE,
        InputKind.PEER_REQUEST,
        InputKind.PEER_RESPONSE_PROGRESS,
        InputKind.PEER_RESPONSE_TERMINAL,
        InputKind.FLOW_STEP,
        InputKind.EXTERNAL_EVENT,
        InputKind.CONTINUATION,
        InputKind.OPERATION,
    ]
    assert message(convention=PeerMessage()).kind is InputKind.PEER_MESSAGE


def test_the_mode_the_policy_sees() -> None:
    steer = {"handling_mode": "steer"}
    assert prompt().requested_mode is None
    assert prompt(turn_metadata={}).requested_mode is None
    assert prompt(turn_metadata=steer).requested_mode is HandlingMode.STEER
    assert step(turn_metadata=steer).requested_mode is HandlingMode.STEER
    assert message().requested_mode is None
    assert message(handling_mode="queue").requested_mode is HandlingMode.QUEUE
    assert event().requested_mode is HandlingMode.QUEUE
    assert continuation().requested_mode is HandlingMode.STEER
    assert operation().requested_mode is None


def test_defaults_of_the_header() -> None:
    bare = prompt()
    assert bare.durability is Durability.DURABLE
    assert bare.visibility == Visibility(transcript_eligible=True, operator_eligible=True)
    assert bare.source == Operator()
    assert (continuation().source, operation().source) == (System(), System())
    assert (bare.idempotency_key, bare.supersession_key) == (None, None)
    assert (bare.correlation_id, bare.causation_id) == (None, None)
    assert prompt().id != prompt().id
    assert bare.timestamp.tzinfo is UTC


# --- refused when built -----------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda: PromptInput(7),
        lambda: PromptInput(None),
        lambda: PromptInput(["not a block"]),
        lambda: PromptInput({"a": "mapping"}),
        lambda: prompt(id="text"),
        lambda: prompt(timestamp="2026-01-01"),
        lambda: prompt(durability=1),
        lambda: prompt(idempotency_key=3),
        lambda: prompt(correlation_id="text"),
        lambda: prompt(causation_id=CorrelationId(uuid_of(2))),
        lambda: prompt(source="operator"),
        lambda: prompt(visibility=True),
        lambda: prompt(turn_metadata=[1]),
        lambda: message(handling_mode=1),
        lambda: message(convention="message"),
        lambda: step(step_id=1),
        lambda: event(handling_mode=None),
        lambda: continuation(request_id=1),
        lambda: Flow(flow_id="f", step_index=True),
        lambda: Flow(flow_id="f", step_index="3"),
        lambda: Peer(peer_id=1),
        lambda: External(source_name=None),
        lambda: Visibility(transcript_eligible=1),
        lambda: PeerInput("a peer input without a source"),
        lambda: FlowStepInput("no source", step_id="s"),
        lambda: ExternalEventInput("no source", None),
    ],
)
def test_a_wrong_type_is_refused_when_built(build: Any) -> None:
    with pytest.raises(TypeError):
        build()


@pytest.mark.parametrize(
    "build",
    [
        lambda: prompt(durability="eternal"),
        lambda: prompt(idempotency_key=""),
        lambda: prompt(timestamp=datetime(2026, 1, 1)),  # noqa: DTZ001
        lambda: prompt(timestamp=datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
        lambda: prompt(turn_metadata={"handling_mode": "later"}),
        lambda: message(handling_mode="later"),
        lambda: Flow(flow_id="f", step_index=-1),
        lambda: PeerResponseProgress(request_id="r", phase="nearly"),
        lambda: PeerResponseTerminal(request_id="r", status="lost"),
    ],
)
def test_a_wrong_range_is_refused_when_built(build: Any) -> None:
    with pytest.raises(ValueError):
        build()


def test_combinations_are_not_checked_when_built() -> None:
    assert progress(handling_mode="steer").handling_mode is HandlingMode.STEER
    assert terminal("").kind is InputKind.PEER_RESPONSE_TERMINAL
    assert prompt(durability="derived").durability is Durability.DERIVED
    assert request(source=System()).source == System()
    assert ProgressPhase("accepted") is ProgressPhase.ACCEPTED


def test_an_input_owns_its_content() -> None:
    block: dict[str, Any] = {"text": "before", "list": [1]}
    metadata = {"tags": ["a"]}
    offered = PromptInput([block], turn_metadata=metadata)
    block["text"] = "after"
    block["list"].append(2)
    metadata["tags"].append("b")
    assert json.loads(to_json(offered))["content"] == [{"text": "before", "list": [1]}]
    assert json.loads(to_json(offered))["turn_metadata"] == {"tags": ["a"]}
