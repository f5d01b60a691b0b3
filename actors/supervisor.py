"""Supervisor: the actor behind a control plane. It starts drivers and, at the end, stops all.

It is an ordinary Pykka actor: a host that keeps its own tree starts it there. Messages to
a runtime whose driver runs do not come through here; the directory is read directly.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import pykka

from actors import messages as m
from actors.bindings import BindingsTable, RegistryMaker
from actors.clock import Clock, SystemClock, Timers
from actors.completions import Completions
from actors.directory import Directory
from actors.driver import DriverActor, ThreadedDriverActor
from actors.event_hub import EventHub
from actors.executors import Executor, checked_executor
from actors.journal import Journal
from actors.passivation import Notes, Sweep
from actors.pool import ActorPool, serving
from actors.replies import OpenCalls
from actors.retention import Means, Pruner
from actors.run_loop import RunLoop
from actors.run_places import RunSlots, RunThreads
from actors.run_watch import RunWatch
from actors.system import System
from actors.threaded import ActorThreads, DriverThreads
from meerkat.errors import ControlPlaneStopped
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel.memory import Rules
from meerkat.limits import (
    DEFAULT_BACKOFF,
    DEFAULT_LIMITS,
    KEEP_EVERYTHING,
    Backoff,
    Limits,
    Retention,
)
from meerkat.outcomes import TerminationReason, terminated
from meerkat.policy import DEFAULT_POLICY, PolicyTable
from meerkat.store import RuntimeStore

logger = logging.getLogger(__name__)

MAX_CONCURRENT_RUNS: Final = 64
"""Runs under way at a time: executors mostly wait for somebody else."""

GRACE_S: Final = 5.0
"""Seconds that host code is given to return once it has been told to."""

STUCK_AFTER_S: Final = 120.0
"""Seconds without a sign after which a run is shown with its stack: longer than most calls."""

PASSIVATE_AFTER_S: Final = 300.0
"""Seconds that a runtime is kept in memory though nothing is asked of it."""

STOP_TIMEOUT_S: Final = 30.0
"""Seconds that the runs in hand are given to end by themselves at a stop."""

OWNERS_AT_A_TIME: Final = 16
"""Sessions whose operations are ended side by side at a stop, to share commits."""

_STOPPED: Final = "control plane stopped"

DRIVER_WORKERS: Final = 2
"""Threads that run drivers: one decides while the other waits for a read."""


_DRIVERS: Final[Mapping[DriverThreads, type[DriverActor]]] = {
    DriverThreads.POOLED: DriverActor,
    DriverThreads.THREADED: ThreadedDriverActor,
}

_POOLS: Final[Mapping[DriverThreads, Callable[[], ActorPool]]] = {
    DriverThreads.POOLED: lambda: ActorPool(DRIVER_WORKERS),
    DriverThreads.THREADED: ActorThreads,
}


class RuntimeSupervisor(pykka.ThreadingActor):
    """Owns everything that runs for one store.

    ``RuntimeSupervisor.start(store=…, executor=…)`` becomes the store's owner in the
    calling thread; StoreError names the present owner. Stopping the actor stops everything
    in order and closes the store.
    """

    use_daemon_thread = True

    def __init__(
        self,
        *,
        store: RuntimeStore,
        executor: Executor | None = None,
        clock: Clock | None = None,
        max_concurrent_runs: int = MAX_CONCURRENT_RUNS,
        limits: Limits = DEFAULT_LIMITS,
        backoff: Backoff = DEFAULT_BACKOFF,
        policy: PolicyTable = DEFAULT_POLICY,
        grace_s: float = GRACE_S,
        run_deadline_s: float | None = None,
        stuck_after_s: float | None = STUCK_AFTER_S,
        passivate_after: float | None = PASSIVATE_AFTER_S,
        drivers: DriverThreads = DriverThreads.POOLED,
        retention: Retention = KEEP_EVERYTHING,
    ) -> None:
        super().__init__()
        if max_concurrent_runs < 1:
            raise ValueError("max_concurrent_runs is at least 1")
        if not callable(getattr(policy, "resolve", None)):
            raise TypeError(f"a policy has resolve(), not {type(policy).__name__}")
        if not 0 <= grace_s <= threading.TIMEOUT_MAX:
            raise ValueError("grace_s is 0 or above, and can be waited for")
        for name, seconds in (
            ("run_deadline_s", run_deadline_s),
            ("stuck_after_s", stuck_after_s),
            ("passivate_after", passivate_after),
        ):
            if not isinstance(seconds, int | float | None):
                raise TypeError(f"{name} takes seconds or None, not {type(seconds).__name__}")
            if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
                raise ValueError(f"{name} is above 0 and can be waited for, or it is None")
        for name, kind, given in (
            ("limits", Limits, limits),
            ("backoff", Backoff, backoff),
            ("retention", Retention, retention),
        ):
            if not isinstance(given, kind):
                raise TypeError(f"{name} is a {kind.__name__}, not {type(given).__name__}")
        drivers = DriverThreads(drivers)
        clock = clock or SystemClock()
        timers, threads, calls = Timers(clock), RunThreads(), OpenCalls(limits.in_flight_max)
        pool = _POOLS[drivers]()
        directory = Directory(self._start_driver, clock, limits.live_runtimes_max)
        registries = RegistryMaker(
            store=store, clock=clock, limits=limits, directory=directory, calls=calls
        )
        self._system = System(
            store=store,
            executor=None if executor is None else checked_executor(executor),
            rules=Rules(limits, backoff, policy),
            clock=clock,
            grace_s=grace_s,
            run_deadline_s=run_deadline_s,
            journal=Journal(store, pool.after_turn),
            pool=pool,
            slots=RunSlots(max_concurrent_runs),
            threads=threads,
            loop=RunLoop(threads),
            watch=RunWatch(clock, timers, stuck_after_s),
            timers=timers,
            events=EventHub(limits),
            completions=Completions(),
            calls=calls,
            directory=directory,
            notes=Notes(limits.events_per_process_max),
            bindings=BindingsTable(registries, threads),
        )
        self._driver = _DRIVERS[drivers]
        self._sweep = None
        if passivate_after is not None:
            leave, first = directory.passivate, directory.rested_since
            self._sweep = Sweep(clock, timers, passivate_after, leave=leave, first=first)
        means = Means(
            store=store,
            clock=clock,
            timers=timers,
            threads=threads,
            backoff=backoff,
            in_hand=self._system.watch.in_hand,
        )
        self._pruner = Pruner(retention, means)
        store.acquire()
        self._stopped = False

    def on_start(self) -> None:
        """Start the threads, and load every runtime that has work left."""
        try:
            self._system.journal.start()
            self._system.pool.start()
            self._resume_unfinished()
            if self._sweep is not None:
                self._sweep.start()
            self._pruner.start()
        except BaseException:  # Pykka calls no other hook then
            self._shut_down(drain=False, timeout_s=0)
            raise

    def _resume_unfinished(self) -> None:
        self._system.directory.resume(self._unfinished())

    def _unfinished(self) -> list[LogicalRuntimeId]:
        try:
            return self._system.store.runtimes_with_work()
        except Exception:
            logger.exception("unfinished runtimes could not be listed; each loads on first use")
            return []

    def on_receive(self, message: Any) -> Any:
        """Describe or shut down."""
        match message:
            case m.GiveSystem():
                return self._system
            case m.ShutDown(drain=drain, timeout_s=timeout_s):
                self._shut_down(drain=drain, timeout_s=timeout_s)
            case _:
                return super().on_receive(message)
        return None

    def on_stop(self) -> None:
        """Stop everything in order, unless that has been done."""
        self._shut_down(drain=False, timeout_s=STOP_TIMEOUT_S)

    def on_failure(self, *_error: Any) -> None:
        """Never leave threads and a locked store behind."""
        self._shut_down(drain=False, timeout_s=0)

    def _start_driver(self, runtime_id: LogicalRuntimeId) -> pykka.ActorRef[DriverActor]:
        """Start the driver of a runtime. Called by the directory, in any thread."""
        return self._driver.start(self._system, runtime_id)

    # --- the end ------------------------------------------------------------------------

    def _shut_down(self, *, drain: bool, timeout_s: float) -> None:
        """Refuse new work, let runs end, commit, answer everybody, close the store."""
        if self._stopped:
            return
        self._stopped = True
        system = self._system
        system.calls.refuse()
        try:
            self._quiesce(drain=drain, timeout_s=timeout_s)
            self._end_operations()
        finally:
            try:
                self._end()
            finally:
                system.ended.set()

    def _end(self) -> None:
        """Answer everybody and close the store, whatever hangs: a disk, or a host's code."""
        system = self._system
        answers = system.journal.stop(system.grace_s)
        answers = self._pruner.stop(system.grace_s) and answers
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

    def _end_operations(self) -> None:
        """End the operations that are still live, so that whoever waits for one is told.

        The runtimes do not outlive the process, and what runs in it in the background does
        not either; the next process has the agents told.
        """
        bindings, clock = self._system.bindings, self._system.clock
        self._system.directory.close(bindings.with_live_operations())  # begun since, too
        until = clock.monotonic() + self._system.grace_s
        places, (owners, rest) = threading.Semaphore(OWNERS_AT_A_TIME), bindings.owners()
        places.acquire()
        bindings.end_idle(rest, _STOPPED, places.release)
        for owner in (*owners, *[None] * OWNERS_AT_A_TIME):
            if not places.acquire(timeout=max(0.0, until - clock.monotonic())):
                logger.warning("the ends of some operations could not be recorded")
                return
            if owner is not None:
                bindings.end_owner(owner, _STOPPED, places.release)

    def _quiesce(self, *, drain: bool, timeout_s: float) -> None:
        # What was passivated with inputs that had woken nobody is drained, too; and the ends of
        # operations are recorded by drivers.
        wanted = self._system.bindings.with_live_operations()
        wanted += self._unfinished() if drain else ()
        drivers = self._system.directory.close(wanted)
        changed, quiet = threading.Condition(), set[LogicalRuntimeId]()

        def on_quiet(runtime_id: LogicalRuntimeId) -> None:
            with changed:
                quiet.add(runtime_id)
                changed.notify_all()

        for runtime_id, driver in drivers.items():
            _tell(driver, m.Quiesce(drain, on_quiet), on_gone=partial(on_quiet, runtime_id))
        with changed:
            if changed.wait_for(lambda: len(quiet) == len(drivers), timeout_s):
                return
            busy = set(drivers) - quiet
        for runtime_id in busy:
            for message in (m.CancelRuns(), m.Quiesce(drain=False, quiet=on_quiet)):
                _tell(drivers[runtime_id], message, on_gone=partial(on_quiet, runtime_id))
        with changed:
            if not changed.wait_for(lambda: len(quiet) == len(drivers), self._system.grace_s):
                left = len(drivers) - len(quiet)
                logger.warning("%d runs did not return; they are taken up at the next start", left)


def _tell(
    driver: pykka.ActorRef[DriverActor], message: object, *, on_gone: Callable[[], None]
) -> None:
    """Tell a driver that may have left meanwhile."""
    try:
        driver.tell(message)
    except pykka.ActorDeadError:
        on_gone()
