"""What a PostgreSQL store refuses, in words: no way in, no room, no tables of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psycopg
import pytest
from shared_stores import schema_at

from meerkat.errors import StoreError
from meerkat.store import PostgresStore, PostgresTimeouts, open_store
from meerkat.store.postgres_session import Address
from meerkat.store.sharing import Sharing
from meerkat.testing.postgres_server import PostgresServer
from meerkat.testing.store_conformance.shared_base import offer
from meerkat.testing.store_rows import R1, batch

SECRET = "s3cret-word"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=False) as made:
        yield made


def run(server: PostgresServer, *statements: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as admin:
        for statement in statements:
            admin.execute(statement)


def writing_calls(store: PostgresStore) -> Iterator[Callable[[], object]]:
    """Calls that own, and that write."""
    yield store.acquire
    yield lambda: store.commit(batch(R1))
    yield lambda: store.offer_many([(R1, offer(1))])
    yield store.renew


def reading_calls(store: PostgresStore) -> Iterator[Callable[[], object]]:
    """Calls that read, of one process and of several."""
    yield lambda: store.load_runtime(R1)
    yield lambda: store.owned_elsewhere([R1])
    yield store.page_adoptable


def check_refused(url: str, *words: str, schema: str = "meerkat", reads: bool = False) -> None:
    """Every call is refused in these words, without the password; at once, and again.

    Whether the schema is to be had alone, or is shared. With ``reads``, reading calls are not.
    """
    for sharing in (None, Sharing(name="shared")):
        store = PostgresStore(url, schema=schema, sharing=sharing)
        for call in writing_calls(store):
            for _ in range(2):
                with pytest.raises(StoreError) as caught:
                    call()
                assert "no lease" in caught.value.text or all(
                    word in caught.value.text for word in words
                )
                assert SECRET not in f"{caught.value} {caught.value!r} {store!r}"
        for call in reading_calls(store):
            with nullcontext() if reads else pytest.raises(StoreError, match=words[0]):
                call()
        store.close()


def test_where_no_server_is_host_and_database_are_named() -> None:
    url = f"postgresql://someone:{SECRET}@127.0.0.1:1/sessions"
    check_refused(url, "postgresql://127.0.0.1:1/sessions", "refused")


def test_a_wrong_password_is_said_and_not_shown(server: PostgresServer) -> None:
    run(server, "CREATE ROLE guarded LOGIN PASSWORD 'another'")
    rules = Path(server.folder, "pg_hba.conf")
    rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
    run(server, "SELECT pg_reload_conf()")
    url = server.url.replace("postgres:@", f"guarded:{SECRET}@")
    check_refused(url, "password authentication failed", "/postgres")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@host/db?no=1",
        f"postgresql://u:{SECRET}@[host/db",
    ],
)
def test_what_libpq_cannot_read_is_not_quoted(url: str) -> None:
    with pytest.raises(StoreError, match="not a URL") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_a_password_that_somebody_repeats_is_left_out() -> None:
    address = Address(f"postgresql://u:{SECRET}@h/db", "meerkat", PostgresTimeouts())
    assert address.said(OSError(f"cannot\n parse {SECRET}")) == "cannot parse ***"
    assert SECRET not in repr(address)


def test_a_url_of_another_kind_is_shown_without_its_password() -> None:
    with pytest.raises(StoreError, match="unknown store URL 'mysql://") as caught:
        open_store(f"mysql://u:{SECRET}@h/db")
    assert SECRET not in str(caught.value)


def test_a_name_that_is_no_schemas_is_refused(server: PostgresServer) -> None:
    for name in ("", "A", "a-b", "a; DROP TABLE x", "ä", "a" * 64):
        with pytest.raises(StoreError, match="no name of a schema"):
            PostgresStore(server.url, schema=name)


def test_a_newer_schema_is_refused_unchanged(server: PostgresServer) -> None:
    with PostgresServerSchema(server, "newer") as store:
        store.commit(batch(R1))
        run(server, "INSERT INTO newer.schema_versions (version) VALUES (99)")
    check_refused(server.url, "schema 99", "newer meerkat", schema="newer")
    run(server, "DELETE FROM newer.schema_versions WHERE version = 99")
    with PostgresServerSchema(server, "newer") as store:
        assert store.load_runtime(R1) is not None


class PostgresServerSchema:
    """A store in a schema, closed at the end."""

    def __init__(self, server: PostgresServer, schema: str) -> None:
        self._store = PostgresStore(server.url, schema=schema)

    def __enter__(self) -> PostgresStore:
        return self._store

    def __exit__(self, *_error: object) -> None:
        self._store.close()


def test_a_schema_of_another_application_is_left_alone(server: PostgresServer) -> None:
    run(server, "CREATE SCHEMA theirs", "CREATE TABLE theirs.runtimes (a int)")
    check_refused(server.url, "another application's", schema="theirs")


def test_an_encoding_that_cannot_hold_every_text_is_refused(server: PostgresServer) -> None:
    run(server, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    check_refused(server.url.replace("/postgres?", "/latin?"), "LATIN1", "UTF8")


def test_a_database_that_may_only_be_read_is_said_to_be(server: PostgresServer) -> None:
    url = f"{server.url}&options=-c%20default_transaction_read_only%3Don"
    check_refused(url, "cannot be written", "read-only", schema="unwritten", reads=True)


@contextmanager
def standing_by(server: PostgresServer) -> Iterator[None]:
    """Have the server be a standby meanwhile, and promoted in the end."""
    server.stop_at_once()
    signal = Path(server.folder, "standby.signal")
    signal.touch()
    try:
        server.start()
        yield
    finally:
        signal.unlink()
        server.restart_at_once()


def test_a_standby_is_read_and_not_written(server: PostgresServer) -> None:
    with PostgresServerSchema(server, "standing_by") as store:
        store.commit(batch(R1))
    with standing_by(server):
        check_refused(
            server.url, "cannot be written", "in recovery", schema="standing_by", reads=True
        )


def test_an_owner_whose_server_becomes_a_standby_goes_on_when_it_is_promoted(
    server: PostgresServer,
) -> None:
    with schema_at(server.url) as schema:
        owner = schema.joined("owner")
        owner.commit(batch(R1))
        with standing_by(server):
            with pytest.raises(StoreError, match="read-only"):
                owner.renew()
            with pytest.raises(StoreError, match="in recovery"):
                owner.commit(batch(R1, after=1, fence=2))
            assert owner.page_adoptable().items == ()
        owner.renew()
        owner.commit(batch(R1, after=1, fence=2))
        assert owner.owned_elsewhere([R1]) == {}


def test_meerkat_loads_no_psycopg_until_it_is_asked_for() -> None:
    program = (
        "import sys, meerkat, meerkat.store, actors\n"
        "meerkat.store.open_store('memory:')\n"
        "assert not [name for name in sys.modules if name.startswith('psycopg')]\n"
        "meerkat.store.open_store('postgresql://localhost/x')\n"
        "assert 'psycopg' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_psycopg_the_extra_is_named() -> None:
    program = (
        "import sys\n"
        "sys.modules['psycopg'] = None\n"
        "from meerkat.store import open_store\n"
        "open_store('postgresql://localhost/x')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert b"pip install 'meerkat-runtime[postgres]'" in ran.stderr


@pytest.mark.parametrize(
    "how",
    [
        {"name": ""},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": "\udc80"},
        {"name": "a" * 201},
        {"lease_s": 0},
        {"lease_s": -1},
        {"lease_s": float("inf")},
        {"lease_s": float("nan")},
    ],
    ids=repr,
)
def test_no_process_comes_under_a_name_or_a_lease_that_is_none(how: dict) -> None:
    with pytest.raises(ValueError):
        Sharing(**how)
