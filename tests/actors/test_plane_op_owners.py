"""Owners of operations: an epoch that is over ends what lived in it, and everybody is told."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from operation_builders import (
    CHILD,
    CONTINUATION,
    ENDS_EPOCH,
    SLOT,
    GatedDisk,
    complete,
    cursors_of,
    registered,
    rows_of_epoch,
    running,
    terminates,
    until_told,
)
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    decided,
    error_of,
    logged,
    prompt,
    result_of,
    system_of,
    tell,
    unregistering,
)
from plane_stores import FrozenDisk, StoreProxy

from actors import ControlPlane
from meerkat import RunContext
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import (
    CommitUnknown,
    InvalidState,
    StoreError,
)
from meerkat.operation_errors import OwnerRetired
from meerkat.operations import OperationStatus, OperationTerminated
from meerkat.store import Batch, MemoryStore, SqliteStore
from meerkat.testing import FaultyStore, When, commit_unknown
from meerkat.testing.store_wrapper import COMMITS


@pytest.mark.parametrize("step", ENDS_EPOCH)
def test_the_end_of_an_epoch_ends_its_operations_before_it_returns(
    quiet_plane: ControlPlane, path: Path, step: str
) -> None:
    bindings = quiet_plane.register("a")
    registry = bindings.ops_lifecycle
    done = complete(bindings)
    live = [registered(bindings), running(bindings), running(bindings, CHILD)]
    slot = running(bindings, SLOT)
    watchers = [registry.watch(each) for each in (*live, slot)]
    everybody = registry.wait_all([done, *live])

    getattr(quiet_plane, step)("a")
    outcome = OperationTerminated(reason=ENDS_EPOCH[step][1])
    assert [each.result(0) for each in watchers] == [outcome] * 4
    assert everybody.future.result(0)[1:] == (outcome,) * 3
    assert registry.live_ids == ()
    rows = rows_of_epoch(path, bindings.epoch_id)
    assert [row.operation_id for row in rows] == [done, *live]
    assert [each.status for each in rows[1:]] == [OperationStatus.TERMINATED] * 3
    assert [entry.operation_id for entry in registry.list_since(0).entries] == [done, *live]


@pytest.mark.parametrize("step", ENDS_EPOCH)
def test_the_registry_of_an_epoch_that_is_over_takes_no_step(
    quiet_plane: ControlPlane, step: str
) -> None:
    bindings = quiet_plane.register("a")
    registry, live = bindings.ops_lifecycle, running(bindings)
    getattr(quiet_plane, step)("a")
    for refused in (
        lambda: registered(bindings),
        lambda: registry.complete(live),
        lambda: registry.progress(live),
        lambda: registry.wait_all([live]),
    ):
        with pytest.raises(OwnerRetired):
            refused()
    assert result_of(registry.watch(live)).status is OperationStatus.TERMINATED  # late, and told
    assert registry.snapshot(live).status is OperationStatus.TERMINATED
    assert registry.terminate_owner("again") == ()


@pytest.mark.parametrize("step", ["reset", "unregister"])
def test_the_next_epoch_begins_with_nothing(plane: ControlPlane, agent: Agent, step: str) -> None:
    before = plane.register("a")
    complete(before)
    running(before)
    until_told(plane, before)
    getattr(plane, step)("a")
    after = plane.register("a")
    assert after.epoch_id != before.epoch_id
    assert after.session_id == before.session_id
    assert after.ops_lifecycle is not before.ops_lifecycle
    assert after.ops_lifecycle.snapshots() == ()
    assert after.ops_lifecycle.watermark == 0
    assert after.cursor_state.snapshot() == EpochCursorSnapshot()
    complete(after)
    until_told(plane, after)
    assert cursors_of(after) == (1, 1)
    assert cursors_of(before) == (1, 1)
    assert agent.texts == [CONTINUATION] * 2


@pytest.mark.parametrize("step", ["recover", "recycle"])
def test_these_let_operations_live_on(plane: ControlPlane, step: str) -> None:
    bindings = plane.register("a")
    complete(bindings)
    until_told(plane, bindings)
    live, cursors = running(bindings), bindings.cursor_state.snapshot()
    watcher = bindings.ops_lifecycle.watch(live)
    getattr(plane, step)("a")
    after = plane.register("a")
    assert after.ops_lifecycle is bindings.ops_lifecycle
    assert after.cursor_state is bindings.cursor_state
    assert after.cursor_state.snapshot() == cursors
    assert after.ops_lifecycle.live_ids == (live,)
    bindings.ops_lifecycle.complete(live)
    assert result_of(watcher).status is OperationStatus.COMPLETED


@pytest.mark.parametrize("step", ENDS_EPOCH)
def test_an_end_that_was_under_way_comes_first_or_not_at_all(
    open_plane: OpenPlane, path: Path, step: str
) -> None:
    """On its way to a frozen disk when the epoch ends, it has ended as it said.

    One behind it is too late for an epoch that rotated; a destroyed runtime keeps its own.
    """
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    first, second = running(bindings), running(bindings)
    plane.runtime_state("a")  # that they have begun is stored
    with ThreadPoolExecutor(2) as threads:
        disk.freeze()
        ending = threads.submit(bindings.ops_lifecycle.complete, first)
        assert disk.stuck.wait(WAIT_S)
        epoch_ends = tell(plane, "a", ENDS_EPOCH[step][0]())
        if step != "unregister":
            decided(plane, "a")
        late = threads.submit(bindings.ops_lifecycle.complete, second)  # waits for its turn
        assert not any(each.done() for each in (ending, epoch_ends, late))
        disk.thaw()
        assert result_of(ending).status is OperationStatus.COMPLETED
        result_of(epoch_ends)
        error = error_of(late)
    rows = rows_of_epoch(path, bindings.epoch_id)
    assert [each.operation_id for each in rows] == [first, second]
    if step == "destroy" and error is None:
        assert rows[1].status is OperationStatus.COMPLETED
    else:
        assert isinstance(error, OwnerRetired)
        assert rows[1].outcome == OperationTerminated(reason=ENDS_EPOCH[step][1])


def test_everybody_who_unregisters_waits_for_the_operations_to_end(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    bindings = plane.register("a")
    watcher = bindings.ops_lifecycle.watch(running(bindings))
    plane.submit("a", prompt())
    agent.next_call()
    told: list[bool] = []
    calls = [unregistering(plane, "a") for _ in range(3)]
    for each in calls:
        each.add_done_callback(lambda _: told.append(watcher.done()))
    agent.release()
    for each in calls:
        result_of(each)
    assert told == [True] * 3


@pytest.mark.parametrize("step", ["reset", "destroy"])
def test_a_run_that_was_fenced_gets_the_bindings_of_no_later_epoch(
    open_plane: OpenPlane, step: str
) -> None:
    """Nobody had been handed any, when it asks: those it gets are retired already."""
    refused: list[BaseException] = []

    def begin_late(_called: Called, context: RunContext) -> None:
        try:
            registered(context.bindings)
        except OwnerRetired as error:
            refused.append(error)

    first = open_plane()
    before = first.register("a")
    first.stop()
    agent = Agent(begin_late, held=True)
    plane = open_plane(agent)
    plane.submit("a", prompt())
    agent.next_call()
    if step == "reset":
        plane.stop_runtime("a")
    getattr(plane, step)("a")
    with logged("late result refused") as late:
        agent.release()
        assert late.wait(WAIT_S)
    assert len(refused) == 1
    if step == "reset":
        assert plane.register("a").epoch_id != before.epoch_id


def test_registering_a_destroyed_runtime_makes_it_no_other_registry(
    open_plane: OpenPlane, path: Path
) -> None:
    """Its operations are just being ended; nobody else may take them for left behind."""
    disk = GatedDisk(SqliteStore(path), terminates)
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    complete(bindings)
    watchers = [bindings.ops_lifecycle.watch(running(bindings)) for _ in range(3)]
    destroying = tell(plane, "a", ENDS_EPOCH["destroy"][0]())
    assert disk.reached.wait(WAIT_S)
    known = plane._door.register("a").reply
    decided(plane, "a")
    assert system_of(plane).bindings.owners() == ([bindings], [])
    disk.open()
    assert isinstance(error_of(known), InvalidState)
    assert error_of(destroying) is None
    assert {result_of(each).reason for each in watchers} == {"runtime destroyed"}
    assert len(rows_of_epoch(path, bindings.epoch_id)) == 4


# --- faults -----------------------------------------------------------------------------


class FailsTermination(StoreProxy):
    """A store that fails to record the first operation that was terminated."""

    failed = False

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        if self.failed or not any(map(terminates, batches)):
            return super().commit_many(batches)
        self.failed = True
        raise StoreError("disk full")


@pytest.mark.parametrize("step", ENDS_EPOCH)
def test_a_disk_that_fails_once_leaves_no_operation_behind(
    open_plane: OpenPlane, path: Path, step: str
) -> None:
    disk = FailsTermination(SqliteStore(path))
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    live = [running(bindings) for _ in range(3)]
    watchers = [bindings.ops_lifecycle.watch(each) for each in live]
    getattr(plane, step)("a")
    assert disk.failed
    assert {each.result(0).reason for each in watchers} == {ENDS_EPOCH[step][1]}
    assert [row.operation_id for row in rows_of_epoch(path, bindings.epoch_id)] == live


def in_doubt(number: int, *, happened: bool) -> FaultyStore:
    """A store of whose commit of this number nobody knows whether it happened."""
    when = When.AFTER if happened else When.BEFORE
    return FaultyStore(
        MemoryStore(), fail_at=number, error=commit_unknown, when=when, calls=COMMITS
    )


@pytest.mark.parametrize("step", ENDS_EPOCH)
@pytest.mark.parametrize("happened", [False, True])
def test_an_end_that_comes_with_its_epochs_is_told_though_its_commit_was_in_doubt(
    open_plane: OpenPlane, step: str, happened: bool
) -> None:
    """It is written again, or found; whichever it was, nobody waits for it in vain."""
    disk = in_doubt(4, happened=happened)
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    watcher = bindings.ops_lifecycle.watch(running(bindings))
    plane.runtime_state("a")  # that it has begun is stored
    getattr(plane, step)("a")
    assert disk.failed
    assert result_of(watcher).status is OperationStatus.TERMINATED


@pytest.mark.parametrize("step", ENDS_EPOCH)
@pytest.mark.parametrize("happened", [False, True])
def test_the_end_of_an_epoch_that_is_in_doubt(
    open_plane: OpenPlane, step: str, happened: bool
) -> None:
    """Did it happen, the operations end with it; did it not, they live on."""
    disk = in_doubt(3, happened=happened)
    plane = open_plane(store=disk)
    bindings = plane.register("a")
    live = running(bindings)
    watcher = bindings.ops_lifecycle.watch(live)
    plane.runtime_state("a")  # that it has begun is stored
    with pytest.raises(CommitUnknown):
        getattr(plane, step)("a")
    if happened:
        assert result_of(watcher).status is OperationStatus.TERMINATED
        with pytest.raises(OwnerRetired):
            registered(bindings)
    else:
        assert bindings.ops_lifecycle.complete(live).status is OperationStatus.COMPLETED
        assert plane.register("a") == bindings
