"""Bad coroutine executors: whatever they raise or return, their runtime and the loop go on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coroutine_builders import STRICT, AsyncAgent, AsyncPuppet, noiseless
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    code_of,
    error_of,
    events_until,
    logged,
    prompt,
    result_of,
)
from plane_stores import StoreProxy

from meerkat import InputPhase, LogicalRuntimeId, RunOutput, RuntimeState
from meerkat.conversation import SessionSnapshot
from meerkat.errors import ApplyFailed, ExecutorStopped, RunCancelled, StoreError
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind
from meerkat.store import RuntimeStore, SqliteStore

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless():
        yield


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


class LeavesWhenAsked(Exception):
    def __str__(self) -> str:
        raise SystemExit


class WithoutReason(ApplyFailed):
    def __init__(self) -> None:
        super().__init__("x")

    @property
    def reason(self) -> str:
        raise SystemExit

    @reason.setter
    def reason(self, _reason: str) -> None:
        pass


def raising(error: BaseException) -> Any:
    async def behave(*_: Any) -> None:
        await asyncio.sleep(0)
        raise error

    return behave


async def cancels_itself(*_: Any) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def awaits_what_it_has_cancelled(*_: Any) -> None:
    task = asyncio.create_task(asyncio.Event().wait())
    task.cancel()
    await task


async def has_a_group_that_fails(*_: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(WAIT_S))
        group.create_task(raising(ValueError("in a child"))())


async def is_out_of_time(*_: Any) -> None:
    async with asyncio.timeout(0):
        await asyncio.sleep(WAIT_S)


async def runs_a_loop_in_the_loop(*_: Any) -> None:
    nothing = asyncio.sleep(0)
    try:
        asyncio.run(nothing)
    finally:
        nothing.close()


FAILED: dict[str, tuple[Any, str]] = {
    "ValueError: bad seat": (raising(ValueError("bad seat")), "ValueError: bad seat"),
    "ValueError": (raising(ValueError()), "ValueError"),
    "told so": (raising(ApplyFailed("told so")), "told so"),
    "SystemExit": (raising(SystemExit(3)), "SystemExit: 3"),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "GeneratorExit": (raising(GeneratorExit()), "GeneratorExit"),
    "StopIteration": (raising(StopIteration(1)), "RuntimeError: coroutine raised StopIteration"),
    "CancelledError": (raising(asyncio.CancelledError()), "CancelledError"),
    "cancels itself": (cancels_itself, "CancelledError"),
    "awaits what it has cancelled": (awaits_what_it_has_cancelled, "CancelledError"),
    "a group that fails": (has_a_group_that_fails, "ExceptionGroup: unhandled errors"),
    "out of time": (is_out_of_time, "TimeoutError"),
    "a loop in the loop": (runs_a_loop_in_the_loop, "RuntimeError: asyncio.run() cannot be"),
    "no text": (raising(Unprintable()), "Unprintable: its text cannot be had"),
    "a text that leaves": (raising(LeavesWhenAsked()), "LeavesWhenAsked: its text cannot be had"),
    "no reason": (raising(WithoutReason()), "SystemExit while its error was read"),
    "a lone surrogate": (raising(ValueError("\ud800")), "ValueError: \\ud800"),
}


def says(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


async def nothing() -> None:
    pass


RETURNED: dict[str, tuple[Any, str]] = {
    "text": (lambda: "done", "RunOutput, not str"),
    "a coroutine": (nothing, "RunOutput, not coroutine"),
    "a future": (lambda: asyncio.get_running_loop().create_future(), "RunOutput, not Future"),
    "NaN": (lambda: RunOutput(append=says(math.nan)), "NaN"),
    "an object": (lambda: RunOutput(messages=says(object())), "object is not a JSON value"),
    "two of three": (lambda: RunOutput(append=[], snapshot=b""), "one of append, messages"),
}


def returning(make: Any) -> Any:
    async def behave(*_: Any) -> Any:
        return make()

    return behave


BAD = {**FAILED, **{name: (returning(make), text) for name, (make, text) in RETURNED.items()}}


@pytest.mark.parametrize("name", BAD)
def test_what_a_coroutine_raises_or_returns_is_a_failed_attempt(
    open_plane: OpenPlane, name: str
) -> None:
    """Three attempts, an end that says why, and a runtime and a loop that go on."""
    bad, text = BAD[name]

    async def behave(called: Any, context: Any) -> Any:
        return await bad(called, context) if called.text == "bad" else None

    agent = AsyncAgent(behave)
    plane = open_plane(agent)
    plane.register_many(["a", "b"])
    submitted = plane.submit("a", prompt("bad"))
    good, other = plane.submit("a", prompt("good")), plane.submit("b", prompt("other"))
    ended = result_of(submitted.completion)
    assert ended.kind is CompletionKind.ABANDONED
    assert ended.reason == "max_attempts_exhausted"
    assert text in (ended.error or "")
    assert result_of(good.completion).result == "re: good"
    assert result_of(other.completion).result == "re: other"
    assert agent.texts.count("bad") == 3


def test_a_failure_that_is_not_recoverable_is_the_last(open_plane: OpenPlane) -> None:
    agent = AsyncAgent(raising(ApplyFailed("for good", recoverable=False)))
    plane = open_plane(agent)
    plane.register("a")
    ended = result_of(plane.submit("a", prompt()).completion)
    assert (ended.kind, ended.error) == (CompletionKind.ABANDONED, "for good")
    assert len(agent.calls) == 1


def test_run_cancelled_ends_the_run_as_cancelled(open_plane: OpenPlane) -> None:
    agent = AsyncAgent(raising(RunCancelled()))
    plane = open_plane(agent)
    plane.register("a")
    assert result_of(plane.submit("a", prompt()).completion).kind is CompletionKind.CANCELLED
    assert len(agent.calls) == 1


def test_an_executor_that_stopped_is_detached_and_its_work_costs_no_attempt(
    open_plane: OpenPlane,
) -> None:
    plane = open_plane(AsyncAgent(raising(ExecutorStopped())))
    plane.register("a")
    submitted = plane.submit("a", prompt("again"))
    while plane.executor_ready("a"):
        pass
    assert plane.runtime_state("a") is RuntimeState.IDLE
    state = plane.input_state("a", result_of(submitted.accepted).input_id)
    assert state is not None
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)
    second = AsyncAgent()
    plane.attach_executor("a", second)
    assert result_of(submitted.completion).result == "re: again"
    assert [called.attempt for called in second.calls] == [1]


# --- the store's fault ------------------------------------------------------------------


class UnreadableSessions(StoreProxy):
    """A store that cannot read a session a few times, and in the end it can."""

    def __init__(self, inner: RuntimeStore, refusals: int) -> None:
        super().__init__(inner)
        self.refusals = refusals

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        if self.refusals:
            self.refusals -= 1
            raise StoreError("disk trouble")
        snapshot: SessionSnapshot | None = self.inner.load_session_snapshot(runtime_id)
        return snapshot


@pytest.mark.parametrize("make", [Agent, AsyncAgent])
def test_a_session_that_cannot_be_read_is_no_failure_of_the_executor(
    open_plane: OpenPlane, path: Path, make: Any
) -> None:
    """More refusals than an input may fail: it is run all the same."""
    store = UnreadableSessions(SqliteStore(path), 5)
    plane = open_plane(make(), store=store, backoff=Backoff(base_s=0.0))
    plane.register("a")
    with plane.subscribe("a") as events:
        submitted = plane.submit("a", prompt("hi"))
        assert result_of(submitted.completion).result == "re: hi"
        codes = {code_of(each) for each in events_until(events, "run.completed")}
    assert "run.failed" not in codes
    state = plane.input_state("a", result_of(submitted.accepted).input_id)
    assert state is not None
    assert state.phase is InputPhase.CONSUMED


def test_an_executor_that_was_never_called_has_not_used_up_an_attempt(
    open_plane: OpenPlane, path: Path
) -> None:
    """More refusals than a process may crash: what has not been tried is not given up."""
    agent = AsyncAgent()
    store = UnreadableSessions(SqliteStore(path), 12)
    plane = open_plane(agent, store=store, backoff=Backoff(base_s=0.0))
    plane.register("a")
    assert result_of(plane.submit("a", prompt("hi")).completion).result == "re: hi"
    assert [called.attempt for called in agent.calls] == [1]


# --- tasks of the host's ----------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_task_of_the_hosts_that_leaves_does_not_end_the_loop(
    open_plane: OpenPlane, error: BaseException
) -> None:
    puppet = AsyncPuppet()
    plane = open_plane(puppet)
    plane.register_many([*"ab"])
    submitted = [plane.submit(name, prompt(name)) for name in "ab"]
    one, other = puppet.next_run(), puppet.next_run()
    waits = other.awaits(lambda context: context.wait(WAIT_S))

    async def leave() -> None:
        raise error

    tasks: list[asyncio.Task[None]] = []
    with logged("a task of the host's broke out of the event loop") as broke_out:
        one.does(lambda _: tasks.append(asyncio.get_running_loop().create_task(leave())))
        assert broke_out.wait(WAIT_S)
    assert one.does(lambda _: tasks[0].exception()) is error
    assert plane.interrupt(str(other.called.runtime_id), "after_boundary")
    assert isinstance(error_of(waits), RunCancelled)
    one.returns()
    other.returns()
    assert {result_of(each.completion).result for each in submitted} == {"re: a", "re: b"}


def test_a_host_that_stops_the_loop_stops_nothing(open_plane: OpenPlane) -> None:
    puppet = AsyncPuppet()
    plane = open_plane(puppet)
    plane.register("a")
    submitted = plane.submit("a", prompt("hi"))
    run = puppet.next_run()
    run.does(lambda _: asyncio.get_running_loop().stop())
    run.does(lambda _: asyncio.sleep(0))
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        run.does(lambda _: asyncio.get_running_loop().close())
    run.returns()
    assert result_of(submitted.completion).result == "re: hi"
