"""The codec under any value and any bytes: a round trip, or a DecodeError, and no third."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import (
    ONE_OF_EACH_KIND,
    continuation,
    event,
    message,
    operation,
    prompt,
    state_in,
    step,
)
from hypothesis import example, given
from hypothesis import strategies as st

from meerkat import (
    AcceptOutcome,
    EpochCursorSnapshot,
    Input,
    InputId,
    InputPhase,
    InputState,
    LogicalRuntimeId,
    PolicyDecision,
    RecoveryReport,
    RunBoundaryReceipt,
    RuntimeEventEnvelope,
    RuntimeState,
    StoredInputState,
    from_json,
    to_json,
)
from meerkat.errors import DecodeError
from meerkat.events import Event
from meerkat.input_lifecycle import TerminalOutcome, contradiction
from meerkat.origins import Convention, Source
from meerkat.testing.strategies import events, inputs, json_values, states, wire_values

TYPES: list[type] = [
    Input,
    Source,
    Convention,
    InputState,
    StoredInputState,
    TerminalOutcome,
    AcceptOutcome,
    PolicyDecision,
    RunBoundaryReceipt,
    RuntimeEventEnvelope,
    Event,
    RecoveryReport,
    EpochCursorSnapshot,
    InputId,
    LogicalRuntimeId,
    RuntimeState,
]


@given(wire_values())
def test_every_value_equals_itself_after_a_round_trip(value: Any) -> None:
    data = to_json(value)
    read = from_json(type(value), data)
    assert read == value
    assert to_json(read) == data
    assert data.decode("utf-8")


@given(inputs())
def test_every_input_is_read_by_its_tag(value: Input) -> None:
    assert from_json(Input, to_json(value)) == value


@given(events())
def test_every_event_has_a_category_and_a_code(value: Event) -> None:
    document = json.loads(to_json(value))
    assert sorted(document) == ["category", "data"]
    assert document["category"] == value.category
    assert document["data"]["code"] == value.code.value
    assert from_json(Event, to_json(value)) == value


@given(states())
def test_a_stored_state_is_read_exactly_when_it_is_sound(state: InputState) -> None:
    data = to_json(StoredInputState(state=state))
    if contradiction(state) is None:
        assert from_json(StoredInputState, data) == StoredInputState(state=state)
    else:
        with pytest.raises(DecodeError):
            from_json(StoredInputState, data)


def faithful(type_: type, data: bytes | str) -> None:
    """What the property is: DecodeError, or a value that says no more and no less."""
    try:
        value = from_json(type_, data)
    except DecodeError:
        return
    again = to_json(value)
    assert from_json(type_, again) == value
    assert holds(json.loads(again), json.loads(data))


def holds(written: Any, offered: Any) -> bool:
    """Is everything that was offered written back?

    Null and empty may be left off, and the fraction of a second is always written.
    """
    if isinstance(offered, dict) and isinstance(written, dict):
        return all(
            holds(written[key], value) if key in written else value in (None, [])
            for key, value in offered.items()
        )
    if isinstance(offered, list) and isinstance(written, list):
        return len(offered) == len(written) and all(map(holds, written, offered))
    if isinstance(offered, str) and isinstance(written, str) and offered != written:
        return written.startswith(offered[:-1]) and offered.endswith("Z") == written.endswith("Z")
    return type(written) is type(offered) and bool(written == offered)


@pytest.mark.parametrize("type_", TYPES)
@given(data=st.binary(max_size=64))
def test_any_bytes(type_: type, data: bytes) -> None:
    faithful(type_, data)


@pytest.mark.parametrize("type_", TYPES)
@given(data=st.text(max_size=64))
@example(data="\ud800")
@example(data='"' + "\udfff" + '"')
def test_any_text(type_: type, data: str) -> None:
    faithful(type_, data)


@pytest.mark.parametrize("type_", TYPES)
@given(document=json_values())
def test_any_json(type_: type, document: Any) -> None:
    faithful(type_, json.dumps(document))


# --- close to the truth -----------------------------------------------------------------

SEEDS: list[tuple[type, bytes]] = [
    *((Input, to_json(build())) for build in ONE_OF_EACH_KIND),
    (Input, to_json(prompt([{"text": "x"}], turn_metadata={"handling_mode": "steer"}))),
    *((StoredInputState, to_json(StoredInputState(state=state_in(p)))) for p in InputPhase),
    *(
        (InputState, to_json(state_in(InputPhase.QUEUED, build())))
        for build in (prompt, message, step, event, continuation)
    ),
    (InputState, to_json(state_in(InputPhase.CONSUMED, operation()))),
]


def paths(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    if isinstance(document, dict):
        for key, value in document.items():
            found += paths(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            found += paths(value, (*path, index))
    return found


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


@given(st.data())
def test_one_place_changed(data: st.DataObject) -> None:
    type_, seed = data.draw(st.sampled_from(SEEDS))
    document = json.loads(seed)
    path = data.draw(st.sampled_from(paths(document)))
    value = data.draw(json_values())
    faithful(type_, json.dumps(replaced(document, path, value)))


@given(st.data())
def test_one_byte_changed(data: st.DataObject) -> None:
    type_, seed = data.draw(st.sampled_from(SEEDS))
    place = data.draw(st.integers(0, len(seed) - 1))
    byte = data.draw(st.binary(max_size=2))
    faithful(type_, seed[:place] + byte + seed[place + 1 :])


@given(st.data())
def test_a_document_cut_short(data: st.DataObject) -> None:
    type_, seed = data.draw(st.sampled_from(SEEDS))
    with pytest.raises(DecodeError):
        from_json(type_, seed[: data.draw(st.integers(0, len(seed) - 1))])
