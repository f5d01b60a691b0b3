"""Assembly: puts the parts of one control plane together. Nothing is started here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import pykka
from attrs import frozen

from actors.bindings import BindingsTable, RegistryMaker
from actors.clock import Clock, SystemClock, Timers
from actors.completions import Completions
from actors.counts import Counts
from actors.dead_letters import DeadLetterBox
from actors.directory import Directory
from actors.driver import DriverActor, ThreadedDriverActor
from actors.driver_doing import Doing, doing
from actors.event_hub import EventHub
from actors.executors import Executor
from actors.forks import Home, home_here
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
from actors.sharing import Means as SharedMeans
from actors.sharing import SharedWork
from actors.system import System
from actors.threaded import ActorThreads, DriverThreads
from actors.traces import Traces
from actors.waits import Waits
from actors.watching import Watchers
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel.memory import Rules
from meerkat.store import RuntimeStore
from meerkat.store.sharing import Sharing, shared

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
    footing, limits = _footing(settings), settings.limits
    clock, timers, threads, home = footing.clock, footing.timers, footing.threads, footing.home
    loop = _loop(settings, threads)

    def start_driver(runtime_id: LogicalRuntimeId) -> pykka.ActorRef[DriverActor]:
        return _DRIVERS[settings.drivers].start(system, runtime_id)

    dead_letters = DeadLetterBox(clock.now)
    traces = None if settings.tracing is None else Traces(settings.tracing)
    directory = Directory(start_driver, clock, limits.live_runtimes_max, dead_letters.put)
    waits = _waits(settings, footing, directory, loop)
    calls = OpenCalls(limits.in_flight_max, waits)
    registries = RegistryMaker(
        store=store, clock=clock, limits=limits, directory=directory, calls=calls, home=home
    )
    watch, completions = RunWatch(clock, timers, settings.stuck_after_s), Completions()
    system = System(
        store=store,
        executor=executor,
        rules=Rules(limits, settings.backoff, settings.policy),
        clock=clock,
        grace_s=settings.grace_s,
        run_deadline_s=settings.run_deadline_s,
        journal=_journal(store, footing, journal_failed),
        pool=footing.pool,
        slots=RunSlots(settings.max_concurrent_runs),
        threads=threads,
        loop=loop,
        watch=watch,
        waits=waits,
        home=home,
        timers=timers,
        events=EventHub(limits, waits),
        completions=completions,
        calls=calls,
        directory=directory,
        notes=Notes(limits.events_per_process_max),
        bindings=BindingsTable(registries, threads),
        pruner=_pruner(store, settings, footing, watch),
        sweep=_sweep(settings, footing, directory),
        sharing=_sharing(store, settings, footing, directory, completions),
        watchers=Watchers(clock.now, waits, None if traces is None else traces.noticed),
        dead_letters=dead_letters,
        counts=Counts(clock.now()),
        traces=traces,
        restart=settings.restart_policy,
    )
    return system


@frozen(kw_only=True)
class _Footing:
    """What the parts stand on: the machine, or a simulation of one."""

    clock: Clock
    timers: Timers
    threads: RunThreads
    pool: ActorPool
    journal_threads: ActorThreads
    home: Home


def _footing(settings: Settings) -> _Footing:
    ground, home = ground_here(), home_here()
    if ground is None:
        clock = settings.clock or SystemClock()
        return _Footing(
            clock=clock,
            timers=Timers(clock),
            threads=RunThreads(home),
            pool=_POOLS[settings.drivers](),
            journal_threads=ActorThreads(),
            home=home,
        )
    clock = settings.clock or ground.clock
    return _Footing(
        clock=clock,
        timers=ground.timers(clock),
        threads=ground.run_threads(home),
        pool=ground.pool(),
        journal_threads=ground.journal_threads(),
        home=home,
    )


def _loop(settings: Settings, threads: RunThreads) -> RunLoop:
    return RunLoop(threads) if settings.loop is None else HostLoop(threads, settings.loop)


def _waits(settings: Settings, footing: _Footing, directory: Directory, loop: RunLoop) -> Waits:
    return Waits(
        footing.clock,
        footing.timers,
        settings.stuck_after_s,
        slots=settings.max_concurrent_runs,
        doing=partial(_doing, directory),
        on_loop=loop.is_here,
        home=footing.home,
    )


def _doing(directory: Directory, runtime_id: LogicalRuntimeId) -> Doing | None:
    """What the driver of a runtime is doing just now, if one runs."""
    driver = directory.driver_of(runtime_id)
    return doing(driver) if isinstance(driver, DriverActor) else None


def _journal(
    store: RuntimeStore, footing: _Footing, failed: Callable[[BaseException], None]
) -> Journal:
    after_turn, now = footing.pool.after_turn, footing.clock.monotonic
    return Journal(store, after_turn, now, failed, footing.journal_threads)


def _pruner(store: RuntimeStore, settings: Settings, footing: _Footing, watch: RunWatch) -> Pruner:
    means = Means(
        store=store,
        clock=footing.clock,
        timers=footing.timers,
        threads=footing.threads,
        backoff=settings.backoff,
        in_hand=watch.in_hand,
    )
    return Pruner(settings.retention, means)


def _sharing(
    store: RuntimeStore,
    settings: Settings,
    footing: _Footing,
    directory: Directory,
    completions: Completions,
) -> SharedWork | None:
    sharing: Sharing | None = getattr(store, "sharing", None)
    if sharing is None:
        return None
    if not shared(store):  # it would be taken for one plane's alone
        raise TypeError(f"a store that is shared is a SharedStore, not {type(store).__name__}")
    means = SharedMeans(
        store=store,
        sharing=sharing,
        clock=footing.clock,
        threads=footing.threads,
        directory=directory,
        completions=completions,
        backoff=settings.backoff,
        limits=settings.limits,
    )
    return SharedWork(means)


def _sweep(settings: Settings, footing: _Footing, directory: Directory) -> Sweep | None:
    rest_s = settings.passivate_after
    if rest_s is None:
        return None
    leave, first = directory.passivate, directory.rested_since
    return Sweep(footing.clock, footing.timers, rest_s, leave=leave, first=first)
