"""Unregistering: the run in hand ends first, and the runtime can come back."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    OpenPlane,
    decided,
    error_of,
    events_until,
    phase_of,
    prompt,
    registering,
    result_of,
    silent,
    system_of,
    tell,
    unregistering,
)
from plane_stores import BrokenOnce, FrozenDisk

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import InputPhase, LogicalRuntimeId, RunContext, RuntimeState
from meerkat.errors import ApplyFailed, InvalidState, RuntimeNotFound, StoreError
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore


def test_unr_06_unregister_waits_for_the_run_in_hand(open_plane: OpenPlane) -> None:
    agent = Agent(silent, held=True)
    plane = open_plane(agent)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    agent.next_call()
    gone = unregistering(plane, "a")
    with pytest.raises(RuntimeNotFound):
        plane.ingest("a", prompt())
    assert not gone.done()
    agent.release()
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED_WITHOUT_RESULT
    result_of(gone)
    with pytest.raises(RuntimeNotFound):
        plane.runtime_state("a")


def test_unr_07_unregister_calls_nobody_for_what_waits(plane: ControlPlane, agent: Agent) -> None:
    plane.detach_executor("a")
    waiting = plane.submit("a", prompt())
    result_of(waiting.accepted)
    plane.unregister("a")
    ended = result_of(waiting.completion)
    assert ended.kind is CompletionKind.RUNTIME_TERMINATED
    assert ended.reason == "runtime session unregistered"
    assert agent.calls == []
    with pytest.raises(RuntimeNotFound):
        plane.runtime_state("a")


def test_unr_08_two_who_unregister_join_and_an_unknown_one_is_refused(
    open_plane: OpenPlane,
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    gone = [unregistering(plane, "a") for _ in range(2)]
    decided_by_now = tell(plane, "a", m.ExecutorReady(Reply()))
    agent.release()
    for reply in gone:
        assert result_of(reply) is None
    assert isinstance(decided_by_now.exception(WAIT_S), RuntimeNotFound)
    with pytest.raises(RuntimeNotFound):
        plane.unregister("unknown")


def test_the_second_to_unregister_may_come_while_the_first_is_being_written(
    open_plane: OpenPlane, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register("a")
    disk.freeze()
    gone = [unregistering(plane, "a")]
    assert disk.stuck.wait(WAIT_S)
    gone.append(unregistering(plane, "a"))
    assert not any(reply.done() for reply in gone)
    disk.thaw()
    for reply in gone:
        assert result_of(reply) is None


def test_unregistered_is_not_resumed_and_comes_back_with_its_work(
    open_plane: OpenPlane, quiet_plane: ControlPlane, path: Path
) -> None:
    offered = prompt("kept", idempotency_key="k")
    quiet_plane.ingest("a", offered)
    quiet_plane.unregister("a")
    quiet_plane.stop()
    assert SqliteStore(path).runtimes_with_work() == []
    agent = Agent()
    asked = open_plane(agent)
    with pytest.raises(RuntimeNotFound):
        asked.runtime_state("a")
    asked.stop()
    assert agent.calls == []
    stored = SqliteStore(path).load_input(LogicalRuntimeId("a"), offered.id)
    assert stored is not None
    assert stored.attempt_count == 0
    again = open_plane(agent)
    again.register("a")
    assert result_of(again.completion("a", offered.id)).result == "re: kept"
    assert again.ingest("a", prompt(idempotency_key="k")).existing_id == offered.id
    assert phase_of(again, "a", offered.id) is InputPhase.CONSUMED


def test_who_registers_after_an_unregister_is_registered(open_plane: OpenPlane, path: Path) -> None:
    """The first is still being written when the second comes, and is what came first."""
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    before = plane.register("a")
    disk.freeze()
    gone = unregistering(plane, "a")
    assert disk.stuck.wait(WAIT_S)
    back = registering(plane, "a", before.session_id)
    disk.thaw()
    result_of(gone)
    assert result_of(back).epoch_id != before.epoch_id
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert plane.register("a") == result_of(back)


def test_who_registers_while_a_run_is_waited_for_is_registered_afterwards(
    open_plane: OpenPlane,
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    before = plane.register("a")
    first = plane.submit("a", prompt("first"))
    agent.next_call()
    gone = unregistering(plane, "a")
    back = registering(plane, "a", before.session_id)
    agent.release()
    result_of(gone)
    assert result_of(back).epoch_id != before.epoch_id
    assert result_of(first.completion).result == "re: first"
    assert result_of(plane.submit("a", prompt("second")).completion).result == "re: second"


def test_an_unregister_that_was_not_written_did_not_happen(
    open_plane: OpenPlane, path: Path
) -> None:
    """Who came after it, to register, finds the runtime as it was."""
    disk = BrokenOnce(SqliteStore(path))
    plane = open_plane(store=disk)
    before = plane.register("a")
    disk.break_next()
    gone = unregistering(plane, "a")
    assert isinstance(error_of(gone), StoreError)
    assert plane.runtime_state("a") is RuntimeState.IDLE
    assert plane.register("a") == before
    plane.unregister("a")
    with pytest.raises(RuntimeNotFound):
        plane.runtime_state("a")


def test_who_waits_to_come_back_waits_through_a_failed_commit(
    open_plane: OpenPlane, path: Path
) -> None:
    agent, disk = Agent(held=True), BrokenOnce(SqliteStore(path))
    plane = open_plane(agent, store=disk)
    before = plane.register("a")
    first = plane.submit("a", prompt("first"))
    agent.next_call()
    disk.break_next()
    disk.freeze()
    lost = plane.submit("a", prompt("lost"))
    assert disk.stuck.wait(WAIT_S)
    gone = unregistering(plane, "a")
    back = registering(plane, "a", before.session_id)
    disk.thaw()  # the commit fails: the memory goes, and the run in hand with it
    assert isinstance(error_of(lost.accepted), StoreError)
    result_of(gone)
    assert result_of(back).epoch_id != before.epoch_id
    assert result_of(first.completion).reason == "runtime session unregistered"
    agent.release()
    input_id = result_of(first.accepted).input_id
    assert result_of(plane.completion("a", input_id)).result == "re: first"
    assert [called.attempt for called in agent.calls] == [1, 2]


def test_register_and_unregister_in_one_breath(open_plane: OpenPlane, path: Path) -> None:
    """Both are decided before either is on disk; each caller gets its answer."""
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register("a")
    disk.freeze()
    offered = plane.submit("a", prompt())  # goes to the disk by itself, and stays there
    assert disk.stuck.wait(WAIT_S)
    known = plane._door.register("a").reply
    gone = unregistering(plane, "a")
    disk.thaw()
    assert result_of(offered.accepted).is_accepted
    assert result_of(known).epoch_id
    assert result_of(gone) is None


def test_a_run_slot_that_was_waited_for_is_not_lost(open_plane: OpenPlane) -> None:
    """Runtime "b" goes away while it waits for the only slot; "c" behind it runs."""
    agent = Agent(held=True)
    plane = open_plane(agent, max_concurrent_runs=1)
    plane.register_many(["a", "b", "c"])
    first = plane.submit("a", prompt("a"))
    agent.next_call()
    plane.submit("b", prompt("b"))
    decided(plane, "b")
    plane.unregister("b")
    last = plane.submit("c", prompt("c"))
    decided(plane, "c")
    agent.release()
    assert result_of(first.completion).result == "re: a"
    assert result_of(last.completion).result == "re: c"
    assert agent.texts == ["a", "c"]


def fail_first(called: Called, _context: RunContext) -> None:
    if called.text in "ab" and called.attempt == 1:
        raise ApplyFailed("not yet")


def test_a_back_off_that_outlives_its_runtime_harms_nobody(open_plane: OpenPlane) -> None:
    clock = FakeClock()
    plane = open_plane(Agent(fail_first), clock=clock, backoff=Backoff(base_s=8.0))
    plane.register_many(["a", "b"])
    for runtime_id in ("a", "b"):
        with plane.subscribe(runtime_id) as events:
            plane.submit(runtime_id, prompt(runtime_id))
            events_until(events, "run.failed")
    plane.unregister("a")
    while LogicalRuntimeId("a") in system_of(plane).directory:
        plane.runtime_state("b")  # until the driver of "a" has gone
    clock.advance(plane, 4.0)
    assert plane.submit("b", prompt("more")).completion.result(WAIT_S).result == "re: more"


def test_who_unregisters_again_hears_that_it_is_gone(plane: ControlPlane) -> None:
    """The driver need not have left yet."""
    for _ in range(20):
        plane.register("a")
        plane.unregister("a")
        with pytest.raises(RuntimeNotFound):
            plane.unregister("a")


def test_who_comes_back_is_run_by_the_executor_of_the_plane(
    plane: ControlPlane, agent: Agent
) -> None:
    """Its own one is forgotten, whether or not the driver has left by then."""
    own = Agent()
    for number in range(20):
        plane.register("a")
        plane.attach_executor("a", own)
        plane.unregister("a")
        plane.register("a")
        said = f"{number}"
        assert result_of(plane.submit("a", prompt(said)).completion).result == f"re: {said}"
    assert (len(own.calls), len(agent.calls)) == (0, 20)


def test_what_was_never_written_does_not_come_back(plane: ControlPlane, agent: Agent) -> None:
    for _ in range(20):
        plane.detach_executor("a")
        plane.ingest("a", prompt("lost", durability="ephemeral"))
        plane.unregister("a")
        plane.register("a")
        assert plane.active_input_ids("a") == []
    assert agent.calls == []


def test_destroyed_while_a_run_is_waited_for_it_stays_known_as_that(
    open_plane: OpenPlane,
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    before = plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    gone = [unregistering(plane, "a") for _ in range(2)]
    back = registering(plane, "a", before.session_id)
    assert plane.destroy("a").inputs_abandoned == 1
    for reply in gone:
        assert result_of(reply) is None
    assert isinstance(error_of(back), InvalidState)
    agent.release()
    assert plane.runtime_state("a") is RuntimeState.DESTROYED
    plane.stop()
    again = open_plane()
    assert again.runtime_state("a") is RuntimeState.DESTROYED
    with pytest.raises(InvalidState):
        again.unregister("a")


def test_who_waits_to_come_back_is_answered_before_a_stop_takes_the_runtime_for_quiet(
    open_plane: OpenPlane, path: Path
) -> None:
    """The registry that it is answered with may get operations, which the stop has to end."""
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(Agent(), store=disk)
    before = plane.register("a")
    disk.freeze()
    unregistering(plane, "a")
    back = registering(plane, "a", before.session_id)
    answered: SimpleQueue[bool] = SimpleQueue()
    quiesce = m.Quiesce(drain=False, quiet=lambda _runtime_id: answered.put(back.done()))
    system_of(plane).directory.deliver_anew(back.runtime_id, quiesce)
    disk.thaw()
    assert answered.get(timeout=WAIT_S)
    assert result_of(back).epoch_id != before.epoch_id
