"""Storms: small worlds in which everything goes wrong, and one rule may be left out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from placement.faults import storm
from placement.member import Times
from placement.world import Size, World

MUTATIONS: Final[Mapping[str, str]] = {
    "a commit asks who has the runtime": "owner_test",
    "what is adopted is in nobody's hands": "leases_count",
    "an offer holds the row of its runtime": "offers_lock",
    "who looks for what can be adopted finds it": "work_is_found",
}
"""What a rule says → its name among the database's."""

CALM_S: Final = 1.0
STORMY_S: Final = 20.0
WORKED_OFF_S: Final = 100.0

_FEW: Final = Size(members=6, runtimes=40, inputs_a_second=100.0, turns_a_second=30.0)
_SHARDED: Final = Size(
    members=6, runtimes=40, inputs_a_second=100.0, turns_a_second=30.0, sharded=True
)
_HASTY: Final = Times(lease_s=1.0, hop_s=0.005, run_s=0.3, away_s=3.0, pause_s=0.2)
"""Short leases and a slow network: much happens within each other."""


def weathered(seed: int, *, without: str | None = None, sharded: bool = False) -> World:
    """Live through a storm, and the calm after it. Raises Broken for a promise not kept."""
    world = World(seed, _SHARDED if sharded else _FEW, _HASTY)
    if without is not None:
        setattr(world.database.rules, without, False)
    world.begin()
    world.after(CALM_S, partial(storm, world, world.times.lease_s / 2))
    world.run(STORMY_S)
    world.end(WORKED_OFF_S)
    return world
