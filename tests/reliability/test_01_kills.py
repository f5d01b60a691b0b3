"""Test 1: SIGKILL in a child at every named fail point, and at random times.

What a child had said by then was told to a host: no input it acknowledged is lost, and no work
that has a receipt is run again, in any of the lives that follow on the same store.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count as count_from
from itertools import cycle, islice
from pathlib import Path

import pytest
from attrs import define, field

from meerkat.fail_points import FailPoint
from meerkat.store import RuntimeStore
from meerkat.testing import InvariantBroken
from meerkat.testing.kill_load import LIMITS, check_all_done, check_load
from meerkat.testing.kills import Death, Lives
from meerkat.testing.processes import Children

Sized = Callable[[int, int], int]
Figure = Callable[[str], None]
Check = Callable[[RuntimeStore], None]
Begin = Callable[..., Lives]
"""Begins the lives of a store that children of a program work on."""

QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""What a process has written survives its kill wherever it is: a folder in memory does."""

LOAD = "meerkat.testing.kill_load:load"
PRUNING = "meerkat.testing.kill_load:pruning_load"
DRIVER = "kill_programs:drive"
HASTY = "kill_programs:hasty"
FORGETFUL = "kill_programs:forgetful"
LIVES_A_STORE = 12
WORDS_MAX = 60
LATER_S_MAX = 0.005

ONCE_A_STORE = frozenset({FailPoint.MIGRATION_STEP, FailPoint.MIGRATION_WRITTEN})
"""Points that only the first life of a store comes to."""

AFTER_A_CRASH = frozenset({FailPoint.RUNTIME_RECOVERED})
"""Points that a store without anything left over does not come to."""

LEAVES_WORK = frozenset({FailPoint.RUN_BEGINS, FailPoint.RUN_RETURNED})
"""Points where a death surely leaves something over for the next life."""


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(["meerkat.testing.kill_load", "sqlite3"]) as children:
        yield children


@pytest.fixture
def lives(children: Children) -> Iterator[Begin]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:

        def begin(program: str, check: Check | None = check_load) -> Lives:
            folder = Path(tempfile.mkdtemp(dir=name))
            return Lives(children, folder, program, limits=LIMITS, check=check)

        yield begin


@define
class Killed:
    """What came of many kills, a dozen lives on each store."""

    at: Counter[FailPoint | None] = field(factory=Counter)
    acknowledged: int = 0
    lost: int = 0
    run_again: int = 0

    def look_back(self, lives: Lives) -> None:
        """Have a last child do what is left; add up what was seen."""
        lives.live()
        store = lives.opened()
        check_all_done(store)
        store.close()
        self.acknowledged += lives.promises.acknowledged
        self.lost += lives.promises.lost + lives.promises.receipts_lost
        self.run_again += lives.promises.run_again

    def figure(self) -> str:
        return (
            f"1 SIGKILL: kills {self.at.total()}; inputs acknowledged {self.acknowledged}; "
            f"acknowledged inputs lost {self.lost}; receipted work run again {self.run_again}"
        )


def kill(count: int, deaths: Iterator[Death], begin: Callable[[], Lives]) -> Killed:
    """Kill so many children; one that ends before it comes to its death does not count."""
    killed = Killed()
    while killed.at.total() < count:
        lives = begin()
        for death in islice(deaths, LIVES_A_STORE):
            if killed.at.total() < count and lives.die(death):
                killed.at[death.point] += 1
        killed.look_back(lives)
        shutil.rmtree(lives.folder)
    return killed


def passes_of(lives: Lives) -> Mapping[FailPoint, int]:
    """How often a life that nobody ends comes to each point, the least of a first and a second."""
    first, second = lives.live().reached, lives.live().reached
    return {
        point: first[point] if point in ONCE_A_STORE else min(first[point], second[point])
        for point in FailPoint
    }


def named(passes: Mapping[FailPoint, int], chance: random.Random) -> Iterator[Death]:
    """The deaths on store after store: every point first at its first pass, then at any."""
    of_first_lives = cycle([each for each in FailPoint if each in ONCE_A_STORE])
    of_others = cycle(
        after
        for each in FailPoint
        if passes[each] and each not in ONCE_A_STORE
        for after in (each, *(AFTER_A_CRASH if each in LEAVES_WORK else ()))
    )
    seen: set[FailPoint] = set()
    for number in count_from(0):
        point = next(of_others if number % LIVES_A_STORE else of_first_lives)
        most = max(1, passes[point] * 2 // 3)  # which a life comes to that had a crash to mend
        yield Death(point=point, at=chance.randint(1, most) if point in seen else 1)
        seen.add(point)


def at_any_time(chance: random.Random) -> Iterator[Death]:
    while True:
        yield Death(words=chance.randrange(WORDS_MAX), later_s=chance.uniform(0.0, LATER_S_MAX))


@pytest.mark.parametrize(
    "program", [f"{LOAD} {n}" for n in range(4)] + [f"{PRUNING} {n}" for n in range(4)]
)
def test_a_kill_at_every_named_point(
    lives: Begin, sized: Sized, figure: Figure, program: str
) -> None:
    begin = partial(lives, program.split(maxsplit=1)[0])
    passes = passes_of(begin())
    killed = kill(sized(36, 1_500), named(passes, random.Random(program)), begin)
    assert killed.at.keys() >= {each for each in FailPoint if passes[each]} | AFTER_A_CRASH
    assert killed.acknowledged > 0
    assert (killed.lost, killed.run_again) == (0, 0)
    figure(killed.figure())


def test_the_loads_come_to_every_point(lives: Begin) -> None:
    reached = Counter[FailPoint]()
    for program in (LOAD, PRUNING):
        reached.update(passes_of(lives(program)))
    assert {each for each in FailPoint if not reached[each]} == AFTER_A_CRASH


@pytest.mark.parametrize(
    "part", [f"{LOAD} {n}" for n in range(4)] + [f"{DRIVER} {n}" for n in range(2)]
)
def test_a_kill_at_any_time(lives: Begin, sized: Sized, figure: Figure, part: str) -> None:
    program = part.split(maxsplit=1)[0]
    count = sized(40, 1_600) if program == LOAD else sized(30, 1_000)
    killed = kill(count, at_any_time(random.Random(part)), partial(lives, program))
    assert killed.at.total() == count
    assert killed.acknowledged > 0
    assert (killed.lost, killed.run_again) == (0, 0)
    figure(killed.figure())


# --- controls ---------------------------------------------------------------------------


def test_a_store_that_acknowledges_before_it_commits_is_found(lives: Begin) -> None:
    hasty = lives(HASTY, check=None)
    with pytest.raises(InvariantBroken) as caught:
        hasty.die(Death(words=20))
    assert caught.value.number == 8
    assert hasty.kills == 1


def test_work_that_is_run_again_behind_its_receipt_is_found(lives: Begin) -> None:
    forgetful = lives(FORGETFUL, check=None)
    forgetful.live()
    assert forgetful.promises.run_again == 0
    with pytest.raises(InvariantBroken) as caught:
        forgetful.live()
    assert caught.value.number == 10
    assert forgetful.promises.run_again > 0


def test_work_that_is_left_over_is_seen(lives: Begin) -> None:
    killed = lives(LOAD)
    killed.die(Death(point=FailPoint.RUN_RETURNED))
    store = killed.opened()
    with pytest.raises(InvariantBroken, match="at the end"):
        check_all_done(store)
    store.close()
