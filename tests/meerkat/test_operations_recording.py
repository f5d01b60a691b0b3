"""Operations: an end is recorded before it is told, once, in order, and can be recovered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest
from attrs import evolve

from meerkat import operation_errors as errors
from meerkat.completion_feed import FeedEntry, FeedGap
from meerkat.errors import RecoveryCorruption
from meerkat.identifiers import OperationId
from meerkat.operations import (
    OperationCompleted,
    OperationFailed,
    OperationKind,
    OperationRecord,
    OperationRetired,
    OperationStatus,
)
from meerkat.operations_registry import OpsLifecycleRegistry

TOOL = OperationKind.BACKGROUND_TOOL_OP
SLOT = OperationKind.BACKGROUND_TOOL_CAPACITY_SLOT
PATIENCE_S = 20


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


class Rows:
    """A recorder that keeps what it is given, and can be told to fail."""

    def __init__(self) -> None:
        self.records: dict[OperationId, OperationRecord] = {}
        self.entries: dict[OperationId, FeedEntry] = {}
        self.fail_at: int | None = None
        self.calls = 0

    def __call__(self, record: OperationRecord, entry: FeedEntry | None) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError("disk full")
        assert entry is not None
        self.records[record.operation_id] = record
        self.entries[record.operation_id] = entry

    def recover(self, kept_max: int = 100) -> OpsLifecycleRegistry:
        return OpsLifecycleRegistry.recover(
            records=self.records.values(),
            entries=self.entries.values(),
            now=now,
            finished_max=kept_max,
            feed_max=kept_max,
        )


def begin(registry: OpsLifecycleRegistry, kind: OperationKind = TOOL) -> OperationId:
    operation_id = OperationId.new()
    registry.register(operation_id, kind=kind, display_name="index the docs")
    return operation_id


def running(registry: OpsLifecycleRegistry, kind: OperationKind = TOOL) -> OperationId:
    operation_id = begin(registry, kind)
    registry.provisioning_succeeded(operation_id)
    return operation_id


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def body(number: int) -> None:
        start.wait(PATIENCE_S)
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - told to the test
            failures.append(error)

    threads = [threading.Thread(target=body, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert failures == []


# --- persistence scenarios --------------------------------------------------------------


def test_opp_03_a_recovered_feed_reads_on() -> None:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows)
    for _ in range(2):
        registry.complete(running(registry))
    recovered = rows.recover()
    assert len(recovered.list_since(0).entries) == 2
    batch = recovered.list_since(2)
    assert (batch.entries, batch.watermark, batch.gap) == ((), 2, None)
    recovered.complete(running(recovered))
    assert recovered.watermark == 3


def test_opp_05_a_bounded_feed_recovers_with_its_gap() -> None:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows, feed_max=2, finished_max=2)
    for _ in range(4):
        registry.complete(running(registry))
    recovered = rows.recover(kept_max=2)
    batch = recovered.list_since(0)
    assert batch == registry.list_since(0)
    assert [entry.seq for entry in batch.entries] == [3, 4]
    assert batch.gap == FeedGap(requested=0, dropped_through=2, watermark=4)
    assert recovered.snapshots() == registry.snapshots()


def test_opp_07_a_burst_of_32_is_recorded_whole() -> None:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows)
    operations = [running(registry) for _ in range(32)]

    def work(number: int) -> None:
        for operation in operations[number::8]:
            registry.complete(operation)

    in_threads(8, work)
    recovered = rows.recover()
    assert {it.operation_id for it in recovered.snapshots()} == set(operations)
    assert len(recovered.list_since(0).entries) == 32


# --- recorded before told ---------------------------------------------------------------


def test_an_end_is_recorded_before_anyone_is_told() -> None:
    order: list[str] = []

    def recorder(record: OperationRecord, entry: FeedEntry | None) -> None:
        assert entry is not None
        assert entry.outcome == record.outcome
        assert registry.list_since(0).entries == ()
        assert registry.snapshot(record.operation_id).status is OperationStatus.RUNNING
        assert not watcher.done()
        order.append("recorded")

    registry = OpsLifecycleRegistry(now=now, recorder=recorder)
    operation = running(registry)
    watcher = registry.watch(operation)
    watcher.add_done_callback(lambda _: order.append(f"told {registry.watermark}"))
    registry.complete(operation)
    assert order == ["recorded", "told 1"]


def test_a_failing_recorder_refuses_the_end_whole() -> None:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows)
    a, b = running(registry), running(registry)
    watcher, request, before = registry.watch(a), registry.wait_all([a]), registry.snapshot(a)
    rows.fail_at = 1
    with pytest.raises(OSError, match="disk full"):
        registry.complete(a)
    assert evolve(registry.snapshot(a), watcher_count=0) == evolve(before, watcher_count=0)
    assert registry.snapshot(a).watcher_count == 1
    assert (registry.watermark, watcher.done(), request.future.done()) == (0, False, False)
    registry.complete(b)
    registry.fail(a, "x")
    assert watcher.result(0) == OperationFailed(error="x")
    assert [(it.seq, it.operation_id) for it in registry.list_since(0).entries] == [(1, b), (2, a)]


def test_a_recorder_failing_half_way_leaves_the_owner_to_be_ended_again() -> None:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows)
    three = [running(registry) for _ in range(3)]
    watchers = [registry.watch(it) for it in three]
    rows.fail_at = 2
    with pytest.raises(OSError, match="disk full"):
        registry.terminate_owner("x")
    assert [it.done() for it in watchers] == [True, False, False]
    registry.progress(three[1])
    assert [it.operation_id for it in registry.terminate_owner("x")] == three[1:]
    assert [it.seq for it in rows.entries.values()] == [1, 2, 3]


def test_capacity_slots_are_neither_recorded_nor_fed() -> None:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows)
    slot = running(registry, SLOT)
    watcher = registry.watch(slot)
    registry.complete(slot)
    assert watcher.result(0) == OperationCompleted()
    assert (rows.calls, registry.watermark) == (0, 0)


def test_a_recorder_may_read_but_not_end() -> None:
    refused: list[type[BaseException]] = []

    def recorder(record: OperationRecord, _entry: FeedEntry | None) -> None:
        for step in (
            lambda: registry.cancel(other, "x"),
            lambda: registry.progress(record.operation_id),
            lambda: registry.terminate_owner("x"),
        ):
            with pytest.raises(errors.StepInsideRecorder) as refusal:
                step()
            refused.append(refusal.type)
        registry.progress(other)
        begin(registry)

    registry = OpsLifecycleRegistry(now=now, recorder=recorder)
    operation, other = running(registry), running(registry)
    registry.complete(operation)
    assert len(refused) == 3
    assert registry.snapshot(other).progress_count == 1
    assert len(registry.snapshots()) == 3


def test_nothing_but_an_end_waits_for_a_slow_recorder() -> None:
    entered, release = threading.Event(), threading.Event()

    def recorder(record: OperationRecord, _entry: FeedEntry | None) -> None:
        entered.set()
        assert release.wait(PATIENCE_S)
        assert record.progress_count == 0

    registry = OpsLifecycleRegistry(now=now, recorder=recorder)
    ending, other = running(registry), running(registry)
    watcher = registry.watch(ending)
    ends = [
        threading.Thread(target=registry.complete, args=(it,), daemon=True)
        for it in (ending, other)
    ]
    ends[0].start()
    assert entered.wait(PATIENCE_S)
    ends[1].start()
    late: list[BaseException] = []

    def report_progress() -> None:
        try:
            registry.progress(ending)
        except errors.InvalidTransition as refused:
            late.append(refused)

    reporter = threading.Thread(target=report_progress, daemon=True)
    reporter.start()
    # all of these answer while the recorder is still at work
    begin(registry)
    assert registry.snapshot(ending).status is OperationStatus.RUNNING
    assert registry.list_since(0).entries == ()
    assert registry.wait_all([ending]).cancel()
    assert not watcher.done()
    release.set()
    for thread in (*ends, reporter):
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert [it.operation_id for it in registry.list_since(0).entries] == [ending, other]
    assert len(late) == 1  # progress waited for the end it came too late for


def test_eight_threads_end_operations_and_each_sequence_is_given_once() -> None:
    recorded: list[int] = []
    told: list[OperationId] = []

    def note(operation: OperationId, _future: object) -> None:
        told.append(operation)

    def recorder(_record: OperationRecord, entry: FeedEntry | None) -> None:
        assert entry is not None
        recorded.append(entry.seq)

    registry = OpsLifecycleRegistry(now=now, recorder=recorder, finished_max=10_000)
    operations = [running(registry) for _ in range(800)]
    for operation in operations:
        registry.watch(operation).add_done_callback(partial(note, operation))
    request = registry.wait_all(operations)
    wins: list[OperationId] = []

    def work(number: int) -> None:  # every operation is raced for by two threads
        for operation in operations[number // 2 :: 4]:
            try:
                registry.complete(operation, number)
            except errors.InvalidTransition:
                continue
            wins.append(operation)

    in_threads(8, work)
    batch = registry.list_since(0)
    assert recorded == [entry.seq for entry in batch.entries] == list(range(1, 801))
    assert sorted(map(str, wins)) == sorted(map(str, told)) == sorted(map(str, operations))
    assert len(request.future.result(0)) == 800


def test_ends_race_with_the_end_of_the_owner() -> None:
    for _ in range(30):
        rows = Rows()
        registry = OpsLifecycleRegistry(now=now, recorder=rows)
        operations = [running(registry) for _ in range(20)]
        watchers = [registry.watch(it) for it in operations]

        def work(
            number: int,
            registry: OpsLifecycleRegistry = registry,
            operations: list[OperationId] = operations,
        ) -> None:
            if number == 0:
                registry.terminate_owner("x")
                assert all(it.status.is_terminal for it in registry.snapshots())
                return
            for operation in operations[number::3]:
                try:
                    registry.complete(operation)
                except (errors.OwnerRetired, errors.InvalidTransition):
                    return

        in_threads(4, work)
        assert all(it.done() for it in watchers)
        assert [it.seq for it in rows.entries.values()] == list(range(1, 21))
        assert rows.recover().snapshots() == registry.snapshots()


# --- recovery ---------------------------------------------------------------------------


def stored(count: int) -> tuple[list[OperationRecord], list[FeedEntry]]:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows)
    for _ in range(count):
        registry.complete(running(registry))
    return list(rows.records.values()), list(rows.entries.values())


def recover(records: list[OperationRecord], entries: list[FeedEntry]) -> OpsLifecycleRegistry:
    return OpsLifecycleRegistry.recover(records=records, entries=entries, now=now)


def test_live_operations_do_not_survive_recovery() -> None:
    rows = Rows()
    registry = OpsLifecycleRegistry(now=now, recorder=rows)
    ended, live = running(registry), running(registry)
    registry.complete(ended)
    recovered = rows.recover()
    assert recovered.watch(ended).result(0) == OperationCompleted()
    with pytest.raises(errors.NotFound):
        recovered.snapshot(live)
    with pytest.raises(errors.AlreadyRegistered):
        recovered.register(ended, kind=TOOL, display_name="again")


def test_contradicting_rows_are_corruption() -> None:
    records, entries = stored(3)
    live = evolve(records[0], status=OperationStatus.RUNNING, outcome=None, completed_at=None)
    other = evolve(entries[1], outcome=OperationRetired())
    for bad_records, bad_entries in (
        ([live, *records[1:]], entries),
        ([*records, records[0]], entries),
        (records, [entries[0], other, entries[2]]),
        (records, [entries[1], entries[0], entries[2]]),
        (records, [entries[0], entries[2]]),
        (records, [entries[0], entries[0]]),
    ):
        with pytest.raises(RecoveryCorruption):
            recover(bad_records, bad_entries)
    assert recover(records, entries[1:]).watermark == 3


def test_no_sequence_is_given_twice_when_rows_were_pruned() -> None:
    recovered = OpsLifecycleRegistry.recover(records=[], entries=[], watermark=9, now=now)
    assert recovered.list_since(4).gap == FeedGap(requested=4, dropped_through=9, watermark=9)
    recovered.complete(running(recovered))
    assert [it.seq for it in recovered.list_since(9).entries] == [10]
