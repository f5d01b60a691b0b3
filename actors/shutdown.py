"""Shutdown: the end of a control plane, in order.

Refuse new work, let the runs in hand end, commit, answer everybody, close the store. Nothing
here waits without a bound: a disk that hangs, or a host's code, is left behind and said so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import pykka

from actors import messages as m
from actors.pool import serving
from actors.system import System
from meerkat.errors import ControlPlaneStopped
from meerkat.identifiers import LogicalRuntimeId
from meerkat.outcomes import TerminationReason, terminated

logger = logging.getLogger(__name__)

OWNERS_AT_A_TIME: Final = 16
"""Sessions whose operations are ended side by side at a stop, to share commits."""

_STOPPED: Final = "control plane stopped"


def shut_down(system: System, message: m.ShutDown, unfinished: Sequence[LogicalRuntimeId]) -> None:
    """End everything; whatever goes wrong on the way, ``system.ended`` is set at the end.

    ``unfinished`` are the runtimes to be drained besides those that are live.
    """
    system.calls.refuse()
    try:
        _quiesce(system, message, unfinished)
        _end_operations(system)
    finally:
        try:
            _end(system)
        finally:
            system.ended.set()


def _end(system: System) -> None:
    """Answer everybody and close the store, whatever hangs: a disk, or a host's code."""
    answers = system.journal.stop(system.grace_s)
    answers = system.pruner.stop(system.grace_s) and answers
    system.timers.stop()
    answers = system.pool.stop(system.grace_s) and answers
    system.threads.stop()
    system.closing.set()
    with serving():
        system.calls.fail_all(ControlPlaneStopped())
        system.completions.end_all(terminated(TerminationReason.PLANE_STOPPED))
    system.loop.stop(system.grace_s)  # its runs wait for nothing any more
    system.events.close()
    if answers:
        system.store.close()
    else:
        logger.error("the store does not answer; it is left open until the process ends")


def _end_operations(system: System) -> None:
    """End the operations that are still live, so that whoever waits for one is told.

    The runtimes do not outlive the process, and what runs in it in the background does
    not either; the next process has the agents told.
    """
    bindings, clock = system.bindings, system.clock
    system.directory.close(bindings.with_live_operations())  # begun since, too
    until = clock.monotonic() + system.grace_s
    places, (owners, rest) = threading.Semaphore(OWNERS_AT_A_TIME), bindings.owners()
    places.acquire()
    bindings.end_idle(rest, _STOPPED, places.release)
    for owner in (*owners, *[None] * OWNERS_AT_A_TIME):
        if not places.acquire(timeout=max(0.0, until - clock.monotonic())):
            logger.warning("the ends of some operations could not be recorded")
            return
        if owner is not None:
            bindings.end_owner(owner, _STOPPED, places.release)


def _quiesce(system: System, message: m.ShutDown, unfinished: Sequence[LogicalRuntimeId]) -> None:
    # What was passivated with inputs that had woken nobody is drained, too; and the ends of
    # operations are recorded by drivers.
    wanted = (*system.bindings.with_live_operations(), *unfinished)
    drivers = system.directory.close(wanted)
    changed, quiet = threading.Condition(), set[LogicalRuntimeId]()

    def on_quiet(runtime_id: LogicalRuntimeId) -> None:
        with changed:
            quiet.add(runtime_id)
            changed.notify_all()

    for runtime_id, driver in drivers.items():
        _tell(driver, m.Quiesce(message.drain, on_quiet), on_gone=partial(on_quiet, runtime_id))
    with changed:
        if changed.wait_for(lambda: len(quiet) == len(drivers), message.timeout_s):
            return
        busy = set(drivers) - quiet
    for runtime_id in busy:
        for told in (m.CancelRuns(), m.Quiesce(drain=False, quiet=on_quiet)):
            _tell(drivers[runtime_id], told, on_gone=partial(on_quiet, runtime_id))
    with changed:
        if not changed.wait_for(lambda: len(quiet) == len(drivers), system.grace_s):
            left = len(drivers) - len(quiet)
            logger.warning("%d runs did not return; they are taken up at the next start", left)


def _tell(driver: pykka.ActorRef[Any], message: object, *, on_gone: Callable[[], None]) -> None:
    """Tell a driver that may have left meanwhile."""
    try:
        driver.tell(message)
    except pykka.ActorDeadError:
        on_gone()
