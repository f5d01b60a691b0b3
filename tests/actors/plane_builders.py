"""Builders: the inputs, executors and clocks that tests of a running plane speak of.

Nothing here sleeps: a test waits for an Event, a queue or a future, at most ``WAIT_S``. What is
to show that a test fails may set a shorter one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any, TypeVar

from attrs import frozen

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from actors.subscriptions import Subscription
from meerkat import (
    ContinuationInput,
    EventGap,
    External,
    ExternalEventInput,
    InputId,
    InputPhase,
    OperationId,
    OperationInput,
    Peer,
    PeerInput,
    PeerMessage,
    PeerRequest,
    PeerResponseProgress,
    PromptInput,
    RunContext,
    RunId,
    RunOutput,
    RuntimeEventEnvelope,
    SessionId,
    StagedInput,
)

T = TypeVar("T")

WAIT_S = float(os.environ.get("MEERKAT_WAIT_S", "10"))
HUNG_S = 0.05
"""The grace of a plane in which something hangs: it is waited out."""

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)

PEER = Peer(peer_id="peer-1")

OpenPlane = Callable[..., ControlPlane]
"""Starts a plane that is stopped at the end of the test."""


# --- inputs -----------------------------------------------------------------------------


def prompt(text: str = "hello", **header: Any) -> PromptInput:
    return PromptInput(text, **header)


def steered(text: str = "now", **header: Any) -> PromptInput:
    return PromptInput(text, turn_metadata={"handling_mode": "steer"}, **header)


def progress(text: str = "half way", **header: Any) -> PeerInput:
    """An input that wakes nobody."""
    convention = PeerResponseProgress(request_id="req-1", phase="in_progress")
    return PeerInput(text, convention=convention, **{"source": PEER, **header})


def peer_message(text: str = "from a peer", **header: Any) -> PeerInput:
    """An input that asks a waiting run to yield."""
    return PeerInput(text, convention=PeerMessage(), **{"source": PEER, **header})


def request(intent: str = "mob.peer_added", **header: Any) -> PeerInput:
    convention = PeerRequest(request_id="req-1", intent=intent)
    return PeerInput("do it", convention=convention, **{"source": PEER, **header})


def event(payload: Any = None, **header: Any) -> ExternalEventInput:
    source = External(source_name="mail")
    return ExternalEventInput("mail.arrived", payload, **{"source": source, **header})


def operation(**header: Any) -> OperationInput:
    return OperationInput(OperationId.new(), {"status": "completed"}, **header)


def continuation(**header: Any) -> ContinuationInput:
    return ContinuationInput("go on", **header)


# --- executors --------------------------------------------------------------------------


@frozen
class Called:
    """One call of an executor."""

    runtime_id: str
    text: str
    attempt: int
    run_id: RunId


Behaviour = Callable[[Called, RunContext], Any]


def spoken(primitive: StagedInput) -> list[dict[str, Any]]:
    """The messages of one run: what was said, and an answer to it."""
    return [
        {"role": "user", "content": primitive.text},
        {"role": "assistant", "content": f"re: {primitive.text}"},
    ]


class Agent:
    """An executor that says what it is called with, and waits while it is held.

    ``behaviour`` raises, or gives the output of a call; None leaves the usual output.
    """

    def __init__(self, behaviour: Behaviour | None = None, *, held: bool = False) -> None:
        self.calls: list[Called] = []
        self.behaviour = behaviour
        self._started: SimpleQueue[Called] = SimpleQueue()
        self._go_on = threading.Event()
        if not held:
            self._go_on.set()

    def __call__(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        called = Called(str(context.runtime_id), primitive.text, context.attempt, context.run_id)
        self.calls.append(called)
        self._started.put(called)
        self._go_on.wait(WAIT_S)
        output = self.behaviour(called, context) if self.behaviour else None
        usual = RunOutput(append=spoken(primitive), result=f"re: {primitive.text}")
        return usual if output is None else output

    def hold(self) -> None:
        self._go_on.clear()

    def release(self) -> None:
        self._go_on.set()

    def next_call(self) -> Called:
        return self._started.get(timeout=WAIT_S)

    @property
    def texts(self) -> list[str]:
        return [called.text for called in self.calls]


class Hooked(Agent):
    """An executor object with a stop hook, which waits while it is held."""

    def __init__(self, behaviour: Behaviour | None = None, *, held: bool = False) -> None:
        super().__init__(behaviour, held=held)
        self.stops: list[str] = []
        self.in_hook = threading.Event()
        self.leave_hook = threading.Event()
        self.leave_hook.set()

    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        return self(context, primitive)

    def stop(self, runtime_id: Any) -> None:
        self.stops.append(str(runtime_id))
        self.in_hook.set()
        self.leave_hook.wait(WAIT_S)


Deed = Callable[[RunContext], Any]


class PuppetRun:
    """A run that does what a test says, on its own thread, one thing after the other."""

    def __init__(self, called: Called, context: RunContext) -> None:
        self.called = called
        self.context = context
        self._deeds: SimpleQueue[tuple[Deed, Future[Any] | None]] = SimpleQueue()

    def asks(self, deed: Deed) -> Future[Any]:
        """What a deed gives, or raises, once the run has come to it."""
        future: Future[Any] = Future()
        self._deeds.put((deed, future))
        return future

    def does(self, deed: Deed) -> Any:
        return result_of(self.asks(deed))

    def returns(self, output: Any = None) -> None:
        """Have the run end with an output, the usual one for None."""
        self._deeds.put((lambda _: output, None))

    def raises(self, error: BaseException) -> None:
        def deed(_context: RunContext) -> None:
            raise error

        self._deeds.put((deed, None))

    def perform(self) -> Any:
        while True:
            deed, future = self._deeds.get(timeout=3 * WAIT_S)
            if future is None:
                return deed(self.context)
            try:
                future.set_result(deed(self.context))
            except BaseException as error:  # noqa: BLE001 - the test's to look at
                future.set_exception(error)


class Puppet(Agent):
    """An executor whose runs do what a test says. Released, they end by themselves."""

    def __init__(self) -> None:
        super().__init__(lambda called, context: self._perform(PuppetRun(called, context)))
        self._runs: SimpleQueue[PuppetRun] = SimpleQueue()
        self._open: list[PuppetRun] = []
        self._released = False

    def _perform(self, run: PuppetRun) -> Any:
        self._open.append(run)
        self._runs.put(run)
        if self._released:
            run.returns()
        return run.perform()

    def next_run(self) -> PuppetRun:
        return self._runs.get(timeout=WAIT_S)

    def release(self) -> None:
        self._released = True
        for run in tuple(self._open):
            run.returns()


def silent(_called: Called, _context: RunContext) -> RunOutput:
    """The behaviour of an executor that leaves no result."""
    return RunOutput(append=[])


# --- time -------------------------------------------------------------------------------


class FakeClock:
    """A clock that goes on when it is told to. No jitter."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return self._seconds

    def jitter(self) -> float:
        return 0.0

    def advance(self, plane: ControlPlane, seconds: float) -> None:
        """Let time pass; on return every timer that was due has called."""
        self._seconds += seconds
        called = threading.Event()
        system_of(plane).timers.after(0.0, called.set)
        assert called.wait(WAIT_S)


class Timed(FakeClock):
    """A clock both of whose times go on when they are told to, from MIDNIGHT on."""

    def now(self) -> datetime:
        return MIDNIGHT + timedelta(seconds=self._seconds)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, whatever is due by then."""
        self._seconds += seconds


# --- looking ----------------------------------------------------------------------------


def system_of(plane: ControlPlane) -> Any:
    return plane._life.system


def tell(plane: ControlPlane, runtime_id: str, message: Any) -> Reply[Any]:
    """Put a call in a runtime's mailbox, and do not wait."""
    plane._door.ask(runtime_id, "tell", message)
    reply: Reply[Any] = message.reply
    return reply


def unregistering(plane: ControlPlane, runtime_id: str) -> Reply[Any]:
    return tell(plane, runtime_id, m.UnregisterRuntime(Reply()))


def decided(plane: ControlPlane, runtime_id: str) -> Reply[None]:
    """Wait until the driver has decided all it was told; the reply waits for the disk."""
    looked = threading.Event()
    asked = plane._door.read(runtime_id, "decided", lambda _memory, _store: looked.set())
    assert looked.wait(WAIT_S)
    return asked.reply


def read_of(plane: ControlPlane, runtime_id: str, look: Callable[[Any, Any], T]) -> T:
    """What a look at a runtime's memory and store gives."""
    answer: T = result_of(plane._door.read(runtime_id, "look", look).reply)
    return answer


def registering(plane: ControlPlane, runtime_id: str, session_id: SessionId) -> Reply[Any]:
    return plane._door.register_session(runtime_id, session_id, "register").reply


def phase_of(plane: ControlPlane, runtime_id: str, input_id: InputId) -> InputPhase | None:
    state = plane.input_state(runtime_id, input_id, timeout=WAIT_S)
    return None if state is None else state.phase


def next_event(subscription: Subscription) -> RuntimeEventEnvelope:
    event = subscription.next_within(WAIT_S)
    assert isinstance(event, RuntimeEventEnvelope), event
    return event


def events_until(subscription: Subscription, code: str, *, times: int = 1) -> list[Any]:
    """The events up to the ``times``-th with this code, gaps included."""
    events: list[Any] = []
    while times:
        told = subscription.next_within(WAIT_S)
        assert told is not None, f"no {code} among {[code_of(each) for each in events]}"
        events.append(told)
        times -= code_of(told) == code
    return events


def code_of(told: RuntimeEventEnvelope | EventGap) -> str:
    return "gap" if isinstance(told, EventGap) else str(told.event.code)


@contextmanager
def logged(text: str) -> Iterator[threading.Event]:
    """An Event that is set once a line with ``text`` has been logged."""
    seen = threading.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage():
                seen.set()

    watch, logger = Watch(), logging.getLogger("actors")
    logger.addHandler(watch)
    try:
        yield seen
    finally:
        logger.removeHandler(watch)


def result_of(future: Any) -> Any:
    """What a future gives, within the patience of a test."""
    return future.result(WAIT_S)


def error_of(future: Any) -> BaseException | None:
    error: BaseException | None = future.exception(WAIT_S)
    return error
