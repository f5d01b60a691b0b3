"""Sessions: connections to PostgreSQL that are ours: recognised, set up, never waiting for ever.

A session that cannot be had is a StoreError that names the host and the database, and what the
server said; a password is in none of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import psycopg
from attrs import define, field, frozen
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8BinaryDumper

from meerkat.errors import StoreError
from meerkat.minting import fresh_uuid
from meerkat.store.ownership import this_process
from meerkat.store.postgres_arrays import take_arrays
from meerkat.store.postgres_schema import POSTGRES_VERSION_MIN

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SAID_CHARS_MAX: Final = 500


@frozen(kw_only=True)
class PostgresTimeouts:
    """How long a call waits, in seconds, and for what."""

    connect_s: int = 10
    """For the server to take a connection."""
    statement_s: int = 60
    """For a statement, a commit's included."""
    lock_s: int = 10
    """For a lock that another session holds."""
    away_s: int = 30
    """For a server that was there and has gone, to restart say."""


@define
class Address:
    """Which database, in the words of libpq, and which schema in it."""

    url: str = field(repr=False)
    schema: str
    timeouts: PostgresTimeouts
    tag: str = field(factory=lambda: f"{fresh_uuid().int & 0xFFFFFFFF:08x}")
    """What tells the sessions of one store from those of another, in the name they go by."""
    info: dict[str, Any] = field(init=False, repr=False)
    name: str = field(init=False)
    """What errors call it: host, port, database; no user, no password."""

    def __attrs_post_init__(self) -> None:
        if not _SCHEMA_NAME.fullmatch(self.schema):
            raise StoreError(f"{self.schema!r} is no name of a schema: a-z, 0-9 and _, 63 at most")
        try:
            info = conninfo_to_dict(self.url)
        except psycopg.ProgrammingError:  # its text quotes the URL, and so the password
            raise StoreError("not a URL that PostgreSQL's library can read") from None
        self.info = {
            "connect_timeout": self.timeouts.connect_s,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 1_000 * self.timeouts.statement_s,
            **info,
            "client_encoding": "UTF8",
        }
        self.name = _named(info)

    def another(self) -> Address:
        """The same, for the sessions of another store."""
        return Address(self.url, self.schema, self.timeouts)

    def says(self, text: object) -> StoreError:
        """The error that says this of the database."""
        return StoreError(f"{self.name}: {text}")

    def said(self, error: Exception) -> str:
        """What the server or its library said, on one line, and without the password."""
        text = " ".join(str(error).split())[:_SAID_CHARS_MAX]
        password = str(self.info.get("password") or "")
        return text.replace(password, "***") if password else text or type(error).__name__


def _named(info: Mapping[str, Any]) -> str:
    host, port = str(info.get("host") or ""), info.get("port")
    at_socket = host.startswith("/")
    place = "" if at_socket else host + (f":{port}" if port else "")
    name = f"postgresql://{place}/{info.get('dbname') or ''}"
    return f"{name}?host={host}" if at_socket else name


@frozen
class Backend:
    """The server's process behind a session: a pid alone may be another's by now."""

    pid: int
    started: str


@define(eq=False)
class Session:
    """A connection that is set up, and what it has found."""

    connection: Connection
    backend: Backend

    @property
    def lost(self) -> bool:
        """Is there nobody at the other end any more?"""
        return self.connection.closed or self.connection.broken

    def close(self) -> None:
        """Hang up. Never raises."""
        self.connection.close()


_SET_UP: Final = (
    "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)"
)
_KEEP_WAITING: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
_WHO: Final = (
    "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
    "current_setting('server_encoding'), pid, backend_start::text "
    "FROM pg_stat_activity WHERE pid = pg_backend_pid()"
)


def _settings(address: Address, *, writes: bool) -> dict[str, str]:
    timeouts = address.timeouts
    settings = {
        "application_name": f"meerkat {address.tag} {this_process()}",
        "search_path": address.schema,
        "statement_timeout": f"{timeouts.statement_s}s",
        "lock_timeout": f"{timeouts.lock_s}s",
        "idle_in_transaction_session_timeout": f"{timeouts.statement_s}s",
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
        "jit": "off",
    }
    if writes:
        # Every row of a commit is found by its key. Of a table that is new the planner knows
        # nothing yet, and would rather read the whole of it; and it need not think twice.
        settings |= {"enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}
        settings |= {"default_transaction_isolation": "read committed"}
    return settings


def connected(address: Address) -> Connection:
    """A bare connection; psycopg.OperationalError when there is none to be had."""
    return psycopg.Connection.connect(**address.info, autocommit=True, prepare_threshold=2)


def set_up(address: Address, connection: Connection, *, writes: bool) -> Session:
    """Make a connection ours; StoreError for a server that cannot hold a store.

    It changes nothing in the database.
    """
    connection.adapters.register_dumper(int, Int8BinaryDumper)
    take_arrays(connection.adapters)
    settings = _settings(address, writes=writes)
    with connection.pipeline():
        connection.execute(_SET_UP, (list(settings), list(settings.values())))
        connection.execute(_KEEP_WAITING)
        who = connection.execute(_WHO)
    row = who.fetchone()
    assert row is not None  # noqa: S101 - a session is always in its own list
    number, version, encoding, pid, started = row
    if number < POSTGRES_VERSION_MIN:
        wanted = POSTGRES_VERSION_MIN // 10_000
        raise address.says(f"PostgreSQL {version} is too old: {wanted} is needed")
    if encoding != "UTF8":
        raise address.says(f"the database's encoding is {encoding}; it has to be UTF8")
    return Session(connection, Backend(pid, started))


def open_session(address: Address, *, writes: bool) -> Session:
    """Connect and set up; psycopg.OperationalError when there is no connection to be had."""
    connection = connected(address)
    try:
        return set_up(address, connection, writes=writes)
    except BaseException:
        connection.close()
        raise
