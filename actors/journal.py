"""Journal: the one writer, which commits whatever waits in one transaction.

While one group is on its way to the disk the next one gathers. A lone batch never waits
for company, and a bad one never fails its neighbours.
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

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store
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
        """Commit a batch and say what became of it, on the journal's thread."""
        with self._lock:
            closed = self._closed
            wake = not closed and not self._awake
            if not closed:
                self._waiting.append((batch, landed))
                self._awake = True
        if closed or self._actor is None:
            landed(ControlPlaneStopped())
        elif wake:
            self._actor.tell(_FLUSH)

    def commit_waiting(self) -> None:
        """Commit group after group until nothing waits. Called by the actor alone."""
        while group := self._next_group():
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
            return list(self._store.commit_many(batches))
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
