"""Door: every public call of a control plane as a message, and the reply that it will get.

Each call is checked, opened and put in the mailbox of its runtime here, and waits for nothing
on the way: how its answer is waited for is the caller's. What cannot be asked at all is raised
at once, in the control plane's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import frozen

from actors import messages as m
from actors.clock import Clock
from actors.dead_letters import DeadLetters
from actors.executors import Executor, checked_executor
from actors.figures import Figures, figures_of
from actors.life import Comings
from actors.replies import Handle, Reply, as_control_plane_error
from actors.run_watch import RunNow
from actors.subscriptions import Subscription
from actors.supervised import Supervised
from actors.supervision import supervision_of
from actors.system import System
from actors.traces import OfferReply
from actors.watching import RuntimeWatch
from meerkat import kernel
from meerkat.admission import encode_input
from meerkat.bindings import SessionRuntimeBindings
from meerkat.codec import to_json
from meerkat.errors import ControlPlaneStopped, DecodeError, InputValidationFailed, Overloaded
from meerkat.events import RuntimeEventEnvelope
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import (
    InputId,
    LogicalRuntimeId,
    RunId,
    RuntimeEpochId,
    SessionId,
    as_runtime_id,
)
from meerkat.input_lifecycle import AbandonCause, InputState
from meerkat.inputs import Input
from meerkat.json_values import canonical
from meerkat.outcomes import Accepted, AcceptOutcome, CompletionHandle, Deduplicated, Rejected
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
class Asked(Generic[T]):
    """A call on its way: what was asked, of which runtime, and where the answer will be."""

    call: str
    runtime_id: LogicalRuntimeId
    reply: Reply[T]


@frozen
class Submission:
    """An input on its way: ``accepted`` once it is durable, ``completion`` once it ended."""

    accepted: Reply[AcceptOutcome]
    completion: CompletionHandle


class Door:
    """The calls of one front door. Thread-safe.

    Each promises what the method of that name promises in ``ControlPlane``. ``before`` is given
    each call but ``submit`` before it is sent, and may refuse it: what is refused has not
    happened.
    """

    def __init__(
        self, life: Comings, before: Callable[[System, str, LogicalRuntimeId], None] | None = None
    ) -> None:
        self._life = life
        self._before = before

    @property
    def system(self) -> System:
        """What is behind it just now; ControlPlaneStopped when that was never started."""
        return self._life.system

    @property
    def clock(self) -> Clock:
        """What its timeouts are measured by."""
        return self.system.clock

    @property
    def loop_is_missed(self) -> bool:
        """Was the event loop that carries coroutine runs closed by its host?"""
        return self.system.loop.is_missed

    def without_waits(self) -> Door:
        """The same calls for who waits for no answer on a thread: nothing is refused before."""
        return Door(self._life)

    # --- registering --------------------------------------------------------------------

    def register(self, runtime_id: RuntimeName) -> Asked[SessionRuntimeBindings]:
        """Make a runtime known, under a session of its own."""
        return self.register_session(runtime_id, SessionId.new(), "register")

    def prepare_bindings(self, session_id: SessionId) -> Asked[SessionRuntimeBindings]:
        """Make the runtime of a session known."""
        if not isinstance(session_id, SessionId):
            raise TypeError(f"a session id is a SessionId, not {type(session_id).__name__}")
        runtime_id = LogicalRuntimeId.for_session(session_id)
        return self.register_session(runtime_id, session_id, "prepare_bindings")

    def register_session(
        self, runtime_id: RuntimeName, session_id: SessionId, call: str
    ) -> Asked[SessionRuntimeBindings]:
        """Make a runtime known as that of ``session_id``, unless it has a session."""
        command = kernel.Register(session_id, RuntimeEpochId.new())
        return self.ask(runtime_id, call, m.RegisterRuntime(command, Reply()))

    def unregister(self, runtime_id: RuntimeName) -> Asked[None]:
        """Finish the run in hand, end the other handles, and forget the runtime."""
        return self.ask(runtime_id, "unregister", m.UnregisterRuntime(Reply()))

    # --- inputs -------------------------------------------------------------------------

    def ingest(self, runtime_id: RuntimeName, input: Input) -> Asked[AcceptOutcome]:  # noqa: A002
        """Offer an input."""
        system, name = self.system, as_runtime_id(runtime_id)
        reply = Reply() if system.traces is None else system.traces.reply_to(name, input)
        return self._offer(system, name, input, reply, self._before)

    def submit(self, runtime_id: RuntimeName, input: Input) -> Submission:  # noqa: A002
        """Offer an input, with a handle on its end."""
        system, name = self.system, as_runtime_id(runtime_id)
        accepted = Reply() if system.traces is None else system.traces.reply_to(name, input)
        accepted.completion = completion = Handle(system.waits, name)
        self._offer(system, name, input, accepted)
        return Submission(accepted, completion)

    def _offer(
        self,
        system: System,
        name: LogicalRuntimeId,
        input: Input,  # noqa: A002
        reply: Reply[AcceptOutcome],
        before: Callable[[System, str, LogicalRuntimeId], None] | None = None,
    ) -> Asked[AcceptOutcome]:
        reply.arrived = system.clock.monotonic()
        try:
            payload = encode_input(input, system.rules.limits.payload_bytes_max)
            if before is not None:
                before(system, "ingest", name)
            reached(FailPoint.INPUT_OFFERED)
        except BaseException as error:
            if isinstance(reply, OfferReply):
                reply.refused(error)
            raise
        message = m.Accept(input, payload, reply)
        if system.sharing is not None:
            reply.message = message
        try:
            _deliver(system, name, message, partial(system.calls.opened_within_limit, reply, name))
        except Overloaded:
            system.counts.overload()
            raise
        return Asked("ingest", name, reply)

    def redrive(
        self,
        runtime_id: RuntimeName,
        input_ids: tuple[InputId, ...] | None,
        after: str | None,
        causes: frozenset[AbandonCause],
    ) -> Asked[m.Redriven]:
        """Have inputs that were given up offered again: these, or the next few of all."""
        return self.ask(runtime_id, "redrive", m.Redrive(input_ids, after, causes, Reply()))

    def completion(
        self, runtime_id: RuntimeName, input_id_or_outcome: InputId | AcceptOutcome
    ) -> Asked[CompletionHandle]:
        """Ask for a handle on an input's end."""
        message = m.Watch(input_id_of(input_id_or_outcome), Reply())
        return self.ask(runtime_id, "completion", message)

    def input_state(self, runtime_id: RuntimeName, input_id: InputId) -> Asked[InputState | None]:
        """Ask for all that is known of an input."""
        _refuse_other(input_id, InputId)

        def read(memory: kernel.RuntimeMemory, store: RuntimeStore) -> InputState | None:
            return memory.ledger.get(input_id) or store.load_input(memory.runtime_id, input_id)

        return self.read(runtime_id, "input_state", read)

    def active_input_ids(self, runtime_id: RuntimeName) -> Asked[list[InputId]]:
        """Ask for the non-terminal inputs, in order of admission."""

        def read(memory: kernel.RuntimeMemory, _store: RuntimeStore) -> list[InputId]:
            states = sorted(memory.ledger.active(), key=_place)
            return [state.input_id for state in states]

        return self.read(runtime_id, "active_input_ids", read)

    # --- events -------------------------------------------------------------------------

    def publish_event(self, envelope: RuntimeEventEnvelope) -> Asked[None]:
        """Put a host's event in order with the rest, if every reader can be told of it."""
        _refuse_other(envelope, RuntimeEventEnvelope)
        try:
            to_json(envelope)
        except DecodeError as error:
            raise InputValidationFailed(error.reason) from None
        return self._command(envelope.runtime_id, "publish_event", kernel.PublishEvent(envelope))

    def subscribe(self, runtime_id: RuntimeName, after: int | None) -> Asked[Subscription]:
        """Ask for the events of one runtime."""
        _refuse_other(0 if after is None else after, int)
        return self.ask(runtime_id, "subscribe", m.Subscribe(after, Reply()))

    def subscribe_to_all(self) -> Subscription:
        """Everybody's events from now on, which no runtime has to be asked for."""
        return self.system.events.subscribe(None, None)

    def watch(self, runtime_id: RuntimeName) -> Asked[RuntimeWatch]:
        """Ask to hear what becomes of a runtime's driver."""
        return self.ask(runtime_id, "watch", m.WatchRuntime(Reply()))

    def watch_all(self) -> RuntimeWatch:
        """Hear what becomes of every driver, from now on."""
        return self.system.watchers.watch()

    def dead_letters(self) -> DeadLetters:
        """What came too late so far."""
        return self.system.dead_letters.read()

    # --- control ------------------------------------------------------------------------

    def retire(self, runtime_id: RuntimeName) -> Asked[RetireReport]:
        """Take no more input."""
        return self._command(runtime_id, "retire", kernel.Retire())

    def recycle(self, runtime_id: RuntimeName) -> Asked[RecycleReport]:
        """Start over with all pending work."""
        return self._command(runtime_id, "recycle", kernel.Recycle())

    def reset(self, runtime_id: RuntimeName) -> Asked[ResetReport]:
        """Give everything up and begin a new epoch."""
        return self.ask(runtime_id, "reset", m.ResetRuntime(RuntimeEpochId.new(), Reply()))

    def recover(self, runtime_id: RuntimeName) -> Asked[RecoveryReport]:
        """Put right what a crash left."""
        return self.ask(runtime_id, "recover", m.RecoverRuntime(Reply()))

    def destroy(self, runtime_id: RuntimeName) -> Asked[DestroyReport]:
        """Give everything up, for good."""
        return self._command(runtime_id, "destroy", kernel.Destroy())

    def stop_runtime(self, runtime_id: RuntimeName) -> Asked[StopReport]:
        """Call the executor's stop hook, then give everything up."""
        return self.ask(runtime_id, "stop_runtime", m.StopRuntime(Reply()))

    def wake(self, runtime_id: RuntimeName) -> Asked[None]:
        """Work whatever waits."""
        return self._command(runtime_id, "wake", kernel.Wake())

    def pause(self, runtime_id: RuntimeName) -> Asked[None]:
        """Have no run started."""
        return self._command(runtime_id, "pause", kernel.SetPaused(paused=True))

    def resume(self, runtime_id: RuntimeName) -> Asked[None]:
        """Have runs started again."""
        return self._command(runtime_id, "resume", kernel.SetPaused(paused=False))

    def set_silent_intents(self, runtime_id: RuntimeName, intents: Iterable[str]) -> Asked[None]:
        """Replace the set of request intents that wake nobody."""
        command = kernel.SetSilentIntents(checked_intents(intents))
        return self._command(runtime_id, "set_silent_intents", command)

    def attach_executor(self, runtime_id: RuntimeName, executor: Executor) -> Asked[None]:
        """Use another executor from the next run on."""
        message = m.ReplaceExecutor(checked_executor(executor), Reply())
        return self.ask(runtime_id, "attach_executor", message)

    def detach_executor(self, runtime_id: RuntimeName) -> Asked[None]:
        """Let what waits wait."""
        return self.ask(runtime_id, "detach_executor", m.ReplaceExecutor(None, Reply()))

    def interrupt(self, runtime_id: RuntimeName, mode: InterruptMode | str) -> Asked[bool]:
        """Have the run in hand end."""
        return self.ask(runtime_id, "interrupt", m.Interrupt(InterruptMode(mode), Reply()))

    # --- looking ------------------------------------------------------------------------

    def runtime_state(self, runtime_id: RuntimeName) -> Asked[RuntimeState]:
        """Ask what the runtime is doing."""
        return self.read(runtime_id, "runtime_state", lambda memory, _: memory.head.phase.state)

    def executor_ready(self, runtime_id: RuntimeName) -> Asked[bool]:
        """Ask whether there is somebody to run what waits."""
        return self.ask(runtime_id, "executor_ready", m.ExecutorReady(Reply()))

    def load_boundary_receipt(
        self, runtime_id: RuntimeName, run_id: RunId, sequence: int
    ) -> Asked[RunBoundaryReceipt | None]:
        """Ask for the receipt of exactly this run and sequence."""
        _refuse_other(run_id, RunId)
        _refuse_other(sequence, int)
        return self.read(
            runtime_id,
            "load_boundary_receipt",
            lambda memory, store: store.load_boundary_receipt(memory.runtime_id, run_id, sequence),
        )

    def figures(self) -> Figures:
        """The plane in numbers."""
        return figures_of(self._running)

    def runs_in_hand(self) -> tuple[RunNow, ...]:
        """The runs that are under way."""
        return self._running.watch.now()

    def supervision(self) -> Supervised:
        """What runs, and what is kept running under what."""
        return supervision_of(self._running)

    @property
    def _running(self) -> System:
        """What is behind it, while it runs or stops; ControlPlaneStopped once it has ended."""
        system = self.system
        if system.ended.is_set():
            raise ControlPlaneStopped
        return system

    # --- asking -------------------------------------------------------------------------

    def read(
        self,
        runtime_id: RuntimeName,
        call: str,
        read: Callable[[kernel.RuntimeMemory, RuntimeStore], T],
    ) -> Asked[T]:
        """Have ``read`` look at a runtime, in order with the rest."""
        return self.ask(runtime_id, call, m.Query(read, Reply()))

    def _command(self, runtime_id: RuntimeName, call: str, command: kernel.Command) -> Asked[Any]:
        return self.ask(runtime_id, call, m.Call(command, Reply()))

    def ask(self, runtime_id: RuntimeName, call: str, message: Any) -> Asked[Any]:
        """Open the reply of a message, and put the message in its runtime's mailbox."""
        system = self.system
        name = as_runtime_id(runtime_id)
        if self._before is not None:
            self._before(system, call, name)
        if system.sharing is not None:
            message.reply.message = message
        _deliver(system, name, message, partial(system.calls.opened, message.reply, name))
        return Asked(call, name, message.reply)


def _deliver(
    system: System, name: LogicalRuntimeId, message: Any, opened: Callable[[], None]
) -> None:
    """Note a call and hand it to its driver. What prevents that is raised: no thread, Ctrl-C.

    The call takes no place any more then.
    """
    try:
        opened()
        system.directory.deliver(name, message)
    except BaseException as error:
        said = as_control_plane_error(error)
        message.reply.fail(said)
        if said is error or not isinstance(error, Exception):
            raise
        raise said from error


def _refuse_other(value: object, kind: type[object]) -> None:
    """TypeError for what is of another kind: it is the caller's mistake, and harms no runtime."""
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")


def input_id_of(value: InputId | AcceptOutcome) -> InputId:
    """Which input is meant; InputValidationFailed of a rejection, TypeError for what is none."""
    match value:
        case InputId():
            return value
        case Accepted(input_id=input_id) | Deduplicated(existing_id=input_id):
            return input_id
        case Rejected(reason=reason):
            raise InputValidationFailed(str(reason))
    raise TypeError(f"expected an InputId or an AcceptOutcome, not {type(value).__name__}")


def _place(state: InputState) -> tuple[bool, int]:
    """Where an input stands in the order of admission; what was only offered comes last."""
    return state.admission_sequence is None, state.admission_sequence or 0


def checked_intents(intents: Iterable[str]) -> frozenset[str]:
    """The intents as a set; TypeError for what is none, ValueError for what UTF-8 cannot carry."""
    if isinstance(intents, str):
        raise TypeError("intents come as a collection of texts, not as one text")
    checked = tuple(intents)
    for intent in checked:
        if not isinstance(intent, str):
            raise TypeError(f"an intent is a text, not {type(intent).__name__}")
        canonical(intent)
    return frozenset(checked)
