"""Group commit in PostgreSQL: few statements; what cannot be held fails its own batch only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from attrs import evolve
from store_processes import Child, child

from meerkat import InputPhase, LogicalRuntimeId, fail_points
from meerkat.conversation import AppendMessages, ReplaceSnapshot, RewriteMessages
from meerkat.errors import Fenced, StoreError
from meerkat.fail_points import FailPoint
from meerkat.store import PostgresStore
from meerkat.store.session_writes import SessionWrites
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.store_rows import R1, R2, R3, batch, prompt, receipt, row_of


@pytest.fixture
def store() -> Iterator[PostgresStore]:
    """A store in a schema of its own; the server does not wait for its disk."""
    schema = f"c{uuid4().hex}"
    made = PostgresStore(postgres_url(), schema=schema)
    yield made
    made.close()
    with psycopg.connect(postgres_url(), autocommit=True) as admin:
        admin.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def full(number: int, after: int = 0) -> object:
    """A batch with a row for most tables."""
    return batch(
        LogicalRuntimeId(f"r{number}"),
        *(row_of(prompt(each), InputPhase.CONSUMED) for each in range(after * 4, after * 4 + 4)),
        after=after,
        fence=after + 1,
        receipts=(receipt(after),),
        session=(AppendMessages(after, 1, b"[0]"), ReplaceSnapshot(b"s")),
    )


def test_a_group_of_512_batches_is_a_statement_a_table(store: PostgresStore) -> None:
    reached: list[FailPoint] = []
    fail_points.watch(reached.append)
    try:
        assert store.commit_many([full(number) for number in range(512)]) == [None] * 512
        assert store.commit_many([full(number, 1) for number in range(512)]) == [None] * 512
    finally:
        fail_points.unwatch(reached.append)
    assert reached.count(FailPoint.ROWS_WRITTEN) == 2 * 6
    assert reached.count(FailPoint.COMMIT_DONE) == 2
    assert len(store.page_terminal_inputs(LogicalRuntimeId("r511")).items) == 8


def test_bad_batches_cost_one_more_transaction_however_many_they_are(store: PostgresStore) -> None:
    store.commit(batch(R1, row_of(prompt(1, "k")), receipts=(receipt(0),)))
    reached: list[FailPoint] = []
    fail_points.watch(reached.append)
    group = [
        batch(R1, after=7),
        batch(R2, row_of(prompt(1, "x")), row_of(prompt(2, "x"))),
        batch(R3, session=(AppendMessages(1, 1, b"[1]"),)),
        *(full(number) for number in range(20)),
    ]
    try:
        answers = store.commit_many(group)
    finally:
        fail_points.unwatch(reached.append)
    assert [type(each) for each in answers[:3]] == [Fenced, StoreError, StoreError]
    assert answers[3:] == [None] * 20
    assert reached.count(FailPoint.TRANSACTION_BEGUN) == 2
    assert store.load_runtime(R2) is None


def test_what_cannot_be_held_fails_its_own_batch_only(store: PostgresStore) -> None:
    fine = row_of(prompt(1))
    surrogate = evolve(fine, state=evolve(fine.state, last_error="\udc80"))
    bad = [
        batch(R1, surrogate),
        batch(R1, evolve(fine, payload=b"\xff")),
        batch(R1, evolve(fine, payload=b'"\x00"')),  # which is no JSON either
        batch(R2, receipts=(receipt(0, conversation_digest="\x00"),)),
        batch(R2, session=(AppendMessages(0, 1, b'["\xff"]'),)),
    ]
    good = [batch(LogicalRuntimeId(f"good-{number}"), fine) for number in range(5)]
    answers = store.commit_many([*bad, *good])
    assert [type(answer) for answer in answers] == [StoreError] * 5 + [type(None)] * 5
    assert [row.runtime_id for row in store.list_runtimes().items] == [
        each.runtime.runtime_id for each in good
    ]


def test_why_a_runtime_was_set_aside_may_be_any_text(store: PostgresStore) -> None:
    store.commit(batch(R1, set_aside="it said \x00 and ä"))
    row = store.load_runtime(R1)
    assert row is not None
    assert row.set_aside == "it said \x00 and ä"


def test_two_writers_of_one_runtime_never_both_write(store: PostgresStore) -> None:
    """Neither owns the database: the fence alone decides."""
    other = PostgresStore(postgres_url(), schema=store._address.schema)
    store.commit(batch(R1))
    other.commit(batch(R1, after=1, fence=2))
    with pytest.raises(Fenced):
        store.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))
    assert store.load_active_inputs(R1) == []
    other.close()


def test_in_a_forked_child_the_sessions_are_its_own(store: PostgresStore) -> None:
    store.acquire()
    store.commit(batch(R1))

    def work(here: Child) -> None:
        row = store.load_runtime(R1)
        assert row is not None
        try:
            store.acquire()
        except StoreError as error:
            here.say(error.text)
        store.commit(batch(R2))
        store.close()

    with child(work) as forked:
        assert f"process {os.getpid()}" in forked.heard()
    store.commit(batch(R1, row_of(prompt(1)), after=1))
    assert store.load_runtime(R2) is not None


A, B = b"[1]", b"[2,3]"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], SessionWrites()),
        ([AppendMessages(4, 1, A)], SessionWrites(4, rewrites=False, messages=[(4, 1, "[1]")])),
        (
            [AppendMessages(0, 1, A), AppendMessages(1, 2, B)],
            SessionWrites(0, rewrites=False, messages=[(0, 1, "[1]"), (1, 2, "[2,3]")]),
        ),
        (
            [AppendMessages(4, 1, A), RewriteMessages(2, B), AppendMessages(2, 1, A)],
            SessionWrites(4, rewrites=True, messages=[(0, 2, "[2,3]"), (2, 1, "[1]")]),
        ),
        ([RewriteMessages(0, b"[]")], SessionWrites(None, rewrites=True)),
        ([RewriteMessages(1, A), AppendMessages(0, 1, A)], SessionWrites(-1)),
        ([ReplaceSnapshot(b"a"), ReplaceSnapshot(b"")], SessionWrites(snapshot=b"")),
    ],
)
def test_changes_of_a_session_come_to_one_end(changes: list, expected: SessionWrites) -> None:
    assert SessionWrites.of(changes) == expected
