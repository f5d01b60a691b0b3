"""Who commits a batch, and that each is answered once, whatever stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any, cast

import pytest
from plane_builders import WAIT_S

from actors import journal as journal_module
from actors.journal import BATCHES_A_GROUP, Entry, Journal, JournalActor
from actors.pool import ActorPool, PooledActor
from meerkat import LogicalRuntimeId
from meerkat.errors import CommitUnknown, ControlPlaneStopped, MeerkatError, StoreError
from meerkat.store import Batch

Said = list[StoreError | None]
Failed = Callable[[BaseException], None]
AfterTurn = Callable[[Callable[[], None], Failed], bool]


class Disk:
    """A store that notes which thread commits what, and stands still while it is held."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.threads: list[str] = []
        self.says: Callable[[Sequence[Any]], Said] = lambda batches: [None] * len(batches)
        self._inside: SimpleQueue[None] = SimpleQueue()
        self.go_on = threading.Event()
        self.go_on.set()

    def commit_many(self, batches: Sequence[Any]) -> Said:
        if batches:
            self.groups.append(list(batches))
            self.threads.append(threading.current_thread().name)
            self._inside.put(None)
            self.go_on.wait(WAIT_S)
        return self.says(batches)

    def hold(self) -> None:
        self.go_on.clear()

    def reached(self) -> None:
        self._inside.get(timeout=WAIT_S)


class Desk:
    """Brings batches, each of them a number, and notes what is said of them."""

    def __init__(self) -> None:
        self._said: SimpleQueue[tuple[int, MeerkatError | None]] = SimpleQueue()

    def bring(self, journal: Journal, *numbers: int) -> None:
        for number in numbers:
            batch, answered = cast("Batch", number), partial(self._answered, number)
            journal.submit(Entry(LogicalRuntimeId("a"), batch, answered))

    def _answered(self, number: int, error: MeerkatError | None) -> None:
        self._said.put((number, error))

    def take(self, count: int) -> dict[int, MeerkatError | None]:
        taken = dict(self._said.get(timeout=WAIT_S) for _ in range(count))
        assert len(taken) == count
        return taken

    @property
    def is_empty(self) -> bool:
        return self._said.empty()


class Worker:
    """A thread in the test's hands: what it is to do after its turn waits until then."""

    def __init__(self) -> None:
        self.free = True
        self.promised: list[tuple[Callable[[], None], Failed]] = []

    def after_turn(self, call: Callable[[], None], failed: Failed) -> bool:
        if self.free:
            self.promised.append((call, failed))
        return self.free

    def ends_turn(self) -> None:
        while self.promised:
            call, failed = self.promised.pop()
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - as a worker does
                failed(error)

    def ends_turn_elsewhere(self) -> threading.Thread:
        thread = threading.Thread(target=self.ends_turn)
        thread.start()
        return thread


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def worker() -> Worker:
    return Worker()


def journal_on(disk: Any, after_turn: AfterTurn) -> Journal:
    journal = Journal(disk, after_turn, monotonic, lambda _error: journal.resume())
    journal.start()
    return journal


@pytest.fixture
def journal(disk: Disk, worker: Worker) -> Iterator[Journal]:
    journal = journal_on(disk, worker.after_turn)
    yield journal
    disk.go_on.set()
    assert journal.stop(WAIT_S)


# --- who --------------------------------------------------------------------------------


def test_a_worker_with_nothing_else_to_do_commits_what_it_brings(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    desk.bring(journal, 1)
    assert disk.groups == []  # in its own time
    worker.ends_turn()
    assert desk.take(1) == {1: None}
    assert disk.threads == [threading.current_thread().name]


def test_a_worker_with_other_work_leaves_it_to_the_journals_thread(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    worker.free = False
    desk.bring(journal, 1)
    assert desk.take(1) == {1: None}
    assert disk.threads != [threading.current_thread().name]


def test_what_comes_before_a_worker_gets_to_it_goes_along(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    desk.bring(journal, 1, 2, 3)
    assert len(worker.promised) == 1
    worker.ends_turn()
    assert desk.take(3) == {1: None, 2: None, 3: None}
    assert disk.groups == [[1, 2, 3]]


def test_what_comes_while_a_worker_commits_is_for_the_journals_thread(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    disk.hold()
    desk.bring(journal, 1)
    thread = worker.ends_turn_elsewhere()
    disk.reached()
    desk.bring(journal, 2, 3)
    assert worker.promised == []  # there is a writer
    disk.go_on.set()
    assert desk.take(3) == {1: None, 2: None, 3: None}
    thread.join(WAIT_S)
    assert disk.groups == [[1], [2, 3]]
    assert disk.threads[0] == thread.name != disk.threads[1]


def test_the_next_batch_is_a_workers_again(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    for number in range(3):
        desk.bring(journal, number)
        worker.ends_turn()
        assert desk.take(1) == {number: None}
    assert disk.groups == [[0], [1], [2]]


def test_a_group_is_bounded(journal: Journal, disk: Disk, worker: Worker, desk: Desk) -> None:
    count = 2 * BATCHES_A_GROUP + 1
    desk.bring(journal, *range(count))
    worker.ends_turn()
    assert set(desk.take(count).values()) == {None}
    assert [len(group) for group in disk.groups] == [BATCHES_A_GROUP, BATCHES_A_GROUP, 1]
    assert [each for group in disk.groups for each in group] == list(range(count))


# --- what is said -----------------------------------------------------------------------


def test_each_batch_has_an_answer_of_its_own(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    refused = StoreError("bad batch")
    disk.says = lambda batches: [refused if each == 2 else None for each in batches]
    desk.bring(journal, 1, 2, 3)
    worker.ends_turn()
    assert desk.take(3) == {1: None, 2: refused, 3: None}


FULL = StoreError("disk full")


@pytest.mark.parametrize("error", [FULL, ZeroDivisionError(), SystemExit()])
def test_a_store_that_raises_answers_its_group_and_the_next_goes_on(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk, error: BaseException
) -> None:
    def raises(_batches: Sequence[Any]) -> Said:
        raise error

    well = disk.says
    for worker.free in (True, False):
        disk.says = raises
        desk.bring(journal, 1)
        if worker.free:
            desk.bring(journal, 3)  # of the same group
            worker.ends_turn()
        for said in desk.take(1 + worker.free).values():
            assert said is FULL if error is FULL else isinstance(said, CommitUnknown)
        disk.says = well
        desk.bring(journal, 2)
        worker.ends_turn()
        assert desk.take(1) == {2: None}


# --- the end ----------------------------------------------------------------------------


def test_a_journal_that_is_not_started_or_closed_takes_nothing(
    disk: Any, worker: Worker, desk: Desk
) -> None:
    journal = Journal(disk, worker.after_turn, monotonic, lambda _error: journal.resume())
    desk.bring(journal, 1)
    assert isinstance(desk.take(1)[1], ControlPlaneStopped)
    journal = journal_on(disk, worker.after_turn)
    assert journal.stop(WAIT_S)
    assert journal.stop(WAIT_S)
    desk.bring(journal, 2)
    assert isinstance(desk.take(1)[2], ControlPlaneStopped)
    assert (disk.groups, worker.promised) == ([], [])


def test_what_a_worker_has_promised_is_committed_by_a_stop(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    desk.bring(journal, 1, 2)
    assert journal.stop(WAIT_S)
    assert desk.take(2) == {1: None, 2: None}
    worker.ends_turn()
    assert disk.groups == [[1, 2]]
    assert desk.is_empty


def test_a_stop_says_when_the_disk_hangs_and_what_waits_is_answered_in_the_end(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    worker.free = False
    disk.hold()
    desk.bring(journal, 1)
    disk.reached()
    desk.bring(journal, 2)
    assert not journal.stop(0.001)
    desk.bring(journal, 3)
    assert isinstance(desk.take(1)[3], ControlPlaneStopped)
    disk.go_on.set()
    assert desk.take(2) == {1: None, 2: None}


class HeldActor(JournalActor):
    """Looks at its mail when it is let."""

    gate = threading.Event()

    def take_turn(self) -> None:
        self.gate.wait(WAIT_S)
        super().take_turn()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds the journal's thread up before its first message: behind a stop, all is dropped."""
    monkeypatch.setattr(HeldActor, "gate", threading.Event())
    monkeypatch.setattr(journal_module, "JournalActor", HeldActor)
    yield HeldActor.gate
    HeldActor.gate.set()


def test_a_stop_between_a_batch_and_its_wake_up_leaves_it_answered(
    gate: threading.Event, disk: Disk, desk: Desk
) -> None:
    journal = journal_on(disk, lambda _call, _failed: journal.stop(0))
    desk.bring(journal, 1)
    gate.set()
    assert desk.take(1) == {1: None}
    assert journal.stop(WAIT_S)


def test_a_stop_while_a_worker_commits_leaves_what_waits_answered(
    gate: threading.Event, disk: Disk, worker: Worker, desk: Desk
) -> None:
    journal = journal_on(disk, worker.after_turn)
    disk.hold()
    desk.bring(journal, 1)
    thread = worker.ends_turn_elsewhere()
    disk.reached()
    desk.bring(journal, 2)
    assert not journal.stop(0)
    disk.go_on.set()
    thread.join(WAIT_S)
    gate.set()
    assert desk.take(2) == {1: None, 2: None}
    assert journal.stop(WAIT_S)


def test_who_finds_the_journals_thread_gone_commits_what_waits(
    journal: Journal, disk: Disk, worker: Worker, desk: Desk
) -> None:
    assert journal.stop(WAIT_S)
    journal._closed, worker.free = False, False  # as for one that got in before the door closed
    desk.bring(journal, 1)
    assert desk.take(1) == {1: None}
    assert disk.threads == [threading.current_thread().name]


class Bringing(PooledActor):
    """Does what it is told."""

    def on_receive(self, message: Callable[[], None]) -> None:
        message()


@pytest.mark.parametrize("attempt", range(10))
def test_batches_race_with_a_stop_and_each_is_answered_once(
    disk: Any, desk: Desk, attempt: int
) -> None:
    pool = ActorPool(2)
    journal = journal_on(disk, pool.after_turn)
    pool.start()
    actors = [Bringing.start(pool) for _ in range(4)]
    stopping = threading.Thread(target=journal.stop, args=(WAIT_S,))
    for number in range(80):
        actors[number % 4].tell(partial(desk.bring, journal, number))
        if number == 8 * attempt:
            stopping.start()
    told = desk.take(80)
    stopping.join(WAIT_S)
    assert pool.stop(WAIT_S)
    assert desk.is_empty
    committed = [number for group in disk.groups for number in group]
    assert sorted(committed) == sorted(n for n, error in told.items() if error is None)
    assert all(isinstance(told[n], ControlPlaneStopped) for n in told.keys() - set(committed))
