"""Checks: what values of several modules ask of their fields at birth, as attrs validators."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import NoneType
from typing import Any

from attrs import Attribute

from meerkat.limits import JSON_INT_MAX


def unsigned(_instance: object, attribute: Attribute[Any], value: object) -> None:
    """Refuse all but an int from 0 to 2^64-1 (True is no int)."""
    if type(value) is not int:
        raise TypeError(f"{attribute.name} takes an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{attribute.name} is never negative")
    if value > JSON_INT_MAX:
        raise ValueError(f"{attribute.name} is at most 2^64-1")


def utc_time(_instance: object, attribute: Attribute[Any], value: object) -> None:
    """Refuse all but a datetime in UTC."""
    if not isinstance(value, datetime):
        raise TypeError(f"{attribute.name} takes a datetime, not {type(value).__name__}")
    if value.utcoffset() != timedelta(0):
        raise ValueError(f"{attribute.name} takes a time in UTC")


def kind_of(value: object) -> str:
    """What a value is, in the words of a TypeError: a class is not what it makes."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def of_kind(*kinds: type) -> Callable[[Any, Attribute[Any], Any], None]:
    """Refuse values of other kinds, by a TypeError in words.

    The validator of attrs itself puts the whole attribute into its error, which no host reads.
    """
    wanted = " or ".join("None" if kind is NoneType else _one(kind) for kind in kinds)

    def check(_instance: object, attribute: Attribute[Any], value: object) -> None:
        if not isinstance(value, kinds):
            raise TypeError(f"{attribute.name} is {wanted}, not {kind_of(value)}")

    return check


def _one(kind: type) -> str:
    """One value of a kind, in words."""
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
