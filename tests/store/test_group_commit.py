"""Group commit: many runtimes' batches in one transaction, each all-or-nothing on its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from store_builders import read_again

from meerkat import InputPhase, LogicalRuntimeId
from meerkat.conversation import AppendMessages, ReplaceSnapshot, RewriteMessages
from meerkat.errors import Fenced, StoreError
from meerkat.store import Batch, RuntimeStore, SqliteStore
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    RUN,
    batch,
    everything,
    input_id,
    prompt,
    receipt,
    row_of,
)

TAKEN = batch(R1, row_of(prompt(8, "k")), row_of(prompt(9)), after=1)
BAD = {
    "fenced": (batch(R1, row_of(prompt(9)), after=2), Fenced),
    "claimed already": (batch(R1, row_of(prompt(9))), Fenced),
    "never claimed": (batch(R3, row_of(prompt(9)), after=1), Fenced),
    "key taken": (TAKEN, StoreError),
    "key twice": (batch(R3, row_of(prompt(8, "x")), row_of(prompt(9, "x"))), StoreError),
    "receipt stored": (batch(R1, row_of(prompt(9)), after=1, receipts=(receipt(0),)), StoreError),
    "receipt twice": (batch(R3, receipts=(receipt(5), receipt(5))), StoreError),
    "gap in messages": (batch(R3, session=(AppendMessages(1, 1, b"[1]"),)), StoreError),
}


@pytest.fixture
def seeded(store: RuntimeStore) -> RuntimeStore:
    store.commit(batch(R1, row_of(prompt(1, "k")), receipts=(receipt(0),)))
    return store


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_batch_fails_alone(seeded: RuntimeStore, bad: str, place: int) -> None:
    wrong, error = BAD[bad]
    group = [batch(LogicalRuntimeId(f"good-{n}"), row_of(prompt(n))) for n in (1, 2)]
    group.insert(place, wrong)
    before = everything(seeded, R1, R3)[2:]
    answers = seeded.commit_many(group)
    assert type(answers.pop(place)) is error
    assert answers == [None, None]
    assert everything(seeded, R1, R3)[2:] == before
    for number in (1, 2):
        runtime_id = LogicalRuntimeId(f"good-{number}")
        assert [s.input_id for s in seeded.load_active_inputs(runtime_id)] == [input_id(number)]


def test_a_group_may_hold_a_runtime_twice(store: RuntimeStore) -> None:
    first = batch(R1, row_of(prompt(1)))
    second = batch(R1, row_of(prompt(2), sequence=1), after=1, fence=2)
    stale = batch(R1, row_of(prompt(3), sequence=2), after=1)
    answers = store.commit_many([first, second, stale, batch(R2)])
    assert [type(answer) for answer in answers] == [type(None), type(None), Fenced, type(None)]
    assert [s.input_id for s in store.load_active_inputs(R1)] == [input_id(1), input_id(2)]


def test_an_empty_group_has_no_answers(store: RuntimeStore) -> None:
    assert store.commit_many([]) == []


def test_a_fence_is_compared_and_set(store: RuntimeStore) -> None:
    store.commit(batch(R1))
    store.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))  # a new writer claims
    with pytest.raises(Fenced) as caught:
        store.commit(batch(R1, row_of(prompt(2)), after=1))  # the old one comes late
    assert caught.value.runtime_id == R1
    assert [s.input_id for s in store.load_active_inputs(R1)] == [input_id(1)]
    with pytest.raises(Fenced):  # and a third cannot claim over a fence it has not seen
        store.commit(batch(R1, after=1, fence=3))
    store.commit(batch(R1, after=2, fence=3))


def test_two_writers_on_two_connections_never_both_write(path: Path) -> None:
    one, two = SqliteStore(path), SqliteStore(path)
    one.commit(batch(R1))
    one.close()
    two.commit(batch(R1, after=1, fence=2))
    two.close()
    with pytest.raises(Fenced):
        one.commit(batch(R1, row_of(prompt(1)), after=1))
    one.close()
    assert read_again(path).load_active_inputs(R1) == []


def test_what_cannot_be_encoded_fails_its_own_batch_only(sqlite_store: SqliteStore) -> None:
    fine = row_of(prompt(1))
    surrogate = evolve(fine, state=evolve(fine.state, last_error="\udc80"))
    not_utf8 = evolve(fine, payload=b"\xff")
    body = batch(R2, session=(AppendMessages(0, 1, b'["\xff"]'),))
    group = [batch(R1, surrogate), batch(R2, not_utf8), body, batch(R3, fine)]
    answers = sqlite_store.commit_many(group)
    assert [type(answer) for answer in answers] == [StoreError] * 3 + [type(None)]
    assert [row.runtime_id for row in sqlite_store.list_runtimes().items] == [R3]


def test_what_is_too_large_for_sqlite_fails_its_own_batch_only(path: Path) -> None:
    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(*args, **options)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 100_000)
        return connection

    store = SqliteStore(path, connect=connect)
    huge = batch(R1, session=(ReplaceSnapshot(b"x" * 100_001),))
    refused, landed = store.commit_many([huge, batch(R2)])
    assert type(refused) is StoreError
    assert "too big" in refused.text
    assert landed is None
    assert [row.runtime_id for row in store.list_runtimes().items] == [R2]
    store.close()


class Counting:
    """A connection that counts the statements it is asked for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.inner = sqlite3.connect(*args, **options)
        self.said: list[str] = []

    def execute(self, statement: str, values: Any = ()) -> Any:
        self.said.append(statement)
        return self.inner.execute(statement, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_a_group_of_5000_rows_is_few_statements_within_the_variable_limit(path: Path) -> None:
    made: list[Counting] = []

    def connect(*args: Any, **options: Any) -> Counting:
        made.append(Counting(*args, **options))
        return made[-1]

    store = SqliteStore(path, connect=connect)
    store.acquire()
    store.commit_many([batch(LogicalRuntimeId(f"r{n}")) for n in range(1250)])
    writer = next(each for each in made if "BEGIN IMMEDIATE" in each.said)
    limit = writer.inner.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    writer.said.clear()
    group = [
        batch(
            LogicalRuntimeId(f"r{n}"),
            *(row_of(prompt(i), InputPhase.CONSUMED) for i in range(1, 5)),
            after=1,
            receipts=(receipt(0),),
            session=(AppendMessages(0, 1, b"[0]"),),
        )
        for n in range(1250)
    ]
    assert store.commit_many(group) == [None] * 1250
    assert len(writer.said) < 5000 / 64 + 3 * (1250 / 64) + 40
    assert max(statement.count("?") for statement in writer.said) < min(limit, 32766)
    assert store.load_boundary_receipt(LogicalRuntimeId("r1249"), RUN, 0) == receipt(0)
    assert len(store.page_terminal_inputs(LogicalRuntimeId("r7")).items) == 4
    store.close()


def test_rewrites_and_appends_of_many_runtimes_share_a_group(store: RuntimeStore) -> None:
    seed = [batch(r, session=(AppendMessages(0, 1, b'["old"]'),)) for r in (R1, R2, R3)]
    assert store.commit_many(seed) == [None] * 3
    new = (RewriteMessages(1, b"[1]"), AppendMessages(1, 2, b"[2,3]"), ReplaceSnapshot(b"s"))
    group: list[Batch] = [
        batch(R1, after=1, session=(AppendMessages(1, 1, b'["x"]'),)),
        batch(R2, after=1, session=new),
        batch(R3, after=1, session=(AppendMessages(1, 1, b'["y"]'), RewriteMessages(0, b"[]"))),
    ]
    assert store.commit_many(group) == [None] * 3
    found = [store.load_session_snapshot(r) for r in (R1, R2, R3)]
    assert [each and (each.messages, each.message_count, each.opaque) for each in found] == [
        (b'["old","x"]', 2, None),
        (b"[1,2,3]", 3, b"s"),
        None,
    ]
