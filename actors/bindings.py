"""Bindings: each runtime's epoch, registry and cursors, the same objects for one epoch.

They are the plane's, not a driver's: a driver may be rebuilt, and what hosts hold of its
session goes on. Of a passivated runtime the plane keeps them only while there is more to
them than the store can give back, or a host holds them. The end of a registry's owner is
recorded by the drivers, so it is never waited for on a thread that runs them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import evolve, frozen

from actors.clock import Clock
from actors.directory import Directory
from actors.forks import Home
from actors.let_go import LetGo
from actors.logs import about, without_text
from actors.operation_log import Keep, OperationDesk, OperationLog
from actors.replies import OpenCalls
from actors.run_places import RunThreads
from meerkat.bindings import SessionRuntimeBindings
from meerkat.epoch import EpochCursorSnapshot, EpochCursorState
from meerkat.errors import MeerkatError, StoreError
from meerkat.identifiers import LogicalRuntimeId, OperationId, RuntimeEpochId, SessionId
from meerkat.kernel import RuntimeHead
from meerkat.limits import Limits
from meerkat.operations_registry import OpsLifecycleRegistry
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import RuntimeStore

logger = logging.getLogger(__name__)

EPOCH_ROTATED: Final = "epoch rotated"
PROCESS_ENDED: Final = "process ended"

TERMINATE_ATTEMPTS: Final = 3
"""Times a store is asked to record how a session's operations ended: one failure passes."""


@frozen(kw_only=True)
class RegistryMaker:
    """Makes the registry of an epoch, with what the store holds of it."""

    store: RuntimeStore
    clock: Clock
    limits: Limits
    directory: Directory
    calls: OpenCalls
    home: Home

    def desk(self, keep: Keep) -> OperationDesk:
        """What the logs of all epochs share."""
        return OperationDesk(self.clock.now, self.directory, self.calls, self.home, keep)

    def make(
        self, runtime_id: LogicalRuntimeId, head: RuntimeHead, desk: OperationDesk
    ) -> SessionRuntimeBindings:
        """The bindings of the head's epoch; StoreError, RecoveryCorruption.

        The store is asked only where an operation of the epoch is known to have ended.
        """
        if head.session_id is None or head.epoch_id is None:
            raise ValueError(f"runtime {runtime_id} has no epoch")
        registry = OpsLifecycleRegistry.of_host(
            OperationLog(desk, runtime_id, head.session_id, head.epoch_id),
            operations_max=self.limits.operations_live_max,
            finished_max=self.limits.operations_kept_max,
            feed_max=self.limits.feed_entries_max,
        )
        if head.feed_watermark or head.live_operations:
            stored = self.stored(runtime_id, head)
            registry.restore(
                records=stored.operations if stored else (),
                entries=stored.feed if stored else (),
                watermark=head.feed_watermark,
                live=stored.live if stored else (),
            )
        cursors = EpochCursorState()
        cursors.advance_through(head.cursors)
        return SessionRuntimeBindings(
            session_id=head.session_id,
            epoch_id=head.epoch_id,
            ops_lifecycle=registry,
            cursor_state=cursors,
        )

    def stored(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> OpsSnapshot | None:
        """The ended operations of the head's epoch, as far as they are kept."""
        snapshot = self.store.load_ops_snapshot(runtime_id)
        return snapshot if snapshot and snapshot.epoch_id == head.epoch_id else None


class BindingsTable:
    """The bindings that have been handed out. Thread-safe."""

    def __init__(self, maker: RegistryMaker, threads: RunThreads) -> None:
        self._maker = maker
        self._desk = maker.desk(self._began)
        self._threads = threads
        self._lock = threading.Lock()
        self._bindings: dict[LogicalRuntimeId, SessionRuntimeBindings] = {}
        self._ended: dict[LogicalRuntimeId, RuntimeEpochId] = {}
        self._ending: list[SessionRuntimeBindings] = []
        self._let_go = LetGo()

    def of(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> SessionRuntimeBindings:
        """The bindings of the head's epoch; those of an earlier one are retired.

        Raises StoreError and RecoveryCorruption when its operations cannot be read.
        """
        held = self._held(runtime_id, head)
        if held is not None:
            return held
        made = self._make(runtime_id, head)
        lost = made.ops_lifecycle.live_ids
        with self._lock:
            earlier = self._bindings.get(runtime_id)
            if earlier is not None and earlier.epoch_id == head.epoch_id:
                return earlier
            self._bindings[runtime_id] = made
            self._let_go.drop(made.epoch_id)
        if earlier is not None:
            self.end_owner(earlier, EPOCH_ROTATED, lambda: None)
        self._end_lost(made, lost)
        return made

    def of_run(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> SessionRuntimeBindings:
        """The bindings of a run's epoch: retired ones when that epoch is over."""
        held = self._held(runtime_id, head)
        if held is not None:
            return held
        made = self._make(runtime_id, head)
        lost = made.ops_lifecycle.live_ids
        with self._lock:
            other = self._bindings.get(runtime_id)
            if other is not None and other.epoch_id == head.epoch_id:
                return other
            over = other is not None or self._ended.get(runtime_id) == head.epoch_id
            if not over:
                self._bindings[runtime_id] = made
                self._let_go.drop(made.epoch_id)
        if not over:
            self._end_lost(made, lost)
            return made
        made.ops_lifecycle.terminate_owner(EPOCH_ROTATED)
        return made

    def _held(
        self, runtime_id: LogicalRuntimeId, head: RuntimeHead
    ) -> SessionRuntimeBindings | None:
        """Those of the head's epoch that were handed out, or that a host holds of it still."""
        if head.session_id is not None and head.epoch_id is not None:
            with self._lock:
                if runtime_id not in self._bindings:
                    self._take_back(runtime_id, head.session_id, head.epoch_id)
        return self.present(runtime_id, head)

    def _make(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> SessionRuntimeBindings:
        """Make them, with the cursors that somebody still holds."""
        made = self._maker.make(runtime_id, head, self._desk)
        with self._lock:
            cursors = self._let_go.cursors(made.epoch_id)
        if cursors is None:
            return made
        cursors.advance_through(head.cursors)
        return evolve(made, cursor_state=cursors)

    def present(
        self, runtime_id: LogicalRuntimeId, head: RuntimeHead
    ) -> SessionRuntimeBindings | None:
        """The bindings that were handed out for the head's epoch, if any were."""
        present = self._bindings.get(runtime_id)
        return present if present is not None and present.epoch_id == head.epoch_id else None

    def cursors(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> EpochCursorSnapshot:
        """How far the consumers of the head's epoch have read, as far as is known."""
        present = self.present(runtime_id, head)
        if present is not None:
            state: EpochCursorState | None = present.cursor_state
        else:
            state = None if head.epoch_id is None else self._let_go.cursors(head.epoch_id)
        return head.cursors if state is None else head.cursors.furthest(state.snapshot())

    def let_go(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> None:
        """The runtime leaves memory: its bindings go, unless they have live operations."""
        with self._lock:
            present = self.present(runtime_id, head)
            if present is None or head.live_operations or present.ops_lifecycle.live_ids:
                return
            del self._bindings[runtime_id]
            self._let_go.put(present)

    def _began(
        self, runtime_id: LogicalRuntimeId, session_id: SessionId, epoch_id: RuntimeEpochId
    ) -> None:
        """An operation has begun: its registry is kept, whoever lets go of it."""
        with self._lock:
            if runtime_id not in self._bindings:
                self._take_back(runtime_id, session_id, epoch_id)

    def _take_back(
        self, runtime_id: LogicalRuntimeId, session_id: SessionId, epoch_id: RuntimeEpochId
    ) -> SessionRuntimeBindings | None:
        taken = self._let_go.take_back(session_id, epoch_id)
        return None if taken is None else self._bindings.setdefault(runtime_id, taken)

    def end(
        self,
        runtime_id: LogicalRuntimeId,
        epoch_id: RuntimeEpochId | None,
        reason: str,
        ended: Callable[[], None],
    ) -> None:
        """Retire the bindings of an epoch that is over; ``ended`` is called once they are."""
        with self._lock:
            if epoch_id is not None:
                self._ended[runtime_id] = epoch_id
                self._let_go.drop(epoch_id)
            present = self._bindings.pop(runtime_id, None)
        if present is None:
            ended()
        else:
            self.end_owner(present, reason, ended)

    def forget(self, runtime_id: LogicalRuntimeId) -> None:
        """The runtime has nobody who drives it, and no run: which epoch was its last is over."""
        self._ended.pop(runtime_id, None)

    def take_up(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> None:
        """Bring what hosts hold up to ``head``, as it was loaded; raises what ``of`` does.

        Ends, cursors, and the end of the epoch: stored, though their commit was in doubt.
        """
        held = self._bindings.get(runtime_id)
        if held is None and head.session_id is not None and head.epoch_id is not None:
            with self._lock:
                held = self._take_back(runtime_id, head.session_id, head.epoch_id)
        if held is None:
            return
        if held.epoch_id == head.epoch_id and head.phase.state is not RuntimeState.DESTROYED:
            self.adopt(runtime_id, head)
            held.cursor_state.advance_through(head.cursors)
        else:
            self.end(runtime_id, held.epoch_id, EPOCH_ROTATED, lambda: None)

    def adopt(self, runtime_id: LogicalRuntimeId, head: RuntimeHead) -> None:
        """Let a registry know of ends that were stored though their commit was in doubt."""
        known = self._of_epoch(runtime_id, head)
        behind = [each for each in known if each.ops_lifecycle.watermark < head.feed_watermark]
        stored = self._maker.stored(runtime_id, head) if behind else None
        if stored is not None:
            for each in behind:
                each.ops_lifecycle.adopt(stored.operations, stored.feed)

    def _of_epoch(
        self, runtime_id: LogicalRuntimeId, head: RuntimeHead
    ) -> list[SessionRuntimeBindings]:
        """The bindings of the head's epoch, also when their operations are being ended."""
        with self._lock:
            found = [each for each in self._ending if each.epoch_id == head.epoch_id]
        present = self.present(runtime_id, head)
        return found if present is None else [present, *found]

    def owners(self) -> tuple[list[SessionRuntimeBindings], list[SessionRuntimeBindings]]:
        """The bindings with live operations, of epochs that are over too, and all others."""
        with self._lock:
            known = [*self._bindings.values(), *self._ending]
        live: list[SessionRuntimeBindings] = []
        rest: list[SessionRuntimeBindings] = []
        for each in known:
            (live if each.ops_lifecycle.live_ids else rest).append(each)
        return live, rest

    def with_live_operations(self) -> list[LogicalRuntimeId]:
        """The runtimes whose present epoch has operations that have not ended."""
        with self._lock:
            return [name for name, each in self._bindings.items() if each.ops_lifecycle.live_ids]

    def _end_lost(self, made: SessionRuntimeBindings, lost: tuple[OperationId, ...]) -> None:
        """End what was live when its process went: nobody works on it any more."""
        if lost:
            terminate = partial(made.ops_lifecycle.terminate, lost, PROCESS_ENDED)
            self._threads.start(partial(_insist, made.epoch_id, terminate))

    def end_idle(
        self, owners: list[SessionRuntimeBindings], reason: str, ended: Callable[[], None]
    ) -> None:
        """Have registries without live operations take no more; then call ``ended``."""
        with self._lock:
            let_go = self._let_go.held()

        def end() -> None:
            for each in owners:
                _end_all(each, reason)
            for epoch_id, registry in let_go:
                _insist(epoch_id, partial(registry.terminate_owner, reason))
            ended()

        self._threads.start(end)

    def end_owner(
        self, bindings: SessionRuntimeBindings, reason: str, ended: Callable[[], None]
    ) -> None:
        """Have a registry's operations ended, on a thread of its own; then call ``ended``.

        Where no thread is to be had they are left to the stop.
        """
        with self._lock:
            self._ending.append(bindings)
        try:
            self._threads.start(partial(self._terminate, bindings, reason, ended))
        except RuntimeError as error:
            logger.exception(
                "the operations of epoch %s are not ended yet",
                bindings.epoch_id,
                exc_info=without_text(error),
                extra=about(epoch_id=bindings.epoch_id),
            )
            ended()

    def _terminate(
        self, bindings: SessionRuntimeBindings, reason: str, ended: Callable[[], None]
    ) -> None:
        """End them; what could not be ended is left to the stop, which asks again."""
        try:
            if _end_all(bindings, reason):
                with self._lock:
                    self._ending.remove(bindings)
        finally:
            ended()


def _end_all(bindings: SessionRuntimeBindings, reason: str) -> bool:
    terminate = partial(bindings.ops_lifecycle.terminate_owner, reason)
    return _insist(bindings.epoch_id, terminate)


def _insist(epoch_id: RuntimeEpochId, terminate: Callable[[], object]) -> bool:
    """Have operations ended; a disk that fails once is asked again."""
    for attempts_left in reversed(range(TERMINATE_ATTEMPTS)):
        try:
            terminate()
        except MeerkatError as error:
            if not attempts_left or not isinstance(error, StoreError):
                logger.exception(
                    "the operations of epoch %s could not be ended",
                    epoch_id,
                    exc_info=without_text(error),
                    extra=about(epoch_id=epoch_id),
                )
                return False
        except BaseException as error:  # when everybody had been told
            logger.exception("a callback of the host failed", exc_info=without_text(error))
            return True
        else:
            return True
    return False
