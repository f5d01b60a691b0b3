"""When a shard that gives no answer is taken to hang."""

from __future__ import annotations

import pytest

from actors.ray import RayControlPlane
from actors.ray.silence import CALL_S, Silence


def test_one_that_answered_and_then_did_not_is_silent_for_too_long_once() -> None:
    silence = Silence(6.0)
    silence.answered(1.0)
    assert not silence.is_too_long(6.9)
    assert silence.is_too_long(7.0)
    assert not silence.is_too_long(100.0)  # it is being replaced
    silence.answered(101.0)
    assert silence.is_too_long(107.0)


def test_what_has_not_answered_yet_or_has_ended_is_not_silent() -> None:
    silence = Silence(6.0)
    assert not silence.is_too_long(100.0)
    silence.answered(100.0)
    silence.ended()
    assert not silence.is_too_long(200.0)


def test_nothing_is_too_long_without_a_bound_and_it_is_asked_often_enough_with_one() -> None:
    silence = Silence(None)
    silence.answered(0.0)
    assert not silence.is_too_long(1e9)
    assert silence.call_s == Silence(1e9).call_s == CALL_S
    assert Silence(6.0).call_s == 2.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_silence_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="silent_max_s"):
        RayControlPlane("postgresql:///none", silent_max_s=seconds)
