"""Why a shard gives no answer, in the words of what failed."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from actors.ray.cluster import away_of
from actors.ray.remote import ShardAway, ShardNotMade


def not_made(traceback: str) -> ActorDiedError:
    """What Ray raises for an actor whose constructor has raised."""
    return ActorDiedError(RayTaskError("_PlacedShard.__init__", traceback, ValueError("it")))


@pytest.mark.parametrize(
    ("traceback", "why"),
    [
        ("Traceback\n  File\nModuleNotFoundError: No module named 'a'", "No module named 'a'"),
        ("Traceback\nas.of.ours.Error: first line\n  and a second one", "as.of.ours.Error: first"),
    ],
)
def test_one_that_could_not_be_made_says_what_was_raised(traceback: str, why: str) -> None:
    away = away_of("s-0", not_made(traceback), placed_here=True)
    assert isinstance(away, ShardNotMade)
    assert str(away).startswith("shard s-0 could not be made: ")
    assert why in str(away)
    assert "\n" not in str(away)


def test_who_has_not_placed_it_waits_for_who_has() -> None:
    away = away_of("s-0", not_made("ValueError: it"), placed_here=False)
    assert type(away) is ShardAway


def test_one_that_died_otherwise_comes_again() -> None:
    assert type(away_of("s-0", ActorDiedError(), placed_here=True)) is ShardAway
