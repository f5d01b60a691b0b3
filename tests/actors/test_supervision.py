"""Supervision: the tree of what runs for a plane, and who in it is in trouble."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    Puppet,
    progress,
    prompt,
    result_of,
    system_of,
)
from restart_builders import PAUSE_S, Breaking, Plant, drivers, fail, journals

from actors import (
    ChildSpec,
    ControlPlane,
    DriverThreads,
    RuntimeSupervisor,
    Supervisor,
)
from actors.assembly import DRIVER_WORKERS
from actors.supervised import PartState, Supervised
from actors.supervision import NAMED_MAX
from meerkat import LogicalRuntimeId
from meerkat.errors import CommitUnknown, Fenced, RuntimeUnavailable
from meerkat.limits import Retention
from meerkat.store import Batch, SqliteStore

STUCK_S = 100.0


def parts(tree: Supervised) -> dict[str, Supervised]:
    return {part.name: part for part in tree.children}


def part(plane: ControlPlane, name: str) -> Supervised:
    return parts(plane.supervision())[name]


def named(plane: ControlPlane) -> dict[str, Supervised]:
    """The drivers that are told by name."""
    return parts(part(plane, "drivers"))


def test_a_plane_at_rest_names_its_parts_and_no_driver(
    open_plane: OpenPlane, drivers: DriverThreads
) -> None:
    plane = open_plane()
    plane.register_many(["a", "b"])
    plane.ingest("a", progress())
    tree = plane.supervision()
    assert (tree.name, tree.kind, tree.state) == ("supervisor", "supervisor", PartState.RUNNING)
    workers = [each for each in tree.children if each.kind == "driver worker"]
    assert len(workers) == (DRIVER_WORKERS if drivers is DriverThreads.POOLED else 0)
    states = {each.name: each.state for each in tree.children if each not in workers}
    running, off = PartState.RUNNING, PartState.OFF
    assert states == {
        "journal": running,
        "drivers": running,
        "runs": running,
        "run-loop": off,
        "timers": running,
        "passivation": running,
        "retention": off,
    }
    assert all(each.restarts == 0 for each in tree.children)
    assert named(plane) == {}
    note = part(plane, "drivers").note
    assert note is not None
    assert note.startswith("2 live, ")
    assert note.endswith(" 1 with inputs, 0 unavailable")


def test_what_a_host_has_asked_for_is_on(open_plane: OpenPlane) -> None:
    async def answer(_context: Any, _primitive: Any) -> Any:
        return None

    plane = open_plane(answer, retention=Retention(max_age_s=1e6), passivate_after=None)
    plane.register("a")
    plane.submit("a", prompt())
    while part(plane, "run-loop").state is PartState.OFF:
        pass
    assert part(plane, "retention").state is PartState.RUNNING
    assert part(plane, "passivation").state is PartState.OFF


def test_whom_a_worker_drives_is_told(open_plane: OpenPlane) -> None:
    plane = open_plane(drivers=DriverThreads.POOLED)
    plane.register("a")
    let_go, held = threading.Event(), threading.Event()

    def hold(_memory: Any, _store: Any) -> None:
        held.set()
        let_go.wait(WAIT_S)

    asked = plane._door.read("a", "hold", hold)
    assert held.wait(WAIT_S)
    notes = [each.note for each in plane.supervision().children if each.kind == "driver worker"]
    assert "drives a" in notes
    let_go.set()
    result_of(asked.reply)


# --- drivers in trouble -----------------------------------------------------------------


def test_a_driver_that_was_restarted_is_named_until_the_period_is_over(
    open_plane: OpenPlane, plant: Plant
) -> None:
    clock = FakeClock()
    plane = open_plane(clock=clock, restart=drivers(5, period_s=60.0))
    plane.register_many(["a", "b"])
    plant("a")
    fail(plane, "a", times=2)
    while part(plane, "drivers").restarts < 2:  # the caller is answered before it
        pass
    told = named(plane)
    assert set(told) == {"a"}
    assert (told["a"].state, told["a"].restarts) == (PartState.WAITING, 2)
    assert "ZeroDivisionError while handling ExecutorReady" in str(told["a"].note)
    assert part(plane, "drivers").restarts == 2
    clock.advance(plane, 10 * PAUSE_S)
    plane.register("a")
    assert named(plane)["a"].state is PartState.RUNNING
    clock.advance(plane, 60.0)
    assert named(plane) == {}
    assert part(plane, "drivers").restarts == 2


def test_one_that_is_set_aside_is_named_with_its_reason_until_somebody_acts(
    open_plane: OpenPlane, plant: Plant
) -> None:
    clock = FakeClock()
    plane = open_plane(clock=clock, restart=drivers(0))
    plane.register_many(["a", "b"])
    plant("a")
    fail(plane, "a")
    with pytest.raises(RuntimeUnavailable):
        plane.runtime_state("a", timeout=WAIT_S)
    (told,) = named(plane).values()
    assert (told.name, told.kind, told.state) == ("a", "driver", PartState.SET_ASIDE)
    assert str(told.note).startswith("it failed more than 0 times")
    plane.recover("a", timeout=WAIT_S)
    assert named(plane) == {}


def test_one_that_was_taken_over_is_named(open_plane: OpenPlane, path: Path) -> None:
    store = SqliteStore(path)
    plane = open_plane(store=store)
    plane.register("a")
    row = store.load_runtime(LogicalRuntimeId("a"))
    assert row is not None
    taken = evolve(row, fence=row.fence + 1)
    assert store.commit_many([Batch(runtime=taken, expected_fence=row.fence)]) == [None]
    with pytest.raises(Fenced):
        plane.ingest("a", progress(), timeout=WAIT_S)
    assert named(plane)["a"].state is PartState.TAKEN_OVER
    assert plane.figures().set_aside == 0
    assert plane.figures().commit_errors == 1


def test_a_run_that_gives_no_sign_has_its_driver_named(open_plane: OpenPlane) -> None:
    clock, puppet = FakeClock(), Puppet()
    plane = open_plane(puppet, clock=clock, stuck_after_s=STUCK_S)
    plane.register("a")
    plane.submit("a", prompt())
    run = puppet.next_run()
    assert named(plane) == {}
    clock.advance(plane, 2 * STUCK_S)
    told = named(plane)["a"]
    assert told.state is PartState.STUCK
    assert str(run.called.run_id) in str(told.note)
    run.does(lambda context: context.progress("here"))
    assert named(plane) == {}
    puppet.release()


def test_as_many_are_named_as_a_person_can_read_and_the_worst_first(
    open_plane: OpenPlane, plant: Plant
) -> None:
    names = [f"r{number:03}" for number in range(NAMED_MAX + 20)]
    plane = open_plane(restart=drivers(0))
    plane.register_many([*names, "last"])
    counts = system_of(plane).counts
    for name in names:
        counts.driver_restarted(LogicalRuntimeId(name), system_of(plane).clock.monotonic(), "why")
    plant("last")
    fail(plane, "last")
    with pytest.raises(RuntimeUnavailable):
        plane.runtime_state("last", timeout=WAIT_S)
    told = part(plane, "drivers").children
    assert len(told) == NAMED_MAX
    assert (told[0].name, told[0].state) == ("last", PartState.SET_ASIDE)
    assert [each.name for each in told[1:4]] == names[-1:-4:-1]


# --- the other parts --------------------------------------------------------------------


def test_a_journal_that_failed_waits_and_then_writes_again(
    open_plane: OpenPlane, path: Path
) -> None:
    clock, disk = FakeClock(), Breaking(SqliteStore(path))
    plane = open_plane(store=disk, clock=clock, restart=journals())
    plane.register("a")
    disk.break_next()
    with pytest.raises(CommitUnknown):
        plane.ingest("a", prompt(), timeout=WAIT_S)
    while part(plane, "journal").restarts == 0:  # it is told of what was in hand first
        pass
    assert part(plane, "journal").state is PartState.WAITING
    clock.advance(plane, PAUSE_S)
    assert part(plane, "journal").state is PartState.RUNNING
    assert part(plane, "journal").restarts == 1


def test_a_plane_that_stops_says_so(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    stopping = threading.Thread(target=plane.stop)
    stopping.start()
    assert system_of(plane).stopping.begun.wait(WAIT_S)
    assert plane.supervision().state is PartState.STOPPING
    agent.release()
    stopping.join(WAIT_S)


# --- in a host's tree -------------------------------------------------------------------


@pytest.fixture
def tree(path: Path) -> Iterator[Any]:
    sessions = ChildSpec(
        "sessions", RuntimeSupervisor, kwargs={"store": SqliteStore(path), "grace_s": WAIT_S}
    )
    inner = ChildSpec("inner", Supervisor, args=([],))
    tree = Supervisor.start([sessions, inner])
    yield tree
    tree.stop()


def test_a_hosts_tree_tells_its_children_and_what_runs_under_them(tree: Any) -> None:
    told = tree.supervision()
    assert (told.kind, told.state) == ("supervisor", PartState.RUNNING)
    assert [(each.name, each.kind) for each in told.children] == [
        ("sessions", "supervisor"),
        ("inner", "supervisor"),
    ]
    plane = ControlPlane.wrap(lambda: tree.child("sessions"))
    of_plane = plane.supervision()
    assert [each.name for each in told.children[0].children] == [
        each.name for each in of_plane.children
    ]
    assert of_plane.name == "supervisor"


def test_a_tree_that_has_ended_says_so(tree: Any) -> None:
    tree.stop()
    told = tree.supervision()
    assert told.state is PartState.STOPPED
    assert {each.state for each in told.children} == {PartState.STOPPED}
