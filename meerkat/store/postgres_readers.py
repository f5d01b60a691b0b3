"""The reading sessions of a PostgreSQL store: a pool, anew when the server has gone.

A read has changed nothing: one whose session is lost is done again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from meerkat.store.postgres_migrate import version_of
from meerkat.store.postgres_schema import SCHEMA_VERSION
from meerkat.store.postgres_session import Address, Connection, open_session, set_up
from meerkat.store.postgres_writer import Again, Patience

T = TypeVar("T")

_SESSIONS_MAX: Final = 16
"""Reading sessions at once: past this many, a read waits for one."""

_IDLE_S: Final = 60.0
"""How long an idle one is kept."""


class Readers:
    """The read sessions of one database. Thread-safe.

    The tables are looked at once for each pool: they change under a writer that has the
    database to itself.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._patience = Patience(address)
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._was_open = self._ours = False

    def rows(self, statement: str, *values: object) -> list[Any]:
        """The rows of a query; none when nothing has been stored yet. Raises StoreError."""
        return self.read(lambda reader: fetch(reader, statement, *values)) or []

    def read(self, look: Callable[[Connection], T]) -> T | None:
        """What ``look`` makes of a session; None when nothing has been stored yet.

        It is asked again when its session is lost.
        """
        return self._patience.tried(lambda: self._read(look))

    def _read(self, look: Callable[[Connection], T]) -> T | None:
        pool = self._opened()
        try:
            with pool.connection() as reader:
                try:
                    return look(reader) if self._is_ours(reader) else None
                except psycopg.Error as error:
                    if reader.closed or reader.broken:
                        self._renew(pool)
                        raise Again(self._address.said(error)) from error
                    raise self._address.says(self._address.said(error)) from error
        except PoolTimeout as error:  # it has not been told why
            self._renew(pool)
            waited_s = self._address.timeouts.connect_s
            raise Again("there is no session to be had", waited_s) from error

    def _is_ours(self, reader: Connection) -> bool:
        """Is there something to read? The tables are looked at until they are there, once."""
        if not self._ours:
            version = version_of(self._address, reader)
            if 0 < version < SCHEMA_VERSION:
                why = f"it has schema {version}; open it once for writing, to migrate it"
                raise self._address.says(why)
            self._ours = version > 0
        return self._ours

    def _opened(self) -> ConnectionPool[Connection]:
        """The pool; before there is one, a session of its own says why there can be none."""
        with self._lock:
            if self._pool is None:
                address = self._address
                try:
                    open_session(address, writes=False).close()
                except psycopg.OperationalError as error:
                    if self._was_open:
                        raise Again(address.said(error)) from error
                    raise address.says(address.said(error)) from error
                except psycopg.Error as error:
                    raise address.says(address.said(error)) from error
                self._pool, self._was_open = self._made(), True
            return self._pool

    def _made(self) -> ConnectionPool[Connection]:
        def configure(connection: Connection) -> None:
            set_up(self._address, connection, writes=False)

        return ConnectionPool(
            kwargs={**self._address.info, "autocommit": True, "prepare_threshold": 2},
            connection_class=psycopg.Connection[tuple[Any, ...]],
            configure=configure,
            min_size=0,
            max_size=_SESSIONS_MAX,
            max_idle=_IDLE_S,
            timeout=self._address.timeouts.connect_s,
            reconnect_timeout=self._address.timeouts.connect_s,
            num_workers=1,
            name="meerkat-readers",
            open=True,
        )

    def _renew(self, pool: ConnectionPool[Connection]) -> None:
        """One of its sessions was lost, and the others with it, as a rule."""
        with self._lock:
            if self._pool is not pool:
                return
            self._pool, self._ours = None, False
        pool.close(timeout=0)

    def close(self) -> None:
        """Close what is idle now, and each session in use when its call is over."""
        self._patience.over.set()
        with self._lock:
            pool, self._pool = self._pool, None
            self._was_open = self._ours = False
        if pool is not None:
            pool.close()
        self._patience.over.clear()


def fetch(reader: Connection, statement: str, *values: object) -> list[Any]:
    """The rows of a query on a session, in the binary form: bytes come as they are."""
    return reader.execute(statement, values, binary=True).fetchall()
