"""What a disk, a host's callback or a hung run must not do to anybody else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    Hooked,
    OpenPlane,
    error_of,
    events_until,
    logged,
    prompt,
    result_of,
    tell,
    unregistering,
)
from plane_stores import FrozenDisk, StoreProxy

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import (
    Accepted,
    PersistentRuntimeDriver,
    RunContext,
    RuntimeEpochId,
    RuntimeState,
    kernel,
)
from meerkat.errors import ControlPlaneStopped, RunCancelled, StoreError, WouldDeadlock
from meerkat.limits import Backoff
from meerkat.store import Batch, SqliteStore


class RefusesReceipts(StoreProxy):
    """A store that refuses what a run has done, for as long as it is told to."""

    refusing = True

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        if self.refusing and any(batch.receipts for batch in batches):
            raise StoreError("no space left")
        return super().commit_many(batches)


def test_a_disk_that_refuses_does_not_use_up_the_attempts(
    path: Path, open_plane: OpenPlane
) -> None:
    store, clock, agent = RefusesReceipts(SqliteStore(path)), FakeClock(), Agent()
    plane = open_plane(agent, store=store, clock=clock, backoff=Backoff(base_s=8.0))
    plane.register("a")
    submitted = plane.submit("a", prompt())
    agent.next_call()
    with suppress(StoreError):
        while plane.runtime_state("a") is RuntimeState.RUNNING:
            pass  # until the refusal has come back, to who asked meanwhile too
    for _ in range(20):
        assert plane.active_input_ids("a")  # answered, and nothing is started meanwhile
    assert len(agent.calls) == 1
    store.refusing = False
    clock.advance(plane, 8.0)
    assert result_of(submitted.completion).result == "re: hello"
    assert len(agent.calls) == 2


def test_a_refused_acceptance_never_makes_two_runs_of_one_runtime(
    path: Path, open_plane: OpenPlane
) -> None:
    store, agent = RefusesReceipts(SqliteStore(path)), Agent(held=True)
    plane = open_plane(agent, store=store, grace_s=WAIT_S, backoff=Backoff(base_s=0.0))
    plane.register("a")
    plane.submit("a", prompt("runs"))
    agent.next_call()

    def refuse(_batches: Sequence[Batch]) -> list[StoreError | None]:
        del store.commit_many  # type: ignore[method-assign]
        raise StoreError("no space left")

    store.refusing = False
    store.commit_many = refuse  # type: ignore[method-assign]
    assert isinstance(error_of(plane.submit("a", prompt("refused")).accepted), StoreError)
    last = plane.submit("a", prompt("last"))
    assert isinstance(result_of(last.accepted), Accepted)
    assert len(agent.calls) == 1  # the first run is still about
    agent.release()
    assert result_of(last.completion).result == "re: last"
    assert [call.text for call in agent.calls] == ["runs", "runs", "last"]


def test_what_one_caller_submits_is_taken_in_its_order(open_plane: OpenPlane) -> None:
    """Also while the driver of the runtime is only just being started."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for round_ in range(20):
            first = open_plane()
            names = [f"{round_}-{number}" for number in range(5)]
            first.register_many(names)
            first.stop()
            plane = open_plane()
            submitted = [plane.submit(name, prompt()) for _ in range(20) for name in names]
            for name in names:
                mine = submitted[names.index(name) :: len(names)]
                sequences = [result_of(each.accepted).state.admission_sequence for each in mine]
                assert sequences == sorted(sequences)
            plane.stop()
    finally:
        sys.setswitchinterval(interval)


def test_a_stop_hook_is_answered_though_its_runtime_is_unregistered(
    open_plane: OpenPlane,
) -> None:
    agent = Hooked()
    agent.leave_hook.clear()
    plane = open_plane(agent, grace_s=100 * WAIT_S)
    plane.register("a")
    stopping = tell(plane, "a", m.StopRuntime(Reply()))
    assert agent.in_hook.wait(WAIT_S)
    plane.unregister("a", timeout=WAIT_S)
    agent.leave_hook.set()
    assert error_of(stopping) is not None or result_of(stopping) is not None


def cancel_itself(called: Called, _context: RunContext) -> None:
    if called.text == "give up":
        raise RunCancelled


def test_a_run_that_cancels_itself_is_cancelled_while_draining_too(
    open_plane: OpenPlane,
) -> None:
    agent = Agent(cancel_itself, held=True)
    plane = open_plane(agent)
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("give up", "go on")]
    agent.next_call()
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(plane.stop, drain=True, timeout=WAIT_S)
        agent.release()
        result_of(stopped)
    kinds = [result_of(each.completion).kind.value for each in submitted]
    assert kinds == ["cancelled", "completed"]


def test_a_drain_does_not_wait_for_a_runtime_that_is_being_unregistered(
    open_plane: OpenPlane,
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    for text in ("runs", "stays"):
        plane.submit("a", prompt(text))
    agent.next_call()
    unregistering(plane, "a")
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(plane.stop, drain=True, timeout=100 * WAIT_S)
        agent.release()
        result_of(stopped)
    assert len(agent.calls) == 1


def test_stop_and_destroy_are_the_way_out_of_an_unregister_that_hangs(
    open_plane: OpenPlane,
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    reply = unregistering(plane, "a")
    assert plane.destroy("a", timeout=WAIT_S).inputs_abandoned == 1
    assert reply.exception(WAIT_S) is None


def test_a_disk_that_hangs_does_not_hang_the_stop(path: Path, open_plane: OpenPlane) -> None:
    store = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=store, grace_s=HUNG_S)
    plane.register("a")
    store.freeze()
    submitted = plane.submit("a", prompt())
    assert store.stuck.wait(WAIT_S)
    with ThreadPoolExecutor(1) as threads:
        result_of(threads.submit(plane.stop, timeout=0))
    assert isinstance(error_of(submitted.accepted), ControlPlaneStopped)
    store.thaw()


@pytest.mark.parametrize("call", ["ingest", "stop"])
def test_a_blocking_call_in_a_callback_is_refused_at_once(plane: ControlPlane, call: str) -> None:
    refused: list[BaseException] = []
    told = threading.Event()

    def callback(_future: object) -> None:
        try:
            if call == "ingest":
                plane.ingest("a", prompt())
            else:
                plane.stop()
        except WouldDeadlock as error:
            refused.append(error)
        finally:
            told.set()

    submission = plane.submit("a", prompt())
    submission.completion.add_done_callback(callback)
    assert told.wait(WAIT_S)
    if not refused:  # it had ended already: the callback came on this very thread
        assert submission.completion.done()


def test_a_stale_back_off_ends_no_newer_one(open_plane: OpenPlane) -> None:
    def fail(_called: Called, _context: RunContext) -> None:
        raise RuntimeError("not yet")

    clock, agent = FakeClock(), Agent(fail)
    plane = open_plane(agent, clock=clock, backoff=Backoff(base_s=8.0))
    plane.register("a")
    with plane.subscribe("a") as events:
        plane.submit("a", prompt())
        events_until(events, "run.failed")
        plane.recover("a")  # due at once: the first hold is over before its time
        events_until(events, "run.failed")
        clock.advance(plane, 4.0)  # when the first one was due; the second is not yet
        assert plane.runtime_state("a") is RuntimeState.ATTACHED
        assert len(agent.calls) == 2
        clock.advance(plane, 4.0)
        events_until(events, "run.failed")
        assert len(agent.calls) == 3


def test_recover_reports_what_its_own_loading_repaired(path: Path, open_plane: OpenPlane) -> None:
    store = SqliteStore(path)
    crashed = PersistentRuntimeDriver("a", store)
    crashed.attach_executor()
    crashed.accept_input(prompt())
    crashed.start_run()
    row = store.load_runtime(crashed.runtime_id)
    assert row is not None
    store.close()
    plane = open_plane()
    report = plane.recover("a")
    assert (report.inputs_recovered, report.inputs_abandoned) == (1, 0)


def test_a_refusal_told_many_times_keeps_nobodys_frames(path: Path, open_plane: OpenPlane) -> None:
    store = SqliteStore(path)
    driver = PersistentRuntimeDriver("a", store)
    driver.accept_input(prompt())
    store.close()
    import sqlite3  # noqa: PLC0415 - only this test breaks a row

    connection = sqlite3.connect(path)
    connection.execute("UPDATE inputs SET payload = NULL")
    connection.commit()
    connection.close()
    plane = open_plane()
    depths = []
    for _ in range(3):
        with pytest.raises(StoreError) as refused:
            plane.runtime_state("a")
        trace, depth = refused.value.__cause__.__traceback__, 0  # type: ignore[union-attr]
        while trace is not None:
            trace, depth = trace.tb_next, depth + 1
        depths.append(depth)
    assert depths[1] == depths[2]


def test_a_run_that_outlives_its_plane_does_not_open_the_store_again(
    path: Path, open_plane: OpenPlane
) -> None:
    seen: list[BaseException] = []
    done = threading.Event()

    def look_late(_called: Called, context: RunContext) -> None:
        try:
            _ = context.messages
        except ControlPlaneStopped as error:
            seen.append(error)
        finally:
            done.set()

    agent = Agent(look_late, held=True)
    plane = open_plane(agent, grace_s=HUNG_S)
    plane.register("a")
    plane.submit("a", prompt())
    agent.next_call()
    plane.stop(timeout=0)
    agent.release()
    assert done.wait(WAIT_S)
    assert len(seen) == 1
    assert not [name for name in path.parent.iterdir() if name.name.endswith("-wal")]


class RefusesReading(StoreProxy):
    """A store that cannot read a session, for as long as it is told to."""

    refusing = True

    def load_session_snapshot(self, runtime_id: object) -> object:
        if self.refusing:
            raise StoreError("input/output error")
        return self.inner.load_session_snapshot(runtime_id)  # type: ignore[arg-type]


def test_a_session_that_cannot_be_read_is_not_the_executors_failure(
    path: Path, open_plane: OpenPlane
) -> None:
    store, clock, agent = RefusesReading(SqliteStore(path)), FakeClock(), Agent()
    plane = open_plane(agent, store=store, clock=clock, backoff=Backoff(base_s=8.0))
    plane.register("a")
    submitted = plane.submit("a", prompt())
    agent.next_call()
    with suppress(StoreError):
        while plane.runtime_state("a") is RuntimeState.RUNNING:
            pass
    store.refusing = False
    clock.advance(plane, 4.0)
    assert result_of(submitted.completion).result == "re: hello"
    state = plane.input_state("a", result_of(submitted.accepted).input_id)
    assert state is not None
    assert state.last_error is None


def test_no_slot_is_handed_on_while_a_stopped_run_is_still_about(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, max_concurrent_runs=1, grace_s=WAIT_S)
    names = ["a", "b", "c"]
    plane.register_many(names)
    for name in names:
        plane.submit(name, prompt(name))
    first = agent.next_call()
    plane.stop_runtime(first.runtime_id)
    for name in names:
        plane.runtime_state(name)
    assert len(agent.calls) == 1
    agent.release()
    agent.next_call()


def test_a_runtime_that_was_reset_waits_for_its_stopped_run(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register("a")
    plane.submit("a", prompt("old"))
    agent.next_call()
    stopping = tell(plane, "a", m.Call(kernel.Stop(), Reply()))
    resetting = tell(plane, "a", m.ResetRuntime(RuntimeEpochId.new(), Reply()))
    new = plane.submit("a", prompt("new"))
    for each in (stopping, resetting, new.accepted):
        result_of(each)
    assert len(agent.calls) == 1
    agent.release()
    assert result_of(new.completion).result == "re: new"


def test_a_run_that_ends_while_its_stop_is_on_its_way_holds_nobody_up(
    path: Path, open_plane: OpenPlane
) -> None:
    store, agent = FrozenDisk(SqliteStore(path)), Agent(held=True)
    plane = open_plane(agent, store=store, grace_s=100 * WAIT_S)
    plane.register("a")
    plane.submit("a", prompt("old"))
    agent.next_call()
    store.freeze()
    stopping = tell(plane, "a", m.Call(kernel.Stop(), Reply()))
    assert store.stuck.wait(WAIT_S)
    with logged("late result") as refused:
        agent.release()
        assert refused.wait(WAIT_S)
    store.thaw()
    result_of(stopping)
    plane.reset("a")
    assert result_of(plane.submit("a", prompt("new")).completion).result == "re: new"


def test_a_stop_in_a_callback_of_the_stop_is_refused(open_plane: OpenPlane) -> None:
    refused: list[BaseException] = []
    plane = open_plane()
    plane.register("a")
    handle = plane.submit("a", prompt()).completion

    def stop_again(_handle: object) -> None:
        try:
            plane.stop()
        except WouldDeadlock as error:
            refused.append(error)

    handle.add_done_callback(stop_again)
    with ThreadPoolExecutor(1) as threads:
        result_of(threads.submit(plane.stop))
    assert len(refused) == 1
