"""Hints: notifications of the server that there may be something to look at.

None says more than that, and none is counted on: one that is sent while nobody listens is
gone. A session that listens from now on is a hint itself. Each owner has a channel of its own,
and one is everybody's.
"""

from __future__ import annotations

import os
import selectors
import threading
from io import FileIO

import psycopg

from meerkat.errors import StoreError
from meerkat.store.postgres_owning import Owner, key_of
from meerkat.store.postgres_session import Address, Session, open_session


def channel_of(schema: str, owner_id: int | None) -> str:
    """The channel of an owner; everybody's for None, what nobody has say."""
    common = f"meerkat_{key_of(schema):08x}"
    return common if owner_id is None else f"{common}_{owner_id}"


class Hints:
    """Waits for hints, on a session of its own. Thread-safe: one thread waits at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._waits = threading.Lock()
        self._session: Session | None = None
        self._heard_as: Owner | None = None
        self._alarm = Alarm()

    def wait(self, timeout_s: float, me: Owner | None) -> bool:
        """Wait for a hint, for so long; False without one. It may end early; it never raises.

        Without a server it waits the time out.
        """
        if not self._waits.acquire(timeout=timeout_s):
            return False
        try:
            fresh = self._listen(me)
            if fresh:
                return True
            session = self._session
            heard = None if session is None else session.connection.fileno()
            return self._alarm.wait(timeout_s, heard) and self._heard()
        except (psycopg.Error, StoreError, OSError):
            self._hang_up()
            return False
        finally:
            self._waits.release()

    def hurry(self) -> None:
        """End the wait, or the next one."""
        self._alarm.ring()

    def close(self) -> None:
        """Hang up; who waits is told that there is no hint. Idempotent."""
        self._alarm.ring()
        with self._waits:
            self._hang_up()
            self._alarm.close()

    def _listen(self, me: Owner | None) -> bool:
        """Have a session that listens, if there is one to be had; was it opened just now?"""
        if self._session is not None and not self._session.lost and self._heard_as == me:
            return False
        self._hang_up()
        try:
            session = open_session(self._address, writes=False)
        except (psycopg.Error, StoreError):
            return False
        mine = [] if me is None else [me.id]
        try:
            for channel in (channel_of(self._address.schema, each) for each in (None, *mine)):
                session.connection.execute(f"LISTEN {channel}")
        except psycopg.Error:  # one in recovery does not let anybody listen
            session.close()
            return False
        self._session, self._heard_as = session, me
        return True

    def _heard(self) -> bool:
        """Take what has come; was there a hint in it?"""
        if self._session is None:
            return False
        server = self._session.connection.pgconn
        server.consume_input()
        hints = 0
        while server.notifies() is not None:
            hints += 1
        return hints > 0

    def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


class Alarm:
    """Waits until a file can be read, or somebody rings. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: tuple[FileIO, FileIO] | None = None

    def ring(self) -> None:
        """End the wait, or the next one."""
        with self._lock:
            self._pipe()[1].write(b"!")  # what is full has rung already

    def wait(self, timeout_s: float, file: int | None) -> bool:
        """Wait for a file, so long at most; False when somebody has rung, or time is over."""
        with self._lock:
            rings = self._pipe()[0]
        with selectors.DefaultSelector() as selector:
            selector.register(rings, selectors.EVENT_READ)
            if file is not None:
                selector.register(file, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select(timeout_s)}
        if rings in ready:
            rings.read()
        return file in ready

    def close(self) -> None:
        """Forget what has rung. Nobody waits."""
        with self._lock:
            ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()

    def _pipe(self) -> tuple[FileIO, FileIO]:
        if self._ends is None:
            ends = os.pipe()
            for end in ends:
                os.set_blocking(end, False)
            self._ends = FileIO(ends[0], "r"), FileIO(ends[1], "w")
        return self._ends
