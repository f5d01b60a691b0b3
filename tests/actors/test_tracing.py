"""Tracing: what is told of an input and its runs, where, and how contexts get from one to other."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aio_builders import OnLoop, async_plane, running
from boundary_builders import begun
from coroutine_builders import AsyncAgent
from passivation_builders import passivate
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    OpenPlane,
    Puppet,
    error_of,
    event,
    operation,
    progress,
    prompt,
    result_of,
    steered,
    system_of,
)
from plane_stores import BrokenOnce, FrozenDisk, StoreProxy
from restart_builders import Plant, at_once
from trace_builders import Noted, OfferNoted, Raising, RunNoted, caller, current

from actors import ControlPlane, RestartPolicy
from actors import messages as m
from actors.driver import DriverActor
from actors.traces import Traces
from actors.tracing import RunEndKind
from actors.watching import NoticeKind
from meerkat import Input, InputId, LogicalRuntimeId, RunContext, kernel
from meerkat.errors import (
    ApplyFailed,
    ControlPlaneStopped,
    ExecutorStopped,
    InputValidationFailed,
    InvalidState,
    Overloaded,
    RecoveryCorruption,
    RuntimeNotFound,
    StoreError,
)
from meerkat.identifiers import CorrelationId
from meerkat.limits import Limits
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore, SqliteStore


@pytest.fixture
def tracing() -> Noted:
    return Noted()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Agent, tracing: Noted) -> ControlPlane:
    plane = open_plane(agent, tracing=tracing)
    plane.register("a")
    return plane


def called_by(name: str, call: Callable[[], Any]) -> Any:
    """What a call gives that is made in a context of its own."""

    def named() -> Any:
        caller.set(name)
        return call()

    return contextvars.copy_context().run(named)


def carried(plane: ControlPlane) -> int:
    return len(system_of(plane).traces)


# --- what is told of an offer -----------------------------------------------------------


def test_an_offer_is_told_in_the_callers_context_and_ends_when_it_is_durable(
    plane: ControlPlane, tracing: Noted
) -> None:
    offered = prompt()
    outcome = called_by("one", lambda: plane.ingest("a", offered))
    (offer,) = tracing.offers
    assert (offer.runtime_id, offer.input, offer.caller) == ("a", offered, "one")
    assert offer.outcome == outcome


def test_an_offer_has_ended_before_its_caller_hears(open_plane: OpenPlane, tracing: Noted) -> None:
    plane = open_plane(tracing=tracing)
    plane.register("a")
    ended: list[bool] = []
    disk_reached = threading.Event()

    def heard(_future: Any) -> None:
        ended.append(not tracing.offers[0].outcomes.empty())
        disk_reached.set()

    plane.submit("a", prompt()).accepted.add_done_callback(heard)
    assert disk_reached.wait(WAIT_S)
    assert ended == [True]
    assert carried(plane) == 1


@pytest.mark.parametrize(
    ("offered", "runtime_id", "error"),
    [
        (prompt("x" * 2_000), "a", InputValidationFailed),
        (prompt(), "unknown", RuntimeNotFound),
        (prompt(), "stopped", InvalidState),
    ],
    ids=["too long", "unknown", "stopped"],
)
def test_a_refused_offer_ends_with_its_error(
    open_plane: OpenPlane, tracing: Noted, offered: Input, runtime_id: str, error: type[Exception]
) -> None:
    plane = open_plane(tracing=tracing, limits=Limits(payload_bytes_max=1_000))
    plane.register("a")
    plane.register("stopped")
    plane.stop_runtime("stopped")
    with pytest.raises(error) as refused:
        plane.ingest(runtime_id, offered)
    (offer,) = tracing.offers
    assert type(offer.outcome) is type(refused.value)
    assert carried(plane) == 0


def test_an_offer_that_finds_no_room_ends_overloaded(path: Path, open_plane: OpenPlane) -> None:
    tracing, disk = Noted(), FrozenDisk(SqliteStore(path))
    plane = open_plane(tracing=tracing, store=disk, limits=Limits(in_flight_max=1))
    plane.register("a")
    disk.freeze()
    first = plane.submit("a", prompt())
    with pytest.raises(Overloaded):
        plane.submit("a", prompt())
    assert isinstance(tracing.offers[1].outcome, Overloaded)
    assert tracing.offers[0].outcomes.empty()
    disk.thaw()
    assert tracing.offers[0].outcome == result_of(first.accepted)


def test_what_is_no_input_is_no_offer(plane: ControlPlane, tracing: Noted) -> None:
    with pytest.raises(InputValidationFailed):
        plane.ingest("a", "hello")  # type: ignore[arg-type]
    assert tracing.offers == []


def test_an_offer_the_disk_refuses_ends_with_that(path: Path, open_plane: OpenPlane) -> None:
    tracing, disk = Noted(), BrokenOnce(SqliteStore(path))
    plane = open_plane(tracing=tracing, store=disk)
    plane.register("a")
    disk.break_next()
    with pytest.raises(StoreError):
        plane.ingest("a", prompt())
    assert isinstance(tracing.offers[0].outcome, StoreError)


def test_offers_that_a_stop_leaves_undecided_end_with_it(path: Path, open_plane: OpenPlane) -> None:
    tracing, disk = Noted(), FrozenDisk(SqliteStore(path))
    plane = open_plane(tracing=tracing, store=disk, grace_s=HUNG_S)
    plane.register("a")
    disk.freeze()
    first = plane.submit("a", prompt())
    assert disk.stuck.wait(WAIT_S)
    plane.stop(timeout=HUNG_S)
    assert isinstance(error_of(first.accepted), ControlPlaneStopped)
    assert isinstance(tracing.offers[0].outcome, ControlPlaneStopped)


def test_only_what_waits_for_a_run_is_carried(open_plane: OpenPlane, tracing: Noted) -> None:
    plane = open_plane(tracing=tracing)
    plane.register("a")
    offered = prompt(idempotency_key="k")
    plane.ingest("a", offered)
    assert plane.ingest("a", prompt(idempotency_key="k")).is_deduplicated
    assert plane.ingest("a", offered).is_deduplicated
    assert plane.ingest("a", operation()).is_accepted
    assert plane.ingest("a", prompt(durability="derived")).is_rejected
    assert carried(plane) == 1


# --- from the offer to the run ----------------------------------------------------------


def test_a_run_has_the_offer_of_its_input_and_the_executor_its_context(
    open_plane: OpenPlane, tracing: Noted
) -> None:
    seen: list[RunNoted | None] = []

    def behave(_called: Called, _context: RunContext) -> None:
        seen.append(current.get())

    plane = open_plane(Agent(behave), tracing=tracing)
    plane.register("a")
    for name in ("one", "two"):
        submission = called_by(name, lambda: plane.submit("a", prompt()))
        receipt_of = result_of(submission.completion)
        run = tracing.next_run()
        assert receipt_of.kind is CompletionKind.COMPLETED
        assert seen.pop() is run
        assert run.callers == [name]
        end = run.end
        assert end.kind is RunEndKind.COMPLETED
        assert end.receipt == plane.load_boundary_receipt("a", run.run.run_id, 0)
    assert carried(plane) == 0


def test_the_thread_of_a_run_is_in_nobodys_context_afterwards(
    open_plane: OpenPlane, tracing: Noted
) -> None:
    plane = open_plane(Agent(), tracing=tracing)
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    threads = system_of(plane).threads
    assert result_of(threads.outcome_of(current.get)) is None


def test_a_batch_has_the_offers_of_all_its_inputs(open_plane: OpenPlane, tracing: Noted) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, tracing=tracing)
    plane.register("a")
    plane.submit("a", prompt("first"))
    agent.next_call()
    names = ["one", "two", "three"]
    handles = [called_by(name, lambda: plane.submit("a", event(1))) for name in names]
    for each in handles:
        result_of(each.accepted)
    agent.release()
    for each in handles:
        result_of(each.completion)
    tracing.next_run()
    assert tracing.next_run().callers == names


def test_every_attempt_has_the_offer(open_plane: OpenPlane, tracing: Noted) -> None:
    def behave(called: Called, _context: RunContext) -> None:
        if called.attempt == 1:
            raise ValueError("no")
        if called.attempt == 2:
            raise ApplyFailed("no")

    plane = open_plane(Agent(behave), tracing=tracing)
    plane.register("a")
    result_of(called_by("one", lambda: plane.submit("a", prompt())).completion)
    runs = [tracing.next_run() for _ in range(3)]
    assert [run.callers for run in runs] == [["one"]] * 3
    assert [run.run.attempt for run in runs] == [1, 2, 3]
    ends = [run.end for run in runs]
    assert [end.error_type for end in ends] == ["ValueError", "ApplyFailed", None]
    kinds = [RunEndKind.FAILED, RunEndKind.FAILED, RunEndKind.COMPLETED]
    assert [end.kind for end in ends] == kinds
    assert carried(plane) == 0


def test_a_run_of_an_earlier_process_has_no_offer(path: Path, open_plane: OpenPlane) -> None:
    first = open_plane()
    first.register("a")
    first.ingest("a", prompt(correlation_id=CorrelationId.new()))
    first.stop()
    tracing = Noted()
    open_plane(Agent(), tracing=tracing)
    run = tracing.next_run()
    assert run.callers == []
    assert run.end.kind is RunEndKind.COMPLETED


def test_a_run_has_ended_before_the_end_of_its_input_is_known(
    open_plane: OpenPlane, tracing: Noted
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, tracing=tracing)
    plane.register("a")
    known, ended = threading.Event(), []
    submission = plane.submit("a", prompt())
    run = tracing.next_run()

    def heard(_future: Any) -> None:
        ended.append(not run.ends.empty())
        known.set()

    submission.completion.add_done_callback(heard)
    agent.release()
    assert known.wait(WAIT_S)
    assert ended == [True]


def test_a_boundary_is_told_with_the_offers_it_took_in(
    open_plane: OpenPlane, tracing: Noted
) -> None:
    puppet = Puppet()
    plane = open_plane(puppet, tracing=tracing)
    plane.register("a")
    handle, run = begun(plane, puppet)
    called_by("steerer", lambda: plane.ingest("a", steered()))
    inside = []

    def take(context: RunContext) -> Any:
        inside.append(current.get())
        receipt = context.boundary().commit(append=[])
        inside.append(current.get())
        return receipt

    receipt = run.does(take)
    traced = tracing.next_run()
    assert traced.boundaries == [(receipt, ["steerer"])]
    assert inside == [traced, traced]
    run.returns()
    result_of(handle)
    end = traced.end
    assert end.receipt is not None
    assert end.receipt.sequence == 1


# --- coroutines -------------------------------------------------------------------------


def test_a_coroutine_run_is_in_its_context_across_everything_it_awaits(
    path: Path, on_loop: OnLoop
) -> None:
    tracing, seen = Noted(), []

    async def behave(_called: Called, context: Any) -> None:
        seen.append(current.get())
        await context.boundary()
        await asyncio.sleep(0)
        seen.append(current.get())
        seen.append(await asyncio.create_task(child()))

    async def child() -> RunNoted | None:
        return current.get()

    async def main() -> None:
        async with running(path, AsyncAgent(behave), tracing=tracing) as plane:
            await plane.register("a")
            caller.set("task")
            sent = [plane.submit("a", prompt()) for _ in range(2)]
            for each in sent:
                await each.completion
            assert current.get() is None

    on_loop(main)
    for run in (tracing.next_run(), tracing.next_run()):
        assert run.callers == ["task"]
        assert [seen.pop(0) for _ in range(3)] == [run] * 3
        assert run.end.kind is RunEndKind.COMPLETED


def test_a_coroutine_run_that_is_cancelled_ends_as_that(path: Path, on_loop: OnLoop) -> None:
    tracing = Noted()
    begun_: list[asyncio.Event] = []

    async def behave(_called: Called, _context: Any) -> None:
        begun_[0].set()
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        begun_.append(asyncio.Event())
        async with running(path, AsyncAgent(behave), tracing=tracing) as plane:
            await plane.register("a")
            sent = plane.submit("a", prompt())
            await begun_[0].wait()
            assert await plane.interrupt("a", "now")
            await sent.completion

    on_loop(main)
    assert tracing.next_run().end.kind is RunEndKind.CANCELLED


# --- how runs end -----------------------------------------------------------------------


def test_a_run_of_an_executor_that_stops_is_requeued(open_plane: OpenPlane, tracing: Noted) -> None:
    def behave(_called: Called, _context: RunContext) -> None:
        raise ExecutorStopped

    plane = open_plane(Agent(behave), tracing=tracing)
    plane.register("a")
    called_by("one", lambda: plane.ingest("a", prompt()))
    assert tracing.next_run().end.kind is RunEndKind.REQUEUED
    plane.attach_executor("a", Agent())
    again = tracing.next_run()
    assert (again.callers, again.end.kind) == (["one"], RunEndKind.COMPLETED)


@pytest.mark.parametrize("how", ["stop_runtime", "destroy"])
def test_a_run_that_is_taken_out_of_hand_ends_fenced(
    open_plane: OpenPlane, tracing: Noted, how: str
) -> None:
    puppet = Puppet()
    plane = open_plane(puppet, tracing=tracing)
    plane.register("a")
    _, run = begun(plane, puppet)
    getattr(plane, how)("a")
    assert tracing.next_run().end.kind is RunEndKind.FENCED
    run.returns()
    assert carried(plane) == 0


def test_a_run_past_its_deadline_ends_failed(open_plane: OpenPlane, tracing: Noted) -> None:
    clock, puppet = FakeClock(), Puppet()
    plane = open_plane(puppet, tracing=tracing, clock=clock, run_deadline_s=5.0)
    plane.register("a")
    begun(plane, puppet)
    clock.advance(plane, 6.0)
    end = tracing.next_run().end
    assert (end.kind, end.error_type) == (RunEndKind.FAILED, "RunDeadline")


def test_a_run_whose_end_cannot_be_written_ends_uncommitted(
    path: Path, open_plane: OpenPlane
) -> None:
    tracing, puppet, disk = Noted(), Puppet(), BrokenOnce(SqliteStore(path))
    plane = open_plane(puppet, tracing=tracing, store=disk)
    plane.register("a")
    handle, run = begun(plane, puppet)
    disk.break_next()
    run.returns()
    assert tracing.next_run().end.kind is RunEndKind.UNCOMMITTED
    puppet.next_run().returns()
    result_of(handle)
    again = tracing.next_run()
    assert again.callers == ["nobody"]
    assert again.end.kind is RunEndKind.COMPLETED


@pytest.mark.parametrize("message", [m.RunEnded, m.Call])
def test_a_driver_that_fails_loses_no_end_of_a_run(
    open_plane: OpenPlane, tracing: Noted, plant: Plant, message: type
) -> None:
    puppet = Puppet()
    plane = open_plane(puppet, tracing=tracing, restart=RestartPolicy(drivers=at_once()))
    plane.register("a")
    handle, run = begun(plane, puppet)
    defect = plant("a", message=message)
    if message is m.RunEnded:
        run.returns()
    else:
        with pytest.raises(Exception, match="while handling"):
            plane.wake("a")
    assert tracing.next_run().end.kind is RunEndKind.FENCED
    assert tracing.notices.get(timeout=WAIT_S).kind is NoticeKind.RESTARTED
    defect.armed = False
    puppet.release()
    result_of(handle)
    assert tracing.next_run().end.kind is RunEndKind.COMPLETED


class Unreadable(StoreProxy):
    """A store that gives no session, for the next reason there is."""

    def __init__(self, inner: Any, *reasons: Exception) -> None:
        super().__init__(inner)
        self._reasons = list(reasons)

    def load_session_snapshot(self, runtime_id: Any) -> Any:
        if self._reasons:
            raise self._reasons.pop(0)
        return self.inner.load_session_snapshot(runtime_id)


@pytest.mark.parametrize(
    ("reason", "kind", "error_type"),
    [
        (StoreError("disk"), RunEndKind.POSTPONED, "StoreError"),
        (RecoveryCorruption("a row"), RunEndKind.FENCED, None),
    ],
    ids=["store", "row"],
)
def test_a_run_whose_session_cannot_be_read_ends_too(
    path: Path, open_plane: OpenPlane, reason: Exception, kind: RunEndKind, error_type: str | None
) -> None:
    tracing, store = Noted(), Unreadable(SqliteStore(path), reason)
    agent = Agent(lambda _called, context: context.messages and None)
    plane = open_plane(agent, tracing=tracing, store=store)
    plane.register("a")
    plane.ingest("a", prompt())
    end = tracing.next_run().end
    assert (end.kind, end.error_type) == (kind, error_type)


def test_a_run_whose_end_cannot_be_decided_ends_uncommitted(
    open_plane: OpenPlane, tracing: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide, refused = DriverActor.decide, []

    def refuse_once(driver: DriverActor, command: Any, *given: Any) -> Any:
        if isinstance(command, kernel.CompleteRun) and not refused:
            refused.append(command)
            raise ZeroDivisionError
        return decide(driver, command, *given)

    monkeypatch.setattr(DriverActor, "decide", refuse_once)
    plane = open_plane(Agent(), tracing=tracing, restart=RestartPolicy(drivers=at_once()))
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    end, again = tracing.next_run().end, tracing.next_run().end
    assert (end.kind, end.error_type) == (RunEndKind.UNCOMMITTED, "ZeroDivisionError")
    assert again.kind is RunEndKind.COMPLETED


def test_a_run_that_a_stop_leaves_behind_ends_all_the_same(
    open_plane: OpenPlane, tracing: Noted
) -> None:
    puppet = Puppet()
    plane = open_plane(puppet, tracing=tracing, grace_s=HUNG_S)
    plane.register("a")
    begun(plane, puppet)
    plane.stop(timeout=0)
    assert tracing.next_run().end.kind in (RunEndKind.FENCED, RunEndKind.CANCELLED)


# --- what is let go ---------------------------------------------------------------------


@pytest.mark.parametrize("end", ["reset", "destroy", "unregister", "retire", "stop_runtime"])
def test_nothing_is_carried_behind_the_end_of_an_input(
    open_plane: OpenPlane, tracing: Noted, end: str
) -> None:
    plane = open_plane(tracing=tracing)
    plane.register("a")
    plane.ingest("a", prompt())
    plane.ingest("a", progress())
    assert carried(plane) == 2
    getattr(plane, end)("a")
    assert carried(plane) == 0


def test_an_input_that_is_replaced_is_let_go(open_plane: OpenPlane, tracing: Noted) -> None:
    plane = open_plane(tracing=tracing)
    plane.register("a")
    for _ in range(3):
        plane.ingest("a", prompt(supersession_key="k"))
    assert carried(plane) == 1


def test_what_leaves_memory_is_let_go(open_plane: OpenPlane, tracing: Noted) -> None:
    clock = FakeClock()
    plane = open_plane(tracing=tracing, clock=clock)
    plane.register("a")
    plane.ingest("a", progress())
    assert carried(plane) == 1
    passivate(plane, clock, "a")
    assert carried(plane) == 0


class Offer(OfferNoted):
    def __init__(self) -> None:
        super().__init__(LogicalRuntimeId("a"), prompt())


def test_with_too_many_carried_the_oldest_are_let_go() -> None:
    traces, name = Traces(Noted(), carried_max=3), LogicalRuntimeId("a")
    ids = [InputId.new() for _ in range(5)]
    offers = [Offer() for _ in ids]
    for input_id, offer in zip(ids, offers, strict=True):
        traces.carry(name, input_id, offer)
    assert list(traces.offers_of(ids)) == offers[2:]
    traces.runtime_left(name)
    assert len(traces) == 0
    assert traces._of_runtime == {}


def test_of_one_input_offered_twice_the_first_offer_is_carried() -> None:
    traces, name, input_id = Traces(Noted()), LogicalRuntimeId("a"), InputId.new()
    first = Offer()
    traces.carry(name, input_id, first)
    traces.carry(name, input_id, Offer())
    assert traces.offers_of([input_id]) == (first,)
    traces.input_ended(input_id)
    traces.input_ended(input_id)
    assert traces.offers_of([input_id]) == ()
    assert traces._of_runtime == {}


# --- a tracing that fails ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        *((stage, RuntimeError("no")) for stage in Raising.STAGES),
        *((stage, SystemExit(3)) for stage in Raising.STAGES[1:]),  # not where the host calls
    ],
)
def test_a_tracing_that_raises_harms_nobody_and_is_logged_once(
    open_plane: OpenPlane, caplog: pytest.LogCaptureFixture, stage: str, error: BaseException
) -> None:
    tracing = Raising(stage, error)
    puppet = Puppet()
    plane = open_plane(puppet, tracing=tracing)
    plane.register("a")
    with caplog.at_level(logging.ERROR, "actors"):
        handle, run = begun(plane, puppet)
        plane.ingest("a", steered())
        run.does(lambda context: context.boundary().commit(append=[]))
        run.returns()
        assert result_of(handle).kind is CompletionKind.COMPLETED
    assert tracing.raised >= 1
    assert [record.message for record in caplog.records] == [
        "the tracing failed; what it raises from now on is not logged"
    ]


def test_a_tracing_that_raises_harms_no_coroutine(path: Path, on_loop: OnLoop) -> None:
    async def main() -> None:
        for stage in Raising.STAGES:
            raising = Raising(stage, RuntimeError("no"))
            plane = async_plane(path, AsyncAgent(), tracing=raising)
            async with plane:
                await plane.register("a")
                outcome = await plane.submit("a", prompt()).completion
                assert outcome.kind is CompletionKind.COMPLETED

    on_loop(main)


def test_what_is_no_tracing_is_refused() -> None:
    with pytest.raises(TypeError, match="tracing has offered"):
        ControlPlane(MemoryStore(), tracing=object()).start()  # type: ignore[arg-type]
