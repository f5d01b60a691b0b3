"""The writing session of a PostgreSQL store, and its transactions.

What becomes of a transaction is known, or made known. One that was lost before its COMMIT was
sent, or that the server took back, did not happen, and is done again. When the session is lost
with COMMIT under way, another session asks the server what became of it: a server that is
restarted meanwhile remembers. Only where nobody can say it is CommitUnknown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import psycopg
from psycopg import errors

from meerkat.errors import CommitUnknown, StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.store.postgres_migrate import migrate
from meerkat.store.postgres_owning import PostgresInUse
from meerkat.store.postgres_session import Address, Backend, Connection, Session, open_session

T = TypeVar("T")

Write = Callable[[Connection], T]
"""Writes in a transaction, as part of a pipeline."""

Own = Callable[[Address, Session], None]
"""Takes the lock of an owner, which ends with the session; PostgresInUse names who is there."""

_TAKEN_BACK: Final = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.TooManyConnections,
    errors.CannotConnectNow,
)
"""What the server says that is nobody's fault: nothing happened, and the next try may do."""

_FIRST_PAUSE_S: Final = 0.02
_PAUSE_S_MAX: Final = 1.0

_BECAME: Final = (
    "SELECT pg_xact_status(%(xid)s::xid8), EXISTS (SELECT FROM runtimes "
    "WHERE runtime_id = ANY(%(written)s) AND xmin = %(xid)s::xid8::xid)"
)
_END_BACKEND: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid = %s AND backend_start::text = %s"
)


class Again(Exception):
    """Nothing happened, for a reason that may pass."""

    def __init__(self, why: str, waited_s: float = 0.0) -> None:
        super().__init__(why)
        self.waited_s = waited_s


class Patience:
    """Tries again what may work the next time, for so long and no longer. Thread-safe."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.over = threading.Event()
        """Set by who closes the store: nobody waits any more."""

    def tried(self, attempt: Callable[[], T]) -> T:
        """What an attempt gives that is not Again; StoreError when none does."""
        spent_s, pause_s = 0.0, _FIRST_PAUSE_S
        while True:
            try:
                return attempt()
            except Again as again:
                spent_s += pause_s + again.waited_s
                if spent_s > self._address.timeouts.away_s or self.over.wait(pause_s):
                    raise self._address.says(again) from again.__cause__
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)


class Writer:
    """The one session that writes. Thread-safe: one transaction at a time."""

    def __init__(self, address: Address, own: Own) -> None:
        self._address = address
        self._own = own
        self._lock = threading.RLock()
        self._patience = Patience(address)
        self._session: Session | None = None
        self._gone: Backend | None = None
        self._was_open = False
        self._owns = False

    # --- opening and closing ------------------------------------------------------------

    def acquire(self) -> None:
        """Become an owner; StoreError names who is in the way. It does not wait."""
        with self._lock:
            if self._owns:
                raise StoreError(
                    f"{self._address.name} is in use by another control plane of this process"
                )
            fresh = self._session is None
            try:
                self._own(self._address, self._opened())
            except Again as again:
                raise self._address.says(again) from again.__cause__
            except psycopg.Error as error:
                raise self._address.says(self._address.said(error)) from error
            except StoreError:
                if fresh:
                    self._drop()
                raise
            self._owns = True

    def disown(self) -> None:
        """Own it no more; what is asked next is done on another session."""
        with self._lock:
            self._drop()
            self._gone, self._owns = None, False

    def close(self) -> None:
        """Hang up, which gives the ownership back. Idempotent; whoever waits is told."""
        self._patience.over.set()
        with self._lock:
            self._drop()
            self._gone, self._was_open, self._owns = None, False, False
            self._patience.over.clear()

    def _opened(self) -> Session:
        """The session; Again when there is none just now where there was one before."""
        if self._session is not None and not self._session.lost:
            return self._session
        self._drop()
        address = self._address
        try:
            session = open_session(address, writes=True)
        except psycopg.OperationalError as error:
            if not self._was_open:
                raise address.says(address.said(error)) from error
            timed_out = isinstance(error, errors.ConnectionTimeout)
            waited_s = address.timeouts.connect_s if timed_out else 0.0
            raise Again(address.said(error), waited_s) from error
        except psycopg.Error as error:
            raise address.says(address.said(error)) from error
        try:
            self._settle(session)
        except BaseException:
            session.close()
            raise
        self._session, self._was_open = session, True
        reached(FailPoint.STORE_OPENED)
        return session

    def _settle(self, session: Session) -> None:
        """Migrate, and take up again what the session before this one had."""
        address, gone = self._address, self._gone
        try:
            if gone is not None:  # the server may not have noticed: its locks would be held on
                session.connection.execute(_END_BACKEND, (gone.pid, gone.started))
            migrate(address, session)
            if self._owns:
                self._own(address, session)
        except PostgresInUse as in_use:
            if not in_use.backends or gone in in_use.backends:
                raise Again(in_use.text) from in_use
            raise
        except psycopg.Error as error:
            if session.lost or isinstance(error, _TAKEN_BACK):
                raise Again(address.said(error)) from error
            raise address.says(address.said(error)) from error
        self._gone = None

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._gone = session.backend
            session.close()

    # --- transactions -------------------------------------------------------------------

    def transact(self, write: Write[T], written: Sequence[str] = ()) -> T:
        """Run ``write`` in a transaction: all of it is durable on return, or none of it.

        ``written`` names runtimes whose rows it writes: by them is known what became of it when
        its COMMIT is in doubt. Without any it may be done twice. Lets through what the server
        says of what is written; anything else is a StoreError.
        """
        with self._lock:
            return self._patience.tried(lambda: self._transact(write, written))

    def tell(self, statement: str, values: Sequence[object]) -> None:
        """Run a statement that does no harm when it is not run: not where there is no session."""
        with self._lock:
            session = self._session
            try:
                if session is not None:
                    session.connection.execute(statement, values)
            except psycopg.Error:  # the next call finds the session lost
                pass

    def _transact(self, write: Write[T], written: Sequence[str]) -> T:
        session = self._opened()
        connection = session.connection
        xid: str | None = None
        try:
            with connection.pipeline():
                connection.execute("BEGIN", prepare=True)
                asked = connection.execute("SELECT pg_current_xact_id()::text", prepare=True)
                reached(FailPoint.TRANSACTION_BEGUN)
                result = write(connection)
                ((number,),) = asked.fetchall()
                reached(FailPoint.COMMIT_DUE)
                xid = number  # from here on it may have happened
                ended = connection.execute("COMMIT", prepare=True)
        except psycopg.Error as error:
            self._failed(session, error, xid, written)
        except BaseException:
            if xid is None:
                self._roll_back(session)
            else:
                self._drop()
            raise
        else:
            if ended.statusmessage != "COMMIT":
                raise self._address.says(f"the server answered COMMIT with {ended.statusmessage}")
        reached(FailPoint.COMMIT_DONE)
        return result

    def _failed(
        self, session: Session, error: psycopg.Error, xid: str | None, written: Sequence[str]
    ) -> None:
        """Raise why a transaction did not happen; only where it is known to have, return."""
        why = self._address.said(error)
        if xid is None or not session.lost:  # who is there says that it did not
            self._roll_back(session)
            if session.lost or isinstance(error, _TAKEN_BACK):
                raise Again(why) from error
            raise error
        self._drop()
        if written and self._became(session.backend, xid, written, why):
            return
        raise Again(why) from error

    def _roll_back(self, session: Session) -> None:
        try:
            if not session.lost:
                session.connection.execute("ROLLBACK")
        except psycopg.Error:
            pass
        if session.lost:
            self._drop()

    # --- doubt --------------------------------------------------------------------------

    def _became(self, gone: Backend, xid: str, written: Sequence[str], why: str) -> bool:
        """Did a transaction happen, whose session was lost at its COMMIT? Raises CommitUnknown."""

        def asked() -> bool | None:
            address = self._address
            try:
                session = open_session(address, writes=False)
            except psycopg.OperationalError as error:
                raise Again(address.said(error)) from error
            try:
                return self._told(session, gone, xid, written)
            finally:
                session.close()

        try:
            became = self._patience.tried(asked)
        except (StoreError, psycopg.Error) as error:
            raise CommitUnknown(f"{self._address.name}: {why}") from error
        if became is None:
            raise CommitUnknown(f"{self._address.name}: {why}")
        return became

    @staticmethod
    def _told(session: Session, gone: Backend, xid: str, written: Sequence[str]) -> bool | None:
        """What the server says of a transaction; None when it cannot say.

        A number that never came to its disk it may give again after a crash: a transaction of
        this number that was committed is ours if one of the rows says that it was written by it.
        """
        asked = {"xid": xid, "written": list(written)}
        try:
            ((status, ours),) = session.connection.execute(_BECAME, asked).fetchall()
        except errors.InvalidParameterValue:  # it has not come to this number yet
            return False
        except psycopg.OperationalError as error:
            if session.lost:
                raise Again(str(error)) from error
            raise
        if status == "in progress":
            session.connection.execute(_END_BACKEND, (gone.pid, gone.started))
            raise Again("the commit is still under way")
        if status == "committed":
            return True if ours else None
        return False if status == "aborted" else None
