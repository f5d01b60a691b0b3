"""Checks: what values of several modules ask of their fields at birth, as attrs validators."""

from __future__ import annotations

from datetime import datetime, timedelta
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
