"""Restarts: the window, the back-off and the tables. Nothing runs here."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.restarts import (
    DEFAULT_RESTART,
    Restart,
    RestartCount,
    RestartPolicy,
    Restarts,
    Strategy,
    affected,
)
from meerkat.limits import Backoff

FLAT = Backoff(base_s=1.0, cap_s=1.0)

gaps = st.lists(st.one_of(st.just(0.0), st.floats(0, 40), st.integers(0, 5)), max_size=80)


def times(gaps: list[float]) -> list[float]:
    at, all_of_them = 0.0, []
    for gap in gaps:
        at += gap
        all_of_them.append(at)
    return all_of_them


def restarted(settings: Restarts, failures: list[float]) -> list[float]:
    """The failures that a restart followed."""
    count = RestartCount(settings)
    return [at for at in failures if count.failed(at, 0.5) is not None]


# --- the window -------------------------------------------------------------------------


@given(gaps, st.integers(0, 6), st.floats(0.5, 60))
def test_no_period_has_more_restarts_than_the_intensity(
    gaps: list[float], intensity: int, period_s: float
) -> None:
    settings = Restarts(intensity=intensity, period_s=period_s)
    allowed = restarted(settings, times(gaps))
    for at in allowed:
        assert sum(0 <= later - at <= period_s for later in allowed) <= intensity


@given(gaps, st.integers(0, 6), st.floats(0.5, 60))
def test_a_restart_is_refused_only_when_the_period_is_full(
    gaps: list[float], intensity: int, period_s: float
) -> None:
    failures = times(gaps)
    count = RestartCount(Restarts(intensity=intensity, period_s=period_s))
    allowed: list[float] = []
    for at in failures:
        if count.failed(at, 0.0) is None:
            assert sum(at - before <= period_s for before in allowed) == intensity
        else:
            allowed.append(at)


@given(gaps, st.integers(0, 6))
def test_what_is_remembered_is_bounded_by_the_intensity(gaps: list[float], intensity: int) -> None:
    count = RestartCount(Restarts(intensity=intensity, period_s=60))
    for at in times(gaps):
        count.failed(at, 0.0)
        assert len(count._at) <= intensity


def test_the_end_of_a_period_belongs_to_it() -> None:
    settings = Restarts(intensity=1, period_s=10)
    assert restarted(settings, [0.0, 10.0]) == [0.0]
    assert restarted(settings, [0.0, 10.1]) == [0.0, 10.1]


def test_no_restart_at_all_is_a_setting() -> None:
    assert restarted(Restarts(intensity=0), [0.0, 1e6]) == []


# --- the back-off -----------------------------------------------------------------------


def test_the_delay_doubles_up_to_its_cap_and_starts_anew_after_a_quiet_period() -> None:
    settings = Restarts(intensity=5, period_s=10, backoff=Backoff(base_s=1, cap_s=4))
    count = RestartCount(settings)
    close_to_one = 1 - 2**-53
    delays = [count.failed(at, close_to_one) for at in (0, 1, 2, 3, 20)]
    assert delays == pytest.approx([1, 2, 4, 4, 1])


@given(st.floats(0, 1, exclude_max=True))
def test_the_jitter_keeps_between_half_and_all_of_the_delay(jitter: float) -> None:
    delay = RestartCount(Restarts(backoff=FLAT)).failed(0.0, jitter)
    assert delay is not None
    assert 0.5 <= delay <= 1.0


def test_a_child_that_fails_at_once_each_time_is_given_up_under_the_defaults() -> None:
    for restarts in (DEFAULT_RESTART.drivers, DEFAULT_RESTART.journal):
        count, at, so_far = RestartCount(restarts), 0.0, 0
        while (delay := count.failed(at, 1 - 2**-53)) is not None:
            at, so_far = at + delay, so_far + 1
            assert so_far < 100
        assert so_far == restarts.intensity


# --- the tables -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ("b",)),
        (Strategy.ONE_FOR_ALL, ("a", "b", "c")),
        (Strategy.REST_FOR_ONE, ("b", "c")),
    ],
)
def test_a_strategy_says_who_is_restarted(strategy: Strategy, expected: tuple[str, ...]) -> None:
    assert affected(strategy, ["a", "b", "c"], "b") == expected


@given(st.lists(st.integers(), min_size=1, unique=True), st.data())
def test_who_is_restarted_stays_in_the_order_of_the_start(
    children: list[int], data: st.DataObject
) -> None:
    failed = data.draw(st.sampled_from(children))
    for strategy in Strategy:
        who = affected(strategy, children, failed)
        assert failed in who
        assert all(children.index(a) < children.index(b) for a, b in pairwise(who))


def test_a_stranger_is_nobody_s_failure() -> None:
    for strategy in Strategy:
        with pytest.raises(ValueError, match="not in"):
            affected(strategy, ["a"], "b")


def test_the_type_of_a_child_says_after_which_ends_it_is_restarted() -> None:
    after = {kind: (kind.follows(failed=True), kind.follows(failed=False)) for kind in Restart}
    assert after == {
        Restart.PERMANENT: (True, True),
        Restart.TRANSIENT: (True, False),
        Restart.TEMPORARY: (False, False),
    }


# --- the settings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ({"intensity": -1}, ValueError),
        ({"intensity": True}, TypeError),
        ({"intensity": 1.0}, TypeError),
        ({"period_s": 0}, ValueError),
        ({"period_s": float("inf")}, ValueError),
        ({"period_s": float("nan")}, ValueError),
        ({"period_s": "60"}, TypeError),
        ({"strategy": "one_for_one"}, TypeError),
        ({"backoff": 1.0}, TypeError),
    ],
)
def test_a_bad_setting_is_refused_at_birth(setting: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(setting))):
        Restarts(**setting)


def test_a_policy_takes_restarts_for_each_kind() -> None:
    assert RestartPolicy() == DEFAULT_RESTART
    assert DEFAULT_RESTART.journal.strategy is Strategy.REST_FOR_ONE
    with pytest.raises(TypeError, match=r"^drivers is a Restarts, not int$"):
        RestartPolicy(drivers=8)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^journal is a Restarts, not NoneType$"):
        RestartPolicy(journal=None)  # type: ignore[arg-type]
