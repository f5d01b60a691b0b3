"""Hints that there may be something to look at: heard while somebody waits, missed without harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import MagicMock

import psycopg
import pytest
from shared_stores import Schema, a_schema, schema_at

from meerkat.store import PostgresStore, PostgresTimeouts, postgres_hints
from meerkat.store.postgres_session import Address
from meerkat.store.sharing import Sharing
from meerkat.testing.postgres_server import PostgresServer
from meerkat.testing.store_conformance.shared_base import offer
from meerkat.testing.store_rows import R1, R2, batch

WAIT_S = 120.0


@pytest.fixture
def schema() -> Iterator[Schema]:
    with a_schema() as made:
        yield made


def waiting(schema: Schema, name: str) -> PostgresStore:
    """An owner that listens already: to begin to is a hint, too."""
    store = schema.joined(name)
    assert store.wait_for_hint(WAIT_S)
    return store


def while_it_waits(store: PostgresStore, happens: Callable[[], object]) -> bool:
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(store.wait_for_hint, WAIT_S)
        happens()
        return waits.result(WAIT_S)


def test_an_offer_wakes_who_has_the_runtime_and_nobody_else(schema: Schema) -> None:
    owner, other, third = (waiting(schema, name) for name in ("owner", "other", "third"))
    owner.commit(batch(R1))
    assert while_it_waits(owner, lambda: other.offer_many([(R1, offer(1))]))
    assert not third.wait_for_hint(0)
    assert not owner.wait_for_hint(0)


def test_what_nobody_has_wakes_everybody(schema: Schema) -> None:
    gone, one, two = (waiting(schema, name) for name in ("gone", "one", "two"))
    gone.commit(batch(R1))
    assert while_it_waits(one, gone.close)  # it gives back what it has
    assert two.wait_for_hint(WAIT_S)
    one.offer_many([(R1, offer(1))])
    assert one.wait_for_hint(WAIT_S)
    assert two.wait_for_hint(WAIT_S)


def test_an_offer_that_comes_to_nothing_wakes_nobody(schema: Schema) -> None:
    owner, other = waiting(schema, "owner"), waiting(schema, "other")
    owner.commit(batch(R1))
    other.offer_many([(R1, offer(1))])
    assert owner.wait_for_hint(WAIT_S)
    other.offer_many([(R1, offer(1)), (R2, offer(1))])
    assert not owner.wait_for_hint(0)
    assert not other.wait_for_hint(0)


def test_who_waits_is_hurried_or_does_not_begin_to_wait(schema: Schema) -> None:
    store = waiting(schema, "owner")
    assert not while_it_waits(store, store.hurry)
    for _ in range(70_000):  # more than a pipe holds
        store.hurry()
    assert not store.wait_for_hint(WAIT_S)
    assert not store.wait_for_hint(0)


def test_a_store_that_is_closed_lets_go_of_who_waits(schema: Schema) -> None:
    store = waiting(schema, "owner")
    assert not while_it_waits(store, store.close)
    store.close()
    assert store.wait_for_hint(WAIT_S)  # it opens again with the next call


def test_two_that_wait_are_both_let_go(schema: Schema) -> None:
    store = waiting(schema, "owner")
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(store.wait_for_hint, WAIT_S) for _ in range(2)]
        store.hurry()
        while not any(each.done() for each in both):
            pass
        store.hurry()
        assert [each.result(WAIT_S) for each in both] == [False, False]


def test_where_no_server_is_the_time_is_waited_out() -> None:
    store = PostgresStore(
        "postgresql://127.0.0.1:1/sessions",
        timeouts=PostgresTimeouts(connect_s=1),
        sharing=Sharing(name="alone"),
    )
    assert not store.wait_for_hint(0.01)
    assert not while_it_waits(store, store.hurry)
    store.close()


def test_it_listens_again_when_the_server_was_restarted() -> None:
    with PostgresServer(durable=False) as server, schema_at(server.url) as schema:
        owner, other = waiting(schema, "owner"), waiting(schema, "other")
        owner.commit(batch(R1))
        assert not while_it_waits(owner, server.restart_at_once)
        while not owner.wait_for_hint(WAIT_S):  # until it listens again, which is a hint
            pass
        assert while_it_waits(owner, lambda: other.offer_many([(R1, offer(1))]))


def test_where_a_server_lets_nobody_listen_the_time_is_waited_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One in recovery say: who waits would ask it for one session after the other."""
    refuses = MagicMock()
    refuses.connection.execute.side_effect = psycopg.errors.ReadOnlySqlTransaction
    monkeypatch.setattr(postgres_hints, "open_session", lambda *_, **__: refuses)
    hints = postgres_hints.Hints(Address("postgresql://nobody/x", "meerkat", PostgresTimeouts()))
    hints._alarm = MagicMock()
    hints._alarm.wait.return_value = False
    assert not hints.wait(7.0, None)
    hints._alarm.wait.assert_called_once_with(7.0, None)
    refuses.close.assert_called_once_with()
