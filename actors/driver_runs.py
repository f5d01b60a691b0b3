"""What each message about a run means to a driver: its end, its boundaries, its interrupts.

Like ``driver_messages``, which holds the table: a handler decides through the driver and
returns; it raises what is to be answered with an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from actors import driver_restart
from actors import messages as m
from actors.executors import Cancelled, Failed, Stopped, Succeeded, Unreadable, bounded
from actors.life_logs import log_end
from actors.logs import about
from meerkat import kernel
from meerkat.errors import RecoveryCorruption, RunCancelled, StoreError
from meerkat.identifiers import RunId

if TYPE_CHECKING:
    from actors.driver import DriverActor

logger = logging.getLogger(__name__)

_WORDS: Final[Mapping[type, str]] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Stopped: "stopped",
    Unreadable: "not read its session",
}
"""How a run ended → how that is said of one that came back too late."""


def _run_ended(driver: DriverActor, message: m.RunEnded) -> None:
    memory = driver.memory
    if memory is None or memory.head.phase.run_id != message.run_id:
        said = said_of_late(message)
        if said is not None:
            _remark(driver, message.run_id, said)
        _gone(driver, message.run_id)
        return
    if isinstance(message.ending, Unreadable):
        _unreadable(driver, message, message.ending.error)
        return
    ran = driver.seat.executor
    command = _ending(driver, message)
    _decide_end(driver, command, getattr(message.ending, "error_type", None))
    driver.seat.ended(message)
    if isinstance(message.ending, Stopped):
        if driver.executor is ran:
            driver.executor = None
        elif driver.executor is not None:  # its successor was attached while it ran
            driver.decide(kernel.AttachExecutor())


def _decide_end(
    driver: DriverActor, command: kernel.Command, error_type: str | None = None
) -> None:
    """Decide the end of the run in hand; its trace, if it has one, ends when that is durable."""
    told, run = driver.seat.closing(command, error_type), driver.loaded().head.run
    try:
        transition = driver.decide(command, told)
    except BaseException as error:
        if told is not None:
            told.fail(error)
        raise
    if run is not None:
        log_end(driver.runtime_id, run, command, transition, error_type)


def _unreadable(
    driver: DriverActor, message: m.RunEnded, error: StoreError | RecoveryCorruption
) -> None:
    """The store could not give the run its session: it is made later, and costs no attempt."""
    driver.seat.ended(message)
    if isinstance(error, RecoveryCorruption):
        driver_restart.begin_anew(driver, error)
    else:
        delay_s = driver.next_delay_s()
        command = kernel.PostponeRun(message.run_id, str(error), delay_s)
        _decide_end(driver, command, type(error).__name__)


def said_of_late(message: m.RunEnded) -> str | None:
    """What is said of a result that came too late; of one that ended as it was told, nothing."""
    if isinstance(message.ending, Cancelled):
        return None
    return f"late result refused: it had {_WORDS[type(message.ending)]}"


def _gone(driver: DriverActor, run_id: RunId) -> bool:
    """A run that is over has left its seat; without a memory nobody else hands its slot on."""
    gone = driver.seat.gone(run_id)
    if gone and driver.memory is None:
        driver.seat.return_slot()
    return gone


def _ending(driver: DriverActor, message: m.RunEnded) -> kernel.Command:
    match message.ending:
        case Succeeded(plan=plan, result=result):
            return kernel.CompleteRun(message.run_id, plan, result)
        case Failed() as failed:
            return _failed(driver, message.run_id, failed)
        case Cancelled() if driver.seat.interrupted or not driver.cut_short:
            return kernel.CancelRun(message.run_id)
        case Cancelled() | Stopped() | Unreadable():
            return kernel.RequeueRun(message.run_id)


def _failed(driver: DriverActor, run_id: RunId, failed: Failed) -> kernel.FailRun:
    driver.system.counts.run_failed()
    jitter = driver.system.clock.jitter()
    return kernel.FailRun(run_id, failed.error, failed.recoverable, jitter)


def _run_overdue(driver: DriverActor, message: m.RunOverdue) -> None:
    """A run has not returned in time: the runtime goes on without it."""
    stack = driver.seat.stack(message.run_id)
    if _is_in_hand(driver, message.run_id):
        _decide_end(driver, kernel.CancelRun(message.run_id))
    if _gone(driver, message.run_id):
        text = f"it did not return in time; the runtime goes on without it\n{stack}"
        _remark(driver, message.run_id, text.rstrip())


def _run_deadline(driver: DriverActor, message: m.RunDeadline) -> None:
    """Fail a run that has had its time; it is cancelled, and what it brings is refused.

    One that was interrupted before is not made again.
    """
    if _is_in_hand(driver, message.run_id):
        said = f"the run deadline of {driver.system.run_deadline_s} s was reached"
        if driver.seat.interrupted:
            _decide_end(driver, kernel.CancelRun(message.run_id))
        else:
            failed = _failed(driver, message.run_id, Failed(said, recoverable=True))
            _decide_end(driver, failed, type(message).__name__)
        driver.seat.fence(message.run_id)


def _run_stuck(driver: DriverActor, message: m.RunStuck) -> None:
    _remark(driver, message.run_id, message.text)


def _is_in_hand(driver: DriverActor, run_id: RunId) -> bool:
    """Is it the runtime's current run, and has its executor been called?"""
    memory = driver.memory
    current = memory is not None and memory.head.phase.run_id == run_id
    return current and driver.seat.run_id == run_id


def _remark(driver: DriverActor, run_id: RunId, text: str) -> None:
    """Say of a run, in the log and to the readers of events, what it does not say itself."""
    extra = about(runtime_id=driver.runtime_id, run_id=run_id)
    logger.warning("runtime %s: run %s: %s", driver.runtime_id, run_id, text, extra=extra)
    memory = driver.memory
    if memory is None and driver.unavailable is None and not driver.held_off:
        with suppress(StoreError, RecoveryCorruption):
            memory = driver.loaded()  # it was passivated since
    if memory is not None and memory.head.registered:
        driver.decide(kernel.RemarkOnRun(run_id, bounded(text)))


def _take_boundary(driver: DriverActor, message: m.TakeBoundary) -> None:
    """Hand over what is steered; its acceptance is durable when the answer leaves."""
    _with_run(driver, message.run_id)
    driver.decide(kernel.HandOver(message.run_id), message.reply)


def _commit_at_boundary(driver: DriverActor, message: m.CommitAtBoundary) -> None:
    _with_run(driver, message.run_id)

    told = driver.seat.committing(message.input_ids)

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        def taken_over() -> Any:
            message.conversation.apply(message.plan.change)
            if told is not None and transition.receipt is not None:
                told(transition.receipt)
            return transition.reply

        return taken_over

    command = kernel.CommitBoundary(message.run_id, message.input_ids, message.plan)
    driver.decide(command, message.reply, answer)


def _with_run(driver: DriverActor, run_id: RunId) -> None:
    """Raise RunCancelled for a run that was taken out of its runtime's hand."""
    memory = driver.memory
    if memory is None or memory.head.phase.run_id != run_id:
        raise RunCancelled


def _interrupt(driver: DriverActor, message: m.Interrupt) -> None:
    """Interrupt the run in hand: at once, or when its own commit has landed."""
    run = driver.present().head.run  # one that an unregistration waits for, too
    seat, mode = driver.seat, message.mode
    told = run is not None and seat.interrupt(run.run_id, mode)

    def answer() -> bool:
        return told or (run is not None and seat.interrupt(run.run_id, mode))

    driver.ticket.answered(driver.system.clock.now(), message.reply, answer)


def _run_progressed(driver: DriverActor, message: m.RunProgressed) -> None:
    memory = driver.memory
    if memory is not None and memory.head.phase.run_id == message.run_id:
        driver.decide(kernel.ReportProgress(message.run_id, message.text))


def _slot_granted(driver: DriverActor, _message: m.SlotGranted) -> None:
    driver.seat.slot_granted()
    if driver.memory is None:
        driver.seat.return_slot()


def _lane_due(driver: DriverActor, message: m.LaneDue) -> None:
    if driver.memory is not None and driver.holds.get(message.lane) == message.hold:
        driver.decide(kernel.ReleaseLane(message.lane))


def _cancel_runs(driver: DriverActor, _message: m.CancelRuns) -> None:
    driver.cut_short = True
    driver.seat.cancel()


RUN_HANDLERS: Final[Mapping[type, Callable[[DriverActor, Any], None]]] = {
    m.RunEnded: _run_ended,
    m.RunOverdue: _run_overdue,
    m.RunDeadline: _run_deadline,
    m.RunStuck: _run_stuck,
    m.RunProgressed: _run_progressed,
    m.TakeBoundary: _take_boundary,
    m.CommitAtBoundary: _commit_at_boundary,
    m.Interrupt: _interrupt,
    m.SlotGranted: _slot_granted,
    m.LaneDue: _lane_due,
    m.CancelRuns: _cancel_runs,
}
