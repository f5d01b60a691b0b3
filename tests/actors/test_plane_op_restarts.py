"""Operations across restarts and other writers: what ended is known, and limits hold."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve
from operation_builders import (
    CHILD,
    SLOT,
    TOOL,
    A,
    check_against_store,
    complete,
    crashed,
    plain,
    registered,
    running,
    stored_operations,
    until_told,
)
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    code_of,
    events_until,
    progress,
    prompt,
    result_of,
)
from plane_stores import FrozenDisk

from meerkat.completion_feed import FeedGap
from meerkat.errors import Fenced, StoreError
from meerkat.limits import Limits
from meerkat.operation_errors import AlreadyRegistered, MaxConcurrentExceeded, NotFound
from meerkat.operations import (
    OperationCompleted,
    OperationStatus,
    OperationStep,
    OperationTerminated,
    take_step,
)
from meerkat.ops_snapshot import OperationRow
from meerkat.store import Batch, RuntimeStore, SqliteStore


@pytest.mark.parametrize("crash", [False, True])
def test_opp_03_what_ended_is_known_after_a_restart(
    open_plane: OpenPlane, path: Path, crash: bool
) -> None:
    first = open_plane()
    bindings = first.register("a")
    registry = bindings.ops_lifecycle
    for kind in (TOOL, CHILD, TOOL):
        complete(bindings, kind, {"n": 1})
    registry.fail(running(bindings), "no network")
    ended, feed = registry.snapshots(), registry.list_since(0)
    left = crashed(path)
    first.stop()

    again = open_plane(store=SqliteStore(left if crash else path)).register("a")
    assert again.epoch_id == bindings.epoch_id
    assert again.ops_lifecycle.snapshots() == ended
    assert again.ops_lifecycle.list_since(0) == feed
    assert again.ops_lifecycle.list_since(feed.watermark).entries == ()
    with pytest.raises(AlreadyRegistered):
        again.ops_lifecycle.register(ended[0].operation_id, kind=TOOL, display_name="again")
    complete(again)
    assert again.ops_lifecycle.watermark == feed.watermark + 1


def test_what_lived_when_a_process_was_killed_ends_in_the_next_one(
    open_plane: OpenPlane, path: Path
) -> None:
    """It is loaded by itself, its operations end as terminated, and the agent is told once."""
    first = open_plane()
    bindings = first.register("a")
    ended, live = complete(bindings), [running(bindings), registered(bindings, CHILD)]
    slot = running(bindings, SLOT)
    first.runtime_state("a")  # that they have begun is stored
    left = crashed(path)
    first.stop()
    agent = Agent()
    second = open_plane(agent, store=SqliteStore(left))
    agent.next_call()  # it is loaded by itself, and goes on
    again = second.register("a")
    watchers = [again.ops_lifecycle.watch(each) for each in live]
    lost = OperationTerminated(reason="process ended")
    assert [result_of(each) for each in watchers] == [lost, lost]
    until_told(second, again)
    entries = again.ops_lifecycle.list_since(0).entries
    assert [each.operation_id for each in entries] == [ended, *live]
    with pytest.raises(NotFound):
        again.ops_lifecycle.watch(slot)
    assert stored_operations(SqliteStore(left)).live == ()


def test_what_lived_at_a_stop_is_known_as_terminated(open_plane: OpenPlane) -> None:
    first = open_plane(grace_s=WAIT_S)
    bindings = first.register("a")
    live = [registered(bindings), running(bindings), running(bindings, CHILD)]
    watchers = [bindings.ops_lifecycle.watch(each) for each in live]
    slot = running(bindings, SLOT)
    first.stop()
    reasons = {result_of(each).reason for each in watchers}
    assert reasons == {"control plane stopped"}
    assert bindings.ops_lifecycle.snapshot(slot).status is OperationStatus.TERMINATED
    again = open_plane().register("a").ops_lifecycle
    assert [each.operation_id for each in again.list_since(0).entries] == live
    assert {each.status for each in again.snapshots()} == {OperationStatus.TERMINATED}


def test_opp_05_a_restart_keeps_as_much_as_the_limits_say(open_plane: OpenPlane) -> None:
    limits = Limits(operations_kept_max=3, feed_entries_max=2)
    plane = open_plane(limits=limits)
    operations = [complete(plane.register("a")) for _ in range(4)]
    for _ in range(2):
        registry = plane.register("a").ops_lifecycle
        batch = registry.list_since(0)
        assert [each.operation_id for each in batch.entries] == operations[2:]
        assert batch.gap == FeedGap(requested=0, dropped_through=2, watermark=4)
        assert [each.operation_id for each in registry.snapshots()] == operations[1:]
        with pytest.raises(NotFound):
            registry.snapshot(operations[0])
        plane.stop()
        plane.start()


def test_opp_07_a_burst_of_ends_is_known_whole(open_plane: OpenPlane, path: Path) -> None:
    bindings = open_plane().register("a")
    operations = [running(bindings) for _ in range(32)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(bindings.ops_lifecycle.complete, operations))
    left = SqliteStore(crashed(path))
    again = open_plane(store=left).register("a").ops_lifecycle
    assert {each.operation_id for each in again.snapshots()} == set(operations)
    assert again.list_since(0) == bindings.ops_lifecycle.list_since(0)
    assert len(check_against_store(again, left)) == 32


def test_ops_11_no_more_are_live_than_the_limit_allows(open_plane: OpenPlane) -> None:
    plane = open_plane(limits=Limits(operations_live_max=2))
    bindings, other = plane.register_many(["a", "b"])
    slot, tool = running(bindings, SLOT), running(bindings)
    with pytest.raises(MaxConcurrentExceeded) as refused:
        registered(bindings)
    assert (refused.value.limit, refused.value.active) == (2, 2)
    registered(other)  # each session has a limit of its own
    bindings.ops_lifecycle.complete(slot)
    bindings.ops_lifecycle.complete(running(bindings))
    bindings.ops_lifecycle.complete(tool)


def test_capacity_slots_are_nobodys_business(open_plane: OpenPlane, path: Path) -> None:
    """Neither stored, nor fed, nor told, and no reason to go on; a frozen disk holds none up."""
    agent, disk = Agent(), FrozenDisk(SqliteStore(path))
    plane = open_plane(agent, store=disk, grace_s=WAIT_S)
    bindings = plane.register("a")
    registry, slots = bindings.ops_lifecycle, [running(bindings, SLOT) for _ in range(3)]
    with plane.subscribe("a") as events:
        disk.freeze()
        watcher = registry.watch(slots[0])
        registry.progress(slots[0])
        registry.complete(slots[0])
        registry.fail(slots[1], "taken away")
        assert result_of(watcher).status is OperationStatus.COMPLETED
        assert registry.watermark == 0
        disk.thaw()
        result_of(plane.submit("a", prompt()).completion)
        codes = [code_of(each) for each in events_until(events, "run.completed")]
    assert not any(code.startswith("operation.") for code in codes)
    assert agent.texts == ["hello"]
    plane.stop()
    assert registry.snapshot(slots[2]).status is OperationStatus.TERMINATED
    assert stored_operations(SqliteStore(path)).operations == ()


def test_the_agents_own_cursor_is_stored_with_the_next_commit(
    open_plane: OpenPlane, path: Path
) -> None:
    agent = Agent()
    first = open_plane(agent)
    bindings = first.register("a")
    for _ in range(3):
        complete(bindings)
    until_told(first, bindings)
    bindings.cursor_state.advance_agent_applied_cursor(2)
    assert stored_operations(SqliteStore(path)).cursors.agent_applied_cursor == 0
    first.ingest("a", progress())
    stored = stored_operations(SqliteStore(path)).cursors
    assert stored == bindings.cursor_state.snapshot()
    assert (stored.agent_applied_cursor, stored.runtime_last_injected_seq) == (2, 3)
    left = crashed(path)
    again = open_plane(store=SqliteStore(left)).register("a")
    assert again.cursor_state.snapshot() == stored


def test_an_unreadable_operation_stops_its_own_runtime_only(
    open_plane: OpenPlane, path: Path
) -> None:
    first = open_plane()
    for bindings in first.register_many(["a", "b"]):
        complete(bindings)
    first.stop()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE operations SET record = '{}' WHERE runtime_id = 'a'")
        connection.execute("UPDATE runtimes SET cursors = replace(cursors, '1', '0')")
        connection.commit()
    plane = open_plane(Agent())
    with pytest.raises(StoreError, match="operations of a"):
        plane.register("a")
    assert result_of(plane.submit("b", prompt()).completion).result == "re: hello"


def take_over(store: RuntimeStore, *operations: OperationRow) -> None:
    """Another writer commits: from now on it owns the runtime."""
    row = store.load_runtime(A)
    assert row is not None
    taken = evolve(row, fence=row.fence + 1, feed_watermark=row.feed_watermark + len(operations))
    store.commit(Batch(runtime=taken, expected_fence=row.fence, operations=operations))


def test_an_end_of_a_runtime_that_was_taken_over_is_fenced_until_it_is_recovered(
    open_plane: OpenPlane, path: Path
) -> None:
    store = SqliteStore(path)
    plane = open_plane(store=store)
    bindings = plane.register("a")
    registry, ours, theirs = bindings.ops_lifecycle, running(bindings), running(bindings)
    watcher = registry.watch(theirs)
    record = take_step(
        registry.snapshot(theirs),
        OperationStep.COMPLETE,
        at=datetime.now(UTC),
        outcome=OperationCompleted(result="theirs"),
    )
    row = OperationRow(epoch_id=bindings.epoch_id, seq=1, record=plain(record))
    plane.runtime_state("a")  # that they have begun is stored
    take_over(store, row)
    for _ in range(2):
        with pytest.raises(Fenced):
            registry.complete(ours)
    assert registry.live_ids == (ours, theirs)
    plane.recover("a")
    assert result_of(watcher) == OperationCompleted(result="theirs")
    registry.complete(ours)
    assert plane.register("a") == bindings
    assert [each.operation_id for each in check_against_store(registry, store)] == [theirs, ours]


def test_an_operation_of_an_earlier_epoch_is_not_known_in_the_next(
    open_plane: OpenPlane,
) -> None:
    plane = open_plane()
    bindings = plane.register("a")
    ended = complete(bindings)
    plane.reset("a")
    for _ in range(2):
        registry = plane.register("a").ops_lifecycle
        assert (registry.watermark, registry.snapshots()) == (0, ())
        with pytest.raises(NotFound):
            registry.snapshot(ended)
        plane.stop()
        plane.start()
    complete(plane.register("a"))
    assert plane.register("a").ops_lifecycle.watermark == 1


def test_an_id_of_an_earlier_epoch_may_be_used_again(open_plane: OpenPlane, path: Path) -> None:
    """The new registry knows nothing of it, and takes it; so its end has to be recorded too."""
    plane = open_plane()
    operation_id = complete(plane.register("a"))
    plane.reset("a")
    again = plane.register("a").ops_lifecycle
    again.register(operation_id, kind=TOOL, display_name="search")
    again.provisioning_succeeded(operation_id)
    assert again.complete(operation_id).status is OperationStatus.COMPLETED
    assert len(check_against_store(again, SqliteStore(path))) == 1
