"""Coroutine runs that do not end when they are told to: shown, fenced, and gone on without."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from coroutine_builders import STRICT, AsyncAgent, AsyncPuppet, Gate, noiseless
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    code_of,
    decided,
    error_of,
    events_until,
    logged,
    prompt,
    result_of,
    steered,
)

from actors import ControlPlane
from meerkat import InputPhase, RunOutput, RuntimeState, WakeReason
from meerkat.errors import ApplyFailed, ExecutorStopped, RunCancelled
from meerkat.outcomes import CompletionKind

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless():
        yield


class Deaf(AsyncAgent):
    """An executor that goes on waiting when it is cancelled, until its gate opens."""

    def __init__(self, ending: Any = None) -> None:
        super().__init__(self._waits_on)
        self.heard = threading.Event()
        self.gate = Gate()
        self._ending = ending

    async def _waits_on(self, _called: Any, context: Any) -> RunOutput | None:
        while True:
            try:
                await self.does_not_listen()
            except asyncio.CancelledError:
                self.heard.set()
                continue
            break
        if isinstance(self._ending, Exception):
            raise self._ending
        return None

    async def does_not_listen(self) -> None:
        await self.gate.passed()

    def release(self) -> None:
        super().release()
        self.gate.open()


LATE = {
    "succeeded": None,
    "failed": ApplyFailed("late"),
    "stopped": ExecutorStopped(),
}


@pytest.mark.parametrize("late", LATE)
def test_a_run_that_swallows_its_cancellation_is_gone_on_without(
    open_plane: OpenPlane, late: str
) -> None:
    deaf, clock, heeds = Deaf(LATE[late]), FakeClock(), Agent()
    plane = open_plane(deaf, clock=clock, grace_s=5.0, max_concurrent_runs=1)
    plane.register("a")
    submitted, waits = (plane.submit("a", prompt(text)) for text in ("deaf", "next"))
    run_id = deaf.next_call().run_id
    plane.attach_executor("a", heeds)
    with plane.subscribe("a") as events:
        assert plane.interrupt("a", "now") is True
        assert deaf.heard.wait(WAIT_S)
        assert not submitted.completion.done()  # it has its grace
        clock.advance(plane, 5.0)
        assert result_of(submitted.completion).kind is CompletionKind.CANCELLED
        assert result_of(waits.completion).result == "re: next"
        told = events_until(events, "run.progress")[-1].event
    assert told.run_id == run_id
    assert told.detail.startswith("it did not return in time; the runtime goes on without it\n")
    awaits = [line.strip() for line in told.detail.splitlines()]
    order = [
        awaits.index(line)
        for line in (
            "await self.does_not_listen()",
            "await self.gate.passed()",
            "await asyncio.wrap_future(self._opened)",
        )
    ]
    assert order == sorted(order)
    with plane.subscribe("a") as events, logged("late result refused") as refused:
        deaf.release()
        assert refused.wait(WAIT_S)
        decided(plane, "a")
        told = events_until(events, "run.progress")[-1].event
    assert (told.run_id, told.detail) == (run_id, f"late result refused: it had {late}")
    assert plane.load_boundary_receipt("a", run_id, 0) is None
    assert plane.executor_ready("a")
    state = plane.input_state("a", result_of(submitted.accepted).input_id)
    assert state is not None
    assert state.phase is InputPhase.ABANDONED


@pytest.mark.parametrize("where", ["boundary", "wait"])
def test_the_grace_of_an_interrupt_after_the_boundary_begins_where_the_run_learns_of_it(
    open_plane: OpenPlane, where: str
) -> None:
    puppet, clock = AsyncPuppet(), FakeClock()
    plane = open_plane(puppet, clock=clock, grace_s=5.0)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    run = puppet.next_run()
    plane.interrupt("a", "after_boundary")
    clock.advance(plane, 500.0)
    told = run.asks(lambda context: context.wait(0) if where == "wait" else context.boundary())
    assert isinstance(error_of(told), RunCancelled)
    clock.advance(plane, 4.0)
    decided(plane, "a")
    assert not submitted.completion.done()
    assert not run.context.cancelled.is_set()
    clock.advance(plane, 1.0)
    assert result_of(submitted.completion).kind is CompletionKind.CANCELLED
    assert run.context.cancelled.wait(WAIT_S)


ENDS = {"stop_runtime": RuntimeState.STOPPED, "destroy": RuntimeState.DESTROYED}


@pytest.mark.parametrize("end", ENDS)
def test_a_runtime_that_ends_cancels_its_coroutine(open_plane: OpenPlane, end: str) -> None:
    deaf = Deaf()
    plane = open_plane(deaf)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    deaf.next_call()
    assert getattr(plane, end)("a").inputs_abandoned == 1
    assert deaf.heard.wait(WAIT_S)
    assert result_of(submitted.completion).kind is CompletionKind.RUNTIME_TERMINATED
    with logged("late result refused") as refused:
        deaf.release()
        assert refused.wait(WAIT_S)
    assert plane.runtime_state("a") is ENDS[end]


def test_what_ends_as_it_was_told_is_no_late_result(open_plane: OpenPlane) -> None:
    puppet = AsyncPuppet()
    plane = open_plane(puppet)
    plane.register("a")
    with plane.subscribe("a") as events:
        plane.submit("a", prompt())
        run = puppet.next_run()
        told = run.awaits(lambda _: asyncio.Event().wait())
        plane.stop_runtime("a")
        assert isinstance(error_of(told), asyncio.CancelledError)
        run.raises(asyncio.CancelledError())
        plane.stop()
        codes = [str(each.event.code) for each in events]
    assert "run.progress" not in codes


# --- shown ------------------------------------------------------------------------------


def shown(plane: ControlPlane, clock: FakeClock) -> str:
    """What the watch says of runtime "a", whose run has given no sign for two minutes."""
    with plane.subscribe("a") as events:
        clock.advance(plane, 120.0)
        detail: str = events_until(events, "run.progress")[-1].event.detail
    return detail


def test_a_run_that_holds_the_loop_up_is_shown_with_the_line_that_blocks(
    open_plane: OpenPlane,
) -> None:
    blocks, go_on = threading.Event(), threading.Event()

    async def blocking(_called: Any, _context: Any) -> None:
        blocks.set()
        assert go_on.wait(WAIT_S)

    clock = FakeClock()
    plane = open_plane(AsyncAgent(blocking), clock=clock, stuck_after_s=120.0)
    plane.register_many([*"ab"])
    submitted = plane.submit("a", prompt())
    assert blocks.wait(WAIT_S)
    beside = plane.submit("b", prompt())
    assert result_of(beside.accepted).is_accepted
    try:
        detail = shown(plane, clock)
    finally:
        go_on.set()
    assert detail.startswith("no sign for 120 s\n")
    assert "assert go_on.wait(WAIT_S)" in detail
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
    assert result_of(beside.completion).kind is CompletionKind.COMPLETED


def test_a_run_that_awaits_something_else_is_shown_where_it_awaits(open_plane: OpenPlane) -> None:
    gate, clock, puppet = Gate(), FakeClock(), AsyncPuppet()

    async def asks_the_model(_context: Any) -> None:
        await gate.passed()

    plane = open_plane(puppet, clock=clock, stuck_after_s=120.0)
    plane.register("a")
    plane.submit("a", prompt())
    run = puppet.next_run()
    asked = run.awaits(asks_the_model)
    detail = shown(plane, clock)
    assert detail.startswith("no sign for 120 s\n")
    lines = [line.strip() for line in detail.splitlines()]
    calls = ("return await run.perform()", "await gate.passed()")
    assert [lines.index(line) for line in calls] == sorted(map(lines.index, calls))
    assert "in asks_the_model" in detail
    gate.open()
    assert error_of(asked) is None


def test_a_run_that_waits_by_its_own_will_or_gives_signs_is_not_shown(
    open_plane: OpenPlane,
) -> None:
    puppet, clock = AsyncPuppet(), FakeClock()
    plane = open_plane(puppet, clock=clock, stuck_after_s=120.0)
    plane.register("a")
    plane.submit("a", prompt())
    run = puppet.next_run()
    with plane.subscribe("a") as events:
        told = run.awaits(lambda context: context.wait(WAIT_S))
        for _ in range(10):
            clock.advance(plane, 60.0)
        plane.ingest("a", steered(), timeout=WAIT_S)
        assert result_of(told) is WakeReason.STEERED
        for _ in range(10):
            clock.advance(plane, 60.0)
            run.does(lambda context: context.progress("a sign"))
        details = [
            each.event.detail
            for each in events_until(events, "run.progress", times=10)
            if code_of(each) == "run.progress"
        ]
    assert details == ["a sign"] * 10


# --- the deadline -----------------------------------------------------------------------


def test_a_run_deadline_cancels_the_run_and_counts_the_attempt(open_plane: OpenPlane) -> None:
    puppet, clock = AsyncPuppet(), FakeClock()
    plane = open_plane(puppet, clock=clock, run_deadline_s=60.0, grace_s=5.0)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    for attempt in (1, 2, 3):
        while len(puppet.calls) < attempt:
            clock.advance(plane, 0.001)  # the back-off
        run = puppet.next_run()
        assert run.called.attempt == attempt
        cut_off = run.awaits(lambda _: asyncio.Event().wait())
        clock.advance(plane, 60.0)
        assert isinstance(error_of(cut_off), asyncio.CancelledError)
        assert run.context.cancelled.is_set()
        run.raises(asyncio.CancelledError())
    ended = result_of(submitted.completion)
    assert (ended.reason, ended.error) == (
        "max_attempts_exhausted",
        "the run deadline of 60.0 s was reached",
    )


def test_a_run_that_ends_in_time_hears_of_no_deadline(open_plane: OpenPlane) -> None:
    agent, clock = AsyncAgent(), FakeClock()
    plane = open_plane(agent, clock=clock, run_deadline_s=60.0)
    plane.register("a")
    for text in ("1", "2"):
        assert result_of(plane.submit("a", prompt(text)).completion).result == f"re: {text}"
        clock.advance(plane, 60.0)
    assert [called.attempt for called in agent.calls] == [1, 1]
