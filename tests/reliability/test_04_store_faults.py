"""Test 4: every call fails once, of the store and of SQLite below it, in every way it can.

Whatever the call and the way: what was acknowledged is there at the end, everything was done
once, and every error that a host met was a typed one. Before a release two calls fail.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from attrs import field, frozen
from store_fault_story import NAMES, Host, Left

from actors import DriverThreads
from meerkat.errors import StoreError
from meerkat.store import Batch, MemoryStore, RuntimeStore, SqliteStore
from meerkat.testing import (
    FaultyBinding,
    FaultyStore,
    StoreWrapper,
    When,
    commit_unknown,
    disk_full,
    io_error,
)
from meerkat.testing.faulty_binding import sqlite_full, sqlite_io_error
from meerkat.testing.faulty_store import EVERY_CALL, AnError
from meerkat.testing.store_wrapper import COMMITS

Sized = Callable[[int, int], int]
Figure = Callable[[str], None]

QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield Path(name)


# --- the calls of a store ---------------------------------------------------------------


@frozen
class Kind:
    """A way to fail, and the methods that can fail so."""

    error: AnError | None
    when: When = When.BEFORE
    calls: Collection[str] = field(default=EVERY_CALL)


BEHIND_THE_START = EVERY_CALL - {"acquire"}
"""What a host's own thread calls at the start gives the host its own errors, of any kind."""

KINDS = {
    "an I/O error": Kind(io_error),
    "a full disk": Kind(disk_full),
    "in doubt, and did not happen": Kind(commit_unknown, calls=COMMITS),
    "done, but reported as failed": Kind(None, When.AFTER),
    "a defect before": Kind(lambda: RuntimeError("binding"), calls=BEHIND_THE_START),
    "a defect after": Kind(lambda: RuntimeError("binding"), When.AFTER, BEHIND_THE_START),
    "out of memory after": Kind(MemoryError, When.AFTER, BEHIND_THE_START),
}


def tell(kind: Kind, drivers: DriverThreads, fail_at: Collection[int], left: Left) -> FaultyStore:
    """Tell the story with these calls failing; what is left of it is added up."""
    truth = MemoryStore()
    store = FaultyStore(truth, fail_at=fail_at, error=kind.error, when=kind.when, calls=kind.calls)
    told = Host(store, truth, drivers).tell()
    left.add(told, truth)
    return store


LEAST = len(["registered", *NAMES, "recycled", "detached", "the last run's end"])
"""Commits of a story that are never one: the host waits for each before it goes on."""

TELLINGS = 3
"""Commits are grouped by chance: a call that comes in none of so many tellings is past the end."""


@pytest.mark.parametrize("drivers", list(DriverThreads), ids=str)
@pytest.mark.parametrize("name", KINDS)
def test_every_call_of_a_store_may_fail(
    sized: Sized, figure: Figure, name: str, drivers: DriverThreads
) -> None:
    left = Left()

    def fails(fail_at: Collection[int]) -> bool:
        with noted(name, fail_at):
            return len(tell(KINDS[name], drivers, fail_at, left).failed) == len(fail_at)

    tried = every(sized(1, 2), fails, count(1))
    assert tried >= LEAST
    report("calls of a store", tried, left, figure)


def every(
    at_once: int,
    fails: Callable[[Collection[int]], bool],
    numbers: Iterable[int],
    before: tuple[int, ...] = (),
) -> int:
    """Have every call of these numbers fail, or every two, as far as they come; how many did."""
    tried = 0
    for number in numbers:
        here = (*before, number)
        if at_once > 1:
            more = every(at_once - 1, fails, count(number + 1), here)
        else:
            more = any(fails(here) for _ in range(TELLINGS))
        if not more:
            break
        tried += more
    return tried


@contextmanager
def noted(name: str, fail_at: Collection[int]) -> Iterator[None]:
    """Whatever goes wrong says in which story."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{name}, in the calls {fail_at}")
        raise


def report(what: str, tried: int, left: Left, figure: Figure) -> None:
    figure(
        f"4 store faults, {what} x kinds: tried {tried}; lost {left.lost}; "
        f"duplicated {left.duplicated}; untyped errors {left.untyped}"
    )
    assert left == Left()


# --- the calls of SQLite ----------------------------------------------------------------

BINDINGS = {
    "an I/O error": (sqlite_io_error, When.BEFORE),
    "a full disk": (sqlite_full, When.BEFORE),
    "done, but reported as failed": (sqlite_io_error, When.AFTER),
}


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("name", BINDINGS)
def test_every_call_of_sqlite_may_fail(
    folder: Path, sized: Sized, figure: Figure, name: str, part: int
) -> None:
    error, when = BINDINGS[name]
    left, path = Left(), folder / "sessions.db"

    def fails(fail_at: Collection[int]) -> bool:
        binding = FaultyBinding(error=error, when=when)
        store, truth = SqliteStore(path, connect=binding), SqliteStore(path)
        binding.arm(fail_at)
        with noted(name, fail_at):
            left.add(Host(store, truth).tell(), truth)
        truth.close()
        for each in folder.iterdir():
            each.unlink()
        return len(binding.failed) == len(fail_at)

    tried = every(sized(1, 2), fails, count(1 + part, 2))
    assert tried >= 2 * LEAST  # each of its own commits is a BEGIN and a COMMIT, at the least
    report("calls of SQLite", tried, left, figure)


# --- controls ---------------------------------------------------------------------------


class Forgetful(StoreWrapper):
    """Answers for one acceptance that it is durable, and has not written it."""

    def __init__(self, inner: RuntimeStore, forgets: int) -> None:
        super().__init__(inner)
        self._left = forgets

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        kept = [batch for batch in batches if not self._forgets(batch)]
        answers = dict(zip(map(id, kept), super().commit_many(kept), strict=True))
        return [answers.get(id(batch)) for batch in batches]

    def _forgets(self, batch: Batch) -> bool:
        self._left -= any(row.payload is not None for row in batch.inputs)
        forgets, self._left = self._left == 0, self._left or -1
        return forgets


@pytest.mark.parametrize("forgets", range(1, len(NAMES)))
def test_a_store_that_forgets_what_it_has_acknowledged_is_found(forgets: int) -> None:
    """Whoever goes on from there is fenced off, and never comes to an end."""
    truth = MemoryStore()
    with pytest.raises(
        AssertionError, match=r"refused again and again|ended as runtime_terminated"
    ):
        Left().add(Host(Forgetful(truth, forgets), truth).tell(), truth)


def test_what_a_store_forgets_at_its_end_is_lost() -> None:
    truth, left = MemoryStore(), Left()
    left.add(Host(Forgetful(truth, len(NAMES)), truth).tell(), truth)
    assert left.lost == 1


class Liar(StoreWrapper):
    """Says of one commit that it did not happen, and has done it."""

    def __init__(self, inner: RuntimeStore, lies: int) -> None:
        super().__init__(inner)
        self._left = lies

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        self._left -= 1
        answers = super().commit_many(batches)
        if self._left == 0:
            raise StoreError("it did not happen")
        return answers


def test_an_acceptance_that_raised_and_is_there_is_found() -> None:
    found = 0
    for lies in range(2, 6):
        truth, left = MemoryStore(), Left()
        left.add(Host(Liar(truth, lies), truth).tell(), truth)
        found += left.duplicated
    assert found >= 1
