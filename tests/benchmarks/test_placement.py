"""The model of placement and failover: it keeps its promises, and what breaks one is seen."""

from __future__ import annotations

from contextlib import suppress

import pytest
from placement.scenarios import SCENARIOS, told
from placement.shares import ids, largest_by_theory, placed
from placement.storms import MUTATIONS, weathered
from placement.watch import Broken
from placement.world import Size

SEEDS = range(12)
SMALL = Size(members=10, runtimes=2_000, inputs_a_second=20.0)
FAR = 5.0
"""Standard deviations that chance does not go."""


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_goes_wrong_the_promises_are_kept(seed: int, sharded: bool) -> None:
    world = weathered(seed, sharded=sharded)
    assert world.watch.checks > 1_000
    assert len(world.watch.acknowledged) > 500
    assert world.database.counts["claims"] > 40


@pytest.mark.parametrize("rule", MUTATIONS.values())
def test_a_rule_that_is_left_out_breaks_a_promise(rule: str) -> None:
    broken = 0
    for seed in SEEDS:
        with suppress(Broken):
            weathered(seed, without=rule)
            continue
        broken += 1
    assert broken > len(SEEDS) / 4


def test_a_seed_gives_the_same_world_again() -> None:
    first, again = weathered(3), weathered(3)
    assert (first.steps, first.now) == (again.steps, again.now)
    assert first.database.counts == again.database.counts


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_left_behind_is_taken_over(name: str) -> None:
    came = told(name, 1, SMALL)
    if "database away" in name or "who was late" in name:
        assert bool(came.adopted) == (name == "the database away for two leases")
    else:
        assert len(came.adopted) == came.left > 0
        assert came.leases(1.0) < 1.5


def test_shards_are_as_good_as_drawn() -> None:
    found = placed(ids(5_000, seed=1), 20)
    assert abs(found.deviations) < FAR
    assert found.largest < 2 * largest_by_theory(found.sampled, 20) - 1
    assert found.moved == pytest.approx(found.moved_by_theory, rel=0.3)
    assert found.moved_elsewhere == 0
