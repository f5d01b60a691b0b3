"""What a commit carries, and what is a reason for one."""

from __future__ import annotations

from attrs import evolve

from meerkat import EpochCursorSnapshot, RuntimeEpochId
from meerkat.kernel import RuntimeHead, Transition
from meerkat.kernel.memory import Rules
from meerkat.loading import load_memory
from meerkat.pending_commit import PendingCommit
from meerkat.store import MemoryStore
from meerkat.testing.store_rows import R1, ended

EPOCH = RuntimeEpochId.new()
HEAD = RuntimeHead(registered=True, epoch_id=EPOCH)
CURSORS = EpochCursorSnapshot(agent_applied_cursor=2, runtime_observed_seq=1)


def test_cursors_alone_are_no_reason_to_write_and_ride_on_the_next() -> None:
    pending, moved = PendingCommit(HEAD), evolve(HEAD, cursors=CURSORS)
    pending.add(Transition(head=moved))
    assert not pending.writes
    pending.add(Transition(head=evolve(moved, silent_intents=frozenset({"quiet"}))))
    assert pending.writes
    assert pending.batch(R1, 1).runtime.cursors == CURSORS


def test_ended_operations_are_written_in_order_with_their_watermark() -> None:
    pending, rows = PendingCommit(HEAD), (ended(1, EPOCH), ended(2, EPOCH))
    for row in rows:
        head = evolve(HEAD, feed_watermark=row.seq)
        pending.add(Transition(head=head, operations=(row,)))
    assert pending.writes
    assert not pending.proves
    batch = pending.batch(R1, 1)
    assert batch.operations == rows
    assert batch.runtime.feed_watermark == 2
    assert batch.runtime.has_news


def test_the_late_end_of_an_earlier_epochs_operation_is_written_too() -> None:
    """It moves no watermark, and still has to be on disk before anybody is told."""
    pending = PendingCommit(HEAD)
    pending.add(Transition(head=HEAD, operations=(ended(1, EPOCH),)))
    assert pending.writes


def test_a_watermark_comes_back_with_its_runtime() -> None:
    store, pending = MemoryStore(), PendingCommit(HEAD)
    pending.add(Transition(head=evolve(HEAD, feed_watermark=1), operations=(ended(1, EPOCH),)))
    store.commit(pending.batch(R1, 0))
    row = store.load_runtime(R1)
    assert row is not None
    loaded = load_memory(store, row, Rules(), executor_attached=False)
    assert loaded.head.feed_watermark == 1
