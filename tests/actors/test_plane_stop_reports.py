"""What a stop says at its end: how runs ended, what was refused, and what is left."""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    Puppet,
    error_of,
    logged,
    progress,
    prompt,
    result_of,
    system_of,
    tell,
)
from plane_stores import FrozenDisk

from actors import ControlPlane, RestartPolicy, Restarts, ShutdownReport
from actors import messages as m
from actors.replies import Reply
from meerkat import RunContext, RunOutput, StagedInput
from meerkat.errors import (
    ControlPlaneForked,
    ControlPlaneStopped,
    MeerkatError,
    RunCancelled,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore, SqliteStore
from meerkat.testing import FaultyStore
from meerkat.testing.store_wrapper import COMMITS


@pytest.fixture
def open_plane(open_plane: OpenPlane) -> OpenPlane:
    """The disk has time to answer, on a machine that is busy with other things, too."""

    def start(executor: Any = None, **settings: Any) -> ControlPlane:
        return open_plane(executor, **{"grace_s": 1.0, **settings})

    return start


def begun(plane: ControlPlane) -> None:
    """Wait until a stop is under way, and the doors are closed."""
    assert system_of(plane).stopping.begun.wait(WAIT_S)
    while not system_of(plane).calls._refusing:
        pass


def test_a_plane_that_was_never_started_has_nothing_to_report() -> None:
    plane = ControlPlane(MemoryStore())
    assert plane.stop() == ShutdownReport()
    assert plane.stop(drain=True, timeout=0) == ShutdownReport()


def test_a_start_that_failed_leaves_nothing_to_report(path: Path, open_plane: OpenPlane) -> None:
    open_plane()
    other = ControlPlane(SqliteStore(path))
    with pytest.raises(StoreError, match="in use by"):
        other.start()
    assert other.stop() == ShutdownReport()


def test_a_plane_at_rest_leaves_nothing(plane: ControlPlane) -> None:
    result_of(plane.submit("a", prompt()).completion)
    report = plane.stop()
    assert report.seconds > 0
    assert report == ShutdownReport(runtimes_with_work=0, seconds=report.seconds)
    assert plane.stop() is report
    assert plane.stop(drain=True, timeout=0) is report
    plane.start()
    assert plane.stop() is not report


def test_runs_without_a_grace_leave_the_disk_its_time(open_plane: OpenPlane) -> None:
    """Or the store stays open, and its file is in use for as long as the process lives."""
    for _ in range(20):
        plane = open_plane(Agent(), grace_s=0)
        plane.register("a")
        result_of(plane.submit("a", prompt()).completion)
        report = plane.stop()
        assert (report.store_closed, report.runtimes_with_work) == (True, 0)


def test_a_report_says_how_each_run_ended(open_plane: OpenPlane) -> None:
    """One ends by itself, one gives way, one does not return in time; one had ended before."""
    runs = Puppet()
    plane = open_plane(runs)
    plane.register_many(["before", "ends", "yields", "hangs"])
    submitted = {}
    for name in ("before", "ends", "yields", "hangs"):
        submitted[name] = plane.submit(name, prompt())
        run = runs.next_run()
        if name == "before":
            run.returns()
            result_of(submitted[name].completion)
        elif name == "ends":
            ending = run
        elif name == "yields":
            run.asks(lambda context: context.cancelled.wait(3 * WAIT_S))
            run.raises(RunCancelled())
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(plane.stop, timeout=100 * WAIT_S)
        begun(plane)
        ending.returns()
        assert result_of(submitted["ends"].completion).kind is CompletionKind.COMPLETED
        report = plane.stop(timeout=0)
        assert result_of(stopping) is report
    assert (report.runs_ended, report.runs_cancelled, report.runs_left) == (1, 1, 1)
    assert [str(each) for each in report.cancelled] == ["yields"]
    assert [str(each) for each in report.left] == ["hangs"]
    assert (report.handles_ended, report.runtimes_with_work) == (2, 2)
    assert (report.runtimes_unsettled, report.store_closed) == (0, True)
    runs.release()


def test_a_run_that_had_been_given_up_before_is_left(open_plane: OpenPlane) -> None:
    """Its runtime goes on without it; its thread does not end with the plane."""
    agent = Agent(lambda called, _: hung.wait(3 * WAIT_S) if called.text == "hang" else None)
    hung = threading.Event()
    plane = open_plane(agent, grace_s=0.5)
    plane.register("a")
    submitted = plane.submit("a", prompt("hang"))
    agent.next_call()
    plane.interrupt("a", "now")
    assert result_of(submitted.completion).kind is CompletionKind.CANCELLED
    report = plane.stop()
    assert (report.runs_left, report.runtimes_with_work) == (1, 0)
    assert [str(each) for each in report.left] == ["a"]
    hung.set()


def test_whoever_comes_too_late_is_counted(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    running = plane.submit("a", prompt())
    waiting = [plane.submit("a", prompt()) for _ in range(3)]
    for each in waiting:
        result_of(each.accepted)
    agent.next_call()
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(plane.stop)
        begun(plane)
        for _ in range(5):
            with pytest.raises(ControlPlaneStopped):
                plane.ingest("a", prompt())
        with pytest.raises(ControlPlaneStopped):
            plane.runtime_state("a")
        agent.release()
        report = result_of(stopping)
    assert result_of(running.completion).kind is CompletionKind.COMPLETED
    assert (report.calls_refused, report.handles_ended) == (6, 3)
    assert (report.runs_ended, report.runtimes_with_work) == (1, 1)
    with pytest.raises(ControlPlaneStopped):
        plane.ingest("a", prompt())
    assert plane.stop().calls_refused == 6


def test_a_disk_that_hangs_is_left_and_said_so(open_plane: OpenPlane, path: Path) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register_many(["a", "b"])
    disk.freeze()
    submitted = [plane.submit(name, prompt()) for name in "aab"]
    assert disk.stuck.wait(WAIT_S)
    report = plane.stop(timeout=0)
    assert (report.store_closed, report.runtimes_with_work) == (False, None)
    assert (report.runtimes_unsettled, report.calls_refused) == (2, 3)
    assert (report.runs_left, report.handles_ended) == (0, 0)
    for each in submitted:
        assert isinstance(error_of(each.accepted), ControlPlaneStopped)
        assert isinstance(error_of(each.completion), ControlPlaneStopped)
    disk.thaw()


class MuteStore(FrozenDisk):
    """A store that does not say what has work left, or does not close, while it is frozen."""

    def runtimes_with_work(self) -> Any:
        self._thawed.wait(3 * WAIT_S)
        return self.inner.runtimes_with_work()

    def close(self) -> None:
        self._thawed.wait(3 * WAIT_S)
        self.inner.close()


@pytest.mark.parametrize("drain", [False, True])
def test_a_store_that_does_not_close_holds_nobody_up(
    open_plane: OpenPlane, path: Path, monkeypatch: pytest.MonkeyPatch, *, drain: bool
) -> None:
    monkeypatch.setattr("actors.shutdown.CLOSING_MIN_S", 0.01)
    store = MuteStore(SqliteStore(path))
    plane = open_plane(store=store)
    plane.register("a")
    store.freeze()
    report = plane.stop(drain=drain, timeout=WAIT_S)
    assert (report.store_closed, report.runtimes_with_work) == (False, None)
    store.thaw()


@pytest.mark.parametrize("patient", [100 * WAIT_S, math.inf])
@pytest.mark.parametrize("drain", [False, True])
def test_the_least_patient_of_all_who_stop_decides(
    open_plane: OpenPlane, patient: float, *, drain: bool
) -> None:
    hung = Agent(held=True)
    plane = open_plane(hung)
    plane.register("a")
    plane.submit("a", prompt())
    hung.next_call()
    with ThreadPoolExecutor(3) as threads:
        stopping = [threads.submit(plane.stop, drain=drain, timeout=patient) for _ in range(2)]
        begun(plane)
        stopping.append(threads.submit(plane.stop, timeout=0.01))
        reports = [result_of(each) for each in stopping]
    assert reports[0] is reports[1] is reports[2]
    assert reports[0].runs_left == 1


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), (math.nan, ValueError)])
def test_a_timeout_that_is_none_is_refused_and_stops_nothing(
    plane: ControlPlane, timeout: float, error: type[Exception]
) -> None:
    with pytest.raises(error, match="timeout"):
        plane.stop(timeout=timeout)
    with pytest.raises(TypeError, match="timeout"):
        plane.stop(timeout="1")  # type: ignore[arg-type]
    assert plane.executor_ready("a")


def test_a_drain_says_what_could_not_be_drained(open_plane: OpenPlane, path: Path) -> None:
    """One runtime cannot be read, one has nobody to run it; the third is worked empty."""
    first = open_plane()
    first.register_many(["corrupt", "idle", "works"])
    for name in ("corrupt", "idle", "works"):
        first.ingest(name, progress())
    first.stop()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE inputs SET state = 'nonsense' WHERE runtime_id = 'corrupt'")
    database.close()
    agent = Agent()
    plane = open_plane()
    plane.attach_executor("works", agent)
    report = plane.stop(drain=True, timeout=WAIT_S)
    assert len(agent.calls) == 1
    assert (report.runtimes_with_work, report.runs_left) == (2, 0)
    assert report.store_closed


def refusal(plane: ControlPlane, name: str) -> MeerkatError:
    """Ask until that is refused."""
    while True:
        try:
            plane.runtime_state(name)
        except MeerkatError as error:
            return error


def test_a_drain_ends_though_a_runtime_is_set_aside(open_plane: OpenPlane) -> None:
    agent = Agent()
    never = Restarts(intensity=0, period_s=60)
    plane = open_plane(restart=RestartPolicy(drivers=never))
    plane.register_many(["aside", "works"])
    for name in ("aside", "works"):
        plane.ingest(name, progress())
    broken = tell(plane, "aside", m.Query(lambda _memory, _store: 1 / 0, Reply()))
    assert isinstance(error_of(broken), MeerkatError)
    assert isinstance(refusal(plane, "aside"), RuntimeUnavailable)
    plane.attach_executor("works", agent)
    report = plane.stop(drain=True, timeout=WAIT_S)
    assert (len(agent.calls), report.runtimes_with_work) == (1, 1)
    assert (report.runs_left, report.runtimes_unsettled, report.store_closed) == (0, 0, True)


def test_a_coroutine_that_swallows_its_cancellation_is_left(open_plane: OpenPlane) -> None:
    begun, let_go = threading.Event(), threading.Event()

    async def deaf(_context: RunContext, _primitive: StagedInput) -> RunOutput:
        begun.set()
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        return RunOutput(append=[])

    plane = open_plane(deaf)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    assert begun.wait(WAIT_S)
    report = plane.stop(timeout=0)
    assert (report.runs_left, report.handles_ended, report.runtimes_with_work) == (1, 1, 1)
    assert report.store_closed
    assert result_of(submitted.completion).reason == "control plane stopped"
    let_go.set()


def test_a_callback_that_hangs_keeps_no_other_from_its_answer(open_plane: OpenPlane) -> None:
    plane = open_plane()
    plane.register("a")
    submitted = [plane.submit("a", prompt()) for _ in range(3)]
    for each in submitted:
        result_of(each.accepted)
    hung = threading.Event()
    submitted[0].completion.add_done_callback(lambda _: hung.wait(3 * WAIT_S))
    report = plane.stop()
    for each in submitted:
        assert each.completion.result(0).reason == "control plane stopped"
    assert (report.handles_ended, report.store_closed) == (3, True)
    hung.set()


@pytest.mark.parametrize("seed", range(5))
def test_each_run_is_in_one_of_the_numbers(open_plane: OpenPlane, seed: int) -> None:
    """Forty runs end by themselves, or give way, while the stop's patience ends."""
    chance, go_on = random.Random(seed), threading.Event()

    def behave(_called: Called, context: RunContext) -> None:
        go_on.wait(WAIT_S)
        if context.cancelled.wait(chance.random() / 50):
            context.raise_if_cancelled()

    agent = Agent(behave)
    plane = open_plane(agent, grace_s=WAIT_S)
    names = [f"r{number}" for number in range(40)]
    plane.register_many(names)
    submitted = [plane.submit(name, prompt()) for name in names]
    for _ in names:
        agent.next_call()
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(plane.stop)
        begun(plane)
        go_on.set()
        report = plane.stop(timeout=0.01)
        assert result_of(stopping) is report
    kinds = [result_of(each.completion).kind for each in submitted]
    assert kinds.count(CompletionKind.COMPLETED) == report.runs_ended
    assert kinds.count(CompletionKind.RUNTIME_TERMINATED) == report.runs_cancelled
    assert report.runs_ended + report.runs_cancelled == 40
    assert report.runtimes_with_work == report.handles_ended == report.runs_cancelled


def test_a_forked_process_is_told_so_and_stops_nothing(plane: ControlPlane) -> None:
    plane._life._home.left = True  # as it is in a child
    with pytest.raises(ControlPlaneForked, match="forked"):
        plane.ingest("a", prompt())
    with pytest.raises(ControlPlaneForked):
        plane.start()
    assert plane.stop() == ShutdownReport()
    plane._life._home.left = False
    assert plane.executor_ready("a")


def test_a_journal_that_fails_while_a_stop_waits_for_runs_writes_again(
    open_plane: OpenPlane,
) -> None:
    puppet, error = Puppet(), RuntimeError("the writer broke")
    disk = FaultyStore(MemoryStore(), error=error, calls=COMMITS)
    plane = open_plane(puppet, store=disk)
    plane.register_many(["a", "b"])
    handles, runs = [], []
    for name in ("a", "b"):
        handles.append(plane.submit(name, prompt()).completion)
        runs.append(puppet.next_run())
    with ThreadPoolExecutor() as threads, logged("the journal failed") as failed:
        report = threads.submit(plane.stop, timeout=3 * WAIT_S)
        begun(plane)
        disk.fail_next()
        runs[0].returns()
        assert failed.wait(WAIT_S)
        runs[1].returns()
        assert result_of(handles[1]).kind is CompletionKind.COMPLETED
        assert result_of(report).runtimes_unsettled == 0
