"""Journal: the one writer, which commits whatever waits in one transaction.

While one group is on its way to the disk the next one gathers. A lone batch never waits for
company, nor for another thread: where nothing else is to be done, the thread that brings it
commits it, and saves two changes of thread. A bad batch never fails its neighbours.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import pykka

from meerkat.errors import CommitUnknown, ControlPlaneStopped, MeerkatError, StoreError
from meerkat.store import Batch, RuntimeStore

logger = logging.getLogger(__name__)

BATCHES_A_GROUP: Final = 512
"""Batches in one transaction: past this size a commit's fixed cost no longer shows."""

Landed = Callable[[MeerkatError | None], None]
"""Told once what became of a batch: None when it is durable."""

_FLUSH: Final = object()


class Journal:
    """The batches that wait for the disk. Thread-safe."""

    def __init__(
        self, store: RuntimeStore, after_turn: Callable[[Callable[[], None]], bool]
    ) -> None:
        self._store = store
        self._after_turn = after_turn
        self._waiting: deque[tuple[Batch, Landed]] = deque()
        self._lock = threading.Lock()
        self._awake = False
        self._closed = False
        self._actor: pykka.ActorRef[JournalActor] | None = None

    def start(self) -> None:
        """Start the actor that commits."""
        self._actor = JournalActor.start(self)
        # It ends with its control plane, not with whatever else stops every actor.
        pykka.ActorRegistry.unregister(self._actor)

    def stop(self, timeout_s: float) -> bool:
        """Commit what waits and end the actor; what comes later is refused. Idempotent.

        Says whether it ended within the time: a disk that hangs keeps its thread for good.
        """
        with self._lock:
            self._closed = True
        if self._actor is None:
            return True
        try:
            self._actor.stop(timeout=timeout_s)
        except pykka.Timeout:
            return False
        return True

    def submit(self, batch: Batch, landed: Landed) -> None:
        """Commit a batch and say what became of it, on the thread that commits it.

        That is the journal's, or this one when it has nothing to do after its turn.
        """
        with self._lock:
            closed = self._closed
            first = not closed and not self._awake
            self._awake = self._awake or first
            if not closed:
                self._waiting.append((batch, landed))
        if closed or self._actor is None:
            landed(ControlPlaneStopped())
        elif first and not self._after_turn(self._commit_one_group):
            self._wake()

    def _commit_one_group(self) -> None:
        """Be the writer for once, and leave to the actor what comes meanwhile."""
        group = self._next_group()
        if group:
            self._commit_group(group)
        with self._lock:
            left = self._awake = bool(self._waiting)
        if left:  # asked with the lock: a batch that comes now has a writer of its own
            self._wake()

    def commit_waiting(self) -> None:
        """Commit group after group until nothing waits. For whoever is the writer just now."""
        while group := self._next_group():
            self._commit_group(group)

    def _wake(self) -> None:
        try:
            if self._actor is not None:
                self._actor.tell(_FLUSH)
        except pykka.ActorDeadError:  # a stop came in between: there is nobody else
            self.commit_waiting()

    def _commit_group(self, group: list[tuple[Batch, Landed]]) -> None:
        answers = self._commit([batch for batch, _ in group])
        for (_, landed), answer in zip(group, answers, strict=True):
            landed(answer)

    def _next_group(self) -> list[tuple[Batch, Landed]]:
        with self._lock:
            count = min(len(self._waiting), BATCHES_A_GROUP)
            if not count:
                self._awake = False
            return [self._waiting.popleft() for _ in range(count)]

    def _commit(self, batches: list[Batch]) -> list[MeerkatError | None]:
        try:
            answers = self._store.commit_many(batches)
            return [answer for _, answer in zip(batches, answers, strict=True)]
        except StoreError as error:
            return [error] * len(batches)
        except BaseException as error:
            logger.exception("the store failed on a group of %d batches", len(batches))
            said = CommitUnknown(f"{type(error).__name__} while committing")
            said.__cause__ = error
            return [said] * len(batches)


class JournalActor(pykka.ThreadingActor):
    """The thread that commits."""

    use_daemon_thread = True

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def on_receive(self, message: Any) -> Any:
        """Commit what waits."""
        if message is _FLUSH:
            self._journal.commit_waiting()
            return None
        return super().on_receive(message)

    def on_stop(self) -> None:
        """Commit what came before the stop and told of itself behind it: that is dropped."""
        self._journal.commit_waiting()
