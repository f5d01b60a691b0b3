"""Builders: coroutine executors, and scripts that either kind of executor performs.

As in ``plane_builders`` nothing sleeps: coroutines wait at a :class:`Gate`, which any
thread opens.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import inspect
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, Called, prompt, result_of, spoken, tell

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from actors.run_loop import RunLoop
from meerkat import RunOutput, StagedInput
from meerkat.runs import InterruptMode

Script = Callable[[Any, StagedInput], Awaitable[RunOutput]]
"""An executor that awaits what its context offers."""


class Gate:
    """Where coroutines wait until any thread opens it; an open one holds nobody up at all.

    Cancelling one of them harms no other.
    """

    def __init__(self) -> None:
        self._opened = Reply[None]()

    def open(self) -> None:
        self._opened.give(None)

    async def passed(self) -> None:
        if not self._opened.done():
            await asyncio.wrap_future(self._opened)


class AsyncAgent(Agent):
    """The agent as a coroutine executor; its behaviour is a coroutine function."""

    def __init__(self, behaviour: Any = None, *, held: bool = False) -> None:
        super().__init__(behaviour, held=held)
        self._gate = Gate()
        if not held:
            self._gate.open()

    async def __call__(self, context: Any, primitive: StagedInput) -> RunOutput:
        called = Called(str(context.runtime_id), primitive.text, context.attempt, context.run_id)
        self.calls.append(called)
        self._started.put(called)
        await self._gate.passed()
        output = await self.behaviour(called, context) if self.behaviour else None
        usual = RunOutput(append=spoken(primitive), result=f"re: {primitive.text}")
        return usual if output is None else output

    def release(self) -> None:
        super().release()
        self._gate.open()


Deed = Callable[[Any], Any]
"""What a test has a run do with its context: its value, or what awaiting that gives."""


class AsyncPuppetRun:
    """A run that does what a test says, on the event loop, one thing after the other.

    What a deed raises, CancelledError even, is the test's to look at, and the run goes on;
    so it does when it is cancelled between two deeds.
    """

    def __init__(self, called: Called, context: Any) -> None:
        self.called = called
        self.context = context
        self.loop = asyncio.get_running_loop()
        self._deeds: asyncio.Queue[tuple[Deed, Future[Any] | None]] = asyncio.Queue()

    def asks(self, deed: Deed) -> Future[Any]:
        """What a deed gives, or raises, once the run has come to it."""
        future: Future[Any] = Future()
        self.loop.call_soon_threadsafe(self._deeds.put_nowait, (deed, future))
        return future

    def does(self, deed: Deed) -> Any:
        return result_of(self.asks(deed))

    def awaits(self, deed: Deed) -> Future[Any]:
        """The same of a deed that takes its time: the run awaits when this returns."""
        future = self.asks(deed)
        while not future.running():
            self.turned()
            assert not future.done()
        self.turned()
        return future

    def turned(self) -> None:
        """Return once the loop has done all it was told so far."""
        assert self.beside(lambda _: True)

    def beside(self, deed: Deed) -> Any:
        """What a deed gives that does not wait for those before it."""
        future: Future[Any] = Future()
        self.loop.call_soon_threadsafe(lambda: future.set_result(deed(self.context)))
        return result_of(future)

    def returns(self, output: Any = None) -> None:
        """Have the run end with an output, the usual one for None."""
        self._ends(lambda _: output)

    def raises(self, error: BaseException) -> None:
        def deed(_context: Any) -> None:
            raise error

        self._ends(deed)

    def _ends(self, deed: Deed) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self.loop.call_soon_threadsafe(self._deeds.put_nowait, (deed, None))

    async def perform(self) -> Any:
        while True:
            try:
                deed, future = await self._deeds.get()
            except asyncio.CancelledError:
                continue
            if future is None:
                return deed(self.context)
            future.set_running_or_notify_cancel()
            try:
                done = deed(self.context)
                future.set_result(await done if inspect.isawaitable(done) else done)
            except BaseException as error:  # noqa: BLE001 - the test's to look at
                future.set_exception(error)


class AsyncPuppet(AsyncAgent):
    """A coroutine executor whose runs do what a test says. Released, they end."""

    def __init__(self) -> None:
        super().__init__(lambda called, context: self._perform(AsyncPuppetRun(called, context)))
        self._runs: SimpleQueue[AsyncPuppetRun] = SimpleQueue()
        self._open: list[AsyncPuppetRun] = []
        self._released = False

    async def _perform(self, run: AsyncPuppetRun) -> Any:
        self._open.append(run)
        self._runs.put(run)
        if self._released:
            run.returns()
        return await run.perform()

    def next_run(self) -> AsyncPuppetRun:
        return self._runs.get(timeout=WAIT_S)

    def release(self) -> None:
        super().release()
        self._released = True
        for run in tuple(self._open):
            run.returns()


# --- one script, both kinds -------------------------------------------------------------


class _Awaitable:
    """An ordinary context whose calls are made when they are awaited."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __bool__(self) -> bool:
        return bool(self._context)

    async def boundary(self) -> Any:
        return _Awaitable(self._context.boundary())

    async def commit(self, **output: Any) -> Any:
        return self._context.commit(**output)

    async def wait(self, seconds: float) -> Any:
        return self._context.wait(seconds)


def as_ordinary(script: Script) -> Callable[[Any, StagedInput], RunOutput]:
    """The script as a function: there is nothing it waits for on a loop."""

    def executor(context: Any, primitive: StagedInput) -> RunOutput:
        performed: Any = script(_Awaitable(context), primitive)
        try:
            performed.send(None)
        except StopIteration as ended:
            output: RunOutput = ended.value
            return output
        raise AssertionError("an ordinary executor cannot await anything else")

    return executor


def as_coroutine(script: Script) -> Script:
    return script


KINDS: dict[str, Callable[[Script], Any]] = {"ordinary": as_ordinary, "coroutine": as_coroutine}


# --- conversations ----------------------------------------------------------------------


def said(text: str) -> dict[str, Any]:
    return {"content": text, "role": "user"}


def digest(messages: list[dict[str, Any]]) -> str:
    """What the receipt of a conversation says of it."""
    canonical = json.dumps(messages, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


# --- looking ----------------------------------------------------------------------------

STRICT = pytest.mark.filterwarnings("error", "ignore:unclosed (file|database):ResourceWarning")
"""What Python warns of is an error: a coroutine that nobody awaited, a loop left open.

A store is left open by design when its disk takes longer than the grace of a plane, which
is so little here that a busy machine may do that.
"""


@contextmanager
def noiseless() -> Iterator[None]:
    """Nothing may be said of tasks and futures that nobody looked after.

    The collection brings it out, as it does what :data:`STRICT` makes an error of.
    """
    said: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    watch = Watch(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("asyncio", "concurrent.futures")]
    for logger in loggers:
        logger.addHandler(watch)
    try:
        yield
        gc.collect()
    finally:
        for logger in loggers:
            logger.removeHandler(watch)
    assert said == []


def run_threads() -> set[threading.Thread]:
    """The threads of planes, the loop's among them."""
    return {each for each in threading.enumerate() if each.name.startswith("meerkat-")}


@contextmanager
def threads_gone() -> Iterator[None]:
    """The threads of planes that began inside have ended, or do so soon."""
    before = run_threads()
    yield
    joined(run_threads() - before)


def joined(threads: Iterable[threading.Thread]) -> None:
    """Wait until threads have ended."""
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive(), thread.name


def begun(plane: ControlPlane, puppet: AsyncPuppet) -> tuple[Any, AsyncPuppetRun]:
    """The first run of runtime "a", and the handle of its input."""
    submitted = plane.submit("a", prompt("first"))
    return submitted.completion, puppet.next_run()


def interrupt(plane: ControlPlane) -> Reply[Any]:
    """Interrupt without waiting for the answer, which may have to wait for the disk."""
    return tell(plane, "a", m.Interrupt(InterruptMode.NOW, Reply()))


def runs(loop: RunLoop) -> bool:
    """Has a loop a thread?"""
    return loop._thread is not None and loop._thread.is_alive()
