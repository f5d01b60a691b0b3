"""Operation turns: an end is recorded first and told afterwards, one at a time.

The one place where the lock of a registry, the recorder of its host and the futures of
those who wait meet, so that the reasoning about them stands in one comment. It knows
nothing of legality: what ends is decided by the function it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Lock, get_ident
from typing import TypeAlias

from attrs import frozen

from meerkat.completion_feed import FeedEntry
from meerkat.identifiers import OperationId
from meerkat.operation_errors import OwnerRetired, StepInsideRecorder
from meerkat.operation_ledger import Fact, OperationLedger
from meerkat.operation_waits import Telling, tell
from meerkat.operations import OperationRecord

Recorder: TypeAlias = Callable[[OperationRecord, FeedEntry | None], None]
"""Stores how one operation ended, with its feed entry; what it raises refuses the end.

It is called in the thread that ends the operation, one call at a time, in the order of the
feed. A row is an upsert by operation id: after a failure the operation may end again, and
its sequence be given again. It may read the registry. It must not end an operation of it
(StepInsideRecorder), nor wait for a thread that does.
"""

# How an end comes about, and why it cannot deadlock. One lock guards all memory, is held
# for a few lines, and never while other people's code runs. Ending takes a *turn* besides,
# one thread at a time:
#
#   1 locked    wait for the turn; check the step; build the fact; its sequence is the
#               watermark + 1; take the turn and name the operations that are ending
#   2 unlocked  the recorder stores the fact
#   3 locked    publish: record, feed entry, outcome of a wait; the watchers are taken out
#   4 locked    give the turn back (also when 2 raised: then 3 did not happen)
#   5 unlocked  tell the watchers
#
# Only the holder of the turn moves the watermark, so the feed has the order of the
# recordings, without a hole: a failed one leaves its sequence to the next. The feed reader
# sees at 3 and the watcher at 5 what 2 has stored. Who waits for the turn holds nothing;
# who holds it waits for the recorder alone. Reading, registering and the steps of
# operations that are not ending never wait, so a recorder may be as slow as a disk. What is
# left is a recorder that waits for another end: in its own thread it is refused, and in
# others it is the recorder's contract. Callbacks run at 5 with no lock and no turn: they
# may take any step.


@frozen(eq=False)
class _Turn:
    thread: int
    ending: frozenset[OperationId]


class OperationTurns:
    """Guards a ledger. Thread-safe, except where a method says that the lock is held."""

    def __init__(self, ledger: OperationLedger, recorder: Recorder | None) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._turn: _Turn | None = None
        self.lock = Condition(Lock())
        """The lock of the ledger; told when a turn ends."""
        self.is_retired = False
        """Whether the owner was terminated; read and written with the lock held."""

    def end(self, decide: Callable[[], tuple[Fact, ...]]) -> tuple[OperationRecord, ...]:
        """Record, publish and tell the ends that ``decide`` answers with, in that order.

        ``decide`` is called with the turn free and the lock held; what it raises, and what
        the recorder raises, passes. Facts recorded before that have happened.
        """
        turn: _Turn | None = None
        tellings: list[Telling] = []
        try:
            with self.lock:
                self.wait_for(None)
                facts = decide()
                records = tuple(fact.record for fact in facts)
                turn = _Turn(get_ident(), frozenset(record.operation_id for record in records))
                self._turn = turn
            for fact in facts:
                if self._recorder is not None and fact.entry is not None:
                    self._recorder(fact.record, fact.entry)
                with self.lock:
                    tellings += self._ledger.publish(fact)
        finally:
            self._give_back(turn)
            tell(tellings)
        return records

    def wait_for(self, operation_id: OperationId | None) -> None:
        """Wait until that operation is not ending (none: until no operation is).

        The lock is held. Raises StepInsideRecorder in the thread that would wait for itself.
        """
        while self._turn and (operation_id is None or operation_id in self._turn.ending):
            if self._turn.thread == get_ident():
                raise StepInsideRecorder
            self.lock.wait()

    def refuse_retired(self) -> None:
        """Raise OwnerRetired once the owner is terminated. The lock is held."""
        if self.is_retired:
            raise OwnerRetired

    def _give_back(self, turn: _Turn | None) -> None:
        with self.lock:
            if turn is None or self._turn is not turn:
                return
            self._turn = None
            if self._ledger.live_ids:  # the end of the owner stopped half-way: it lives on
                self.is_retired = False
            self.lock.notify_all()
