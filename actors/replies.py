"""Replies: the futures that calls wait on, every one of which is certain to be settled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, Generic, TypeVar

from actors.light import LightFuture
from actors.pool import on_worker
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
from meerkat.identifiers import LogicalRuntimeId
from meerkat.operation_errors import OperationError
from meerkat.outcomes import CompletionHandle, CompletionOutcome
from meerkat.runtime_lifecycle import RuntimeState

logger = logging.getLogger(__name__)

SHARES_OF_THE_FREE: Final = 4
"""Calls one runtime may have in flight for each that is free: alone, four fifths of all."""

T = TypeVar("T")


class Reply(LightFuture[T], Generic[T]):
    """A standard future that its waiter cannot cancel: the work goes on regardless."""

    calls: OpenCalls | None = None
    """Where it is noted, until it is settled."""
    brings_work_to: LogicalRuntimeId | None = None
    """Whose share of the calls in flight it counts for."""
    completion: CompletionHandle | None = None
    """Waits for the end of the input that is accepted, and fails when none is."""

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
        if self.calls is not None:
            self.calls.closed(self)


class Handle(LightFuture[CompletionOutcome], CompletionHandle):
    """A completion handle of the running system."""


def settle(set_outcome: Callable[[T], None], outcome: T) -> None:
    """Settle a future. What its host's callbacks raise, SystemExit even, harms nobody else."""
    try:
        set_outcome(outcome)
    except InvalidStateError:
        return  # somebody else was first
    except BaseException:
        logger.exception("a callback of the host failed")


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


def wait_for(reply: Future[T], call: str, timeout_s: float | None) -> T:
    """Wait for a reply; CallTimedOut bounds the caller, never the work.

    WouldDeadlock on a thread that runs drivers: host code gets there in a callback only.
    """
    refuse_deadlock(call)
    try:
        return reply.result(timeout_s)
    except FutureTimeoutError:
        if reply.done():
            raise
        raise CallTimedOut(call, timeout_s or 0.0) from None


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

    def __init__(self, in_flight_max: int) -> None:
        self._open: set[Reply[Any]] = set()
        self._of_runs: set[Reply[Any]] = set()
        self._max = in_flight_max
        self._lock = threading.Lock()
        self._of_runtime: dict[LogicalRuntimeId, int] = {}
        self._refusing = False
        self._ended = False
        self.refused = 0
        """Calls that were answered ControlPlaneStopped."""

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, reply: Reply[Any]) -> None:
        """Note a call of the control kind, which always passes."""
        reply.calls = self
        self._open.add(reply)  # first, so that a stop that comes now finds it
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
        with self._lock:
            self._of_runtime[runtime_id] = self._of_runtime.get(runtime_id, 0) + 1
            reply.brings_work_to = runtime_id  # no signal comes in between: nothing is called
        self.opened(reply)

    def closed(self, reply: Reply[Any]) -> None:
        """A call is about to be settled."""
        self._of_runs.discard(reply)
        self._open.discard(reply)
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

    def opened_by_run(self, reply: Reply[Any]) -> None:
        """Note a call from a run, or about an operation: it passes while runs come to an end."""
        reply.calls = self
        self._of_runs.add(reply)
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
