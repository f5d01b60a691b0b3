"""What tests of interrupts and deadlines share: seeing a run wait, and how its inputs end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from plane_builders import WAIT_S, PuppetRun, result_of, tell

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import InputPhase, InputState, WakeReason
from meerkat.errors import ApplyFailed, ExecutorStopped
from meerkat.input_lifecycle import AbandonCause
from meerkat.outcomes import CompletionKind
from meerkat.runs import InterruptMode

MODES = [each.value for each in InterruptMode]
LATE: dict[str, tuple[Callable[[PuppetRun], None], str]] = {
    "result": (lambda run: run.returns(), "it had succeeded"),
    "failure": (lambda run: run.raises(ValueError("late")), "it had failed"),
    "failure for good": (
        lambda run: run.raises(ApplyFailed("late", recoverable=False)),
        "it had failed",
    ),
    "stop": (lambda run: run.raises(ExecutorStopped()), "it had stopped"),
}
"""What a run may bring too late, and what is said of it."""


def begin_wait(run: PuppetRun) -> Any:
    """Have a run wait, and see it wait: from now on it can only be woken."""
    waits, attention = threading.Event(), run.context.attention
    look = attention.reason

    def reason() -> WakeReason | None:
        found = look()
        waits.set()  # under the lock of whoever wants to wake it
        return found

    attention.reason = reason
    waiting = run.asks(lambda context: context.wait(WAIT_S))
    assert waits.wait(WAIT_S)
    return waiting


def interrupt_call(plane: ControlPlane, mode: str = "now") -> Reply[bool]:
    return tell(plane, "a", m.Interrupt(InterruptMode(mode), Reply()))


def state_of(plane: ControlPlane, submission: Any) -> InputState:
    """All that is known of what was submitted to "a"."""
    state = plane.input_state("a", result_of(submission.accepted).input_id)
    assert state is not None
    return state


def check_cancelled(plane: ControlPlane, submission: Any) -> None:
    """It has ended as cancelled, in its handle and on disk, and no receipt speaks of it."""
    assert result_of(submission.completion).kind is CompletionKind.CANCELLED
    state = state_of(plane, submission)
    assert state.phase is InputPhase.ABANDONED
    outcome: Any = state.terminal_outcome
    assert outcome.reason.cause is AbandonCause.CANCELLED
    assert state.last_run_id is not None
    assert plane.load_boundary_receipt("a", state.last_run_id, 0) is None
