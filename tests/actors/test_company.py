"""How long the writer of the journal waits for company: as values, then with callers."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

from plane_builders import WAIT_S

from actors.company import SHARE, WAIT_S_MAX, Company
from actors.journal import Entry, Journal
from meerkat import LogicalRuntimeId


def after(batches: int, took_s: float, since_s: float = 0.0, here: int = 1) -> float:
    """How long to wait, so long after a group of so many that took so long."""
    company = Company()
    company.committed(batches, 100.0, 100.0 + took_s)
    return round(company.wait_s(here, 100.0 + took_s + since_s), 6)


def test_who_is_alone_never_waits() -> None:
    assert Company().wait_s(1, 0.0) == 0
    assert after(1, 0.001) == 0


def test_after_a_group_of_several_as_many_are_waited_for() -> None:
    assert after(3, 0.001, here=2) == SHARE * 0.001
    assert after(3, 0.001, here=3) == 0
    assert after(3, 0.001, here=4) == 0


def test_the_wait_ends_with_its_share_of_the_last_commit_whoever_stays_away() -> None:
    assert after(3, 0.001, since_s=0.0005) == SHARE * 0.001 - 0.0005
    assert after(3, 0.001, since_s=SHARE * 0.001) <= 0
    assert after(3, 0.001, since_s=3600) <= 0


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


class Office:
    """A journal over a disk, and what it has told."""

    def __init__(self, took_s: float) -> None:
        self.clock = Clock()
        self.disk = Disk(self.clock, took_s)
        self.told = threading.Semaphore(0)
        disk: Any = self.disk
        self.journal = Journal(disk, lambda _call, _failed: False, self.clock, self.failed)
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


LONG_S = 3600.0
"""A commit after which there is time enough for whoever comes."""


def test_those_who_come_one_by_one_after_their_commit_are_written_together(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr("actors.company.WAIT_S_MAX", WAIT_S)
    office = Office(LONG_S)
    office.write_three_together()
    for name in "bcd":
        office.bring(name)
    office.write(3)
    assert office.disk.groups[2:] == [["b", "c", "d"]]
    assert office.journal.stop(WAIT_S)


def test_who_stays_away_is_not_waited_for_again() -> None:
    office = Office(LONG_S)  # of which the bound is left
    office.write_three_together()
    began = monotonic()
    office.bring("b")
    office.write(1)
    office.bring("b")
    office.write(1)
    assert office.disk.groups[2:] == [["b"], ["b"]]
    assert monotonic() - began < WAIT_S
    assert office.journal.stop(WAIT_S)


def test_who_comes_when_the_time_is_over_is_written_at_once(monkeypatch: Any) -> None:
    monkeypatch.setattr("actors.company.WAIT_S_MAX", LONG_S)
    office = Office(1.0)
    office.write_three_together()
    office.clock.now += SHARE * 1.0
    office.bring("b")
    office.write(1)
    assert office.disk.groups[2:] == [["b"]]
    assert office.journal.stop(WAIT_S)


def test_a_stop_waits_for_nobody(monkeypatch: Any) -> None:
    monkeypatch.setattr("actors.company.WAIT_S_MAX", LONG_S)
    office = Office(LONG_S)
    office.write_three_together()
    office.bring("b")
    office.disk.go_on.release()
    assert office.journal.stop(WAIT_S)
    assert office.disk.groups[2:] == [["b"]]
