"""Simulation: the shipped actors on one thread at a time, in an order that a seed decides."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from gc import collect
from typing import Any, Final, Self, TypeVar

from actors.control_plane import ControlPlane
from actors.executors import Executor, is_coroutine
from actors.ground import standing_on
from actors.light import LightFuture
from meerkat.errors import ControlPlaneStopped
from meerkat.kernel import RuntimeMemory
from meerkat.limits import DEFAULT_LIMITS
from meerkat.minting import minted_by
from meerkat.store import MemoryStore, RuntimeStore
from meerkat.testing.invariants import check_memory, check_store
from meerkat.testing.simulation.clock import SimulatedClock
from meerkat.testing.simulation.disk import Dice, Disk
from meerkat.testing.simulation.executors import FailingExecutor
from meerkat.testing.simulation.faults import DAY_S, NO_FAULTS, Draw, Faults
from meerkat.testing.simulation.garbage import EVERY_STEPS, collected_at_steps
from meerkat.testing.simulation.ground import SimulatedGround
from meerkat.testing.simulation.items import Waiter
from meerkat.testing.simulation.scheduler import Scheduler
from meerkat.testing.simulation.trace import Trace

T = TypeVar("T")

STALL_S: Final = 10.0
"""The longest that a process stands still, in seconds."""

_BUSY: Final = (0.0, 0.5, 0.9, 1.0)
_QUANTA: Final = ((1,), (1, 1, 2, 4, 64), (64,))


class PlantedDefect(Exception):
    """A defect of a driver, planted."""


class Simulation:
    """A process in which planes run, and the world around it, both replayed by ``seed``.

    Within ``with Simulation(seed=7) as sim:`` whatever this thread starts is simulated: the
    shipped actors run one at a time, which is next is drawn from the seed, and time passes only
    when nothing can be done. Waiting costs nothing, then, however long it takes. What goes
    wrong, and how often, is said by ``faults``. ``store`` is kept when the process is killed, a
    fresh MemoryStore unless it is given; any RuntimeStore will do, a SqliteStore too.

    A call that waits raises ProcessKilled when the process dies meanwhile, and Stuck when it
    would never return: when nothing is left to be done, or ``patience_s`` seconds of the
    simulation have passed in a wait that has no end of its own. The text of an error that
    leaves the block ends with a line that replays it.

    It is used by the thread that entered it, and those it has started with :meth:`begin`. What
    an executor waits for is to come from the simulation: its context, a plane, a future of a
    plane. What waits for anything else, an Event say that another thread sets, waits for ever.
    Coroutine executors are not simulated; TypeError refuses them.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        faults: Faults = NO_FAULTS,
        store: RuntimeStore | None = None,
        patience_s: float = DAY_S,
    ) -> None:
        self.seed = seed
        self.faults = faults
        self._patience_s = patience_s
        self.store: RuntimeStore = MemoryStore() if store is None else store
        self.clock = SimulatedClock()
        self.kills = 0
        """How many processes were killed so far."""
        self._ground = ground = SimulatedGround(self.clock)
        self._scheduler = ground.scheduler = Scheduler(seed, ground, ground, patience_s=patience_s)
        self.clock.belongs_to(self._scheduler)
        self._trace = Trace(self._scheduler)
        self._scheduler.picked = self._trace.picked
        self._fate = random.Random(f"fate of {seed}")  # noqa: S311 - to be replayed
        self._dice = Dice(self._fate, faults)
        self._fails = Draw(self._fate, faults.executor_fails)
        self._planes: list[ControlPlane] = []
        self._limits = DEFAULT_LIMITS
        self._stack = ExitStack()
        self._set_habits()
        self._set_fate()

    def __repr__(self) -> str:
        faults = f", faults={self.faults!r}" if self.faults.any else ""
        long = self._patience_s == DAY_S
        patience = "" if long else f", patience_s={self._patience_s!r}"
        return f"Simulation(seed={self.seed!r}{faults}{patience})"

    def _set_habits(self) -> None:
        """Seeds differ in how they work, too: in long turns or short ones, who commits."""
        chance, scheduler = self._scheduler.chance, self._scheduler
        quanta = chance.choice(_QUANTA)
        scheduler.busy = chance.choice(_BUSY)
        scheduler.slow = self.faults.slow_disk > 0
        scheduler.quantum = lambda: quanta[int(chance.random() * len(quanta))]

    # --- coming and going ---------------------------------------------------------------

    def __enter__(self) -> Self:
        """From now on this thread's planes are simulated."""
        self._stack.enter_context(collected_at_steps())
        self._stack.enter_context(standing_on(self._ground))
        self._stack.enter_context(minted_by(self._ground))
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Kill what still runs, and end all threads."""
        self.clock.glance = None
        try:
            self._scheduler.end()
        finally:
            self._stack.close()
        if error is not None:
            error.add_note(f"to replay it: {self!r}")

    def plane(
        self,
        executor: Executor | None = None,
        *,
        store: RuntimeStore | None = None,
        **settings: Any,
    ) -> ControlPlane:
        """Start a plane over the simulation's store, or another; ``settings`` are ControlPlane's.

        Of the planes that run at a time each has a store of its own.
        """
        if executor is not None and is_coroutine(executor):
            raise TypeError("coroutine executors are not simulated")
        if executor is not None and self.faults.executor_fails:
            executor = FailingExecutor(executor, self._fate, self._fails)
        inner = self.store if store is None else store
        disk = Disk(
            inner,
            self._scheduler,
            self._dice,
            committed=self._trace.committed,
            kill=self.kill,
        )
        self._limits = settings.get("limits", DEFAULT_LIMITS)
        plane = ControlPlane(disk, executor, **settings)
        self._planes.append(plane)
        return plane.start()

    def begin(self, work: Callable[[], T]) -> LightFuture[T]:
        """Have the host do something else besides, on a thread of its own; what it gives.

        It is no part of the process: a kill lets it go on.
        """
        outcome: LightFuture[T] = LightFuture()

        def perform() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whoever asks for it is told
                outcome.set_exception(error)

        self._scheduler.start(perform, "the host", outside=True)
        return outcome

    # --- time ---------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds since the simulation began."""
        return self._scheduler.now

    def run(self, seconds: float | None = None) -> None:
        """Work until nothing can be done any more; with ``seconds``, let these pass as well."""
        self._scheduler.quiet(seconds)

    def skip(self, seconds: float) -> None:
        """Let time pass, and do whatever is due in it."""
        self._scheduler.quiet(seconds)

    def sleep(self, seconds: float) -> None:
        """Have this thread of the host do nothing for so long, whatever else is done."""
        Waiter(self._scheduler).acquire(timeout=seconds)

    # --- what goes wrong ----------------------------------------------------------------

    def kill(self) -> None:
        """Kill the process here and now: what is on disk stays, and nothing else does.

        The next :meth:`plane` is in another one. From within the process, in an executor say,
        it does not return; whoever waits outside gets ProcessKilled.
        """
        self._note_kill()
        self._scheduler.kill()

    def calm(self) -> None:
        """From now on nothing goes wrong by itself any more; the clock stays as it is."""
        for strike in (self._strike, self._stall, self._set_wrong):
            self._fateful.pop(strike, None)
        self._dice.cease()
        self._fails.cease()
        self.clock.glance = None
        self._trace.note("calm")

    def _note_kill(self) -> None:
        self.kills += 1
        self._planes.clear()
        self._trace.note("killed")

    def _set_fate(self) -> None:
        faults, scheduler, chance = self.faults, self._scheduler, self._fate
        kill, stall, jump = (
            Draw(chance, rate) for rate in (faults.kill, faults.stall, faults.clock_jump)
        )
        fateful: dict[Callable[[], object], Callable[[], float]] = {
            self._strike: kill.gap,
            self._stall: stall.gap,
            self._set_wrong: jump.gap,
            collect: lambda: EVERY_STEPS,
        }
        self._fateful = fateful
        at = {strike: gap() for strike, gap in fateful.items()}
        scheduler.fate_at = min(at.values())

        def fate() -> None:
            for strike, gap in fateful.items():
                if at[strike] <= scheduler.steps:
                    at[strike] = scheduler.steps + gap()
                    strike()
            scheduler.fate_at = min(at[strike] for strike in fateful)

        scheduler.fate = fate
        if faults.defect:
            self.clock.glance = partial(self._glance, Draw(chance, faults.defect))

    def _glance(self, defect: Draw) -> None:
        if self._scheduler.driving and defect.happens():
            self._trace.note("a defect")
            raise PlantedDefect

    def _strike(self) -> None:
        self._note_kill()
        self._scheduler.strike()

    def _stall(self) -> None:
        self._trace.note("a stall")
        self._scheduler.now += self._fate.random() * STALL_S

    def _set_wrong(self) -> None:
        self._trace.note("the clock is set")
        self._fate.choice((self.clock.freeze, self.clock.thaw, self._jump, self._jump))()

    def _jump(self) -> None:
        self.clock.jump(days=self._fate.choice((-1.0, 1.0, self._fate.uniform(-1, 1))))

    # --- looking ------------------------------------------------------------------------

    @property
    def deliveries(self) -> int:
        """Messages that actors have handled so far."""
        return self._scheduler.deliveries

    @property
    def trace(self) -> list[str]:
        """The last of what happened, a line each: seconds, what, how many messages of it."""
        return list(self._trace.lines())

    @property
    def digest(self) -> str:
        """Of all that happened: it is the same whenever the same happened again."""
        return self._trace.digest

    def check(self) -> None:
        """Check the invariants of all that is in memory and of the store; InvariantBroken.

        By the limits of the plane that was started last.
        """
        for memory in self.memories():
            check_memory(memory)
        check_store(self.store, limits=self._limits)

    def memories(self) -> list[RuntimeMemory]:
        """What is in memory of the runtimes of the planes that run: to look at, nothing else."""
        return [memory for plane in self._planes for memory in _memories(plane)]


def _memories(plane: ControlPlane) -> list[Any]:
    """What the drivers of a plane have in memory."""
    try:
        directory = plane._life.system.directory  # noqa: SLF001 - to look at, nothing else
    except ControlPlaneStopped:
        return []
    drivers = [directory.driver_of(runtime_id) for runtime_id in directory.live()]
    found = [getattr(driver, "memory", None) for driver in drivers]
    return [memory for memory in found if memory is not None]
