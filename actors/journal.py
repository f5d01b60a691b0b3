"""Journal: the one writer, which commits whatever waits in one transaction.

While one group is on its way to the disk the next one gathers; after a group of several the
journal's own thread waits a little for as many again (actors.company). A batch that comes by
itself, as all that one caller waits for do, waits for no company, nor for another thread: where
nothing else is to be done, the thread that brings it commits it, and saves two changes of thread.
A bad batch never fails its neighbours.

A writer that fails, for another reason than a StoreError, is restarted after a pause. Of the
batches it had in hand nobody knows whether they were written, which is what they are told.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import pykka

from actors.company import Company
from actors.counts import JournalCounts
from actors.light import LightCondition
from actors.logs import without_text
from actors.threaded import ActorThreads, ThreadedActor
from meerkat.errors import CommitUnknown, ControlPlaneStopped, MeerkatError, StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import Batch, RuntimeStore

logger = logging.getLogger(__name__)

BATCHES_A_GROUP: Final = 512
"""Batches in one transaction: past this size a commit's fixed cost no longer shows."""

Landed = Callable[[MeerkatError | None], None]
"""Told what became of a batch: None when it is durable. Hearing it again changes nothing."""

_FLUSH: Final = object()

_Served = tuple[LogicalRuntimeId | None, float]
_NOBODY: Final[_Served] = (None, 0.0)


class Entry:
    """A batch, and whom to tell what became of it."""

    __slots__ = ("_landed", "batch", "runtime_id", "told")

    def __init__(self, runtime_id: LogicalRuntimeId, batch: Batch, landed: Landed) -> None:
        self.runtime_id = runtime_id
        self.batch = batch
        self._landed = landed
        self.told = False

    def tell(self, error: MeerkatError | None) -> None:
        """Say what became of it, unless that was said."""
        if not self.told:
            self._landed(error)
            self.told = True


class Journal:
    """The batches that wait for the disk. Thread-safe.

    ``after_turn`` has this thread make a call after its turn, and tell the other what the call
    raises, or says that it cannot.
    ``failed`` is told of a writer's failure once it has stopped writing: whoever is told calls
    :meth:`resume` when it may write again. ``threads`` has the actor that commits.
    """

    def __init__(
        self,
        store: RuntimeStore,
        after_turn: Callable[[Callable[[], None], Callable[[BaseException], None]], bool],
        monotonic: Callable[[], float],
        failed: Callable[[BaseException], None],
        threads: ActorThreads | None = None,
    ) -> None:
        self._store = store
        self._after_turn = after_turn
        self._monotonic = monotonic
        self._failed = failed
        self._waiting: deque[Entry] = deque()
        self._in_hand: set[Entry] = set()
        self._lock = LightCondition()
        self._company = Company()
        self._is_gathering = False
        self._awake = False
        self._closed = False
        self._threads = threads or ActorThreads()
        self._actor: pykka.ActorRef[JournalActor] | None = None
        self._served: tuple[_Served, _Served] = (_NOBODY, _NOBODY)
        self.counts = JournalCounts()
        self.has_failed = False
        """Has its writer failed, and writes nobody until :meth:`resume`?"""

    @property
    def waiting(self) -> int:
        """How many batches wait, and are in nobody's hand."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the actor that commits."""
        self._actor = JournalActor.start(self._threads, self)

    def stop(self, timeout_s: float) -> bool:
        """Commit what waits and end the actor; what comes later is refused. Idempotent.

        Says whether it ended within the time: a disk that hangs keeps its thread for good.
        """
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        if self._actor is None:
            return True
        try:
            self._actor.stop(timeout=timeout_s)
        except pykka.Timeout:
            return False
        return True

    # --- what comes ---------------------------------------------------------------------

    def submit(self, entry: Entry) -> None:
        """Commit a batch and say what became of it, on the thread that commits it.

        That is the journal's, or this one when it has nothing to do after its turn.
        """
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append(entry)
                if self._is_gathering and self._is_together():
                    self._lock.notify_all()
        if closed or self._actor is None:
            entry.tell(ControlPlaneStopped())
        else:
            self.heal()

    def heal(self) -> None:
        """Have somebody write, if something waits and nobody comes. Idempotent."""
        mine = False
        try:
            with self._lock:
                if self._awake or not self._waiting:
                    return
                self._awake = mine = True
            if self._left_s() > 0 or not self._after_turn(self._commit_one_group, self.failed):
                self._wake()  # no worker of the pool waits: it has turns to do
        except BaseException:
            if mine:
                self._awake = False
            raise

    def has(self, entry: Entry) -> bool:
        """Was it taken? Then it is told, once, what became of it."""
        with self._lock:
            return entry in self._in_hand or entry in self._waiting or entry.told

    def _wake(self) -> None:
        try:
            if self._actor is not None:
                self._actor.tell(_FLUSH)
        except pykka.ActorDeadError:  # a stop came in between: there is nobody else
            self.commit_waiting()

    # --- writing ------------------------------------------------------------------------

    def _commit_one_group(self) -> None:
        """Be the writer for once, and leave to the actor what comes meanwhile."""
        if self._commit_next():
            self._wake()

    def commit_waiting(self) -> None:
        """Commit group after group until nothing waits. For whoever is the writer just now."""
        while self._commit_next():
            pass

    def _commit_next(self) -> bool:
        """Commit the next group. False when nothing is left: there is no writer any more."""
        group: list[Entry] = []
        try:
            self._take(group)
            if group:
                self._commit(group)
        except BaseException as error:
            self.counts.commit_errors += sum(not entry.told for entry in group)
            for entry in group:
                said = CommitUnknown(f"{type(error).__name__} while committing")
                said.__cause__ = error
                entry.tell(said)
            raise
        finally:
            self._in_hand.difference_update(group)
        with self._lock:  # a batch that comes now has a writer of its own
            self._awake = bool(self._waiting)
            return self._awake

    def _gather(self) -> None:
        """Wait for the batches that come together, while they may be on their way."""
        left_s = self._left_s()
        if left_s > 0 and not self._closed:
            self._is_gathering = True
            try:
                self._company.waited(came=self._lock.wait_for(self._is_together, left_s))
            finally:
                self._is_gathering = False

    def _left_s(self) -> float:
        """How long the writer is to wait for company, in seconds."""
        return self._company.left_s(len(self._waiting), self._monotonic())

    def _is_together(self) -> bool:
        return self._closed or self._company.is_together(len(self._waiting))

    def _take(self, group: list[Entry]) -> None:
        with self._lock:
            self._gather()
            taken = list(islice(self._waiting, BATCHES_A_GROUP))
            self._in_hand.update(taken)  # first, so that each is somewhere
            group.extend(self._waiting.popleft() for _ in taken)

    def _commit(self, group: list[Entry]) -> None:
        reached(FailPoint.GROUP_TAKEN)
        begun = self._monotonic()
        try:
            answers = self._store.commit_many([entry.batch for entry in group])
        except StoreError as error:
            answers = [error] * len(group)
        landed = answers.count(None)
        self.counts.group(landed, len(group) - landed)
        reached(FailPoint.GROUP_WRITTEN)
        now = self._monotonic()
        self._company.committed(len(group), begun, now)
        for entry, answer in zip(group, answers, strict=True):
            if answer is None:
                self._note_served(entry.runtime_id, now)
            entry.tell(answer)
            reached(FailPoint.BATCH_ANSWERED)

    # --- failing ------------------------------------------------------------------------

    def failed(self, error: BaseException) -> None:
        """The writer has failed. Nobody writes until :meth:`resume`."""
        self.has_failed = True
        logger.error("the journal failed, and is restarted", exc_info=without_text(error))
        self._failed(error)

    def resume(self) -> None:
        """Write again."""
        self.has_failed = False
        with self._lock:
            self._awake = False
        self.heal()

    def _note_served(self, runtime_id: LogicalRuntimeId, now: float) -> None:
        """Remember the last two runtimes that the disk has served: one is not who asks."""
        if runtime_id != self._served[0][0]:
            self._served = ((runtime_id, now), self._served[0])
        else:
            self._served = ((runtime_id, now), self._served[1])

    def has_served_others(self, runtime_id: LogicalRuntimeId, since: float) -> bool:
        """Has a batch of another runtime landed since then, by the clock's monotonic time?"""
        return any(other not in (None, runtime_id) and at >= since for other, at in self._served)


class JournalActor(ThreadedActor):
    """The thread that commits."""

    def __init__(self, threads: ActorThreads, journal: Journal) -> None:
        super().__init__(threads)
        self._journal = journal

    def on_receive(self, message: Any) -> Any:
        """Commit what waits."""
        if message is _FLUSH:
            return self._journal.commit_waiting()
        return super().on_receive(message)

    def on_message_failed(self, _message: Any, error: BaseException) -> None:
        """The writer has failed."""
        self._journal.failed(error)

    def on_stop(self) -> None:
        """Commit what came before the stop and told of itself behind it: that is dropped."""
        while True:
            try:
                return self._journal.commit_waiting()
            except BaseException as error:  # those in hand are told; others may be written yet
                logger.exception("the journal failed at its end", exc_info=without_text(error))
