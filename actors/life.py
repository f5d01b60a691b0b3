"""Life: how the supervisor behind a front door comes and goes.

A front door may be opened again after it was closed; each opening has a system of its own.
Any thread may open and close it.

A signal may raise in the main thread at any moment, KeyboardInterrupt or SystemExit, so what
must not be cut in half is not done there: a start is made on a thread of its own, a stop on
the supervisor's. Who waits for one may be torn away, and it goes on to its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeAlias, cast

import pykka

from actors import messages as m
from actors.forks import home_here
from actors.light import LightFuture
from actors.replies import refuse_deadlock
from actors.run_places import RunThreads
from actors.settings import STOP_TIMEOUT_S
from actors.stopping import ShutdownReport
from actors.supervisor import RuntimeSupervisor
from actors.system import System
from meerkat.errors import ControlPlaneStopped

_STILL_ALIVE_S: Final = 1.0
"""How often to look whether a supervisor that does not answer has ended."""

_NOT_STARTED: Final = "it was not started; start() it, or use it as a context manager"

SessionsRef: TypeAlias = pykka.ActorRef[RuntimeSupervisor]
HostsSupervisor: TypeAlias = Callable[[], SessionsRef | None]
"""Gives the supervisor that runs in a host's tree now; None while none does."""


class Comings(Protocol):
    """How what is behind a front door comes and goes. Thread-safe."""

    @property
    def system(self) -> System:
        """The parts behind it; ControlPlaneStopped when it is not open."""
        ...

    def start(self) -> None:
        """Start, unless it runs."""
        ...

    def stop(self, message: m.ShutDown) -> ShutdownReport:
        """Stop, and wait for the end."""
        ...

    def hurry(self) -> None:
        """Have a stop that is under way, or comes, wait for no run."""
        ...


class Life:
    """One front door's supervisor, from start to stop and again. Thread-safe.

    ``owned``: it is this door that starts the supervisor, and that ends one whose start was
    interrupted.
    """

    def __init__(self, start: Callable[[], SessionsRef], *, owned: bool = True) -> None:
        self._start = start
        self._owned = owned
        self._home = home_here()
        self._home.in_child(self._in_child)
        self._lock = threading.RLock()  # a signal handler may stop what its thread starts
        self._opening: Opening | None = None

    @property
    def system(self) -> System:
        """The parts behind the front door; ControlPlaneStopped when it is not open.

        ControlPlaneForked in a process that was forked since: the threads are the parent's.
        """
        self._home.check()
        if self._opening is None:
            raise ControlPlaneStopped(_NOT_STARTED)
        system = self._opening.system
        if system is None:
            raise ControlPlaneStopped
        return system

    def _in_child(self) -> None:
        """In a forked child: what runs is the parent's; a door that is closed may be opened."""
        self._lock = threading.RLock()  # whoever held it is not here
        if self._opening is None or self._opening.is_over:
            self._opening = None
            self._home = home_here()
            self._home.in_child(self._in_child)

    def start(self) -> None:
        """Start, unless it runs; while a stop is under way, wait for its end first.

        Whatever is raised here, an interrupt too, nothing stays started.
        """
        self._home.check()
        while True:
            with self._lock:
                last = self._opening
                if last is None or last.is_over:
                    return self._open()
                if not last.is_ending:
                    return None
            last.refuse_to_wait("start")
            last.wait_for_end()

    def _open(self) -> None:
        opening = Opening(self._start, owned=self._owned)
        try:
            self._opening = opening
            opening.begin()
        except BaseException:
            opening.give_up()
            raise

    def stop(self, message: m.ShutDown) -> ShutdownReport:
        """Stop, and wait for the end; whoever calls meanwhile waits for the same one.

        In a forked process there is nothing to stop.
        """
        if self._home.left:
            return ShutdownReport()
        with self._lock:
            opening = self._opening
        if opening is None:
            return ShutdownReport()
        opening.refuse_to_wait("stop")
        return opening.stop(message)

    def hurry(self) -> None:
        """Have a stop that is under way, or comes, wait for no run."""
        opening = self._opening
        if opening is not None and opening.system is not None:
            opening.system.stopping.hurry()


class Opening:
    """One supervisor of a front door, from its start to its end. Thread-safe."""

    def __init__(self, start: Callable[[], SessionsRef], *, owned: bool) -> None:
        self._start = start
        self._owned = owned
        self._begun: LightFuture[System] = LightFuture()
        self._given_up = False
        self._supervisor: SessionsRef | None = None
        self.system: System | None = None

    @property
    def is_over(self) -> bool:
        """Has it ended, or never come to be?"""
        if self.system is None:
            return self._begun.done()
        return self.system.ended.is_set() or (self._given_up and not self._owned)

    @property
    def is_ending(self) -> bool:
        """Is it to end, by our will or its host's?"""
        alive = self._supervisor is not None and self._supervisor.is_alive()
        return self._given_up or not alive or self._stopping

    @property
    def _stopping(self) -> bool:
        return self.system is not None and self.system.stopping.begun.is_set()

    def begin(self) -> None:
        """Start it; raises what that raises."""
        threads = RunThreads()
        threads.start(partial(self._perform_and_end, threads))
        self._begun.result()

    def _perform_and_end(self, threads: RunThreads) -> None:
        """Have the thread end behind it, whatever comes between here and who waits for it."""
        try:
            self._perform()
        finally:
            threads.stop()

    def _perform(self) -> None:
        if not self._begun.set_running_or_notify_cancel():
            return
        try:
            self._supervisor = self._start()
            self.system = _system_of(self._supervisor)
        except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
            if self._supervisor is not None and self._owned:
                with suppress(Exception):
                    self._supervisor.stop(timeout=STOP_TIMEOUT_S)  # nobody else knows of it
            self._begun.set_exception(error)
        else:
            self._begun.set_result(self.system)
            self._end_if_given_up()

    def give_up(self) -> None:
        """Nobody waits for it any more: it ends, or does not even begin."""
        self._given_up = True
        if not self._begun.cancel():
            self._end_if_given_up()

    def _end_if_given_up(self) -> None:
        # Asked by both sides, each after it has said its part: one of them sees the other's.
        if self._given_up and self._owned and self.system is not None:
            self._tell_to_stop(m.ShutDown(drain=False, timeout_s=0))

    def _tell_to_stop(self, message: m.ShutDown) -> None:
        if self._supervisor is not None and self.system is not None:
            self.system.stopping.begun.set()
            with suppress(pykka.ActorDeadError):
                self._supervisor.tell(message)

    def stop(self, message: m.ShutDown) -> ShutdownReport:
        """Stop it and wait for its end. Of all who wait, the least patient decides."""
        with suppress(CancelledError):
            self._begun.exception()  # a start that is under way comes to its end first
        system = self.system
        if system is None:
            return ShutdownReport()
        self._tell_to_stop(message)
        if not system.ended.wait(message.timeout_s):
            system.stopping.hurry()
        system.ended.wait()  # not for an answer: an ask that races the end gets none
        return system.stopping.report

    def refuse_to_wait(self, call: str) -> None:
        """Raise WouldDeadlock on a thread whose end its own end waits for."""
        if self.system is None:
            refuse_deadlock(call)
        else:
            self.system.waits.refuse_end(call)

    def wait_for_end(self) -> None:
        """Wait until it is over."""
        with suppress(CancelledError):
            self._begun.exception()
        if self.system is not None:
            self.system.ended.wait()


def one_of_a_host(
    supervisor: SessionsRef | HostsSupervisor,
) -> Callable[[], SessionsRef]:
    """How to open a door to a supervisor that a host starts: it is asked which one runs."""

    def present() -> SessionsRef:
        ref = supervisor if isinstance(supervisor, pykka.ActorRef) else supervisor()
        if ref is None:
            raise ControlPlaneStopped
        return ref

    return present


def _system_of(supervisor: SessionsRef) -> System:
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
