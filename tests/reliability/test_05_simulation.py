"""Simulation: the shipped actors under many seeds, each with faults of its own.

A seed that breaks something prints the line that replays it: a Simulation, which is told the
same story by ``Story(sim).tell()``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from attrs import define
from simulation_story import Story

from actors.journal import Entry, Journal
from meerkat.errors import StoreError
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.testing import Faults, InvariantBroken, Simulation, Stuck

PARTS = 4
SEEDS, SEEDS_OF_A_RELEASE = 480, 199_500
ON_DISK, ON_DISK_OF_A_RELEASE = 20, 500
REPLAYED_OF = 8
"""One seed in so many is simulated once more, and compared."""

FAULTS = Faults.drawn


@define
class Found:
    """What came out of some seeds."""

    seeds: int = 0
    deliveries: int = 0
    kills: int = 0
    breaks: int = 0
    stuck: int = 0
    differences: int = 0
    first: str = ""

    def tell(self, seed: int, store: RuntimeStore) -> str:
        """One seed; gives the digest of all that happened."""
        sim = Simulation(seed=seed, faults=FAULTS(seed), store=store)
        try:
            with sim:
                Story(sim).tell()
        except Stuck as error:
            self.stuck += 1
            self._note(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is found
            self.breaks += 1
            self._note(error)
        self.seeds += 1
        self.deliveries += sim.deliveries
        self.kills += sim.kills
        return sim.digest

    def _note(self, error: BaseException) -> None:
        said = f"{type(error).__name__}: {error}"
        self.first = self.first or "\n".join([said, *getattr(error, "__notes__", ())])

    @property
    def line(self) -> str:
        return (
            f"5 simulation: seeds {self.seeds}; kills {self.kills}; deliveries {self.deliveries}; "
            f"invariant breaks {self.breaks}; stuck {self.stuck}; "
            f"replay differences {self.differences}"
        )

    def check(self) -> None:
        assert (self.breaks, self.stuck, self.differences) == (0, 0, 0), self.first


def shared(count: int, part: int) -> Iterable[int]:
    """The seeds of one part."""
    return range(part, count, PARTS)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.timeout(0)
def test_whatever_goes_wrong_the_promises_hold(
    part: int, sized: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    found = Found()
    for seed in shared(sized(SEEDS, SEEDS_OF_A_RELEASE), part):
        digest = found.tell(seed, MemoryStore())
        if seed % REPLAYED_OF == part:
            found.differences += Found().tell(seed, MemoryStore()) != digest
    figure(found.line)
    found.check()
    assert found.kills > found.seeds / 10
    assert found.deliveries > 50 * found.seeds


def test_the_same_holds_on_disk(
    tmp_path: Path, sized: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    found = Found()
    for seed in range(sized(ON_DISK, ON_DISK_OF_A_RELEASE)):
        digest = found.tell(seed, SqliteStore(tmp_path / f"{seed}.db"))
        found.differences += Found().tell(seed, MemoryStore()) != digest
    figure(found.line)
    found.check()


ELSEWHERE = """
import sys
sys.path.insert(0, {here!r})
from test_05_simulation import Found, MemoryStore
print(*(Found().tell(seed, MemoryStore()) for seed in range({seeds})))
"""


@pytest.mark.parametrize("hash_seed", ["0", "77"])
def test_another_process_replays_a_seed(hash_seed: str) -> None:
    seeds = 12
    script = ELSEWHERE.format(here=str(Path(__file__).parent), seeds=seeds)
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [Found().tell(seed, MemoryStore()) for seed in range(seeds)]


# --- controls ---------------------------------------------------------------------------


def tells_before_it_commits(journal: Journal, group: list[Entry]) -> None:
    for entry in group:
        entry.tell(None)
    journal._store.commit_many([entry.batch for entry in group])


def takes_a_refusal_for_a_success(journal: Journal, group: list[Entry]) -> None:
    try:
        journal._store.commit_many([entry.batch for entry in group])
    except StoreError as error:
        for entry in group:
            entry.tell(error)
    for entry in group:
        entry.tell(None)


def forgets_one_in_a_hundred(journal: Journal, group: list[Entry]) -> None:
    answers = journal._store.commit_many([entry.batch for entry in group])
    for entry, answer in zip(group, answers, strict=True):
        if entry.batch.expected_fence != 7:
            entry.tell(answer)


PLANTED = (tells_before_it_commits, takes_a_refusal_for_a_success, forgets_one_in_a_hundred)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.__name__)
def test_a_planted_bug_is_found_and_its_line_replays_it(
    planted: Callable[[Journal, list[Entry]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Journal, "_commit", planted)
    found, seed = Found(), 0
    while not found.first and seed < SEEDS:
        digest = found.tell(seed, MemoryStore())
        seed += 1
    assert found.first, "no seed has found it"
    line = found.first.rpartition("to replay it: ")[2]
    sim = eval(line)  # as a host would paste it
    with pytest.raises((AssertionError, InvariantBroken, TimeoutError)), sim:
        Story(sim).tell()
    assert sim.digest == digest
