"""Drivers that work alone: one runtime, no threads, no actors.

One keeps everything in memory. The other commits to a store before it answers; when it
does not know whether its commit happened it drops its memory, and rebuilds it from the
store before it answers anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final, TypeVar

from attrs import evolve

from meerkat import kernel
from meerkat.driver_base import DriverBase, utc_now
from meerkat.errors import CommitUnknown, Fenced, RuntimeDestroyed, RuntimeNotReady, StoreError
from meerkat.event_log import first_sequence
from meerkat.identifiers import LogicalRuntimeId, RuntimeEpochId, SessionId
from meerkat.inputs import Durability
from meerkat.kernel.memory import Rules
from meerkat.loading import load_memory
from meerkat.pending_commit import PendingCommit
from meerkat.reports import RecoveryReport
from meerkat.runtime_lifecycle import Phase, RuntimeState
from meerkat.store.protocol import RuntimeStore

R = TypeVar("R")


class EphemeralRuntimeDriver(DriverBase):
    """One runtime in memory; it and its whole past end with this object. Not thread-safe."""

    def __init__(
        self,
        runtime_id: LogicalRuntimeId | str,
        *,
        rules: Rules | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(runtime_id, rules=rules, now=now)
        self._in_memory = kernel.RuntimeMemory(self.runtime_id, durable=False, rules=self._rules)
        session, epoch = SessionId.new(), RuntimeEpochId.new()
        register = kernel.Register(session, epoch)
        self._in_memory.apply(kernel.decide(self._in_memory, register, now()))

    @property
    def _memory(self) -> kernel.RuntimeMemory:
        return self._in_memory


_EMPTIES: Final = (kernel.Reset, kernel.Destroy)
"""Commands that give up every input: they are taken before a recovery too."""


class PersistentRuntimeDriver(DriverBase):
    """One runtime over a store. Not thread-safe.

    Over a runtime that the store knows it is *initializing* until :meth:`recover` returns;
    over a new one it is idle, and stored with its first commit. Once another writer has
    claimed the runtime every call raises Fenced, until :meth:`recover` takes it back.
    """

    def __init__(
        self,
        runtime_id: LogicalRuntimeId | str,
        store: RuntimeStore,
        *,
        rules: Rules | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(runtime_id, rules=rules, now=now)
        self._store = store
        self._claimed = False
        row = store.load_runtime(self.runtime_id)
        self._fence = 0 if row is None else row.fence
        self._next_event = first_sequence(self._fence)
        self._doubt: StoreError | None = None
        self._loaded = kernel.RuntimeMemory(self.runtime_id, durable=True, rules=self._rules)
        if row is None:
            session, epoch = SessionId.new(), RuntimeEpochId.new()
            transition = kernel.decide(self._loaded, kernel.Register(session, epoch), now())
            self._loaded.apply(transition)
        elif row.state is RuntimeState.DESTROYED:  # there is nothing to recover
            self._read()

    @property
    def _memory(self) -> kernel.RuntimeMemory:
        if self._doubt is not None and not self._initializing:
            if isinstance(self._doubt, Fenced):
                raise Fenced(self.runtime_id) from self._doubt
            with suppress(RuntimeDestroyed):
                self._rebuild()
        return self._loaded

    @property
    def _initializing(self) -> bool:
        return self._loaded.head.phase.state is RuntimeState.INITIALIZING

    @property
    def _remembered(self) -> RuntimeStore | None:
        return self._store

    def recover(self) -> RecoveryReport:
        """Rebuild the runtime from the store and put right what a crash left.

        Raises RecoveryCorruption naming an unsound row, StoreError when the store fails;
        the driver is then as it was. RuntimeNotReady while a run is in hand.
        """
        if self._loaded.head.run is not None and self._doubt is None:
            raise RuntimeNotReady(RuntimeState.RUNNING)
        return self._rebuild()

    def set_silent_intents(self, intents: frozenset[str]) -> None:
        """Replace the set of request intents that wake nobody; RuntimeNotReady before recovery."""
        if self._initializing:
            raise RuntimeNotReady(RuntimeState.INITIALIZING)
        super().set_silent_intents(intents)

    def _do(self, command: kernel.Command, _reply: type[R]) -> R:
        if isinstance(command, _EMPTIES) and self._initializing:
            self._read()
            self._loaded.head = evolve(self._loaded.head, phase=Phase())
        reply = super()._do(command, _reply)
        self._doubt = None  # committed, and taken into memory
        return reply

    def _rebuild(self) -> RecoveryReport:
        """The store says what is true; when it cannot, nothing is believed anew."""
        before, doubt = (self._loaded, self._fence, self._claimed), self._doubt
        try:
            self._read()
            self._doubt = None
            return super().recover()
        except RuntimeDestroyed:
            raise
        except BaseException as error:
            self._loaded, self._fence, self._claimed = before
            if not isinstance(error, CommitUnknown | Fenced):
                self._doubt = doubt
            raise

    def _read(self) -> None:
        row = self._store.load_runtime(self.runtime_id)
        if row is None:
            return
        before = self._loaded
        if row.fence != self._fence:
            self._fence, self._claimed = row.fence, False
            self._next_event = max(self._next_event, first_sequence(row.fence))
        # A commit in doubt may have used ephemeral inputs up: they are lost, not run again.
        known = (*before.ledger.finished(), *before.ledger.active()) if self._doubt is None else ()
        self._loaded = load_memory(
            self._store,
            row,
            self._rules,
            executor_attached=before.head.executor_attached,
            carried_over=[state for state in known if state.durability is Durability.EPHEMERAL],
        )
        self._loaded.host_events = before.host_events
        self._conversation = None

    def _make_durable(self, transition: kernel.Transition) -> None:
        pending = PendingCommit(self._loaded.head)
        pending.add(transition)
        if not pending.writes and (self._claimed or not pending.tells):
            return
        self._doubt = CommitUnknown("interrupted while committing")
        try:
            self._store.commit(pending.batch(self.runtime_id, self._fence))
        except (CommitUnknown, Fenced) as error:
            self._doubt = error
            raise
        except StoreError:
            self._doubt = None  # it did not happen, and everything is as it was
            raise
        self._fence, self._claimed = self._fence + 1, True
