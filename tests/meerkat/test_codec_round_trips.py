"""Round trips: every value that has a wire form equals itself when it is read again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from meerkat import (
    Input,
    InputState,
    StoredInputState,
    from_json,
    to_json,
)
from meerkat.errors import DecodeError
from meerkat.events import Event
from meerkat.input_lifecycle import contradiction
from meerkat.testing.strategies import events, inputs, states, wire_values


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
