"""Continuations in every order: an end that falls into any window is told of all the same.

A run is under way and operations end. Between the sending of a record and its landing, the
publishing of an end and the telling of the runtime, the return of a run and its commit, the
continuation and the next end, there is no order in which one is lost, or told twice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operation_builders import (
    CONTINUATION,
    Reader,
    check_against_store,
    check_cursors,
    cursors_of,
    running,
    until_told,
)
from plane_builders import OpenPlane, prompt, result_of
from plane_stores import StoreProxy
from schedule_builders import Choose, Scene, Stage, every_order

from meerkat.errors import CommitUnknown, StoreError
from meerkat.operation_errors import InvalidTransition
from meerkat.store import Batch, MemoryStore, RuntimeStore, SqliteStore


@pytest.fixture
def stage(open_plane: OpenPlane, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(open_plane, monkeypatch)


def check_told(scene: Scene) -> None:
    """A run began after the last end, no more of them than ends, and the cursors say so."""
    ends = len(scene.endings)
    assert [each.place for each in scene.endings] == ["over"] * ends
    assert scene.bindings.ops_lifecycle.watermark == ends
    assert cursors_of(scene.bindings) == (ends, ends)
    assert scene.saw[-1] == ends
    first, *continuations = scene.saw
    assert first == 0
    assert continuations == sorted(continuations)
    assert len(continuations) <= ends


@pytest.mark.parametrize(("operations", "orders"), [(1, 10), (2, 1_000)])
def test_wak_03_ends_around_a_run_are_told_in_every_order(
    stage: Stage, operations: int, orders: int
) -> None:
    def play(choose: Choose) -> None:
        scene = stage.scene(operations)
        scene.play(choose)
        check_told(scene)

    assert every_order(play) >= orders


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=st.integers(3, 5), choices=st.lists(st.integers(0, 5), max_size=60))
def test_many_ends_around_a_run_are_told_in_any_order(
    stage: Stage, operations: int, choices: list[int]
) -> None:
    scene, chosen = stage.scene(operations), iter(choices)
    scene.play(lambda options: next(chosen, 0) % options)
    check_told(scene)


# --- without a schedule -----------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True])
def test_every_end_is_followed_by_a_run_that_began_after_it(
    open_plane: OpenPlane, path: Path, durable: bool
) -> None:
    """Short runs, and threads that end operations as they like."""
    store: RuntimeStore = SqliteStore(path) if durable else MemoryStore()
    agent, threads, ends = Reader(), 4, 60
    plane = open_plane(agent, store=store)
    bindings = plane.register("a")
    operations = [running(bindings) for _ in range(threads * ends)]

    def end(thread: int) -> None:
        for number in range(thread, len(operations), threads):
            bindings.ops_lifecycle.complete(operations[number])
            check_cursors(bindings)
            if number % 7 == 0:
                result_of(plane.submit("a", prompt("run")).completion)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(end, range(threads)))
    until_told(plane, bindings)
    assert len(check_against_store(bindings.ops_lifecycle, store)) == len(operations)
    assert cursors_of(bindings) == (len(operations),) * 2
    assert agent.saw == sorted(agent.saw)
    assert agent.saw[-1] == len(operations)
    assert 1 <= agent.texts.count(CONTINUATION) <= len(operations)


class UnreliableDisk(StoreProxy):
    """A store that refuses one commit in ten, and leaves one in ten in doubt."""

    def __init__(self, inner: RuntimeStore, seed: int) -> None:
        super().__init__(inner)
        self.fails = False
        self._chance = random.Random(seed)

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        fate = self._chance.random() if self.fails else 1.0
        if fate < 0.1:
            raise StoreError("disk full")
        answers = [] if fate < 0.15 else super().commit_many(batches)
        if fate < 0.2:
            raise CommitUnknown("nobody knows")
        return answers


@pytest.mark.parametrize("seed", range(8))
def test_a_disk_that_fails_now_and_then_loses_no_end(open_plane: OpenPlane, seed: int) -> None:
    """Who is refused asks again; nothing is recorded twice, and all of it is told."""
    disk, agent, threads, ends = UnreliableDisk(MemoryStore(), seed), Reader(), 4, 15
    plane = open_plane(agent, store=disk)
    bindings = plane.register("a")
    registry = bindings.ops_lifecycle
    operations = [running(bindings) for _ in range(threads * ends)]
    watchers = [registry.watch(each) for each in operations]

    def end(thread: int) -> None:
        for number in range(thread, len(operations), threads):
            while not watchers[number].done():
                with suppress(StoreError, InvalidTransition):
                    registry.complete(operations[number], number)
            check_cursors(bindings)

    disk.fails = True
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(end, range(threads)))
    disk.fails = False
    until_told(plane, bindings)
    assert [each.result(0).result for each in watchers] == list(range(len(operations)))
    assert len(check_against_store(registry, disk.inner)) == len(operations)
    assert plane.register("a") == bindings
    assert cursors_of(bindings) == (len(operations),) * 2
    assert agent.saw[-1] == len(operations)
