"""Errors: every refusal this library raises, each saying whose fault it is.

Three families: the driver's (one runtime refuses), the control plane's (the front door
refuses) and the store's (the disk refuses). Each error has a stable ``code`` and carries
its data as attributes. Nothing here holds a payload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from meerkat.identifiers import InputId, LogicalRuntimeId
    from meerkat.runtime_lifecycle import RuntimeState


class MeerkatError(Exception):
    """The root of every error of this library. A copy, and one by pickle, is the same error."""

    code: ClassVar[str] = "meerkat_error"

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[MeerkatError], args: tuple[Any, ...], data: dict[str, Any]) -> MeerkatError:
    """Make an error again from what it holds: its arguments are a text, and not __init__'s."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(data)
    return error


class RuntimeDriverError(MeerkatError):
    """One runtime's driver refused."""

    code = "driver_error"


class RuntimeControlPlaneError(MeerkatError):
    """The control plane refused."""

    code = "control_plane_error"


class RuntimeNotReady(RuntimeDriverError):
    """The runtime's state does not allow the call."""

    code = "runtime_not_ready"

    def __init__(self, state: RuntimeState) -> None:
        super().__init__(f"Runtime not ready: {state}")
        self.state = state


class RuntimeDestroyed(RuntimeDriverError):
    """The runtime was destroyed; it never comes back."""

    code = "runtime_destroyed"

    def __init__(self) -> None:
        super().__init__("Runtime destroyed")


class RuntimeNotFound(RuntimeDriverError, RuntimeControlPlaneError):
    """No runtime was ever registered under this id, or it was unregistered."""

    code = "runtime_not_found"

    def __init__(self, runtime_id: LogicalRuntimeId | str) -> None:
        super().__init__(f"Runtime not found: {runtime_id}")
        self.runtime_id = runtime_id


class InputValidationFailed(RuntimeDriverError, RuntimeControlPlaneError):
    """The caller's input cannot be carried faithfully, or is too large."""

    code = "input_validation_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Input validation failed: {reason}")
        self.reason = reason


class InputNotFound(RuntimeDriverError, RuntimeControlPlaneError):
    """The runtime knows no input of this id."""

    code = "input_not_found"

    def __init__(self, input_id: InputId) -> None:
        super().__init__(f"Input not found: {input_id}")
        self.input_id = input_id


class RecoveryCorruption(RuntimeDriverError):
    """A stored row contradicts itself; nothing of the runtime was dropped or changed."""

    code = "recovery_corruption"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Recovery corruption: {reason}")
        self.reason = reason


class Overloaded(RuntimeDriverError, RuntimeControlPlaneError):
    """A limit is reached: offer the work again later. ``limit`` names it, ``value`` is it."""

    code = "overloaded"

    def __init__(self, limit: str, value: int) -> None:
        super().__init__(f"Overloaded: {limit} is at its limit of {value}")
        self.limit = limit
        self.value = value


class InternalError(RuntimeDriverError, RuntimeControlPlaneError):
    """A defect of this library."""

    code = "internal_error"

    def __init__(self, text: str) -> None:
        super().__init__(f"Internal error: {text}")
        self.text = text


class InvalidRuntimeTransition(RuntimeDriverError):
    """A step that the runtime's lifecycle table does not hold."""

    code = "invalid_runtime_transition"

    def __init__(self, from_state: RuntimeState, to_state: RuntimeState) -> None:
        super().__init__(f"Invalid runtime state transition: {from_state} -> {to_state}")
        self.from_state = from_state
        self.to_state = to_state


class InvalidInputTransition(RuntimeDriverError):
    """A step that the input lifecycle table, or its guard, does not allow."""

    code = "invalid_input_transition"

    def __init__(self, step: str, phase: str, reason: str) -> None:
        super().__init__(f"Invalid input transition: {step} from {phase}: {reason}")
        self.step = step
        self.phase = phase
        self.reason = reason


class RunRefused(RuntimeDriverError):
    """A run step that is not the current run's to take, or that breaks a run's rule."""

    code = "run_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Run refused: {reason}")
        self.reason = reason


class PolicyRefused(RuntimeDriverError, RuntimeControlPlaneError):
    """A policy table gave a decision that a runtime cannot carry out."""

    code = "policy_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Policy refused: {reason}")
        self.reason = reason


class BatchConflict(RuntimeDriverError):
    """Two inputs of one batch contradict each other in the named field."""

    code = "batch_conflict"

    def __init__(self, field: str) -> None:
        super().__init__(f"Batch conflict: inputs disagree on {field}")
        self.field = field


class InvalidState(RuntimeControlPlaneError):
    """The runtime's state does not allow the operation."""

    code = "invalid_state"

    def __init__(self, state: RuntimeState) -> None:
        super().__init__(f"Invalid state for operation: {state}")
        self.state = state


class StoreError(RuntimeControlPlaneError):
    """The store refused or failed; what was asked did not happen."""

    code = "store_error"

    def __init__(self, text: str) -> None:
        super().__init__(f"Store error: {text}")
        self.text = text


class Fenced(StoreError):
    """Another writer has claimed the runtime since; this one has to give it up."""

    code = "fenced"

    def __init__(self, runtime_id: LogicalRuntimeId | str) -> None:
        super().__init__(f"another writer has claimed runtime {runtime_id}")
        self.runtime_id = runtime_id


class OwnedElsewhere(Fenced):
    """The runtime is in the hands of another process that shares the store; ``owner`` names it."""

    code = "owned_elsewhere"

    def __init__(self, runtime_id: LogicalRuntimeId | str, owner: str) -> None:
        super().__init__(runtime_id)
        self.text = f"runtime {runtime_id} is in the hands of {owner}"
        self.args = (f"Store error: {self.text}",)
        self.owner = owner


class CommitUnknown(StoreError):
    """The store failed while committing: nobody knows yet whether it happened."""

    code = "commit_unknown"


class RuntimeUnavailable(RuntimeControlPlaneError):
    """The runtime is set aside until an operator acts; ``reason`` says why."""

    code = "runtime_unavailable"

    def __init__(self, runtime_id: LogicalRuntimeId | str, reason: str) -> None:
        super().__init__(f"Runtime unavailable: {runtime_id}: {reason}")
        self.runtime_id = runtime_id
        self.reason = reason


class TooManyRestarts(MeerkatError):
    """A supervisor's children fail faster than it may restart them; ``reason`` is the last."""

    code = "too_many_restarts"

    def __init__(self, child: str, reason: str) -> None:
        super().__init__(f"Too many restarts: {child}: {reason}")
        self.child = child
        self.reason = reason


class ControlPlaneStopped(RuntimeControlPlaneError):
    """The control plane is stopped, was never started, or is another process's.

    ``reason`` says which, where it is not simply stopped.
    """

    code = "control_plane_stopped"

    def __init__(self, reason: str | None = None) -> None:
        super().__init__("Control plane stopped" + (f": {reason}" if reason else ""))
        self.reason = reason


class LoopClosed(RuntimeControlPlaneError):
    """The event loop that runs the control plane's coroutines was closed by its host.

    Stop the control plane before its loop ends; started again, it uses the loop of that time.
    """

    code = "loop_closed"

    def __init__(self) -> None:
        super().__init__("The event loop that runs this control plane's coroutines is closed")


class ControlPlaneForked(ControlPlaneStopped):
    """The process was forked since the control plane was made: its threads are the parent's.

    Make a control plane in this process, over a store of its own.
    """

    code = "control_plane_forked"

    def __init__(self) -> None:
        super().__init__("it is another process's, which this one was forked from")


class NotInThisProcess(RuntimeControlPlaneError):
    """What was asked for lives in another process, and cannot be had here.

    ``what`` names it, ``instead`` says where it is to be had.
    """

    code = "not_in_this_process"

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"Not in this process: {what}; {instead}")
        self.what = what
        self.instead = instead


class CallTimedOut(RuntimeControlPlaneError, TimeoutError):
    """The caller's patience ended; the work did not. It is still queued and goes on."""

    code = "call_timed_out"

    def __init__(self, call: str, timeout_s: float) -> None:
        super().__init__(
            f"Timed out: {call} gave no answer within {timeout_s:g} s; the work is still queued"
        )
        self.call = call
        self.timeout_s = timeout_s
        self.still_queued = True


class WouldDeadlock(RuntimeControlPlaneError):
    """A blocking call would wait on itself: on its own thread, or on the run that makes it.

    ``chain`` says who waits for whom, one line each; it is empty where the thread itself has
    to answer, in a future's callback say. Hand the call to a thread of your own, use
    ``submit``, or return from the run first.
    """

    code = "would_deadlock"

    def __init__(self, call: str, chain: tuple[str, ...] = ()) -> None:
        why = "; ".join(chain) or f"{call} was called on a thread that has to answer it"
        super().__init__(f"Would deadlock: {why}")
        self.call = call
        self.chain = chain


class DecodeError(MeerkatError, ValueError):
    """Bytes that are not exactly the wire form of the wanted type."""

    code = "decode_error"

    def __init__(self, reason: str) -> None:
        super().__init__(f"Cannot decode: {reason}")
        self.reason = reason


class ExecutorError(MeerkatError):
    """What an executor raises to say how its run ended."""

    code = "executor_error"


class ApplyFailed(ExecutorError):
    """The run failed; ``recoverable=False`` abandons its inputs at once."""

    code = "apply_failed"

    def __init__(self, reason: str, recoverable: bool = True) -> None:  # noqa: FBT001, FBT002 - pinned
        super().__init__(f"Apply failed: {reason}")
        self.reason = reason
        self.recoverable = recoverable


class RunCancelled(ExecutorError):
    """The run was cancelled; its inputs are abandoned as cancelled."""

    code = "run_cancelled"

    def __init__(self) -> None:
        super().__init__("Run cancelled")


class ExecutorStopped(ExecutorError):
    """The executor takes no more runs; its inputs wait, uncounted, for another one."""

    code = "executor_stopped"

    def __init__(self) -> None:
        super().__init__("Executor is stopped")
