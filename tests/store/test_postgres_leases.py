"""Leases and lost sessions: the row goes on, and who is late is refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from shared_stores import Schema, a_schema, schema_at
from store_processes import Child, child
from test_postgres_offers import Held

from meerkat.errors import OwnedElsewhere, StoreError
from meerkat.fail_points import FailPoint
from meerkat.outcomes import Accepted
from meerkat.testing.postgres_server import PostgresServer
from meerkat.testing.store_conformance.shared_base import kinds, offer
from meerkat.testing.store_rows import R1, R2, batch, input_id, prompt, row_of

WAIT_S = 120.0


@pytest.fixture
def schema() -> Iterator[Schema]:
    with a_schema() as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with PostgresServer(durable=False) as made:
        yield made


def cut_off_all(schema: Schema) -> None:
    schema.run(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND application_name LIKE 'meerkat%%'"
    )


@pytest.mark.parametrize("lost", ["restart", "cut off"])
def test_a_lease_outlasts_the_sessions_of_its_owner(server: PostgresServer, lost: str) -> None:
    with schema_at(server.url) as schema:
        owner, other = schema.joined("owner"), schema.joined("other")
        owner.commit(batch(R1))
        rows = schema.run("SELECT id, name FROM owners ORDER BY id")
        server.restart_at_once() if lost == "restart" else cut_off_all(schema)
        assert schema.run("SELECT id, name FROM owners ORDER BY id") == rows
        other.renew()
        owner.renew()
        with pytest.raises(OwnedElsewhere):
            other.commit(batch(R1, after=1, fence=2))
        assert kinds(other.offer_many([(R1, offer(1))])) == [Accepted]
        assert owner.offered() == [R1]
        owner.commit(batch(R1, row_of(prompt(1)), after=1, fence=2))
        alone = schema.alone()
        with pytest.raises(StoreError, match="sharing it"):  # both have their locks again
            alone.acquire()


def test_a_lease_is_renewed_while_a_commit_takes_long(schema: Schema) -> None:
    owner = schema.joined("owner")
    with ThreadPoolExecutor(1) as pool, Held(FailPoint.COMMIT_DUE) as commit:
        committed = pool.submit(owner.commit, batch(R1))
        assert commit.come.wait(WAIT_S)
        before = schema.run("SELECT lease_until FROM owners")
        owner.renew()
        assert schema.run("SELECT lease_until FROM owners") > before
        commit.go.set()
        committed.result(WAIT_S)


@pytest.mark.parametrize("point", [FailPoint.ROWS_WRITTEN, FailPoint.COMMIT_DUE], ids=str)
@pytest.mark.parametrize("successor", ["other", "stopped"])
def test_who_is_stopped_within_a_commit_holds_up_nobody(
    schema: Schema, point: FailPoint, successor: str
) -> None:
    """Its transaction has the row: the server is asked to end it, by who looks for work."""
    stopped, other = schema.joined("stopped"), schema.joined("bystander")
    stopped.commit(batch(R1, row_of(prompt(1))))
    with ThreadPoolExecutor(1) as pool, Held(point) as commit:
        written = batch(R1, row_of(prompt(2), sequence=1), after=1, fence=2)
        late = pool.submit(stopped.commit, written)
        assert commit.come.wait(WAIT_S)
        if successor == "other":
            schema.let_run_out("stopped")
        else:
            other = schema.joined("stopped")
        assert other.page_adoptable().items == (R1,)
        other.commit(batch(R1, after=1, fence=2))
        commit.go.set()
        with pytest.raises(OwnedElsewhere):
            late.result(WAIT_S)
    assert [each.input_id for each in other.load_active_inputs(R1)] == [input_id(1)]


@pytest.mark.parametrize("looks", ["busy", "other"])
def test_who_is_in_time_is_not_cut_off_nor_who_looks(schema: Schema, looks: str) -> None:
    stores = {name: schema.joined(name) for name in ("busy", "other", "late")}
    busy = stores["busy"]
    with ThreadPoolExecutor(1) as pool, Held(FailPoint.COMMIT_DUE) as commit:
        committed = pool.submit(busy.commit, batch(R1))
        assert commit.come.wait(WAIT_S)
        session = busy._writer._session
        schema.let_run_out("late", looks)
        stores[looks].page_adoptable()
        stores[looks].renew()
        commit.go.set()
        committed.result(WAIT_S)
        assert busy._writer._session is session


def test_without_a_server_a_renewal_says_so_and_the_next_one_goes_on(
    server: PostgresServer,
) -> None:
    with schema_at(server.url) as schema:
        owner = schema.joined("owner")
        server.stop_at_once()
        try:
            for _ in range(2):
                with pytest.raises(StoreError, match="postgresql:///postgres"):
                    owner.renew()
        finally:
            server.start()
        owner.renew()
        assert schema.owners() == ["owner"]


def test_where_no_server_is_nothing_is_owned(server: PostgresServer) -> None:
    with schema_at(server.url) as schema:
        owner = schema.sharing("owner")
        server.stop_at_once()
        try:
            for call in (owner.acquire, owner.renew, lambda: owner.offer_many([(R1, offer(1))])):
                with pytest.raises(StoreError):
                    call()
        finally:
            server.start()
        owner.acquire()
        assert schema.owners() == ["owner"]
        server.stop_at_once()  # and who closes without one, closes
        try:
            owner.close()
        finally:
            server.start()
        assert schema.owners() == ["owner"]
        schema.joined("owner").commit(batch(R1))


def test_a_forked_child_has_no_lease_and_ends_none(schema: Schema) -> None:
    owner = schema.joined("owner")
    owner.commit(batch(R1))
    assert owner.wait_for_hint(WAIT_S)

    def work(here: Child) -> None:
        said = []
        for call in (owner.renew, lambda: owner.commit(batch(R1, after=1, fence=2))):
            try:
                call()
            except StoreError as error:
                said.append(type(error).__name__)
        owner.hurry()
        owner.commit(batch(R2))
        owner.close()
        here.say(" ".join(said))

    with child(work) as forked:
        assert forked.heard() == "StoreError OwnedElsewhere"
    assert schema.owners() == ["owner"]
    assert not owner.wait_for_hint(0)
    owner.renew()
    owner.commit_many([batch(R1, after=1, fence=2), batch(R2, after=1, fence=2)])
    assert owner.owned_elsewhere([R1, R2]) == {}
