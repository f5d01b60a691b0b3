"""Real documents of every wire type, and ways to spoil them that a seed draws.

Plain ``random`` and no Hypothesis: ten million of them are wanted. ``spoiled(n, …)`` is the
same document whenever the number is the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cache
from typing import Any, Final, TypeAlias

from attrs import field, frozen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from meerkat import (
    AcceptOutcome,
    Input,
    RuntimeState,
    StoredInputState,
    to_json,
)
from meerkat.events import Event
from meerkat.input_lifecycle import TerminalOutcome, contradiction
from meerkat.operations import OperationOutcome
from meerkat.origins import Convention, Source
from meerkat.outcomes import RejectReason
from meerkat.testing import strategies

UNIONS: Final = (
    Input,
    Source,
    Convention,
    TerminalOutcome,
    AcceptOutcome,
    RejectReason,
    Event,
    OperationOutcome,
)
REAL_DOCUMENTS: Final = 400


@frozen
class Real:
    """A document that is one of ours, and the type that it is read as."""

    type: Any
    text: str = field(repr=False)

    @property
    def document(self) -> Any:
        """It, to be spoiled: a fresh one each time."""
        return json.loads(self.text)


@cache
def real_documents() -> tuple[Real, ...]:
    """Some of every wire type, always the same ones."""
    found: dict[str, Real] = {}

    @settings(
        max_examples=REAL_DOCUMENTS,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_values())
    def draw(value: Any) -> None:
        text = to_json(value).decode()
        found.setdefault(text, Real(_read_as(value), text))

    draw()
    return tuple(found.values())


def _values() -> st.SearchStrategy[Any]:
    stored = strategies.states().filter(lambda state: contradiction(state) is None)
    return st.one_of(
        strategies.wire_values(),
        strategies.sources(),
        strategies.conventions(),
        strategies.operations(),
        stored.map(lambda state: StoredInputState(state=state)),
        strategies.input_ids(),
        strategies.runtime_ids(),
        st.sampled_from(RuntimeState),
    )


def _read_as(value: Any) -> Any:
    return next((union for union in UNIONS if isinstance(value, union)), type(value))


# --- what takes the place of something --------------------------------------------------

ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 3, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1),
    *(0.0, 1.0, -0.0, 1.5, 1e300, 5e-324, "", "0", "1", "3", "true", "null", "x", " ", "\x00"),
    *("\ud800", "é", "queued", "prompt", "durable", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05"),
    *([], {}, [None], [[]], [1], ["a"], [{}], {"": None}, {"a": 1}, {"type": "operator"}),
    "01234567-89ab-7def-8123-456789abcdef",
    "01234567-89AB-7DEF-8123-456789ABCDEF",
)
TOKENS: Final = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-0", "1E2", "01", "+1", ".5", "0x1", "1_000"),
    *("\\ud800", "\\u0000", "\\x", '"', "'", "{", "}", "[", "]", ",", ":", "//", "null", "\ufeff"),
    *("\t", "\n", "\x00", "\u2028", "9" * 400, "[" * 200, '{"a":' * 200),
)


def _odd(chance: random.Random) -> Any:
    return deepcopy(chance.choice(ODD))


_Place: TypeAlias = tuple[Any, Any]


def _places(value: Any) -> Iterator[_Place]:
    """Every place in a document: what holds it, and its key or index there."""
    names: Sequence[Any] = ()
    if isinstance(value, dict):
        names = list(value)
    elif isinstance(value, list):
        names = range(len(value))
    for name in names:
        yield value, name
        yield from _places(value[name])


def _other_kind(value: Any, chance: random.Random) -> Any:
    """The same, as near as another JSON type comes to it: what a coercion would take."""
    match value:
        case bool():
            return chance.choice([int(value), str(value).lower(), float(value)])
        case int():
            return chance.choice([str(value), bool(value), [value], value + 0.5, _fraction(value)])
        case float():
            return chance.choice([str(value), [value]])
        case str():
            return chance.choice([[value], {value: value}, value.encode().hex(), list(value)])
        case None:
            return chance.choice(["", 0, False, [], "null"])
        case list():
            return chance.choice([{str(n): each for n, each in enumerate(value)}, str(value), None])
    return chance.choice([[list(each) for each in value.items()], list(value), json.dumps(value)])


def _fraction(value: int) -> float:
    return float(value) if abs(value) < 2**53 else 1.0


# --- ways to spoil a document -----------------------------------------------------------

Spoil: TypeAlias = Callable[[Any, random.Random], str]


def _change(change: Callable[[Any, Any, random.Random], None]) -> Spoil:
    """Change a place or two of the document."""

    def spoil(document: Any, chance: random.Random) -> str:
        whole = [document]
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            places = list(_places(whole))
            if places:
                change(*chance.choice(places), chance)
        return json.dumps(whole[0] if whole else None, ensure_ascii=chance.random() < 0.5)

    return spoil


def _put_odd(holder: Any, name: Any, chance: random.Random) -> None:
    holder[name] = _odd(chance)


def _put_other_kind(holder: Any, name: Any, chance: random.Random) -> None:
    holder[name] = _other_kind(holder[name], chance)


def _remove(holder: Any, name: Any, _chance: random.Random) -> None:
    del holder[name]


def _add(holder: Any, name: Any, chance: random.Random) -> None:
    value = _odd(chance)
    if isinstance(holder, dict):
        holder[chance.choice(["extra", name + "_", name.upper(), "type", "id", ""])] = value
    else:
        holder.append(value)


def _transplant(holder: Any, name: Any, chance: random.Random) -> None:
    """Put a part of another document there."""
    other = [chance.choice(real_documents()).document]
    there, part = chance.choice(list(_places(other)))
    holder[name] = there[part]


def _twice(document: Any, chance: random.Random) -> str:
    """Say one key twice."""
    text = json.dumps(document)
    if not isinstance(document, dict) or not document:
        return text + text
    name = chance.choice(list(document))
    again = chance.choice([document[name], _odd(chance)])
    return f"{text[:-1]}, {json.dumps(name)}: {json.dumps(again)}}}"


def _token(document: Any, chance: random.Random) -> str:
    text = json.dumps(document)
    place = chance.randrange(len(text) + 1)
    return text[:place] + chance.choice(TOKENS) + text[place + chance.randrange(3) :]


def _cut(document: Any, chance: random.Random) -> str:
    text = json.dumps(document)
    return text[: chance.randrange(len(text))]


WAYS: Final[dict[str, Spoil]] = {
    "another value": _change(_put_odd),
    "another type": _change(_put_other_kind),
    "another type again": _change(_put_other_kind),
    "without something": _change(_remove),
    "with something more": _change(_add),
    "with a part of another": _change(_transplant),
    "a key twice": _twice,
    "a token": _token,
    "cut": _cut,
    "read as another": lambda document, _chance: json.dumps(document),
}


def spoiled(number: int, part: int = 0) -> tuple[Any, bytes]:
    """A type, and a document that it may not be."""
    chance = random.Random(number * 1_000 + part)
    real = chance.choice(real_documents())
    way = chance.choice(list(WAYS))
    type_ = real.type
    if way == "read as another":
        type_ = chance.choice(real_documents()).type
    if chance.random() < 0.05:
        return type_, chance.randbytes(chance.randrange(64))
    data = WAYS[way](real.document, chance).encode(errors="surrogatepass")
    if chance.random() < 0.1:
        place = chance.randrange(len(data) + 1)
        data = data[:place] + chance.randbytes(1) + data[place + 1 :]
    return type_, data
