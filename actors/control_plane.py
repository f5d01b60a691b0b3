"""Control plane: the typed front door to all runtimes of a store.

What a call sends is in ``actors.door``; here is what it promises, and the wait for its answer.
Nothing here decides anything. Any thread may call; runtimes never wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import pykka

from actors import messages as m
from actors.clock import Clock
from actors.collector import full_collections_put_off
from actors.dead_letters import DeadLetters
from actors.door import Asked, Door, RuntimeName, Submission
from actors.executors import Executor
from actors.feeds import F, close_granted
from actors.figures import Figures
from actors.life import Comings, HostsSupervisor, Life, one_of_a_host
from actors.many_calls import ManyCalls
from actors.redriving import Redriving
from actors.replies import wait_for
from actors.restarts import RestartPolicy
from actors.run_watch import RunNow
from actors.settings import (
    GRACE_S,
    MAX_CONCURRENT_RUNS,
    PASSIVATE_AFTER_S,
    STOP_TIMEOUT_S,
    STUCK_AFTER_S,
)
from actors.signals import TermBlocks
from actors.stopping import ShutdownReport
from actors.subscriptions import Subscription
from actors.supervised import Supervised
from actors.supervisor import RuntimeSupervisor
from actors.system import System
from actors.threaded import DriverThreads
from actors.tracing import Tracing
from actors.watching import RuntimeWatch
from meerkat.bindings import SessionRuntimeBindings
from meerkat.errors import CallTimedOut
from meerkat.events import RuntimeEventEnvelope
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, SessionId, as_runtime_ids
from meerkat.input_lifecycle import AbandonCause, InputState
from meerkat.inputs import Input
from meerkat.limits import (
    DEFAULT_BACKOFF,
    DEFAULT_LIMITS,
    KEEP_EVERYTHING,
    Backoff,
    Limits,
    Retention,
)
from meerkat.outcomes import AcceptOutcome, CompletionHandle
from meerkat.policy import DEFAULT_POLICY, PolicyTable
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

T = TypeVar("T")


class ControlPlane:
    """Durable sessions over one store, in this process. Thread-safe.

    It owns the store from :meth:`start` to :meth:`stop`, and closes it. One that is dropped
    without a stop goes on, and loses nothing; it is stopped when the interpreter ends, as is
    every one that was forgotten. ``executor``
    performs the runs: a function ``(context, staged_input) -> RunOutput``, ordinary or
    ``async``, or an object with such an ``apply``. At most ``max_concurrent_runs`` are under
    way. A run that has taken ``run_deadline_s`` seconds has failed; one that is to end has
    ``grace_s`` to return; one that gives no sign for ``stuck_after_s`` is shown with its
    stack. ``policy`` decides about inputs, ``limits`` and ``backoff`` bound them. A runtime of
    which nothing was asked for ``passivate_after`` seconds leaves memory until it is asked
    again, with None only to make room for others. ``drivers`` says which threads drive
    runtimes. What is past ``retention`` is cut down in the background. ``restart`` says how
    often what has failed is started anew, 8 times in 60 s by default, and how soon. Coroutine
    executors run on ``loop``, which is the host's, or on one of the plane's own. What is traced
    goes to ``tracing``, such as that of ``actors.otel``. :meth:`start` raises TypeError or
    ValueError for a setting of the wrong kind or range.

    Blocking calls take ``timeout`` in seconds; CallTimedOut, a TimeoutError, bounds the
    caller and never the work. Every call may raise RuntimeNotFound, InvalidState,
    StoreError, ControlPlaneStopped, and InternalError for a defect of this library;
    WouldDeadlock where the call would wait on itself, in a callback of a future or a run.
    """

    def __init__(
        self,
        store: RuntimeStore,
        executor: Executor | None = None,
        *,
        clock: Clock | None = None,
        max_concurrent_runs: int = MAX_CONCURRENT_RUNS,
        limits: Limits = DEFAULT_LIMITS,
        backoff: Backoff = DEFAULT_BACKOFF,
        policy: PolicyTable = DEFAULT_POLICY,
        grace_s: float = GRACE_S,
        run_deadline_s: float | None = None,
        stuck_after_s: float | None = STUCK_AFTER_S,
        passivate_after: float | None = PASSIVATE_AFTER_S,
        drivers: DriverThreads = DriverThreads.POOLED,
        retention: Retention = KEEP_EVERYTHING,
        restart: RestartPolicy | None = None,
        tracing: Tracing | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        start = partial(
            RuntimeSupervisor.start,
            store=store,
            executor=executor,
            clock=clock,
            max_concurrent_runs=max_concurrent_runs,
            limits=limits,
            backoff=backoff,
            policy=policy,
            grace_s=grace_s,
            run_deadline_s=run_deadline_s,
            stuck_after_s=stuck_after_s,
            passivate_after=passivate_after,
            drivers=drivers,
            retention=retention,
            restart=restart,
            tracing=tracing,
            loop=loop,
        )
        self._open(Life(start))

    @classmethod
    def wrap(cls, supervisor: pykka.ActorRef[RuntimeSupervisor] | HostsSupervisor) -> Self:
        """The front door to a supervisor that runs in the host's own actor tree.

        Of one that its tree starts anew, give a function for its present reference, such as
        ``lambda: tree.child("meerkat")``. Once the supervisor has ended every call raises
        ControlPlaneStopped; :meth:`start` asks the function again, and raises it while that
        gives None.
        """
        return cls._over(Life(one_of_a_host(supervisor), owned=False)).start()

    @classmethod
    def _over(cls, life: Life) -> Self:
        """The front door to whatever ``life`` starts."""
        plane = cls.__new__(cls)
        plane._open(life)  # noqa: SLF001 - of its own class
        return plane

    # --- coming and going ---------------------------------------------------------------

    def start(self) -> Self:
        """Own the store and start, again after a stop; StoreError names another owner.

        Idempotent; while a stop is under way it waits for its end first.
        ControlPlaneStopped when a supervisor that was wrapped has ended.
        """
        self._life.start()
        return self

    def stop(self, *, drain: bool = False, timeout: float = STOP_TIMEOUT_S) -> ShutdownReport:
        """Refuse new work, let the runs in hand end, commit, answer everybody, close.

        After ``timeout`` seconds the runs are cancelled; what waits stays for the next
        start. ``drain`` works the lanes empty first. Undecided calls raise
        ControlPlaneStopped, open handles end as runtime_terminated. Whatever hangs, it takes
        ``timeout`` and a few times ``grace_s``; the report says what was left behind.

        Idempotent: whoever calls it while it is under way, or later, gets the same report.
        The first call decides whether it drains, and the one with the least time left how
        patient it is. An exception in the main thread, Ctrl-C say, ends the wait and not the
        stop. TypeError and ValueError for a timeout that is none.
        """
        return self._life.stop(m.ShutDown(drain, timeout))

    def __enter__(self) -> Self:
        """Start; in the main thread SIGTERM ends the block, unless the host handles it.

        It raises SystemExit(143) there, whatever the thread waits for just then. While the
        block stops the plane, a second one has that wait for no run.
        """
        try:
            self._term_blocks.enter()
            return self.start()
        except BaseException:
            self._term_blocks.leave()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; the report is what :meth:`stop` gives from now on."""
        try:
            self._term_blocks.stops()
            self.stop()
        finally:
            self._term_blocks.leave()

    # --- registering --------------------------------------------------------------------

    def register(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> SessionRuntimeBindings:
        """Make a runtime known, durably; again it gives the same bindings."""
        return _answer(self._door.register(runtime_id), timeout)

    def register_many(
        self, runtime_ids: Iterable[RuntimeName], *, timeout: float | None = None
    ) -> list[SessionRuntimeBindings]:
        """Make many runtimes known; their bindings in the order given.

        Each is committed on its own, many in one transaction of the store: where one is
        refused, which is raised, the others are registered all the same. ``timeout`` is for
        all of them together. Full garbage collections are put off meanwhile.
        """
        known = as_runtime_ids(runtime_ids)
        calls = ManyCalls[SessionRuntimeBindings]("register_many", self._door.clock, timeout)
        with full_collections_put_off():
            for each in known:
                calls.sent(self._door.register(each).reply)
            return calls.results()

    def prepare_bindings(
        self, session_id: SessionId, *, timeout: float | None = None
    ) -> SessionRuntimeBindings:
        """Make the runtime of a session known, under ``rt:session:<uuid>``.

        TypeError for what is no SessionId.
        """
        return _answer(self._door.prepare_bindings(session_id), timeout)

    def unregister(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Finish the run in hand, end the other handles, and forget the runtime.

        Its ledger stays stored: :meth:`register` brings it back with a fresh epoch.
        """
        return _answer(self._door.unregister(runtime_id), timeout)

    # --- inputs -------------------------------------------------------------------------

    def ingest(
        self,
        runtime_id: RuntimeName,
        input: Input,  # noqa: A002
        *,
        timeout: float | None = None,
    ) -> AcceptOutcome:
        """Offer an input; a durable one is on disk when this returns Accepted.

        Raises InputValidationFailed and Overloaded besides; nothing is stored then.
        """
        return _answer(self._door.ingest(runtime_id, input), timeout)

    def submit(self, runtime_id: RuntimeName, input: Input) -> Submission:  # noqa: A002
        """Offer an input without waiting for the disk.

        What cannot be offered at all (InputValidationFailed, Overloaded) is raised here;
        every other refusal is in both futures.
        """
        return self._door.submit(runtime_id, input)

    def completion(
        self,
        runtime_id: RuntimeName,
        input_id_or_outcome: InputId | AcceptOutcome,
        *,
        timeout: float | None = None,
    ) -> CompletionHandle:
        """A handle on an input's end; of one that has ended, it is resolved already.

        Raises InputNotFound for an unknown id and InputValidationFailed for a rejection.
        """
        return _answer(self._door.completion(runtime_id, input_id_or_outcome), timeout)

    def input_state(
        self, runtime_id: RuntimeName, input_id: InputId, *, timeout: float | None = None
    ) -> InputState | None:
        """All that is known of an input; None for an unknown one."""
        return _answer(self._door.input_state(runtime_id, input_id), timeout)

    def active_input_ids(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> list[InputId]:
        """The non-terminal inputs, in order of admission."""
        return _answer(self._door.active_input_ids(runtime_id), timeout)

    # --- events -------------------------------------------------------------------------

    def publish_event(
        self, envelope: RuntimeEventEnvelope, *, timeout: float | None = None
    ) -> None:
        """Put a host's event in order with the rest; a repeated id is dropped.

        Raises InputValidationFailed for what JSON cannot carry: it could not be told.
        """
        _answer(self._door.publish_event(envelope), timeout)

    def subscribe(
        self,
        runtime_id: RuntimeName | None = None,
        after: int | None = None,
        *,
        timeout: float | None = None,
    ) -> Subscription:
        """Events as an iterator with ``close()``.

        Of one runtime: those above ``after``, or from now on; of all: from now on.
        """
        if runtime_id is None:
            return self._door.subscribe_to_all()
        return _granted(self._door.subscribe(runtime_id, after), timeout)

    def watch(
        self, runtime_id: RuntimeName | None = None, *, timeout: float | None = None
    ) -> RuntimeWatch:
        """What becomes of a runtime's driver, as an iterator with ``close()``.

        It tells of restarts, of being set aside and brought back, and of the end, from now
        on; of one that is set aside or has ended, that first. Without a runtime, of all.
        """
        if runtime_id is None:
            return self._door.watch_all()
        return _granted(self._door.watch(runtime_id), timeout)

    def dead_letters(self) -> DeadLetters:
        """The messages that came too late for what they were meant for; waits for nothing.

        A call is no dead letter: it is answered with an error.
        """
        return self._door.dead_letters()

    # --- control ------------------------------------------------------------------------

    def retire(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> RetireReport:
        """Take no more input; with an executor drain what waits, without one give it up."""
        return _answer(self._door.retire(runtime_id), timeout)

    def recycle(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> RecycleReport:
        """Start over with all pending work kept in order; InvalidState while it runs."""
        return _answer(self._door.recycle(runtime_id), timeout)

    def reset(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> ResetReport:
        """Give everything up and begin a new epoch; InvalidState while it runs."""
        return _answer(self._door.reset(runtime_id), timeout)

    def recover(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> RecoveryReport:
        """Put right what a crash left, then wake; an unavailable runtime is loaded again."""
        return _answer(self._door.recover(runtime_id), timeout)

    def destroy(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> DestroyReport:
        """Give everything up, for good: from now on the runtime answers destroyed."""
        return _answer(self._door.destroy(runtime_id), timeout)

    def stop_runtime(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> StopReport:
        """Call the executor's stop hook, then give everything up; only reset revives it."""
        return _answer(self._door.stop_runtime(runtime_id), timeout)

    def wake(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Work whatever waits, inputs that wake nobody included."""
        _answer(self._door.wake(runtime_id), timeout)

    def pause(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Start no run from now on; inputs are accepted as before, and wait.

        A run in hand goes on to its end. It is durable, and holds until :meth:`resume`: over
        restarts, and whatever else is done to the runtime. Idempotent.
        """
        _answer(self._door.pause(runtime_id), timeout)

    def resume(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Start runs again, with what has waited. Idempotent."""
        _answer(self._door.resume(runtime_id), timeout)

    def redrive(
        self,
        runtime_id: RuntimeName,
        input_ids: Iterable[InputId] | None = None,
        *,
        causes: Iterable[AbandonCause] = EVERY_CAUSE,
        timeout: float | None = None,
    ) -> RedriveReport:
        """Offer inputs that were given up again, as new ones; the report says which are back.

        These inputs in this order, or all that are not back yet, the oldest first; of them
        those that were given up for one of ``causes``. Each comes back once, under
        :func:`meerkat.redrive.redriven_id` of its id, however often it is asked for; the old
        one is its ``causation_id``, and it has no key. What is not admitted in the runtime's
        state raises InvalidState; Overloaded stops half-way, as anything else that is raised:
        what came back until then is back, and the next call goes on. TypeError for what is no
        collection of input ids or causes.
        """
        steps = Redriving(self._door, runtime_id, input_ids, causes, timeout)
        while not steps.over:
            steps.took(_answer(steps.ask(), steps.left_s))
        return steps.report

    def set_silent_intents(
        self,
        runtime_id: RuntimeName,
        intents: Iterable[str],
        *,
        timeout: float | None = None,
    ) -> None:
        """Replace the set of request intents that wake nobody.

        TypeError for what is none, ValueError for a text with a lone surrogate.
        """
        _answer(self._door.set_silent_intents(runtime_id, intents), timeout)

    def attach_executor(
        self, runtime_id: RuntimeName, executor: Executor, *, timeout: float | None = None
    ) -> None:
        """Use another executor for this runtime from the next run on, and wake."""
        _answer(self._door.attach_executor(runtime_id, executor), timeout)

    def detach_executor(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Let what waits wait; a run in hand goes on."""
        _answer(self._door.detach_executor(runtime_id), timeout)

    def interrupt(
        self,
        runtime_id: RuntimeName,
        mode: InterruptMode | str,
        *,
        timeout: float | None = None,
    ) -> bool:
        """Have the run in hand end; says whether there was one to tell.

        ``now`` sets its ``cancelled`` at once; ``after_boundary`` raises RunCancelled at its
        next ``boundary()`` or ``wait()``, and in the one it is in. From when it learns of
        it, the run has the plane's grace to return; then the runtime goes on without it.
        Inputs of a run that ends so are abandoned as cancelled. ValueError for another mode.
        """
        return _answer(self._door.interrupt(runtime_id, mode), timeout)

    # --- looking ------------------------------------------------------------------------

    def runtime_state(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> RuntimeState:
        """What the runtime is doing, as of its last landed commit."""
        return _answer(self._door.runtime_state(runtime_id), timeout)

    def executor_ready(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> bool:
        """Is there somebody to run what waits?"""
        return _answer(self._door.executor_ready(runtime_id), timeout)

    def load_boundary_receipt(
        self,
        runtime_id: RuntimeName,
        run_id: RunId,
        sequence: int,
        *,
        timeout: float | None = None,
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        return _answer(self._door.load_boundary_receipt(runtime_id, run_id, sequence), timeout)

    def figures(self) -> Figures:
        """The plane in numbers: how things stand, and what was counted since the start.

        This and the next two wait for nothing, and raise nothing but ControlPlaneStopped, from
        the end of a stop on, and ControlPlaneForked.
        """
        return self._door.figures()

    def runs_in_hand(self) -> tuple[RunNow, ...]:
        """The runs that are under way, in the order in which they began."""
        return self._door.runs_in_hand()

    def supervision(self) -> Supervised:
        """What runs for this plane, how each part stands, and which drivers are in trouble."""
        return self._door.supervision()

    def _open(self, life: Comings, door: Door | None = None) -> None:
        self._life = life
        self._door = door or Door(life, _refuse_deadlock)
        self._term_blocks = TermBlocks(life.hurry)


def _refuse_deadlock(system: System, call: str, runtime_id: LogicalRuntimeId) -> None:
    system.waits.refuse(call, runtime_id)


def _granted(asked: Asked[F], timeout_s: float | None) -> F:
    """The same of a feed; one that comes too late is closed."""
    try:
        return _answer(asked, timeout_s)
    except CallTimedOut:
        asked.reply.add_done_callback(close_granted)
        raise


def _answer(asked: Asked[T], timeout: float | None) -> T:
    return wait_for(asked.reply, asked.call, timeout)
