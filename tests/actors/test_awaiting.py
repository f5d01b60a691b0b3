"""How a loop waits for threads: one ring for many calls, and no moment in which one is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from aio_builders import LOOPS, OnLoop, begun, cancelled, elsewhere, soon
from coroutine_builders import STRICT

from actors.aio_feeds import AsyncFeed
from actors.awaiting import AsyncFuture, Bell, Bells, on_loop
from meerkat.errors import CallTimedOut

pytestmark = STRICT


class Counted:
    """An event loop that counts how often it is rung."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.rings = 0

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        self.rings += 1
        self._loop.call_soon_threadsafe(callback)


def test_a_loop_is_rung_once_for_all_that_comes_before_it_looks(on_loop: OnLoop) -> None:
    async def main() -> None:
        counted, called, line = Counted(asyncio.get_running_loop()), list[Any](), list(range(1000))
        bell = Bell(counted)  # type: ignore[arg-type]
        for number in line:  # the loop does not look meanwhile
            bell.call(lambda number=number: called.append(number))  # type: ignore[misc]
        assert (counted.rings, called) == (1, [])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert called == line
        bell.call(lambda: called.append("again"))
        await elsewhere(lambda: bell.call(lambda: called.append("and again")))
        assert called[-2:] == ["again", "and again"]

    on_loop(main)


def test_what_many_threads_ask_for_is_all_called_in_the_order_of_each(on_loop: OnLoop) -> None:
    async def main() -> None:
        bell, called, done = Bell(asyncio.get_running_loop()), list[Any](), asyncio.Event()

        def ask(thread: int) -> None:
            for number in range(2000):
                bell.call(lambda number=number: called.append((thread, number)))  # type: ignore[misc]

        await asyncio.gather(*(asyncio.to_thread(ask, thread) for thread in range(4)))
        bell.call(done.set)
        await soon(done.wait())
        for thread in range(4):
            assert [number for each, number in called if each == thread] == list(range(2000))

    on_loop(main)


def test_what_a_signal_cuts_short_is_called_afterwards() -> None:
    with asyncio.Runner() as runner:
        bell, called = Bell(runner.get_loop()), list[int]()

        def interrupted() -> None:
            raise KeyboardInterrupt

        bell.call(interrupted)
        bell.call(lambda: called.append(1))
        with pytest.raises(KeyboardInterrupt):
            runner.run(asyncio.sleep(0.01))
        runner.run(asyncio.sleep(0))
        assert called == [1]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_bell_of_a_closed_loop_keeps_nothing_and_harms_nobody(loop: Any) -> None:
    closed = loop()
    bell = Bell(closed)
    closed.close()
    for _ in range(3):
        bell.call(lambda: None)
    assert not bell._calls


def test_the_bells_of_closed_loops_are_forgotten() -> None:
    bells = Bells()
    for make in [*LOOPS.values()] * 3:

        async def ring() -> Bell:
            assert bells.here() is bells.here()
            return bells.here()

        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(ring())
        assert len(bells._bells) == 1


def test_a_thread_knows_whether_a_loop_runs_on_it() -> None:
    async def main() -> tuple[bool, bool]:
        return on_loop(), await elsewhere(on_loop)

    with asyncio.Runner() as runner:
        assert runner.run(main()) == (True, False)
    assert not on_loop()


class Settled(Future[str]):
    """A future that is settled in the very moment in which somebody looks for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.settles = False

    def done(self) -> bool:
        done = super().done()
        if self.settles and not done:
            self.set_result("now")
        return done


def test_what_is_settled_just_when_one_begins_to_wait_is_not_missed(on_loop: OnLoop) -> None:
    async def main() -> None:
        for waited_before in (False, True):
            future = Settled()
            awaited = AsyncFuture(future, Bells())
            if waited_before:
                await cancelled(await begun(soon(awaited)))
            future.settles = True
            assert await soon(awaited) == "now"

    on_loop(main)


class SettledAtLast(Future[str]):
    """A future that is settled just before somebody looks for the second time."""

    looks = 0

    def done(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            self.set_result("in time")
        return super().done()


def test_what_is_settled_in_the_moment_of_the_timeout_is_given(on_loop: OnLoop) -> None:
    async def main() -> None:
        with pytest.raises(CallTimedOut, match="look gave no answer within 0 s"):
            await AsyncFuture(Future[str](), Bells()).within(0, "look")
        assert await AsyncFuture(SettledAtLast(), Bells()).within(0, "look") == "in time"

    on_loop(main)


class Sudden:
    """A feed to which something comes between a first look and the wait, and tells nobody."""

    closed = False

    def __init__(self) -> None:
        self._ready = [None, "item"]

    def next_ready(self) -> str | None:
        return self._ready.pop(0)

    def listen(self, listener: Callable[[], None]) -> None:
        pass

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def test_what_comes_just_when_one_begins_to_wait_for_it_is_not_missed(on_loop: OnLoop) -> None:
    async def main() -> None:
        granted: Future[Sudden] = Future()
        granted.set_result(Sudden())
        bells = Bells()
        feed = AsyncFeed(AsyncFuture(granted, bells), bells, call="read", timeout_s=None)
        assert await soon(anext(feed)) == "item"

    on_loop(main)
