"""The decoder under any document: a DecodeError, or the value that the document says; no third.

A value says what its document says if it is written again with the same JSON types and the
same values. What may be left off is null or empty; a fraction of a second is written out.
``spoiled(number, part)`` gives a document again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from spoiled_documents import real_documents, spoiled

from meerkat import from_json, to_json
from meerkat.codec import from_document
from meerkat.errors import DecodeError
from meerkat.json_values import parse
from meerkat.testing.strategies import json_values

PARTS = 2
REFUSED, TAKEN, OTHER_ERROR, COERCED = "refused", "taken", "other errors", "values coerced"

Decode = Callable[[Any, bytes], Any]


def verdict(type_: Any, data: bytes, decode: Decode = from_json) -> str:
    """What becomes of a document."""
    try:
        value = decode(type_, data)
    except DecodeError:
        return REFUSED
    except BaseException:  # noqa: BLE001 - that there is none is what is shown
        return OTHER_ERROR
    again = to_json(value)
    if from_json(type_, again) != value or not holds(json.loads(again), strictly(data)):
        return COERCED
    return TAKEN


class Twice(list[Any]):
    """An object that says a key twice, which is like nothing that we write."""


def strictly(data: bytes) -> Any:
    def members(pairs: list[tuple[str, Any]]) -> Any:
        return dict(pairs) if len(dict(pairs)) == len(pairs) else Twice(pairs)

    return json.loads(data, object_pairs_hook=members)


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)


LEFT_OFF: dict[str, Any] = {
    "history": [],
    "details": [],
    "turn_metadata": {},
    "redriven": [],
    "skipped": [],
}
"""What says nothing when it is empty, and is not written; None is not, either."""


def holds(written: Any, offered: Any) -> bool:
    """Is everything that was offered written back?"""
    if type(written) is not type(offered):
        return False
    if isinstance(offered, dict):
        return all(
            holds(written[key], value) if key in written else value in (None, LEFT_OFF.get(key))
            for key, value in offered.items()
        )
    if isinstance(offered, list):
        return len(offered) == len(written) and all(map(holds, written, offered))
    if isinstance(offered, str) and offered != written:
        shorter = bool(_TIME.fullmatch(offered)) and bool(_TIME.fullmatch(written))
        return shorter and written.startswith(offered[:-1])
    return bool(written == offered)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_spoiled_document_is_refused_or_says_what_it_says(
    part: int, sized: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    documents = sized(100_000, 10_000_000) // PARTS
    found, wrong = Counter[str](), list[str]()
    for number in range(documents):
        type_, data = spoiled(number, part)
        said = verdict(type_, data)
        found[said] += 1
        if said in {OTHER_ERROR, COERCED}:
            wrong.append(f"spoiled({number}, {part}): {said}: {data!r} as {type_.__name__}")
    figure(
        f"10 decoder: documents {documents}; refused {found[REFUSED]}; "
        f"other errors {found[OTHER_ERROR]}; values coerced {found[COERCED]}"
    )
    assert wrong == [], "\n".join(wrong[:3])
    assert found[REFUSED] > documents // 2
    assert found[TAKEN] > documents // 20


def test_every_real_document_is_read_and_written_again() -> None:
    assert len(real_documents()) > 200
    assert {verdict(each.type, each.text.encode()) for each in real_documents()} == {TAKEN}


# --- what Hypothesis makes of it, and makes small ---------------------------------------

TYPES = sorted({each.type for each in real_documents()}, key=lambda type_: str(type_.__name__))
BRIEFLY = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.__name__)
@BRIEFLY
@given(data=st.binary(max_size=64) | json_values().map(lambda each: json.dumps(each).encode()))
@example(data=b"\xed\xa0\x80")
@example(data=b'"\xed\xbf\xbf"')
def test_any_bytes_and_any_json(type_: Any, data: bytes) -> None:
    assert verdict(type_, data) in {REFUSED, TAKEN}


@BRIEFLY
@given(st.text(max_size=64))
@example("")
@example('"')
def test_text_that_utf_8_cannot_carry_is_refused(text: str) -> None:
    for type_ in TYPES:
        with pytest.raises(DecodeError):
            from_json(type_, f"{text}\ud800{text}")


# --- controls: decoders that are not strict ---------------------------------------------


def takes_keys_twice(type_: Any, data: bytes) -> Any:
    try:
        document = json.loads(data)
        parse(json.dumps(document))
    except (ValueError, RecursionError):
        raise DecodeError("not JSON") from None
    return from_document(type_, document)


def takes_numbers_as_text(type_: Any, data: bytes) -> Any:
    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: numbers(each) for key, each in value.items()}
        if isinstance(value, list):
            return [numbers(each) for each in value]
        return (
            int(value) if isinstance(value, str) and value in "0123456789"[:9] and value else value
        )

    return from_document(type_, numbers(parse(data)))


def lets_an_error_through(type_: Any, data: bytes) -> Any:
    if b"extra" in data:
        raise KeyError("extra")
    return from_json(type_, data)


@pytest.mark.parametrize(
    ("decode", "wrong"),
    [
        (takes_keys_twice, COERCED),
        (takes_numbers_as_text, COERCED),
        (lets_an_error_through, OTHER_ERROR),
    ],
)
def test_a_decoder_that_is_not_strict_is_found(decode: Decode, wrong: str) -> None:
    assert any(verdict(*spoiled(number), decode) == wrong for number in range(50_000))
