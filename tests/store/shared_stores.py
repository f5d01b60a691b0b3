"""Builders: stores that share a schema of PostgreSQL, and what happens to their leases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import psycopg

from meerkat.shards import Shard
from meerkat.store import PostgresStore
from meerkat.store.sharing import Sharing
from meerkat.testing.postgres_server import postgres_url

LONG_S = 600.0
"""A lease that no slow machine lets run out in a test; tests end one by hand."""


class Schema:
    """A schema of its own, and the stores that are opened on it."""

    def __init__(self, url: str, opened: ExitStack) -> None:
        self.url, self.name = url, f"p{uuid4().hex}"
        self._opened = opened

    def sharing(
        self, name: str | None = None, *, shard: Shard | None = None, lease_s: float = LONG_S
    ) -> PostgresStore:
        """A store of one process among several; it has acquired nothing yet."""
        return self._made(Sharing(name=name, lease_s=lease_s, shard=shard))

    def joined(self, name: str | None = None, **how: Any) -> PostgresStore:
        """The same, and one of the owners."""
        store = self.sharing(name, **how)
        store.acquire()
        return store

    def alone(self) -> PostgresStore:
        """A store of one that is to be the only owner; it has acquired nothing yet."""
        return self._made(None)

    def _made(self, sharing: Sharing | None) -> PostgresStore:
        store = PostgresStore(self.url, schema=self.name, sharing=sharing)
        self._opened.callback(store.close)
        return store

    def run(self, statement: str, *values: object) -> list[Any]:
        """Run a statement behind the stores' backs."""
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute(f"SET search_path = {self.name}")
            cursor = admin.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def let_run_out(self, *names: str) -> None:
        """Have the leases of these owners be over, as after a long pause."""
        self.run(
            "UPDATE owners SET lease_until = clock_timestamp() - interval '1 s' "
            "WHERE name = ANY(%s)",
            list(names),
        )

    def cut_off(self, store: PostgresStore) -> None:
        """End the sessions of a store that write, as if its process had been killed."""
        for part in (store._writer, store._lease):
            if part is not None and part._session is not None:
                self.run("SELECT pg_terminate_backend(%s, 60000)", part._session.backend.pid)

    def owners(self) -> list[str]:
        """Whose lease is not over."""
        asked = "SELECT name FROM owners WHERE lease_until > clock_timestamp() ORDER BY 1"
        return [name for (name,) in self.run(asked)]


@contextmanager
def schema_at(url: str) -> Iterator[Schema]:
    """A schema that is gone at the end, and its stores closed."""
    with ExitStack() as opened:
        schema = Schema(url, opened)
        opened.callback(schema.run, f"DROP SCHEMA IF EXISTS {schema.name} CASCADE")
        yield schema


@contextmanager
def a_schema() -> Iterator[Schema]:
    """One on the server of the tests, which does not wait for its disk."""
    with schema_at(postgres_url()) as schema:
        yield schema
