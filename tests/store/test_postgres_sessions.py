"""Sessions with PostgreSQL that are lost: what happened is known, and done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from meerkat import fail_points
from meerkat.errors import CommitUnknown, StoreError
from meerkat.fail_points import FailPoint
from meerkat.store import PostgresStore
from meerkat.testing.postgres_server import PostgresServer
from meerkat.testing.store_rows import R1, R2, batch, prompt, row_of


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that waits for its disk, and may be stopped."""
    with PostgresServer() as made:
        yield made


@pytest.fixture
def store(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[PostgresStore]:
    made = PostgresStore(server.url, schema=f"s{abs(hash(request.node.name))}")
    yield made
    made.close()


@pytest.fixture
def at_point() -> Iterator[Callable[[FailPoint, Callable[[], object]], None]]:
    """Have something happen at a fail point, the next time."""
    watchers: list[fail_points.Watcher] = []

    def arm(point: FailPoint, happens: Callable[[], object]) -> None:
        def watcher(reached: FailPoint) -> None:
            if reached is point and watcher in watchers:
                watchers.remove(watcher)
                happens()

        watchers.append(watcher)
        fail_points.watch(watcher)

    yield arm
    assert not watchers, "it was not reached"


AtPoint = Callable[[FailPoint, Callable[[], object]], None]


def cut_off(server: PostgresServer) -> None:
    """End every session but this one, as an operator may."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND application_name LIKE 'meerkat%'"
        )


@pytest.mark.parametrize("point", ["transaction_begun", "rows_written", "commit_due"])
def test_a_session_that_is_lost_before_its_commit_is_sent_is_lost_without_a_trace(
    server: PostgresServer, store: PostgresStore, at_point: AtPoint, point: str
) -> None:
    store.acquire()
    store.commit(batch(R1))
    at_point(FailPoint(point), lambda: cut_off(server))
    store.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))
    row = store.load_runtime(R1)
    assert row is not None
    assert row.fence == 2
    assert store.load_active_inputs(R1) == [row_of(prompt(1)).state]


@pytest.mark.parametrize("point", ["rows_written", "commit_due"])
def test_a_server_that_restarts_under_a_commit_is_waited_for(
    server: PostgresServer, store: PostgresStore, at_point: AtPoint, point: str
) -> None:
    store.acquire()
    store.commit(batch(R1))
    at_point(FailPoint(point), server.restart_at_once)
    assert store.commit_many([batch(R1, row_of(prompt(1)), after=1, fence=2), batch(R2)]) == [
        None,
        None,
    ]
    assert store.load_active_inputs(R1) == [row_of(prompt(1)).state]


def lose_the_answer(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[], object] = lambda: None
) -> None:
    """Have the next COMMIT happen, and the session lost before it is said."""
    execute = psycopg.Connection.execute
    armed = [True]

    def losing(self: Any, query: Any, *args: Any, **options: Any) -> Any:
        answer = execute(self, query, *args, **options)
        if query == "COMMIT" and armed and armed.pop():
            with self.pipeline():  # its end waits for what was sent
                pass
            self.close()
            then()
            raise psycopg.OperationalError("the connection is lost")
        return answer

    monkeypatch.setattr(psycopg.Connection, "execute", losing)


def test_a_commit_whose_answer_is_lost_is_known_to_have_happened(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.acquire()
    store.commit(batch(R1))
    lose_the_answer(monkeypatch)
    store.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))
    assert store.load_active_inputs(R1) == [row_of(prompt(1)).state]
    store.commit(batch(R1, after=2, fence=3))


def test_a_commit_that_happened_is_known_to_have_after_a_restart(
    server: PostgresServer, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(batch(R1))
    lose_the_answer(monkeypatch, server.restart_at_once)
    store.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))
    assert store.load_active_inputs(R1) == [row_of(prompt(1)).state]


def test_a_commit_in_doubt_that_another_has_written_over_is_unknown(
    server: PostgresServer, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number alone proves nothing: a server may give one again that never came to its disk."""
    store.commit(batch(R1))
    other = PostgresStore(server.url, schema=store._address.schema)
    lose_the_answer(monkeypatch, lambda: other.commit(batch(R1, after=2, fence=3)))
    with pytest.raises(CommitUnknown):
        store.commit(batch(R1, after=1, fence=2))
    other.close()


def test_an_owner_that_was_cut_off_owns_again_and_others_are_refused(
    server: PostgresServer, store: PostgresStore
) -> None:
    other = PostgresStore(server.url, schema=store._address.schema)
    store.acquire()
    cut_off(server)
    store.commit(batch(R1))
    with pytest.raises(StoreError, match="is in use by process"):
        other.acquire()
    other.close()


def test_an_owner_that_lost_its_place_writes_no_more(
    server: PostgresServer, store: PostgresStore, at_point: AtPoint
) -> None:
    other = PostgresStore(server.url, schema=store._address.schema)
    store.acquire()
    store.commit(batch(R1))

    def usurp() -> None:
        cut_off(server)
        other.acquire()

    at_point(FailPoint.COMMIT_DUE, usurp)
    with pytest.raises(StoreError, match="is in use by process"):
        store.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))
    assert other.load_active_inputs(R1) == []
    other.close()


def test_a_read_whose_session_is_lost_is_done_again(
    server: PostgresServer, store: PostgresStore
) -> None:
    store.commit(batch(R1))
    for lose in (lambda: cut_off(server), server.restart_at_once):
        assert store.load_runtime(R1) is not None
        lose()
        assert store.load_runtime(R1) is not None
