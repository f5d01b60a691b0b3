"""Rest: when all that a driver knows can be had again, and what it leaves when it goes.

What is about a live runtime, and where it is once the runtime was passivated:

======================================  =================================================
its row, its active inputs, intents     in the store
its messages                            in the store, read by the next run
a run, a slot, a commit on its way      it is not passivated
a lane or a store that is waited for    it is not passivated
ephemeral inputs, ended ones too        it is not passivated
an executor of its own, ids of events   a note of the plane, as far as there is room for ids
that a host has published, being idle
or asleep
handles, retained events, numbers       the plane's all along
registry and cursors                    the plane's, or the store's once no host holds them
======================================  =================================================
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from attrs import evolve

from actors.logs import say
from actors.passivation import Note
from meerkat.fail_points import FailPoint, reached
from meerkat.kernel import RuntimeMemory
from meerkat.runtime_lifecycle import AT_REST, RuntimeState

if TYPE_CHECKING:
    from actors.driver import DriverActor

logger = logging.getLogger(__name__)


def is_needed(driver: DriverActor) -> bool:
    """Is there a runtime to drive, or one that could not be had?"""
    if driver.memory is None:
        return driver.unavailable is not None or bool(driver.unregistering)
    head = driver.memory.head
    return head.registered or head.phase.state is RuntimeState.DESTROYED


def can_rest(driver: DriverActor, memory: RuntimeMemory) -> bool:
    """Can all that this driver knows be had again?

    Asked when nothing of it is on its way to the disk, and all that can be started has been.
    """
    head, ledger = memory.head, memory.ledger
    if head.run is not None or head.held or driver.seat.has_claim or ledger.has_ephemeral:
        return False
    if driver.quiesce is not None or driver.unregistering or driver.coming_back:
        return False
    ids = memory.host_events
    return not ids or driver.system.notes.has_room_for(len(ids))


def leave_behind(driver: DriverActor) -> None:
    """The driver has ended: keep what its successor, and the hosts, cannot have otherwise."""
    system, memory, runtime_id = driver.system, driver.memory, driver.runtime_id
    system.events.forget(runtime_id)
    if system.traces is not None:
        system.traces.runtime_left(runtime_id)
    if not is_needed(driver):
        system.bindings.forget(runtime_id)
    elif memory is not None:
        if system.sharing is not None and memory.ledger.active_count:
            system.sharing.at_rest.add(runtime_id)
        note = _note(driver, memory)
        if note is not None:
            system.notes.put(runtime_id, note)
        system.bindings.let_go(runtime_id, memory.head)
    elif system.notes.of(runtime_id) is None:
        told = driver.host_events
        told = told if system.notes.has_room_for(len(told)) else {}
        if told or driver.executor is not system.executor:  # it is unavailable, and has them still
            note = Note(executor=driver.executor, idle=False, asleep=False, host_events=told)
            system.notes.put(runtime_id, note)
    driver.memory = None
    said = "runtime %s: it leaves memory"
    say(logger, logging.DEBUG, said, runtime_id, runtime_id=runtime_id)
    system.standing.leaves(driver)
    reached(FailPoint.RUNTIME_PASSIVATED)


def _note(driver: DriverActor, memory: RuntimeMemory) -> Note | None:
    head = memory.head
    idle = head.executor_attached and head.phase.state is RuntimeState.IDLE
    asleep = not head.awake and memory.ledger.active_count > 0
    own = driver.executor is not driver.system.executor
    if not (idle or asleep or own or memory.host_events):
        return None
    return Note(executor=driver.executor, idle=idle, asleep=asleep, host_events=memory.host_events)


def before_recovery(note: Note, memory: RuntimeMemory) -> None:
    """Put into a memory that was just read what no store knows."""
    memory.host_events = dict(note.host_events)
    if note.idle and memory.head.phase.state is RuntimeState.ATTACHED:
        memory.head = evolve(memory.head, phase=AT_REST[RuntimeState.IDLE])


def after_recovery(note: Note, memory: RuntimeMemory) -> None:
    """A recovery wakes; what left asleep comes back asleep."""
    if note.asleep:
        memory.head = evolve(memory.head, awake=False)
