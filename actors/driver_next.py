"""What a driver does of its own accord, after each message: end, go on, start, leave.

Everything is looked at again each time, in the mailbox and in the driver's own memory:
there is no window in which something could be missed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actors import driver_rest
from actors.logs import about, said_of
from meerkat import kernel
from meerkat.admission import encode_input
from meerkat.errors import Fenced, MeerkatError, RuntimeUnavailable
from meerkat.feed_notice import Notice, continuation_for_ended_operations, notice_of
from meerkat.identifiers import RunId
from meerkat.kernel import RuntimeMemory
from meerkat.runtime_lifecycle import WORKING, RuntimeState

if TYPE_CHECKING:
    from actors.driver import DriverActor

logger = logging.getLogger(__name__)


def advance(driver: DriverActor, memory: RuntimeMemory) -> None:
    """Decide whatever can be decided now."""
    _try_unregister(driver, memory)
    if not memory.quiescent:
        driver.feed_moved = True  # the feed is looked at once the runtime is at rest again
    elif driver.feed_moved:
        _try_notice(driver, memory)
    _try_start(driver, memory)


def _try_notice(driver: DriverActor, memory: RuntimeMemory) -> None:
    """Go on by itself, if work in the background has ended and there is nothing else to do.

    Decided here, in the mailbox, where a runtime becomes quiescent: there is no window
    for an end to be missed in.
    """
    held_back = driver.quiesce is not None or driver.held_off or bool(driver.unregistering)
    head = memory.head
    if held_back or not head.registered or not head.phase.admits:
        return
    driver.feed_moved = False
    bindings = driver.system.bindings.present(driver.runtime_id, head)
    if bindings is None:
        return
    batch = bindings.ops_lifecycle.list_since(head.cursors.runtime_observed_seq)
    notice = notice_of(batch)
    if notice is None:
        return
    try:
        driver.decide(kernel.ReadFeed(notice.through, _continuation(driver, notice)))
    except MeerkatError as error:
        refused = "runtime %s: it cannot go on after an operation's end: %s"
        logger.warning(
            refused, driver.runtime_id, said_of(error), extra=about(runtime_id=driver.runtime_id)
        )


def _continuation(driver: DriverActor, notice: Notice) -> kernel.AcceptInput | None:
    if not notice.continues:
        return None
    offered = continuation_for_ended_operations()
    payload = encode_input(offered, driver.system.rules.limits.payload_bytes_max)
    return kernel.AcceptInput(offered, payload)


def _try_start(driver: DriverActor, memory: RuntimeMemory) -> None:
    """Stage the next batch, if there is work, a slot, and nothing against it."""
    if memory.head.run is not None:
        return
    held_back = driver.quiesce is not None and not driver.quiesce.drain
    gone = bool(driver.unregistering) or not memory.head.registered
    if driver.held_off or held_back or gone or not memory.runnable:
        driver.seat.return_slot()
    elif driver.seat.occupied:
        return  # one run of a runtime at a time, a fenced one included
    elif driver.seat.take_slot():
        driver.decide(kernel.StageRun(RunId.new()))


def _try_unregister(driver: DriverActor, memory: RuntimeMemory) -> None:
    """Unregister once no run is in hand; every caller who asked joins.

    One that was destroyed meanwhile is gone for good, and stays known as that.
    """
    if not driver.unregistering or memory.head.run is not None or not memory.head.registered:
        return
    first, *others = driver.unregistering
    if memory.head.phase.state is RuntimeState.DESTROYED:
        driver.ticket.answered(driver.system.clock.now(), first)
        driver.unregistering = ()
        _let_back(driver)
    else:
        driver.decide(kernel.Unregister(), driver.ending_epoch(first, "runtime unregistered"))
    for reply in others:
        first.pass_on(reply)


def forget(driver: DriverActor) -> None:
    """Forget a runtime that is unregistered, now that this is durable.

    Who registered meanwhile has waited for it, and finds what the store has: whether the
    driver itself had the time to leave makes no difference.
    """
    memory = driver.memory
    if not driver.unregistering or (memory is not None and memory.head.registered):
        return
    if memory is not None:
        driver.drop_memory()
        driver.executor = driver.system.executor
        _let_back(driver)
    if driver.unregistering[0].done():
        driver.unregistering = ()


def _let_back(driver: DriverActor) -> None:
    waiting, driver.coming_back = driver.coming_back, ()
    for message in waiting:
        driver.tell(message)


def try_leave(driver: DriverActor) -> None:
    """End when there is no runtime to drive, or come to rest when it needs nothing.

    A runtime that is unavailable rests, too: whoever asks next has it loaded again. One that
    another writer has taken over, or that was set aside, stays as it is.
    """
    kept = driver.stopping or driver.seat.occupied or driver.held_off or driver.epochs_ending
    if kept or isinstance(driver.unavailable, Fenced | RuntimeUnavailable):
        return
    directory, memory = driver.system.directory, driver.memory
    if not driver_rest.is_needed(driver):
        directory.leave(driver)
    elif not driver.has_mail and (memory is None or driver_rest.can_rest(driver, memory)):
        directory.rests(driver)


def say_quiet(driver: DriverActor) -> None:
    """Tell a stop that nothing of this runtime is under way.

    Nor is anything in its mailbox: who waited for the end of an unregistering comes behind what
    told of the stop, and its answer may be a registry that the stop has to end.
    """
    if driver.quiesce is None or driver.has_mail:
        return
    memory = driver.memory
    if memory is not None:
        head = memory.head
        may_run = head.executor_attached and not head.paused
        works = may_run and head.phase.state in WORKING and head.registered
        if head.run is not None or (driver.quiesce.drain and works and memory.has_waiting):
            return
    if driver.seat.occupied:
        return
    driver.quiesce.quiet(driver.runtime_id)
