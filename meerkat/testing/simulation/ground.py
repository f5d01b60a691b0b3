"""Ground: what the threads of a simulated plane stand on.

Whatever runs is the shipped code, but for these parts of it, which only say where things run:
the pool of drivers, the threads of runs, the timers. They have no threads here; they tell the
scheduler what is ready.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.clock import Clock, Timer, Timers, make_call
from actors.forks import Home
from actors.pool import PooledActor
from actors.run_places import RunThreads
from actors.threaded import ActorThreads, ThreadedActor
from meerkat.testing.simulation.clock import SimulatedClock
from meerkat.testing.simulation.errors import ProcessKilled
from meerkat.testing.simulation.items import Call, Task, Unwound, Waiter
from meerkat.testing.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from datetime import datetime
    from uuid import UUID

logger = logging.getLogger(__name__)


class SimulatedPool(ActorThreads):
    """Gives actors their turns. ``drives``: they are drivers, and never wait in a turn."""

    def __init__(self, scheduler: Scheduler, *, drives: bool) -> None:
        super().__init__()
        self.drives = drives
        self.may_wait = not drives and scheduler.slow
        self._scheduler = scheduler
        self._process = scheduler.process
        self._closed = False
        self._turns = 0
        self._emptied: Waiter | None = None

    def start(self) -> None:
        """Nothing has to be started."""

    def stop(self, timeout_s: float) -> bool:
        """Have what is ready now done, and nothing after it; says whether it was in time."""
        if self._turns:
            self._emptied = Waiter(self._scheduler)
            self._emptied.acquire(timeout=timeout_s)
        self._closed = True
        return not self._turns

    def schedule(self, actor: PooledActor) -> None:
        """Give an actor its turn, some time."""
        if self._process.alive and not self._closed:
            self._turns += 1
            self._scheduler.ready(actor)

    def busy(self) -> tuple[PooledActor, ...]:
        """The actors that wait for their turn."""
        items = self._scheduler.waiting()
        return tuple(each for each in items if isinstance(each, PooledActor) and each.pool is self)

    def had_turn(self) -> None:
        """An actor has had its turn."""
        self._turns -= 1
        if not self._turns and self._emptied is not None:
            self._emptied.release()

    def after_turn(self, call: Callable[[], None], failed: Callable[[BaseException], None]) -> bool:
        """Make the call, some time, if chance has it that this thread has nothing else to do."""
        scheduler = self._scheduler
        if not self._process.alive or scheduler.chance.random() < scheduler.busy:
            return False
        what = "a group of batches"
        if scheduler.slow:
            scheduler.ready(Task(partial(_told, call, failed), self._process, what, serves=True))
        else:
            scheduler.ready(Call(partial(_told, call, failed), what))
        return True

    def begin(self, actor: ThreadedActor) -> None:
        """It needs no thread."""

    def end(self, actor: ThreadedActor) -> None:
        """It had none."""


def _told(call: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
    try:
        call()
    except Unwound:
        raise
    except BaseException as error:  # noqa: BLE001 - whoever brought it is told
        failed(error)


class SimulatedRunThreads(RunThreads):
    """Runs and other work of the host, each as a task."""

    def __init__(self, scheduler: Scheduler, home: Home) -> None:
        super().__init__(home)
        self._scheduler = scheduler
        self._process = scheduler.process

    def start(
        self, task: Callable[[], object], lost: Callable[[BaseException], object] | None = None
    ) -> None:
        """Run ``task`` on a thread of its own, some time; never once stopped."""
        if not self._stopped and self._process.alive:
            work = partial(_performed, task, lost)
            self._scheduler.ready(Task(work, self._process, "a run"))


def _performed(task: Callable[[], object], lost: Callable[[BaseException], object] | None) -> None:
    try:
        task()
    except Unwound:
        raise
    except BaseException as error:
        logger.exception("a task of the run threads failed")
        if lost is not None:
            lost(error)


class SimulatedHome(Home):
    """A simulated process: to its host a killed one is as a parent is to its forked child."""

    __slots__ = ()

    def check(self) -> None:
        """Raise ProcessKilled when the process was killed."""
        if self.left:
            raise ProcessKilled("the process of this plane was killed")


class SimulatedTimers(Timers):
    """Calls that are due later, made when nothing is ready before."""

    def __init__(self, scheduler: Scheduler, clock: Clock) -> None:
        super().__init__(clock)
        self._scheduler = scheduler
        self._process = scheduler.process

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Make ``call`` once, ``delay_s`` seconds from now; never once stopped."""
        timer = Call(partial(self._make, call), "a timer")
        if not self._stopped and self._process.alive:
            self._scheduler.later(delay_s, timer)
        return timer

    def _make(self, call: Callable[[], None]) -> None:
        if not self._stopped:
            make_call(call)

    def cancel(self, timer: Timer) -> None:
        """Do not make that call, if it has not been made."""
        if timer.call is not None:
            timer.call = None
            self._scheduler.stale()

    def stop(self, _timeout_s: float | None = None) -> None:
        """Drop what is due later."""
        self._stopped = True


class SimulatedGround:
    """Where the threads of one simulation stand, and whence its ids and stamps come."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.scheduler: Scheduler

    # --- actors.ground.Ground -----------------------------------------------------------

    def bell(self) -> Waiter:
        """A bell that has not been rung."""
        return Waiter(self.scheduler)

    def start_thread(self, work: Callable[[], object], name: str) -> None:
        """Have ``work`` done as a task."""
        self.scheduler.start(work, name.rstrip("-0123456789"))  # which are the whole process's

    def event_loop(self) -> AbstractEventLoop:
        """None: a loop would wait for what no scheduler knows of."""
        raise RuntimeError("coroutine executors are not simulated")

    def home(self) -> SimulatedHome:
        """The process that a plane lives in."""
        home = SimulatedHome()
        self.scheduler.process.ends.append(home.leave)
        return home

    def pool(self) -> SimulatedPool:
        """What runs drivers."""
        return SimulatedPool(self.scheduler, drives=True)

    def journal_threads(self) -> SimulatedPool:
        """What runs the actor that commits."""
        return SimulatedPool(self.scheduler, drives=False)

    def run_threads(self, home: Home) -> SimulatedRunThreads:
        """What runs executors."""
        return SimulatedRunThreads(self.scheduler, home)

    def timers(self, clock: Clock) -> SimulatedTimers:
        """What makes calls that are due later."""
        return SimulatedTimers(self.scheduler, clock)

    # --- meerkat.minting.Mint -----------------------------------------------------------

    def uuid(self) -> UUID:
        """A UUID drawn from the seed."""
        return self.clock.mint()

    def now(self) -> datetime:
        """The time of day in the simulation."""
        return self.clock.time_of_day()
