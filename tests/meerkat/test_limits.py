"""Limits and back-off: what a host may set, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from meerkat.completion_feed import FEED_MAX
from meerkat.limits import DEFAULT_BACKOFF, DEFAULT_LIMITS, Backoff, Limits
from meerkat.operation_ledger import FINISHED_MAX

NAMES = [each.name for each in fields(Limits)]


def test_defaults_are_those_of_the_table() -> None:
    """Section 15; how many operations may be live at a time is left to the host."""
    expected = {
        "payload_bytes_max": 1024 * 1024,
        "pending_inputs_max": 10_000,
        "in_flight_max": 100_000,
        "live_runtimes_max": 100_000,
        "max_attempts": 3,
        "crash_attempts_max": 10,
        "operations_live_max": None,
        "operations_kept_max": 256,
        "feed_entries_max": 1_024,
        "events_per_runtime_max": 1_024,
        "events_per_process_max": 65_536,
    }
    assert {name: getattr(DEFAULT_LIMITS, name) for name in NAMES} == expected
    assert (DEFAULT_LIMITS.operations_kept_max, DEFAULT_LIMITS.feed_entries_max) == (
        FINISHED_MAX,
        FEED_MAX,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_a_positive_integer(name: str) -> None:
    for fits in (1, 2, 10**9):
        assert getattr(Limits(**{name: fits}), name) == fits
    for out_of_range in (0, -1):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: out_of_range})
    for other in (1.0, "1", b"1", True):
        with pytest.raises(TypeError, match=name):
            Limits(**{name: other})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_live_operations_may_be_left_without_a_limit(name: str) -> None:
    unlimited: dict[str, Any] = {name: None}
    if name == "operations_live_max":
        assert Limits(**unlimited) == DEFAULT_LIMITS
    else:
        with pytest.raises(TypeError, match=name):
            Limits(**unlimited)


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_a_delay_doubles_to_its_cap_and_jitter_keeps_at_least_half(
    attempt: int, jitter: float
) -> None:
    ceiling = min(30.0, 0.1 * 2.0 ** (attempt - 1))
    assert DEFAULT_BACKOFF.delay_s(attempt, 0.0) == ceiling / 2
    assert ceiling / 2 <= DEFAULT_BACKOFF.delay_s(attempt, jitter) <= ceiling


def test_a_backoff_of_nothing_never_waits() -> None:
    assert Backoff(base_s=0.0).delay_s(9, 0.5) == 0.0
    with pytest.raises(ValueError, match="base_s"):
        Backoff(base_s=-1.0)
    with pytest.raises(ValueError, match="cap_s"):
        Backoff(cap_s=-1.0)
