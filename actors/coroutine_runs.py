"""Coroutine runs: what a coroutine executor is handed, on the loop of its control plane.

Thousands are under way at a time. A run is cancelled by CancelledError, raised where it
awaits.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Generator, Iterator
from functools import partial
from types import FrameType
from typing import Any, Final, TypeVar

from actors.executors import Ending, Stopped, ending_of, planned
from actors.run_loop import RunLoop
from actors.runs import FRAMES_SHOWN, RunBase
from actors.thread_frames import stack_of
from meerkat.boundary import AsyncBoundary
from meerkat.conversation import Conversation, MessageLog, decoded
from meerkat.errors import RunCancelled
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import InputId
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunOutput, WakeReason

T = TypeVar("T")


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
        self.attention.refuse_over()
        return decoded(self._session.snapshot())

    @property
    def snapshot(self) -> bytes | None:
        """The opaque bytes that were committed last."""
        self.attention.refuse_over()
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
        seconds = self._begin_to_wait(seconds)
        try:
            async with asyncio.timeout(seconds):
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
        reached(FailPoint.BOUNDARY_PLANNED)
        reply = self._link.commit_boundary(input_ids, plan, conversation)
        # On the loop, and before the waiter there goes on: callbacks keep their order.
        reply.add_done_callback(
            lambda reply: None if reply.exception() else self._loop.call(taken_over)
        )
        receipt = await _undisturbed(asyncio.wrap_future(reply))
        reached(FailPoint.BOUNDARY_COMMITTED)
        return receipt

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
            return stack_of(frame, FRAMES_SHOWN)
        frames = traceback.StackSummary.extract(_awaiting(task), limit=-FRAMES_SHOWN)
        return "".join(frames.format())

    def start(self) -> None:
        """Perform the run on its loop; it says itself how it ended. Lets nothing through."""
        if not self._loop.call(self._begin):
            self._end(Stopped())  # no loop to run on: its inputs wait, uncounted

    def _begin(self) -> None:
        try:
            self._begin_task()
        except BaseException as error:  # noqa: BLE001 - nobody else would say how it ended
            self.lost(error)

    def _begin_task(self) -> None:
        self._task = self._loop.begin(self._link.in_context(self._outcome))
        self._task.add_done_callback(self._done)
        if self._told.is_set():  # before there was a task
            self._task.cancel()

    def _done(self, task: asyncio.Task[Ending]) -> None:
        """Say how it ended, one that was cancelled before its first step included."""
        self._task = None
        try:
            if task.cancelled():
                cancelled = asyncio.CancelledError()
                self._end(ending_of(cancelled, cancelled=self.cancelled.is_set()))
            else:
                self._end(task.result())
        except BaseException as error:  # noqa: BLE001 - nobody else would say how it ended
            self.lost(error)

    async def _outcome(self) -> Ending:
        self._link.carried()
        try:
            self._session = MessageLog(await self._loop.read(self._read_session))
            reached(FailPoint.RUN_BEGINS)
            output = await self._apply(self, self._primitive)
            return planned(output, self._loaded(), self._session.snapshot)
        except BaseException as error:  # noqa: BLE001 - whatever a host raises is a failure
            return ending_of(error, cancelled=self.cancelled.is_set())


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


def _awaiting(task: asyncio.Task[Any]) -> Iterator[tuple[FrameType, int]]:
    """The frames of a task that waits, from its start to where it waits."""
    coroutine: Any = task.get_coro()
    for _ in range(sys.getrecursionlimit()):
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None:
            return
        yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "cr_await", None)
