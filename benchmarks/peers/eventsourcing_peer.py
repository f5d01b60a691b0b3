"""eventsourcing: one aggregate a session, an event for accept and one for complete.

Two commits an item, each its own ``save``. Its SQLite recorder opens WAL and leaves
synchronous as SQLite has it, which is FULL. The aggregates stay in memory, so that none is
ever read back; one thread saves at a time, as more of them only wait for SQLite's lock.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from peers.base import SESSIONS, Item, Peer


class Session(Aggregate):
    """What a session has taken in, and what became of it."""

    class Accepted(Aggregate.Event):
        """An item is there."""

        number: int
        text: str

    class Completed(Aggregate.Event):
        """An item has its answer."""

        number: int
        reply: str


class EventSourcingPeer(Peer):
    """An application over its SQLite persistence module."""

    COMPLETED = "SELECT count(*) FROM stored_events WHERE topic LIKE '%Completed'"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lock = threading.Lock()
        self._application = Application(
            {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(self.file)}
        )
        self._sessions = {f"session-{number}": Session() for number in range(SESSIONS)}
        self._application.save(*self._sessions.values())

    def pipelined(self, items: Sequence[Item]) -> None:
        for item in items:
            self.call(item)

    def call(self, item: Item) -> None:
        self.settle(self.accept(item))

    def accept(self, item: Item) -> Item:
        session = self._sessions[item.session]
        with self._lock:
            session.trigger_event(Session.Accepted, number=item.number, text=item.text)
            self._application.save(session)
        return item

    def settle(self, accepted: Item) -> None:
        session = self._sessions[accepted.session]
        reply = self.answer(accepted.text)
        with self._lock:
            session.trigger_event(Session.Completed, number=accepted.number, reply=reply)
            self._application.save(session)

    def close(self) -> None:
        self._application.close()
