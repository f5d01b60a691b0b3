"""Builders: the inputs, states and runtimes that tests speak of, in one word each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast
from uuid import UUID

from meerkat import (
    Accepted,
    AcceptOutcome,
    ContinuationInput,
    External,
    ExternalEventInput,
    Flow,
    FlowStepInput,
    Input,
    InputId,
    InputPhase,
    InputState,
    LogicalRuntimeId,
    OperationId,
    OperationInput,
    Peer,
    PeerInput,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
    PromptInput,
    RunId,
    RunOutput,
    RuntimeEpochId,
    SessionId,
    from_json,
    kernel,
    to_json,
)
from meerkat import input_lifecycle as lifecycle
from meerkat.conversation import Conversation, MessageLog, SessionChange
from meerkat.kernel.memory import Rules, RuntimeMemory
from meerkat.policy import DEFAULT_POLICY, Lane

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
PEER = Peer(peer_id="peer-1")


class Clock:
    """One second later at every look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def uuid_of(number: int) -> UUID:
    """The UUID of a small number, so that a test can name its ids."""
    return UUID(int=number)


# --- inputs -----------------------------------------------------------------------------


def prompt(text: str = "hello", **header: Any) -> PromptInput:
    return PromptInput(text, **header)


def message(text: str = "a word", **header: Any) -> PeerInput:
    return PeerInput(text, **{"source": PEER, **header})


def request(intent: str = "mob.peer_added", **header: Any) -> PeerInput:
    convention = PeerRequest(request_id="req-1", intent=intent)
    return PeerInput("do it", convention=convention, **{"source": PEER, **header})


def progress(**header: Any) -> PeerInput:
    convention = PeerResponseProgress(request_id="req-1", phase="in_progress")
    return PeerInput("half way", convention=convention, **{"source": PEER, **header})


def terminal(request_id: str = "req-1", **header: Any) -> PeerInput:
    convention = PeerResponseTerminal(request_id=request_id, status="completed")
    return PeerInput("done", convention=convention, **{"source": PEER, **header})


def step(text: str = "step", **header: Any) -> FlowStepInput:
    source = Flow(flow_id="flow-1", step_index=0)
    return FlowStepInput(text, **{"step_id": "s1", "source": source, **header})


def event(payload: Any = None, **header: Any) -> ExternalEventInput:
    source = External(source_name="mail")
    return ExternalEventInput("mail.arrived", payload, **{"source": source, **header})


def continuation(**header: Any) -> ContinuationInput:
    return ContinuationInput("go on", **header)


def operation(**header: Any) -> OperationInput:
    return OperationInput(OperationId.new(), {"status": "completed"}, **header)


ONE_OF_EACH_KIND: tuple[Callable[..., Input], ...] = (
    prompt,
    message,
    request,
    progress,
    terminal,
    step,
    event,
    continuation,
    operation,
)


def nested(levels: int) -> list[Any]:
    """A list in a list in a list, ``levels`` deep."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


# --- states -----------------------------------------------------------------------------


def accepted_state(offered: Input | None = None) -> InputState:
    return InputState.of(offered or prompt(), START)


def state_in(phase: InputPhase, offered: Input | None = None, *, sequence: int = 0) -> InputState:
    """An input that has come as far as ``phase`` by legal steps."""
    offered = offered or prompt()
    run = RunId(uuid_of(7))
    policy = DEFAULT_POLICY.resolve(offered, running=False)
    state = accepted_state(offered)
    if phase is InputPhase.ACCEPTED:
        return state
    state = lifecycle.queue_accepted(state, START, policy=policy, sequence=sequence)
    if phase is InputPhase.SUPERSEDED:
        return lifecycle.supersede(state, START, by=InputId(uuid_of(8)))
    if phase is InputPhase.COALESCED:
        return lifecycle.coalesce(state, START, into=InputId(uuid_of(8)))
    if phase is InputPhase.ABANDONED:
        reason = lifecycle.AbandonReason(lifecycle.AbandonCause.CANCELLED)
        return lifecycle.abandon(state, START, reason=reason)
    later = {
        InputPhase.STAGED: lambda s: lifecycle.stage_for_run(s, START, run_id=run),
        InputPhase.APPLIED: lambda s: lifecycle.mark_applied(s, START, run_id=run),
        InputPhase.APPLIED_PENDING_CONSUMPTION: lambda s: (
            lifecycle.mark_applied_pending_consumption(s, START, sequence=0)
        ),
        InputPhase.CONSUMED: lambda s: lifecycle.consume(s, START),
    }
    for reached, take in later.items():
        if state.phase is phase:
            break
        state = take(state)
        assert state.phase is reached
    return state


# --- runtimes ---------------------------------------------------------------------------


class Session(Conversation):
    """A conversation together with the log its messages are read from."""

    def __init__(self, *messages: Any) -> None:
        self.log = MessageLog()
        super().__init__(self.log.snapshot)
        self.apply(self.plan(RunOutput(append=messages)).change)

    def apply(self, change: SessionChange | None) -> None:
        self.log.apply(change)
        super().apply(change)


class Runtime:
    """The kernel of one registered runtime, without a driver or a store."""

    def __init__(self, rules: Rules | None = None, *, attached: bool = True) -> None:
        self.clock = Clock()
        self.memory = RuntimeMemory(LogicalRuntimeId("agent-1"), durable=False, rules=rules)
        self.session = Session()
        self.do(kernel.Register(SessionId.new(), RuntimeEpochId.new()))
        if attached:
            self.do(kernel.AttachExecutor())

    def do(self, command: kernel.Command) -> kernel.Transition:
        """Decide and apply; what is returned holds the reply and every effect."""
        transition = kernel.decide(self.memory, command, self.clock())
        self.memory.apply(transition)
        return transition

    def offer(self, offered: Input) -> AcceptOutcome:
        reply = self.do(kernel.AcceptInput(offered, to_json(offered))).reply
        return cast("AcceptOutcome", reply)

    def admit(self, *offered: Input) -> list[InputId]:
        """Offer inputs that must be accepted."""
        for each in offered:
            assert isinstance(self.offer(each), Accepted)
        return [each.id for each in offered]

    def stage(self) -> RunId:
        run_id = RunId.new()
        self.do(kernel.StageRun(run_id))
        return run_id

    def complete(self, run_id: RunId, output: RunOutput | None = None) -> kernel.Transition:
        output = output or RunOutput()
        plan = self.session.plan(output)
        done = self.do(kernel.CompleteRun(run_id, plan, output.result))
        self.session.apply(plan.change)
        return done

    def fail(self, run_id: RunId, *, jitter: float = 0.0, recoverable: bool = True) -> Any:
        return self.do(kernel.FailRun(run_id, "boom", recoverable=recoverable, jitter=jitter))

    def lane(self, lane: Lane) -> list[InputId]:
        return [state.input_id for state in self.memory.ledger.waiting(lane)]

    @property
    def contributors(self) -> list[InputId]:
        run = self.memory.head.run
        return [] if run is None else list(run.contributors)

    def state(self, input_id: InputId) -> InputState:
        state = self.memory.ledger.get(input_id)
        assert state is not None
        return state

    def phase(self, input_id: InputId) -> InputPhase:
        return self.state(input_id).phase


def effects_of(transition: kernel.Transition, wanted: type[T]) -> list[T]:
    """The effects of one sort, in order; the events are effects too."""
    if wanted is kernel.Emit:
        return [emit for telling in transition.told for emit in telling.emits()]
    return [effect for effect in transition.effects if isinstance(effect, wanted)]


def codes_of(transition: kernel.Transition) -> list[str]:
    """The codes of the events that a transition tells, in order."""
    return [str(emit.event.code) for emit in effects_of(transition, kernel.Emit)]


def round_trip(value: T) -> T:
    """Out to the wire and back, as the very same type."""
    return from_json(type(value), to_json(value))
