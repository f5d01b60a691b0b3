"""Operation turns: an end is recorded first and told afterwards, one at a time.

The one place where the lock of a registry, the recorder of its host and the futures of
those who wait meet, so that the reasoning about them stands in one comment. It knows
nothing of legality: what ends is decided by the function it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Condition, Lock, get_ident
from types import TracebackType
from typing import Protocol, TypeAlias

from attrs import define, field

from meerkat.completion_feed import FeedEntry
from meerkat.identifiers import OperationId
from meerkat.operation_errors import OwnerRetired, StepInsideRecorder
from meerkat.operation_ledger import Fact, OperationLedger
from meerkat.operation_waits import Telling, tell
from meerkat.operations import OperationRecord, OperationStep

Recorder: TypeAlias = Callable[[OperationRecord, FeedEntry | None], None]
"""Stores how one operation ended, with its feed entry; what it raises refuses the end.

It is called in the thread that ends the operation, one call at a time, in the order of the
feed, and returns once the row is durable. A row is written once and stays; after a failure
that stored none the operation may end again, and its sequence be given again. After one
that may have stored it, what the store holds is adopted before any other row is written.

A call that was under way then may come with an operation or a sequence that was adopted,
that is with a sequence no longer above the watermark. It stores nothing, and may return or
raise an Exception: the end that was adopted holds, and the end of another operation is
given again, renumbered.

It may read the registry and adopt. It must not end an operation of it (StepInsideRecorder),
nor wait for a thread that does: one it waits for may adopt, and takes no other step.
"""

Observer: TypeAlias = Callable[[OperationRecord, OperationStep], None]
"""Is told of each step that took effect, with the record after it; must not raise.

It is called with no lock and no turn held, in the thread that took the step, for an end
before the watchers of the operation; so it may read and take steps. Calls of several
threads overlap, and may overtake each other. What it raises all the same undoes nothing and
keeps nobody from being told: it passes, last, to whoever took the step.
"""


class Turnstile(Protocol):
    """A lock that can be waited on; ``threading.Condition`` is one."""

    def __enter__(self) -> bool:
        """Take it."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Give it back."""
        ...

    def wait(self) -> bool:
        """Wait until it is notified; it is held before and after."""
        ...

    def notify_all(self) -> None:
        """Wake whoever waits."""
        ...


# How an end comes about, and why it cannot deadlock. One lock guards all memory, is held
# for a few lines, and never while other people's code runs. Ending takes a *turn* besides,
# one thread at a time:
#
#   1 locked    wait for the turn; check the step; build the fact; its sequence is the
#               watermark + 1; take the turn and name the operations that are ending
#   2 unlocked  the recorder stores the fact
#   3 locked    publish: record, feed entry, outcome of a wait; the watchers are taken out
#   4 locked    give the turn back (also when 2 raised: then 3 did not happen)
#   5 unlocked  tell the observer, then the watchers
#
# *Adopting* what the store turned out to hold is 3 alone, for rows that follow the
# watermark, and 5. It does not take the turn: the holder may be waiting, at 2, for the very
# thread that adopts. So the watermark may move between 1 and 3, and the holder looks again,
# with the lock held, before 2 and at 3:
#
#   its operation was adopted   2 and 3 are left out, and the adopted record is the answer
#   its sequence was            the fact is numbered anew, and goes (again) through 2
#   neither                     what 2 has stored follows the watermark: it is published
#
# This holds when 2 raised an Exception too: it was about what has been adopted since.
# Renumbering ends, since each time takes an adoption.
#
# Each publishing is checked against the watermark in the same hold of the lock, so the feed
# has the order of the recordings, without a hole: a failed one leaves its sequence to the
# next. The feed reader sees at 3 and the watcher at 5 what 2 has stored.
#
# Who waits for the turn holds nothing; who holds it waits for the recorder alone. Reading,
# registering, adopting and the steps of operations that are not ending never wait, so a
# recorder may be as slow as a disk. What is left is a recorder that waits for another end:
# in its own thread it is refused, and in others it is the recorder's contract.
#
# 5 happens with no lock and no turn, so callbacks and observer may take any step. For the
# same reason adopting while a turn is held leaves its 5 to the holder, who does it after 4:
# a callback that ends an operation would wait for the turn in the thread the turn waits
# for. A step that a recorder takes, in its own thread, is observed after 4 as well.


@define(eq=False)
class _Turn:
    """Guarded by the lock."""

    thread: int
    ending: set[OperationId]
    adopted: dict[OperationId, OperationRecord] = field(factory=dict)
    tellings: list[Telling] = field(factory=list)
    """Step 5, for when the turn was given back."""


class OperationTurns:
    """Guards a ledger. Thread-safe, except where a method says that the lock is held."""

    __slots__ = ("_before_wait", "_observer", "_recorder", "_turn", "is_retired", "ledger", "lock")

    def __init__(
        self,
        ledger: OperationLedger,
        recorder: Recorder | None,
        observer: Observer | None,
        before_wait: Callable[[], None] | None = None,
        lock: Turnstile | None = None,
    ) -> None:
        self.ledger = ledger
        self._recorder = recorder
        self._observer = observer
        self._before_wait = before_wait
        self._turn: _Turn | None = None
        self.lock: Turnstile = lock or Condition(Lock())
        """The lock of the ledger; told when a turn ends."""
        self.is_retired = False
        """Whether the owner was terminated; read and written with the lock held."""

    def end(self, decide: Callable[[], tuple[Fact, ...]]) -> tuple[OperationRecord, ...]:
        """Record, publish and tell the ends that ``decide`` answers with, in that order.

        ``decide`` is called with the turn free and the lock held; what it raises, and what
        the recorder raises, passes. Facts recorded before that have happened.
        """
        turn: _Turn | None = None
        try:
            with self.lock:
                self.wait_for(None)
                facts = decide()
                turn = _Turn(get_ident(), {fact.record.operation_id for fact in facts})
                self._turn = turn
            return tuple([self._bring_about(turn, fact) for fact in facts])
        finally:
            tell(self._give_back(turn))

    def advance(
        self, operation_id: OperationId, step: OperationStep, take: Callable[[], OperationRecord]
    ) -> OperationRecord:
        """Take a step that ends nothing, with the lock held and the operation not ending."""
        with self.lock:
            self.wait_for(operation_id)
            self.refuse_retired()
            record = take()
            tellings = self._observing(record, step)
            turn = self._turn
            if turn is not None and turn.thread == get_ident():
                turn.tellings += tellings
                tellings = []
        tell(tellings)
        return record

    def adopt(
        self, records: Sequence[OperationRecord], entries: Sequence[FeedEntry]
    ) -> tuple[OperationRecord, ...]:
        """Publish stored ends above the watermark, and tell; all of them or, refused, none.

        Does not wait for the turn. RecoveryCorruption.
        """
        with self.lock:
            facts = self.ledger.adoptable(records, entries)
            tellings = [telling for fact in facts for telling in self._publish(fact)]
            adopted = {fact.record.operation_id: fact.record for fact in facts}
            turn = self._turn
            if turn is not None:
                turn.adopted.update(adopted)
                turn.ending.difference_update(adopted)
                turn.tellings += tellings
                tellings = []
                self.lock.notify_all()
        tell(tellings)
        return tuple(adopted.values())

    def wait_for(self, operation_id: OperationId | None) -> None:
        """Wait until that operation is not ending (none: until no operation is).

        The lock is held. Raises StepInsideRecorder in the thread that would wait for itself,
        and what the host raises where no thread is to wait.
        """
        while self._turn and (operation_id is None or operation_id in self._turn.ending):
            if self._turn.thread == get_ident():
                raise StepInsideRecorder
            if self._before_wait is not None:
                self._before_wait()
            self.lock.wait()

    def refuse_retired(self) -> None:
        """Raise OwnerRetired once the owner is terminated. The lock is held."""
        if self.is_retired:
            raise OwnerRetired

    def _bring_about(self, turn: _Turn, fact: Fact) -> OperationRecord:
        """Record and publish one end; answers with the record that holds."""
        operation_id, stored = fact.record.operation_id, None
        while True:
            with self.lock:
                if operation_id in turn.adopted:
                    return turn.adopted[operation_id]
                fact = self.ledger.numbered(fact)
                if self._recorder is None or fact.entry is None or fact.entry is stored:
                    turn.tellings += self._publish(fact)
                    return fact.record
            try:
                self._recorder(fact.record, fact.entry)
            except Exception:
                if not self._is_overtaken(fact.entry):
                    raise
            else:
                stored = fact.entry

    def _is_overtaken(self, entry: FeedEntry) -> bool:
        with self.lock:
            return entry.seq <= self.ledger.feed.watermark

    def _publish(self, fact: Fact) -> list[Telling]:
        return [*self._observing(fact.record, fact.step), *self.ledger.publish(fact)]

    def _observing(self, record: OperationRecord, step: OperationStep) -> list[Telling]:
        return [] if self._observer is None else [partial(self._observer, record, step)]

    def _give_back(self, turn: _Turn | None) -> list[Telling]:
        with self.lock:
            if turn is None or self._turn is not turn:
                return []
            self._turn = None
            if self.ledger.live_ids:  # the end of the owner stopped half-way: it lives on
                self.is_retired = False
            self.lock.notify_all()
            return turn.tellings
