"""Scenarios: one fault in a large world that is otherwise well, and what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from placement.faults import cut_off, database_away, drained, killed, stopped
from placement.member import Times
from placement.world import Size, World

SETTLES_S: Final = 20.0
"""Until as many runs begin as end."""

LASTS_S: Final = 30.0
"""How long a fault lasts: three leases."""

FOR_GOOD_S: Final = 1e9
BACK_S: Final = 5.0
"""How long a placement engine takes to start a process somewhere else: assumed."""

AFTER_S: Final = 10.0


@frozen(kw_only=True)
class Came:
    """What came of a fault."""

    left: int
    """Runtimes with work that were in the hands of who was struck."""
    adopted: tuple[float, ...]
    """Seconds from the fault until somebody had each of them, in order."""
    lease_s: float
    counts: Counter[str]
    """What was asked of the database from the fault on, and for how long."""
    seconds: float
    steps: int
    checks: int
    clock_s: float

    def leases(self, share: float) -> float:
        """The time in which that share was adopted, in leases."""
        return self.adopted[min(len(self.adopted) - 1, int(share * len(self.adopted)))] / (
            self.lease_s
        )


def one_killed(world: World) -> None:
    """One is killed, and does not come back."""
    killed(world, world.members[0], FOR_GOOD_S)


def ten_killed(world: World) -> None:
    """Ten are killed at once, and do not come back."""
    for member in world.members[: world.size.members // 10]:
        killed(world, member, FOR_GOOD_S)


def one_comes_back(world: World) -> None:
    """One is killed, and is started elsewhere under its name."""
    killed(world, world.members[0], BACK_S)


def ten_come_back(world: World) -> None:
    """Ten are killed at once, and started elsewhere under their names."""
    for member in world.members[: world.size.members // 10]:
        killed(world, member, BACK_S)


def one_stopped(world: World) -> None:
    """One is stopped for three leases, and continued."""
    stopped(world, world.members[0], LASTS_S)


def one_cut_off(world: World) -> None:
    """One does not reach the database for three leases."""
    cut_off(world, world.members[0], LASTS_S)


def one_drained(world: World) -> None:
    """One ends in order."""
    drained(world, world.members[0], FOR_GOOD_S)


def database_restarts(world: World) -> None:
    """The database is away for half a lease."""
    _database_away(world, world.times.lease_s / 2)


def database_is_away(world: World) -> None:
    """The database is away for two leases."""
    _database_away(world, 2 * world.times.lease_s)


def _database_away(world: World, lasts_s: float) -> None:
    for member in world.members:
        world.leaves_work(member.me)
    database_away(world, lasts_s)


@frozen(kw_only=True)
class Scenario:
    """What happens, and in which kind of world."""

    strike: Callable[[World], None]
    sharded: bool = False
    """Does each member take up a shard of its own?"""
    hesitates: bool = False
    """Does one whose lease was over leave what others had to them for another look?"""


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "one of them killed for good": Scenario(strike=one_killed),
    "ten killed for good": Scenario(strike=ten_killed),
    "one stopped for three leases": Scenario(strike=one_stopped),
    "one cut off from the database for three leases": Scenario(strike=one_cut_off),
    "one drained": Scenario(strike=one_drained),
    "the database away for half a lease": Scenario(strike=database_restarts),
    "the database away for two leases": Scenario(strike=database_is_away),
    "″, and who was late waits for a look": Scenario(strike=database_is_away, hesitates=True),
    "shards: one killed, started again 5 s later": Scenario(strike=one_comes_back, sharded=True),
    "shards: ten killed, started again 5 s later": Scenario(strike=ten_come_back, sharded=True),
    "shards: the database away for two leases": Scenario(strike=database_is_away, sharded=True),
}


def told(name: str, seed: int, size: Size) -> Came:
    """Have it happen, and say what came of it. Raises Broken for a promise that was not kept."""
    scenario = SCENARIOS[name]
    began = time.perf_counter()
    world = World(
        seed,
        Size(
            members=size.members,
            runtimes=size.runtimes,
            inputs_a_second=size.inputs_a_second,
            sharded=scenario.sharded,
        ),
        Times(hesitates=scenario.hesitates),
    )
    world.begin()
    world.run(SETTLES_S)
    before, since = Counter(world.database.counts), world.now
    world.watch.left.clear()
    world.watch.adopted.clear()
    scenario.strike(world)
    left = len(world.watch.left)
    world.run(LASTS_S + AFTER_S)
    counts, seconds = world.database.counts - before, world.now - since
    adopted = tuple(sorted(world.watch.adopted))
    world.end(60 * world.times.run_s)
    return Came(
        left=left,
        adopted=adopted,
        lease_s=world.times.lease_s,
        counts=counts,
        seconds=seconds,
        steps=world.steps,
        checks=world.watch.checks,
        clock_s=time.perf_counter() - began,
    )
