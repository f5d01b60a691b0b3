"""The codec is strict: nothing is coerced, nothing unknown is taken, DecodeError alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from builders import event, nested, prompt, state_in, uuid_of

from meerkat import (
    ExternalEventInput,
    Flow,
    Input,
    InputPhase,
    InputState,
    Peer,
    PolicyDecision,
    PromptInput,
    RecoveryReport,
    RuntimeEventEnvelope,
    RuntimeState,
    from_json,
    to_json,
)
from meerkat.errors import DecodeError
from meerkat.events import RuntimeStateChange
from meerkat.json_values import canonical, dump, parse
from meerkat.origins import Source


def reject(type_: type, document: Any, *, match: str | None = None) -> None:
    data = document if isinstance(document, str | bytes) else json.dumps(document)
    with pytest.raises(DecodeError, match=match) as refused:
        from_json(type_, data)
    assert str(refused.value).startswith("Cannot decode: ")


# --- no coercion ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [True, False, "3", 3.0, None, [3], {"3": 3}, "", 1e2])
def test_an_integer_is_an_integer(value: Any) -> None:
    reject(RecoveryReport, {"inputs_recovered": value}, match=r"\$.inputs_recovered: expected int")
    reject(Flow, {"type": "flow", "flow_id": "f", "step_index": value})


@pytest.mark.parametrize("name", ["attempt_count", "recovery_count"])
def test_a_count_is_never_negative(name: str) -> None:
    document = json.loads(to_json(state_in(InputPhase.QUEUED)))
    reject(InputState, {**document, name: -1}, match=f"{name}: expected a count")


@pytest.mark.parametrize("value", [0, 1, "true", "", None, [], 1.0])
def test_a_boolean_is_a_boolean(value: Any) -> None:
    document = json.loads(to_json(prompt()))
    document["visibility"]["transcript_eligible"] = value
    reject(Input, document, match="expected bool")


@pytest.mark.parametrize("value", [1, True, 1.5, ["a"], {"a": 1}])
def test_text_is_text(value: Any) -> None:
    reject(Peer, {"type": "peer", "peer_id": value}, match=r"\$.peer_id: expected str")
    reject(Peer, {"type": "peer", "peer_id": "p", "display_identity": value})
    reject(PromptInput, {"input_type": "prompt", "content": "x", "idempotency_key": value})
    reject(PromptInput, {"input_type": "prompt", "content": "x", "id": value})


@pytest.mark.parametrize("value", [1, True, None, 1.5, {"a": 1}, ["text"], [[1]], [None]])
def test_content_is_text_or_blocks(value: Any) -> None:
    reject(PromptInput, {"input_type": "prompt", "content": value})


@pytest.mark.parametrize("value", ["abc", {"a": 1}, 1, True, None, [1], ["a", None]])
def test_a_list_is_a_list_of_its_type(value: Any) -> None:
    reject(RecoveryReport, {"details": value}, match=r"\$.details")


@pytest.mark.parametrize("value", ["Durable", "DURABLE", "durable ", "", 1, None, ["durable"]])
def test_a_word_is_one_of_its_words(value: Any) -> None:
    reject(PromptInput, {"input_type": "prompt", "content": "x", "durability": value})
    reject(RuntimeState, value)


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05+00:00",
        "2026-01-02T03:04:05+02:00Z",
        "2026-01-02T05:04:05+0200Z",
        "2026-01-02Z",
        "20260102T030405Z",
        "2026-W01-1T00:00:00Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04Z",
        "2026-01-02T03:04:05.1234567Z",
        "2026-01-02T03:04:05,5Z",
        "2026-02-30T03:04:05Z",
        "2026-01-02T25:04:05Z",
        "2026-01-02t03:04:05z",
        "\uff12026-01-02T03:04:05Z",
        1767322800,
        None,
    ],
)
def test_a_time_is_utc_and_says_so(value: Any) -> None:
    reject(PromptInput, {"input_type": "prompt", "content": "x", "timestamp": value})


@pytest.mark.parametrize("fraction", ["", ".5", ".500", ".500000"])
def test_fractions_of_a_second_may_be_short(fraction: str) -> None:
    text = f"2026-01-02T03:04:05{fraction}Z"
    read = from_json(
        PromptInput, json.dumps({"input_type": "prompt", "content": "x", "timestamp": text})
    )
    assert read.timestamp.microsecond == (500_000 if fraction else 0)
    assert read.timestamp.isoformat().startswith("2026-01-02T03:04:05")


@pytest.mark.parametrize("document", [None, True, 1, "text", [], [{}], 1.5])
@pytest.mark.parametrize("type_", [Input, PromptInput, InputState, PolicyDecision, RecoveryReport])
def test_a_record_is_an_object(type_: type, document: Any) -> None:
    reject(type_, document)


# --- nothing unknown, nothing missing ---------------------------------------------------


def test_an_unknown_field_is_refused_wherever_it_is() -> None:
    reject(RecoveryReport, {"extra": 1}, match=r"\$: unknown field 'extra'")
    document = json.loads(to_json(prompt()))
    document["visibility"]["extra"] = 1
    reject(Input, document, match=r"\$.visibility: unknown field 'extra'")
    document = json.loads(to_json(prompt()))
    document["source"]["peer_id"] = "p"
    reject(Input, document, match=r"\$.source: unknown field 'peer_id'")


def test_a_missing_field_is_named() -> None:
    reject(PromptInput, {"input_type": "prompt"}, match=r"\$.content: missing")
    reject(Flow, {"type": "flow"}, match=r"flow_id: missing.*step_index: missing")
    document = json.loads(to_json(state_in(InputPhase.QUEUED)))
    del document["policy"]["apply_mode"]
    reject(InputState, document, match=r"\$.policy.apply_mode: missing")


@pytest.mark.parametrize("tag", ["unknown", "", None, 1, ["prompt"], {"prompt": 1}, "Prompt"])
def test_an_unknown_tag_is_refused(tag: Any) -> None:
    reject(Input, {"input_type": tag, "content": "x"}, match="input_type")
    reject(Source, {"type": tag}, match="type")
    reject(Input, {"content": "x"}, match="input_type missing")


def test_a_tag_must_name_the_wanted_type() -> None:
    reject(PromptInput, to_json(event()), match="unknown 'external_event'")
    reject(Peer, {"type": "operator"})
    assert from_json(Input, to_json(prompt("x"))).kind.value == "prompt"


def test_a_tag_beside_a_record_without_one_is_unknown() -> None:
    reject(RecoveryReport, {"outcome_type": "accepted"}, match="unknown field")


# --- documents JSON readers disagree about ----------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b'{"input_type":"prompt","content":"a","content":"b"}',
        b'{"input_type":"prompt","content":"a","source":{"type":"operator","type":"operator"}}',
        b'{"input_type":"operation","event":{"deep":[{"k":1,"k":1}]}}',
        b'{"input_type":"prompt","content":"a","\\u0063ontent":"b"}',
    ],
)
def test_duplicate_keys_are_refused_at_any_depth(data: bytes) -> None:
    reject(Input, data, match="duplicate key")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
def test_numbers_json_has_not_are_refused(number: str) -> None:
    reject(Input, envelope(number))


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '"\\udc00\\ud800"', '{"\\ud800":1}', '"\ud800"', b'"\xed\xa0\x80"']
)
def test_lone_surrogates_are_refused(text: Any) -> None:
    if isinstance(text, bytes):
        reject(Input, envelope("0").encode().replace(b":0", b":" + text))
    else:
        reject(Input, envelope(text), match="lone surrogate")


def envelope(payload: str) -> str:
    return (
        '{"input_type":"external_event","event_type":"e","source":{"type":"system"},'
        f'"payload":{payload}}}'
    )


@pytest.mark.parametrize("number", [-(2**63), -(2**63) + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_integers_at_their_bounds_are_exact(number: int) -> None:
    read = from_json(Input, envelope(str(number)))
    assert isinstance(read, ExternalEventInput)
    assert read.payload == number
    assert json.loads(to_json(read))["payload"] == number


@pytest.mark.parametrize(
    "text", [str(-(2**63) - 1), str(2**64), "1" + "0" * 30, "-1" + "0" * 5_000], ids=len
)
def test_integers_beyond_their_bounds_are_refused(text: str) -> None:
    reject(Input, envelope(text))
    reject(RecoveryReport, f'{{"inputs_recovered":{text}}}')


@pytest.mark.parametrize(
    ("levels", "fits"), [(31, True), (32, True), (33, False), (100_000, False)]
)
def test_depth_is_32(levels: int, fits: bool) -> None:
    data = envelope("[" * levels + "]" * levels)
    if fits:
        assert from_json(Input, data).payload == event(nested(levels)).payload  # type: ignore[attr-defined]
    else:
        reject(Input, data, match="nested deeper than 32")


@pytest.mark.parametrize("phase", [InputPhase.QUEUED, InputPhase.CONSUMED])
def test_the_deepest_value_is_carried_by_every_document_around_it(phase: InputPhase) -> None:
    state = state_in(phase, event(nested(32)))
    state = evolve(state, result=nested(32) if phase is InputPhase.CONSUMED else None)
    assert from_json(InputState, to_json(state)) == state


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"{}x",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"'a'",
        b"[1,]",
        b"// x\n{}",
        "{}".encode("utf-16"),
    ],
)
def test_what_is_no_json_document_is_refused(data: bytes) -> None:
    reject(RecoveryReport, data)


@pytest.mark.parametrize("data", [None, 5, 5.5, object(), ["{}"], {"a": 1}])
def test_what_is_no_bytes_is_refused(data: Any) -> None:
    with pytest.raises(DecodeError):
        from_json(RecoveryReport, data)


@pytest.mark.parametrize("data", [b"{}", bytearray(b"{}"), memoryview(b"{}"), "{}"])
def test_bytes_and_text_are_read(data: Any) -> None:
    assert from_json(RecoveryReport, data) == RecoveryReport()


# --- encoding ---------------------------------------------------------------------------


def test_a_value_of_another_package_has_no_wire_form() -> None:
    for value in (object(), Source(), {1, 2}):
        with pytest.raises(DecodeError):
            to_json(value)


IDLE_TO_RUNNING = RuntimeStateChange(RuntimeState.IDLE, RuntimeState.RUNNING)


@pytest.mark.parametrize("value", [2**64, -1 - 2**63])
def test_an_integer_out_of_bounds_is_not_encoded(value: int) -> None:
    with pytest.raises(ValueError, match="integer outside"):
        to_json(RuntimeEventEnvelope(runtime_id="a", sequence=value, event=IDLE_TO_RUNNING))


def test_canonical_sorts_and_dump_keeps() -> None:
    value = {"b": [1.0, None], "a": "é\u2028", "A": {"z": 1, "y": True}}
    assert canonical(value).decode() == '{"A":{"y":true,"z":1},"a":"é\u2028","b":[1.0,null]}'
    assert dump(value).decode() == '{"b":[1.0,null],"a":"é\u2028","A":{"z":1,"y":true}}'
    assert parse(canonical(value)) == value


def test_unknown_event_category_and_stray_code() -> None:
    good = {
        "id": str(uuid_of(1)),
        "runtime_id": "r",
        "timestamp": "2026-01-01T00:00:00Z",
        "event": {"category": "topology", "data": {"code": "topology.runtime_created"}},
    }
    assert from_json(RuntimeEventEnvelope, json.dumps(good)).id.value == uuid_of(1)
    for change in (
        {"category": "weather", "data": {}},
        {"category": "topology", "data": {"code": "run.started"}},
        {"category": "topology", "data": {"code": "topology.unheard_of"}},
        {"category": "topology"},
        {"category": "topology", "data": {"code": "topology.runtime_created"}, "more": 1},
        {"category": ["topology"], "data": {}},
    ):
        reject(RuntimeEventEnvelope, {**good, "event": change})
