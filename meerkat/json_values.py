"""JSON: what a document may hold, and its two byte forms.

Only what every reader carries faithfully passes: no NaN, no infinities, no lone
surrogates, integers of 64 bits, string keys, no duplicate keys, bounded depth. Nothing is
coerced. :func:`dump` keeps the order of keys; :func:`canonical` sorts them, and is what
digests are taken of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from meerkat.errors import DecodeError
from meerkat.limits import JSON_DEPTH_MAX, JSON_ENVELOPE_DEPTH_MAX, JSON_INT_MAX, JSON_INT_MIN

if TYPE_CHECKING:
    JsonValue: TypeAlias = (
        "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
    )
else:
    JsonValue = Any  # the codec reads annotations at run time, and passes any JSON as itself
"""A JSON value in memory: None, bool, int, float, str, list (or tuple) and mapping."""

_sorted: Final = json.JSONEncoder(
    ensure_ascii=False,
    allow_nan=False,
    check_circular=False,
    sort_keys=True,
    separators=(",", ":"),
).encode


_NAMED_DEPTH: Final = 4
"""Levels of a document that an error names: deeper places are told by their container."""

ENVELOPE: Final = -JSON_ENVELOPE_DEPTH_MAX
"""The depth a whole document starts at: the levels around its values do not count."""


class FrozenObject(dict[str, Any]):
    """A JSON object that nobody can change: every way to do so raises TypeError."""

    def _refuse(self, *_args: Any, **_kwargs: Any) -> Any:
        raise TypeError("this JSON object is frozen; make a dict of it to change it")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, and one by pickle, is made of the whole object: it cannot be filled later."""
        return FrozenObject, (dict(self),)


_PLAIN: Final = frozenset({str, bool, type(None)})
_OURS: Final = _PLAIN | {int, float, FrozenObject}
"""What nobody can change, by its very type. Most values are, and a look-up is quick."""


def own(value: Any, depth: int = 0) -> Any:
    """Copy the containers of a JSON value and freeze them, so that nobody can change ours.

    Lists and tuples become tuples, mappings frozen dicts. Nothing is checked: :func:`check` does
    that. What lies deeper than any legal document stays shared.
    """
    if type(value) in _OURS or depth > JSON_DEPTH_MAX + 1:
        return value
    if isinstance(value, list | tuple):
        return tuple([own(item, depth + 1) for item in value])
    if isinstance(value, dict) or isinstance(value, Mapping):  # noqa: SIM101 - the first is quick
        return FrozenObject({key: own(item, depth + 1) for key, item in value.items()})
    return value


def plain(value: Any) -> Any:
    """A fresh copy in the lists and dicts that a host expects of JSON."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def carriable(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates, as in odd file names, are spelt out."""
    return text.encode(errors="backslashreplace").decode()


def check(value: Any, where: str = "$", depth: int = 0) -> None:
    """Refuse, with ValueError naming the place, what JSON cannot carry faithfully.

    Lone surrogates are left to the encoder, which refuses them. Give ``depth=ENVELOPE`` for a
    whole document, whose values alone count against the limit.
    """
    if type(value) in _PLAIN or isinstance(value, str | bool):
        return
    if isinstance(value, int | float):
        _check_number(value, where)
        return
    if depth >= JSON_DEPTH_MAX:
        raise ValueError(f"{where}: nested deeper than {JSON_DEPTH_MAX}")
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if type(item) not in _PLAIN:
                check(item, _place(where, f"[{index}]", depth), depth + 1)
    elif isinstance(value, Mapping):
        _check_object(value, where, depth)
    else:
        said = f"{where}: {type(value).__name__} is not a JSON value"
        raise ValueError(said)  # noqa: TRY004 - one error for all that JSON cannot carry


def _check_object(value: Mapping[Any, Any], where: str, depth: int) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            said = f"{where}: a key is {type(key).__name__}, not a string"
            raise ValueError(said)  # noqa: TRY004 - as above
        if type(item) not in _PLAIN:
            check(item, _place(where, f".{key[:40]}", depth), depth + 1)


def _place(where: str, name: str, depth: int) -> str:
    return where + name if depth < _NAMED_DEPTH else where


_UNCARRIED: Final = "text with a lone surrogate, which UTF-8 cannot carry"
_TOO_DEEP: Final = f"nested deeper than {JSON_DEPTH_MAX}"


def _check_number(value: float, where: str) -> None:
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError(f"{where}: NaN or an infinity, which JSON cannot carry")
    elif not JSON_INT_MIN <= value <= JSON_INT_MAX:
        raise ValueError(f"{where}: integer outside -2^63 .. 2^64-1")


def dump(value: Any) -> bytes:
    """Encode a checked value as UTF-8; ValueError for lone surrogates."""
    try:
        try:
            return orjson.dumps(value)
        except orjson.JSONEncodeError:  # most often a float, tuple or key of a class of its own
            return orjson.dumps(value, default=_as_plain, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        surrogates = "surrogates" in str(error)
        raise ValueError(_UNCARRIED if surrogates else str(error)) from None


def _as_plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value)
    if isinstance(value, tuple):
        return tuple(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def canonical(value: Any) -> bytes:
    """Encode a checked value with sorted keys, no blanks and non-ASCII as itself.

    Byte for byte what the standard library writes, numbers included: digests are taken of it.
    ValueError for NaN, infinities and lone surrogates.
    """
    try:
        return _sorted(value).encode()
    except UnicodeEncodeError:
        raise ValueError(_UNCARRIED) from None
    except ValueError:
        raise ValueError("NaN or an infinity, which JSON cannot carry") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def parse(data: bytes | str) -> Any:
    """Decode one strict JSON document; DecodeError says what is wrong with any other."""
    try:
        text = data if isinstance(data, str) else bytes(data).decode()
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        check(value, depth=ENVELOPE)
        dump(value)  # refuses escaped lone surrogates
    except UnicodeDecodeError:
        raise DecodeError("not UTF-8") from None
    except RecursionError:
        raise DecodeError(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        raise DecodeError(f"not JSON: {error.msg} at character {error.pos}") from None
    except (TypeError, ValueError) as error:
        raise DecodeError(str(error)) from None
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"duplicate key {key[:40]!r}")
            seen.add(key)
    return document


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
