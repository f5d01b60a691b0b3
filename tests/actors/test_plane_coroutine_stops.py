"""Stopping with coroutine executors: a plane, whose loop goes with it, and one runtime."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from coroutine_builders import STRICT, AsyncAgent, AsyncPuppet, Gate, noiseless, threads_gone
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    OpenPlane,
    error_of,
    logged,
    prompt,
    result_of,
    system_of,
    tell,
)

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import InputPhase, RuntimeState
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless(), threads_gone():
        yield


# --- of a plane -------------------------------------------------------------------------


def test_ten_planes_in_a_row_leave_no_thread(open_plane: OpenPlane) -> None:
    store = MemoryStore()
    for number in range(10):
        with threads_gone():
            agent = AsyncAgent()
            plane = open_plane(agent, store=store)
            plane.register("a")
            assert result_of(plane.submit("a", prompt(f"{number}")).completion).result
            plane.stop()


def test_one_plane_that_is_started_ten_times_has_a_loop_each_time(path: Path) -> None:
    plane = ControlPlane(MemoryStore(), AsyncAgent())
    for number in range(10):
        with threads_gone(), plane:
            plane.register("a")
            ended = result_of(plane.submit("a", prompt(f"{number}")).completion)
            assert ended.result == f"re: {number}"


def test_a_stop_that_drains_runs_all_that_waits(open_plane: OpenPlane) -> None:
    agent = AsyncAgent(held=True)
    plane = open_plane(agent, max_concurrent_runs=2)
    plane.register_many([*"abc"])
    submitted = [plane.submit(name, prompt(text)) for name in "abc" for text in ("1", "2")]
    agent.next_call()
    agent.release()
    plane.stop(drain=True, timeout=WAIT_S)
    kinds = {each.completion.result(0).kind for each in submitted}
    assert kinds == {CompletionKind.COMPLETED}


def test_a_stop_lets_the_runs_in_hand_end(open_plane: OpenPlane) -> None:
    agent = AsyncAgent(held=True)
    plane = open_plane(agent)
    plane.register("a")
    first, second = (plane.submit("a", prompt(text)) for text in ("1", "2"))
    agent.next_call()
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(plane.stop)
        assert system_refuses(plane)
        agent.release()
        result_of(stopping)
    assert result_of(first.completion).result == "re: 1"
    assert result_of(second.completion).reason == "control plane stopped"
    assert agent.texts == ["1"]


def system_refuses(plane: ControlPlane) -> bool:
    while not system_of(plane).calls._refusing:
        pass
    return True


def test_a_stop_cancels_the_runs_that_wait_and_their_work_costs_no_attempt(
    open_plane: OpenPlane,
) -> None:
    puppet = AsyncPuppet()
    plane = open_plane(puppet, grace_s=WAIT_S)
    plane.register_many([*"ab"])
    submitted = [plane.submit(name, prompt()) for name in "ab"]
    runs = [puppet.next_run(), puppet.next_run()]
    waits = runs[0].awaits(lambda context: context.wait(WAIT_S))
    other = runs[1].awaits(lambda _: asyncio.Event().wait())
    for run in runs:
        run.raises(asyncio.CancelledError())
    plane.stop(timeout=0)
    assert isinstance(error_of(waits), asyncio.CancelledError)
    assert isinstance(error_of(other), asyncio.CancelledError)
    again = open_plane()
    for name, each in zip("ab", submitted, strict=True):
        assert result_of(each.completion).reason == "control plane stopped"
        state = again.input_state(name, result_of(each.accepted).input_id)
        assert state is not None
        assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)


@pytest.mark.parametrize("how", ["awaits on", "blocks"])
def test_a_stop_with_a_run_that_never_ends_returns_and_its_work_is_taken_up(
    open_plane: OpenPlane, how: str
) -> None:
    gate, go_on, goes_on = Gate(), threading.Event(), threading.Event()

    async def never_ends(_called: Any, _context: Any) -> None:
        goes_on.set()
        if how == "blocks":
            go_on.wait(WAIT_S)
        try:
            await gate.passed()
        except asyncio.CancelledError:
            await gate.passed()

    agent = AsyncAgent(never_ends)
    plane = open_plane(agent, grace_s=HUNG_S)
    plane.register("a")
    submitted = plane.submit("a", prompt("again"))
    assert goes_on.wait(WAIT_S)
    plane.stop(timeout=0)
    assert result_of(submitted.completion).reason == "control plane stopped"
    again = open_plane(Agent())
    input_id = result_of(submitted.accepted).input_id
    assert result_of(again.completion("a", input_id)).result == "re: again"
    go_on.set()
    gate.open()


# --- the stop hook ----------------------------------------------------------------------


class AsyncHooked(AsyncAgent):
    """A coroutine executor object with a stop hook, which is a coroutine function too."""

    def __init__(self, hook: Any = None) -> None:
        super().__init__()
        self._hook = hook
        self.stops: list[tuple[str, str]] = []
        self.in_hook = threading.Event()

    async def apply(self, context: Any, primitive: Any) -> Any:
        return await self(context, primitive)

    async def stop(self, runtime_id: Any) -> None:
        self.stops.append((str(runtime_id), threading.current_thread().name))
        self.in_hook.set()
        await asyncio.sleep(0)
        if self._hook is not None:
            await self._hook()


def test_lop_10_an_async_stop_hook_is_called_on_the_loop_before_the_runtime_stops(
    open_plane: OpenPlane,
) -> None:
    gate = Gate()
    agent = AsyncHooked(gate.passed)
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register("a")
    stopping = tell(plane, "a", m.StopRuntime(Reply()))
    assert agent.in_hook.wait(WAIT_S)
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    gate.open()
    assert result_of(stopping).inputs_abandoned == 0
    assert plane.runtime_state("a") is RuntimeState.STOPPED
    assert agent.stops == [("a", "meerkat-run-loop")]


async def raises() -> None:
    raise ValueError("no")


async def leaves() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("hook", [raises, leaves])
def test_an_async_stop_hook_that_fails_stops_the_runtime_all_the_same(
    open_plane: OpenPlane, hook: Any
) -> None:
    agent = AsyncHooked(hook)
    plane = open_plane(agent, grace_s=3 * WAIT_S)
    plane.register_many([*"ab"])
    with logged("stop hook failed") as failed:
        assert plane.stop_runtime("a", timeout=WAIT_S).inputs_abandoned == 0
        assert failed.is_set()
    assert plane.runtime_state("a") is RuntimeState.STOPPED
    assert result_of(plane.submit("b", prompt("go on")).completion).result == "re: go on"


@pytest.mark.parametrize("deaf", [False, True])
def test_an_async_stop_hook_that_hangs_has_its_grace(open_plane: OpenPlane, deaf: bool) -> None:
    gate = Gate()

    async def hangs() -> None:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            if deaf:
                await gate.passed()
            raise

    agent = AsyncHooked(hangs)
    plane = open_plane(agent, grace_s=HUNG_S)
    plane.register_many([*"ab"])
    assert plane.stop_runtime("a", timeout=WAIT_S).inputs_abandoned == 0
    assert plane.runtime_state("a") is RuntimeState.STOPPED
    assert result_of(plane.submit("b", prompt("go on")).completion).result == "re: go on"
    plane.stop()
    gate.open()
