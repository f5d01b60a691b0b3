"""Driver base: what drivers that work alone have in common, whatever makes them durable.

Each call decides, commits and only then takes the change into memory, so a call that
raises has changed nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar, cast

from meerkat import kernel
from meerkat.admission import encode_input
from meerkat.boundary import Boundary
from meerkat.conversation import Conversation, MessageLog, Plan
from meerkat.errors import RuntimeNotFound
from meerkat.event_log import envelope_of
from meerkat.events import RuntimeEventEnvelope
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, RuntimeEpochId, as_runtime_id
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.inputs import Input
from meerkat.kernel.memory import Rules
from meerkat.loading import known_input, recovery_of
from meerkat.outcomes import AcceptOutcome
from meerkat.policy import Lane, Signal
from meerkat.receipts import RunBoundaryReceipt
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    ResetReport,
    RetireReport,
    StopReport,
)
from meerkat.runs import RunOutput, StagedInput
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.protocol import RuntimeStore
from meerkat.stored_input import StoredInputState

R = TypeVar("R")


def utc_now() -> datetime:
    """Now, where nobody gives another clock."""
    return datetime.now(UTC)


class DriverBase:
    """What each driver does; they differ in where a transition is made durable."""

    def __init__(
        self,
        runtime_id: LogicalRuntimeId | str,
        *,
        rules: Rules | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.runtime_id = as_runtime_id(runtime_id)
        self._rules = rules or Rules()
        self._now = now
        window = self._rules.limits.events_per_runtime_max
        self._events: deque[tuple[int, datetime, kernel.Emit]] = deque(maxlen=window)
        self._next_event = 1
        self._signal = Signal.NONE
        self._staged: StagedInput | None = None
        self._conversation: Conversation | None = None
        self._log = MessageLog()

    @property
    def _memory(self) -> kernel.RuntimeMemory:
        raise TypeError("use EphemeralRuntimeDriver or PersistentRuntimeDriver")

    @property
    def _remembered(self) -> RuntimeStore | None:
        return None

    def _make_durable(self, transition: kernel.Transition) -> None:
        """Commit a transition, or raise."""

    def _do(self, command: kernel.Command, _reply: type[R]) -> R:
        memory, now = self._memory, self._now()
        transition = kernel.decide(memory, command, now)
        self._make_durable(transition)
        memory.apply(transition)
        for state in transition.states:
            if state.is_terminal:
                memory.ledger.forget(state.input_id)
        self._release(transition, now)
        return cast("R", transition.reply)

    def _release(self, transition: kernel.Transition, now: datetime) -> None:
        for telling in transition.told:
            for emit in telling.emits():
                self._events.append((self._next_event, now, emit))
                self._next_event += 1
        for effect in transition.effects:
            if isinstance(effect, kernel.Signalled):
                self._signal = max(self._signal, effect.signal)
            elif isinstance(effect, kernel.StartRun):
                self._staged = effect.primitive

    # --- the driver interface -----------------------------------------------------------

    def accept_input(self, input: Input) -> AcceptOutcome:  # noqa: A002
        """Offer an input; a durable or derived one is on disk when this returns.

        Raises InputValidationFailed, RuntimeNotReady, RuntimeDestroyed, Overloaded and
        StoreError; nothing has changed then.
        """
        payload = encode_input(input, self._rules.limits.payload_bytes_max)
        head = self._memory.head
        if not head.registered and head.phase.state is not RuntimeState.INITIALIZING:
            raise RuntimeNotFound(self.runtime_id)
        known = known_input(self._remembered, self.runtime_id, input)
        return self._do(kernel.AcceptInput(input, payload, known), AcceptOutcome)

    def on_runtime_event(self, envelope: RuntimeEventEnvelope) -> None:
        """Put a host's event in order with the rest; a repeated id is dropped."""
        self._do(kernel.PublishEvent(envelope), object)

    def recover(self) -> RecoveryReport:
        """Put right what a crash left. Recovering twice gives the same."""
        memory = self._memory
        return self._do(recovery_of(self._remembered, memory), RecoveryReport)

    def runtime_state(self) -> RuntimeState:
        """What the runtime is doing."""
        return self._memory.head.phase.state

    def input_state(self, input_id: InputId) -> InputState | None:
        """All that is known of an input; None for an unknown one."""
        state = self._memory.ledger.get(input_id)
        if state is None and self._remembered is not None:
            return self._remembered.load_input(self.runtime_id, input_id)
        return state

    def input_phase(self, input_id: InputId) -> InputPhase | None:
        """How far an input has come."""
        state = self.input_state(input_id)
        return None if state is None else state.phase

    def input_last_run_id(self, input_id: InputId) -> RunId | None:
        """The run that an input was last staged for."""
        state = self.input_state(input_id)
        return None if state is None else state.last_run_id

    def input_last_boundary_sequence(self, input_id: InputId) -> int | None:
        """The receipt that proves an input."""
        state = self.input_state(input_id)
        return None if state is None else state.last_boundary_sequence

    def stored_input_state(self, input_id: InputId) -> StoredInputState | None:
        """An input as a store keeps it."""
        state = self.input_state(input_id)
        return None if state is None else StoredInputState(state=state)

    def active_input_ids(self) -> list[InputId]:
        """The non-terminal inputs, in order of admission."""
        states = sorted(self._memory.ledger.active(), key=lambda s: s.admission_sequence or 0)
        return [state.input_id for state in states]

    # --- runs ---------------------------------------------------------------------------

    def start_run(self, run_id: RunId | None = None) -> StagedInput:
        """Take the next batch in hand; RunRefused when there is none or a run is in hand."""
        self._do(kernel.StageRun(run_id or RunId.new()), object)
        return cast("StagedInput", self._staged)

    @property
    def current_run_id(self) -> RunId | None:
        """The run in hand."""
        return self._memory.head.phase.run_id

    def boundary(self, run_id: RunId) -> Boundary:
        """What is steered into the run in hand right now; RunRefused for any other run."""
        inputs = cast("tuple[Input, ...]", self._do(kernel.HandOver(run_id), tuple))
        return Boundary(
            inputs,
            lambda input_ids, output: self.commit_boundary(run_id, input_ids, output),
        )

    def commit_boundary(
        self, run_id: RunId, input_ids: tuple[InputId, ...], output: RunOutput | None = None
    ) -> RunBoundaryReceipt:
        """Consume steered inputs while the run goes on; gives their receipt."""
        plan = self._loaded_conversation().plan(output or RunOutput())
        receipt = self._do(kernel.CommitBoundary(run_id, input_ids, plan), RunBoundaryReceipt)
        self._take_over(plan)
        return receipt

    def complete_run(self, run_id: RunId, output: RunOutput | None = None) -> RunBoundaryReceipt:
        """End the run in hand: its contributors are consumed, its receipt is stored."""
        output = output or RunOutput()
        plan = self._loaded_conversation().plan(output)
        receipt = self._do(kernel.CompleteRun(run_id, plan, output.result), RunBoundaryReceipt)
        self._take_over(plan)
        return receipt

    def _take_over(self, plan: Plan) -> None:
        """Follow a committed change; without a store its messages are kept here."""
        if self._remembered is None:
            self._log.apply(plan.change)
        self._loaded_conversation().apply(plan.change)

    def fail_run(self, run_id: RunId, error: str) -> None:
        """The run failed: its contributors go back to the head of their lane, due at once."""
        self._fail(kernel.FailRun(run_id, error, recoverable=True, jitter=0.0))

    def fail_run_for_good(self, run_id: RunId, error: str) -> None:
        """The run failed beyond repair: its contributors are abandoned."""
        self._fail(kernel.FailRun(run_id, error, recoverable=False, jitter=0.0))

    def _fail(self, command: kernel.FailRun) -> None:
        self._do(command, object)
        for lane in tuple(self._memory.head.held):
            self._do(kernel.ReleaseLane(lane), object)

    def cancel_run(self, run_id: RunId) -> None:
        """The run was cancelled: its contributors are abandoned as cancelled."""
        self._do(kernel.CancelRun(run_id), object)

    # --- control ------------------------------------------------------------------------

    def attach_executor(self) -> None:
        """Note that there is somebody to run what waits."""
        self._do(kernel.AttachExecutor(), object)

    def detach_executor(self) -> None:
        """Note that there is nobody any more."""
        self._do(kernel.DetachExecutor(), object)

    def pause(self) -> None:
        """Start no run from now on; inputs are taken in as before. Until :meth:`resume`."""
        self._do(kernel.SetPaused(paused=True), object)

    def resume(self) -> None:
        """Start runs again."""
        self._do(kernel.SetPaused(paused=False), object)

    def set_silent_intents(self, intents: frozenset[str]) -> None:
        """Replace the set of request intents that wake nobody."""
        self._do(kernel.SetSilentIntents(intents), object)

    def retire(self) -> RetireReport:
        """Take no more input; with an executor drain what waits, without one give it up."""
        return self._do(kernel.Retire(), RetireReport)

    def recycle(self) -> RecycleReport:
        """Start over with all pending work kept in order."""
        return self._do(kernel.Recycle(), RecycleReport)

    def reset(self) -> ResetReport:
        """Give everything up and begin a new epoch."""
        return self._do(kernel.Reset(RuntimeEpochId.new()), ResetReport)

    def stop(self) -> StopReport:
        """Give everything up; only a reset revives the runtime."""
        return self._do(kernel.Stop(), StopReport)

    def destroy(self) -> DestroyReport:
        """Give everything up, for good."""
        return self._do(kernel.Destroy(), DestroyReport)

    # --- what was let out ---------------------------------------------------------------

    def drain_events(self) -> list[RuntimeEventEnvelope]:
        """The events since the last call, in order; the oldest go when nobody asks for long."""
        told = [envelope_of(self.runtime_id, *each) for each in self._events]
        self._events.clear()
        return told

    def take_signal(self) -> Signal:
        """The strongest signal since the last call."""
        signal, self._signal = self._signal, Signal.NONE
        return signal

    def waiting_input_ids(self, lane: Lane) -> list[InputId]:
        """What waits in a lane, head first."""
        return [state.input_id for state in self._memory.ledger.waiting(lane)]

    def _loaded_conversation(self) -> Conversation:
        if self._conversation is None:
            store = self._remembered
            self._conversation = Conversation(
                self._log.snapshot
                if store is None
                else lambda: store.load_session_snapshot(self.runtime_id)
            )
        return self._conversation
