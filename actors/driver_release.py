"""What a driver lets out of a durable ticket: events, answers, runs, the ends of handles.

Called by the driver, in its own turn, once everything in the ticket is on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from actors import messages as m
from actors.life_logs import REPORTED, log_report
from actors.logs import about, without_text
from actors.ticket import Step, Ticket, host_events_of
from actors.traces import EndReply
from actors.watching import NoticeKind
from meerkat import kernel
from meerkat.fail_points import FailPoint, reached
from meerkat.input_lifecycle import ConsumedOutcome, InputState
from meerkat.outcomes import Accepted, TerminationReason, completion_of, terminated
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
        except BaseException as error:  # noqa: BLE001 - the steps behind it have callers too
            _log_defect(driver, error, "runtime %s: not all of a step came out")
            first = first or error
            if step.reply is not None:
                step.reply.fail(error)
    return first


def _log_defect(driver: DriverActor, error: BaseException, said: str) -> None:
    logger.error(
        said,
        driver.runtime_id,
        exc_info=without_text(error),
        extra=about(runtime_id=driver.runtime_id, error_type=type(error).__name__),
    )


def _let_step_out(driver: DriverActor, step: Step) -> None:
    transition = step.transition
    if transition is None:
        return
    if transition.told:
        _tell(driver, transition, step.now)
    for state in transition.states:
        driver.seat.note(state)  # before a run that starts can look
    if type(transition.reply) is Accepted:
        _taken_in(driver, step)
    for effect in transition.effects:
        _LET_OUT[type(effect)](driver, effect)
    if isinstance(step.reply, EndReply):
        step.settle()  # who sees the end of an input finds the trace of its run ended
    for state in transition.states:
        _end_handles(driver, state)
    if type(transition.reply) in REPORTED:
        log_report(driver.runtime_id, transition.reply)
    if isinstance(transition.reply, DestroyReport):
        _tell_end(driver, TerminationReason.DESTROYED)


def _tell(driver: DriverActor, transition: kernel.Transition, now: datetime) -> None:
    driver.system.events.append(driver.runtime_id, transition.told, now)
    if driver.memory is None:  # it went while this was being written
        late = dict.fromkeys(host_events_of(transition))
        driver.host_events = {**driver.host_events, **late}


def _tell_end(driver: DriverActor, reason: TerminationReason) -> None:
    """The runtime does not come back, or not as it was."""
    driver.system.watchers.tell(driver.runtime_id, NoticeKind.ENDED, str(reason))


def _taken_in(driver: DriverActor, step: Step) -> None:
    """Note a new input; one that a caller has offered is counted with his answer."""
    driver.system.standing.with_inputs.add(driver)
    if step.reply is None:
        driver.system.counts.answer(Accepted)


def _end_handles(driver: DriverActor, state: InputState) -> None:
    outcome = completion_of(state)
    if outcome is not None:
        _count_end(driver, state)
        driver.has_ended(state.input_id)
        if driver.system.traces is not None:
            driver.system.traces.input_ended(state.input_id)
        driver.system.completions.resolve(driver.runtime_id, state.input_id, outcome)


def _count_end(driver: DriverActor, state: InputState) -> None:
    counts, outcome = driver.system.counts, state.terminal_outcome
    if type(outcome) is ConsumedOutcome:
        lived = state.updated_at - state.created_at
        counts.accept_to_consumed_s.see(lived.total_seconds())
    elif outcome is not None:
        counts.end(type(outcome))


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
    if driver.system.traces is not None:
        driver.system.traces.runtime_left(driver.runtime_id)
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
