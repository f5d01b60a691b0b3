"""Run loop: the event loop that carries the coroutine runs of a control plane.

One loop on one daemon thread, started when it is first used. It ends behind the last of its
tasks: one that does not end when it is cancelled keeps both.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Final, TypeVar

from actors.awaiting import on_loop
from actors.ground import ground_here
from actors.logs import without_text
from actors.run_places import RunThreads
from actors.thread_frames import frame_of
from meerkat.errors import ControlPlaneStopped

logger = logging.getLogger(__name__)

T = TypeVar("T")

LEFT: Final = "coroutines did not end when they were cancelled; they are left"

READS_AT_A_TIME: Final = 2
"""Sessions that are read at a time for the loop, on threads: more only queue at the disk."""


class RunLoop:
    """An event loop on a thread of its own. Thread-safe."""

    def __init__(self, threads: RunThreads) -> None:
        self._threads = threads
        self._reading = asyncio.Semaphore(READS_AT_A_TIME)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._thread_id: int | None = None
        self._performed: dict[Future[Any], asyncio.Task[Any] | None] = {}
        self._stopped = False
        self._over = False
        self._end: asyncio.Task[None] | None = None

    @property
    def is_missed(self) -> bool:
        """Was it used, and has its host closed it? One of the plane's own is always there."""
        return False

    @property
    def is_used(self) -> bool:
        """Was anything called on it? Before that one of the plane's own is not there."""
        return self._loop is not None

    def is_here(self) -> bool:
        """Is this the loop's thread, and runs the loop here just now?"""
        return self._thread_id == threading.get_ident() and on_loop()

    def call(self, callback: Callable[[], object]) -> bool:
        """Call back on the loop's thread, soon; False, and never, once stopped."""
        with self._lock:
            if self._stopped:
                return False
            self._running().call_soon_threadsafe(callback)
            return True

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of the loop, which is cancelled at its end. Used on the loop."""
        return asyncio.get_running_loop().create_task(coroutine)

    def perform(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end, while this thread, which is not the loop's, waits.

        Raises what the coroutine raises, and ControlPlaneStopped once stopped, or when it
        is cancelled by that.
        """
        done: Future[T] = Future()
        self._performed[done] = None
        if not self.call(partial(self._begin, coroutine, done)):
            del self._performed[done]
            coroutine.close()
            raise ControlPlaneStopped
        return done.result()

    def _begin(self, coroutine: Coroutine[Any, Any, T], done: Future[T]) -> None:
        task = self.begin(coroutine)
        self._performed[done] = task  # which the loop itself would not keep
        task.add_done_callback(partial(self._performed_to_end, done))

    def _performed_to_end(self, done: Future[T], task: asyncio.Task[T]) -> None:
        self._performed.pop(done, None)
        with suppress(InvalidStateError):  # given up by a stop
            if task.cancelled():
                done.set_exception(ControlPlaneStopped())
            elif (error := task.exception()) is not None:
                done.set_exception(error)
            else:
                done.set_result(task.result())

    async def read(self, read: Callable[[], T]) -> T:
        """Call a function that waits for the disk, on a thread. Used on the loop."""
        async with self._reading:
            return await asyncio.wrap_future(self._threads.outcome_of(read))

    def frame_in(self, task: asyncio.Task[Any]) -> FrameType | None:
        """The frame the loop's thread is in, if it is in that task and does not come back."""
        if self._loop is None or asyncio.current_task(self._loop) is not task:
            return None
        return frame_of(self._thread_id)

    def stop(self, timeout_s: float) -> None:
        """Cancel what is left and wait for the thread to end, for so long. Idempotent."""
        with self._lock:
            again, self._stopped = self._stopped, True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if not again:
            loop.call_soon_threadsafe(self._begin_to_wind_up)
        thread.join(timeout_s)
        if thread.is_alive():
            logger.warning(LEFT)
        self._give_up()

    def _give_up(self) -> None:
        """Nobody waits for a loop that has been stopped."""
        for done in tuple(self._performed):
            with suppress(InvalidStateError):
                done.set_exception(ControlPlaneStopped())

    def _begin_to_wind_up(self) -> None:
        self._end = asyncio.get_running_loop().create_task(self._wind_up())

    async def _wind_up(self) -> None:
        """Cancel whatever is left, and what that begins in its turn; then stop the loop."""
        loop, told = asyncio.get_running_loop(), set[asyncio.Task[Any]]()
        while left := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in left - told:
                task.cancel()
            told |= left
            await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        await loop.shutdown_asyncgens()
        self._over = True
        loop.stop()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            ground = ground_here()
            self._loop = asyncio.new_event_loop() if ground is None else ground.event_loop()
            self._thread = threading.Thread(
                target=self._work, args=(self._loop,), name="meerkat-run-loop", daemon=True
            )
            self._thread.start()
        return self._loop

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop to its end, whatever a task of the host's lets through."""
        self._thread_id = threading.get_ident()
        asyncio.set_event_loop(loop)
        while not self._over:
            try:
                loop.run_forever()
            except BaseException as error:
                said = "a task of the host's broke out of the event loop"
                logger.exception(said, exc_info=without_text(error))
        loop.close()
