"""The statements of a commit: what they are given, and how the server goes about them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from meerkat.conversation import ReplaceSnapshot
from meerkat.errors import StoreError
from meerkat.store import PostgresStore
from meerkat.store import postgres_statements as sql
from meerkat.store.postgres_arrays import arrays
from meerkat.store.postgres_session import Connection
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.store_rows import R1, R2, batch, prompt, row_of

STATEMENTS = {name: each for name, each in vars(sql).items() if isinstance(each, sql.ForRows)}


@pytest.fixture
def store() -> Iterator[PostgresStore]:
    made = PostgresStore(postgres_url(), schema=f"s{uuid4().hex}")
    made.commit(batch(R1))
    yield made
    made.close()


def session_of(store: PostgresStore) -> Connection:
    session = store._writer._session
    assert session is not None
    return session.connection


VALUES: dict[str, list[Any]] = {
    "text": ["", "a", "ä\n\U0001f43f", "x" * 70_000, None],
    "uuid": [str(UUID(int=0)), None, str(UUID(int=2**128 - 1)), str(uuid4()), None],
    "bigint": [0, -1, 2**63 - 1, -(2**63), None],
    "bytea": [b"", b"\x00\xff", None, b"a" * 70_000, b"'"],
    "jsonb": ["[]", '["a", "b"]', None, "null", "1"],
}


def test_what_is_put_into_arrays_comes_out_of_them(store: PostgresStore) -> None:
    rows = list(zip(*VALUES.values(), strict=True))
    given = ", ".join(f"%b::{name}[]" for name in VALUES)
    asked = "SELECT a, b::text, c, d, e::text FROM unnest(" + given + ") AS given (a, b, c, d, e)"
    found = session_of(store).execute(asked, arrays(list(VALUES), rows), binary=True).fetchall()
    assert found == rows


@pytest.mark.parametrize("value", ["\ud800", "no uuid"])
def test_what_cannot_be_written_is_a_value_error(value: str) -> None:
    with pytest.raises(ValueError):
        arrays(["uuid" if value.isascii() else "text"], [(value,)])


def test_a_statement_is_prepared_once_whatever_is_null(store: PostgresStore) -> None:
    for fence, key in enumerate(("a key", None, "another"), 1):
        store.commit(batch(R1, row_of(prompt(fence, key)), after=fence, fence=fence + 1))
    prepared = session_of(store).execute("SELECT statement FROM pg_prepared_statements")
    texts = [text for (text,) in prepared.fetchall()]
    assert len(texts) == len(set(texts))
    assert sum("INTO inputs" in text for text in texts) == 1


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_row_is_found_by_its_key_also_by_a_plan_for_empty_tables(
    store: PostgresStore, name: str
) -> None:
    """Such a plan is kept for as long as the session: a scan would take longer and longer."""
    connection, statement = session_of(store), STATEMENTS[name]
    types = re.findall(r"%b::(\w+(?:\[\])?)", statement.text)
    assert types[: len(statement.types)] == [f"{each}[]" for each in statement.types]
    numbered = statement.text
    for number in range(1, len(types) + 1):
        numbered = numbered.replace("%b", f"${number}", 1)
    connection.execute(f"PREPARE tried ({', '.join(types)}) AS {numbered}")
    nulls = ", ".join(["NULL"] * len(types))
    asked = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE tried ({nulls})")
    (found,) = asked.fetchall()
    plan = found[0] if isinstance(found[0], list) else json.loads(found[0])
    for node in nodes(plan[0]["Plan"]):
        assert node["Node Type"] != "Seq Scan", node
        assert "Index Name" not in node or "Index Cond" in node, node


def test_two_runtimes_in_one_statement_stay_apart(store: PostgresStore) -> None:
    group = [batch(R1, row_of(prompt(1, "k")), after=1, fence=2), batch(R2, row_of(prompt(2)))]
    assert store.commit_many(group) == [None, None]
    assert store.load_active_inputs(R1) == [row_of(prompt(1, "k")).state]
    assert store.load_active_inputs(R2) == [row_of(prompt(2)).state]


def test_what_the_last_statement_fails_with_is_told_of_its_batch(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at its answer before COMMIT is sent behind it."""
    failing = sql.ForRows("SELECT 1 / 0 FROM unnest(%b::text[], %b::bytea[])", ("text", "bytea"))
    monkeypatch.setattr(sql, "PUT_SNAPSHOTS", failing)
    opaque = batch(R1, row_of(prompt(1)), after=1, fence=2, session=(ReplaceSnapshot(b"x"),))
    refused, taken = store.commit_many([opaque, batch(R2)])
    assert taken is None
    assert isinstance(refused, StoreError)
    assert "division by zero" in str(refused)
    assert store.load_active_inputs(R1) == []
    assert store.load_runtime(R2) is not None
