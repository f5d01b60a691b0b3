"""Coroutine runs share one loop: thousands at a time, with asyncio's tools, at no other's cost."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from coroutine_builders import (
    STRICT,
    AsyncAgent,
    Gate,
    noiseless,
    run_threads,
    said,
)
from plane_builders import (
    WAIT_S,
    OpenPlane,
    prompt,
    result_of,
    spoken,
    steered,
)
from plane_stores import StoreProxy

from meerkat import LogicalRuntimeId, RunOutput, StagedInput, WakeReason
from meerkat.conversation import MessageLog, SessionSnapshot
from meerkat.store import RuntimeStore, SqliteStore

pytestmark = STRICT

A = LogicalRuntimeId("a")
LOOP = "meerkat-run-loop"
RUNS = 2_000
FEW = 10


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless():
        yield


def test_two_thousand_runs_are_under_way_at_once_on_one_thread(open_plane: OpenPlane) -> None:
    gate, all_there, there = Gate(), threading.Event(), list[str]()

    async def executor(context: Any, primitive: StagedInput) -> RunOutput:
        there.append(str(context.runtime_id))
        if len(there) == RUNS:
            all_there.set()
        await gate.passed()
        return RunOutput(append=spoken(primitive), result=threading.current_thread().name)

    before = run_threads()
    plane = open_plane(executor, max_concurrent_runs=RUNS)
    names = [f"r{number}" for number in range(RUNS)]
    plane.register_many(names)
    submitted = [plane.submit(name, prompt("hi")) for name in names]
    assert all_there.wait(2 * WAIT_S)
    assert sorted(there) == sorted(names)
    running = [each.name for each in run_threads() - before if "-run-" in each.name]
    ended = [each for each in submitted if each.completion.done()]
    gate.open()
    assert {result_of(each.completion).result for each in submitted} == {LOOP}
    assert ended == []
    assert running.count(LOOP) == 1
    assert len(running) < FEW


# --- what asyncio offers, in an executor ------------------------------------------------

WHO: ContextVar[str] = ContextVar("who", default="nobody")


def test_runs_do_not_see_each_others_context_variables(open_plane: OpenPlane) -> None:
    async def sets(called: Any, _context: Any) -> RunOutput:
        before = WHO.get()
        WHO.set(called.text)
        there.append(called.text)
        if len(there) == 3:
            gate.open()
        await gate.passed()
        return RunOutput(result=[before, WHO.get(), await asyncio.to_thread(WHO.get)])

    gate, there = Gate(), list[str]()
    plane = open_plane(AsyncAgent(sets))
    plane.register_many([*"abc"])
    submitted = [plane.submit(name, prompt(name)) for name in "abc"]
    results = [result_of(each.completion).result for each in submitted]
    assert results == [["nobody", name, name] for name in "abc"]


async def in_a_thread(_context: Any) -> Any:
    return await asyncio.to_thread(lambda: threading.current_thread().name != LOOP)


async def in_a_group(_context: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
    return [task.result() for task in tasks]


async def out_of_time(_context: Any) -> Any:
    try:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()
    except TimeoutError:
        return "out of time"


async def out_of_time_in_a_wait(context: Any) -> Any:
    try:
        async with asyncio.timeout(0.001):
            await context.wait(WAIT_S)
    except TimeoutError:
        return [str(await context.wait(0)), context.attention.waits]


async def whichever_is_first(context: Any) -> Any:
    """The wait is a task of its own beside the work, and is dropped when that is done."""
    work, wait = asyncio.create_task(asyncio.sleep(0, "work")), asyncio.create_task(waits(context))
    done, left = await asyncio.wait({work, wait}, return_when=asyncio.FIRST_COMPLETED)
    wait.cancel()
    await asyncio.wait(left)
    return [task.result() for task in done]


async def waits(context: Any) -> Any:
    return await context.wait(WAIT_S)


TOOLS = {
    in_a_thread: True,
    in_a_group: [0, 1, 2],
    out_of_time: "out of time",
    out_of_time_in_a_wait: ["timeout", False],
    whichever_is_first: ["work"],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_asyncio_offers_works(open_plane: OpenPlane, tool: Any) -> None:
    async def uses(_called: Any, context: Any) -> RunOutput:
        return RunOutput(result=await tool(context))

    plane = open_plane(AsyncAgent(uses))
    plane.register("a")
    ended = result_of(plane.submit("a", prompt()).completion)
    assert ended.result == TOOLS[tool], ended.error


# --- what a run costs the others --------------------------------------------------------


class Reads(StoreProxy):
    """A store that counts its readers of sessions, and keeps those of one waiting."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.reads = 0
        self.slow = False
        self.go_on = threading.Event()
        self.waits = threading.Event()

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        self.reads += 1
        if runtime_id == A and self.slow:
            self.waits.set()
            self.go_on.wait(WAIT_S)
        snapshot: SessionSnapshot | None = self.inner.load_session_snapshot(runtime_id)
        return snapshot


def test_a_slow_read_of_one_session_holds_no_other_run_up(
    open_plane: OpenPlane, path: Path
) -> None:
    store = Reads(SqliteStore(path))
    plane = open_plane(AsyncAgent(), store=store)
    plane.register_many([*"ab"])
    store.slow = True
    slow = plane.submit("a", prompt("slow"))
    assert store.waits.wait(WAIT_S)
    try:
        for text in ("1", "2"):
            assert result_of(plane.submit("b", prompt(text)).completion).result == f"re: {text}"
        assert not slow.completion.done()
    finally:
        store.go_on.set()
    assert result_of(slow.completion).result == "re: slow"


@pytest.mark.parametrize("form", ["append", "messages"])
def test_a_run_reads_its_session_once_whatever_it_does(
    open_plane: OpenPlane, path: Path, form: str
) -> None:
    """What it reads later it would read on the loop, which thousands of runs share."""

    async def looks_and_commits(_called: Any, context: Any) -> RunOutput:
        assert await context.wait(WAIT_S) is WakeReason.STEERED
        boundary = await context.boundary()
        await boundary.commit(**{form: [*kept(context), said("half")]})
        assert context.snapshot is None
        return RunOutput(**{form: [*kept(context), said("end")]})

    def kept(context: Any) -> Any:
        return context.messages if form == "messages" else []

    store = Reads(SqliteStore(path))
    plane = open_plane(AsyncAgent(), store=store)
    plane.register("a")
    result_of(plane.submit("a", prompt("1")).completion)
    plane.attach_executor("a", AsyncAgent(looks_and_commits))
    before = store.reads
    submitted = plane.submit("a", prompt("2"))
    result_of(plane.submit("a", steered()).accepted)
    assert result_of(submitted.completion).error is None
    assert store.reads == before + 1


def test_between_two_runs_no_session_is_kept_in_memory(open_plane: OpenPlane) -> None:
    before = kept_logs()
    for text in ("before a restart", "after it"):
        plane = open_plane(AsyncAgent())
        plane.register_many([*"abc"])
        for name in "abc":
            result_of(plane.submit(name, prompt(text)).completion)
            plane.runtime_state(name)  # the end of the run has been taken in
        assert [log.message_count for log in kept_logs() if log not in before] == []
        plane.stop()


def kept_logs() -> list[MessageLog]:
    gc.collect()
    logs = [each for each in gc.get_objects() if isinstance(each, MessageLog)]
    return [log for log in logs if log.message_count]
