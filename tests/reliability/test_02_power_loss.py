"""Test 2: what a power cut leaves, at any moment, of any bytes that were not synced yet.

Of each state: the product opens it, SQLite finds it whole, every acknowledged input is
there, and everything else that a host was told is still so. Of a part of them everything
that a store shows is looked at, and of a few the work is taken up again to its end.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Hashable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from power_workloads import WORKLOADS, TellsDisk, promised

from meerkat.errors import RecoveryCorruption, StoreError
from meerkat.store import SqliteStore
from meerkat.testing import InvariantBroken, PowerLossState
from meerkat.testing.invariants import check_store
from meerkat.testing.kill_load import LIMITS, check_all_done, work
from meerkat.testing.kills import DATABASE

Sized = Callable[[int, int], int]
Figure = Callable[[str], None]

QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""What is safe on a disk is what the recording says, wherever its files are."""

LOOKED_THROUGH = 50
"""One state in so many is looked through as a whole."""
WORKED_ON = 1000
"""One state in so many is worked on, to its end."""
CONTROLS = 8
"""One state of the control to so many of the test."""

HOLES = """
SELECT runtime_id, run_id FROM receipts GROUP BY runtime_id, run_id
HAVING min(sequence) <> 0 OR max(sequence) + 1 <> count(*)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield Path(name)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@define
class Seen:
    """What was found in many states."""

    states: int = 0
    lost: int = 0
    corrupt: int = 0
    found: list[str] = field(factory=list)

    def look(self, state: PowerLossState, folder: Path, thoroughly: Callable[..., None]) -> None:
        """Open what is left, as the product does, and look for what was acknowledged."""
        self.states += 1
        state.write_to(folder)
        opened: list[Any] = []

        def connect(*args: Any, **options: Any) -> Any:
            opened.append(sqlite3.connect(*args, **options))
            return opened[-1]

        with closing(SqliteStore(folder / DATABASE, connect=connect)) as store:
            try:
                store.acquire()
                self._look(state, opened[-1])
                thoroughly(store, state)
            except (StoreError, RecoveryCorruption, sqlite3.Error, InvariantBroken) as error:
                self.corrupt += 1
                self.lost += bool(state.acknowledged)
                self.found.append(f"{state}: {error!r}")

    def _look(self, state: PowerLossState, writer: Any) -> None:
        whole = writer.execute("PRAGMA integrity_check(1)").fetchall() == [("ok",)]
        whole = whole and not writer.execute(HOLES).fetchall()
        if not whole:
            self.corrupt += 1
            self.found.append(f"{state}: it is not whole")
        missing = acknowledged(state) - stored(writer)
        if missing:
            self.lost += 1
            self.found.append(f"{state}: without {sorted(missing)[:3]}")


def acknowledged(state: PowerLossState) -> set[tuple[str, ...]]:
    """What must be there: inputs, and of those that had ended that they have."""
    marks: Any = state.acknowledged
    needed = {(mark[1], mark[2]) for mark in marks if mark[0] == "accepted"}
    ended = {(mark[1], mark[2], "ended") for mark in marks if mark[0] == "resolved"}
    return needed | ended


def stored(writer: Any) -> set[tuple[str, ...]]:
    """The inputs that are there, and those that have ended."""
    rows = writer.execute("SELECT runtime_id, input_id, outcome IS NULL FROM inputs").fetchall()
    inputs: set[tuple[str, ...]] = {row[:2] for row in rows}
    return inputs | {(*row[:2], "ended") for row in rows if not row[2]}


def no_more(store: SqliteStore, state: PowerLossState) -> None:
    """What was seen will do."""


def as_a_whole(store: SqliteStore, state: PowerLossState) -> None:
    """Every invariant, and everything a host was told."""
    check_store(store, limits=LIMITS)
    promised(state.acknowledged).check(store)


def to_its_end(store: SqliteStore, state: PowerLossState) -> None:
    """Another life takes the work up: all of it is done, and nothing that has a receipt again."""
    as_a_whole(store, state)
    store.close()
    told = Marks(list(state.acknowledged))
    work(TellsDisk(told), store, life=99)
    check_store(store, limits=LIMITS)
    check_all_done(store)
    promised(told.marks).check(store)


@define
class Marks:
    """Marks of a life that no disk records."""

    marks: list[Hashable]

    def acknowledged(self, what: Hashable) -> None:
        self.marks.append(what)


def how_far(number: int) -> Callable[[SqliteStore, PowerLossState], None]:
    if number % WORKED_ON == WORKED_ON // 2:
        return to_its_end
    return as_a_whole if number % LOOKED_THROUGH == 0 else no_more


def seen_in(states: Iterator[PowerLossState], folder: Path) -> Seen:
    seen = Seen()
    for number, state in enumerate(states):
        seen.look(state, folder, how_far(number))
    return seen


def lost_without_sync(name: str, folder: Path, count: int, synchronous: str) -> int:
    """The control: how many states of the same work lose something if commits are not synced."""
    disk = WORKLOADS[name](made(folder / synchronous), {"synchronous": synchronous})
    seen = Seen()
    for state in disk.states(seed=2, count=count):
        seen.look(state, folder / "left", no_more)
    assert seen.states == count
    return seen.lost


@pytest.mark.parametrize("name", WORKLOADS)
def test_nothing_acknowledged_is_lost_to_a_power_cut(
    name: str, folder: Path, sized: Sized, figure: Figure
) -> None:
    count = sized(20_000, 500_000) // len(WORKLOADS)
    left = made(folder / "left")
    disk = WORKLOADS[name](made(folder / "disk"), {})
    seen = seen_in(disk.states(seed=1, count=count), left)
    control = lost_without_sync(name, folder, count // CONTROLS, "normal")
    figure(
        f"2 power loss: states {seen.states}; lost {seen.lost}; corrupt {seen.corrupt}; "
        f"control lost {control}"
    )
    assert not seen.found, (len(seen.found), seen.found[:3])
    assert seen.states == count
    assert control > 0


def test_without_any_sync_files_are_torn(folder: Path) -> None:
    left = made(folder / "left")
    disk = WORKLOADS["lives"](made(folder / "disk"), {"synchronous": "off"})
    seen = Seen()
    for state in islice(disk.states(seed=1, count=400), 400):
        seen.look(state, left, no_more)
    assert seen.lost > 0
    assert seen.corrupt > 0
