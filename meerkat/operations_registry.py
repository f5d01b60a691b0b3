"""The registry of a session's operations: every step, every question, from any thread.

What a step may do is in :mod:`meerkat.operations`, what is remembered in
:mod:`meerkat.operation_ledger`, why an end is recorded before it is told in
:mod:`meerkat.operation_turns`. No thread and no clock here: whoever calls lends both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import datetime
from functools import cache
from threading import Lock
from typing import Final, Protocol, Self

from attrs import frozen

from meerkat.completion_feed import FEED_MAX, FeedBatch, FeedEntry
from meerkat.identifiers import OperationId
from meerkat.json_values import JsonValue
from meerkat.operation_ledger import FINISHED_MAX, Fact, LedgerBounds, OperationLedger
from meerkat.operation_turns import Observer, OperationTurns, Recorder, Turnstile
from meerkat.operation_waits import WaitRequest, settle, when_cancelled
from meerkat.operations import (
    OperationAborted,
    OperationCancelled,
    OperationCompleted,
    OperationFailed,
    OperationKind,
    OperationOutcome,
    OperationRecord,
    OperationRetired,
    OperationSnapshot,
    OperationStep,
    OperationTerminated,
    take_step,
)

making: Final = Lock()
"""One for all registries: two threads that take the first step of one find the same turns."""


@cache
def _bounds(operations_max: int | None, finished_max: int, feed_max: int) -> LedgerBounds:
    """The bounds that a host has set, one object for all its registries."""
    return LedgerBounds(operations_max=operations_max, finished_max=finished_max, feed_max=feed_max)


class RegistryHost(Protocol):
    """Where a registry lives: what it calls, as OpsLifecycleRegistry says."""

    @property
    def now(self) -> Callable[[], datetime]:
        """Gives the time in UTC."""
        ...

    @property
    def record(self) -> Recorder | None:
        """Stores an end."""
        ...

    @property
    def observe(self) -> Observer | None:
        """Is told of steps."""
        ...

    @property
    def begun(self) -> Callable[[OperationRecord], None] | None:
        """Is told of an operation that was registered."""
        ...

    @property
    def before_wait(self) -> Callable[[], None] | None:
        """Raises on a thread that must not wait until another has recorded an end."""
        ...

    @property
    def new_lock(self) -> Callable[[], Turnstile] | None:
        """Gives a lock that the host's threads can wait on for each other's ends."""
        ...

    @property
    def check(self) -> Callable[[], None] | None:
        """Raises where the host is not, in a forked child say: asked before any lock is taken."""
        ...


@frozen(eq=False)
class _Callables:
    now: Callable[[], datetime]
    record: Recorder | None
    observe: Observer | None
    begun: Callable[[OperationRecord], None] | None
    before_wait: None = None
    new_lock: None = None
    check: None = None


class OpsLifecycleRegistry:
    """The operations of one session. Thread-safe.

    ``now`` gives the time in UTC and is called without a lock. ``operations_max`` bounds
    the live operations, ``finished_max`` the ended ones and ``feed_max`` the feed entries
    that are kept; all are positive, else ValueError. ``recorder`` stores each end before
    anyone is told; capacity slots are neither recorded nor fed. ``observer`` is told of
    every step that took effect, registering excepted; both say how they are called.
    ``begun`` is told of an operation that was registered, in that thread, without a lock.

    Every step answers with the record after it, and a refused step changes nothing. All
    raise NotFound for an unknown id, InvalidTransition outside the table and OwnerRetired
    once the owner is terminated. Steps that end an operation also raise what the recorder
    raises; reading never waits for it. When their operation is adopted meanwhile they answer
    with the adopted record, whether the recorder returned or raised an Exception.
    """

    __slots__ = (
        "__weakref__",
        "_bounds",
        "_host",
        "_made",
        "_retired_unused",
    )

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        operations_max: int | None = None,
        finished_max: int = FINISHED_MAX,
        feed_max: int = FEED_MAX,
        recorder: Recorder | None = None,
        observer: Observer | None = None,
        begun: Callable[[OperationRecord], None] | None = None,
    ) -> None:
        self._host: RegistryHost = _Callables(now, recorder, observer, begun)
        self._bounds = _bounds(operations_max, finished_max, feed_max)
        self._made: OperationTurns | None = None
        self._retired_unused = False

    @classmethod
    def of_host(
        cls,
        host: RegistryHost,
        *,
        operations_max: int | None = None,
        finished_max: int = FINISHED_MAX,
        feed_max: int = FEED_MAX,
    ) -> Self:
        """A registry whose callables are methods of one object; many hosts have many of them."""
        registry = cls(
            now=host.now,
            operations_max=operations_max,
            finished_max=finished_max,
            feed_max=feed_max,
        )
        registry._host = host
        return registry

    @classmethod
    def recover(
        cls,
        *,
        records: Iterable[OperationRecord],
        entries: Iterable[FeedEntry],
        watermark: int = 0,
        live: Iterable[OperationRecord] = (),
        now: Callable[[], datetime],
        operations_max: int | None = None,
        finished_max: int = FINISHED_MAX,
        feed_max: int = FEED_MAX,
        recorder: Recorder | None = None,
        observer: Observer | None = None,
        begun: Callable[[OperationRecord], None] | None = None,
    ) -> Self:
        """Rebuild a registry from what its recorder stored, oldest first; nothing is recorded.

        Of more rows than are kept, the last are. ``watermark`` is the highest sequence
        known to have been given, by a stored cursor say; ``live`` are operations that had
        begun and have not ended, to be ended with :meth:`terminate` if nobody works on them
        any more. Raises RecoveryCorruption for a record that has not ended, that is there
        twice or that contradicts its feed entry, and for a feed that is out of order or has
        a hole.
        """
        registry = cls(
            now=now,
            operations_max=operations_max,
            finished_max=finished_max,
            feed_max=feed_max,
            recorder=recorder,
            observer=observer,
            begun=begun,
        )
        registry.restore(records=records, entries=entries, watermark=watermark, live=live)
        return registry

    def restore(
        self,
        *,
        records: Iterable[OperationRecord],
        entries: Iterable[FeedEntry],
        watermark: int = 0,
        live: Iterable[OperationRecord] = (),
    ) -> None:
        """Fill a registry that nobody has seen yet, as :meth:`recover` does."""
        known, fed, begun_before = tuple(records), tuple(entries), tuple(live)
        if known or fed or watermark or begun_before:
            self._ledger.restore(known, fed, watermark, begun_before)

    def adopt(
        self, records: Iterable[OperationRecord], entries: Iterable[FeedEntry]
    ) -> tuple[OperationRecord, ...]:
        """Publish ends that the store holds although their recording was in doubt.

        Entries above the watermark are published with their records, oldest first; nothing
        is recorded, and all others are ignored, so that adopting again changes nothing.
        Answers with the records published, of operations not known here too. Raises
        RecoveryCorruption, and publishes none, for a hole, an entry without its record, a
        record that has not ended and one that contradicts its entry or what is known.

        Never waits, and may be called by a recorder and by a thread that one waits for.
        Observer (failed is told as fail) and watchers are told in this thread; while the
        recorder is at work, in the thread that called it, once that end is over.
        """
        return self._turns.adopt(tuple(records), tuple(entries))

    @property
    def _turns(self) -> OperationTurns:
        """The turns, made with the first step: most sessions have no operations."""
        if self._host.check is not None:
            self._host.check()
        if self._made is None:
            host = self._host
            made = OperationTurns(
                OperationLedger(self._bounds),
                host.record,
                host.observe,
                host.before_wait,
                None if host.new_lock is None else host.new_lock(),
            )
            with making:
                made.is_retired = self._retired_unused
                self._made = self._made or made
        return self._made

    @property
    def _ledger(self) -> OperationLedger:
        return self._turns.ledger

    @property
    def _lock(self) -> Turnstile:
        return self._turns.lock

    # --- steps --------------------------------------------------------------------------

    def register(
        self, operation_id: OperationId, *, kind: OperationKind, display_name: str
    ) -> OperationRecord:
        """Begin an operation; AlreadyRegistered, MaxConcurrentExceeded."""
        record = OperationRecord(
            operation_id=operation_id,
            kind=kind,
            display_name=display_name,
            created_at=self._host.now(),
        )
        with self._lock:
            self._turns.refuse_retired()
            self._ledger.add(record)
        if self._host.begun is not None:
            self._host.begun(record)
        return record

    def provisioning_succeeded(self, operation_id: OperationId) -> OperationRecord:
        """It runs."""
        return self._advance(operation_id, OperationStep.PROVISIONING_SUCCEEDED)

    def provisioning_failed(self, operation_id: OperationId, error: str) -> OperationRecord:
        """It could not be set up: failed."""
        outcome = OperationFailed(error=error)
        return self._end(operation_id, OperationStep.PROVISIONING_FAILED, outcome)

    def complete(self, operation_id: OperationId, result: JsonValue = None) -> OperationRecord:
        """It is done; ValueError for a result that JSON cannot carry."""
        outcome = OperationCompleted(result=result)
        return self._end(operation_id, OperationStep.COMPLETE, outcome)

    def fail(self, operation_id: OperationId, error: str) -> OperationRecord:
        """It could not be done: failed."""
        return self._end(operation_id, OperationStep.FAIL, OperationFailed(error=error))

    def abort(self, operation_id: OperationId, reason: str) -> OperationRecord:
        """It is given up while provisioning."""
        return self._end(operation_id, OperationStep.ABORT, OperationAborted(reason=reason))

    def cancel(self, operation_id: OperationId, reason: str) -> OperationRecord:
        """It is no longer wanted."""
        return self._end(operation_id, OperationStep.CANCEL, OperationCancelled(reason=reason))

    def peer_ready(self, operation_id: OperationId, peer_handle: str) -> OperationRecord:
        """The child can be spoken to; PeerNotExpected, AlreadyPeerReady."""
        return self._advance(operation_id, OperationStep.PEER_READY, peer_handle=peer_handle)

    def progress(self, operation_id: OperationId) -> OperationRecord:
        """It got on; the reports are counted."""
        return self._advance(operation_id, OperationStep.PROGRESS)

    def request_retire(self, operation_id: OperationId) -> OperationRecord:
        """It is asked to leave in good order."""
        return self._advance(operation_id, OperationStep.REQUEST_RETIRE)

    def mark_retired(self, operation_id: OperationId) -> OperationRecord:
        """It left in good order."""
        return self._end(operation_id, OperationStep.MARK_RETIRED, OperationRetired())

    def terminate(
        self, operation_ids: Iterable[OperationId], reason: str
    ) -> tuple[OperationRecord, ...]:
        """End those of the operations that are live as terminated; the owner goes on.

        For operations that nobody works on any more, as their process has gone.
        """
        outcome, at, given_up = (
            OperationTerminated(reason=reason),
            self._host.now(),
            set(operation_ids),
        )

        def decide() -> tuple[Fact, ...]:
            self._turns.refuse_retired()
            ids = tuple(each for each in self._ledger.live_ids if each in given_up)
            return self._ledger.facts(ids, OperationStep.TERMINATE_OWNER, outcome, at)

        return self._turns.end(decide)

    def terminate_owner(self, reason: str) -> tuple[OperationRecord, ...]:
        """End every live operation as terminated; every later step raises OwnerRetired.

        Answers with their records, in the order of registration; again, with none. When the
        recorder raises, what was recorded has ended, and the owner is not retired while the
        rest is live: call again.
        """
        with making:
            if self._made is None:
                self._retired_unused = True
                return ()
        outcome = OperationTerminated(reason=reason)
        at = self._host.now()

        def decide() -> tuple[Fact, ...]:
            ids = self._ledger.live_ids
            facts = self._ledger.facts(ids, OperationStep.TERMINATE_OWNER, outcome, at)
            self._turns.is_retired = True
            return facts

        return self._turns.end(decide)

    # --- reading ------------------------------------------------------------------------

    def snapshot(self, operation_id: OperationId) -> OperationSnapshot:
        """One operation as it is now, or as it ended; NotFound."""
        with self._lock:
            return self._ledger.snapshot(operation_id)

    def snapshots(self) -> tuple[OperationSnapshot, ...]:
        """All that are known: the ended ones in the order of their ends, then the live ones."""
        if self._made is None:
            return ()
        with self._lock:
            return self._ledger.snapshots()

    @property
    def live_ids(self) -> tuple[OperationId, ...]:
        """The operations that have not ended, in the order of registration."""
        if self._made is None:
            return ()
        with self._lock:
            return self._ledger.live_ids

    @property
    def is_retired(self) -> bool:
        """Whether steps are refused because the owner is terminated, or about to be."""
        if self._made is None:
            return self._retired_unused
        with self._lock:
            return self._turns.is_retired

    @property
    def watermark(self) -> int:
        """The sequence of the last feed entry; 0 before the first."""
        if self._made is None:
            return 0
        with self._lock:
            return self._ledger.feed.watermark

    def list_since(self, seq: int) -> FeedBatch:
        """The feed strictly after ``seq``, with watermark and gap, read in one step."""
        if self._made is None:
            return FeedBatch(requested=seq)
        with self._lock:
            return self._ledger.feed.list_since(seq)

    def watch(self, operation_id: OperationId) -> Future[OperationOutcome]:
        """A future of the outcome, resolved at once when there is one; NotFound.

        Many may watch one operation. The future never holds an error; cancelling it ends
        the watching only. Its callbacks run in the thread that ended the operation.
        """
        future: Future[OperationOutcome] = Future()
        with self._lock:
            outcome = self._ledger.add_watcher(operation_id, future)
        if outcome is not None:
            settle(future, outcome)
            return future

        def forget() -> None:
            with self._lock:
                self._ledger.forget_watcher(operation_id, future)

        when_cancelled(future, forget)
        return future

    def wait_all(self, operation_ids: Iterable[OperationId]) -> WaitRequest:
        """Wait for several operations; the outcomes come in the order asked.

        One wait at a time: WaitAlreadyActive until it has ended or is cancelled. Raises
        NotFound, DuplicateWaitOperation and OwnerRetired.
        """
        asked = tuple(operation_ids)
        with self._lock:
            self._turns.refuse_retired()
            wait = self._ledger.begin_wait(asked)
            telling = None if wait.missing else wait.telling()
        if telling is not None:
            telling()
            return wait.request

        def forget() -> None:
            with self._lock:
                self._ledger.forget_wait(wait)

        when_cancelled(wait.request.future, forget)
        return wait.request

    # --- how steps are taken ------------------------------------------------------------

    def _advance(
        self, operation_id: OperationId, step: OperationStep, peer_handle: str | None = None
    ) -> OperationRecord:
        at = self._host.now()

        def take() -> OperationRecord:
            record = self._ledger.record(operation_id)
            record = take_step(record, step, at=at, peer_handle=peer_handle)
            self._ledger.replace(record)
            return record

        return self._turns.advance(operation_id, step, take)

    def _end(
        self, operation_id: OperationId, step: OperationStep, outcome: OperationOutcome
    ) -> OperationRecord:
        at = self._host.now()

        def decide() -> tuple[Fact, ...]:
            self._turns.refuse_retired()
            return self._ledger.facts((operation_id,), step, outcome, at)

        (record,) = self._turns.end(decide)
        return record
