"""Supervision: the tree of what runs behind a front door, as it stands.

Drivers are counted. By name are told those that are set aside or taken over, then those whose
run gives no sign, then those that were restarted of late: as many as a person can read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from actors.counts import Restarted
from actors.supervised import PartState, Supervised
from actors.system import System
from meerkat.errors import Fenced
from meerkat.identifiers import LogicalRuntimeId

NAMED_MAX: Final = 100
"""Drivers that are told by name."""

RUNNING, OFF, WAITING, STOPPED = (
    PartState.RUNNING,
    PartState.OFF,
    PartState.WAITING,
    PartState.STOPPED,
)


def supervision_of(system: System) -> Supervised:
    """What runs behind a front door, in the order in which it is started. Any thread."""
    stopping = system.stopping.begun.is_set()
    return Supervised(
        name="supervisor",
        kind="supervisor",
        state=PartState.STOPPING if stopping else RUNNING,
        children=tuple(_parts(system)),
    )


def _parts(system: System) -> Iterator[Supervised]:
    yield _journal(system)
    yield from _workers(system)
    yield _drivers(system)
    yield _runs(system)
    yield _loop(system)
    due = f"{system.timers.due} calls are due later"
    yield Supervised(name="timers", kind="timers", state=RUNNING, note=due)
    sweep = OFF if system.sweep is None else RUNNING
    yield Supervised(name="passivation", kind="timer", state=sweep)
    pruner = RUNNING if system.pruner.prunes else OFF
    yield Supervised(name="retention", kind="timer", state=pruner)


def _journal(system: System) -> Supervised:
    journal = system.journal
    return Supervised(
        name="journal",
        kind="journal",
        state=WAITING if journal.has_failed else RUNNING,
        restarts=journal.counts.restarts,
        note=f"{journal.waiting} batches wait",
    )


def _workers(system: System) -> Iterator[Supervised]:
    """The threads that drivers share, if they do, and whom each drives just now."""
    for name, alive, actor in system.pool.workers():
        driven = getattr(actor, "runtime_id", None)
        yield Supervised(
            name=name,
            kind="driver worker",
            state=RUNNING if alive else STOPPED,
            note=None if driven is None else f"drives {driven}",
        )


def _runs(system: System) -> Supervised:
    in_hand, slots = len(system.watch), system.slots
    note = f"{in_hand} in hand, {slots.waiting} runtimes wait for one of {slots.size} slots"
    return Supervised(name="runs", kind="runs", state=RUNNING, note=note)


def _loop(system: System) -> Supervised:
    """The event loop of coroutine executors; off while there is none that needs it."""
    loop = system.loop
    state = STOPPED if loop.is_missed else RUNNING if loop.is_used else OFF
    note = "the host has closed it" if loop.is_missed else None
    return Supervised(name="run-loop", kind="event loop", state=state, note=note)


# --- drivers ----------------------------------------------------------------------------


def _drivers(system: System) -> Supervised:
    live, resting = len(system.directory), system.directory.resting
    with_inputs, refusing = (
        sum(1 for _ in system.standing.have_inputs()),
        len(system.standing.refusing),
    )
    note = f"{live} live, {resting} at rest, {with_inputs} with inputs, {refusing} unavailable"
    return Supervised(
        name="drivers",
        kind="drivers",
        state=RUNNING,
        restarts=system.counts.restarts,
        note=note,
        children=tuple(_named(system)),
    )


def _named(system: System) -> Iterator[Supervised]:
    """The drivers that are told by name, each once, for what is worst about it."""
    restarted = _restarted_of_late(system)
    told = dict[LogicalRuntimeId, None]()
    for runtime_id, state, note in islice(_in_trouble(system, restarted), 2 * NAMED_MAX):
        if runtime_id not in told and len(told) < NAMED_MAX:
            told[runtime_id] = None
            yield Supervised(
                name=str(runtime_id),
                kind="driver",
                state=state,
                restarts=restarted[runtime_id].times if runtime_id in restarted else 0,
                note=note,
            )


def _restarted_of_late(system: System) -> dict[LogicalRuntimeId, Restarted]:
    """The runtimes restarted within the period over which restarts are counted."""
    since = system.clock.monotonic() - system.restart.drivers.period_s
    restarted = system.counts.restarted.copy()
    return {name: each for name, each in restarted.items() if each.at >= since}


def _in_trouble(
    system: System, restarted: dict[LogicalRuntimeId, Restarted]
) -> Iterator[tuple[LogicalRuntimeId, PartState, str | None]]:
    """The drivers that something is the matter with, and what; the worst come first."""
    for driver in islice(system.standing.refusing.copy(), NAMED_MAX):
        error = driver.unavailable
        if error is not None:
            state = PartState.TAKEN_OVER if isinstance(error, Fenced) else PartState.SET_ASIDE
            yield driver.runtime_id, state, getattr(error, "reason", str(error))
    for run in system.watch.now():
        if run.stuck:
            said = f"run {run.run_id} has given no sign for {run.quiet_s:.0f} s"
            yield run.runtime_id, PartState.STUCK, said
    for runtime_id, each in reversed(restarted.items()):
        waits = getattr(system.directory.driver_of(runtime_id), "held_off", False)
        yield runtime_id, WAITING if waits else RUNNING, each.reason
