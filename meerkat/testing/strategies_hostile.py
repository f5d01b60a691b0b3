"""Hostile JSON: documents that look like one of ours, each with one thing wrong with it.

Every one of them must be refused, with DecodeError and nothing else. A sabotage changes a
document in a place where nothing is free: what a host may fill with any JSON is left alone,
because there is nothing wrong with whatever stands in there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from hypothesis import strategies as st

from meerkat.codec import to_json
from meerkat.limits import JSON_DEPTH_MAX, JSON_ENVELOPE_DEPTH_MAX
from meerkat.testing.strategies_records import wire_values


@frozen(kw_only=True)
class HostileDocument:
    """A document that must be refused as a ``type``, and what is wrong with it."""

    type: type[Any]
    data: bytes = field(repr=False)
    wrong: str


_FREE: Final = frozenset(
    {"payload", "content", "turn_metadata", "event", "projection", "result", "data"}
)
"""Names under which any JSON may stand, or text as well as lists; or that hold such names."""

_Place: TypeAlias = tuple[Any, Any]
"""An object or a list of the document, and a key or an index in it."""


def _places(value: Any) -> Iterator[_Place]:
    """The places of a document that are not free."""
    names = value if isinstance(value, dict) else range(len(value))
    for name in names:
        if name in _FREE:
            continue
        yield value, name
        if isinstance(value[name], dict | list):
            yield from _places(value[name])


Sabotage: TypeAlias = Callable[[st.DrawFn, Any], bytes | str | None]
"""Spoils a document; None where there is nothing in it to spoil that way."""


def _written(document: Any) -> str:
    return json.dumps(document, ensure_ascii=True)


def _replaced(draw: st.DrawFn, document: Any, kind: type, replacements: list[Any]) -> str | None:
    """Put another type where ``kind`` belongs."""
    places = [each for each in _places(document) if type(each[0][each[1]]) is kind]
    if not places:
        return None
    holder, name = draw(st.sampled_from(places))
    holder[name] = draw(st.sampled_from(replacements))
    return _written(document)


def _in_place_of(kind: type, replacements: list[Any]) -> Sabotage:
    return lambda draw, document: _replaced(draw, document, kind, replacements)


def _spelled(*tokens: str) -> Sabotage:
    """Put a token where a number belongs."""
    mark = "the place that is spelled anew"

    def spoil(draw: st.DrawFn, document: Any) -> str | None:
        text = _replaced(draw, document, int, [mark])
        return text and text.replace(json.dumps(mark), draw(st.sampled_from(tokens)))

    return spoil


def _twice(draw: st.DrawFn, document: Any) -> str | None:
    """Say one key twice, the second time with what it is, or with something else."""
    if not isinstance(document, dict) or not document:
        return None
    name = draw(st.sampled_from(sorted(document)))
    again = draw(st.sampled_from([document[name], None, 0, "x"]))
    return f"{_written(document)[:-1]}, {json.dumps(name)}: {json.dumps(again)}}}"


def _unknown(draw: st.DrawFn, document: Any) -> str | None:
    objects = [document] if isinstance(document, dict) else []
    objects += [h[n] for h, n in _places(document) if isinstance(h[n], dict) and h[n]]
    if not objects:
        return None
    draw(st.sampled_from(objects))["no_such_field"] = draw(st.sampled_from([None, 1, "x", {}]))
    return _written(document)


_TAGS: Final = ("input_type", "outcome_type", "convention_type", "reject_type", "type", "category")
_RETIRED: Final = ("", "Prompt", "prompt_v0", "system_generated", "projected", "legacy", "\x00")


def _retired(draw: st.DrawFn, document: Any) -> str | None:
    """Tag something as a variant that there is not, any more or yet."""
    places = [(h, n) for h, n in _places(document) if n in _TAGS]
    if not places:
        return None
    holder, name = draw(st.sampled_from(places))
    holder[name] = draw(st.sampled_from(_RETIRED))
    return _written(document)


def _nested(draw: st.DrawFn, document: Any) -> str:
    """Nest deeper than anything may be: in a new field, or instead of everything."""
    deeper = JSON_DEPTH_MAX + JSON_ENVELOPE_DEPTH_MAX
    levels = draw(st.sampled_from([deeper + 1, 1_000, 100_000]))
    opened, closed = draw(st.sampled_from([("[", "]"), ('{"a":', "}")]))
    deep = f"{opened * levels}0{closed * draw(st.sampled_from([levels, 0]))}"
    if isinstance(document, dict) and document and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(document)))
        return _written({**document, name: "deep"}).replace('"deep"', deep, 1)
    return deep


def _cut(draw: st.DrawFn, document: Any) -> str:
    """Leave the end off, or go on behind it."""
    text = _written(document)
    if draw(st.booleans()):
        return text[: draw(st.integers(0, len(text) - 1))]
    return text + draw(st.sampled_from(["{}", ",", "]", "0", "\x00", "// the end"]))


def _not_text(draw: st.DrawFn, document: Any) -> bytes:
    """Bytes that are no UTF-8, or UTF-8 that is not JSON's."""
    data = _written(document).encode()
    wrong = draw(st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"]))
    whole = [b"\xef\xbb\xbf" + data, _written(document).encode("utf-16")]
    place = data.find(b'"')
    if place < 0:
        return draw(st.sampled_from(whole))
    return draw(st.sampled_from([data[: place + 1] + wrong + data[place + 1 :], *whole]))


def _surrogate(draw: st.DrawFn, document: Any) -> str | None:
    """Half a character, escaped, where there is a text or a key."""
    text = _written(document)
    marks = [place for place, letter in enumerate(text) if letter == '"']
    if not marks:
        return None
    place = draw(st.sampled_from(marks[::2])) if "\\" not in text else marks[0]
    half = draw(st.sampled_from(["\\ud800", "\\udfff", "\\ud800\\u0041", "\\udc00\\ud800"]))
    return f"{text[: place + 1]}{half}{text[place + 1 :]}"


def _something_else(draw: st.DrawFn, _document: Any) -> str:
    return draw(st.sampled_from(["", " ", "null", "true", "0", "[]", "[[]]", "{'a': 1}", "{1: 2}"]))


SABOTAGES: Final[dict[str, Sabotage]] = {
    "true for 1": _in_place_of(int, [True, False]),
    "text for a number": _in_place_of(int, ["3", "", "0x10"]),
    "a fraction for an integer": _in_place_of(int, [3.0, 0.5, -0.0]),
    "a list for a number": _in_place_of(int, [[], [3], {}]),
    "a number below its range": _in_place_of(int, [-1, -(2**63), -(2**63) - 1]),
    "a huge number": _spelled(str(2**64), "1e400", "-1e400", "9" * 400, "1" + "0" * 5_000),
    "no number": _spelled("NaN", "Infinity", "-Infinity", "nan", "+1", "01", "1.", ".5", "0x1"),
    "1 for true": _in_place_of(bool, [1, 0, "true", "", [True], None]),
    "a number for a text": _in_place_of(str, [1, True, 0.5]),
    "a list for a text": _in_place_of(str, [["a"], {"a": "b"}]),
    "a text for an object": _in_place_of(dict, ["x", 1, [], True]),
    "a key twice": _twice,
    "an unknown field": _unknown,
    "a retired tag": _retired,
    "too deep": _nested,
    "cut off, or too long": _cut,
    "not UTF-8": _not_text,
    "a lone surrogate": _surrogate,
    "something else": _something_else,
}
"""What is wrong → how to make a document wrong that way."""


@st.composite
def hostile_json(draw: st.DrawFn, *, wrong: str | None = None) -> HostileDocument:
    """A document of ours, of any type that has a wire form, with one thing wrong with it.

    ``from_json(document.type, document.data)`` must raise DecodeError. ``wrong`` asks for one
    sort of SABOTAGES. Where a document has nothing to spoil that way, it is cut short.
    """
    value = draw(wire_values())
    document = json.loads(to_json(value))
    name = draw(st.sampled_from(sorted(SABOTAGES))) if wrong is None else wrong
    data = SABOTAGES[name](draw, document)
    if data is None:
        name, data = "cut off, or too long", to_json(value)[:-1]
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    return HostileDocument(type=type(value), data=raw, wrong=name)
