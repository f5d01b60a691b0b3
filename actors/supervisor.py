"""Supervisor: the actor behind a control plane. It starts everything and, at the end, stops it.

It is an ordinary Pykka actor: a host that keeps its own tree starts it there. Messages to
a runtime whose driver runs do not come through here; the directory is read directly.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import pykka

from actors import messages as m
from actors.assembly import assembled
from actors.at_exit import Net
from actors.contained import ContainedActor
from actors.executors import Executor, checked_executor
from actors.logs import say, without_text
from actors.pool import serve_here
from actors.restarts import RestartCount, Strategy
from actors.settings import STOP_TIMEOUT_S, Settings
from actors.shutdown import shut_down
from actors.supervised import Supervised
from actors.supervision import supervision_of
from actors.system import System
from meerkat.checks import kind_of
from meerkat.errors import InternalError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeStore
from meerkat.store.protocol import is_store

logger = logging.getLogger(__name__)


class JournalGaveUp(InternalError):
    """The journal failed too often: its control plane ends."""


class RuntimeSupervisorRef(pykka.ActorRef["RuntimeSupervisor"]):
    """A reference to a RuntimeSupervisor, which tells what stands under it. Thread-safe."""

    def __init__(self, actor: RuntimeSupervisor, system: System) -> None:
        super().__init__(actor)
        self._system = system

    def supervision(self) -> Supervised:
        """What runs for its control plane, and how each part stands. Waits for nothing."""
        return supervision_of(self._system)


class RuntimeSupervisor(ContainedActor):
    """Owns everything that runs for one store.

    ``RuntimeSupervisor.start(store=…, executor=…)`` becomes the store's owner in the
    calling thread; StoreError names the present owner. It takes the settings of
    ``ControlPlane`` by the same names. Stopping the actor stops everything in order and
    closes the store.
    """

    shutdown_s: ClassVar[float | None] = None  # a stop has bounds of its own

    def __init__(
        self, *, store: RuntimeStore, executor: Executor | None = None, **settings: Any
    ) -> None:
        super().__init__()
        if isinstance(store, type) or not is_store(store):
            raise TypeError(f"a store is a RuntimeStore, not {kind_of(store)}")
        executor = None if executor is None else checked_executor(executor)
        self._system = assembled(store, executor, Settings(**settings), self._journal_failed)
        self._actor_ref = RuntimeSupervisorRef(self, self._system)
        self._journal_restarts = RestartCount(self._system.restart.journal)
        self._net = Net(self.actor_ref, self._system)
        store.acquire()

    def on_start(self) -> None:
        """Start the threads, and load every runtime that has work left."""
        serve_here()
        system = self._system
        system.home.in_child(partial(pykka.ActorRegistry.unregister, self.actor_ref))
        system.journal.start()
        system.pool.start()
        if system.sharing is None:
            system.directory.resume(self._unfinished())
        else:
            system.sharing.start()
        if system.sweep is not None:
            system.sweep.start()
        system.pruner.start()
        self._net.spread()
        say(logger, logging.INFO, "a control plane is started")

    def on_start_failed(self) -> None:
        """Never leave threads and a locked store behind."""
        self._shut_down(m.ShutDown(drain=False, timeout_s=0))

    def _unfinished(self) -> list[LogicalRuntimeId]:
        try:
            return self._system.store.runtimes_with_work()
        except Exception as error:
            said = "unfinished runtimes could not be listed; each loads on first use"
            logger.exception(said, exc_info=without_text(error))
            return []

    def on_receive(self, message: Any) -> Any:
        """Describe or shut down."""
        match message:
            case m.GiveSystem():
                return self._system
            case m.JournalFailed(error=error):
                self._give_up(error)
            case m.ShutDown():
                self._shut_down(message)
                self.stop()  # by the same message: a signal cannot come between two
            case _:
                return super().on_receive(message)
        return None

    def _journal_failed(self, error: BaseException) -> None:
        """Have the journal write again after a pause. On the thread that failed, one at a time.

        This actor may be at its end, which waits for what is to be written, and hears nothing.
        """
        system = self._system
        clock, rule = system.clock, system.restart.journal
        pause_s = self._journal_restarts.failed(clock.monotonic(), clock.jitter())
        if pause_s is None:
            with suppress(pykka.ActorDeadError):  # it is stopping, and the journal with it
                self.actor_ref.tell(m.JournalFailed(error))
            return
        system.journal.counts.restarts += 1
        system.timers.after(pause_s, system.journal.resume)
        if rule.strategy is Strategy.ONE_FOR_ALL:
            system.directory.tell_all(m.BeginAnew(f"the journal failed: {type(error).__name__}"))

    def _give_up(self, error: BaseException) -> None:
        """The journal failed once too often, which is a failure of our own."""
        rule = self._system.restart.journal
        raise JournalGaveUp(
            f"the journal failed more than {rule.intensity} times in {rule.period_s:g} s"
        ) from error

    def on_stop(self) -> None:
        """Stop everything in order, unless that has been done."""
        self._shut_down(m.ShutDown(drain=False, timeout_s=STOP_TIMEOUT_S))

    def on_failure(self, _type: Any, error: BaseException | None, _trace: Any) -> None:
        """Never leave threads and a locked store behind, and say why in the report."""
        failure = f"{type(error).__name__}: {error}"
        self._shut_down(m.ShutDown(drain=False, timeout_s=0), failure)

    def _shut_down(self, message: m.ShutDown, failure: str | None = None) -> None:
        if not self._system.ended.is_set():
            shut_down(self._system, message, failure)
            seconds = self._system.stopping.report.seconds
            say(logger, logging.INFO, "a control plane has ended", seconds=seconds)
        self._net.take_away()
