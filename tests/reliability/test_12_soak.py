"""Test 12: two hundred sessions with two hundred inputs a second, for hours.

Half of the time in one life, whose memory, open files and threads stay as they are; half of it
in lives that end by SIGKILL after 5 to 40 seconds, of which nothing is lost. It runs before a
release, and whenever MEERKAT_SOAK_S says for how many seconds.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from soak_load import INPUTS_A_SECOND, LIMITS

from meerkat.store import SqliteStore
from meerkat.testing.invariants import Promises, check_store
from meerkat.testing.kill_load import check_all_done
from meerkat.testing.kills import DATABASE
from meerkat.testing.processes import Child, Children

RELEASE = os.environ.get("MEERKAT_RELIABILITY") == "release"
SECONDS = float(os.environ.get("MEERKAT_SOAK_S", "7200" if RELEASE else "0"))
LIFE_S = (5.0, 40.0)
SPARE_BYTES = 8 << 20
"""What an allocator may keep of the busiest moment."""

Health = Sequence[tuple[int, int, int]]
"""Bytes of memory, open files and threads, once a second."""

soak = pytest.mark.skipif(not SECONDS, reason="hours long: before a release, or MEERKAT_SOAK_S")


@pytest.fixture
def children() -> Iterator[Children]:
    with Children(["soak_load"]) as children:
        yield children


def grown(health: Health) -> tuple[int, int, int]:
    """By how much the last third is above the third before it, typically; 0 for what is not.

    The first third is left out: everything that there is only one of is made in it.
    """
    third = len(health) // 3
    before, after = health[third : 2 * third], health[2 * third :]
    rises = [
        round(statistics.median(late) - statistics.median(early))
        for early, late in zip(zip(*before, strict=True), zip(*after, strict=True), strict=True)
    ]
    memory, files, threads = (max(0, rise) for rise in rises)
    return memory, files, threads


def is_flat(health: Health) -> bool:
    memory, files, threads = grown(health)
    typical = statistics.median(each[0] for each in health)
    return memory <= SPARE_BYTES + typical * 0.05 and files <= 2 and threads <= 4


def health_of(child: Child) -> Health:
    """Hear a child out; how it was, each second."""
    said = []
    while (words := child.hear()) is not None:
        if words[0] == "health":
            said.append(tuple(words[1:]))
    assert not child.end()
    return said


@soak
@pytest.mark.timeout(0)
def test_one_long_life_stays_as_it_is(
    children: Children, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    promises = Promises()
    program = "soak_load:soak"
    health = health_of(children.start(program, tmp_path, 1, SECONDS / 2, promises=promises))
    memory, files, threads = grown(health)
    store = SqliteStore(tmp_path / DATABASE)
    promises.count(store)
    figure(
        f"12 soak, one life: seconds {len(health)}; inputs acknowledged {promises.acknowledged}; "
        f"acknowledged inputs lost {promises.lost}; memory grown by KiB {memory >> 10}; "
        f"open files more {files}; threads more {threads}"
    )
    check_all_done(store)
    promises.check(store)
    assert promises.acknowledged > SECONDS / 2 * INPUTS_A_SECOND * 0.9
    assert is_flat(health), health[:: max(1, len(health) // 20)]


@soak
@pytest.mark.timeout(0)
def test_lives_that_are_killed_lose_nothing(
    children: Children, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    promises, chance, kills = Promises(), random.Random(12), 0
    until = time.monotonic() + SECONDS / 2
    while time.monotonic() < until:
        child = children.start("soak_load:soak", tmp_path, kills, LIFE_S[1] * 2, promises=promises)
        child.listen(chance.uniform(*LIFE_S))
        assert child.kill()
        kills += 1
    assert not children.start("soak_load:soak", tmp_path, kills, 1.0, promises=promises).end()
    store = SqliteStore(tmp_path / DATABASE)
    promises.count(store)
    figure(
        f"12 soak, killed: kills {kills}; inputs acknowledged {promises.acknowledged}; "
        f"acknowledged inputs lost {promises.lost}; receipted work run again {promises.run_again}"
    )
    check_all_done(store)
    promises.check(store)
    check_store(store, limits=LIMITS)
    assert promises.acknowledged > 0


def test_a_load_that_lives_for_a_moment_is_done_and_says_how_it_is(
    children: Children, tmp_path: Path
) -> None:
    """That the test of hours can be run is seen on every commit."""
    promises = Promises()
    health = health_of(children.start("soak_load:soak", tmp_path, 1, 1.5, promises=promises))
    assert len(health) >= 1
    assert all(min(each) > 0 for each in health)
    store = SqliteStore(tmp_path / DATABASE)
    check_all_done(store)
    promises.check(store)
    assert promises.acknowledged == 1.5 * INPUTS_A_SECOND


# --- controls: what grows is seen -------------------------------------------------------

FLAT = (100 << 20, 20, 12)


@pytest.mark.parametrize("leak", [(100 << 10, 0, 0), (0, 0.1, 0), (0, 0, 0.1)])
def test_what_grows_all_the_time_is_found(leak: tuple[float, float, float]) -> None:
    chance = random.Random(1)
    still = [tuple(chance.randint(0, 2) + each for each in FLAT) for _ in range(600)]
    rising = [
        tuple(round(each + n * more) for each, more in zip(now, leak, strict=True))
        for n, now in enumerate(still)
    ]
    assert is_flat(still)  # type: ignore[arg-type]
    assert not is_flat(rising)  # type: ignore[arg-type]
