"""Supervisor: the actor behind a control plane. It starts drivers and, at the end, stops all.

It is an ordinary Pykka actor: a host that keeps its own tree starts it there. Messages to
a runtime whose driver runs do not come through here; the directory is read directly.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import pykka

from actors import messages as m
from actors.clock import Clock, SystemClock, Timers
from actors.completions import Completions
from actors.driver import DriverActor
from actors.event_hub import EventHub
from actors.journal import Journal
from actors.pool import ActorPool
from actors.replies import OpenCalls
from actors.runs import Executor, RunSlots, RunThreads, checked_executor
from actors.system import System
from meerkat.errors import ControlPlaneStopped
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel.memory import Rules
from meerkat.limits import DEFAULT_BACKOFF, DEFAULT_LIMITS, Backoff, Limits
from meerkat.outcomes import TerminationReason, terminated
from meerkat.policy import DEFAULT_POLICY, PolicyTable
from meerkat.store import RuntimeStore

logger = logging.getLogger(__name__)

MAX_CONCURRENT_RUNS: Final = 64
"""Runs under way at a time: executors mostly wait for somebody else."""

GRACE_S: Final = 5.0
"""Seconds that host code is given to return once it has been told to."""

STOP_TIMEOUT_S: Final = 30.0
"""Seconds that the runs in hand are given to end by themselves at a stop."""

DRIVER_WORKERS: Final = 2
"""Threads that run drivers: one decides while the other waits for a read."""


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
    ) -> None:
        super().__init__()
        if max_concurrent_runs < 1:
            raise ValueError("max_concurrent_runs is at least 1")
        clock = clock or SystemClock()
        self._system = System(
            store=store,
            executor=None if executor is None else checked_executor(executor),
            rules=Rules(limits, backoff, policy),
            clock=clock,
            grace_s=grace_s,
            journal=Journal(store),
            pool=ActorPool(DRIVER_WORKERS),
            slots=RunSlots(max_concurrent_runs),
            threads=RunThreads(),
            timers=Timers(clock),
            events=EventHub(limits),
            completions=Completions(),
            calls=OpenCalls(limits.in_flight_max),
            route=self._route,
            leave=self._leave,
        )
        store.acquire()
        self._stopped = False

    def on_start(self) -> None:
        """Start the threads, and load every runtime that has work left."""
        try:
            self._system.journal.start()
            self._system.pool.start()
            self._resume_unfinished()
        except BaseException:  # Pykka calls no other hook then
            self._shut_down(drain=False, timeout_s=0)
            raise

    def _resume_unfinished(self) -> None:
        try:
            unfinished = self._system.store.runtimes_with_work()
        except Exception:
            logger.exception("unfinished runtimes could not be listed; each loads on first use")
            return
        for runtime_id in unfinished:
            self._driver(runtime_id).tell(m.Resume())

    def on_receive(self, message: Any) -> Any:
        """Route, forget, describe or shut down."""
        match message:
            case m.Route(runtime_id=runtime_id, message=inner):
                if self._stopped:
                    _refuse(inner)
                else:
                    self._driver(runtime_id).tell(inner)
            case m.Leaving(runtime_id=runtime_id, driver=driver):
                if self._system.directory.get(runtime_id) is driver:
                    del self._system.directory[runtime_id]
                driver.stop(block=False)
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

    # --- drivers ------------------------------------------------------------------------

    def _driver(self, runtime_id: LogicalRuntimeId) -> pykka.ActorRef[DriverActor]:
        driver = self._system.directory.get(runtime_id)
        if driver is None:
            driver = DriverActor.start(self._system, runtime_id)
            self._system.directory[runtime_id] = driver
        return driver

    def _route(self, runtime_id: LogicalRuntimeId, message: m.DriverMessage) -> None:
        try:
            self.actor_ref.tell(m.Route(runtime_id, message))
        except pykka.ActorDeadError:
            _refuse(message)

    def _leave(self, runtime_id: LogicalRuntimeId, driver: pykka.ActorRef[Any]) -> None:
        try:
            self.actor_ref.tell(m.Leaving(runtime_id, driver))
        except pykka.ActorDeadError:
            driver.stop(block=False)

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
        finally:
            try:
                system.journal.stop()
                system.timers.stop()
                system.pool.stop()
                system.threads.stop()
                system.calls.fail_all(ControlPlaneStopped())
                system.completions.end_all(terminated(TerminationReason.PLANE_STOPPED))
                system.events.close()
                system.store.close()
            finally:
                system.ended.set()

    def _quiesce(self, *, drain: bool, timeout_s: float) -> None:
        drivers = dict(self._system.directory)
        changed, quiet = threading.Condition(), set[LogicalRuntimeId]()

        def on_quiet(runtime_id: LogicalRuntimeId) -> None:
            with changed:
                quiet.add(runtime_id)
                changed.notify_all()

        for driver in drivers.values():
            driver.tell(m.Quiesce(drain, on_quiet))
        with changed:
            if changed.wait_for(lambda: len(quiet) == len(drivers), timeout_s):
                return
            busy = set(drivers) - quiet
        for runtime_id in busy:
            drivers[runtime_id].tell(m.Quiesce(drain=False, quiet=on_quiet))
            drivers[runtime_id].tell(m.CancelRuns())
        with changed:
            if not changed.wait_for(lambda: len(quiet) == len(drivers), self._system.grace_s):
                left = len(drivers) - len(quiet)
                logger.warning("%d runs did not return; they are taken up at the next start", left)


def _refuse(message: m.DriverMessage) -> None:
    reply = getattr(message, "reply", None)
    if reply is not None:
        reply.fail(ControlPlaneStopped())
