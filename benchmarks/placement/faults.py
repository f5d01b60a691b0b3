"""Faults: what goes wrong in a world, one thing at a time or whatever comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from placement.member import Member
from placement.world import World


def killed(world: World, member: Member, lasts_s: float) -> None:
    """It is killed, and comes back under its name."""
    member.kill()
    world.after(lasts_s, member.start)


def stopped(world: World, member: Member, lasts_s: float) -> None:
    """It does nothing for a while, and goes on."""
    member.stop()
    world.after(lasts_s, member.go_on)


def cut_off(world: World, member: Member, lasts_s: float) -> None:
    """It does not reach the database."""
    member.cut()
    world.after(lasts_s, member.mend)


def drained(world: World, member: Member, lasts_s: float) -> None:
    """It ends in order, and comes back."""
    member.drain()
    world.after(lasts_s, member.start)


KINDS: Final[Mapping[str, Callable[[World, Member, float], None]]] = {
    "killed": killed,
    "stopped": stopped,
    "cut off": cut_off,
    "drained": drained,
}


def database_away(world: World, lasts_s: float) -> None:
    """Nobody reaches the database."""
    world.database_up = False

    def back() -> None:
        world.database_up = True

    world.after(lasts_s, back)


def storm(world: World, every_s: float) -> None:
    """Whatever comes: a member, or the database, for up to three leases; and again."""
    if not world.calling:
        return
    lasts_s = 3 * world.times.lease_s * world.chance.random()
    if world.chance.random() < 1 / 10:
        if world.database_up:
            database_away(world, lasts_s)
    else:
        member = world.chance.choice(world.members)
        if member.well:
            KINDS[world.chance.choice(list(KINDS))](world, member, lasts_s)
    world.after(world.within(every_s), partial(storm, world, every_s))
