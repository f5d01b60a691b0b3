"""persist-queue: put, get, ack of its SQLiteAckQueue; three commits an item.

It opens WAL and leaves synchronous as SQLite has it, which is FULL. ``get`` looks from the
place of the last one on (``next_in_order``), so that it does not walk over acknowledged
rows.
"""

from __future__ import annotations

from pathlib import Path

from peers.base import QueuePeer
from persistqueue import SQLiteAckQueue


class PersistQueuePeer(QueuePeer):
    """Thread-safe by itself: ``multithreading`` is its own setting."""

    FILE = "data.db"
    COMPLETED = "SELECT count(*) FROM ack_queue_default WHERE status = 5"  # AckStatus.acked

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._queue = SQLiteAckQueue(str(folder), multithreading=True)
        self._last: int | None = None

    def put(self, text: str) -> None:
        self._queue.put(text)

    def work(self) -> str:
        last = self._last
        got = self._queue.get(block=False, raw=True, id=last, next_in_order=last is not None)
        self._last = got["pqid"]
        text: str = got["data"]
        self.answer(text)
        self._queue.ack(id=got["pqid"])
        return text

    def close(self) -> None:
        self._queue.close()
