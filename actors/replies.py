"""Replies: the futures that calls wait on, every one of which is certain to be settled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from typing import Any, Final, Generic, TypeVar

from actors.light import LightCondition, LightFuture, check_patience
from actors.logs import without_text
from actors.pool import on_worker
from actors.wait_chains import Wait
from actors.waits import Waits
from meerkat.errors import (
    CallTimedOut,
    ControlPlaneStopped,
    InternalError,
    InvalidState,
    MeerkatError,
    Overloaded,
    RecoveryCorruption,
    RunCancelled,
    RunRefused,
    RuntimeControlPlaneError,
    RuntimeDestroyed,
    RuntimeNotReady,
    StoreError,
    WouldDeadlock,
)
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.operation_errors import OperationError
from meerkat.outcomes import CompletionHandle, CompletionOutcome
from meerkat.runtime_lifecycle import RuntimeState

logger = logging.getLogger(__name__)

SHARES_OF_THE_FREE: Final = 4
"""Calls one runtime may have in flight for each that is free: alone, four fifths of all."""

_TRIES: Final = 2
"""How often a future is settled: what fails is nearly always a callback, when it is settled."""

T = TypeVar("T")


_DONE: Final = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED})


class Awaited(LightFuture[T], Generic[T]):
    """A standard future of a plane, which knows who waits for it.

    Waiting for it raises WouldDeadlock where the wait is one on itself, and ControlPlaneStopped
    in a forked child, where nobody would settle it.
    """

    runtime_id: LogicalRuntimeId | None = None
    """Whose answer it is."""
    input_id: InputId | None = None
    """The input whose end it tells, once that is decided."""
    call = "result"
    """What waiting for it is called."""

    @property
    def waits(self) -> Waits | None:
        """Where waiting for it is noted; None for one that no plane has opened yet."""
        return None

    def done(self) -> bool:
        """Whether it is settled. Takes no lock: it is asked where none may be waited for."""
        return self._settled()

    def _settled(self) -> bool:
        return self._state in _DONE

    def result(self, timeout: float | None = None) -> T:
        """What it was settled with; see ``concurrent.futures.Future``."""
        self.wait(self.call, timeout)
        return self.settled_with()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error it was settled with; see ``concurrent.futures.Future``."""
        self.wait(self.call, timeout)
        return super().exception(0)

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have ``fn`` called once it is settled; see ``concurrent.futures.Future``."""
        waits = self._waits_here()
        if waits is not None and not self._settled():
            wait = waits.awaited(self.call, self.runtime_id, self)
            if wait is not None:
                super().add_done_callback(lambda _: waits.end(wait))
        super().add_done_callback(fn)

    def settled_with(self) -> T:
        """What it was settled with; TimeoutError when it is not."""
        return Future.result(self, 0)

    def wait(self, call: str, timeout_s: float | None) -> None:
        """Wait until it is settled, or the time is up."""
        waits = self._waits_here()
        if self._settled() or (timeout_s is not None and timeout_s <= 0):
            return
        if waits is None:
            refuse_deadlock(call)
            self._wait_for(timeout_s)
            return
        wait = waits.begin(call, self.runtime_id, self, timeout_s)
        try:
            if wait.run is None:
                self._wait_for(timeout_s)
            else:
                self._wait_in_run(waits, wait)
        finally:
            waits.end(wait)

    def _wait_in_run(self, waits: Waits, wait: Wait) -> None:
        for pause_s in waits.pauses(wait):
            if self._wait_for(pause_s):
                return
            waits.look_again(wait)

    def _wait_for(self, timeout_s: float | None) -> bool:
        with self._condition:
            return self._condition.wait_for(self._settled, timeout_s)

    def _waits_here(self) -> Waits | None:
        """Its waits. In a forked child: raise, unless it is settled; then its lock is nobody's."""
        waits = self.waits
        if waits is not None and waits.home.left:
            if not self._settled():
                waits.home.check()
            self._condition = LightCondition()  # type: ignore[assignment]
        return waits


class Reply(Awaited[T], Generic[T]):
    """A standard future that its waiter cannot cancel: the work goes on regardless."""

    call = "answer"
    calls: OpenCalls | None = None
    """Where it is noted, until it is settled."""
    brings_work_to: LogicalRuntimeId | None = None
    """Whose share of the calls in flight it counts for."""
    arrived: float | None = None
    """When the input that is offered arrived at the door, by the clock's monotonic time."""
    completion: CompletionHandle | None = None
    """Waits for the end of the input that is accepted, and fails when none is."""
    message: object = None
    """What was asked, where another process may have to be asked instead."""

    @property
    def waits(self) -> Waits | None:
        """The waits of the plane that has opened it."""
        return None if self.calls is None else self.calls.waits

    def cancel(self) -> bool:
        """Refuse."""
        return False

    def give(self, value: T) -> None:
        """Settle with a value; a reply that was settled by a stop stays as it is."""
        if not self.done():
            self._close()
            settle(self.set_result, value)

    def pass_on(self, other: Reply[T]) -> None:
        """Settle another caller's reply as this one is settled."""

        def settled(_self: Future[T]) -> None:
            error = self.exception()
            if error is None:
                other.give(self.result())
            else:
                other.fail(error)

        self.add_done_callback(settled)

    def fail(self, error: BaseException) -> None:
        """Settle with an error, as the control plane's callers are to see it."""
        if not self.done():
            said = as_control_plane_error(error)
            self._close()
            settle(self.set_exception, said)
            failed = self.exception() is said  # unless somebody has given its value meanwhile
            if failed and self.calls is not None and isinstance(said, ControlPlaneStopped):
                self.calls.was_refused()
            if failed and self.completion is not None and not self.completion.done():
                settle(self.completion.set_exception, said)

    def _close(self) -> None:
        """It takes no place any more: whoever is answered may call again at once."""
        if self.message is not None:
            self.message = None  # which has the reply in it
        if self.calls is not None:
            self.calls.closed(self)


class Handle(Awaited[CompletionOutcome], CompletionHandle):
    """A completion handle of the running system."""

    def __init__(
        self,
        waits: Waits | None = None,
        runtime_id: LogicalRuntimeId | None = None,
        input_id: InputId | None = None,
    ) -> None:
        super().__init__()
        self._waits = waits
        self.runtime_id = runtime_id
        self.input_id = input_id

    @property
    def waits(self) -> Waits | None:
        """The waits of the plane whose input it is about."""
        return self._waits


def settle(set_outcome: Callable[[T], None], outcome: T) -> None:
    """Settle a future. What its host's callbacks raise, SystemExit even, harms nobody else."""
    for _ in range(_TRIES):
        try:
            set_outcome(outcome)
        except InvalidStateError:
            return  # somebody else was first, or the first try was
        except BaseException as error:
            logger.exception("a callback of the host failed", exc_info=without_text(error))
        else:
            return


def as_control_plane_error(error: BaseException) -> BaseException:
    """Say a driver's refusal in the control plane's words, the refusal as its cause."""
    match error:
        case RuntimeControlPlaneError() | RunRefused() | RunCancelled() | OperationError():
            return error
        case RuntimeNotReady(state=state):
            said: MeerkatError = InvalidState(state)
        case RuntimeDestroyed():
            said = InvalidState(RuntimeState.DESTROYED)
        case RecoveryCorruption():
            said = StoreError(str(error))
        case _:
            said = InternalError(f"{type(error).__name__}: {error}")
    said.__cause__ = error
    return said


def wait_for(reply: Reply[T], call: str, timeout_s: float | None) -> T:
    """Wait for a reply; CallTimedOut bounds the caller, never the work.

    WouldDeadlock on a thread that runs drivers, where host code gets in a callback only, and
    in a run that would wait on itself.
    """
    check_patience(timeout_s)
    reply.wait(call, timeout_s)
    if not reply.done():
        raise CallTimedOut(call, timeout_s or 0.0)
    return reply.settled_with()


def refuse_deadlock(call: str) -> None:
    """Raise WouldDeadlock on a thread that runs drivers."""
    if on_worker():
        raise WouldDeadlock(call)


class OpenCalls:
    """The calls whose answer is outstanding. Thread-safe.

    Bounds them, and settles whatever is left when the control plane stops. One runtime may
    have ``SHARES_OF_THE_FREE`` times as many as are still free (the dynamic threshold of A. K.
    Choudhury and E. L. Hahne, "Dynamic queue length thresholds for shared-memory packet
    switches", IEEE/ACM Trans. Networking 6(2), 1998): few may use most of the room when
    nobody else does, and however many flood, whoever comes next finds some.
    """

    def __init__(self, in_flight_max: int, waits: Waits | None = None) -> None:
        self.waits = waits
        self._open: dict[Reply[Any], None] = {}  # to be answered in the order of the calls
        self._of_runs: dict[Reply[Any], None] = {}
        self._max = in_flight_max
        self._lock = threading.Lock()
        self._of_runtime: dict[LogicalRuntimeId, int] = {}
        self._refusing = False
        self._ended = False
        self.refused = 0
        """Calls that were answered ControlPlaneStopped."""

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, reply: Reply[Any], runtime_id: LogicalRuntimeId | None = None) -> None:
        """Note a call of the control kind, which always passes."""
        reply.calls = self
        reply.runtime_id = runtime_id
        self._open[reply] = None  # first, so that a stop that comes now finds it
        if self._refusing:
            self.closed(reply)
            raise ControlPlaneStopped

    def opened_within_limit(self, reply: Reply[Any], runtime_id: LogicalRuntimeId) -> None:
        """Note a call that brings work; Overloaded when too many are outstanding."""
        free = self._max - len(self._open)
        if free <= 0:
            raise Overloaded("in_flight_max", self._max)
        share = SHARES_OF_THE_FREE * free
        if self._of_runtime.get(runtime_id, 0) >= share:
            raise Overloaded("in_flight_share", share)
        reply.calls = self  # first: a signal that comes from here on has it closed again
        with self._lock:
            self._of_runtime[runtime_id] = self._of_runtime.get(runtime_id, 0) + 1
            reply.brings_work_to = runtime_id  # no signal comes in between: nothing is called
        self.opened(reply, runtime_id)

    def closed(self, reply: Reply[Any]) -> None:
        """A call is about to be settled."""
        self._of_runs.pop(reply, None)
        self._open.pop(reply, None)
        if reply.brings_work_to is not None:
            self._give_share_back(reply)

    def _give_share_back(self, reply: Reply[Any]) -> None:
        with self._lock:
            runtime_id, reply.brings_work_to = reply.brings_work_to, None
            if runtime_id is None:
                return
            left = self._of_runtime[runtime_id] - 1
            if left:
                self._of_runtime[runtime_id] = left
            else:
                del self._of_runtime[runtime_id]

    def opened_by_run(self, reply: Reply[Any], runtime_id: LogicalRuntimeId | None = None) -> None:
        """Note a call from a run, or about an operation: it passes while runs come to an end."""
        reply.calls = self
        reply.runtime_id = runtime_id
        self._of_runs[reply] = None
        if self._ended:
            self.closed(reply)
            raise ControlPlaneStopped

    def was_refused(self) -> None:
        """A call was answered ControlPlaneStopped."""
        with self._lock:
            self.refused += 1

    def refuse(self) -> None:
        """Take no more calls but those that bring what is under way to an end."""
        self._refusing = True

    def fail_all(self, error: BaseException) -> None:
        """Settle everything that is left, and take no call at all from now on."""
        self._refusing = self._ended = True
        for reply in (*self._open, *self._of_runs):
            reply.fail(error)
