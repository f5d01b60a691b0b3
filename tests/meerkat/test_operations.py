"""Operations: the table, and the steps a registry takes by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import product

import pytest
from attrs import evolve
from builders import START, Clock
from registry_builders import CHILD, SLOT, TOOL, begin, running

from meerkat import operation_errors as errors
from meerkat.errors import MeerkatError
from meerkat.identifiers import OperationId
from meerkat.operations import (
    LIVE,
    STEPS,
    OperationAborted,
    OperationCancelled,
    OperationCompleted,
    OperationFailed,
    OperationOutcome,
    OperationRecord,
    OperationRetired,
    OperationStatus,
    OperationStep,
    OperationTerminated,
    take_step,
)
from meerkat.operations_registry import OpsLifecycleRegistry

# --- scenarios --------------------------------------------------------------------------


def test_ops_02_life_of_a_child(registry: OpsLifecycleRegistry) -> None:
    child = begin(registry, CHILD)
    registry.provisioning_succeeded(child)
    registry.progress(child)
    registry.progress(child)
    registry.peer_ready(child, "peer-7")
    watcher = registry.watch(child)
    seen = registry.snapshot(child)
    assert seen.status is OperationStatus.RUNNING
    assert (seen.progress_count, seen.watcher_count) == (2, 1)
    assert (seen.peer_ready, seen.peer_handle) == (True, "peer-7")
    assert not watcher.done()

    registry.complete(child, {"answer": 42})

    assert watcher.result(0) == OperationCompleted(result={"answer": 42})
    assert registry.snapshot(child).watcher_count == 0
    assert registry.snapshot(child).peer_handle == "peer-7"


def test_ops_03_each_end_has_its_status_and_outcome(registry: OpsLifecycleRegistry) -> None:
    failed, cancelled, retired = (running(registry) for _ in range(3))
    aborted = begin(registry)
    registry.fail(failed, "no route")
    registry.cancel(cancelled, "user left")
    registry.request_retire(retired)
    assert registry.snapshot(retired).status is OperationStatus.RETIRING
    registry.mark_retired(retired)
    registry.abort(aborted, "no slot")
    assert [(it.status.value, it.outcome) for it in registry.snapshots()] == [
        ("failed", OperationFailed(error="no route")),
        ("cancelled", OperationCancelled(reason="user left")),
        ("retired", OperationRetired()),
        ("aborted", OperationAborted(reason="no slot")),
    ]


def test_ops_05_three_watchers_get_the_same_outcome(registry: OpsLifecycleRegistry) -> None:
    operation = running(registry)
    watchers = [registry.watch(operation) for _ in range(3)]
    registry.complete(operation, "done")
    assert [it.result(0) for it in watchers] == [OperationCompleted(result="done")] * 3


def test_ops_06_provisioning_may_end_but_not_complete(registry: OpsLifecycleRegistry) -> None:
    operation = begin(registry)
    with pytest.raises(errors.InvalidTransition) as refused:
        registry.complete(operation)
    assert refused.value.operation_id == operation
    assert refused.value.status is OperationStatus.PROVISIONING
    assert refused.value.action is OperationStep.COMPLETE
    assert registry.fail(operation, "x").status is OperationStatus.FAILED
    assert registry.abort(begin(registry), "x").status is OperationStatus.ABORTED
    assert registry.provisioning_failed(begin(registry), "x").outcome == OperationFailed(error="x")


def test_ops_08_known_and_unknown_ids(registry: OpsLifecycleRegistry) -> None:
    live, ended, unknown = begin(registry), running(registry), OperationId.new()
    registry.complete(ended)
    for known in (live, ended):
        with pytest.raises(errors.AlreadyRegistered):
            registry.register(known, kind=TOOL, display_name="again")
    asked: list[Callable[[], object]] = [
        lambda: registry.provisioning_succeeded(unknown),
        lambda: registry.provisioning_failed(unknown, "x"),
        lambda: registry.complete(unknown),
        lambda: registry.fail(unknown, "x"),
        lambda: registry.abort(unknown, "x"),
        lambda: registry.cancel(unknown, "x"),
        lambda: registry.peer_ready(unknown, "x"),
        lambda: registry.progress(unknown),
        lambda: registry.request_retire(unknown),
        lambda: registry.mark_retired(unknown),
        lambda: registry.snapshot(unknown),
        lambda: registry.watch(unknown),
    ]
    for ask in asked:
        with pytest.raises(errors.NotFound) as refused:
            ask()
        assert refused.value.operation_id == unknown


def test_ops_09_only_a_child_becomes_peer_ready_once(registry: OpsLifecycleRegistry) -> None:
    for kind in (TOOL, SLOT):
        with pytest.raises(errors.PeerNotExpected):
            registry.peer_ready(running(registry, kind), "peer")
    child = begin(registry, CHILD)
    with pytest.raises(errors.InvalidTransition):
        registry.peer_ready(child, "peer")
    registry.provisioning_succeeded(child)
    registry.peer_ready(child, "peer")
    with pytest.raises(errors.AlreadyPeerReady):
        registry.peer_ready(child, "another")
    assert registry.snapshot(child).peer_handle == "peer"


def test_ops_11_live_operations_are_bounded() -> None:
    registry = OpsLifecycleRegistry(now=Clock(), operations_max=2)
    first, _ = running(registry), begin(registry)
    third = OperationId.new()
    with pytest.raises(errors.MaxConcurrentExceeded) as refused:
        registry.register(third, kind=TOOL, display_name="third")
    assert (refused.value.limit, refused.value.active) == (2, 2)
    registry.complete(first)
    registry.register(third, kind=TOOL, display_name="third")

    unbounded = OpsLifecycleRegistry(now=Clock())
    for _ in range(100):
        begin(unbounded)
    assert len(unbounded.snapshots()) == 100


def test_ops_12_the_last_ended_are_kept() -> None:
    registry = OpsLifecycleRegistry(now=Clock(), finished_max=3)
    five = [running(registry) for _ in range(5)]
    for operation in five:
        registry.complete(operation)
    assert [it.operation_id for it in registry.snapshots()] == five[2:]
    with pytest.raises(errors.NotFound):
        registry.snapshot(five[1])

    usual = OpsLifecycleRegistry(now=Clock())
    for _ in range(257):
        usual.complete(running(usual))
    assert len(usual.snapshots()) == 256


def test_ops_14_wait_all_answers_in_the_order_asked(registry: OpsLifecycleRegistry) -> None:
    a, b = running(registry), running(registry)
    request = registry.wait_all([a, b])
    registry.complete(b, "b")
    assert not request.future.done()
    registry.complete(a, "a")
    assert request.future.result(0) == (
        OperationCompleted(result="a"),
        OperationCompleted(result="b"),
    )
    assert registry.wait_all([b, a]).future.result(0)[0] == OperationCompleted(result="b")


def test_ops_15_what_a_wait_refuses(registry: OpsLifecycleRegistry) -> None:
    a, b = running(registry), running(registry)
    with pytest.raises(errors.NotFound):
        registry.wait_all([a, OperationId.new()])
    with pytest.raises(errors.DuplicateWaitOperation) as refused:
        registry.wait_all([a, b, a])
    assert refused.value.operation_id == a
    request = registry.wait_all([a])
    with pytest.raises(errors.WaitAlreadyActive):
        registry.wait_all([b])
    assert request.cancel()
    registry.wait_all([b])


def test_ops_17_times_of_a_life(registry: OpsLifecycleRegistry) -> None:
    operation = begin(registry)
    created = registry.snapshot(operation)
    assert created.created_at == START + timedelta(seconds=1)
    assert (created.started_at, created.completed_at, created.elapsed) == (None, None, None)
    started = registry.provisioning_succeeded(operation)
    assert started.started_at == START + timedelta(seconds=2)
    assert (started.completed_at, started.elapsed) == (None, None)
    registry.request_retire(operation)
    ended = registry.complete(operation)
    assert ended.started_at == started.started_at
    assert ended.completed_at == START + timedelta(seconds=4)
    assert ended.elapsed == timedelta(seconds=3)


# --- the table --------------------------------------------------------------------------

OUTCOMES: dict[OperationStatus, OperationOutcome] = {
    it.status: it
    for it in (
        OperationCompleted(result=[1]),
        OperationFailed(error="x"),
        OperationAborted(reason="x"),
        OperationCancelled(reason="x"),
        OperationRetired(),
        OperationTerminated(reason="x"),
    )
}


def record_in(status: OperationStatus) -> OperationRecord:
    return OperationRecord(
        operation_id=OperationId.new(),
        kind=CHILD,
        display_name="child",
        created_at=START,
        status=status,
        completed_at=START if status.is_terminal else None,
        outcome=OUTCOMES.get(status),
    )


@pytest.mark.parametrize(("step", "status"), list(product(OperationStep, OperationStatus)))
def test_every_step_from_every_status_is_as_the_table_says(
    step: OperationStep, status: OperationStatus
) -> None:
    record = record_in(status)
    target = STEPS[step].get(status)
    outcome = OUTCOMES.get(target) if target else None
    if target is None:
        with pytest.raises(errors.InvalidTransition):
            take_step(record, step, at=START, outcome=outcome, peer_handle="peer")
    else:
        after = take_step(record, step, at=START, outcome=outcome, peer_handle="peer")
        assert after.status is target


def test_only_live_statuses_can_be_left() -> None:
    sources = {source for targets in STEPS.values() for source in targets}
    assert sources == {None, *LIVE}
    assert {status for status in OperationStatus if status.is_terminal} == set(OUTCOMES)
    with pytest.raises(TypeError):
        STEPS[OperationStep.ABORT][OperationStatus.FAILED] = OperationStatus.RUNNING  # type: ignore[index]


def test_words_print_as_their_values() -> None:
    assert str(SLOT) == "background_tool_capacity_slot"
    assert f"{OperationStatus.TERMINATED}" == "terminated"
    assert str(OperationStep.PEER_READY) == "peer_ready"


def test_a_record_that_contradicts_itself_is_refused() -> None:
    ended = record_in(OperationStatus.FAILED)
    for changes in (
        {"outcome": None},
        {"outcome": OperationRetired()},
        {"completed_at": None},
        {"status": OperationStatus.RUNNING},
        {"kind": TOOL, "peer_handle": "peer"},
        {"created_at": START.replace(tzinfo=None)},
        {"progress_count": -1},
    ):
        with pytest.raises(ValueError):
            evolve(ended, **changes)
    with pytest.raises(TypeError):
        evolve(ended, progress_count=True)


def test_elapsed_is_never_negative_when_the_clock_goes_back() -> None:
    ended = evolve(record_in(OperationStatus.FAILED), completed_at=START - timedelta(days=1))
    assert ended.elapsed == timedelta(0)


@pytest.mark.parametrize("result", [float("nan"), 2**64, {1: 2}, "\ud800", object()])
def test_a_result_json_cannot_carry_is_refused(
    registry: OpsLifecycleRegistry, result: object
) -> None:
    operation = running(registry)
    with pytest.raises(ValueError):
        registry.complete(operation, result)  # type: ignore[arg-type]
    assert registry.snapshot(operation).status is OperationStatus.RUNNING


def test_a_result_is_owned_and_stays_out_of_the_repr(registry: OpsLifecycleRegistry) -> None:
    operation, result = running(registry), {"secret": ["canary"]}
    registry.complete(operation, result)
    result["secret"].append("changed")
    assert registry.watch(operation).result(0) == OperationCompleted(result={"secret": ("canary",)})
    assert "canary" not in repr(registry.snapshots()) + repr(registry.list_since(0))
    assert "canary" not in repr(OperationFailed(error="canary"))


def test_error_codes_are_stable_and_differ() -> None:
    kinds = errors.OperationError.__subclasses__()
    assert len({kind.code for kind in kinds}) == len(kinds) == 10
    assert issubclass(errors.OperationError, MeerkatError)


@pytest.mark.parametrize("bound", ["operations_max", "finished_max", "feed_max"])
def test_limits_are_positive(bound: str) -> None:
    with pytest.raises(ValueError):
        OpsLifecycleRegistry(now=Clock(), **{bound: 0})  # type: ignore[arg-type]
