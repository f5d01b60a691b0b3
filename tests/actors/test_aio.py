"""The front door in an event loop: the same calls, awaited; the loop is never held up."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from aio_builders import (
    LOOPS,
    OnLoop,
    async_plane,
    begun,
    elsewhere,
    performed,
    running,
    soon,
    system_behind,
)
from coroutine_builders import STRICT, threads_gone
from plane_builders import WAIT_S, Agent, continuation, prompt
from plane_stores import FrozenDisk, StoreProxy

from actors import ControlPlane, RuntimeSupervisor
from actors.aio import AsyncControlPlane
from actors.directory import ROOM_WAIT_S
from actors.settings import Settings, SettingsByName
from meerkat import InputId, PeerInput, RuntimeState, SessionId
from meerkat.errors import (
    CallTimedOut,
    ControlPlaneStopped,
    InputNotFound,
    InputValidationFailed,
    Overloaded,
    RuntimeNotFound,
    StoreError,
)
from meerkat.limits import Limits
from meerkat.origins import System
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore, SqliteStore

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with threads_gone():
        yield


# --- the same calls ---------------------------------------------------------------------


def public(kind: type) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(kind, callable)
    return {name: inspect.signature(each) for name, each in found if not name.startswith("_")}


def test_every_call_has_the_name_and_the_parameters_of_the_one_for_threads() -> None:
    ours, theirs = public(AsyncControlPlane), public(ControlPlane)
    assert set(ours) == set(theirs)
    for name in set(ours) - {"wrap"}:
        for mine, other in zip(
            ours[name].parameters.values(), theirs[name].parameters.values(), strict=True
        ):
            assert (mine.name, mine.kind, mine.default) == (other.name, other.kind, other.default)


def test_the_settings_are_those_of_a_plane_for_threads() -> None:
    names = {each.name for each in Settings.__attrs_attrs__}  # type: ignore[attr-defined]
    assert set(get_type_hints(SettingsByName)) == names
    parameters = inspect.signature(ControlPlane.__init__).parameters
    assert set(parameters) - {"self", "store", "executor"} == names


def test_an_input_is_accepted_run_and_awaited(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:
            outcome = await plane.ingest("a", prompt("hello", idempotency_key="k"))
            handle = await plane.completion("a", outcome)
            assert (await handle).result == "re: hello"
            again = await plane.ingest("a", prompt("hello", idempotency_key="k"))
            assert again.existing_id == outcome.input_id
            assert (await soon(await plane.completion("a", again))).result == "re: hello"
            assert handle.done()

    on_loop(main)


def test_each_call_answers_as_the_one_for_threads(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path) as plane:
            assert len(await plane.register_many(["b", "c"])) == 2
            bound = await plane.prepare_bindings(SessionId.new())
            assert bound == await plane.prepare_bindings(bound.session_id)
            outcome = await plane.ingest("a", prompt())
            assert (await plane.input_state("a", outcome.input_id)).input_id == outcome.input_id
            assert await plane.active_input_ids("a") == [outcome.input_id]
            assert await plane.executor_ready("a") is False
            assert await plane.runtime_state("a") is RuntimeState.IDLE
            assert await plane.interrupt("a", "now") is False
            assert (await plane.recover("a")).inputs_recovered == 1
            assert (await plane.recycle("a")).inputs_transferred == 1
            await plane.set_silent_intents("a", ["x"])
            await plane.attach_executor("a", Agent())
            assert (await soon(await plane.completion("a", outcome))).result == "re: hello"
            state = await plane.input_state("a", outcome.input_id)
            receipt = await plane.load_boundary_receipt("a", state.last_run_id, 0)
            assert receipt.contributing_input_ids == (outcome.input_id,)
            await plane.detach_executor("a")
            await plane.wake("a")
            assert (await plane.retire("a")).inputs_abandoned == 0
            assert (await plane.reset("a")).inputs_abandoned == 0
            assert (await plane.stop_runtime("b")).inputs_abandoned == 0
            assert (await plane.destroy("c")).inputs_abandoned == 0
            await plane.unregister("a")
            with pytest.raises(RuntimeNotFound):
                await plane.runtime_state("a")

    on_loop(main)


def test_refusals_are_those_for_threads(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path) as plane:
            with pytest.raises(RuntimeNotFound):
                await plane.ingest("ghost", prompt())
            with pytest.raises(InputNotFound):
                await plane.completion("a", InputId.new())
            with pytest.raises(InputValidationFailed):
                plane.submit("a", prompt("\ud800"))
            with pytest.raises(TypeError):
                await plane.set_silent_intents("a", "abc")
        with pytest.raises(ControlPlaneStopped):
            await plane.runtime_state("a")
        with pytest.raises(ControlPlaneStopped):
            plane.submit("a", prompt())
        with pytest.raises(ControlPlaneStopped):
            await async_plane(path).runtime_state("a")

    on_loop(main)


# --- futures ----------------------------------------------------------------------------


def test_a_submission_is_two_things_to_await(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:
            submitted = [plane.submit("a", prompt(f"{number}")) for number in range(20)]
            accepted = await asyncio.gather(*(each.accepted for each in submitted))
            assert all(each.is_accepted for each in accepted)
            ended = await asyncio.gather(*(each.completion for each in submitted))
            assert [each.result for each in ended] == [f"re: {number}" for number in range(20)]

    on_loop(main)


def test_nobody_has_to_look_at_what_a_refused_submission_says(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path) as plane:
            refused = PeerInput("no", source=System(), durability="derived")
            for await_it in (True, False):
                submitted = plane.submit("a", refused)
                assert (await submitted.accepted).is_rejected
                if await_it:
                    with pytest.raises(InputValidationFailed):
                        await submitted.completion
            for await_it in (True, False):
                ghost = plane.submit("ghost", prompt())
                with pytest.raises(RuntimeNotFound):
                    await ghost.accepted
                if await_it:
                    with pytest.raises(RuntimeNotFound):
                        await ghost.completion

    on_loop(main)


def test_a_handle_is_awaited_by_many_and_as_often_as_they_like(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        agent = Agent(held=True)
        async with running(path, agent) as plane:
            handle = await plane.completion("a", await plane.ingest("a", prompt()))
            tasks = [await begun(soon(handle)) for _ in range(5)]
            assert repr(handle) == "AsyncFuture(pending)"
            agent.release()
            outcomes = {(await each).result for each in tasks}
            assert outcomes == {"re: hello", (await handle).result}
            assert handle.future.result(0) == await handle
            assert repr(handle) == "AsyncFuture(known)"

    on_loop(main)


def test_a_timeout_bounds_the_caller_and_not_the_work(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        disk = FrozenDisk(SqliteStore(path))
        async with running(path, store=disk) as plane:
            disk.freeze()
            with pytest.raises(CallTimedOut, match=r"ingest gave no answer within 0\.01 s"):
                await plane.ingest("a", prompt(idempotency_key="k"), timeout=0.01)
            with pytest.raises(TimeoutError):
                await plane.runtime_state("a", timeout=0)
            disk.thaw()
            again = await plane.ingest("a", prompt(idempotency_key="k"), timeout=WAIT_S)
            assert again.existing_id

    on_loop(main)


def test_what_is_known_at_once_is_given_to_the_most_impatient(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path) as plane:
            outcome = await plane.ingest("a", continuation())
            await plane.reset("a")
            handle = await plane.completion("a", outcome)
            async with asyncio.timeout(0):
                assert (await handle).kind is CompletionKind.RUNTIME_TERMINATED

    on_loop(main)


# --- start and stop ---------------------------------------------------------------------


class SlowDoor(StoreProxy):
    """A store that is taken when a test says so."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.knocked, self.open = threading.Event(), threading.Event()

    def acquire(self) -> None:
        self.knocked.set()
        assert self.open.wait(WAIT_S)
        self.inner.acquire()


def test_the_loop_goes_on_while_a_plane_starts(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        door = SlowDoor(SqliteStore(path))
        plane = async_plane(path, store=door)
        starting = await begun(plane.start())
        await elsewhere(door.knocked.wait)
        assert not starting.done()
        door.open.set()
        assert await soon(starting) is plane
        await plane.stop()

    on_loop(main)


def test_the_loop_goes_on_while_a_plane_stops(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        agent = Agent(held=True)
        plane = await async_plane(path, agent).start()
        await plane.register("a")
        handle = plane.submit("a", prompt()).completion
        await elsewhere(agent.next_call)
        stopping = await begun(plane.stop(timeout=WAIT_S))
        assert not stopping.done()
        agent.release()
        await soon(stopping)
        assert (await handle).result == "re: hello"

    on_loop(main)


def test_a_stop_that_is_cancelled_goes_on_to_its_end(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        agent = Agent(held=True)
        plane = await async_plane(path, agent).start()
        await plane.register("a")
        plane.submit("a", prompt())
        await elsewhere(agent.next_call)
        stopping = await begun(plane.stop(timeout=WAIT_S))
        stopping.cancel()
        await asyncio.wait([stopping])
        ended = system_behind(plane).ended
        assert not ended.is_set()
        agent.release()
        assert await elsewhere(lambda: ended.wait(WAIT_S))
        async with async_plane(path):  # nobody owns the store any more
            pass

    on_loop(main)


def test_a_plane_that_is_cancelled_while_it_is_entered_is_not_left_running(
    on_loop: OnLoop, path: Path
) -> None:
    async def main() -> None:
        door = SlowDoor(SqliteStore(path))

        async def enter() -> None:
            async with async_plane(path, store=door):
                raise AssertionError("it was never entered")

        entering = await begun(enter())
        await elsewhere(door.knocked.wait)
        entering.cancel()
        door.open.set()
        await asyncio.wait([entering])
        assert entering.cancelled()
        async with async_plane(path):
            pass

    on_loop(main)


def test_one_that_is_cancelled_before_its_start_has_begun_is_not_left_running_either(
    on_loop: OnLoop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        plane, begins = async_plane(path), threading.Event()
        start = plane._plane.start

        def late() -> ControlPlane:
            assert begins.wait(WAIT_S)
            return start()

        monkeypatch.setattr(plane._plane, "start", late)
        entering = await begun(plane.__aenter__())
        entering.cancel()
        await asyncio.wait([entering], timeout=0.05)
        begins.set()
        await asyncio.wait([entering])
        assert entering.cancelled()
        opening = plane._plane._life._opening
        assert opening is not None
        assert opening.is_over

    on_loop(main)


def test_a_plane_that_cannot_start_says_why(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with async_plane(path):
            with pytest.raises(StoreError, match="in use by process"):
                await async_plane(path).start()
        with pytest.raises(ValueError, match="grace_s"):
            await async_plane(path, grace_s=-1).start()

    on_loop(main)


def test_start_and_stop_are_idempotent_and_may_be_repeated(on_loop: OnLoop) -> None:
    async def main() -> None:
        plane = AsyncControlPlane(MemoryStore())
        await plane.stop()
        for _ in range(3):
            assert await plane.start() is await plane.start()
            await plane.register("a")
            await asyncio.gather(plane.stop(), plane.stop())
            await plane.stop()

    on_loop(main)


# --- whose loop -------------------------------------------------------------------------


def test_a_plane_for_threads_is_wrapped(on_loop: OnLoop, path: Path) -> None:
    with ControlPlane(SqliteStore(path), Agent()) as threaded:
        threaded.register("a")

        async def main() -> None:
            plane = await AsyncControlPlane.wrap(threaded)
            assert (await soon(plane.submit("a", prompt()).completion)).result == "re: hello"

        on_loop(main)
        assert threaded.runtime_state("a") is RuntimeState.ATTACHED


def test_a_supervisor_of_the_hosts_is_wrapped(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        supervisor = RuntimeSupervisor.start(store=SqliteStore(path), executor=Agent())
        async with await AsyncControlPlane.wrap(supervisor) as plane:
            await plane.register("a")
            assert (await soon(plane.submit("a", prompt()).completion)).result == "re: hello"
        assert not supervisor.is_alive()
        with pytest.raises(ControlPlaneStopped):
            await AsyncControlPlane.wrap(supervisor)

    on_loop(main)


def test_many_loops_share_one_plane(path: Path) -> None:
    with ControlPlane(SqliteStore(path), Agent()) as threaded:
        threaded.register_many([*"abcd"])

        async def offers(plane: AsyncControlPlane, name: str) -> list[Any]:
            handles = [plane.submit(name, prompt(f"{number}")).completion for number in range(20)]
            return [(await soon(each)).result for each in handles]

        async def wrapped() -> AsyncControlPlane:
            return await AsyncControlPlane.wrap(threaded)

        plane = performed(LOOPS["asyncio"], wrapped)
        kinds = list(LOOPS.values()) * 2
        with ThreadPoolExecutor(len(kinds)) as threads:
            answers = [
                threads.submit(performed, kind, partial(offers, plane, name))
                for kind, name in zip(kinds, "abcd", strict=True)
            ]
            for each in answers:
                assert each.result(WAIT_S) == [f"re: {number}" for number in range(20)]


def test_a_handle_outlives_the_loop_it_was_asked_for_on(path: Path) -> None:
    agent = Agent(held=True)
    with ControlPlane(SqliteStore(path), agent) as threaded:
        threaded.register("a")

        async def asks() -> Any:
            handle = (await AsyncControlPlane.wrap(threaded)).submit("a", prompt()).completion
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await handle
            return handle

        handle = performed(LOOPS["asyncio"], asks)
        agent.release()
        assert performed(LOOPS["uvloop"], lambda: soon(handle)).result == "re: hello"


# --- no room ----------------------------------------------------------------------------


async def at_rest(plane: AsyncControlPlane) -> None:
    """Until a driver is at rest."""
    while not len(system_behind(plane).directory._resting):
        await asyncio.to_thread(int)


def test_no_thread_of_a_loop_waits_for_room(
    on_loop: OnLoop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        agent = Agent(held=True)
        limits = Limits(live_runtimes_max=1)
        async with running(path, agent, limits=limits, passivate_after=None) as plane:
            directory = system_behind(plane).directory
            monkeypatch.setattr(directory, "_has_room", None)  # nobody may wait there
            await plane.register("b")
            await at_rest(plane)
            first = plane.submit("a", prompt())
            await elsewhere(agent.next_call)
            for offer in (plane.ingest, plane.submit):
                with pytest.raises(Overloaded, match="live_runtimes_max"):
                    await offer("b", prompt())
            agent.release()
            await soon(first.completion)

    on_loop(main)


def test_a_driver_that_rests_within_a_moment_makes_room(
    on_loop: OnLoop, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        agent = Agent(held=True)
        limits = Limits(live_runtimes_max=1)
        async with running(path, agent, limits=limits, passivate_after=None) as plane:
            await plane.register("b")
            await at_rest(plane)
            first, waited = plane.submit("a", prompt()), list[float]()

            async def a_moment(seconds: float) -> None:
                waited.append(seconds)
                agent.release()
                await first.completion
                await at_rest(plane)

            monkeypatch.setattr(asyncio, "sleep", a_moment)
            outcome = await plane.ingest("b", prompt("second"))
            assert (await soon(await plane.completion("b", outcome))).result == "re: second"
            assert waited == [ROOM_WAIT_S]

    on_loop(main)
