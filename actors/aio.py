"""Async control plane: the front door for hosts that live in an event loop.

Its calls are those of ``ControlPlane`` by the same names, awaited instead of waited for: the
same messages, the same promises and errors. Nothing here blocks the loop for longer than it
takes to encode an input. This module is not imported with the package: hosts ask for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias, TypeVar, Unpack

import pykka
from attrs import frozen

from actors.aio_feeds import AsyncFeed
from actors.awaiting import AsyncFuture, Bells
from actors.control_plane import ControlPlane
from actors.dead_letters import DeadLetters
from actors.directory import ROOM_WAIT_S
from actors.door import Asked, Door, RuntimeName
from actors.executors import Executor
from actors.feeds import Feed
from actors.figures import Figures
from actors.life import HostsSupervisor, Life
from actors.light import LightFuture
from actors.redriving import Redriving
from actors.run_places import RunThreads
from actors.run_watch import RunNow
from actors.settings import STOP_TIMEOUT_S, SettingsByName
from actors.stopping import ShutdownReport
from actors.supervised import Supervised
from actors.supervisor import RuntimeSupervisor
from actors.watching import RuntimeNotice
from meerkat.bindings import SessionRuntimeBindings
from meerkat.errors import LoopClosed, Overloaded
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import InputId, RunId, SessionId, as_runtime_ids
from meerkat.input_lifecycle import AbandonCause, InputState
from meerkat.inputs import Input
from meerkat.outcomes import AcceptOutcome, CompletionOutcome
from meerkat.receipts import RunBoundaryReceipt
from meerkat.redrive import EVERY_CAUSE
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    RedriveReport,
    ResetReport,
    RetireReport,
    StopReport,
)
from meerkat.runs import InterruptMode
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import RuntimeStore

__all__ = [
    "AsyncControlPlane",
    "AsyncFuture",
    "AsyncRuntimeWatch",
    "AsyncSubmission",
    "AsyncSubscription",
]

AsyncSubscription: TypeAlias = AsyncFeed[RuntimeEventEnvelope | EventGap]
AsyncRuntimeWatch: TypeAlias = AsyncFeed[RuntimeNotice]

T = TypeVar("T")


@frozen
class AsyncSubmission:
    """An input on its way: ``accepted`` once it is durable, ``completion`` once it ended."""

    accepted: AsyncFuture[AcceptOutcome]
    completion: AsyncFuture[CompletionOutcome]


class AsyncControlPlane:
    """Durable sessions over one store, for coroutines. Any number of loops may use one.

    It takes the settings of ``ControlPlane``. Coroutine executors run on the loop that it is
    started on, where the host's clients live; with ``loop=None`` on one of the plane's own.
    At the end only what was begun for the plane is cancelled there. Ordinary executors run on
    threads, as ever.

    A call that is cancelled while it waits is on its way all the same: cancelling bounds the
    caller, as ``timeout`` does, and never the work. Every call raises what that of
    ``ControlPlane`` raises, and LoopClosed once the loop of its executors was closed.
    """

    def __init__(
        self,
        store: RuntimeStore,
        executor: Executor | None = None,
        **settings: Unpack[SettingsByName],
    ) -> None:
        self._started_on: asyncio.AbstractEventLoop | None = None
        self._bells = Bells()

        def start() -> pykka.ActorRef[RuntimeSupervisor]:
            given = {"loop": self._started_on, **settings}
            return RuntimeSupervisor.start(store=store, executor=executor, **given)

        self._stand_before(ControlPlane._over(Life(start)))  # noqa: SLF001 - what it is for

    def _stand_before(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._calls = plane._door.without_waits()  # noqa: SLF001 - what it is for

    @classmethod
    async def wrap(
        cls, running: ControlPlane | pykka.ActorRef[RuntimeSupervisor] | HostsSupervisor
    ) -> Self:
        """The front door to what runs already: a control plane, or a supervisor of the host's."""
        wrapped = cls.__new__(cls)
        wrapped._bells = Bells()  # noqa: SLF001 - of its own class
        if not isinstance(running, ControlPlane):
            wrap = partial(ControlPlane.wrap, running)
            running = await wrapped._on_a_thread(wrap)  # noqa: SLF001 - as above
        wrapped._stand_before(running)  # noqa: SLF001 - as above
        return wrapped

    # --- coming and going ---------------------------------------------------------------

    async def start(self) -> Self:
        """Own the store and start. Cancelled, it is started all the same: stop it then."""
        await self._starting()
        return self

    def _starting(self) -> AsyncFuture[ControlPlane]:
        self._started_on = asyncio.get_running_loop()
        return self._on_a_thread(self._plane.start)

    async def stop(self, *, drain: bool = False, timeout: float = STOP_TIMEOUT_S) -> ShutdownReport:
        """Refuse new work, let the runs in hand end, commit, answer everybody, close.

        Cancelled, it goes on to its end all the same. ``timeout`` is for the runs, as in
        ``ControlPlane``, and the loop is free meanwhile.
        """
        return await self._on_a_thread(partial(self._plane.stop, drain=drain, timeout=timeout))

    async def __aenter__(self) -> Self:
        starting = self._starting()

        def undo() -> None:
            starting.future.exception()  # it comes to its end first
            self._plane.stop()

        try:
            await starting
        except asyncio.CancelledError:
            await self._on_a_thread(undo)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- registering --------------------------------------------------------------------

    async def register(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> SessionRuntimeBindings:
        """Make a runtime known, durably; again it gives the same bindings."""
        return await self._answer(self._door.register(runtime_id), timeout)

    async def register_many(
        self, runtime_ids: Iterable[RuntimeName], *, timeout: float | None = None
    ) -> list[SessionRuntimeBindings]:
        """Make many runtimes known, on a thread; their bindings in the order given."""
        register = partial(self._plane.register_many, as_runtime_ids(runtime_ids), timeout=timeout)
        return await self._on_a_thread(register)

    async def prepare_bindings(
        self, session_id: SessionId, *, timeout: float | None = None
    ) -> SessionRuntimeBindings:
        """Make the runtime of a session known, under ``rt:session:<uuid>``."""
        return await self._answer(self._door.prepare_bindings(session_id), timeout)

    async def unregister(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Finish the run in hand, end the other handles, and forget the runtime."""
        return await self._answer(self._door.unregister(runtime_id), timeout)

    # --- inputs -------------------------------------------------------------------------

    async def ingest(
        self,
        runtime_id: RuntimeName,
        input: Input,  # noqa: A002
        *,
        timeout: float | None = None,
    ) -> AcceptOutcome:
        """Offer an input; a durable one is on disk when this gives Accepted."""
        try:
            asked = self._door.ingest(runtime_id, input)
        except Overloaded as full:
            if full.limit != "live_runtimes_max":
                raise
            await asyncio.sleep(ROOM_WAIT_S)  # in which a thread would wait for room
            asked = self._door.ingest(runtime_id, input)
        return await self._answer(asked, timeout)

    def submit(self, runtime_id: RuntimeName, input: Input) -> AsyncSubmission:  # noqa: A002
        """Offer an input without waiting at all; not to be awaited, its two futures are.

        What cannot be offered (InputValidationFailed, Overloaded) is raised here.
        """
        sent = self._door.submit(runtime_id, input)
        return AsyncSubmission(self._future(sent.accepted), self._future(sent.completion))

    async def completion(
        self,
        runtime_id: RuntimeName,
        input_id_or_outcome: InputId | AcceptOutcome,
        *,
        timeout: float | None = None,
    ) -> AsyncFuture[CompletionOutcome]:
        """A handle on an input's end, to be awaited; of one that has ended, it is known already."""
        asked = self._door.completion(runtime_id, input_id_or_outcome)
        handle = await self._answer(asked, timeout)
        return self._future(handle)

    async def input_state(
        self, runtime_id: RuntimeName, input_id: InputId, *, timeout: float | None = None
    ) -> InputState | None:
        """All that is known of an input; None for an unknown one."""
        return await self._answer(self._door.input_state(runtime_id, input_id), timeout)

    async def active_input_ids(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> list[InputId]:
        """The non-terminal inputs, in order of admission."""
        return await self._answer(self._door.active_input_ids(runtime_id), timeout)

    # --- events -------------------------------------------------------------------------

    async def publish_event(
        self, envelope: RuntimeEventEnvelope, *, timeout: float | None = None
    ) -> None:
        """Put a host's event in order with the rest; a repeated id is dropped."""
        return await self._answer(self._door.publish_event(envelope), timeout)

    def subscribe(
        self,
        runtime_id: RuntimeName | None = None,
        after: int | None = None,
        *,
        timeout: float | None = None,
    ) -> AsyncSubscription:
        """Events as an asynchronous iterator with ``aclose()``, and a context that closes it.

        Of one runtime: those above ``after``, or from now on, which is this call; of all: from
        now on. ``timeout`` is for being granted it.
        """
        door = self._door
        if runtime_id is None:
            return self._feed(self._known(door.subscribe_to_all()), "subscribe", timeout)
        granted = self._future(door.subscribe(runtime_id, after).reply)
        return self._feed(granted, "subscribe", timeout)

    def watch(
        self, runtime_id: RuntimeName | None = None, *, timeout: float | None = None
    ) -> AsyncRuntimeWatch:
        """What becomes of a runtime's driver, or of all, as an asynchronous iterator.

        ``timeout`` is for being granted it.
        """
        door = self._door
        if runtime_id is None:
            return self._feed(self._known(door.watch_all()), "watch", timeout)
        granted = self._future(door.watch(runtime_id).reply)
        return self._feed(granted, "watch", timeout)

    def dead_letters(self) -> DeadLetters:
        """The messages that came too late for what they were meant for; waits for nothing."""
        return self._door.dead_letters()

    # --- control ------------------------------------------------------------------------

    async def retire(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> RetireReport:
        """Take no more input; with an executor drain what waits, without one give it up."""
        return await self._answer(self._door.retire(runtime_id), timeout)

    async def recycle(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> RecycleReport:
        """Start over with all pending work kept in order; InvalidState while it runs."""
        return await self._answer(self._door.recycle(runtime_id), timeout)

    async def reset(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> ResetReport:
        """Give everything up and begin a new epoch; InvalidState while it runs."""
        return await self._answer(self._door.reset(runtime_id), timeout)

    async def recover(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> RecoveryReport:
        """Put right what a crash left, then wake; an unavailable runtime is loaded again."""
        return await self._answer(self._door.recover(runtime_id), timeout)

    async def destroy(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> DestroyReport:
        """Give everything up, for good: from now on the runtime answers destroyed."""
        return await self._answer(self._door.destroy(runtime_id), timeout)

    async def stop_runtime(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> StopReport:
        """Call the executor's stop hook, then give everything up; only reset revives it."""
        return await self._answer(self._door.stop_runtime(runtime_id), timeout)

    async def wake(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Work whatever waits, inputs that wake nobody included."""
        return await self._answer(self._door.wake(runtime_id), timeout)

    async def pause(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Start no run from now on, until :meth:`resume`; inputs are accepted, and wait."""
        return await self._answer(self._door.pause(runtime_id), timeout)

    async def resume(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Start runs again, with what has waited."""
        return await self._answer(self._door.resume(runtime_id), timeout)

    async def redrive(
        self,
        runtime_id: RuntimeName,
        input_ids: Iterable[InputId] | None = None,
        *,
        causes: Iterable[AbandonCause] = EVERY_CAUSE,
        timeout: float | None = None,
    ) -> RedriveReport:
        """Offer inputs that were given up again, as new ones; the report says which are back.

        Cancelled, what came back until then is back, and the next call goes on.
        """
        steps = Redriving(self._door, runtime_id, input_ids, causes, timeout)
        while not steps.over:
            steps.took(await self._answer(steps.ask(), steps.left_s))
        return steps.report

    async def set_silent_intents(
        self, runtime_id: RuntimeName, intents: Iterable[str], *, timeout: float | None = None
    ) -> None:
        """Replace the set of request intents that wake nobody; TypeError for what is none."""
        return await self._answer(self._door.set_silent_intents(runtime_id, intents), timeout)

    async def attach_executor(
        self, runtime_id: RuntimeName, executor: Executor, *, timeout: float | None = None
    ) -> None:
        """Use another executor for this runtime from the next run on, and wake."""
        return await self._answer(self._door.attach_executor(runtime_id, executor), timeout)

    async def detach_executor(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> None:
        """Let what waits wait; a run in hand goes on."""
        return await self._answer(self._door.detach_executor(runtime_id), timeout)

    async def interrupt(
        self,
        runtime_id: RuntimeName,
        mode: InterruptMode | str,
        *,
        timeout: float | None = None,
    ) -> bool:
        """Have the run in hand end; says whether there was one to tell."""
        return await self._answer(self._door.interrupt(runtime_id, mode), timeout)

    # --- looking ------------------------------------------------------------------------

    async def runtime_state(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> RuntimeState:
        """What the runtime is doing, as of its last landed commit."""
        return await self._answer(self._door.runtime_state(runtime_id), timeout)

    async def executor_ready(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> bool:
        """Is there somebody to run what waits?"""
        return await self._answer(self._door.executor_ready(runtime_id), timeout)

    async def load_boundary_receipt(
        self,
        runtime_id: RuntimeName,
        run_id: RunId,
        sequence: int,
        *,
        timeout: float | None = None,
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        asked = self._door.load_boundary_receipt(runtime_id, run_id, sequence)
        return await self._answer(asked, timeout)

    def figures(self) -> Figures:
        """The plane in numbers; not to be awaited, it waits for nothing, as the next two."""
        return self._calls.figures()

    def runs_in_hand(self) -> tuple[RunNow, ...]:
        """The runs that are under way, in the order in which they began."""
        return self._calls.runs_in_hand()

    def supervision(self) -> Supervised:
        """What runs for this plane, how each part stands, and which drivers are in trouble."""
        return self._calls.supervision()

    # --- awaiting -----------------------------------------------------------------------

    @property
    def _door(self) -> Door:
        if self._calls.loop_is_missed:
            raise LoopClosed
        return self._calls

    def _future(self, future: Future[T]) -> AsyncFuture[T]:
        return AsyncFuture(future, self._bells)

    def _known(self, value: T) -> AsyncFuture[T]:
        known: LightFuture[T] = LightFuture()
        known.set_result(value)
        return self._future(known)

    def _feed(
        self, granted: AsyncFuture[Feed[T]], call: str, timeout: float | None
    ) -> AsyncFeed[T]:
        return AsyncFeed(granted, self._bells, call=call, timeout_s=timeout)

    async def _answer(self, asked: Asked[T], timeout: float | None) -> T:
        return await self._future(asked.reply).within(timeout, asked.call)

    def _on_a_thread(self, work: Callable[[], T]) -> AsyncFuture[T]:
        """What blocks, on a thread that ends with it; cancelled, it goes on to its end."""
        threads = RunThreads()
        done = threads.outcome_of(work)
        threads.stop()
        return self._future(done)
