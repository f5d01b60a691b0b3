"""Group commit in SQLite: few statements, and what a file cannot hold fails its own batch only."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from store_builders import read_again

from meerkat import InputPhase, LogicalRuntimeId
from meerkat.conversation import AppendMessages, ReplaceSnapshot
from meerkat.errors import Fenced, StoreError
from meerkat.store import SqliteStore
from meerkat.testing.store_rows import (
    R1,
    R2,
    R3,
    RUN,
    batch,
    prompt,
    receipt,
    row_of,
)


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
    too_big = evolve(fine, state=evolve(fine.state, admission_sequence=2**64))
    body = batch(R2, session=(AppendMessages(0, 1, b'["\xff"]'),))
    bad = [batch(R1, surrogate), batch(R1, too_big), batch(R2, not_utf8), body]
    answers = sqlite_store.commit_many([*bad, batch(R3, fine)])
    assert [type(answer) for answer in answers] == [StoreError] * 4 + [type(None)]
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
