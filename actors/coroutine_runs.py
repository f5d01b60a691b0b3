"""Coroutine runs: what a coroutine executor is handed, and the event loop it runs on.

One loop, on one daemon thread, carries all coroutine runs of a control plane, thousands at
a time. A run is cancelled by CancelledError, raised where it awaits.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Final, TypeVar

from actors.executors import Ending, Failed, ending_of, planned
from actors.run_places import RunThreads
from actors.runs import FRAMES_SHOWN, RunBase
from meerkat.boundary import AsyncBoundary
from meerkat.conversation import Conversation, MessageLog, decoded
from meerkat.errors import ControlPlaneStopped, RunCancelled
from meerkat.identifiers import InputId
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunOutput, WakeReason

logger = logging.getLogger(__name__)

T = TypeVar("T")

_READERS: Final = 2
"""Sessions that are read at a time for the loop, on threads: more only queue at the disk."""


class _Done(Awaitable[None]):
    """What has been done already, for who awaits it all the same."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE: Final = _Done()


class CoroutineRun(RunBase):
    """One run of a coroutine executor. Used by the run's own task, but for ``cancelled``."""

    def __init__(self, loop: RunLoop, **run: Any) -> None:
        super().__init__(**run)
        self._loop = loop
        self._task: asyncio.Task[Ending] | None = None
        self._session = MessageLog()
        self._told = asyncio.Event()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The committed messages: a fresh list, the caller's to change."""
        return decoded(self._session.snapshot())

    @property
    def snapshot(self) -> bytes | None:
        """The opaque bytes that were committed last."""
        return self._session.snapshot().opaque

    def raise_if_cancelled(self) -> Awaitable[None]:
        """Raise RunCancelled when the run has been cancelled."""
        self._refuse_cancelled()
        return _DONE

    def progress(self, text: str) -> Awaitable[None]:
        """Tell the readers of events how far the run is; TypeError for what is no text."""
        self._report(text)
        return _DONE

    async def boundary(self) -> AsyncBoundary:
        """What was steered into the run so far; see AsyncRunContext."""
        self._look_up()
        return AsyncBoundary(await asyncio.wrap_future(self._link.take_boundary()), self._commit)

    async def wait(self, seconds: float) -> WakeReason:
        """Wait for a reason to look up; see AsyncRunContext."""
        self._link.signs()
        self.attention.waits = True
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self._reason()
        except TimeoutError:
            return WakeReason.TIMEOUT
        except RunCancelled:
            self._link.leaving()
            raise
        finally:
            self._link.signs()
            self.attention.waits = False

    async def _reason(self) -> WakeReason:
        changed = asyncio.Event()
        listener = partial(self._loop.call, changed.set)
        self.attention.listen(listener)
        try:
            while (reason := self.attention.reason()) is None:
                await changed.wait()
                changed.clear()
            if reason is WakeReason.CANCELLED:
                await self._told.wait()  # CancelledError is on its way to the run's own task
            return reason
        finally:
            self.attention.unlisten(listener)

    async def _commit(
        self, input_ids: tuple[InputId, ...], output: RunOutput
    ) -> RunBoundaryReceipt:
        self._before_commit()
        conversation = self._loaded()
        plan = conversation.plan(output, self._session.snapshot)
        taken_over = partial(self._session.apply, plan.change)
        reply = self._link.commit_boundary(input_ids, plan, conversation)
        # On the loop, and before the waiter there goes on: callbacks keep their order.
        reply.add_done_callback(
            lambda reply: None if reply.exception() else self._loop.call(taken_over)
        )
        return await _undisturbed(asyncio.wrap_future(reply))

    def _loaded(self) -> Conversation:
        if self._conversation is None:
            self._conversation = Conversation(self._read_session, self._session.snapshot())
        return self._conversation

    def cancel(self) -> None:
        """Have the run end now: CancelledError where it awaits."""
        self.attention.cancel()
        self._loop.call(self._cancel_task)

    def _cancel_task(self) -> None:
        self._told.set()
        if self._task is not None:
            self._task.cancel()

    def _stack(self) -> str:
        """Where the run awaits just now, or where it holds the loop up."""
        task = self._task
        if task is None:
            return ""
        frame = self._loop.frame_in(task)
        if frame is not None:
            return "".join(traceback.format_stack(frame, FRAMES_SHOWN))
        frames = traceback.StackSummary.extract(_awaiting(task), limit=-FRAMES_SHOWN)
        return "".join(frames.format())

    def start(self) -> None:
        """Perform the run on its loop; it says itself how it ended. Lets nothing through."""
        self._loop.call(self._begin)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._outcome())
        self._task.add_done_callback(self._done)
        if self._told.is_set():  # before there was a task
            self._task.cancel()

    def _done(self, task: asyncio.Task[Ending]) -> None:
        """Say how it ended, one that was cancelled before its first step included."""
        self._task = None
        if task.cancelled():
            ending = ending_of(asyncio.CancelledError(), cancelled=self.cancelled.is_set())
        else:
            error = task.exception()
            ending = task.result() if error is None else _failed(error)
        self._end(ending)

    async def _outcome(self) -> Ending:
        try:
            self._session = MessageLog(await self._loop.read(self._read_session))
            output = await self._apply(self, self._primitive)
            return planned(output, self._loaded(), self._session.snapshot)
        except BaseException as error:  # noqa: BLE001 - whatever a host raises is a failure
            return _ending(error, cancelled=self.cancelled.is_set())


async def _undisturbed(future: asyncio.Future[T]) -> T:
    """Wait for what cannot be taken back; a cancellation comes once it is known."""
    disturbed: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            disturbed = error
    if disturbed is not None:
        future.exception()  # it is known, and nobody asks for it any more
        raise disturbed
    return future.result()


def _ending(error: BaseException, *, cancelled: bool) -> Ending:
    try:
        return ending_of(error, cancelled=cancelled)
    except BaseException as another:  # noqa: BLE001 - what the host raised fails in its turn
        return _failed(another)


def _awaiting(task: asyncio.Task[Any]) -> Iterator[tuple[FrameType, int]]:
    """The frames of a task that waits, from its start to where it waits."""
    coroutine: Any = task.get_coro()
    for _ in range(sys.getrecursionlimit()):
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None)


def _failed(error: BaseException) -> Failed:
    return Failed(f"{type(error).__name__} while its error was read", recoverable=True)


class RunLoop:
    """An event loop on a thread of its own, started when it is first used. Thread-safe."""

    def __init__(self, threads: RunThreads) -> None:
        self._threads = threads
        self._reading = asyncio.Semaphore(_READERS)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    def call(self, callback: Callable[[], object]) -> None:
        """Call back on the loop's thread, soon; never once stopped."""
        with self._lock:
            if not self._stopped:
                self._running().call_soon_threadsafe(callback)

    def perform(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine to its end, while this thread, which is not the loop's, waits.

        Raises what the coroutine raises, and ControlPlaneStopped once stopped.
        """
        with self._lock:
            if self._stopped:
                coroutine.close()
                raise ControlPlaneStopped
            future = asyncio.run_coroutine_threadsafe(coroutine, self._running())
        future.result()

    async def read(self, read: Callable[[], T]) -> T:
        """Call a function that waits for the disk, on a thread. Used on the loop."""
        async with self._reading:
            done: Future[T] = Future()
            self._threads.start(partial(_settle, done, read))
            return await asyncio.wrap_future(done)

    def frame_in(self, task: asyncio.Task[Any]) -> FrameType | None:
        """The frame the loop's thread is in, if it is in that task and does not come back."""
        if self._loop is None or self._thread is None:
            return None
        if asyncio.current_task(self._loop) is not task:
            return None
        return sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - its one way

    def stop(self, timeout_s: float) -> None:
        """Cancel what is left and end the thread, if it comes back in time. Idempotent."""
        with self._lock:
            self._stopped = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with suppress(RuntimeError):  # stopped before, and closed
            asyncio.run_coroutine_threadsafe(_wind_up(timeout_s), loop)
        thread.join(timeout_s)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._work, args=(self._loop,), name="meerkat-run-loop", daemon=True
            )
            self._thread.start()
        return self._loop

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop until it is stopped, whatever a task of the host's lets through."""
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
            except BaseException:
                logger.exception("a task of the host's broke out of the event loop")
            if self._stopped:
                break
        loop.close()


def _settle(done: Future[T], read: Callable[[], T]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        done.set_result(read())
    except BaseException as error:  # noqa: BLE001 - it is the reader's to handle
        done.set_exception(error)


async def _wind_up(timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=timeout_s / 2)
    await loop.shutdown_asyncgens()
    loop.stop()
