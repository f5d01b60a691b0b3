"""Strategies: any JSON, and any value that has a wire form."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
json_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | json_text
)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_text, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(json_text, json_values, max_size=3)
times = st.datetimes(
    min_value=datetime(1, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(UTC),
)
