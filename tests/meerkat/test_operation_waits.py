"""Operations: those who wait for an end are told, each once, also when the owner ends."""

from __future__ import annotations

from concurrent.futures import Future, wait

import pytest
from builders import Clock
from registry_builders import CHILD, SLOT, begin, running

from meerkat import operation_errors as errors
from meerkat.identifiers import OperationId
from meerkat.operations import (
    OperationCancelled,
    OperationCompleted,
    OperationFailed,
    OperationOutcome,
    OperationRetired,
    OperationStatus,
    OperationTerminated,
)
from meerkat.operations_registry import OpsLifecycleRegistry

# --- who waits --------------------------------------------------------------------------


def test_a_late_watcher_resolves_at_once(registry: OpsLifecycleRegistry) -> None:
    operation = running(registry)
    registry.cancel(operation, "x")
    assert registry.watch(operation).result(0) == OperationCancelled(reason="x")


def test_a_cancelled_watcher_is_forgotten(registry: OpsLifecycleRegistry) -> None:
    operation = running(registry)
    gone, stays = registry.watch(operation), registry.watch(operation)
    assert gone.cancel()
    assert registry.snapshot(operation).watcher_count == 1
    assert wait([gone], timeout=0).done == {gone}
    registry.complete(operation)
    assert stays.result(0) == OperationCompleted()
    assert not stays.cancel()


def test_a_watcher_settled_by_its_holder_harms_nobody(registry: OpsLifecycleRegistry) -> None:
    operation = running(registry)
    spoilt, other = registry.watch(operation), registry.watch(operation)
    spoilt.set_result(OperationRetired())
    registry.complete(operation)
    assert other.result(0) == OperationCompleted()


def test_every_watcher_is_told_when_a_callback_exits(registry: OpsLifecycleRegistry) -> None:
    operation = running(registry)
    first, second = registry.watch(operation), registry.watch(operation)

    def leave(_future: Future[OperationOutcome]) -> None:
        raise SystemExit

    first.add_done_callback(leave)
    with pytest.raises(SystemExit):
        registry.complete(operation)
    assert second.result(0) == OperationCompleted()
    registry.complete(running(registry))


def test_a_callback_may_take_steps(registry: OpsLifecycleRegistry) -> None:
    first, second = running(registry), running(registry)
    registry.watch(first).add_done_callback(lambda _: registry.complete(second) and None)
    registry.complete(first)
    assert [it.operation_id for it in registry.list_since(0).entries] == [first, second]


def test_waits_over_nothing_and_over_what_has_ended(registry: OpsLifecycleRegistry) -> None:
    assert registry.wait_all([]).future.result(0) == ()
    operation = running(registry)
    registry.complete(operation)
    request = registry.wait_all([operation])
    assert request.future.result(0) == (OperationCompleted(),)
    assert not request.cancel()
    assert registry.wait_all([operation]).id != request.id


def test_a_wait_keeps_outcomes_that_are_no_longer_kept() -> None:
    registry = OpsLifecycleRegistry(now=Clock(), finished_max=1)
    a, b = running(registry), running(registry)
    request = registry.wait_all([a, b])
    registry.fail(a, "x")
    registry.complete(b)
    assert request.future.result(0) == (OperationFailed(error="x"), OperationCompleted())


def test_a_refused_wait_leaves_no_wait(registry: OpsLifecycleRegistry) -> None:
    operation = running(registry)
    with pytest.raises(errors.NotFound):
        registry.wait_all([operation, OperationId.new()])
    registry.wait_all([operation])


# --- the end of the owner ---------------------------------------------------------------


def test_the_owner_ends_every_live_operation(registry: OpsLifecycleRegistry) -> None:
    ended, provisioning, child = running(registry), begin(registry), running(registry, CHILD)
    slot = begin(registry, SLOT)
    registry.complete(ended)
    watcher, request = registry.watch(child), registry.wait_all([child, slot])
    terminated = OperationTerminated(reason="runtime reset")

    records = registry.terminate_owner("runtime reset")

    assert [it.operation_id for it in records] == [provisioning, child, slot]
    assert {it.outcome for it in records} == {terminated}
    assert watcher.result(0) == terminated
    assert request.future.result(0) == (terminated, terminated)
    fed = [it.operation_id for it in registry.list_since(0).entries]
    assert fed == [ended, provisioning, child]
    assert registry.terminate_owner("again") == ()


def test_a_retired_owner_takes_no_step_but_can_be_read(registry: OpsLifecycleRegistry) -> None:
    operation = running(registry)
    registry.terminate_owner("x")
    for step in (
        lambda: begin(registry),
        lambda: registry.complete(operation),
        lambda: registry.progress(operation),
        lambda: registry.fail(OperationId.new(), "x"),
        lambda: registry.wait_all([operation]),
    ):
        with pytest.raises(errors.OwnerRetired):
            step()
    assert registry.watch(operation).result(0) == OperationTerminated(reason="x")
    assert registry.snapshot(operation).status is OperationStatus.TERMINATED
    assert registry.watermark == 1
