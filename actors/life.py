"""Life: how the supervisor behind a front door comes and goes.

A front door may be opened again after it was closed; each opening has a system of its own.
Any thread may open and close it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

import pykka

from actors import messages as m
from actors.replies import refuse_deadlock
from actors.supervisor import RuntimeSupervisor
from actors.system import System
from meerkat.errors import ControlPlaneStopped

_STILL_ALIVE_S: Final = 1.0
"""How often to look whether a supervisor that does not answer has ended."""


class Life:
    """One front door's supervisor, from start to stop and again. Thread-safe."""

    def __init__(self, start: Callable[[], pykka.ActorRef[RuntimeSupervisor]]) -> None:
        self._start = start
        self._lock = threading.RLock()  # a signal handler may stop what its thread starts
        self._supervisor: pykka.ActorRef[RuntimeSupervisor] | None = None
        self._system: System | None = None
        self._stopping: System | None = None

    @property
    def system(self) -> System:
        """The parts behind the front door; ControlPlaneStopped when it was never opened."""
        if self._system is None:
            raise ControlPlaneStopped
        return self._system

    def start(self) -> None:
        """Start, unless it runs; while a stop is under way, wait for its end first."""
        while True:
            with self._lock:
                if self._system is None or self._system.ended.is_set():
                    supervisor = self._start()
                    self._system = _system_of(supervisor)
                    self._supervisor = supervisor
                    return
                ending = self._ending()
            if ending is None:
                return
            refuse_deadlock("start")
            ending.ended.wait()

    def _ending(self) -> System | None:
        """What is being stopped, by us or by its host."""
        alive = self._supervisor is not None and self._supervisor.is_alive()
        return None if alive and self._stopping is not self._system else self._system

    def stop(self, message: m.ShutDown) -> None:
        """Stop, and wait for the end; whoever calls meanwhile waits for the same one."""
        with self._lock:
            supervisor, system = self._supervisor, self._system
            if supervisor is None or system is None:
                return
            refuse_deadlock("stop")
            self._stopping = system
        with suppress(pykka.ActorDeadError):
            supervisor.tell(message)
            supervisor.stop(block=False)
        system.ended.wait()  # not for an answer: an ask that races the end gets none


def _system_of(supervisor: pykka.ActorRef[RuntimeSupervisor]) -> System:
    """The parts behind a supervisor; ControlPlaneStopped for one that has ended."""
    answer = supervisor.ask(m.GiveSystem(), block=False)
    while True:
        try:
            return cast("System", answer.get(timeout=_STILL_ALIVE_S))
        except pykka.ActorDeadError:
            raise ControlPlaneStopped from None
        except pykka.Timeout:
            if not supervisor.is_alive():
                raise ControlPlaneStopped from None
