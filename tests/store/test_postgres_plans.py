"""What sharing costs in PostgreSQL: by plans and counts of statements, not by the clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from shared_stores import Schema, a_schema

from meerkat import InputPhase, LogicalRuntimeId
from meerkat.conversation import AppendMessages
from meerkat.store import PostgresStore
from meerkat.store import postgres_sharing as reads
from meerkat.store import postgres_statements as sql
from meerkat.store.postgres_write import prepare
from meerkat.testing.store_conformance.shared_base import kinds, offer
from meerkat.testing.store_rows import batch, prompt, receipt, row_of

KNOWN = 20_000
"""Runtimes that are there, each with an input that has ended."""
WORK = 20


def runtime(number: int) -> LogicalRuntimeId:
    return LogicalRuntimeId(f"r{number:06d}")


@pytest.fixture(scope="module")
def large() -> Iterator[Schema]:
    """Many runtimes of one owner, few of them with work, as a server knows them."""
    with a_schema() as schema:
        owner = schema.joined("owner")
        schema.joined("other")
        owner.commit(batch(runtime(0), row_of(prompt(1), InputPhase.CONSUMED)))
        schema.run(
            "INSERT INTO runtimes SELECT 'r' || lpad(n::text, 6, '0'), r.session_id, r.epoch_id, "
            "state, fence, registered, next_admission_sequence, silent_intents, cursors, "
            "feed_watermark, live_operations, has_news, set_aside, paused, owner_id "
            "FROM runtimes AS r, generate_series(1, %s) AS s (n)",
            KNOWN,
        )
        schema.run(
            "INSERT INTO inputs (runtime_id, input_id, phase, outcome, state, payload) "
            "SELECT 'r' || lpad(n::text, 6, '0'), gen_random_uuid(), phase, outcome, state, "
            "payload FROM inputs, generate_series(1, %s) AS s (n)",
            KNOWN,
        )
        numbers = range(5, KNOWN, KNOWN // WORK)
        group = [batch(runtime(n), row_of(prompt(7, "k")), after=1, fence=2) for n in numbers]
        assert owner.commit_many(group) == [None] * WORK
        owner.offer_many([(runtime(number), offer(9)) for number in numbers])
        schema.run("ANALYZE")
        yield schema


def plan(store: PostgresStore, statement: str, *values: Any, writes: bool = False) -> str:
    """How the server goes about a statement, as the store has it ask."""
    asked = "EXPLAIN " + statement.replace("%b", "%s")
    if writes:
        lines = store._writer.transact(lambda session: session.execute(asked, values).fetchall())
    else:
        lines = store._rows(asked, *values)
    return "\n".join(line for (line,) in lines)


SCANS = re.compile(r"Seq Scan on (inputs|runtimes|receipts|messages)\b.*")
NAMES = [runtime(number).value for number in range(100, 110)]
IDS = [str(UUID(int=number)) for number in range(10)]
READS = {
    "adoptable": (reads._ADOPTABLE, 1, "", "", 1_001),
    "offered": (reads._OFFERED, 1),
    "offered to one": (reads._OFFERED_TO, NAMES[0]),
    "ended": (reads._ENDED, NAMES, IDS),
    "whose": (sql.WHOSE, NAMES, 1, False),
    "known": (sql.KNOWN_OFFERS, NAMES, IDS, [b"k"] * 10),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_finds_its_rows_by_an_index(large: Schema, name: str) -> None:
    statement, *values = READS[name]
    found = plan(large.sharing("looks"), statement, *values)
    assert not SCANS.search(found), found


def test_an_offer_and_a_claim_find_their_runtimes_by_an_index(large: Schema) -> None:
    store = large.sharing("looks")
    rows = [prepare(batch(runtime(n), after=1, fence=2)).encoded.runtime for n in range(100, 110)]
    claims = plan(store, sql.UPDATE_RUNTIMES.text, *_columns(rows), 1, writes=True)
    assert not SCANS.search(claims), claims
    offers = [_row(number) for number in range(100, 110)]
    names, states = sorted(row[0] for row in offers), ["idle"]
    values = (*_columns(offers), names, 10_000, 10_000, states)
    put = plan(store, sql.OFFER_MANY.text, *values, writes=True)
    assert not SCANS.search(put), put


def _row(number: int) -> tuple[Any, ...]:
    return prepare(batch(runtime(number), offer(5))).encoded.inputs[0]


def _columns(rows: list[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def test_ten_thousand_that_are_nobodys_are_adopted_page_by_page(large: Schema) -> None:
    """Each page takes one statement, and all of them together name each runtime once."""
    other = large.joined("taker")
    large.run("UPDATE inputs SET outcome = NULL WHERE runtime_id <= %s", runtime(10_000).value)
    large.let_run_out("owner")
    found, after = list[LogicalRuntimeId](), None
    for _ in range(20):
        page = other.page_adoptable(after=after)
        found, after = [*found, *page.items], page.next
        if after is None:
            break
    assert found[:10_001] == [runtime(number) for number in range(10_001)]
    taken = [batch(each, after=1, fence=2) for each in found[10:10_001:10]]
    assert other.commit_many(taken) == [None] * len(taken)
    assert len(other.owned_elsewhere(found)) == 0


# --- a commit, shared or not ------------------------------------------------------------


class Sent:
    """The statements that are sent, and the round trips of their pipelines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        self.pipelines = 0
        execute, pipeline = psycopg.Connection.execute, psycopg.Connection.pipeline

        def counted(connection: Any, query: Any, *args: Any, **options: Any) -> Any:
            self.statements.append(query)
            return execute(connection, query, *args, **options)

        def opened(connection: Any) -> Any:
            self.pipelines += 1
            return pipeline(connection)

        monkeypatch.setattr(psycopg.Connection, "execute", counted)
        monkeypatch.setattr(psycopg.Connection, "pipeline", opened)


def full(number: int, after: int) -> Any:
    rows = [row_of(prompt(n), InputPhase.CONSUMED) for n in range(after * 2, after * 2 + 2)]
    return batch(
        runtime(number),
        *rows,
        after=after,
        fence=after + 1,
        receipts=(receipt(after),),
        session=(AppendMessages(after, 1, b"[0]"),),
    )


def test_a_commit_sends_the_same_whether_shared_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, tuple[list[str], int]] = {}
    for kind in ("alone", "shared"):
        with a_schema() as schema:
            store = schema.alone() if kind == "alone" else schema.sharing("shared")
            store.acquire()
            store.commit_many([full(number, 0) for number in range(64)])
            with monkeypatch.context() as patched:
                noted = Sent(patched)
                store.commit_many([full(number, 0) for number in range(64, 128)])
                store.commit_many([full(number, 1) for number in range(128)])
            sent[kind] = noted.statements, noted.pipelines
    assert sent["shared"] == sent["alone"]
    assert sent["shared"][1] == 2
    assert len(sent["shared"][0]) == 2 * (3 + 5)  # BEGIN, its number, COMMIT; a table, a statement


@pytest.mark.parametrize("kind", ["alone", "shared"])
def test_a_commit_of_ones_own_looks_at_no_other_owner_for_each(kind: str) -> None:
    with a_schema() as schema:
        store = schema.alone() if kind == "alone" else schema.joined("shared")
        group = [full(number, 0) for number in range(64)]
        assert store.commit_many(group) == [None] * 64
        me = store._me and store._me.id
        rows = [prepare(full(number, 1)).encoded.runtime for number in range(64)]
        asked = "EXPLAIN (ANALYZE, TIMING OFF) " + sql.UPDATE_RUNTIMES.text.replace("%b", "%s")
        lines = store._writer.transact(
            lambda session: session.execute(asked, (*_columns(rows), me)).fetchall()
        )
        found = "\n".join(line for (line,) in lines)
        looks = re.findall(r"on owners .*?(?:loops=(\d+)|never executed)", found)
        assert sum(int(loops) for loops in looks if loops) <= 1, found


def test_an_offer_of_many_is_one_transaction_of_two_round_trips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with a_schema() as schema:
        owner, other = schema.joined("owner"), schema.joined("other")
        owner.commit_many([batch(runtime(number)) for number in range(300)])
        other.offer_many([(runtime(0), offer(1))])
        with monkeypatch.context() as patched:
            noted = Sent(patched)
            answers = other.offer_many([(runtime(number), offer(2)) for number in range(300)])
        assert len(set(kinds(answers))) == 1
        assert noted.pipelines == 1
        assert len(noted.statements) == 5  # BEGIN, its number, the offers, COMMIT, the hints
