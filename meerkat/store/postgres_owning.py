"""Owning a PostgreSQL schema: by a lock that ends with its session, alone or with others.

One process has it alone, or several share it: the lock is taken exclusively by the one and
shared by the others, so that the two kinds are never there together. Which runtimes are whose
among those that share it is a matter of their leases (``postgres_lease``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from zlib import crc32

from attrs import frozen

from meerkat.store.ownership import StoreInUse
from meerkat.store.postgres_session import Address, Backend, Connection, Session

_MIGRATES: Final = 0x4D4B5254
_OWNS: Final = _MIGRATES + 1
_JOINS: Final = _MIGRATES + 2
"""The first halves of our advisory locks' keys, "MKRT" in ASCII; the second names the schema."""

_NAMED_MAX: Final = 3

_ALONE: Final = "SELECT pg_try_advisory_lock(%s::int, %s::int)"
_WITH_OTHERS: Final = "SELECT pg_try_advisory_lock_shared(%s::int, %s::int)"
_LET_GO: Final = "SELECT pg_advisory_unlock(%s::int, %s::int)"
_IN_TURN: Final = "SELECT pg_advisory_xact_lock(%s::int, %s::int)"
_END_LEASES: Final = (
    "UPDATE owners SET lease_until = '-infinity' WHERE lease_until > clock_timestamp()"
)
_PRESENT: Final = (
    "SELECT a.pid, a.backend_start::text, a.application_name, host(a.client_addr), "
    "l.mode = 'ShareLock' FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid "
    "WHERE l.granted AND l.locktype = 'advisory' "
    "AND l.classid = %s::int AND l.objid = %s::bigint::oid "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "ORDER BY a.backend_start"
)


_TRIES: Final = 3
"""Where nobody is found who has the lock: it was let go in between, and is free by now."""


@frozen
class Owner:
    """One that shares a schema, with a lease. Its id is given once."""

    id: int
    name: str


def key_of(schema: str) -> int:
    """The number that a schema goes by where the server wants one."""
    return crc32(schema.encode()) & 0x7FFFFFFF


def wait_to_migrate(address: Address, connection: Connection) -> None:
    """Wait until nobody else migrates, and be the only one until the transaction ends."""
    connection.execute(_IN_TURN, (_MIGRATES, key_of(address.schema)))


def wait_to_join(address: Address, connection: Connection) -> None:
    """Wait until nobody else joins those that share it, until the transaction ends."""
    connection.execute(_IN_TURN, (_JOINS, key_of(address.schema)))


@contextmanager
def while_nobody_owns(address: Address, connection: Connection) -> Iterator[None]:
    """Keep every owner away meanwhile; PostgresInUse where one is there already.

    Within a transaction, whose end this does not wait for: who sees what it has done finds the
    lock free.
    """
    _take(address, connection, _ALONE)
    yield
    connection.execute(_LET_GO, (_OWNS, key_of(address.schema)))


def own_alone(address: Address, session: Session) -> None:
    """Take the one owner's lock, which ends with the session; PostgresInUse names who has it.

    Nobody who shared it is there any more: what they had is in nobody's hands from now on.
    """
    _take(address, session.connection, _ALONE)
    session.connection.execute(_END_LEASES)


def own_with_others(address: Address, session: Session) -> None:
    """Take the lock of those that share it; PostgresInUse names who has it alone."""
    _take(address, session.connection, _WITH_OTHERS)


def _take(address: Address, connection: Connection, lock: str) -> None:
    key = (_OWNS, key_of(address.schema))
    for left in reversed(range(_TRIES)):
        if connection.execute(lock, key).fetchall() == [(True,)]:
            return
        present = connection.execute(_PRESENT, key).fetchall()
        if present or not left:
            raise PostgresInUse(address, present)


class PostgresInUse(StoreInUse):
    """Others have the database; ``backends`` are the server's processes behind them.

    There are none when they have just let go.
    """

    def __init__(self, address: Address, present: list[Any]) -> None:
        super().__init__(f"{address.name}, schema {address.schema}, is in use by {_who(present)}")
        self.backends = frozenset(Backend(pid, started) for pid, started, *_ in present)


def _who(present: list[Any]) -> str:
    names = list(dict.fromkeys(_process(*each[:4]) for each in present)) or ["another process"]
    more = len(names) - _NAMED_MAX
    named = ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    return f"{named}, sharing it" if any(shares for *_, shares in present) else named


def _process(pid: int, _started: str, application: str, host: str | None) -> str:
    ours = application.startswith("meerkat ")
    named = (application.split(" ", 2)[-1] if ours else application) or f"session {pid}"
    return named + (f" at {host}" if host else "")
