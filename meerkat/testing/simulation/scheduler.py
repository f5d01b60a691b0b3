"""Scheduler: one thread at a time runs, and the seed says which is next.

The thread that runs has the *baton*. What is ready lies in one list: actors that have mail,
calls that are due, work that wants a thread, and threads whose bell was rung. Whoever has the
baton picks one of them by chance, and does it, or gives the baton to the thread it is about.
When nothing is ready, time goes on to what is due next; there is no other clock.

Actors, calls and work are done by *carriers*, threads like any other. A carrier whose work
begins to wait goes on picking, on top of that work, for as long as what it picks does not wait
in its turn: a run that asks its driver something costs no change of threads. The thread of the
host carries nothing: so what a killed process had in hand can stay where it is.

Only the thread with the baton touches anything here, so nothing here is locked.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from actors.ground import Ground, standing_on
from actors.pool import PooledActor, on_worker, serve_here
from meerkat.minting import Mint, minted_by
from meerkat.testing.simulation.agenda import Agenda
from meerkat.testing.simulation.errors import ProcessKilled
from meerkat.testing.simulation.items import (
    NEVER,
    Call,
    Process,
    Task,
    Unwound,
    Waiter,
    is_stale,
    may_wait,
    outlives,
)

logger = logging.getLogger(__name__)

UNWIND_S: Final = 5.0
"""Seconds that code of a killed process has to come to its end, at the end of a simulation."""

REFUSALS_MAX: Final = 100
"""How often code of a killed process is told that it is over, before it is left where it is."""


class Carrier:
    """A thread that does what is picked."""

    __slots__ = ("item", "lock", "thread")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.item: Any = None
        self.thread: threading.Thread | None = None


class _Standing(threading.local):
    process: Process | None = None
    carries = False
    refused = 0


class Scheduler(Agenda):
    """What is ready, what is due, and who has the baton. Used by the thread that has it."""

    def __init__(self, seed: int, ground: Ground, mint: Mint, *, patience_s: float) -> None:
        super().__init__(seed, patience_s=patience_s)
        self.process = Process()
        self.deliveries = 0
        self.picked: Callable[[Any, int], None] | None = None
        self._ground = ground
        self._mint = mint
        self._idle: list[Carrier] = []
        self._carriers: list[Carrier] = []
        self._left: dict[int, Waiter] = {}
        self._here = _Standing()
        self._over = False
        self._unwound = threading.Semaphore(0)
        self.quantum: Callable[[], int] = lambda: 1
        """How many messages the next turn may handle."""
        self.busy = 0.0
        """How often a thread of a driver leaves a commit to the journal's."""
        self.slow = False
        """May a commit take time?"""
        self.driving = False
        """Has a driver its turn just now?"""

    # --- sleeping -----------------------------------------------------------------------

    def sleep(self, waiter: Waiter, timeout_s: float) -> bool:
        """Give the baton away until the bell is rung, or the time is up; was it rung?"""
        if self._over:
            self._refuse()
        if waiter.rung:
            waiter.rung = False
            return True
        self._lie_down(waiter)
        if timeout_s >= 0:
            waiter.until = self.now + timeout_s
            self.later(timeout_s, waiter, waiter.turn)
        self._rest(waiter)
        if waiter.until < NEVER and waiter.rung:
            self.stale()
        rung, waiter.rung = waiter.rung, False
        return rung

    def quiet(self, seconds: float | None) -> None:
        """Sleep until nothing is ready and so many seconds have passed; with None, none."""
        if self._quiet is not None:
            raise RuntimeError("one thread at a time has the simulation run")
        self._quiet = waiter = Waiter(self)
        self._lie_down(waiter)
        waiter.until = self.now + (seconds or 0.0)
        try:
            self._rest(waiter)
        finally:
            self._quiet = None

    def _lie_down(self, waiter: Waiter) -> None:
        waiter.turn += 1
        waiter.process, waiter.thread = self._here.process, threading.get_ident()
        waiter.asleep, waiter.since, waiter.until = True, self.now, NEVER

    def _refuse(self) -> None:
        """The simulation is over: end this thread; for good, if it does not take that."""
        self._here.refused += 1
        if self._here.refused > REFUSALS_MAX:
            threading.Event().wait()
        raise Unwound

    def _rest(self, waiter: Waiter) -> None:
        """Give the baton away until this thread is picked."""
        serving, self._asleep[waiter] = on_worker(), None
        if not self._picked_here(waiter):
            waiter.lock.acquire()  # the one place where a thread of a simulation really sleeps
        serve_here(on=serving)
        self._asleep.pop(waiter, None)
        error, waiter.error = waiter.error, None
        if error is not None:
            raise error

    def stay(self) -> None:
        """The process of this thread is dead: nothing that stands behind this call is done."""
        waiter = Waiter(self)
        self._lie_down(waiter)
        self._left[waiter.thread] = waiter
        self._pass_on(self._next())
        waiter.lock.acquire()
        raise Unwound

    # --- the baton ----------------------------------------------------------------------

    def _picked_here(self, waiter: Waiter) -> bool:
        """Pick until it is that thread, which is this one; False when the baton is elsewhere."""
        process = self._here.process
        carries = self._here.carries and process is not None
        while (item := self._next()) is not waiter:
            if not carries or may_wait(item):
                self._pass_on(item)
                return False
            self._do(item)
            self._here.process = process
            if self._over:
                raise Unwound
        return True

    def _pass_on(self, item: Any) -> None:
        """Give the baton to the thread that an item is about, or to a carrier that does it."""
        if item.__class__ is Waiter:
            item.lock.release()
            return
        carrier = self._idle.pop() if self._idle else self._one_more()
        carrier.item = item
        carrier.lock.release()

    def _one_more(self) -> Carrier:
        carrier = Carrier()
        self._carriers.append(carrier)
        name = f"meerkat-simulation-{len(self._carriers)}"
        carrier.thread = threading.Thread(
            target=self._carry, args=(carrier,), name=name, daemon=True
        )
        carrier.thread.start()
        return carrier

    def _carry(self, me: Carrier) -> None:
        self._here.carries = True
        with standing_on(self._ground), minted_by(self._mint):
            while True:
                me.lock.acquire()
                item, me.item = me.item, None
                if item is None:
                    return
                try:
                    self._work(me, item)
                except Unwound:
                    self._unwound.release()
                    return
                except BaseException as error:  # noqa: BLE001 - it is the host's to know
                    self._break_off(error)
                    return

    def _break_off(self, error: BaseException) -> None:
        """The scheduler itself has failed: tell the host, which would wait for ever."""
        for waiter in self._asleep:
            if waiter.process is None:
                waiter.error = error
                if waiter.asleep:
                    self.wake(waiter)
                self._ready.remove(waiter)
                waiter.lock.release()
                return

    def _work(self, me: Carrier, item: Any) -> None:
        """Do one thing after the other until the next one is another thread's."""
        while True:
            try:
                self._do(item)
            except Unwound:
                raise
            except BaseException:
                logger.exception("the work of a simulated thread failed")
            if self._over:
                raise Unwound
            self._here.process = None
            item = self._next()
            if item.__class__ is Waiter:
                self._idle.append(me)
                item.lock.release()
                return

    def _do(self, item: Any) -> None:
        kind = item.__class__
        if kind is Task:
            serve_here(on=item.serves)
            self._here.process = item.process
            if self.picked is not None:
                self.picked(item, 0)
            item.work()
            return
        self._here.process = self.process
        serve_here()
        if kind is Call:
            call, item.call = item.call, None
            if call is not None:
                if self.picked is not None:
                    self.picked(item, 0)
                call()
            return
        self._give_turn(item)

    def _give_turn(self, actor: PooledActor) -> None:
        pool: Any = actor.pool
        self.driving = pool.drives
        try:
            handled = actor.take_turn(self.quantum())
        except Unwound:
            raise
        except BaseException as error:
            logger.exception("a turn of %s broke off", type(actor).__name__)
            actor.take_up_again(error)
            handled = 1
        self.driving = False
        pool.had_turn()
        self.deliveries += handled
        if self.picked is not None:
            self.picked(actor, handled)

    # --- the end ------------------------------------------------------------------------

    def kill(self) -> None:
        """The process dies here and now; whoever waits for it outside learns that.

        On a thread of that process it does not return.
        """
        mine = self._here.process is not None
        self.strike()
        if mine:
            self.stay()

    def strike(self) -> None:
        """The same between two steps."""
        dead, self.process = self.process, Process()
        dead.alive = False
        self._ready = [item for item in self._ready if outlives(item)]
        self._due = [entry for entry in self._due if outlives(entry[2])]
        heapq.heapify(self._due)
        self._stale = sum(1 for entry in self._due if is_stale(entry))
        for waiter in list(self._asleep):
            if waiter.process is not None:
                del self._asleep[waiter]
                self._left[waiter.thread] = waiter
            elif waiter.asleep:
                waiter.error = ProcessKilled("the process was killed")
                self.wake(waiter)
        for end in dead.ends:
            try:
                end()
            except Exception:
                logger.exception("what a killed process held does not let go of it")

    def start(self, work: Callable[[], object], what: str, *, outside: bool = False) -> None:
        """Have work done that may wait; ``outside`` of the process, by the host."""
        self._ready.append(Task(work, None if outside else self.process, what))

    def end(self) -> None:
        """Kill what runs, and end all threads: none is left but code that does not end."""
        self.strike()
        self._over = True
        self._left.update((each.thread, each) for each in self._asleep)
        stuck = 0
        for waiter in self._left.values():
            waiter.error = Unwound()
            waiter.lock.release()
            stuck += not self._unwound.acquire(timeout=UNWIND_S)
        for carrier in self._idle:
            carrier.item = None
            carrier.lock.release()
        if stuck:
            logger.warning("%d threads of killed processes do not end", stuck)
        else:
            for carrier in self._carriers:
                if carrier.thread is not None:
                    carrier.thread.join()
