"""Strategies for JSON: what the wire form carries, and no more."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from meerkat.limits import JSON_INT_MAX, JSON_INT_MIN

Strategy = st.SearchStrategy

_TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers(JSON_INT_MIN, JSON_INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT
)
_VALUES: Final[Strategy[Any]] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_OBJECTS: Final[Strategy[dict[str, Any]]] = st.dictionaries(_TEXT, _VALUES, max_size=3)
_COUNTS: Final = st.integers(0, JSON_INT_MAX)


def json_text() -> Strategy[str]:
    """Short text that UTF-8 can carry, the empty one too."""
    return _TEXT


def json_values() -> Strategy[Any]:
    """Any JSON that is carried faithfully: no NaN, integers of 64 bits, whole surrogates."""
    return _VALUES


def json_objects() -> Strategy[dict[str, Any]]:
    """The same, an object: a message of a conversation, say."""
    return _OBJECTS


def counts() -> Strategy[int]:
    """0 to 2^64-1."""
    return _COUNTS


def optional(strategy: Strategy[Any]) -> Strategy[Any]:
    """None, or what the other one gives."""
    return st.none() | strategy
