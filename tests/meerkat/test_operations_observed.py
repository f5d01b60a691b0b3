"""Operations: the observer is told of each step that took effect, and holds nothing up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from meerkat import operation_errors as errors
from meerkat.completion_feed import FeedEntry
from meerkat.identifiers import OperationId
from meerkat.operations import (
    END_STEPS,
    STEPS,
    OperationCompleted,
    OperationKind,
    OperationRecord,
    OperationStatus,
    OperationStep,
)
from meerkat.operations_registry import OpsLifecycleRegistry

CHILD = OperationKind.MOB_MEMBER_CHILD
TOOL = OperationKind.BACKGROUND_TOOL_OP
SLOT = OperationKind.BACKGROUND_TOOL_CAPACITY_SLOT
Do = Callable[[OpsLifecycleRegistry, OperationId], OperationRecord]


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def begin(registry: OpsLifecycleRegistry, kind: OperationKind = TOOL) -> OperationId:
    operation_id = OperationId.new()
    registry.register(operation_id, kind=kind, display_name="index the docs")
    return operation_id


def running(registry: OpsLifecycleRegistry, kind: OperationKind = TOOL) -> OperationId:
    operation_id = begin(registry, kind)
    registry.provisioning_succeeded(operation_id)
    return operation_id


class Observer:
    """Keeps what it is told, and what it found held when it was."""

    def __init__(self) -> None:
        self.registry = OpsLifecycleRegistry(now=now, observer=self)
        self.told: list[tuple[OperationId, OperationStep]] = []
        self.records: list[OperationRecord] = []
        self.held: list[str] = []
        self.threads: set[int] = set()
        self.then: Callable[[OperationRecord, OperationStep], None] = lambda *_: None

    def __call__(self, record: OperationRecord, step: OperationStep) -> None:
        turns = self.registry._turns
        self.told.append((record.operation_id, step))
        self.records.append(record)
        self.threads.add(threading.get_ident())
        if not turns.lock.acquire(blocking=False):
            self.held.append(f"lock at {step}")
            return
        if turns._turn is not None:
            self.held.append(f"turn at {step}")
        turns.lock.release()
        if not self.held:
            self.then(record, step)


@pytest.fixture
def observer() -> Observer:
    return Observer()


@pytest.mark.parametrize(
    ("step", "do"),
    [
        (OperationStep.PROGRESS, lambda it, op: it.progress(op)),
        (OperationStep.PEER_READY, lambda it, op: it.peer_ready(op, "peer-7")),
        (OperationStep.REQUEST_RETIRE, lambda it, op: it.request_retire(op)),
        (OperationStep.PROVISIONING_FAILED, lambda it, op: it.provisioning_failed(op, "x")),
        (OperationStep.COMPLETE, lambda it, op: it.complete(op, 1)),
        (OperationStep.FAIL, lambda it, op: it.fail(op, "x")),
        (OperationStep.CANCEL, lambda it, op: it.cancel(op, "x")),
        (OperationStep.MARK_RETIRED, lambda it, op: it.mark_retired(op)),
        (OperationStep.TERMINATE_OWNER, lambda it, op: it.terminate_owner("x")[0]),
    ],
)
def test_each_step_is_observed_once_with_its_record(
    observer: Observer, step: OperationStep, do: Do
) -> None:
    seen: list[OperationRecord] = []
    operation = begin(observer.registry, CHILD)
    assert observer.told == []
    observer.registry.provisioning_succeeded(operation)
    assert observer.told.pop() == (operation, OperationStep.PROVISIONING_SUCCEEDED)
    observer.then = lambda record, _: seen.append(observer.registry.snapshot(record.operation_id))
    record = do(observer.registry, operation)
    assert observer.told == [(operation, step)]
    assert observer.records[-1] is record
    assert [(it.status, it.outcome, it.progress_count, it.peer_handle) for it in seen] == [
        (record.status, record.outcome, record.progress_count, record.peer_handle)
    ]
    assert observer.held == []
    assert observer.threads == {threading.get_ident()}


def test_abort_and_the_end_of_a_slot_are_observed(observer: Observer) -> None:
    aborted, slot = begin(observer.registry), running(observer.registry, SLOT)
    observer.registry.abort(aborted, "x")
    observer.registry.complete(slot)
    assert observer.told[1:] == [(aborted, OperationStep.ABORT), (slot, OperationStep.COMPLETE)]


def test_a_refused_step_is_not_observed(observer: Observer) -> None:
    operation = begin(observer.registry)
    with pytest.raises(errors.InvalidTransition):
        observer.registry.progress(operation)
    with pytest.raises(errors.InvalidTransition):
        observer.registry.complete(operation)
    with pytest.raises(errors.NotFound):
        observer.registry.cancel(OperationId.new(), "x")
    assert observer.told == []


def test_an_end_is_observed_when_published_and_before_the_watchers(observer: Observer) -> None:
    order: list[str] = []
    registry = observer.registry
    operation = running(registry)
    watcher, request = registry.watch(operation), registry.wait_all([operation])

    def then(_record: OperationRecord, _step: OperationStep) -> None:
        fed = [it.operation_id for it in registry.list_since(0).entries]
        order.append(f"observed {fed == [operation]} {watcher.done()} {request.future.done()}")

    watcher.add_done_callback(lambda _: order.append("watched"))
    request.future.add_done_callback(lambda _: order.append("waited"))
    observer.then = then
    registry.complete(operation)
    assert order == ["observed True False False", "watched", "waited"]


def test_the_observer_may_take_steps(observer: Observer) -> None:
    registry = observer.registry
    first, second, third = (running(registry) for _ in range(3))
    del observer.told[:]

    def then(record: OperationRecord, step: OperationStep) -> None:
        if step is OperationStep.PROGRESS:
            registry.complete(first)
        elif record.operation_id == first:
            registry.terminate_owner("x")

    observer.then = then
    registry.progress(second)
    assert [step.value for _, step in observer.told] == [
        "progress",
        "complete",
        *["terminate_owner"] * 2,
    ]
    fed = [it.operation_id for it in registry.list_since(0).entries]
    assert (observer.held, fed) == ([], [first, second, third])


def test_a_raising_observer_keeps_nobody_from_being_told(observer: Observer) -> None:
    registry = observer.registry
    three = [running(registry) for _ in range(3)]
    watchers = [registry.watch(it) for it in three]
    request = registry.wait_all(three)

    def leave(_record: OperationRecord, step: OperationStep) -> None:
        raise RuntimeError(step.value)

    observer.then = leave
    with pytest.raises(RuntimeError, match="progress"):
        registry.progress(three[0])
    assert registry.snapshot(three[0]).progress_count == 1
    with pytest.raises(RuntimeError, match="complete"):
        registry.complete(three[0])
    assert watchers[0].result(0) == OperationCompleted()
    with pytest.raises(RuntimeError, match="terminate_owner"):
        registry.terminate_owner("x")
    assert [it.done() for it in watchers] == [True] * 3
    assert request.future.done()
    assert [step for _, step in observer.told][-2:] == [OperationStep.TERMINATE_OWNER] * 2
    assert (registry.live_ids, registry.is_retired, registry.watermark) == ((), True, 3)
    assert registry.terminate_owner("again") == ()  # the turn is free


def test_what_was_recorded_before_a_failure_is_observed() -> None:
    told: list[OperationId] = []

    def recorder(_record: OperationRecord, entry: FeedEntry | None) -> None:
        if entry is not None and entry.seq == 2:
            raise OSError("disk full")

    registry = OpsLifecycleRegistry(
        now=now, recorder=recorder, observer=lambda record, _: told.append(record.operation_id)
    )
    three = [begin(registry) for _ in range(3)]
    with pytest.raises(OSError, match="disk full"):
        registry.terminate_owner("x")
    assert told == three[:1]
    assert (registry.live_ids, registry.is_retired) == (tuple(three[1:]), False)


def test_a_step_inside_a_recorder_is_observed_when_the_turn_is_over(observer: Observer) -> None:
    def recorder(_record: OperationRecord, _entry: FeedEntry | None) -> None:
        observer.registry.progress(other)
        assert observer.told == []

    observer.registry = OpsLifecycleRegistry(now=now, recorder=recorder, observer=observer)
    operation, other = running(observer.registry), running(observer.registry)
    del observer.told[:]
    observer.registry.complete(operation)
    assert observer.told == [(other, OperationStep.PROGRESS), (operation, OperationStep.COMPLETE)]
    assert observer.held == []


def test_recovery_is_not_observed_and_what_follows_is(observer: Observer) -> None:
    operation = running(observer.registry)
    record = observer.registry.complete(operation)
    del observer.told[:]
    observer.registry = OpsLifecycleRegistry.recover(
        records=[record], entries=[FeedEntry.of(1, record)], now=now, observer=observer
    )
    assert observer.told == []
    following = running(observer.registry)
    assert observer.told == [(following, OperationStep.PROVISIONING_SUCCEEDED)]


# --- who is live ------------------------------------------------------------------------


def test_the_live_operations_are_listed_in_the_order_of_registration(observer: Observer) -> None:
    registry = observer.registry

    def seen() -> tuple[list[OperationId], bool]:
        return list(registry.live_ids), registry.is_retired

    assert seen() == ([], False)
    first, slot, last = begin(registry), begin(registry, SLOT), running(registry)
    registry.provisioning_succeeded(first)
    assert seen() == ([first, slot, last], False)
    registry.complete(first)
    assert seen() == ([slot, last], False)
    registry.terminate_owner("x")
    assert seen() == ([], True)


def test_every_end_is_told_as_a_step_that_leads_to_it() -> None:
    assert set(END_STEPS) == {it for it in OperationStatus if it.is_terminal}
    assert all(status in STEPS[step].values() for status, step in END_STEPS.items())
    assert END_STEPS[OperationStatus.FAILED] is OperationStep.FAIL
