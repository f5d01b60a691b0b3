"""Shutdown: the end of a control plane, in order.

Refuse new work, let the runs in hand end, commit, answer everybody, close the store. Nothing
here waits without a bound: a disk that hangs, or a host's code, is left behind and said so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, TypeVar

import pykka
from attrs import evolve

from actors import messages as m
from actors.light import LightFuture, LightSemaphore
from actors.logs import about, without_text
from actors.pool import serving
from actors.run_places import RunThreads
from actors.stopping import NAMES_MAX, ShutdownReport
from actors.system import System
from meerkat.errors import ControlPlaneStopped
from meerkat.identifiers import LogicalRuntimeId
from meerkat.outcomes import TerminationReason, terminated

logger = logging.getLogger(__name__)

OWNERS_AT_A_TIME: Final = 16
"""Sessions whose operations are ended side by side at a stop, to share commits."""

ANSWERING_MIN_S: Final = 1.0
"""Seconds that the disk has at least for what was asked of it, however short a run's grace is.

A store that has not answered by then is left open, and its file is nobody else's to open.
"""

CLOSING_MIN_S: Final = 10.0
"""Seconds that a store has at least to close: it may write its log back into its file first."""

ANSWERING_TRIES: Final = 3
"""Callbacks of hosts that may hang before those behind them are left unanswered."""

_STOPPED: Final = "control plane stopped"

T = TypeVar("T")


def shut_down(system: System, message: m.ShutDown, failure: str | None = None) -> None:
    """End everything; whatever goes wrong on the way, ``system.ended`` is set at the end.

    What it found, did and left is ``system.stopping.report`` then, with the ``failure`` that
    the end follows from.
    """
    stopping, began = system.stopping, system.clock.monotonic()
    stopping.begun.set()
    system.watch.count_ends()
    system.calls.refuse()
    report = ShutdownReport(store_closed=False)
    try:
        report = _quiesce(system, message)
        _end_operations(system)
    finally:
        try:
            report = _end(system, report)
        finally:
            if system.traces is not None:
                system.traces.close()
            took_s = system.clock.monotonic() - began
            stopping.report = evolve(report, seconds=took_s, failure=failure)
            system.ended.set()


# --- no run in hand ---------------------------------------------------------------------


def _quiesce(system: System, message: m.ShutDown) -> ShutdownReport:
    """Have no run in hand any more, nor a commit on its way; says how the runs ended."""
    stopping, quiet = system.stopping, set[LogicalRuntimeId]()
    drivers = system.directory.close(_wanted(system, message))

    def on_quiet(runtime_id: LogicalRuntimeId) -> None:
        quiet.add(runtime_id)
        stopping.changed()

    def tell(runtime_id: LogicalRuntimeId, told: object) -> None:
        try:
            drivers[runtime_id].tell(told)
        except pykka.ActorDeadError:  # it has left meanwhile
            on_quiet(runtime_id)

    def all_quiet() -> bool:
        return len(quiet) == len(drivers)

    for runtime_id in drivers:
        tell(runtime_id, m.Quiesce(message.drain, on_quiet))
    if not stopping.wait_for(all_quiet, message.timeout_s, patient=True):
        for runtime_id in [each for each in drivers if each not in quiet]:
            tell(runtime_id, m.CancelRuns())
            tell(runtime_id, m.Quiesce(drain=False, quiet=on_quiet))
        stopping.wait_for(all_quiet, system.grace_s, patient=False)
    return _of_runs(system, set(drivers) - quiet)


def _wanted(system: System, message: m.ShutDown) -> list[LogicalRuntimeId]:
    """The runtimes that need a driver at the end, besides those that have one.

    The ends of operations are recorded by drivers. And what was passivated with inputs that
    had woken nobody is drained, too.
    """
    wanted = system.bindings.with_live_operations()
    if message.drain:
        with_work = (system.sharing or system.store).runtimes_with_work
        wanted += _bounded(with_work, _patience_s(system)) or []
    return wanted


def _of_runs(system: System, busy: set[LogicalRuntimeId]) -> ShutdownReport:
    ends = system.watch.ends()
    if ends.left:
        logger.warning(
            "runs that did not return: %d; they are taken up at the next start",
            len(ends.left),
            extra=about(runs=len(ends.left)),
        )
    unsettled = len(busy.difference(ends.left))
    if unsettled:
        said = "runtimes that still wait for the store: %d"
        logger.warning(said, unsettled, extra=about(runtimes=unsettled))
    return ShutdownReport(
        runs_ended=ends.by_themselves,
        runs_cancelled=len(ends.cancelled),
        runs_left=len(ends.left),
        cancelled=tuple(ends.cancelled[:NAMES_MAX]),
        left=tuple(ends.left[:NAMES_MAX]),
        runtimes_unsettled=unsettled,
    )


# --- no operation that lives ------------------------------------------------------------


def _end_operations(system: System) -> None:
    """End the operations that are still live, so that whoever waits for one is told.

    The runtimes do not outlive the process, and what runs in it in the background does
    not either; the next process has the agents told.
    """
    bindings, clock = system.bindings, system.clock
    system.directory.close(bindings.with_live_operations())  # begun since, too
    until = clock.monotonic() + _patience_s(system)
    places, (owners, rest) = LightSemaphore(OWNERS_AT_A_TIME), bindings.owners()
    places.acquire()
    bindings.end_idle(rest, _STOPPED, places.release)
    for owner in (*owners, *[None] * OWNERS_AT_A_TIME):
        if not places.acquire(max(0.0, until - clock.monotonic())):
            logger.warning("the ends of some operations could not be recorded")
            return
        if owner is not None:
            bindings.end_owner(owner, _STOPPED, places.release)


# --- nobody who waits, and nothing that runs --------------------------------------------


def _end(system: System, report: ShutdownReport) -> ShutdownReport:
    """Answer everybody and close the store, whatever hangs: a disk, or a host's code."""
    answers = system.journal.stop(_patience_s(system))
    answers = system.pruner.stop(_patience_s(system)) and answers
    if system.sharing is not None:
        answers = system.sharing.stop(_patience_s(system)) and answers
    system.timers.stop(_patience_s(system))
    answers = system.pool.stop(_patience_s(system)) and answers
    system.threads.stop()
    system.closing.set()
    handles_ended = _answer_everybody(system)
    system.loop.stop(system.grace_s)  # its runs wait for nothing any more
    system.events.close()
    system.watchers.close()
    with_work, closed = _close_store(system) if answers else (None, False)
    if not closed:
        logger.error("the store does not answer; it is left open until the process ends")
    return evolve(
        report,
        calls_refused=system.calls.refused,
        handles_ended=handles_ended,
        runtimes_with_work=with_work,
        store_closed=closed,
    )


def _answer_everybody(system: System) -> int:
    """Answer every call and end every handle; gives how many handles that were.

    Callbacks of hosts are called in between. One that hangs keeps its thread; another one
    goes on with those that have no answer.
    """
    stopped = terminated(TerminationReason.PLANE_STOPPED)

    def answer() -> bool:
        with serving():
            system.calls.fail_all(ControlPlaneStopped())
            system.completions.end_all(stopped)
        return True

    for _ in range(ANSWERING_TRIES):
        if _bounded(answer, system.grace_s):
            break
    else:
        logger.error("callbacks of the host hang; some calls may be left without an answer")
    return system.completions.ended_by_stop


def _close_store(system: System) -> tuple[int | None, bool]:
    """Close the store; gives how many runtimes have work left, and whether it is closed."""
    find = (system.sharing or system.store).runtimes_with_work
    with_work = _bounded(find, _patience_s(system))

    def close() -> bool:
        system.store.close()
        return True

    closed = _bounded(close, max(system.grace_s, CLOSING_MIN_S))
    return None if with_work is None else len(with_work), bool(closed)


def _patience_s(system: System) -> float:
    """How long the disk may take to answer."""
    return max(system.grace_s, ANSWERING_MIN_S)


def _bounded(call: Callable[[], T], bound_s: float) -> T | None:
    """What a call gives that may hang; None when it does, or fails. It keeps its thread."""
    threads, given = RunThreads(), LightFuture[T]()

    def perform() -> None:
        try:
            given.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whatever a store raises
            given.set_exception(error)

    try:
        threads.start(perform)
    except RuntimeError:  # no thread to be had: rather without a bound than not at all
        perform()
    threads.stop()
    try:
        return given.result(bound_s)
    except FutureTimeoutError:
        logger.warning("a call did not return within %s s", bound_s, extra=about(seconds=bound_s))
    except Exception as error:
        said = "a call failed while the control plane was stopped"
        logger.exception(said, exc_info=without_text(error))
    return None
