"""The lease of a process that shares a PostgreSQL schema: a row that says how long it is there.

It is renewed on a session of its own, which no commit holds up. The row outlasts the session:
a server that restarts, or a session that is cut off, ends no lease. All times are the server's.
"""

from __future__ import annotations

import math
import platform
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from attrs import evolve

from meerkat.errors import StoreError
from meerkat.store.ownership import StoreInUse, this_process
from meerkat.store.postgres_hints import channel_of
from meerkat.store.postgres_owning import Owner, own_with_others, wait_to_join
from meerkat.store.postgres_session import Address, Connection, Session, open_session
from meerkat.store.postgres_statements import LIVING, NOTIFY
from meerkat.store.sharing import Sharing

T = TypeVar("T")

_FORGOTTEN: Final = "1 hour"
"""How long the row of one that did not say goodbye is kept, for people to see."""

_UNTIL: Final = "clock_timestamp() + make_interval(secs => %(lease_s)s::float8)"
_RENEW: Final = (
    f"UPDATE owners SET lease_until = {_UNTIL} WHERE id = %(id)s AND {LIVING} RETURNING id"
)
_OTHERS_COUNT: Final = (
    "SELECT name, process, shard_of FROM owners "
    f"WHERE {LIVING} AND shard_of <> %(of)s AND name IS DISTINCT FROM %(name)s "
    "ORDER BY lease_until DESC LIMIT 1"
)
_NAMESAKE: Final = "SELECT process FROM owners WHERE name = %(name)s AND id <> %(id)s"
_FORGET: Final = (
    "DELETE FROM owners "
    f"WHERE lease_until < clock_timestamp() - interval '{_FORGOTTEN}' "
    "AND name IS DISTINCT FROM %(name)s"
)
_JOIN: Final = (
    "WITH fresh AS (SELECT coalesce(%(id)s::bigint, nextval('owners_id_seq')) AS id) "
    "INSERT INTO owners (id, name, process, sessions, lease_until, shard_number, shard_of) "
    "SELECT id, coalesce(%(name)s::text, %(process)s::text || ' #' || id), %(process)s, %(tag)s, "
    f"{_UNTIL}, %(number)s, %(of)s FROM fresh ON CONFLICT (name) DO UPDATE SET id = excluded.id, "
    "process = excluded.process, sessions = excluded.sessions, lease_until = excluded.lease_until, "
    "shard_number = excluded.shard_number, shard_of = excluded.shard_of RETURNING id, name"
)
CUT_OFF_THE_LATE: Final = (
    "WITH late AS (SELECT sessions FROM owners "
    f"WHERE (NOT {LIVING} OR name = %(name)s) AND sessions <> %(tag)s) "
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE EXISTS (SELECT FROM late) AND datname = current_database() "
    "AND xact_start IS NOT NULL AND pid <> pg_backend_pid() "
    "AND split_part(application_name, ' ', 2) = ANY (ARRAY(SELECT sessions FROM late))"
)
"""End the transactions of those whose lease is over, and of a namesake: a process that was
stopped within one would hold its rows. What it wrote there is not committed, and it is told.
It is nobody else's: each store has a word of its own, by which its sessions go."""

_LEAVE: Final = "DELETE FROM owners WHERE id = %(id)s"


class Lease:
    """The lease of one process. Thread-safe."""

    def __init__(self, address: Address, sharing: Sharing) -> None:
        self._address = in_a_hurry(address, sharing.lease_s)
        self._sharing = sharing
        self._lock = threading.Lock()
        self._session: Session | None = None
        self.owner: Owner | None = None
        """Who this process is among the owners; None before it joins them, and after."""

    def join(self) -> None:
        """Become one of the owners; a namesake's lease is over. StoreError says who objects."""
        with self._lock:
            self.owner = self._asked(lambda connection: self._joined(connection, None))

    def renew(self) -> bool:
        """Renew the lease; did it still run? A server that is away is a StoreError at once.

        StoreInUse when another has come under this name, or with another count of shards while
        the lease was over.
        """
        with self._lock:
            me = self.owner
            if me is None:
                raise self._address.says("it has no lease to renew: acquire it first")
            return self._asked(lambda connection: self._renewed(connection, me))

    def leave(self) -> None:
        """End the lease at once, so that others may take over; without a server it runs out."""
        with self._lock:
            me, self.owner = self.owner, None
            everybody = channel_of(self._address.schema, None)
            try:
                if me is not None:
                    self._asked(lambda connection: connection.execute(_LEAVE, {"id": me.id}))
                    self._asked(lambda connection: connection.execute(NOTIFY, ([everybody],)))
            except StoreError:
                pass
            finally:
                self._hang_up()

    def _renewed(self, connection: Connection, me: Owner) -> bool:
        asked = {"id": me.id, "lease_s": self._sharing.lease_s}
        if connection.execute(_RENEW, asked).fetchall():
            return True
        self._joined(connection, me)  # it was over: nothing is sure now
        return False

    def _joined(self, connection: Connection, me: Owner | None) -> Owner:
        """Write the row, of one that comes or of one whose lease was over."""
        asked = self._row(me)
        with connection.transaction():
            wait_to_join(self._address, connection)  # which no renewal waits for
            if me is not None:
                for (process,) in connection.execute(_NAMESAKE, asked).fetchall():
                    raise StoreInUse(f"{self._address.name}: {process} has come as {me.name}")
            for name, process, of in connection.execute(_OTHERS_COUNT, asked).fetchall():
                raise StoreInUse(
                    f"{self._address.name}, schema {self._address.schema}, is divided into {of} "
                    f"shards by {name} ({process}), and into {asked['of']} here"
                )
            connection.execute(CUT_OFF_THE_LATE, asked)
            connection.execute(_FORGET, asked)
            ((number, name),) = connection.execute(_JOIN, asked).fetchall()
        return Owner(number, name)

    def _row(self, me: Owner | None) -> dict[str, Any]:
        shard = self._sharing.shard
        return {
            "id": None if me is None else me.id,
            "name": self._sharing.name if me is None else me.name,
            "process": f"{this_process()} at {platform.node()}",
            "tag": self._address.tag,
            "lease_s": self._sharing.lease_s,
            "number": None if shard is None else shard.number,
            "of": None if shard is None else shard.of,
        }

    def _asked(self, ask: Callable[[Connection], T]) -> T:
        """What the server answers, on another session when this one was lost meanwhile."""
        address, before = self._address, self._session
        try:
            try:
                return ask(self._opened().connection)
            except psycopg.OperationalError:
                if self._session is None or self._session is not before or not before.lost:
                    raise
                return ask(self._opened().connection)
        except psycopg.Error as error:
            raise address.says(address.said(error)) from error

    def _opened(self) -> Session:
        """The session, with the lock of those that share the schema."""
        if self._session is not None and not self._session.lost:
            return self._session
        self._hang_up()
        session = open_session(self._address, writes=True)
        try:
            own_with_others(self._address, session)
        except BaseException:
            session.close()
            raise
        self._session = session
        return session

    def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def in_a_hurry(address: Address, lease_s: float) -> Address:
    """The same address, for calls that are of no use any more when the lease is over."""
    timeouts, most_s = address.timeouts, max(1, math.ceil(lease_s))
    hurried = evolve(
        timeouts,
        connect_s=min(timeouts.connect_s, most_s),
        statement_s=min(timeouts.statement_s, most_s),
        lock_s=min(timeouts.lock_s, most_s),
    )
    return evolve(address, timeouts=hurried)
