"""Operations of a running plane: an end is on disk before anybody is told, once and in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from operation_builders import (
    CHILD,
    TOOL,
    check_against_store,
    complete,
    registered,
    running,
    stored_operations,
)
from plane_builders import (
    WAIT_S,
    FakeClock,
    OpenPlane,
    code_of,
    error_of,
    event,
    events_until,
    result_of,
)
from plane_stores import BrokenOnce, FrozenDisk, StoreProxy

from actors import operation_log
from meerkat import OperationId
from meerkat.completion_feed import FeedEntry
from meerkat.errors import CommitUnknown, StoreError
from meerkat.limits import Backoff
from meerkat.operation_errors import InvalidTransition
from meerkat.operations import (
    OperationCompleted,
    OperationStatus,
)
from meerkat.store import Batch, MemoryStore, SqliteStore

ENDS: dict[str, Callable[[Any, OperationId], Any]] = {
    "complete": lambda registry, each: registry.complete(each, {"found": 1}),
    "fail": lambda registry, each: registry.fail(each, "no network"),
    "provisioning_failed": lambda registry, each: registry.provisioning_failed(each, "no room"),
    "cancel": lambda registry, each: registry.cancel(each, "not wanted"),
    "abort": lambda registry, each: registry.abort(each, "too slow"),
    "mark_retired": lambda registry, each: registry.mark_retired(each),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_of_an_end_leaves_before_it_is_on_disk(
    open_plane: OpenPlane, path: Path, end: str
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    registry = bindings.ops_lifecycle
    operation_id = registered(bindings) if end == "abort" else running(bindings)
    watcher, everybody = registry.watch(operation_id), registry.wait_all([operation_id])
    before = registry.snapshot(operation_id)
    with plane.subscribe("a") as events, ThreadPoolExecutor(1) as threads:
        disk.freeze()
        ending = threads.submit(ENDS[end], registry, operation_id)
        assert disk.stuck.wait(WAIT_S)

        assert registry.snapshot(operation_id) == before
        assert registry.live_ids == (operation_id,)
        assert (registry.list_since(0).entries, registry.watermark) == ((), 0)
        assert not any(each.done() for each in (ending, watcher, everybody.future))
        assert events.next_within(0) is None
        assert stored_operations(SqliteStore(path)).operations == ()

        disk.thaw()
        record = result_of(ending)
        assert result_of(watcher) == record.outcome
        assert result_of(everybody.future) == (record.outcome,)
        told = events_until(events, "operation.completed")[-1].event
    assert (told.operation_id, told.detail) == (operation_id, record.status.value)
    assert registry.list_since(0).entries == (FeedEntry.of(1, record),)
    assert stored_operations(SqliteStore(path)).operations == (record,)


def test_each_end_is_one_row_under_its_place_in_the_feed(open_plane: OpenPlane, path: Path) -> None:
    bindings = open_plane().register("a")
    registry = bindings.ops_lifecycle
    ended = []
    for name, end in ENDS.items():
        for kind in (TOOL, CHILD):
            operation_id = (registered if name == "abort" else running)(bindings, kind)
            ended.append(end(registry, operation_id))
    assert list(check_against_store(registry, SqliteStore(path))) == ended
    assert registry.watermark == len(ended)


@pytest.fixture(params=["memory", "file"])
def inner(request: pytest.FixtureRequest, path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SqliteStore(path)


def test_an_end_that_the_disk_refuses_has_not_happened(open_plane: OpenPlane, inner: Any) -> None:
    disk = BrokenOnce(inner)
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    registry, operation_id = bindings.ops_lifecycle, running(bindings)
    watcher, before = registry.watch(operation_id), registry.snapshot(operation_id)
    plane.runtime_state("a")  # that it has begun is stored
    disk.break_next()
    with pytest.raises(StoreError, match="disk is full"):
        registry.complete(operation_id, 1)
    assert registry.snapshot(operation_id) == before
    assert registry.watermark == 0
    assert not watcher.done()
    assert registry.fail(operation_id, "after all").status is OperationStatus.FAILED
    assert result_of(watcher).status is OperationStatus.FAILED
    assert complete(bindings) == registry.list_since(1).entries[0].operation_id
    assert len(check_against_store(registry, inner)) == 2


def test_an_end_behind_another_commit_that_fails_has_not_happened(
    open_plane: OpenPlane, inner: Any
) -> None:
    disk = BrokenOnce(inner)
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    operation_id = running(bindings)
    plane.runtime_state("a")  # that it has begun is stored
    disk.freeze()
    disk.break_next()
    refused = plane.submit("a", event("refused"))
    assert disk.stuck.wait(WAIT_S)
    with ThreadPoolExecutor(1) as threads:
        ending = threads.submit(bindings.ops_lifecycle.complete, operation_id)
        disk.thaw()
        assert isinstance(error_of(refused.accepted), StoreError)
        error = error_of(ending)  # none when it came after the runtime was loaded again
    assert error is None or isinstance(error, StoreError)
    if error is not None:
        bindings.ops_lifecycle.complete(operation_id)
    assert len(check_against_store(bindings.ops_lifecycle, inner)) == 1


class NextFails(StoreProxy):
    """A store whose next commit is in doubt when a test says so, and happens, or does not."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.happens: bool | None = None

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        happens, self.happens = self.happens, None
        answers = [] if happens is False else super().commit_many(batches)
        if happens is not None:
            raise CommitUnknown("nobody knows")
        return answers


def test_an_end_in_doubt_that_happened_is_told_once(open_plane: OpenPlane, inner: Any) -> None:
    """The caller is told of the doubt, and those who wait of the end, without being asked."""
    disk, clock = NextFails(inner), FakeClock()
    plane = open_plane(store=disk, clock=clock, backoff=Backoff(base_s=8.0))
    bindings = plane.register("a")
    registry, operation_id = bindings.ops_lifecycle, running(bindings)
    watcher, everybody = registry.watch(operation_id), registry.wait_all([operation_id])
    with plane.subscribe("a") as events:
        disk.happens = True
        with pytest.raises(CommitUnknown):
            registry.complete(operation_id, "found")
        assert (registry.live_ids, registry.watermark) == ((operation_id,), 0)
        while not watcher.done():  # its driver comes to its pause just after the caller was told
            clock.advance(plane, 8.0)
        assert result_of(watcher) == OperationCompleted(result="found")
        assert result_of(everybody.future) == (OperationCompleted(result="found"),)
        events_until(events, "operation.completed")
        complete(bindings)
        told = events_until(events, "operation.completed")
    assert [code_of(each) for each in told].count("operation.completed") == 1
    assert registry.list_since(0).entries[0].operation_id == operation_id
    assert len(check_against_store(registry, inner)) == 2
    assert plane.register("a") == bindings


def test_who_ends_what_was_in_doubt_gets_the_end_that_holds(
    open_plane: OpenPlane, inner: Any
) -> None:
    """The runtime is loaded again by the second attempt, and finds the first one's record."""
    disk = NextFails(inner)
    plane = open_plane(store=disk, clock=FakeClock(), backoff=Backoff(base_s=8.0))
    bindings = plane.register("a")
    registry, operation_id = bindings.ops_lifecycle, running(bindings)
    plane.runtime_state("a")  # that it has begun is stored
    disk.happens = True
    with pytest.raises(CommitUnknown):
        registry.complete(operation_id, "found")
    assert registry.fail(operation_id, "lost").outcome == OperationCompleted(result="found")
    assert len(check_against_store(registry, inner)) == 1


def test_an_end_in_doubt_that_did_not_happen_may_be_tried_again(
    open_plane: OpenPlane, inner: Any
) -> None:
    disk = NextFails(inner)
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    registry, operation_id = bindings.ops_lifecycle, running(bindings)
    watcher = registry.watch(operation_id)
    plane.runtime_state("a")  # that it has begun is stored
    disk.happens = False
    with pytest.raises(CommitUnknown):
        registry.complete(operation_id, "found")
    plane.runtime_state("a")  # loaded again
    assert registry.live_ids == (operation_id,)
    assert not watcher.done()
    registry.cancel(operation_id, "given up")
    assert result_of(watcher).status is OperationStatus.CANCELLED
    assert len(check_against_store(registry, inner)) == 1
    assert plane.register("a") == bindings


@pytest.mark.parametrize("happens", [True, False])
def test_ends_that_come_while_one_is_in_doubt_lose_nothing(
    open_plane: OpenPlane, inner: Any, happens: bool
) -> None:
    """Who is told of a doubt, or a refusal, asks again until there is an answer."""
    disk = NextFails(inner)
    bindings = open_plane(store=disk).register("a")
    registry = bindings.ops_lifecycle
    operations = [running(bindings) for _ in range(32)]
    watchers = [registry.watch(each) for each in operations]

    def end(number: int) -> None:
        if number % 4 == 1:
            disk.happens = happens
        while True:
            try:
                registry.complete(operations[number], number)
            except StoreError:
                continue
            except InvalidTransition:
                pass  # what was in doubt had happened
            return

    with ThreadPoolExecutor(8) as threads:
        for each in [threads.submit(end, number) for number in range(len(operations))]:
            result_of(each)
    outcomes = [result_of(each) for each in watchers]
    assert outcomes == [OperationCompleted(result=number) for number in range(len(operations))]
    assert len(check_against_store(registry, inner)) == len(operations)
    assert registry.live_ids == ()


def test_an_end_whose_caller_is_interrupted_hinders_no_other(
    open_plane: OpenPlane, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the record is on its way: it lands all the same, and the feed goes on."""
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    registry = bindings.ops_lifecycle
    interrupted, other = running(bindings), running(bindings)
    watcher = registry.watch(interrupted)

    def interrupt(*_waiting: Any) -> None:
        assert disk.stuck.wait(WAIT_S)
        raise KeyboardInterrupt

    disk.freeze()
    with monkeypatch.context() as patch:
        patch.setattr(operation_log, "wait_for", interrupt)
        with pytest.raises(KeyboardInterrupt):
            registry.complete(interrupted)
    disk.thaw()
    plane.runtime_state("a")  # it has landed
    registry.complete(other)
    assert result_of(watcher).status is OperationStatus.COMPLETED
    ended = check_against_store(registry, disk.inner)
    assert [each.operation_id for each in ended] == [interrupted, other]


def test_texts_that_no_store_could_take_are_spelt_out(open_plane: OpenPlane, path: Path) -> None:
    """An odd file name in an error: the operation ends all the same, and no driver fails."""
    plane = open_plane()
    bindings = plane.register("a")
    registry = bindings.ops_lifecycle
    odd = "no such file: caf\udce9"
    ends: list[Callable[[OperationId], Any]] = [
        lambda each: registry.fail(each, odd),
        lambda each: registry.cancel(each, odd),
        lambda each: registry.abort(each, odd),
        lambda each: registry.terminate([each], odd)[0],
    ]
    for end in ends:
        end(registered(bindings, name=odd))
    child = running(bindings, CHILD)
    registry.peer_ready(child, odd)
    registry.complete(child)
    assert plane.figures().restarts == 0
    stored = stored_operations(SqliteStore(path)).operations
    assert len(stored) == len(ends) + 1
    spelt = "no such file: caf\\udce9"
    assert [each.display_name for each in stored[:-1]] == [spelt] * len(ends)
    assert stored[-1].peer_handle == spelt
    assert str(stored[0].outcome).isascii()
