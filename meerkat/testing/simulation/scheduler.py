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
import random
import threading
from collections.abc import Callable
from typing import Any, Final

from actors.clock import Timer
from actors.ground import Ground, standing_on
from actors.pool import PooledActor, on_worker, serve_here
from meerkat.minting import Mint, minted_by
from meerkat.testing.simulation.errors import ProcessKilled, Stuck

logger = logging.getLogger(__name__)

STEP_S: Final = 1e-6
"""How long a step takes, in seconds of the simulation."""

STALE_MAX: Final = 256
"""Waits that are over and may lie among what is due, however little that is."""

UNWIND_S: Final = 5.0
"""Seconds that code of a killed process has to come to its end, at the end of a simulation."""

REFUSALS_MAX: Final = 100
"""How often code of a killed process is told that it is over, before it is left where it is."""

_NEVER: Final = float("inf")


class Unwound(BaseException):
    """Raised, at the end of a simulation, where the threads of killed processes have stayed."""


class Process:
    """What a kill ends: everything that runs between two of them."""

    def __init__(self) -> None:
        self.alive = True
        self.ends: list[Callable[[], None]] = []
        """Called at its end: what the operating system does with what a process leaves."""


class Call(Timer):
    """Something that is done at once, and waits for nothing."""

    __slots__ = ("what",)

    def __init__(self, call: Callable[[], None], what: str) -> None:
        super().__init__(call)
        self.what = what


class Task:
    """Work that may wait, and has a thread for that."""

    __slots__ = ("process", "serves", "what", "work")

    def __init__(
        self,
        work: Callable[[], object],
        process: Process | None,
        what: str,
        *,
        serves: bool = False,
    ) -> None:
        self.work = work
        self.process = process
        self.what = what
        self.serves = serves
        """Does it what the threads of drivers do?"""


class Waiter:
    """A bell: what one thread of a simulation sleeps on."""

    __slots__ = (
        "asleep",
        "error",
        "lock",
        "process",
        "rung",
        "scheduler",
        "since",
        "thread",
        "turn",
        "until",
    )

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.lock = threading.Lock()
        self.lock.acquire()
        self.rung = False
        self.asleep = False
        self.process: Process | None = None
        self.thread = 0
        self.error: BaseException | None = None
        self.turn = 0
        self.since = 0.0
        self.until = _NEVER

    def acquire(self, _blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 - a lock's
        """Sleep until it is rung, or the time is up; was it rung?"""
        return self.scheduler.sleep(self, timeout)

    def release(self) -> None:
        """Ring it."""
        if not self.rung:
            self.rung = True
            if self.asleep:
                self.scheduler.wake(self)


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


class Scheduler:
    """What is ready, what is due, and who has the baton. Used by the thread that has it."""

    def __init__(self, seed: int, ground: Ground, mint: Mint, *, patience_s: float) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - to be replayed is what it is for
        self.process = Process()
        self.now = 0.0
        self.steps = 0
        self.deliveries = 0
        self.fate: Callable[[], None] = _nothing
        self.fate_at: float = _NEVER
        """The step at which ``fate`` is called next; it says when it is after that."""
        self.picked: Callable[[Any, int], None] | None = None
        self._ground = ground
        self._mint = mint
        self._patience_s = patience_s
        self._random = self.chance.random
        self._ready: list[Any] = []
        self._due: list[tuple[float, int, Any, int]] = []
        self._order = 0
        self._stale = 0
        self._quiet: Waiter | None = None
        self._idle: list[Carrier] = []
        self._carriers: list[Carrier] = []
        self._asleep: dict[Waiter, None] = {}
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

    # --- what is to be done -------------------------------------------------------------

    def ready(self, item: Any) -> None:
        """Something can be done: an actor's turn, a call, a task, a thread that goes on."""
        self._ready.append(item)

    def later(self, delay_s: float, item: Any, turn: int = 0) -> None:
        """The same, ``delay_s`` seconds from now."""
        self._order += 1
        heapq.heappush(self._due, (self.now + delay_s, self._order, item, turn))

    def stale(self) -> None:
        """Something that is due later need not be done any more."""
        self._stale += 1
        if self._stale > max(STALE_MAX, len(self._due) // 2):
            self._due = [entry for entry in self._due if not _is_stale(entry)]
            heapq.heapify(self._due)
            self._stale = 0

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
        if waiter.until < _NEVER and waiter.rung:
            self.stale()
        rung, waiter.rung = waiter.rung, False
        return rung

    def wake(self, waiter: Waiter) -> None:
        """Let a thread that sleeps go on."""
        waiter.asleep = False
        waiter.turn += 1
        self._ready.append(waiter)

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
        waiter.asleep, waiter.since, waiter.until = True, self.now, _NEVER

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
            if not carries or _may_wait(item):
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

    # --- what is next -------------------------------------------------------------------

    def _next(self) -> Any:
        """The next thing that can be done, by chance; time goes on until there is one."""
        self.steps = steps = self.steps + 1
        self.now = now = self.now + STEP_S
        if steps >= self.fate_at:
            self.fate()
        ready, due = self._ready, self._due
        if due and due[0][0] <= now:
            self._fall_due()
        while not ready:
            self._let_time_pass()
        waiting = len(ready)
        if waiting == 1:
            return ready.pop()
        at = int(self._random() * waiting)
        item, ready[at] = ready[at], ready[-1]
        ready.pop()
        return item

    def _fall_due(self) -> None:
        due, now = self._due, self.now
        while due and due[0][0] <= now:
            entry = heapq.heappop(due)
            if _is_stale(entry):
                self._stale -= 1
            elif entry[2].__class__ is Waiter:
                self.wake(entry[2])
            else:
                self._ready.append(entry[2])

    def _let_time_pass(self) -> None:
        """Nothing can be done now: go on to what is due next."""
        while self._due and _is_stale(self._due[0]):
            heapq.heappop(self._due)
            self._stale -= 1
        due_at, quiet = self._due[0][0] if self._due else _NEVER, self._quiet
        if due_at <= self.now:
            self._fall_due()
            return
        if quiet is not None and quiet.asleep and quiet.until < due_at:
            self.now = max(self.now, quiet.until)
            self.wake(quiet)
            return
        stuck = self._who_is_stuck(due_at)
        if stuck is not None:
            stuck.error = Stuck(self._story(stuck))
            self.wake(stuck)
            return
        self.now = max(self.now, due_at)
        self._fall_due()

    def _who_is_stuck(self, due_at: float) -> Waiter | None:
        """The first thread of the host that waits without an end, if it does so for too long."""
        for waiter in self._asleep:
            if waiter.process is None and waiter.asleep:
                lasted_s = due_at - waiter.since
                if due_at == _NEVER or (waiter.until == _NEVER and lasted_s > self._patience_s):
                    return waiter
        return None

    def _story(self, stuck: Waiter) -> str:
        lasted_s = self.now - stuck.since
        others = sum(1 for each in self._asleep if each is not stuck)
        return (
            f"a wait of the host does not end: it has lasted {lasted_s:g} s of the simulation, "
            f"{len(self._due)} things are due later, {others} other threads wait"
        )

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
        self._ready = [item for item in self._ready if _outlives(item)]
        self._due = [entry for entry in self._due if _outlives(entry[2])]
        heapq.heapify(self._due)
        self._stale = sum(1 for entry in self._due if _is_stale(entry))
        for waiter in list(self._asleep):
            if waiter.process is not None:
                del self._asleep[waiter]
                self._left[waiter.thread] = waiter
            elif waiter.asleep:
                waiter.error = ProcessKilled("the process was killed")
                self.wake(waiter)
        for end in dead.ends:
            end()

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


def _nothing() -> None:
    """The fate of most steps."""


def _is_stale(entry: tuple[float, int, Any, int]) -> bool:
    item = entry[2]
    if item.__class__ is Waiter:
        return bool(item.turn != entry[3])
    return item.__class__ is Call and item.call is None


def _may_wait(item: Any) -> bool:
    kind = item.__class__
    if kind is Call:
        return False
    return kind is Task or kind is Waiter or item.pool.may_wait


def _outlives(item: Any) -> bool:
    """Is it the host's?"""
    return item.__class__ in (Waiter, Task) and item.process is None
