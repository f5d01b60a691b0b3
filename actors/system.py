"""System: the parts that the drivers of one control plane share. Nothing here is global."""

from __future__ import annotations

import threading

from attrs import define, field

from actors.clock import Clock, Timers
from actors.completions import Completions
from actors.directory import Directory
from actors.event_hub import EventHub
from actors.journal import Journal
from actors.pool import ActorPool
from actors.replies import OpenCalls
from actors.runs import Executor, RunSlots, RunThreads
from meerkat.bindings import SessionRuntimeBindings
from meerkat.epoch import EpochCursorState
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel.memory import Rules, RuntimeHead
from meerkat.operations_registry import OpsLifecycleRegistry
from meerkat.store import RuntimeStore


@define(kw_only=True)
class System:
    """What a driver works with. Every part is thread-safe on its own."""

    store: RuntimeStore
    executor: Executor | None
    rules: Rules
    clock: Clock
    grace_s: float
    journal: Journal
    pool: ActorPool
    slots: RunSlots
    threads: RunThreads
    timers: Timers
    events: EventHub
    completions: Completions
    calls: OpenCalls
    directory: Directory
    closing: threading.Event = field(factory=threading.Event)
    """Set before the store is closed: a run that outlives its plane must not open it again."""
    ended: threading.Event = field(factory=threading.Event)
    bindings: BindingsTable


class BindingsTable:
    """The bindings of each runtime, the same objects for as long as its epoch. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bindings: dict[LogicalRuntimeId, SessionRuntimeBindings] = {}

    def of(
        self, runtime_id: LogicalRuntimeId, head: RuntimeHead, clock: Clock
    ) -> SessionRuntimeBindings:
        """The bindings of the head's epoch; those of an earlier one are retired."""
        with self._lock:
            present = self._bindings.get(runtime_id)
            if present is not None and present.epoch_id == head.epoch_id:
                return present
            bindings = self._bindings[runtime_id] = _bindings_of(runtime_id, head, clock)
        if present is not None:
            present.ops_lifecycle.terminate_owner("epoch rotated")
        return bindings

    def of_run(
        self, runtime_id: LogicalRuntimeId, head: RuntimeHead, clock: Clock
    ) -> SessionRuntimeBindings:
        """The bindings of a run's epoch: retired ones when the runtime has gone on to another."""
        with self._lock:
            present = self._bindings.get(runtime_id)
            if present is not None and present.epoch_id == head.epoch_id:
                return present
            bindings = _bindings_of(runtime_id, head, clock)
            if present is None:
                self._bindings[runtime_id] = bindings
        if present is not None:
            bindings.ops_lifecycle.terminate_owner("epoch rotated")
        return bindings

    def present(self, runtime_id: LogicalRuntimeId) -> SessionRuntimeBindings | None:
        """The bindings that were handed out, if any were."""
        return self._bindings.get(runtime_id)

    def end(self, runtime_id: LogicalRuntimeId, reason: str) -> None:
        """Retire the bindings of an epoch that is over."""
        with self._lock:
            present = self._bindings.pop(runtime_id, None)
        if present is not None:
            present.ops_lifecycle.terminate_owner(reason)


def _bindings_of(
    runtime_id: LogicalRuntimeId, head: RuntimeHead, clock: Clock
) -> SessionRuntimeBindings:
    if head.session_id is None or head.epoch_id is None:
        raise ValueError(f"runtime {runtime_id} has no epoch")
    return SessionRuntimeBindings(
        session_id=head.session_id,
        epoch_id=head.epoch_id,
        ops_lifecycle=OpsLifecycleRegistry(now=clock.now),
        cursor_state=EpochCursorState.from_recovered(
            head.cursors.agent_applied_cursor,
            head.cursors.runtime_observed_seq,
            head.cursors.runtime_last_injected_seq,
        ),
    )
