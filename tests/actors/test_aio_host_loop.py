"""Coroutine executors on the host's own loop: beside what is the host's, which goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aio_builders import LOOPS, OnLoop, async_plane, begun, cancelled, performed, running, soon
from coroutine_builders import STRICT, AsyncAgent, threads_gone
from plane_builders import WAIT_S, Agent, logged, prompt, result_of, spoken

from actors import ControlPlane
from actors.run_loop import RunLoop
from meerkat import InputPhase, RunOutput, RuntimeState
from meerkat.errors import LoopClosed
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with threads_gone():
        yield


class Recorder(AsyncAgent):
    """Notes the loop of each run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(self._note, **settings)
        self.loops: list[asyncio.AbstractEventLoop] = []

    async def _note(self, _called: Any, _context: Any) -> None:
        self.loops.append(asyncio.get_running_loop())


def test_a_run_is_on_the_loop_that_the_plane_was_started_on(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        agent = Recorder()
        async with running(path, agent) as plane:
            await soon(plane.submit("a", prompt()).completion)
        assert agent.loops == [asyncio.get_running_loop()]

    on_loop(main)


def test_a_run_is_on_a_loop_of_the_planes_own_if_the_host_says_so(
    on_loop: OnLoop, path: Path
) -> None:
    async def main() -> None:
        agent = Recorder()
        async with running(path, agent, loop=None) as plane:
            await soon(plane.submit("a", prompt()).completion)
        assert len(agent.loops) == 1
        assert agent.loops[0] is not asyncio.get_running_loop()

    on_loop(main)


def test_a_run_uses_what_is_bound_to_the_hosts_loop(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        asked: asyncio.Queue[tuple[str, asyncio.Future[str]]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def client(text: str) -> str:
            answer: asyncio.Future[str] = loop.create_future()
            await asked.put((text, answer))
            return await answer

        async def agent(_context: Any, primitive: Any) -> RunOutput:
            return RunOutput(append=spoken(primitive), result=await client(primitive.text))

        async def server() -> None:
            while True:
                text, answer = await asked.get()
                answer.set_result(text.upper())

        serving = loop.create_task(server())
        async with running(path, agent) as plane:
            handles = [plane.submit("a", prompt(text)).completion for text in ("hi", "there")]
            assert [(await soon(each)).result for each in handles] == ["HI", "THERE"]
        assert not serving.done()  # it is the host's
        await cancelled(serving)

    on_loop(main)


def test_a_stop_cancels_the_runs_and_nothing_of_the_hosts(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        in_run, cancels = asyncio.Event(), list[str]()

        async def agent(_context: Any, _primitive: Any) -> RunOutput:
            in_run.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels.append("run")
                raise
            raise AssertionError

        async def hosts() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels.append("host")
                raise

        host = await begun(hosts())
        plane = await async_plane(path, agent).start()
        await plane.register("a")
        handle = plane.submit("a", prompt()).completion
        await in_run.wait()
        await soon(plane.stop(timeout=0))
        assert (await handle).kind is CompletionKind.RUNTIME_TERMINATED
        assert cancels == ["run"]
        await cancelled(host)

    on_loop(main)


def test_a_run_that_goes_on_when_it_is_cancelled_holds_up_no_stop(
    on_loop: OnLoop, path: Path
) -> None:
    async def main() -> None:
        in_run, go_on = asyncio.Event(), asyncio.Event()

        async def agent(_context: Any, primitive: Any) -> RunOutput:
            in_run.set()
            while not go_on.is_set():
                try:
                    await go_on.wait()
                except asyncio.CancelledError:
                    continue
            return RunOutput(append=spoken(primitive))

        async with running(path, agent, grace_s=0.05) as plane:
            plane.submit("a", prompt())
            await in_run.wait()
            with logged("coroutines did not end when they were cancelled") as told:
                await soon(plane.stop(timeout=0))
            assert told.is_set()
        go_on.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})

    on_loop(main)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError()])
def test_what_a_run_lets_through_does_not_reach_the_hosts_loop(
    on_loop: OnLoop, path: Path, error: BaseException
) -> None:
    async def main() -> None:
        async def agent(_context: Any, _primitive: Any) -> RunOutput:
            raise error

        async with running(path, agent) as plane:
            ended = await soon(plane.submit("a", prompt()).completion)
            assert ended.kind is CompletionKind.ABANDONED

    on_loop(main)


def test_an_interrupted_run_is_cancelled_where_it_awaits(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        in_run = asyncio.Event()

        async def agent(_context: Any, _primitive: Any) -> RunOutput:
            in_run.set()
            await asyncio.Event().wait()
            raise AssertionError

        async with running(path, agent) as plane:
            handle = plane.submit("a", prompt()).completion
            await in_run.wait()
            assert await plane.interrupt("a", "now")
            assert (await soon(handle)).kind is CompletionKind.CANCELLED

    on_loop(main)


def test_a_run_may_ask_the_plane_it_runs_for(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async def agent(_context: Any, primitive: Any) -> RunOutput:
            if primitive.text == "first":
                second = plane.submit("b", prompt("second"))
                answered = (await second.completion).result
                assert await plane.runtime_state("b") is RuntimeState.ATTACHED
                return RunOutput(append=[], result=f"b said {answered}")
            return RunOutput(append=[], result=primitive.text)

        async with running(path, agent) as plane:
            await plane.register("b")
            ended = await soon(plane.submit("a", prompt("first")).completion)
            assert ended.result == "b said second"

    on_loop(main)


def test_a_stop_hook_is_awaited_on_the_hosts_loop(on_loop: OnLoop, path: Path) -> None:
    class Hooked:
        def __init__(self) -> None:
            self.stops: list[Any] = []

        async def apply(self, _context: Any, primitive: Any) -> RunOutput:
            return RunOutput(append=spoken(primitive))

        async def stop(self, runtime_id: Any) -> None:
            await asyncio.sleep(0)
            self.stops.append((str(runtime_id), asyncio.get_running_loop()))

    async def main() -> None:
        agent = Hooked()
        async with running(path, agent, grace_s=WAIT_S) as plane:
            await plane.stop_runtime("a")
        assert agent.stops == [("a", asyncio.get_running_loop())]

    on_loop(main)


def test_a_call_that_waits_for_host_code_may_be_awaited_where_the_runs_are(
    on_loop: OnLoop, path: Path
) -> None:
    """A thread would wait for itself there."""

    async def main() -> None:
        async with running(path, AsyncAgent()) as plane:
            for end in (plane.unregister, plane.stop_runtime, plane.destroy):
                await plane.register("b")
                await soon(plane.submit("b", prompt()).completion)
                await soon(end("b"))
                if end == plane.stop_runtime:
                    await plane.reset("b")

    on_loop(main)


# --- a loop that goes first -------------------------------------------------------------


@pytest.mark.parametrize("after", LOOPS.values(), ids=LOOPS)
def test_a_plane_whose_loop_was_closed_says_so_and_starts_again_on_another(
    on_loop: OnLoop, path: Path, after: Any
) -> None:
    agent = Recorder()
    plane = async_plane(path, agent)

    async def forgets_to_stop() -> None:
        await plane.start()
        await plane.register("a")
        await soon(plane.submit("a", prompt("first")).completion)

    async def goes_on() -> None:
        with pytest.raises(LoopClosed):
            await plane.ingest("a", prompt())
        with pytest.raises(LoopClosed):
            plane.subscribe("a")
        await plane.stop()
        async with plane:
            ended = await soon(plane.submit("a", prompt("second")).completion)
            assert ended.result == "re: second"
        assert agent.loops[-1] is asyncio.get_running_loop()

    on_loop(forgets_to_stop)
    performed(after, goes_on)


def test_a_plane_without_coroutines_does_not_mind_which_loop_it_is_used_from(path: Path) -> None:
    plane = async_plane(path, Agent())

    async def start() -> None:
        await plane.start()
        await plane.register("a")

    async def use() -> None:
        ended = await soon(plane.submit("a", prompt()).completion)
        assert ended.result == "re: hello"

    async def stop() -> None:
        await plane.stop()

    for main in (start, use, use, stop):
        for_this = LOOPS["uvloop" if main is use else "asyncio"]
        performed(for_this, main)


def test_what_a_closed_loop_cannot_run_waits_for_the_next_start_and_is_not_counted(
    on_loop: OnLoop, path: Path
) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with ControlPlane(SqliteStore(path), AsyncAgent(), loop=loop) as threaded:
        threaded.register("a")
        input_id = result_of(threaded.submit("a", prompt()).accepted).input_id
        while threaded.executor_ready("a"):  # until it has been tried
            pass
        state = threaded.input_state("a", input_id)
        assert state is not None
        assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)
    agent = AsyncAgent()

    async def main() -> None:
        async with running(path, agent) as plane:
            ended = await soon(await plane.completion("a", input_id))
            assert ended.result == "re: hello"

    on_loop(main)
    assert [called.attempt for called in agent.calls] == [1]


def test_a_stop_does_not_wait_for_a_loop_that_was_never_used(path: Path) -> None:
    loop = asyncio.new_event_loop()  # and nobody runs it
    with ControlPlane(SqliteStore(path), Agent(), loop=loop, grace_s=10 * WAIT_S) as threaded:
        threaded.register("a")
        result_of(threaded.submit("a", prompt()).completion)
    loop.close()


def test_what_is_no_loop_is_refused(path: Path) -> None:
    with pytest.raises(TypeError, match="loop is an event loop or None, not str"):
        ControlPlane(SqliteStore(path), loop="mine").start()  # type: ignore[arg-type]


def test_a_loop_of_the_planes_own_is_never_missed() -> None:
    assert not RunLoop(None).is_missed  # type: ignore[arg-type]
