"""What a driver does when it fails: it begins anew from the store, and in the end is set aside.

There is one way back, whatever has failed: the memory is thrown away, whoever waited for what
was not on its way to the disk is told so, and after a pause the runtime is loaded as the store
has it. Mailbox and address stay, as they do in an Akka restart. Failures are counted; one
that is one too many sets the runtime aside until somebody acts.

Each step here may be taken again: a failure in the middle of it is a failure like another.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from actors import driver_elsewhere
from actors import messages as m
from actors.executors import bounded
from actors.logs import Fields, about, said_of, say, without_text
from actors.replies import Reply
from actors.restarts import RestartCount, Strategy
from actors.ticket import Ticket, host_events_of
from actors.watching import NoticeKind
from meerkat.errors import (
    CommitUnknown,
    ControlPlaneStopped,
    Fenced,
    InternalError,
    MeerkatError,
    RecoveryCorruption,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.events import EventCode, TopologyEvent
from meerkat.kernel import Emit, RuntimeHead, Transition
from meerkat.outcomes import TerminationReason, terminated
from meerkat.reports import RecoveryReport
from meerkat.store import Batch

if TYPE_CHECKING:
    from actors.driver import DriverActor

logger = logging.getLogger(__name__)

_NO_HEAD: Final = RuntimeHead()


class RestartedWithOthers(StoreError):
    """The driver did not fail: the strategy restarts it together with one that did."""


def on_defect(driver: DriverActor, message: object, error: BaseException) -> None:
    """A message could not be handled: answer whoever waits for it, and begin anew."""
    kind = type(message).__name__
    logger.error(
        "runtime %s: %s failed",
        driver.runtime_id,
        kind,
        exc_info=without_text(error),
        extra=about(runtime_id=driver.runtime_id, error_type=type(error).__name__),
    )
    said = InternalError(f"{type(error).__name__} while handling {kind}")
    said.__cause__ = error
    if isinstance(message, m.Landed):
        _landing_lost(driver, message)
    if isinstance(message, m.RunEnded):
        driver.seat.gone(message.run_id)  # nobody says so again
    reply = getattr(message, "reply", None)
    if reply is not None and not _is_on_its_way(driver, reply):
        reply.fail(said)
    begin_anew(driver, said)


def _log(driver: DriverActor, level: int, said: str, error: BaseException) -> None:
    extra = about(runtime_id=driver.runtime_id, error_type=type(error).__name__)
    logger.log(level, said, driver.runtime_id, said_of(error), extra=extra)


def _landing_lost(driver: DriverActor, message: m.Landed) -> None:
    """The ticket in flight has landed: nothing is on its way, though nobody was told."""
    ticket = driver.in_flight
    if ticket is not None and ticket is message.ticket:
        ticket.fail(message.error or CommitUnknown("it was written, and could not be answered"))
        driver.in_flight = driver.entry = None


def _is_on_its_way(driver: DriverActor, reply: object) -> bool:
    """Does the disk decide what this caller is answered?"""
    ticket = driver.in_flight
    return ticket is not None and any(step.reply is reply for step in ticket.steps)


# --- beginning anew ---------------------------------------------------------------------


def begin_anew(driver: DriverActor, error: MeerkatError) -> None:
    """Throw the memory away: what is not on disk did not happen. Then load afresh, in time."""
    driver.doomed = error
    driver.seat.clear()
    _keep_host_events(driver)
    driver.drop_memory()
    if driver.in_flight is not None and driver.is_taken:
        driver.system.journal.heal()  # should it have failed before anybody was to write
        return  # where the ticket leads to decides what the store will say
    _answer_stranded(driver, error)
    if driver.is_aside or _goes_on(driver, error):
        driver.doomed = None
        _hand_back(driver)
        if driver.is_aside:
            _tell_set_aside(driver)


def _keep_host_events(driver: DriverActor) -> None:
    """A host event that was told stays told; no store knows of it."""
    memory = driver.memory
    if memory is not None and memory.host_events:
        steps = (step for ticket in driver.tickets() for step in ticket.steps)
        untold = {each for step in steps for each in host_events_of(step.transition)}
        driver.host_events = {each: None for each in memory.host_events if each not in untold}


def _answer_stranded(driver: DriverActor, error: MeerkatError) -> None:
    """Tell the callers of what never left that it was not attempted."""
    said = error
    if not isinstance(error, Fenced | ControlPlaneStopped):
        said = StoreError(f"not attempted, as what came before it failed: {error}")
        said.__cause__ = error
    if not driver_elsewhere.asks_again(driver, error):
        for ticket in driver.tickets():
            ticket.fail(said)
        driver.drop_tickets()
    driver.unregistering = _unanswered(driver.unregistering)
    driver.stopping = _unanswered(driver.stopping)


def _unanswered(replies: tuple[Reply[Any], ...]) -> tuple[Reply[Any], ...]:
    return tuple(each for each in replies if not each.done())


def _goes_on(driver: DriverActor, error: MeerkatError) -> bool:
    """See to what comes next; False while a note of it is on its way to the disk."""
    match error:
        case ControlPlaneStopped():
            return True
        case Fenced() if driver.system.sharing is not None:
            driver_elsewhere.leave_to(driver, error)
            refuse_unregistering(driver, error)
            return True
        case Fenced():
            driver.set_unavailable(error)
            refuse_unregistering(driver, error)
            reason = TerminationReason.TAKEN_OVER
            driver.system.completions.end_runtime(driver.runtime_id, terminated(reason))
            driver.system.watchers.tell(driver.runtime_id, NoticeKind.ENDED, str(reason))
            return True
        case RecoveryCorruption():
            driver.set_unavailable(error)
    return restart_later(driver, error)


def _hand_back(driver: DriverActor) -> None:
    """What came meanwhile comes again, in its order, before what came later."""
    while driver.stash:
        driver.handle_next(driver.stash[-1])
        del driver.stash[-1]
    while driver.coming_back:
        driver.handle_next(driver.coming_back[-1])
        driver.coming_back = driver.coming_back[:-1]


# --- when, and how often ----------------------------------------------------------------


def restart_later(driver: DriverActor, error: MeerkatError) -> bool:
    """Have the runtime loaded after a pause, or set it aside; False while that is noted down.

    No run is started before the pause is over: a disk that refuses must not use up attempts.
    Whoever asks meanwhile has the runtime loaded, and is answered.
    """
    pause_s = _pause_s(driver, error)
    if pause_s is None:
        return _set_aside(driver, error)
    _tell_restarted(driver, str(error), type(error).__name__, pause_s)
    if not driver.held_off:
        driver.held_off = True
        driver.system.timers.after(pause_s, lambda: driver.tell(m.Resume()))
    if driver.system.restart.drivers.strategy is not Strategy.ONE_FOR_ONE:
        _restart_others(driver, error)
    return True


def _tell_restarted(driver: DriverActor, reason: str, error_type: str, pause_s: float) -> None:
    system, runtime_id = driver.system, driver.runtime_id
    fields = Fields(runtime_id=runtime_id, delay_s=pause_s, error_type=error_type)
    text = "runtime %s: it is restarted in %.3g s"
    say(logger, logging.INFO, text, runtime_id, pause_s, **fields)
    system.counts.driver_restarted(runtime_id, system.clock.monotonic(), reason)
    system.watchers.tell(runtime_id, NoticeKind.RESTARTED, reason, restart_in_s=pause_s)


def _pause_s(driver: DriverActor, error: MeerkatError) -> float | None:
    """Seconds until the restart; None when there were too many.

    That nobody knows whether a batch was written is the writer's failure and not the driver's,
    and a disk that fails for everybody sets no runtime aside, however long that takes.
    """
    system, rule = driver.system, driver.system.restart.drivers
    jitter, now = system.clock.jitter(), system.clock.monotonic()
    if isinstance(error, RestartedWithOthers):
        return 0.0
    if isinstance(error, CommitUnknown):
        return driver.next_delay_s()
    count = driver.restarts = driver.restarts or RestartCount(rule)
    pause_s, since = count.failed(now, jitter), count.since
    if pause_s is None and isinstance(error, StoreError):
        since = now - rule.period_s if since is None else since
        if not system.journal.has_served_others(driver.runtime_id, since):
            return rule.backoff.delay_s(rule.intensity + 1, jitter)
    return pause_s


def _restart_others(driver: DriverActor, error: MeerkatError) -> None:
    """The strategy restarts those that did not fail as well."""
    if isinstance(error, RestartedWithOthers):
        return
    strategy = driver.system.restart.drivers.strategy
    message = m.BeginAnew(f"restarted with runtime {driver.runtime_id}: {error}")
    driver.system.directory.tell_affected(strategy, driver.runtime_id, message)


def go_on(driver: DriverActor) -> None:
    """The pause is over. A runtime that still cannot be loaded has failed once more."""
    driver.held_off = False
    try:
        driver.loaded()
    except RecoveryCorruption as error:
        _log(driver, logging.ERROR, "runtime %s is unavailable: %s", error)
        refuse_unregistering(driver, error)
    except MeerkatError as error:  # the store's, or the policy's
        if driver.unavailable is None and not driver_elsewhere.is_elsewhere(driver, error):
            _log(driver, logging.WARNING, "runtime %s could not be loaded: %s", error)
            begin_anew(driver, error)


def refuse_unregistering(driver: DriverActor, error: MeerkatError) -> None:
    """Who waits for a run's end waits in vain: the runtime cannot be had any more."""
    for reply in driver.unregistering:
        reply.fail(error)
    driver.unregistering = ()


# --- setting aside ----------------------------------------------------------------------


def _set_aside(driver: DriverActor, error: MeerkatError) -> bool:
    """Give the runtime up until somebody acts, and note why; False while that is written."""
    rule = driver.system.restart.drivers
    _log(driver, logging.ERROR, "runtime %s is set aside, recover() brings it back: %s", error)
    reason = bounded(
        f"it failed more than {rule.intensity} times in {rule.period_s:g} s, lastly: {error}"
    )
    driver.set_unavailable(RuntimeUnavailable(driver.runtime_id, reason))
    try:
        return not _note_down(driver, reason)
    except MeerkatError as refused:
        _log(driver, logging.WARNING, "runtime %s: it cannot be noted why: %s", refused)
        return True


def _note_down(driver: DriverActor, reason: str) -> bool:
    """Have the reason written into the runtime's row, and told as an event; is it on its way?"""
    system, runtime_id = driver.system, driver.runtime_id
    row = system.store.load_runtime(runtime_id)
    if row is None:
        return False
    system.events.begin(runtime_id, row.fence)
    event = TopologyEvent(EventCode.RUNTIME_SET_ASIDE, reason)
    ticket = Ticket(_NO_HEAD)
    ticket.decided(Transition(head=_NO_HEAD, told=(Emit(event),)), system.clock.now())
    noted = evolve(row, fence=row.fence + 1, set_aside=reason)
    driver.fence = row.fence  # it may never have been loaded
    driver.send(ticket, Batch(runtime=noted, expected_fence=row.fence))
    return True


def _tell_set_aside(driver: DriverActor) -> None:
    """It is noted, or cannot be: whoever waits is answered."""
    aside = driver.unavailable
    if isinstance(aside, RuntimeUnavailable):
        refuse_unregistering(driver, aside)
        driver.system.watchers.tell(driver.runtime_id, NoticeKind.SET_ASIDE, aside.reason)


def bring_back(driver: DriverActor) -> RecoveryReport | None:
    """Somebody acts: load a runtime that was unavailable; gives what the loading repaired.

    One that still cannot be loaded stays as unavailable as it was.
    """
    before, driver.unavailable, driver.load_report = driver.unavailable, None, None
    try:
        driver.loaded()
    except BaseException:
        driver.unavailable = driver.unavailable or before
        raise
    driver.restarts = None
    driver.system.standing.refusing.discard(driver)
    if before is not None:
        name = driver.runtime_id
        say(logger, logging.INFO, "runtime %s: it is brought back", name, runtime_id=name)
        driver.system.watchers.tell(driver.runtime_id, NoticeKind.BROUGHT_BACK)
    return driver.load_report
