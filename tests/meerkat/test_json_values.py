"""JSON values: what is carried is carried exactly, whichever encoder writes it."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import pytest
from builders import event, nested
from hypothesis import given
from hypothesis import strategies as st

from meerkat import ExternalEventInput, InputState, from_json, to_json
from meerkat.codec import to_document
from meerkat.errors import DecodeError
from meerkat.json_values import FrozenObject, canonical, check, dump, own, parse, plain
from meerkat.limits import JSON_DEPTH_MAX


def carried(payload: Any) -> Any:
    """A payload after it went out to the wire and back."""
    return from_json(ExternalEventInput, to_json(event(payload))).payload


# --- numbers ----------------------------------------------------------------------------

FLOATS = [
    *(0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 1e-7, 1e15, 1e16, 123456789012345680.0, 1e22, 1e23),
    *(5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740993.0),
]


@pytest.mark.parametrize("number", FLOATS)
def test_a_float_is_carried_bit_by_bit(number: float) -> None:
    for same in (carried(number), parse(dump(number)), parse(canonical(number))):
        assert type(same) is float
        assert same.hex() == number.hex()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_is_carried_bit_by_bit(number: float) -> None:
    for same in (parse(dump([number])), parse(canonical([number]))):
        assert same[0].hex() == number.hex()


@pytest.mark.parametrize(
    "number", [0, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]
)
def test_an_integer_of_64_bits_is_carried(number: int) -> None:
    for same in (carried(number), parse(dump(number)), parse(canonical(number))):
        assert type(same) is int
        assert same == number


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_a_larger_integer_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="integer outside"):
        check({"n": [number]})
    with pytest.raises(DecodeError):
        parse(json.dumps([number]))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "around",
    [
        lambda number: number,
        lambda number: [number],
        lambda number: (1, (2, number)),
        lambda number: {"a": {"b": [None, number]}},
        lambda number: FrozenObject(a=FrozenObject(b=number)),
        lambda number: [FrozenObject(a=[number])],
        lambda number: OrderedDict(a=OrderedDict(b=number)),
    ],
)
def test_no_value_holds_a_number_that_json_has_not(around: Any, number: float) -> None:
    value = around(number)
    with pytest.raises(ValueError, match="NaN or an infinity"):
        check(value)
    with pytest.raises(ValueError, match="NaN or an infinity"):
        check(own(value))
    with pytest.raises(ValueError, match="NaN or an infinity"):
        canonical(value)
    with pytest.raises(ValueError, match="NaN or an infinity"):
        to_json(event(value))


@pytest.mark.parametrize("text", ["1e400", "-1e400", "[1e999]", '{"a":NaN}', "[-Infinity]"])
def test_no_document_holds_one_either(text: str) -> None:
    with pytest.raises(DecodeError):
        parse(text)


# --- text -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        ["a", "b\udfff"],
        {"k": "\udc00"},
        {"\udc00": 1},
        {"k": {"\ud83d": []}},
        FrozenObject(k=["\ud800"]),
    ],
)
def test_a_lone_surrogate_is_refused_in_keys_and_values(value: Any) -> None:
    for encode in (dump, canonical):
        with pytest.raises(ValueError, match="lone surrogate"):
            encode(value)
    with pytest.raises(DecodeError, match="lone surrogate"):
        to_json(event(value))
    with pytest.raises(DecodeError, match="lone surrogate"):
        parse(json.dumps(value))  # spelt out, as an escape


@pytest.mark.parametrize("text", ["", "ä€😀", "\x00\x1f\x7f", '"\\/', "\u2028\ufeff\uffff", "é"])
def test_any_other_text_is_carried(text: str) -> None:
    assert carried({text: text}) == {text: text}
    assert parse(canonical([text])) == [text]


# --- values of other classes ------------------------------------------------------------


class Kilos(float):
    """A float as numpy's are."""


class Name(str):
    __slots__ = ()


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Count(int):
    pass


class Point(NamedTuple):
    x: int
    y: float


class Settings(dict[str, Any]):
    pass


class Items(list[Any]):
    pass


OF_OTHER_CLASSES = [
    (Kilos(1.5), 1.5),
    (Kilos(-0.0), -0.0),
    (Name("n"), "n"),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Count(7), 7),
    (True, True),
    (Point(1, Kilos(2.5)), [1, 2.5]),
    (Settings(a=Items([Count(1)])), {"a": [1]}),
    (OrderedDict([("b", 1), ("a", 2)]), {"b": 1, "a": 2}),
    ({Name("k"): {Colour.RED: Kilos(0.5)}}, {"k": {"red": 0.5}}),
]


@pytest.mark.parametrize(("value", "same"), OF_OTHER_CLASSES)
def test_a_value_of_a_class_of_its_own_is_carried_as_the_plain_one(value: Any, same: Any) -> None:
    check(value)
    for written in (dump(value), canonical(value), dump(own(value))):
        assert repr(parse(written)) == repr(same) or parse(written) == same
    assert plain(carried(value)) == same


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", object(), 1j, [object()], {"a": {1}}])
def test_what_is_no_json_value_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a JSON value"):
        check(value)
    with pytest.raises(ValueError, match=r"is not a JSON value|not JSON serializable"):
        dump(value)


@pytest.mark.parametrize("key", [1, None, 1.5, True, (1,)])
def test_a_key_is_text(key: Any) -> None:
    with pytest.raises(ValueError, match="not a string"):
        check({"a": [{key: 1}]})


# --- depth ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: FrozenObject(k=v)])
def test_depth_counts_containers_of_every_kind(wrap: Any) -> None:
    deepest: Any = 1
    for _ in range(JSON_DEPTH_MAX):
        deepest = wrap(deepest)
    check(deepest)
    check(own(deepest))
    assert plain(carried(deepest)) == plain(deepest)
    with pytest.raises(ValueError, match="nested deeper than"):
        check(wrap(deepest))
    with pytest.raises(DecodeError, match="nested deeper than"):
        to_json(event(wrap(deepest)))


def test_depth_without_end_is_an_error_too() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for refuse in (check, dump, canonical, lambda value: to_json(event(value))):
        with pytest.raises(ValueError):
            refuse(endless)
    with pytest.raises(ValueError):
        dump(nested(5_000))
    with pytest.raises(DecodeError):
        parse(b"[" * 100_000)


# --- byte forms -------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_canonical_is_what_the_standard_library_writes(value: Any) -> None:
    """Digests that are stored were taken of it."""
    expected = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert canonical(value) == canonical(own(value)) == expected.encode()


@given(JSON)
def test_what_is_dumped_keeps_its_order_and_is_read_by_anybody(value: Any) -> None:
    for document in (value, own(value)):
        text = dump(document)
        assert parse(text) == json.loads(text) == value
        assert json.dumps(parse(text)) == json.dumps(value)  # the order of keys, and -0.0


def test_times_and_ids_are_written_by_the_codec_alone() -> None:
    state = InputState.of(event({"a": 1}), event().timestamp)
    document = to_document(state)
    check(document, depth=-100)
    assert parse(to_json(state)) == json.loads(json.dumps(document))
