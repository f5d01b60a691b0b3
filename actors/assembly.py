"""Assembly: puts the parts of one control plane together. Nothing is started here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import pykka

from actors.bindings import BindingsTable, RegistryMaker
from actors.clock import Clock, SystemClock, Timers
from actors.completions import Completions
from actors.dead_letters import DeadLetterBox
from actors.directory import Directory
from actors.driver import DriverActor, ThreadedDriverActor
from actors.driver_doing import Doing, doing
from actors.event_hub import EventHub
from actors.executors import Executor
from actors.forks import home_here
from actors.ground import ground_here
from actors.host_loop import HostLoop
from actors.journal import Journal
from actors.passivation import Notes, Sweep
from actors.pool import ActorPool
from actors.replies import OpenCalls
from actors.retention import Means, Pruner
from actors.run_loop import RunLoop
from actors.run_places import RunSlots, RunThreads
from actors.run_watch import RunWatch
from actors.settings import Settings
from actors.system import System
from actors.threaded import ActorThreads, DriverThreads
from actors.waits import Waits
from actors.watching import Watchers
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel.memory import Rules
from meerkat.store import RuntimeStore

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


def assembled(
    store: RuntimeStore,
    executor: Executor | None,
    settings: Settings,
    journal_failed: Callable[[BaseException], None],
) -> System:
    """The parts of a plane over ``store``; their drivers have ``executor`` until told else."""
    ground, home, limits = ground_here(), home_here(), settings.limits
    if ground is None:
        clock: Clock = settings.clock or SystemClock()
        timers, threads = Timers(clock), RunThreads(home)
        pool, journal_threads = _POOLS[settings.drivers](), ActorThreads()
    else:
        clock = settings.clock or ground.clock
        timers, threads = ground.timers(clock), ground.run_threads(home)
        pool, journal_threads = ground.pool(), ground.journal_threads()
    host_loop = settings.loop
    loop = RunLoop(threads) if host_loop is None else HostLoop(threads, host_loop)

    def start_driver(runtime_id: LogicalRuntimeId) -> pykka.ActorRef[DriverActor]:
        return _DRIVERS[settings.drivers].start(system, runtime_id)

    dead_letters = DeadLetterBox(clock.now)
    live_max = limits.live_runtimes_max
    directory = Directory(start_driver, clock, live_max, dead_letters.put)
    waits = Waits(
        clock,
        timers,
        settings.stuck_after_s,
        slots=settings.max_concurrent_runs,
        doing=partial(_doing, directory),
        on_loop=loop.is_here,
        home=home,
    )
    calls = OpenCalls(limits.in_flight_max, waits)
    registries = RegistryMaker(
        store=store, clock=clock, limits=limits, directory=directory, calls=calls, home=home
    )
    watch = RunWatch(clock, timers, settings.stuck_after_s)
    means = Means(
        store=store,
        clock=clock,
        timers=timers,
        threads=threads,
        backoff=settings.backoff,
        in_hand=watch.in_hand,
    )
    system = System(
        store=store,
        executor=executor,
        rules=Rules(limits, settings.backoff, settings.policy),
        clock=clock,
        grace_s=settings.grace_s,
        run_deadline_s=settings.run_deadline_s,
        journal=Journal(store, pool.after_turn, clock.monotonic, journal_failed, journal_threads),
        pool=pool,
        slots=RunSlots(settings.max_concurrent_runs),
        threads=threads,
        loop=loop,
        watch=watch,
        waits=waits,
        home=home,
        timers=timers,
        events=EventHub(limits, waits),
        completions=Completions(),
        calls=calls,
        directory=directory,
        notes=Notes(limits.events_per_process_max),
        bindings=BindingsTable(registries, threads),
        pruner=Pruner(settings.retention, means),
        sweep=_sweep(settings, directory, timers, clock),
        watchers=Watchers(clock.now, waits),
        dead_letters=dead_letters,
        restart=settings.restart_policy,
    )
    return system


def _doing(directory: Directory, runtime_id: LogicalRuntimeId) -> Doing | None:
    """What the driver of a runtime is doing just now, if one runs."""
    driver = directory.driver_of(runtime_id)
    return doing(driver) if isinstance(driver, DriverActor) else None


def _sweep(settings: Settings, directory: Directory, timers: Timers, clock: Clock) -> Sweep | None:
    rest_s = settings.passivate_after
    if rest_s is None:
        return None
    leave, first = directory.passivate, directory.rested_since
    return Sweep(clock, timers, rest_s, leave=leave, first=first)
