"""Operations: ends that the store turned out to hold are adopted, whatever is under way."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import pytest
from attrs import evolve

from meerkat import operation_errors as errors
from meerkat.completion_feed import FeedEntry
from meerkat.errors import CommitUnknown, RecoveryCorruption, StoreError
from meerkat.identifiers import OperationId
from meerkat.operations import (
    OperationCompleted,
    OperationFailed,
    OperationKind,
    OperationRecord,
    OperationRetired,
    OperationStatus,
    OperationStep,
    OperationTerminated,
)
from meerkat.operations_registry import OpsLifecycleRegistry

CHILD = OperationKind.MOB_MEMBER_CHILD
TOOL = OperationKind.BACKGROUND_TOOL_OP
PATIENCE_S = 20
DOUBT = "the connection broke"
T = TypeVar("T")


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def running(registry: OpsLifecycleRegistry, operation_id: OperationId | None = None) -> OperationId:
    operation_id = operation_id or OperationId.new()
    registry.register(operation_id, kind=TOOL, display_name="index the docs")
    registry.provisioning_succeeded(operation_id)
    return operation_id


def ended(operation_id: OperationId, result: str = "stored") -> OperationRecord:
    """How the store says that an operation of ``running`` ended."""
    return OperationRecord(
        operation_id=operation_id,
        kind=TOOL,
        display_name="index the docs",
        status=OperationStatus.COMPLETED,
        created_at=now(),
        started_at=now(),
        completed_at=now(),
        outcome=OperationCompleted(result=result),
    )


def unlocked(registry: OpsLifecycleRegistry, rows: Iterable[T]) -> Iterator[T]:
    """The rows of somebody whose code must not run while the lock is held."""
    for row in rows:
        assert registry._turns.lock.acquire(blocking=False)
        registry._turns.lock.release()
        yield row


def adopt(registry: OpsLifecycleRegistry, *records: OperationRecord, seq: int = 1) -> None:
    entries = [FeedEntry.of(at, record) for at, record in enumerate(records, seq)]
    registry.adopt(unlocked(registry, records), unlocked(registry, entries))


def fed(registry: OpsLifecycleRegistry) -> list[tuple[int, OperationId]]:
    return [(it.seq, it.operation_id) for it in registry.list_since(0).entries]


class Desk:
    """A recorder that waits, in each call, until the test says how it goes on."""

    def __init__(self) -> None:
        self.told: list[tuple[OperationId, OperationStep]] = []
        self.registry = OpsLifecycleRegistry(now=now, recorder=self.record, observer=self.observe)
        self.calls: list[tuple[int, OperationId]] = []
        self.entered: queue.Queue[OperationId] = queue.Queue()
        self.go_on: queue.Queue[BaseException | None] = queue.Queue()

    def record(self, record: OperationRecord, entry: FeedEntry | None) -> None:
        assert entry is not None
        self.calls.append((entry.seq, record.operation_id))
        self.entered.put(record.operation_id)
        failure = self.go_on.get(timeout=PATIENCE_S)
        if failure is not None:
            raise failure

    def observe(self, record: OperationRecord, step: OperationStep) -> None:
        if step is not OperationStep.PROVISIONING_SUCCEEDED:
            self.told.append((record.operation_id, step))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def in_thread(work: Callable[[], object]) -> Future[object]:
    future: Future[object] = Future()

    def body() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - told to the test
            future.set_exception(error)

    threading.Thread(target=body, daemon=True).start()
    return future


def in_doubt(desk: Desk, operation: OperationId) -> None:
    desk.go_on.put(CommitUnknown(DOUBT))
    with pytest.raises(CommitUnknown):
        desk.registry.complete(operation, "asked")
    assert desk.entered.get_nowait() == operation


# --- with nothing under way -------------------------------------------------------------


def test_an_end_in_doubt_is_adopted_and_told(desk: Desk) -> None:
    registry, order = desk.registry, []
    operation = running(registry)
    watcher, request = registry.watch(operation), registry.wait_all([operation])
    watcher.add_done_callback(lambda _: order.append((list(desk.told), registry.watermark)))
    in_doubt(desk, operation)
    assert (registry.live_ids, registry.watermark, desk.told) == ((operation,), 0, [])

    record = ended(operation)
    adopting = in_thread(lambda: registry.adopt([record], [FeedEntry.of(1, record)]))
    assert adopting.result(PATIENCE_S) == (record,)

    assert registry.live_ids == ()
    assert registry.snapshot(operation).outcome == record.outcome
    assert registry.list_since(0).entries == (FeedEntry.of(1, record),)
    assert watcher.result(0) == record.outcome
    assert request.future.result(0) == (record.outcome,)
    assert order == [([(operation, OperationStep.COMPLETE)], 1)]
    assert len(desk.calls) == 1  # nothing is recorded
    with pytest.raises(errors.InvalidTransition):
        registry.complete(operation)


def test_adopting_again_changes_nothing_and_tells_nobody(desk: Desk) -> None:
    registry = desk.registry
    first, second = ended(running(registry)), ended(running(registry))
    adopt(registry, first, second)
    adopt(registry, first, second)
    assert registry.adopt([first, first], [FeedEntry.of(2, second)]) == ()
    assert registry.adopt([], []) == ()
    assert fed(registry) == [(1, first.operation_id), (2, second.operation_id)]
    assert len(desk.told) == 2


def test_rows_through_the_watermark_are_ignored_beside_new_ones(desk: Desk) -> None:
    registry = desk.registry
    old, new, live = ended(running(registry)), ended(running(registry)), running(registry)
    adopt(registry, old)
    stale = evolve(ended(live), outcome=OperationCompleted(result="never"))
    rows = [old, stale, new]
    entries = [FeedEntry.of(seq, row) for seq, row in zip((1, 1, 2), rows, strict=True)]
    assert registry.adopt(rows, entries) == (new,)
    assert registry.live_ids == (live,)


def test_unknown_operations_are_adopted_within_the_bounds() -> None:
    told: list[OperationStep] = []
    registry = OpsLifecycleRegistry(
        now=now, finished_max=2, observer=lambda _, step: told.append(step)
    )
    records = [ended(OperationId.new()) for _ in range(4)]
    records[3] = evolve(
        records[3], status=OperationStatus.FAILED, outcome=OperationFailed(error="x")
    )
    adopt(registry, *records)
    assert [it.seq for it in registry.list_since(0).entries] == [1, 2, 3, 4]
    assert [it.operation_id for it in registry.snapshots()] == [
        it.operation_id for it in records[2:]
    ]
    assert told == [*[OperationStep.COMPLETE] * 3, OperationStep.FAIL]


def test_an_operation_known_to_have_ended_is_still_fed() -> None:
    record = ended(OperationId.new())
    registry = OpsLifecycleRegistry.recover(records=[record], entries=[], watermark=4, now=now)
    adopt(registry, record, seq=5)
    assert fed(registry) == [(5, record.operation_id)]
    assert len(registry.snapshots()) == 1


def test_the_end_of_the_owner_does_not_keep_rows_out(desk: Desk) -> None:
    desk.registry.terminate_owner("x")
    adopt(desk.registry, ended(OperationId.new()))
    assert (desk.registry.watermark, desk.registry.is_retired) == (1, True)


def test_holes_and_contradictions_are_corruption_and_change_nothing(desk: Desk) -> None:
    registry = desk.registry
    known, live, unknown = ended(running(registry)), running(registry), OperationId.new()
    adopt(registry, known)
    a, b = ended(live), ended(unknown)
    other = evolve(FeedEntry.of(3, b), outcome=OperationRetired())
    unended = evolve(a, status=OperationStatus.RUNNING, outcome=None, completed_at=None)
    watcher = registry.watch(live)
    entry = FeedEntry.of
    for records, entries in (
        ([b], [entry(3, b)]),  # a hole after the watermark
        ([a, b], [entry(2, a), entry(4, b)]),  # and between rows
        ([a, b], [entry(3, b), entry(2, a)]),  # out of order
        ([a, b], [entry(2, a), entry(2, b)]),  # one sequence twice
        ([a], [entry(2, a), entry(3, a)]),  # one operation twice
        ([a, a], [entry(2, a)]),
        ([a], [entry(2, a), entry(3, b)]),  # an entry without its record
        ([a, b], [entry(2, a), other]),
        ([unended], [entry(2, a)]),
        ([evolve(a, kind=CHILD)], [entry(2, evolve(a, kind=CHILD))]),  # another than here
        ([evolve(a, created_at=now() - timedelta(1))], [entry(2, a)]),
        ([known], [entry(2, known)]),  # fed already
        ([ended(known.operation_id, "x")], [entry(2, ended(known.operation_id, "x"))]),
    ):
        with pytest.raises(RecoveryCorruption):
            registry.adopt(records, entries)
        assert (registry.watermark, registry.live_ids, watcher.done()) == (1, (live,), False)
        assert len(registry.snapshots()) == 2
    adopt(registry, a, b, seq=2)
    assert registry.watermark == 3


# --- while the recorder is at work ------------------------------------------------------


def test_an_operation_adopted_while_it_is_recorded_ends_once(desk: Desk) -> None:
    registry = desk.registry
    operation, following = running(registry), running(registry)
    outcomes: list[object] = []
    watcher, request = registry.watch(operation), registry.wait_all([operation])
    watcher.add_done_callback(lambda it: outcomes.append(it.result(0)))
    end = in_thread(lambda: registry.complete(operation, "asked"))
    assert desk.entered.get(timeout=PATIENCE_S) == operation

    record = ended(operation)
    adopt(registry, record)  # answers although the turn is taken
    assert fed(registry) == [(1, operation)]
    assert registry.snapshot(operation).outcome == record.outcome
    with pytest.raises(errors.InvalidTransition):  # and does not wait for the turn
        registry.progress(operation)
    adopt(registry, record)
    assert not watcher.done()
    assert not end.done()

    desk.go_on.put(None)
    assert end.result(PATIENCE_S) == record
    assert outcomes == [record.outcome]
    assert request.future.result(0) == (record.outcome,)
    assert desk.told == [(operation, OperationStep.COMPLETE)]
    desk.go_on.put(None)
    registry.complete(following)
    assert fed(registry) == desk.calls == [(1, operation), (2, following)]


def test_a_step_that_waits_for_an_end_goes_on_when_it_is_adopted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, lock, waiting = desk.registry, desk.registry._turns.lock, threading.Event()
    wait = lock.wait

    def noted_wait() -> bool:
        waiting.set()  # with the lock held: who takes it next finds a thread that waits
        return wait(PATIENCE_S)

    monkeypatch.setattr(lock, "wait", noted_wait)
    operation = running(registry)
    end = in_thread(lambda: registry.complete(operation))
    desk.entered.get(timeout=PATIENCE_S)
    step = in_thread(lambda: registry.progress(operation))
    assert waiting.wait(PATIENCE_S)
    adopt(registry, ended(operation))
    assert isinstance(step.exception(PATIENCE_S / 2), errors.InvalidTransition)
    assert not end.done()
    desk.go_on.put(None)
    end.result(PATIENCE_S)


def test_the_adopted_record_is_the_answer_though_it_is_no_longer_kept() -> None:
    def recorder(record: OperationRecord, _entry: FeedEntry | None) -> None:
        adopt(registry, ended(record.operation_id), ended(OperationId.new()))
        running(registry, record.operation_id)  # it is forgotten, and its id taken again

    registry = OpsLifecycleRegistry(now=now, recorder=recorder, finished_max=1)
    operation = running(registry)
    assert registry.complete(operation, "asked") == ended(operation)
    assert registry.snapshot(operation).status is OperationStatus.RUNNING
    assert registry.watermark == 2


def test_a_doubt_that_adopting_has_settled_is_no_failure(desk: Desk) -> None:
    registry = desk.registry
    operation = running(registry)
    end = in_thread(lambda: registry.complete(operation, "asked"))
    desk.entered.get(timeout=PATIENCE_S)
    adopt(registry, ended(operation))
    desk.go_on.put(CommitUnknown(DOUBT))
    assert end.result(PATIENCE_S) == ended(operation)
    assert desk.told == [(operation, OperationStep.COMPLETE)]
    assert desk.calls == [(1, operation)]


def test_an_exit_out_of_a_recorder_passes_and_what_was_adopted_is_told(desk: Desk) -> None:
    registry = desk.registry
    operation = running(registry)
    watcher = registry.watch(operation)
    end = in_thread(lambda: registry.complete(operation, "asked"))
    desk.entered.get(timeout=PATIENCE_S)
    adopt(registry, ended(operation))
    desk.go_on.put(SystemExit())
    assert isinstance(end.exception(PATIENCE_S), SystemExit)
    assert watcher.result(0) == OperationCompleted(result="stored")
    assert desk.told == [(operation, OperationStep.COMPLETE)]
    assert registry.terminate_owner("x") == ()  # the turn is free


@pytest.mark.parametrize("answer", [None, StoreError("the feed has gone on")])
def test_an_end_whose_sequence_is_adopted_is_recorded_under_the_next(
    desk: Desk, answer: StoreError | None
) -> None:
    registry = desk.registry
    doubtful, operation = running(registry), running(registry)
    in_doubt(desk, doubtful)
    end = in_thread(lambda: registry.complete(operation, "asked"))
    assert desk.entered.get(timeout=PATIENCE_S) == operation
    adopt(registry, ended(doubtful))
    desk.go_on.put(answer)
    assert desk.entered.get(timeout=PATIENCE_S) == operation
    assert registry.live_ids == (operation,)
    desk.go_on.put(None)
    end.result(PATIENCE_S)
    assert desk.calls == [(1, doubtful), (1, operation), (2, operation)]
    assert fed(registry) == [(1, doubtful), (2, operation)]


def test_a_renumbered_end_that_is_refused_again_has_not_happened(desk: Desk) -> None:
    registry = desk.registry
    doubtful, operation = running(registry), running(registry)
    in_doubt(desk, doubtful)
    end = in_thread(lambda: registry.complete(operation, "asked"))
    desk.entered.get(timeout=PATIENCE_S)
    adopt(registry, ended(doubtful))
    desk.go_on.put(StoreError("the feed has gone on"))
    desk.go_on.put(StoreError("disk full"))
    with pytest.raises(StoreError, match="disk full"):
        end.result(PATIENCE_S)
    assert (fed(registry), registry.live_ids) == ([(1, doubtful)], (operation,))


def test_the_end_of_the_owner_leaves_out_what_is_adopted_meanwhile(desk: Desk) -> None:
    registry = desk.registry
    first, doubtful, last = (running(registry) for _ in range(3))
    in_doubt(desk, doubtful)
    end = in_thread(lambda: registry.terminate_owner("x"))
    desk.entered.get(timeout=PATIENCE_S)
    assert registry.is_retired
    adopt(registry, ended(doubtful))
    for _ in range(3):
        desk.go_on.put(None)
    records = end.result(PATIENCE_S)
    assert isinstance(records, tuple)
    assert [it.operation_id for it in records] == [first, doubtful, last]
    assert records[1] == ended(doubtful)
    assert records[2].outcome == OperationTerminated(reason="x")
    assert desk.calls == [(1, doubtful), (1, first), (2, first), (3, last)]
    assert fed(registry) == [(1, doubtful), (2, first), (3, last)]
    assert [it for it, _ in desk.told] == [doubtful, first, last]


def test_an_end_published_before_the_rows_come_is_not_published_again(desk: Desk) -> None:
    registry = desk.registry
    operation = running(registry)
    desk.go_on.put(None)
    record = registry.complete(operation, "asked")
    adopt(registry, record)
    assert fed(registry) == [(1, operation)]
    assert len(desk.told) == 1


def test_a_callback_may_end_operations_though_the_adopting_thread_is_waited_for(
    desk: Desk,
) -> None:
    registry = desk.registry
    operation, other = running(registry), running(registry)
    threads: list[int] = []

    def on_end(_future: object) -> None:
        threads.append(threading.get_ident())
        registry.complete(other)

    registry.watch(operation).add_done_callback(on_end)
    end = in_thread(lambda: (registry.complete(operation), threading.get_ident()))
    desk.entered.get(timeout=PATIENCE_S)
    driver = in_thread(lambda: adopt(registry, ended(operation)))
    driver.result(PATIENCE_S)  # would wait for the turn in the callback, for ever
    desk.go_on.put(None)
    desk.go_on.put(None)
    result = end.result(PATIENCE_S)
    assert isinstance(result, tuple)
    assert threads == [result[1]]
    assert fed(registry) == [(1, operation), (2, other)]


def test_a_recorder_may_adopt_what_it_settles_itself() -> None:
    told: list[OperationStep] = []

    def recorder(record: OperationRecord, entry: FeedEntry | None) -> None:
        assert entry is not None
        if entry.seq == 1:
            assert registry.adopt([record], [entry]) == (record,)
            assert told == []

    registry = OpsLifecycleRegistry(
        now=now, recorder=recorder, observer=lambda _, step: told.append(step)
    )
    operation, other = running(registry), running(registry)
    del told[:]
    registry.watch(operation).add_done_callback(lambda _: registry.fail(other, "x") and None)
    registry.complete(operation)
    assert fed(registry) == [(1, operation), (2, other)]
    assert told == [OperationStep.COMPLETE, OperationStep.FAIL]


# --- a driver's mailbox -----------------------------------------------------------------


class Driver:
    """One thread that stores rows; of every third it says that it does not know.

    It settles a doubt late: after it has answered, before or while others ask.
    """

    def __init__(self) -> None:
        self.registry = OpsLifecycleRegistry(now=now, recorder=self.record, finished_max=10_000)
        self.mailbox: queue.Queue[tuple[OperationRecord, FeedEntry, Future[None]] | None]
        self.mailbox = queue.Queue()
        self.rows: list[tuple[OperationRecord, FeedEntry]] = []
        self.doubts = 0

    def record(self, record: OperationRecord, entry: FeedEntry | None) -> None:
        assert entry is not None
        answer: Future[None] = Future()
        self.mailbox.put((record, entry, answer))
        answer.result(PATIENCE_S)

    def run(self) -> None:
        while (asked := self.mailbox.get(timeout=PATIENCE_S)) is not None:
            record, entry, answer = asked
            self.settle()
            if entry.seq <= self.registry.watermark:  # as meerkat.kernel.operation_steps
                answer.set_exception(StoreError("the feed has gone on: ask again"))
                continue
            assert entry.seq == len(self.rows) + 1
            assert record.operation_id not in {it.operation_id for it, _ in self.rows}
            self.rows.append((record, entry))
            if len(self.rows) % 3:
                answer.set_result(None)
            else:
                self.doubts += 1
                answer.set_exception(CommitUnknown(DOUBT))
        self.settle()

    def settle(self) -> None:
        self.registry.adopt((it for it, _ in self.rows), (it for _, it in self.rows))


def test_doubts_settled_by_a_driver_leave_feed_and_store_the_same() -> None:
    driver = Driver()
    registry = driver.registry
    operations = [running(registry) for _ in range(120)]
    told: list[OperationId] = []

    def note(operation: OperationId, _future: object) -> None:
        told.append(operation)

    for operation in operations:
        registry.watch(operation).add_done_callback(partial(note, operation))
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait(PATIENCE_S)
        for operation in operations[number::4]:
            try:
                registry.complete(operation, number)
            except CommitUnknown:
                with suppress(errors.InvalidTransition):  # adopted already, or by this very call
                    assert registry.fail(operation, "again").outcome == OperationCompleted(
                        result=number
                    )

    running_driver = in_thread(driver.run)
    workers = [in_thread(partial(work, number)) for number in range(4)]
    for worker in workers:
        worker.result(PATIENCE_S)
    driver.mailbox.put(None)
    running_driver.result(PATIENCE_S)
    assert driver.doubts == 40
    assert [entry for _, entry in driver.rows] == list(registry.list_since(0).entries)
    assert sorted(map(str, told)) == sorted(map(str, operations))
    assert registry.live_ids == ()
    assert registry.watermark == 120
