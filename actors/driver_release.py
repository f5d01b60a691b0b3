"""What a driver lets out of a durable ticket: events, answers, runs, the ends of handles.

Called by the driver, in its own turn, once everything in the ticket is on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from actors import messages as m
from actors.ticket import Step, Ticket
from actors.watching import NoticeKind
from meerkat import kernel
from meerkat.fail_points import FailPoint, reached
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import TerminationReason, completion_of, terminated
from meerkat.policy import Signal
from meerkat.reports import DestroyReport

if TYPE_CHECKING:
    from actors.driver import DriverActor

logger = logging.getLogger(__name__)


def release(driver: DriverActor, ticket: Ticket) -> BaseException | None:
    """Let out what a durable ticket holds, in the order of the mailbox.

    Whatever fails, every caller is answered; gives the first failure, which is a defect: some
    of what should have come out has not.
    """
    first = None
    for step in ticket.steps:
        try:
            try:
                _let_step_out(driver, step)
            finally:
                step.settle()
            reached(FailPoint.STEP_LET_OUT)
        except BaseException as error:  # the steps behind it have callers too
            logger.exception("runtime %s: not all of a step came out", driver.runtime_id)
            first = first or error
            if step.reply is not None:
                step.reply.fail(error)
    return first


def _let_step_out(driver: DriverActor, step: Step) -> None:
    transition = step.transition
    if transition is None:
        return
    if transition.told:
        driver.system.events.append(driver.runtime_id, transition.told, step.now)
    for state in transition.states:
        driver.seat.note(state)  # before a run that starts can look
    for effect in transition.effects:
        _LET_OUT[type(effect)](driver, effect)
    for state in transition.states:
        _end_handles(driver, state)
    if isinstance(transition.reply, DestroyReport):
        _tell_end(driver, TerminationReason.DESTROYED)


def _tell_end(driver: DriverActor, reason: TerminationReason) -> None:
    """The runtime does not come back, or not as it was."""
    driver.system.watchers.tell(driver.runtime_id, NoticeKind.ENDED, str(reason))


def _end_handles(driver: DriverActor, state: InputState) -> None:
    outcome = completion_of(state)
    if outcome is not None:
        driver.has_ended(state.input_id)
        driver.system.completions.resolve(driver.runtime_id, state.input_id, outcome)


def _start_run(driver: DriverActor, effect: kernel.StartRun) -> None:
    head = None if driver.memory is None else driver.memory.head
    if head is not None and head.phase.run_id == effect.run.run_id:
        driver.seat.begin(effect, head, None if driver.cut_short else driver.executor)


def _interrupt_run(driver: DriverActor, effect: kernel.InterruptRun) -> None:
    driver.seat.fence(effect.run_id)


def _retry_lane(driver: DriverActor, effect: kernel.RetryLane) -> None:
    due = m.LaneDue(effect.lane, driver.hold(effect.lane))
    driver.system.timers.after(effect.delay_s, lambda: driver.tell(due))


def _end_runtime(driver: DriverActor, effect: kernel.RuntimeEnded) -> None:
    driver.system.completions.end_runtime(driver.runtime_id, terminated(effect.reason))
    _tell_end(driver, effect.reason)


def _signal(driver: DriverActor, effect: kernel.Signalled) -> None:
    if effect.signal is Signal.INTERRUPT_YIELDING:
        driver.seat.call()


def _show_cursors(driver: DriverActor, effect: kernel.FeedRead) -> None:
    if driver.memory is not None:
        bindings = driver.system.bindings.present(driver.runtime_id, driver.memory.head)
        if bindings is not None:
            bindings.cursor_state.advance_through(effect.cursors)


_LET_OUT: Final[Mapping[type, Callable[[DriverActor, Any], None]]] = {
    kernel.StartRun: _start_run,
    kernel.InterruptRun: _interrupt_run,
    kernel.RetryLane: _retry_lane,
    kernel.RuntimeEnded: _end_runtime,
    kernel.Signalled: _signal,
    kernel.FeedRead: _show_cursors,
}
