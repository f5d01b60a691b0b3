"""Control plane: the typed front door to all runtimes of a store.

Every call becomes a message with a reply in it; nothing here decides anything. Any thread
may call; runtimes never wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import pykka
from attrs import frozen

from actors import messages as m
from actors.clock import Clock
from actors.collector import full_collections_put_off
from actors.event_hub import Subscription
from actors.executors import Executor, checked_executor
from actors.life import Life
from actors.many_calls import ManyCalls
from actors.replies import Handle, Reply, as_control_plane_error, wait_for
from actors.settings import (
    GRACE_S,
    MAX_CONCURRENT_RUNS,
    PASSIVATE_AFTER_S,
    STOP_TIMEOUT_S,
    STUCK_AFTER_S,
)
from actors.supervisor import RuntimeSupervisor
from actors.system import System
from actors.threaded import DriverThreads
from meerkat import kernel
from meerkat.admission import encode_input
from meerkat.bindings import SessionRuntimeBindings
from meerkat.errors import (
    CallTimedOut,
    InputValidationFailed,
)
from meerkat.events import RuntimeEventEnvelope
from meerkat.identifiers import (
    InputId,
    LogicalRuntimeId,
    RunId,
    RuntimeEpochId,
    SessionId,
    as_runtime_id,
)
from meerkat.input_lifecycle import InputState
from meerkat.inputs import Input
from meerkat.limits import (
    DEFAULT_BACKOFF,
    DEFAULT_LIMITS,
    KEEP_EVERYTHING,
    Backoff,
    Limits,
    Retention,
)
from meerkat.outcomes import (
    Accepted,
    AcceptOutcome,
    CompletionHandle,
    Deduplicated,
    Rejected,
)
from meerkat.policy import DEFAULT_POLICY, PolicyTable
from meerkat.receipts import RunBoundaryReceipt
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    ResetReport,
    RetireReport,
    StopReport,
)
from meerkat.runs import InterruptMode
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import RuntimeStore

T = TypeVar("T")
RuntimeName = LogicalRuntimeId | str


@frozen
class Submission:
    """An input on its way: ``accepted`` once it is durable, ``completion`` once it ended."""

    accepted: Reply[AcceptOutcome]
    completion: CompletionHandle


class ControlPlane:
    """Durable sessions over one store, in this process. Thread-safe.

    It owns the store from :meth:`start` to :meth:`stop`, and closes it. ``executor``
    performs the runs: a function ``(context, staged_input) -> RunOutput``, ordinary or
    ``async``, or an object with such an ``apply``. At most ``max_concurrent_runs`` are under
    way. A run that has taken ``run_deadline_s`` seconds has failed; one that is to end has
    ``grace_s`` to return; one that gives no sign for ``stuck_after_s`` is shown with its
    stack. ``policy`` decides about inputs, ``limits`` and ``backoff`` bound them. A runtime of
    which nothing was asked for ``passivate_after`` seconds leaves memory until it is asked
    again, with None only to make room for others. ``drivers`` says which threads drive
    runtimes. What is past ``retention`` is cut down in the background. :meth:`start` raises
    TypeError or ValueError for a setting of the wrong kind or range.

    Blocking calls take ``timeout`` in seconds; CallTimedOut, a TimeoutError, bounds the
    caller and never the work. Every call may raise RuntimeNotFound, InvalidState,
    StoreError, ControlPlaneStopped, and InternalError for a defect of this library;
    WouldDeadlock in a callback of a future.
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
    ) -> None:
        self._life = Life(
            lambda: RuntimeSupervisor.start(
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
            )
        )

    @classmethod
    def wrap(cls, supervisor: pykka.ActorRef[RuntimeSupervisor]) -> Self:
        """The front door to a supervisor that runs in the host's own actor tree."""
        plane = cls.__new__(cls)
        plane._life = Life(lambda: supervisor)  # noqa: SLF001 - of its own class
        return plane.start()

    # --- coming and going ---------------------------------------------------------------

    def start(self) -> Self:
        """Own the store and start, again after a stop; StoreError names another owner.

        Idempotent; while a stop is under way it waits for its end first.
        ControlPlaneStopped when a supervisor that was wrapped has ended.
        """
        self._life.start()
        return self

    def stop(self, *, drain: bool = False, timeout: float = STOP_TIMEOUT_S) -> None:
        """Refuse new work, let the runs in hand end, commit, answer everybody, close.

        After ``timeout`` seconds the runs are cancelled; what waits stays for the next
        start. ``drain`` works the lanes empty first. Undecided calls raise
        ControlPlaneStopped, open handles end as runtime_terminated. Idempotent, and whoever
        calls it while it is under way waits for the same end.
        """
        self._life.stop(m.ShutDown(drain, timeout))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # --- registering --------------------------------------------------------------------

    def register(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> SessionRuntimeBindings:
        """Make a runtime known, durably; again it gives the same bindings."""
        return wait_for(self._register(runtime_id, SessionId.new()), "register", timeout)

    def register_many(
        self, runtime_ids: Iterable[RuntimeName], *, timeout: float | None = None
    ) -> list[SessionRuntimeBindings]:
        """Make many runtimes known; their bindings in the order given.

        Each is committed on its own, many in one transaction of the store: where one is
        refused, which is raised, the others are registered all the same. ``timeout`` is for
        all of them together. Full garbage collections are put off meanwhile.
        """
        known = [as_runtime_id(each) for each in runtime_ids]
        calls = ManyCalls[SessionRuntimeBindings]("register_many", self._life.system.clock, timeout)
        with full_collections_put_off():
            for each in known:
                calls.sent(self._register(each, SessionId.new()))
            return calls.results()

    def prepare_bindings(
        self, session_id: SessionId, *, timeout: float | None = None
    ) -> SessionRuntimeBindings:
        """Make the runtime of a session known, under ``rt:session:<uuid>``.

        TypeError for what is no SessionId.
        """
        if not isinstance(session_id, SessionId):
            raise TypeError(f"a session id is a SessionId, not {type(session_id).__name__}")
        runtime_id = LogicalRuntimeId.for_session(session_id)
        return wait_for(self._register(runtime_id, session_id), "prepare_bindings", timeout)

    def unregister(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Finish the run in hand, end the other handles, and forget the runtime.

        Its ledger stays stored: :meth:`register` brings it back with a fresh epoch.
        """
        reply: Reply[None] = Reply()
        self._tell(runtime_id, m.UnregisterRuntime(reply))
        return wait_for(reply, "unregister", timeout)

    def _register(
        self, runtime_id: RuntimeName, session_id: SessionId
    ) -> Reply[SessionRuntimeBindings]:
        reply: Reply[SessionRuntimeBindings] = Reply()
        command = kernel.Register(session_id, RuntimeEpochId.new())
        self._tell(runtime_id, m.RegisterRuntime(command, reply))
        return reply

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
        reply: Reply[AcceptOutcome] = Reply()
        self._offer(runtime_id, input, reply)
        return wait_for(reply, "ingest", timeout)

    def submit(self, runtime_id: RuntimeName, input: Input) -> Submission:  # noqa: A002
        """Offer an input without waiting for the disk.

        What cannot be offered at all (InputValidationFailed, Overloaded) is raised here;
        every other refusal is in both futures.
        """
        accepted: Reply[AcceptOutcome] = Reply()
        accepted.completion = completion = Handle()
        self._offer(runtime_id, input, accepted)
        return Submission(accepted, completion)

    def _offer(
        self,
        runtime_id: RuntimeName,
        input: Input,  # noqa: A002
        reply: Reply[AcceptOutcome],
    ) -> None:
        system = self._life.system
        payload = encode_input(input, system.rules.limits.payload_bytes_max)
        name = as_runtime_id(runtime_id)
        system.calls.opened_within_limit(reply, name)
        _deliver(system, name, m.Accept(input, payload, reply))

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
        reply: Reply[CompletionHandle] = Reply()
        self._tell(runtime_id, m.Watch(_input_id_of(input_id_or_outcome), reply))
        return wait_for(reply, "completion", timeout)

    def input_state(
        self, runtime_id: RuntimeName, input_id: InputId, *, timeout: float | None = None
    ) -> InputState | None:
        """All that is known of an input; None for an unknown one."""

        def read(memory: kernel.RuntimeMemory, store: RuntimeStore) -> InputState | None:
            return memory.ledger.get(input_id) or store.load_input(memory.runtime_id, input_id)

        return self._read(runtime_id, read, "input_state", timeout)

    def active_input_ids(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> list[InputId]:
        """The non-terminal inputs, in order of admission."""

        def read(memory: kernel.RuntimeMemory, _store: RuntimeStore) -> list[InputId]:
            states = sorted(memory.ledger.active(), key=lambda s: s.admission_sequence or 0)
            return [state.input_id for state in states]

        return self._read(runtime_id, read, "active_input_ids", timeout)

    # --- events -------------------------------------------------------------------------

    def publish_event(
        self, envelope: RuntimeEventEnvelope, *, timeout: float | None = None
    ) -> None:
        """Put a host's event in order with the rest; a repeated id is dropped."""
        self._ask(envelope.runtime_id, kernel.PublishEvent(envelope), "publish_event", timeout)

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
            return self._life.system.events.subscribe(None, None)
        reply: Reply[Subscription] = Reply()
        self._tell(runtime_id, m.Subscribe(after, reply))
        try:
            return wait_for(reply, "subscribe", timeout)
        except CallTimedOut:
            reply.add_done_callback(_close_unread)
            raise

    # --- control ------------------------------------------------------------------------

    def retire(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> RetireReport:
        """Take no more input; with an executor drain what waits, without one give it up."""
        return cast("RetireReport", self._ask(runtime_id, kernel.Retire(), "retire", timeout))

    def recycle(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> RecycleReport:
        """Start over with all pending work kept in order; InvalidState while it runs."""
        return cast("RecycleReport", self._ask(runtime_id, kernel.Recycle(), "recycle", timeout))

    def reset(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> ResetReport:
        """Give everything up and begin a new epoch; InvalidState while it runs."""
        reply: Reply[ResetReport] = Reply()
        self._tell(runtime_id, m.ResetRuntime(RuntimeEpochId.new(), reply))
        return wait_for(reply, "reset", timeout)

    def recover(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> RecoveryReport:
        """Put right what a crash left, then wake; an unavailable runtime is loaded again."""
        reply: Reply[RecoveryReport] = Reply()
        self._tell(runtime_id, m.RecoverRuntime(reply))
        return wait_for(reply, "recover", timeout)

    def destroy(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> DestroyReport:
        """Give everything up, for good: from now on the runtime answers destroyed."""
        return cast("DestroyReport", self._ask(runtime_id, kernel.Destroy(), "destroy", timeout))

    def stop_runtime(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> StopReport:
        """Call the executor's stop hook, then give everything up; only reset revives it."""
        reply: Reply[StopReport] = Reply()
        self._tell(runtime_id, m.StopRuntime(reply))
        return wait_for(reply, "stop_runtime", timeout)

    def wake(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Work whatever waits, inputs that wake nobody included."""
        self._ask(runtime_id, kernel.Wake(), "wake", timeout)

    def set_silent_intents(
        self,
        runtime_id: RuntimeName,
        intents: Iterable[str],
        *,
        timeout: float | None = None,
    ) -> None:
        """Replace the set of request intents that wake nobody; TypeError for what is none."""
        command = kernel.SetSilentIntents(_checked_intents(intents))
        self._ask(runtime_id, command, "set_silent_intents", timeout)

    def attach_executor(
        self, runtime_id: RuntimeName, executor: Executor, *, timeout: float | None = None
    ) -> None:
        """Use another executor for this runtime from the next run on, and wake."""
        self._replace_executor(runtime_id, checked_executor(executor), "attach_executor", timeout)

    def detach_executor(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> None:
        """Let what waits wait; a run in hand goes on."""
        self._replace_executor(runtime_id, None, "detach_executor", timeout)

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
        reply: Reply[bool] = Reply()
        self._tell(runtime_id, m.Interrupt(InterruptMode(mode), reply))
        return wait_for(reply, "interrupt", timeout)

    def _replace_executor(
        self,
        runtime_id: RuntimeName,
        executor: Executor | None,
        call: str,
        timeout: float | None,
    ) -> None:
        reply: Reply[None] = Reply()
        self._tell(runtime_id, m.ReplaceExecutor(executor, reply))
        wait_for(reply, call, timeout)

    # --- looking ------------------------------------------------------------------------

    def runtime_state(
        self, runtime_id: RuntimeName, *, timeout: float | None = None
    ) -> RuntimeState:
        """What the runtime is doing, as of its last landed commit."""
        return self._read(
            runtime_id, lambda memory, _: memory.head.phase.state, "runtime_state", timeout
        )

    def executor_ready(self, runtime_id: RuntimeName, *, timeout: float | None = None) -> bool:
        """Is there somebody to run what waits?"""
        reply: Reply[bool] = Reply()
        self._tell(runtime_id, m.ExecutorReady(reply))
        return wait_for(reply, "executor_ready", timeout)

    def load_boundary_receipt(
        self,
        runtime_id: RuntimeName,
        run_id: RunId,
        sequence: int,
        *,
        timeout: float | None = None,
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        return self._read(
            runtime_id,
            lambda memory, store: store.load_boundary_receipt(memory.runtime_id, run_id, sequence),
            "load_boundary_receipt",
            timeout,
        )

    # --- delivering ---------------------------------------------------------------------

    def _ask(
        self, runtime_id: RuntimeName, command: kernel.Command, call: str, timeout: float | None
    ) -> object:
        reply: Reply[Any] = Reply()
        self._tell(runtime_id, m.Call(command, reply))
        return wait_for(reply, call, timeout)

    def _read(
        self,
        runtime_id: RuntimeName,
        read: Callable[[kernel.RuntimeMemory, RuntimeStore], T],
        call: str,
        timeout: float | None,
    ) -> T:
        reply: Reply[T] = Reply()
        self._tell(runtime_id, m.Query(read, reply))
        return wait_for(reply, call, timeout)

    def _tell(self, runtime_id: RuntimeName, message: Any) -> None:
        system = self._life.system
        name = as_runtime_id(runtime_id)
        system.calls.opened(message.reply)
        _deliver(system, name, message)


def _deliver(system: System, name: LogicalRuntimeId, message: Any) -> None:
    """Hand a message to its driver. What prevents that, no thread to be had say, is raised.

    The call takes no place any more then.
    """
    try:
        system.directory.deliver(name, message)
    except BaseException as error:
        said = as_control_plane_error(error)
        message.reply.fail(said)
        if said is error or not isinstance(error, Exception):
            raise
        raise said from error


def _input_id_of(value: InputId | AcceptOutcome) -> InputId:
    match value:
        case InputId():
            return value
        case Accepted(input_id=input_id) | Deduplicated(existing_id=input_id):
            return input_id
        case Rejected(reason=reason):
            raise InputValidationFailed(str(reason))
    raise TypeError(f"expected an InputId or an AcceptOutcome, not {type(value).__name__}")


def _checked_intents(intents: Iterable[str]) -> frozenset[str]:
    if isinstance(intents, str):
        raise TypeError("intents come as a collection of texts, not as one text")
    checked = tuple(intents)
    for intent in checked:
        if not isinstance(intent, str):
            raise TypeError(f"an intent is a text, not {type(intent).__name__}")
    return frozenset(checked)


def _close_unread(subscribed: Future[Subscription]) -> None:
    if subscribed.exception() is None:
        subscribed.result().close()
