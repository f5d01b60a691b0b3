"""Codec, the small parts: scalars, words, identifiers, times, lists, and JSON as itself.

Nothing is coerced in either direction; what is refused says what was expected.
"""

from __future__ import annotations

import functools
import re
import types
from collections import abc
from datetime import UTC, datetime
from typing import Any, Final, Union, cast, get_args, get_origin

import cattrs
from cattrs.cols import list_structure_factory

from meerkat import identifiers, words
from meerkat.json_values import check
from meerkat.limits import JSON_INT_MAX, JSON_INT_MIN

# --- scalars: nothing is coerced --------------------------------------------------------


def _exactly(wanted: type) -> Any:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not wanted:
            raise TypeError(f"expected {wanted.__name__}, not {type(value).__name__}")
        return value

    return structure


def _count(value: Any, _: Any) -> int:
    """A whole number of a record of ours: each counts something, and is never negative."""
    if type(value) is not int:
        raise TypeError(f"expected int, not {type(value).__name__}")
    if value < 0:
        raise ValueError("expected a count, which is never negative")
    return value


def _bounded(value: int) -> int:
    if not JSON_INT_MIN <= value <= JSON_INT_MAX:
        raise ValueError("integer outside -2^63 .. 2^64-1")
    return value


def _word(value: Any, wanted: type[words.Word]) -> words.Word:
    if type(value) is not str:
        raise TypeError(f"expected a word, not {type(value).__name__}")
    try:
        return wanted(value)
    except ValueError:
        known = ", ".join(str(member) for member in wanted)
        raise ValueError(f"{value[:40]!r} is none of {known}") from None


_UTC_TEXT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"
)


def _time(value: Any, _: Any) -> datetime:
    if type(value) is not str or not _UTC_TEXT.fullmatch(value):
        raise ValueError("expected a UTC time such as 2026-01-02T03:04:05.000006Z")
    return datetime.fromisoformat(value[:-1]).replace(tzinfo=UTC)


@functools.lru_cache(maxsize=1024)  # steps of one decision share their time
def _time_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _identifier(value: Any, wanted: type[identifiers.UuidIdentifier]) -> Any:
    return wanted.parse(value)


def _text_identifier(value: Any, wanted: type[identifiers.TextIdentifier]) -> Any:
    return wanted(value)


def subclasses_of(base: type) -> Any:
    """The predicate, as cattrs asks for one: is it this class or one below it?"""
    return lambda cls: isinstance(cls, type) and issubclass(cls, base)


# --- JSON carried as itself -------------------------------------------------------------


def _is_json(annotation: Any) -> bool:
    """Is this the annotation of a field that holds any JSON, or text or blocks of it?"""
    origin = get_origin(annotation)
    if annotation is Any or origin is abc.Mapping:
        return True
    if origin in (types.UnionType, Union, tuple):
        return any(_is_json(member) for member in get_args(annotation))
    return False


def _checked(value: Any, _: Any = None) -> Any:
    check(value)
    return value


# --- lists ------------------------------------------------------------------------------


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (tuple, list) and not _is_json(annotation)


def _list_in(converter: cattrs.Converter, annotation: Any) -> Any:
    """Read a list of one type, into a tuple or a list; text and objects are not lists."""
    made = get_origin(annotation)
    listed = types.GenericAlias(list, get_args(annotation)[:1])
    structure: Any = list_structure_factory(cast("Any", listed), converter)

    def strictly(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise TypeError(f"expected a list, not {type(value).__name__}")
        return made(structure(value, listed))

    return strictly


def teach_small_parts(converter: cattrs.Converter) -> None:
    """Register the hooks of everything that is no record."""
    converter.register_structure_hook(int, _count)
    converter.register_unstructure_hook(int, _bounded)
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook(bool, _exactly(bool))
    converter.register_structure_hook(float, _exactly(float))
    converter.register_structure_hook(datetime, _time)
    converter.register_unstructure_hook(datetime, _time_text)
    converter.register_structure_hook_func(subclasses_of(words.Word), _word)
    converter.register_unstructure_hook_func(subclasses_of(words.Word), lambda word: word._value_)
    converter.register_structure_hook_func(subclasses_of(identifiers.UuidIdentifier), _identifier)
    converter.register_unstructure_hook_func(
        subclasses_of(identifiers.UuidIdentifier),
        lambda each: each._text,  # noqa: SLF001
    )
    converter.register_structure_hook_func(
        subclasses_of(identifiers.TextIdentifier), _text_identifier
    )
    converter.register_unstructure_hook_func(
        subclasses_of(identifiers.TextIdentifier), lambda each: each.value
    )
    converter.register_structure_hook(
        identifiers.PolicyVersion, lambda value, _: identifiers.PolicyVersion(value)
    )
    converter.register_unstructure_hook(
        identifiers.PolicyVersion, lambda each: _bounded(each.value)
    )
    converter.register_structure_hook_func(_is_json, _checked)
    converter.register_unstructure_hook_func(_is_json, _checked)
    converter.register_structure_hook_factory(
        _is_list, lambda annotation: _list_in(converter, annotation)
    )
