"""System: the parts that the drivers of one control plane share. Nothing here is global."""

from __future__ import annotations

import threading

from attrs import define, field

from actors.bindings import BindingsTable
from actors.clock import Clock, Timers
from actors.completions import Completions
from actors.counts import Counts
from actors.dead_letters import DeadLetterBox
from actors.directory import Directory
from actors.event_hub import EventHub
from actors.executors import Executor
from actors.forks import Home
from actors.journal import Journal
from actors.light import LightEvent
from actors.passivation import Notes, Sweep
from actors.pool import ActorPool
from actors.replies import OpenCalls
from actors.restarts import RestartPolicy
from actors.retention import Pruner
from actors.run_loop import RunLoop
from actors.run_places import RunSlots, RunThreads
from actors.run_watch import RunWatch
from actors.sharing import SharedWork
from actors.standing import Standing
from actors.stopping import Stopping
from actors.traces import Traces
from actors.waits import Waits
from actors.watching import Watchers
from meerkat.kernel.memory import Rules
from meerkat.store import RuntimeStore


@define(kw_only=True)
class System:
    """What a driver works with. Every part is thread-safe on its own."""

    store: RuntimeStore
    executor: Executor | None
    rules: Rules
    clock: Clock
    grace_s: float
    run_deadline_s: float | None
    journal: Journal
    pool: ActorPool
    slots: RunSlots
    threads: RunThreads
    loop: RunLoop
    watch: RunWatch
    waits: Waits
    home: Home
    timers: Timers
    events: EventHub
    completions: Completions
    calls: OpenCalls
    directory: Directory
    notes: Notes
    pruner: Pruner
    sweep: Sweep | None
    sharing: SharedWork | None
    """What it does besides where several processes have its store; None where it is its own."""
    watchers: Watchers
    dead_letters: DeadLetterBox
    counts: Counts
    standing: Standing = field(factory=Standing)
    traces: Traces | None
    restart: RestartPolicy
    closing: threading.Event = field(factory=LightEvent)
    """Set before the store is closed: a run that outlives its plane must not open it again."""
    stopping: Stopping = field(factory=Stopping)
    bindings: BindingsTable

    @property
    def ended(self) -> threading.Event:
        """Set when the plane has ended: everything is stopped, everybody answered."""
        return self.stopping.ended
