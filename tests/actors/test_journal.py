"""The journal by itself: one writer at a time, whoever it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from plane_builders import WAIT_S

from actors.journal import Entry, Journal
from meerkat import LogicalRuntimeId


class Told:
    """In the place of the journal's actor: counts what it is told."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, _message: Any) -> None:
        self.count += 1


class LockThen:
    """A lock that calls something, once, after it was given back for the ``count``-th time."""

    def __init__(self, count: int, then: Callable[[], object]) -> None:
        self._lock, self._left, self._then = threading.Lock(), count, then

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()
        self._left -= 1
        if not self._left:
            self._then()


def entry(name: str, landed: list[str]) -> Entry:
    batch: Any = name
    return Entry(LogicalRuntimeId("a"), batch, lambda _error: landed.append(name))


def fail(error: BaseException) -> None:
    raise error


class Store:
    def commit_many(self, batches: list[Any]) -> list[None]:
        return [None] * len(batches)


def test_a_batch_that_comes_as_a_worker_ends_its_turn_as_writer_has_one_writer() -> None:
    """Were it two, both workers could be held up by a disk that hangs."""
    store: Any = Store()
    writers: list[Callable[[], None]] = []
    landed: list[str] = []

    def after_turn(call: Callable[[], None], _failed: object) -> bool:
        writers.append(call)
        return True

    def submit(name: str) -> None:
        journal.submit(entry(name, landed))

    journal: Any = Journal(store, after_turn, monotonic, fail)
    journal._actor = told = Told()
    submit("first")
    # The lock is taken to have the group, and to see whether anything is left.
    journal._lock = LockThen(2, lambda: submit("second"))
    writers[0]()
    assert landed == ["first"]
    assert len(writers) + told.count == 2
    writers[1]()
    assert landed == ["first", "second"]


def test_a_stop_commits_what_another_writer_was_to_commit() -> None:
    store: Any = Store()
    landed: list[str] = []
    writers: list[Callable[[], None]] = []

    def after_turn(call: Callable[[], None], _failed: object) -> bool:
        writers.append(call)
        return True

    journal = Journal(store, after_turn, monotonic, fail)
    journal.start()
    journal.submit(entry("first", landed))
    assert journal.stop(WAIT_S)
    assert landed == ["first"]
    writers[0]()
    assert landed == ["first"]


def test_a_batch_is_known_to_be_on_its_way_though_another_writer_found_nothing() -> None:
    """There are two while it ends: a worker, and the actor that commits what is left."""
    store: Any = Store()
    journal = Journal(store, lambda _call, _failed: True, monotonic, fail)
    journal._actor = Told()  # type: ignore[assignment]
    late, known = entry("late", []), list[bool]()
    take = journal._take

    def another_comes_first(group: list[Entry]) -> None:
        journal._take = take  # type: ignore[method-assign]
        journal.commit_waiting()
        journal.submit(late)
        take(group)

    journal._take = another_comes_first  # type: ignore[method-assign]
    store.commit_many = lambda batches: [known.append(journal.has(late)) for _ in batches]
    journal.commit_waiting()
    assert known == [True]
