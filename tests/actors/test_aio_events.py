"""Subscriptions in an event loop: no event is lost, nobody is left behind, no thread waits."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from aio_builders import (
    OnLoop,
    begun,
    cancelled,
    code_of,
    elsewhere,
    events_until,
    running,
    soon,
    system_behind,
)
from coroutine_builders import STRICT, threads_gone
from plane_builders import WAIT_S, Agent, prompt
from plane_stores import FrozenDisk

from actors import ControlPlane
from actors.aio import AsyncControlPlane
from actors.watching import NoticeKind
from meerkat import EventGap
from meerkat.errors import CallTimedOut, ControlPlaneStopped, RuntimeNotFound
from meerkat.limits import Limits
from meerkat.store import SqliteStore

pytestmark = STRICT


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with threads_gone():
        yield


def subscribers(plane: Any) -> int:
    hub = system_behind(plane).events
    return sum(len(each) for each in hub._subscribers.values())


async def worked(plane: Any, count: int = 1, name: str = "a") -> None:
    """So many inputs of a runtime have been offered and have ended."""
    handles = [plane.submit(name, prompt(f"{number}")).completion for number in range(count)]
    for each in handles:
        await soon(each)


def test_events_come_in_order_from_the_call_on(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:
            await worked(plane)
            events = plane.subscribe("a")
            submitted = plane.submit("a", prompt("told"))  # nobody has waited for the events yet
            told = await events_until(events, "run.completed")
            outcome = await submitted.accepted
            assert code_of(told[0]) == "input.accepted"
            assert str(outcome.input_id) in repr(told[0].event)
            first = told[0].sequence
            assert [each.sequence for each in told] == list(range(first, first + len(told)))
            await events.aclose()

    on_loop(main)


def test_events_are_read_again_from_a_number_on(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane, plane.subscribe("a", after=0) as events:
            await worked(plane)
            told = await events_until(events, "run.completed")
            async with plane.subscribe("a", after=told[2].sequence) as again:
                assert await events_until(again, "run.completed") == told[3:]

    on_loop(main)


def test_everybodys_events_are_read(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane, plane.subscribe() as events:
            await plane.register("b")
            for name in "ab":
                await worked(plane, name=name)
                told = await events_until(events, "run.completed")
                assert {str(each.runtime_id) for each in told} >= {name}

    on_loop(main)


def test_who_is_too_slow_is_told_of_the_gap(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        limits = Limits(events_per_runtime_max=4)
        async with (
            running(path, Agent(), limits=limits) as plane,
            plane.subscribe("a", after=0) as events,
        ):
            await worked(plane, 3)
            told = await events_until(events, "run.completed")
            assert isinstance(told[0], EventGap)

    on_loop(main)


@pytest.mark.parametrize("seed", range(5))
def test_a_wait_that_is_given_up_loses_no_event(on_loop: OnLoop, path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def one(events: Any) -> Any:
        """The next event, from a wait that may be given up in any way there is."""
        while True:
            way = chance.randrange(3)
            with suppress(TimeoutError):
                if way == 0:
                    return await asyncio.wait_for(anext(events), chance.random() / 1000)
                if way == 1:
                    async with asyncio.timeout(chance.random() / 1000):
                        return await anext(events)
                task = asyncio.ensure_future(anext(events))
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    return task.result()

    async def main() -> None:
        async with running(path, Agent()) as plane, plane.subscribe("a", after=0) as events:
            working = await begun(worked(plane, 40))
            sequences: list[int] = []
            ended = 0
            while ended < 40:
                told = await soon(one(events))
                sequences.append(told.sequence)
                ended += code_of(told) == "input.consumed"
            assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
            assert len(events._waiters._waiting) == 0
            await working

    on_loop(main)


def test_many_tasks_may_read_one_subscription(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane, plane.subscribe("a", after=0) as events:
            tasks = [await begun(soon(anext(events))) for _ in range(20)]
            await worked(plane, 5)
            sequences = sorted([(await each).sequence for each in tasks])
            assert sequences == list(range(sequences[0], sequences[0] + 20))

    on_loop(main)


def test_what_is_refused_is_told_where_one_waits(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path) as plane:
            with pytest.raises(RuntimeNotFound):
                await anext(plane.subscribe("ghost"))
            with pytest.raises(RuntimeNotFound):
                async with plane.subscribe("ghost"):
                    pass
            plane.subscribe("ghost").close()
            assert subscribers(plane) == 0
        with pytest.raises(ControlPlaneStopped):
            plane.subscribe()

    on_loop(main)


def test_who_waits_too_long_to_be_granted_it_leaves_nothing_behind(
    on_loop: OnLoop, path: Path
) -> None:
    async def main() -> None:
        disk = FrozenDisk(SqliteStore(path))
        async with running(path, store=disk) as plane:
            disk.freeze()
            submitted = plane.submit("a", prompt())
            with pytest.raises(CallTimedOut, match="subscribe"):
                await anext(plane.subscribe("a", timeout=0.01))
            entering = await begun(plane.subscribe("a").__aenter__())
            await cancelled(entering)
            disk.thaw()
            await soon(submitted.accepted)
            await plane.runtime_state("a")
            assert subscribers(plane) == 0

    on_loop(main)


# --- the end ----------------------------------------------------------------------------


def test_who_waits_learns_that_it_was_closed(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path) as plane:
            events = plane.subscribe("a")
            await events.opened()
            waiting = [await begun(anext(events, "the end")) for _ in range(2)]
            await events.aclose()
            assert [await soon(each) for each in waiting] == ["the end"] * 2
            assert await anext(events, "the end") == "the end"
            await events.aclose()
            assert subscribers(plane) == 0

    on_loop(main)


def test_it_is_closed_by_aclosing(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:
            async with aclosing(plane.subscribe("a", after=0)) as events:
                await worked(plane)
                async for told in events:
                    if code_of(told) == "run.completed":
                        break
                assert subscribers(plane) == 1
            assert subscribers(plane) == 0

    on_loop(main)


def test_it_is_closed_from_another_thread(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path) as plane:
            events = plane.subscribe("a")
            waiting = await begun(anext(events, "the end"))
            await elsewhere(events.close)
            assert await soon(waiting) == "the end"

    on_loop(main)


def test_the_stop_of_the_plane_ends_it_behind_the_last_event(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        agent = Agent(held=True)
        async with running(path, agent) as plane:
            events, of_all = plane.subscribe("a", after=0), plane.subscribe()
            plane.submit("a", prompt())
            await elsewhere(agent.next_call)

            async def codes(events: Any) -> list[str]:
                return [code_of(told) async for told in events]

            readers = [await begun(codes(each)) for each in (events, of_all)]
            agent.release()
            await plane.stop()
            for each in readers:
                assert "run.completed" in await soon(each)

    on_loop(main)


def test_one_that_nobody_holds_any_more_closes_itself(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:

            async def reads() -> None:
                async for _told in plane.subscribe("a", after=0):
                    break  # and nobody closes it

            await asyncio.gather(worked(plane), *(reads() for _ in range(10)))
            reading = await begun(anext(plane.subscribe("a")))
            await cancelled(reading)
            plane.subscribe("a")
            del reading
            gc.collect()
            async with plane.subscribe("a"):
                assert subscribers(plane) == 1

    on_loop(main)


def test_a_watch_is_read_in_the_same_way(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:
            await plane.register("b")
            of_all, of_b = plane.watch(), plane.watch("b")
            waiting = await begun(soon(anext(of_b)))
            await cancelled(await begun(anext(of_all)))
            await plane.unregister("b")
            told = await waiting
            assert (str(told.runtime_id), told.kind) == ("b", NoticeKind.ENDED)
            assert await anext(of_b, "the end") == "the end"
            assert await soon(anext(of_all)) == told
            await cancelled(await begun(anext(plane.watch())))
            with pytest.raises(RuntimeNotFound):
                await anext(plane.watch("ghost"))
            left = await begun(anext(of_all, "the end"))
            await plane.unregister("a")
            assert (await soon(left)).kind is NoticeKind.ENDED
            assert system_behind(plane).watchers._open.keys() == {of_all._feed}
            last = await begun(anext(of_all, "the end"))
            await plane.stop()
            assert await soon(last) == "the end"
            assert plane.dead_letters().count >= 0

    on_loop(main)


def test_readers_take_no_thread(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:
            await worked(plane)
            events = [plane.subscribe("a") for _ in range(200)]
            for each in events:
                await each.opened()
            before = threading.active_count()
            waiting = [await begun(events_until(each, "run.completed")) for each in events]
            await worked(plane)
            told = [await soon(each) for each in waiting]
            assert threading.active_count() <= before
            assert all(each == told[0] for each in told)
            for each in events:
                each.close()

    on_loop(main)


def test_only_the_readers_of_a_runtime_are_woken(on_loop: OnLoop, path: Path) -> None:
    async def main() -> None:
        async with running(path, Agent()) as plane:
            await plane.register("b")
            async with plane.subscribe("b") as events, plane.subscribe() as of_all:
                woken: list[str] = []
                events._feed.listen(lambda: woken.append("b"))
                of_all._feed.listen(lambda: woken.append("all"))
                await worked(plane)
                assert set(woken) == {"all"}
                await worked(plane, name="b")
                assert set(woken) == {"all", "b"}

    on_loop(main)


def test_a_reader_whose_loop_has_gone_harms_nobody(on_loop: OnLoop, path: Path) -> None:
    """Its subscription stays open, its loop is closed under it, and the runtime goes on."""
    with ControlPlane(SqliteStore(path), Agent()) as threaded:
        threaded.register("a")

        async def main() -> Any:
            plane = await AsyncControlPlane.wrap(threaded)
            events = await plane.subscribe("a").opened()
            await cancelled(await begun(anext(events)))
            return events

        events = on_loop(main)
        assert threaded.submit("a", prompt()).completion.result(WAIT_S).result == "re: hello"
        assert events._feed.next_ready() is not None
        events.close()
