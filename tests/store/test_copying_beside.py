"""A copy beside others: of a store in use, of one that is damaged, and what differs is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import psycopg
import pytest
from attrs import evolve
from copy_builders import Made, copied, filled, same

from meerkat import InputPhase
from meerkat.conversation import AppendMessages
from meerkat.identifiers import LogicalRuntimeId
from meerkat.limits import Retention
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import InputRow, PostgresStore, RuntimeStore, SqliteStore
from meerkat.store.copy_digest import CopyPart
from meerkat.store.copy_runtime import UNDER_WAY, WHOLE
from meerkat.store.copyable import CopyableStore
from meerkat.store.copying import verify_copy
from meerkat.store.ownership import StoreInUse
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    START,
    batch,
    prompt,
    receipt,
    row_of,
)
from meerkat.testing.store_wrapper import StoreWrapper

# --- while it is in use -----------------------------------------------------------------


def test_a_store_in_use_is_copied_as_far_as_it_is_and_held_back(made: Made) -> None:
    source, target = made("sqlite"), made("sqlite")
    filled(source)
    source.acquire()
    reader = SqliteStore(source.path)  # type: ignore[attr-defined]
    report = copied(reader, target)
    assert report.owner is not None
    assert "is in use by process" in report.owner
    assert (report.copied, report.missing, report.is_finished) == (2, (), False)
    there = target.load_runtime(R1)
    assert there is not None
    assert (there.state, there.registered, there.set_aside) == (
        RuntimeState.DESTROYED,
        False,
        WHOLE,
    )
    assert target.runtimes_with_work() == []
    source.commit(batch(R2, row_of(prompt(5)), after=7, fence=8))  # it goes on
    assert verify_copy(reader, target).missing == (str(R1), str(R2))
    source.close()
    last = copied(reader, target)
    assert (last.is_finished, last.copied) == (True, 1)
    same(reader, target)
    reader.close()


class GoesOn(StoreWrapper):
    """It commits something to R1 whenever the rows of that runtime are read to the end."""

    def __init__(self, inner: RuntimeStore, times: int) -> None:
        super().__init__(inner)
        self.left = times
        self.inner.acquire()

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> Any:
        row = self.inner.load_runtime(runtime_id)
        if runtime_id == R1 and row is not None and self.left:
            self.left -= 1
            new = row_of(prompt(100 + self.left), sequence=100 - self.left)
            more = AppendMessages(3 + 2 - self.left, 1, b'["later"]')
            changed = evolve(row, fence=row.fence + 1)
            self.inner.commit(
                evolve(batch(R1, new, session=(more,)), runtime=changed, expected_fence=row.fence)
            )
        return super().load_session_snapshot(runtime_id)


def test_a_runtime_that_goes_on_while_it_is_read_is_read_again(made: Made) -> None:
    source, target = made("memory"), made("sqlite")
    filled(source)
    busy = GoesOn(source, times=3)
    assert copied(busy, target, passes=1).missing == (str(R1),)
    row = target.load_runtime(R1)
    assert row is not None
    assert row.set_aside == UNDER_WAY
    report = copied(busy, target)
    assert (report.copied, report.passes, report.missing) == (2, 2, ())
    assert report.owner == "this MemoryStore is owned by another control plane"
    source.close()
    assert copied(source, target).is_finished
    same(source, target)


def test_what_is_pruned_or_offered_between_two_calls_is_mended(made: Made) -> None:
    """Neither raises the fence: only the digests tell."""
    source, target = made("sqlite"), made("memory")
    source.acquire()
    source.commit(batch(R1, row_of(prompt(1), InputPhase.CONSUMED), receipts=(receipt(0),)))
    reader = SqliteStore(source.path)  # type: ignore[attr-defined]
    assert copied(reader, target).owner is not None
    source.prune(Retention(max_count=0), START)
    source.offer(R1, [row_of(prompt(2, "k"), InputPhase.ACCEPTED)])
    assert copied(reader, target).copied == 0
    source.close()
    report = copied(reader, target)
    assert report.is_finished
    same(reader, target)
    reader.close()


def test_it_can_be_copied_only_by_who_owns_the_copy(made: Made) -> None:
    source, target = made("memory"), made("sqlite")
    filled(source)
    target.acquire()
    other = SqliteStore(target.path)  # type: ignore[attr-defined]
    with pytest.raises(StoreInUse, match="is in use by process"):
        copied(source, other)
    assert target.list_runtimes().items == ()


# --- damage -----------------------------------------------------------------------------

DAMAGE = {
    "UPDATE inputs SET state = '{' WHERE runtime_id = 'agent-1' AND outcome IS NOT NULL": "input",
    "UPDATE operations SET record = '{' WHERE runtime_id = 'agent-1'": "operation",
    "UPDATE runtimes SET cursors = '{' WHERE runtime_id = 'agent-1'": "runtime",
    "UPDATE messages SET count = 2 WHERE runtime_id = 'agent-1' AND position = 0": "messages",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_runtime_that_cannot_be_read_is_named_and_the_others_are_copied(
    made: Made, kind: str, damage: str
) -> None:
    source, target = made(kind), made("memory")
    filled(source)
    source.commit(batch(R3, row_of(prompt(4))))
    source.close()
    spoil(source, damage)
    report = copied(source, target)
    assert list(report.unreadable) == [str(R1)]
    assert DAMAGE[damage] in report.unreadable[str(R1)]
    assert (report.verified, report.is_finished) == (2, True)
    assert target.load_runtime(R3) == source.load_runtime(R3)
    there = target.load_runtime(R1)
    assert there is None or there.set_aside == UNDER_WAY


def spoil(store: CopyableStore, statement: str) -> None:
    """Behind the store's back."""
    if isinstance(store, SqliteStore):
        with closing(sqlite3.connect(store.path)) as connection, connection:
            connection.execute(statement)
    else:
        assert isinstance(store, PostgresStore)
        with psycopg.connect(postgres_url()) as session:
            session.execute(f"SET search_path = {store._address.schema}")
            session.execute(statement)


CHANGES = [
    (CopyPart.INPUTS, "UPDATE inputs SET payload = replace(payload, 'prompt 1', 'prompt 2')"),
    (CopyPart.RECEIPTS, "UPDATE receipts SET message_count = 5 WHERE sequence = 0"),
    (CopyPart.OPERATIONS, "DELETE FROM begun_operations"),
    (CopyPart.OPERATIONS, "UPDATE operations SET record = replace(record, 'search', 'sea')"),
    (CopyPart.MESSAGES, """UPDATE messages SET body = '["o"]' WHERE position = 0"""),
    (CopyPart.MESSAGES, "UPDATE snapshots SET body = x'00fe'"),
    (CopyPart.RUNTIME, "UPDATE runtimes SET paused = 0 WHERE paused"),
]


@pytest.mark.parametrize(("part", "change"), CHANGES)
def test_what_differs_is_named(made: Made, part: CopyPart, change: str) -> None:
    source, target = made("memory"), made("sqlite")
    filled(source)
    assert copied(source, target).is_finished
    spoil(target, change)
    report = verify_copy(source, target)
    assert not report.is_finished
    assert [(each.runtime, each.parts) for each in report.differences] == [(str(R1), (part,))]
    assert report.verified == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE inputs SET state = '{' WHERE outcome IS NOT NULL",
        "UPDATE inputs SET payload = replace(payload, 'prompt 5', 'prompt 6')",
        """UPDATE inputs SET state = replace(state, '"attempt_count":1', '"attempt_count":2')""",
        "UPDATE receipts SET message_count = 5 WHERE sequence = 0",
        "UPDATE messages SET body = '[' WHERE position = 0",
    ],
)
def test_a_copy_that_is_damaged_is_made_anew_before_it_is_in_service(
    made: Made, damage: str
) -> None:
    source, target = made("sqlite"), made("sqlite")
    filled(source)
    source.acquire()
    reader = SqliteStore(source.path)  # type: ignore[attr-defined]
    assert copied(reader, target).owner is not None
    spoil(target, damage)
    row = source.load_runtime(R1)
    assert row is not None
    staged = InputRow(row_of(prompt(5), InputPhase.STAGED, 5).state)
    source.commit(evolve(batch(R1, staged), runtime=evolve(row, fence=2), expected_fence=1))
    source.close()
    assert copied(reader, target).is_finished
    same(reader, target)
    reader.close()


def test_what_is_only_in_the_copy_is_named(made: Made) -> None:
    source, target = made("memory"), made("memory")
    filled(source)
    assert copied(source, target).is_finished
    target.commit(batch(R3))
    report = verify_copy(source, target)
    assert [each.runtime for each in report.differences] == [str(R3)]
