"""How long the writer of the journal waits for company: as values, then with callers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import pytest
from plane_builders import WAIT_S

from actors.company import SHARE, WAIT_S_MAX, Company
from actors.journal import Entry, Journal
from meerkat import LogicalRuntimeId


def after(batches: int, took_s: float, since_s: float = 0.0, here: int = 1) -> float:
    """How long to wait, so long after a group of so many that took so long."""
    company = Company()
    company.committed(batches, 100.0, 100.0 + took_s)
    return round(company.left_s(here, 100.0 + took_s + since_s), 6)


def test_who_is_alone_never_waits() -> None:
    assert Company().left_s(1, 0.0) == 0
    assert after(1, 0.001) == 0


def test_after_a_group_of_several_as_many_are_waited_for() -> None:
    assert after(3, 0.001, here=2) == SHARE * 0.001
    assert after(3, 0.001, here=3) == 0
    assert after(3, 0.001, here=4) == 0


def test_the_wait_ends_with_its_share_of_the_last_commit_whoever_stays_away() -> None:
    assert after(3, 0.001, since_s=0.0005) == SHARE * 0.001 - 0.0005
    assert after(3, 0.001, since_s=SHARE * 0.001) <= 0
    assert after(3, 0.001, since_s=3600) <= 0


def test_a_group_of_one_ends_it() -> None:
    company = Company()
    company.committed(3, 0.0, 1.0)
    company.committed(1, 1.0, 2.0)
    assert company.left_s(1, 2.0) == 0


def waits_after(company: Company, groups: int) -> list[bool]:
    """Would be waited after each of so many groups of three?"""
    found = []
    for _ in range(groups):
        company.committed(3, 0.0, 0.001)
        found.append(company.left_s(1, 0.001) > 0)
    return found


def test_after_a_wait_in_vain_ever_more_groups_are_taken_for_chance() -> None:
    company = Company()
    assert waits_after(company, 2) == [True, True]
    company.waited(came=False)
    assert waits_after(company, 3) == [False, False, True]
    company.waited(came=False)
    assert waits_after(company, 5) == [False] * 4 + [True]
    for _ in range(20):
        company.waited(came=False)
    assert waits_after(company, 65) == [False] * 64 + [True]
    company.waited(came=True)
    assert waits_after(company, 1) == [True]


def test_on_a_slow_disk_the_wait_is_bounded() -> None:
    assert after(3, 60.0) == WAIT_S_MAX


class Clock:
    """Goes on by what a commit takes, and otherwise stands still."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Disk:
    """Takes its time for a group, which it lets the test have its way with."""

    def __init__(self, clock: Clock, took_s: float) -> None:
        self.clock, self.took_s = clock, took_s
        self.groups: list[list[str]] = []
        self.arrived = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def commit_many(self, batches: list[Any]) -> list[None]:
        self.groups.append(batches)
        self.arrived.release()
        assert self.go_on.acquire(timeout=WAIT_S)
        self.clock.now += self.took_s
        return [None] * len(batches)


class WatchedCompany(Company):
    """Keeps how each wait ended."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[bool] = []

    def waited(self, *, came: bool) -> None:
        self.waits.append(came)
        super().waited(came=came)


class Office:
    """A journal over a disk, and what it has told."""

    def __init__(self, took_s: float, after_turn: Any = lambda _call, _failed: False) -> None:
        self.clock = Clock()
        self.disk = Disk(self.clock, took_s)
        self.told = threading.Semaphore(0)
        disk: Any = self.disk
        self.journal = Journal(disk, after_turn, self.clock, self.failed)
        self.journal.start()

    def failed(self, error: BaseException) -> None:
        raise error

    def bring(self, *names: str) -> None:
        for name in names:
            batch: Any = name
            entry = Entry(LogicalRuntimeId(name), batch, lambda _error: self.told.release())
            self.journal.submit(entry)

    def write(self, count: int) -> None:
        """Let the disk write the group that has come to it, and have that many told."""
        assert self.disk.arrived.acquire(timeout=WAIT_S)
        self.disk.go_on.release()
        for _ in range(count):
            assert self.told.acquire(timeout=WAIT_S)

    def write_three_together(self) -> None:
        """One on its way to the disk, and three behind it."""
        self.bring("a")
        assert self.disk.arrived.acquire(timeout=WAIT_S)
        self.bring("b", "c", "d")
        self.disk.arrived.release()
        self.write(1)
        self.write(3)
        assert self.disk.groups == [["a"], ["b", "c", "d"]]
        until(lambda: not self.journal._awake)

    def is_waiting(self) -> None:
        """Wait until the writer waits for company, and see that it writes nothing."""
        until(lambda: self.journal._is_gathering)
        assert not self.disk.arrived.acquire(timeout=0.02)


def until(holds: Callable[[], bool]) -> None:
    ends = monotonic() + WAIT_S
    while not holds():
        assert monotonic() < ends
        sleep(0.001)


LONG_S = 3600.0
"""A commit after which there is time enough for whoever comes."""


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.company.WAIT_S_MAX", LONG_S)


@pytest.mark.usefixtures("unbounded")
def test_those_who_come_one_by_one_after_their_commit_are_written_together() -> None:
    office = Office(LONG_S)
    office.write_three_together()
    for name in "bc":
        office.bring(name)
        office.is_waiting()
    office.bring("d")
    office.write(3)
    assert office.disk.groups[2:] == [["b", "c", "d"]]
    assert office.journal.stop(WAIT_S)


def test_who_stays_away_is_not_waited_for_again() -> None:
    office = Office(LONG_S)  # of which the bound is left
    office.journal._company = company = WatchedCompany()
    office.write_three_together()
    for _ in range(3):
        office.bring("b")
        office.write(1)
    assert office.disk.groups[2:] == [["b"]] * 3
    assert company.waits == [False]
    assert office.journal.stop(WAIT_S)


@pytest.mark.usefixtures("unbounded")
def test_who_comes_when_the_time_is_over_is_written_at_once() -> None:
    office = Office(1.0)
    office.write_three_together()
    office.clock.now += SHARE * 1.0
    office.bring("b")
    office.write(1)
    assert office.disk.groups[2:] == [["b"]]
    assert office.journal.stop(WAIT_S)


@pytest.mark.usefixtures("unbounded")
def test_no_worker_of_the_pool_waits_for_company() -> None:
    asked: list[object] = []

    def after_turn(call: object, _failed: object) -> bool:
        asked.append(call)
        return False

    office = Office(LONG_S, after_turn)
    office.write_three_together()
    asked.clear()
    office.bring("b")
    office.is_waiting()
    assert asked == []
    office.bring("c", "d")
    office.write(3)
    assert office.journal.stop(WAIT_S)


@pytest.mark.usefixtures("unbounded")
def test_a_stop_ends_the_wait() -> None:
    office = Office(LONG_S)
    office.write_three_together()
    office.bring("b")
    office.is_waiting()
    office.disk.go_on.release()
    assert office.journal.stop(WAIT_S)
    assert office.disk.groups[2:] == [["b"]]
