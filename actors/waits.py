"""Waits: who waits for whom in one control plane, on which thread and in which run.

Every blocking wait is noted here while it lasts. One made by a run, on something that can only
end after that run, is refused at once with the chain; one that lasts is told in the log, with
what is done about it. Nothing is decided about runtimes here, and no driver is asked: it is
looked at.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from actors.clock import Clock, Timers
from actors.driver_doing import Doing
from actors.forks import Home
from actors.logs import about
from actors.pool import on_worker
from actors.wait_chains import ON, Awaited, On, Wait, WaitingRun, dead_chain, story
from meerkat.errors import WouldDeadlock
from meerkat.identifiers import InputId, LogicalRuntimeId

logger = logging.getLogger(__name__)

LOOKS_PER_BOUND: Final = 4
"""How often waits are looked at within the time after which one is told."""

FIRST_LOOK_S: Final = 0.01
LOOK_EVERY_S: Final = 1.0
"""Pauses in which a run that waits looks whether its chain has been closed by somebody else,
by an acceptance or the end of a back-off say. They begin with the first and double."""

_carried: ContextVar[tuple[Waits | None, WaitingRun | None]] = ContextVar(
    "meerkat_coroutine_run", default=(None, None)
)
"""The coroutine run that a task belongs to, and its plane's waits."""

_ON_LOOP: Final = "{} was called on the event loop that carries the runs: await it instead"


class Waits:
    """The blocking waits of one control plane. Thread-safe.

    ``slots`` is how many runs there may be, ``doing`` looks at a driver, ``on_loop`` says
    whether this thread carries coroutine runs. ``stuck_after_s`` is in seconds; with None no
    wait is told.
    """

    def __init__(
        self,
        clock: Clock,
        timers: Timers,
        stuck_after_s: float | None,
        *,
        slots: int,
        doing: Callable[[LogicalRuntimeId], Doing | None],
        on_loop: Callable[[], bool],
        home: Home,
    ) -> None:
        self.home = home
        self.slots = slots
        self.doing = doing
        self._on_loop = on_loop
        self._now = clock.monotonic
        self._timers = timers
        self._stuck_after_s = stuck_after_s
        self._lock = threading.Lock()
        self._waiting: dict[Wait, None] = {}
        self._of_run: dict[WaitingRun, Wait] = {}
        self._in_hand: dict[LogicalRuntimeId, WaitingRun] = {}
        self._here: dict[int, WaitingRun] = {}
        self._looking = False

    # --- runs ---------------------------------------------------------------------------

    def run_begins(self, run: WaitingRun) -> None:
        """A run is in hand: what is behind it waits for its end."""
        with self._lock:
            self._in_hand[run.runtime_id] = run

    def run_leaves(self, run: WaitingRun) -> None:
        """A run is over, or has its grace: its runtime goes on without it. Idempotent.

        Its thread says so and its driver does, and both may at once.
        """
        with self._lock:
            if self._in_hand.get(run.runtime_id) is run:
                del self._in_hand[run.runtime_id]

    @contextmanager
    def performing(self, run: WaitingRun) -> Iterator[None]:
        """While this lasts, what this thread waits for is waited for by the run."""
        thread = threading.get_ident()
        self._here[thread] = run
        try:
            yield
        finally:
            self._here.pop(thread, None)

    def runs_in_hand(self) -> Collection[WaitingRun]:
        """The runs that have not been told to leave."""
        return tuple(self._in_hand.values())

    def run_of(self, runtime_id: LogicalRuntimeId) -> WaitingRun | None:
        """The one of a runtime."""
        return self._in_hand.get(runtime_id)

    def wait_of(self, run: WaitingRun) -> Wait | None:
        """What a run waits for."""
        return self._of_run.get(run)

    # --- before anything is sent --------------------------------------------------------

    def refuse(self, call: str, runtime_id: LogicalRuntimeId | None) -> None:
        """Raise WouldDeadlock where this thread may not wait for the answer of a call.

        Asked before the call is made: what is refused has not happened.
        """
        if on_worker():
            raise WouldDeadlock(call)
        kind = ON.get(call)
        if kind is not None:
            wait = self._wait(call, runtime_id, _Unanswered(), None)
            self._refuse_on_loop(wait, kind)
            self._refuse_dead(wait)

    def refuse_end(self, call: str) -> None:
        """Raise WouldDeadlock where this thread is one whose end a stop waits for."""
        if on_worker():
            raise WouldDeadlock(call)
        run = self._here.get(threading.get_ident())
        if run is not None:
            named = f"run {run.run_id} of {run.runtime_id}"
            chain = f"{named} waits for {call} of the control plane, which waits for {named}"
            raise WouldDeadlock(call, (chain,))
        if self._on_loop():
            raise WouldDeadlock(call, (_ON_LOOP.format(call),))

    def _refuse_on_loop(self, wait: Wait, kind: On) -> None:
        if not self._on_loop():
            return
        doing = None if wait.runtime_id is None else self.doing(wait.runtime_id)
        if kind is not On.RETURN or (doing is not None and doing.leaving):
            raise WouldDeadlock(wait.call, (_ON_LOOP.format(wait.call),))

    def _refuse_dead(self, wait: Wait) -> None:
        if wait.run is None:
            return
        chain = dead_chain(wait, self)
        if chain:
            raise WouldDeadlock(wait.call, chain)

    # --- waiting ------------------------------------------------------------------------

    def begin(
        self,
        call: str,
        runtime_id: LogicalRuntimeId | None,
        future: Awaited,
        timeout_s: float | None,
    ) -> Wait:
        """Note that this thread is about to wait for a future, or raise WouldDeadlock."""
        if on_worker():
            raise WouldDeadlock(call)
        wait, kind = self._wait(call, runtime_id, future, timeout_s), ON.get(call)
        if kind is not None:
            self._refuse_on_loop(wait, kind)
        if wait.run is None:
            self._waiting[wait] = None
        else:
            self._begin_in_run(wait, wait.run)
        if not self._looking:
            self._look_later()
        return wait

    def _begin_in_run(self, wait: Wait, run: WaitingRun) -> None:
        with self._lock:  # of those who close a chain together, one is refused
            self._refuse_dead(wait)
            self._of_run[run] = wait
            self._waiting[wait] = None

    def look_again(self, wait: Wait) -> None:
        """A run still waits: raise WouldDeadlock if others have closed its chain since."""
        if wait.run is not None:
            with self._lock:
                self._refuse_dead(wait)

    def end(self, wait: Wait) -> None:
        """The wait is over."""
        self._waiting.pop(wait, None)
        if wait.run is not None and self._of_run.get(wait.run) is wait:
            del self._of_run[wait.run]

    def awaited(
        self, call: str, runtime_id: LogicalRuntimeId | None, future: Awaited
    ) -> Wait | None:
        """Note what a coroutine run asks to be told of, if this is one: it may be stuck on it.

        It is told as any wait is, and refused nothing: the run may do other things meanwhile.
        """
        waits, run = _carried.get()
        if waits is not self or not self._on_loop():
            return None
        wait = Wait(call, runtime_id, future, None, threading.get_ident(), run, self._now())
        self._waiting[wait] = None
        if not self._looking:
            self._look_later()
        return wait

    def carry(self, run: WaitingRun) -> None:
        """From now on this task, and what it begins, belong to a coroutine run."""
        _carried.set((self, run))

    def pauses(self, wait: Wait) -> Iterator[float | None]:
        """How long to wait before looking again, until the time of the wait is up."""
        if wait.run is None or wait.call not in ON:
            yield wait.timeout_s
            return
        left_s, pause_s = wait.timeout_s, FIRST_LOOK_S
        while left_s is None or left_s > 0:
            yield pause_s if left_s is None else min(pause_s, left_s)
            left_s = None if left_s is None else left_s - pause_s
            pause_s = min(2 * pause_s, LOOK_EVERY_S)

    def _wait(
        self,
        call: str,
        runtime_id: LogicalRuntimeId | None,
        future: Awaited,
        timeout_s: float | None,
    ) -> Wait:
        thread = threading.get_ident()
        return Wait(
            call, runtime_id, future, timeout_s, thread, self._here.get(thread), self._now()
        )

    # --- the watchdog -------------------------------------------------------------------

    def _look_later(self) -> None:
        """Look in a while, unless that is due already."""
        if self._stuck_after_s is None:
            return
        with self._lock:
            if not self._looking:
                self._timers.after(self._stuck_after_s / LOOKS_PER_BOUND, self._look)
                self._looking = True

    def _look(self) -> None:
        """Tell of each wait that has lasted, once."""
        self._looking = False  # first: a wait that begins now has somebody look at it
        waiting, now = tuple(self._waiting), self._now()
        for wait in waiting:
            lasted_s = now - wait.since
            if not wait.shown and self._stuck_after_s and lasted_s >= self._stuck_after_s:
                wait.shown = True
                logger.warning(
                    "stuck: %s", story(wait, self, now), extra=about(runtime_id=wait.runtime_id)
                )
        if waiting:
            self._look_later()


class _Unanswered:
    """The answer of a call that is not made yet."""

    input_id: InputId | None = None

    def done(self) -> bool:
        return False
