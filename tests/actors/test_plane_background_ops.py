"""Background operations of a running plane: events, those who wait, many threads, executors."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_futures
from pathlib import Path
from typing import Any

import pytest
from operation_builders import (
    CHILD,
    CONTINUATION,
    TOOL,
    check_against_store,
    complete,
    registered,
    running,
    until_told,
)
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    code_of,
    events_until,
    prompt,
    result_of,
    spoken,
)

from actors import ControlPlane
from meerkat import OperationId, RunContext, RunOutput, StagedInput
from meerkat.operation_errors import InvalidTransition, WaitAlreadyActive
from meerkat.operations import OperationCompleted, OperationStatus
from meerkat.store import MemoryStore, SqliteStore

THREADS = 8


# --- events -----------------------------------------------------------------------------


def test_the_steps_of_an_operation_are_told_in_their_order(quiet_plane: ControlPlane) -> None:
    bindings = quiet_plane.register("a")
    registry = bindings.ops_lifecycle
    with quiet_plane.subscribe("a") as events:
        child = registered(bindings, CHILD)
        registry.provisioning_succeeded(child)
        registry.peer_ready(child, "peer-7")
        for _ in range(2):
            registry.progress(child)
        registry.request_retire(child)
        registry.mark_retired(child)
        told = [each.event for each in events_until(events, "operation.completed")]
    steps = [(str(each.code), each.detail) for each in told]
    assert steps == [
        ("operation.started", None),
        ("operation.progress", None),
        ("operation.progress", None),
        ("operation.completed", "retired"),
    ]
    assert {each.operation_id for each in told} == {child}


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "abort", "provisioning_failed"])
def test_every_kind_of_end_is_told_by_its_word(quiet_plane: ControlPlane, end: str) -> None:
    bindings = quiet_plane.register("a")
    early = end in ("abort", "provisioning_failed")
    operation_id = registered(bindings) if early else running(bindings)
    with quiet_plane.subscribe("a") as events:
        record = getattr(bindings.ops_lifecycle, end)(operation_id, "said")
        told = events_until(events, "operation.completed")[-1].event
    assert (told.operation_id, told.detail) == (operation_id, record.status.value)


def test_an_end_is_told_before_the_continuation_that_it_causes(quiet_plane: ControlPlane) -> None:
    bindings = quiet_plane.register("a")
    with quiet_plane.subscribe("a") as events:
        complete(bindings)
        codes = [code_of(each) for each in events_until(events, "input.queued")]
    assert codes == ["operation.started", "operation.completed", "input.accepted", "input.queued"]


def test_one_session_is_not_told_of_anothers_operations(quiet_plane: ControlPlane) -> None:
    ours, theirs = quiet_plane.register_many(["a", "b"])
    with quiet_plane.subscribe("a") as events:
        complete(theirs)
        mine = complete(ours)
        told = events_until(events, "operation.completed")
    assert {each.event.operation_id for each in told} == {mine}
    assert ours.ops_lifecycle.watermark == theirs.ops_lifecycle.watermark == 1


# --- those who wait ---------------------------------------------------------------------


def test_ops_14_wait_all_gives_the_outcomes_in_the_order_asked(quiet_plane: ControlPlane) -> None:
    bindings = quiet_plane.register("a")
    registry = bindings.ops_lifecycle
    first, second = running(bindings), running(bindings)
    request = registry.wait_all([first, second])
    with pytest.raises(WaitAlreadyActive):
        registry.wait_all([second])
    registry.complete(second, 2)
    assert not request.future.done()
    registry.complete(first, 1)
    assert [each.result for each in result_of(request.future)] == [1, 2]
    third = running(bindings)
    assert registry.wait_all([third]).cancel()
    again = registry.wait_all([second, third])
    registry.fail(third, "no")
    assert [each.status.value for each in result_of(again.future)] == ["completed", "failed"]


def test_ops_05_watchers_early_and_late_get_the_same_outcome(quiet_plane: ControlPlane) -> None:
    bindings = quiet_plane.register("a")
    registry, operation_id = bindings.ops_lifecycle, running(bindings)
    watchers = [registry.watch(operation_id) for _ in range(3)]
    assert watchers[0].cancel()
    assert registry.snapshot(operation_id).watcher_count == 2
    registry.complete(operation_id, {"found": ["é"]})
    watchers.append(registry.watch(operation_id))
    assert wait_futures(watchers, WAIT_S).not_done == set()
    outcome = OperationCompleted(result={"found": ["é"]})
    assert [each.result() for each in watchers[1:]] == [outcome] * 3


def test_a_result_that_json_cannot_carry_ends_nothing(quiet_plane: ControlPlane) -> None:
    bindings = quiet_plane.register("a")
    operation_id = running(bindings)
    with pytest.raises(ValueError):
        bindings.ops_lifecycle.complete(operation_id, float("nan"))
    assert bindings.ops_lifecycle.live_ids == (operation_id,)
    assert bindings.ops_lifecycle.watermark == 0


# --- many threads -----------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [1, THREADS])
def test_ends_from_many_threads_are_each_told_once(
    open_plane: OpenPlane, path: Path, sessions: int
) -> None:
    plane = open_plane()
    names = [f"s-{number}" for number in range(sessions)]
    bindings = plane.register_many(names)
    with plane.subscribe() as events:
        operations = [
            (each, running(each)) for _ in range(25 * THREADS // sessions) for each in bindings
        ]
        watchers = [each.ops_lifecycle.watch(live) for each, live in operations]
        line = threading.Barrier(THREADS)

        def end(thread: int) -> None:
            line.wait(WAIT_S)
            for number in range(thread, len(operations), THREADS):
                each, live = operations[number]
                each.ops_lifecycle.complete(live, number)

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(end, range(THREADS)))
        told = events_until(events, "operation.completed", times=len(operations))
    assert [result_of(each).result for each in watchers] == list(range(len(operations)))
    ends = [each for each in told if code_of(each) == "operation.completed"]
    assert {each.event.operation_id for each in ends} == {live for _, live in operations}
    for each, name in zip(bindings, names, strict=True):
        stored = check_against_store(each.ops_lifecycle, SqliteStore(path), name)
        assert len(stored) == len(operations) // sessions


def test_of_many_threads_that_end_one_operation_one_does(quiet_plane: ControlPlane) -> None:
    bindings = quiet_plane.register("a")
    registry, line = bindings.ops_lifecycle, threading.Barrier(THREADS)

    def end(operation_id: OperationId, thread: int) -> bool:
        line.wait(WAIT_S)
        try:
            registry.complete(operation_id, thread)
        except InvalidTransition:
            return False
        return True

    with ThreadPoolExecutor(THREADS) as threads:
        for _ in range(10):
            operation_id = running(bindings)
            calls = [threads.submit(end, operation_id, number) for number in range(THREADS)]
            ended = [result_of(each) for each in calls]
            assert ended.count(True) == 1
            assert result_of(registry.watch(operation_id)).result == ended.index(True)
    assert registry.watermark == 10


# --- executors --------------------------------------------------------------------------


def test_an_executor_ends_operations_and_waits_for_those_of_a_thread(open_plane: OpenPlane) -> None:
    def search(called: Called, context: RunContext) -> RunOutput | None:
        if called.text == CONTINUATION:
            return None
        bindings = context.bindings
        complete(bindings)
        operations = [running(bindings) for _ in range(3)]
        with ThreadPoolExecutor(3) as threads:
            request = bindings.ops_lifecycle.wait_all(operations)
            threads.map(bindings.ops_lifecycle.complete, operations, ["a", "b", "c"])
            found = [each.result for each in result_of(request.future)]
        return RunOutput(append=[], result=found)

    agent = Agent(search)
    plane = open_plane(agent)
    bindings = plane.register("a")
    submitted = plane.submit("a", prompt("search"))
    assert result_of(submitted.completion).result == ["a", "b", "c"]
    until_told(plane, bindings)
    assert agent.texts == ["search", CONTINUATION]
    assert bindings.ops_lifecycle.watermark == 4


def test_coroutine_executors_end_operations_and_await_them(open_plane: OpenPlane) -> None:
    """On the loop itself, which the driver never waits for, and beside it."""

    async def search(context: Any, primitive: StagedInput) -> RunOutput:
        if primitive.text == CONTINUATION:
            return RunOutput(append=spoken(primitive))
        bindings = context.bindings
        complete(bindings, TOOL, "on the loop")
        operation_id = running(bindings)
        watcher = asyncio.wrap_future(bindings.ops_lifecycle.watch(operation_id))
        beside = asyncio.to_thread(bindings.ops_lifecycle.complete, operation_id, primitive.text)
        await asyncio.gather(beside, watcher)
        return RunOutput(append=spoken(primitive), result=watcher.result().result)

    plane = open_plane(search, store=MemoryStore())
    names = [f"s-{number}" for number in range(20)]
    sessions = plane.register_many(names)
    submitted = [plane.submit(name, prompt(name)) for name in names]
    assert [result_of(each.completion).result for each in submitted] == names
    for bindings, name in zip(sessions, names, strict=True):
        until_told(plane, bindings, name)
        assert bindings.ops_lifecycle.watermark == 2


def test_operations_outlive_the_run_that_began_them(open_plane: OpenPlane) -> None:
    """A run that fails, or is stopped, takes none of them with it."""
    begun: list[OperationId] = []

    def begin_and_fail(called: Called, context: RunContext) -> None:
        if called.text != CONTINUATION and called.attempt == 1:
            begun.append(running(context.bindings))
            raise ValueError("no")

    plane = open_plane(Agent(begin_and_fail))
    bindings = plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    assert bindings.ops_lifecycle.live_ids == tuple(begun)
    plane.stop_runtime("a")
    assert bindings.ops_lifecycle.complete(begun[0]).status is OperationStatus.COMPLETED
    assert bindings.ops_lifecycle.watermark == 1
