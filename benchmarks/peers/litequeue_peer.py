"""litequeue: put, pop, done; three commits an item.

It switches to WAL and synchronous NORMAL when it opens; the connection is a public
attribute, so full sync is set on it right after. One connection and one lock: two
connections only wait for each other's transaction, and were slower.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import ClassVar

from litequeue import LiteQueue
from peers.base import Item, QueuePeer


class LiteQueuePeer(QueuePeer):
    """At full sync."""

    COMPLETED = "SELECT count(*) FROM Queue WHERE status = 2"  # MessageStatus.DONE
    SYNCHRONOUS: ClassVar[str] = "FULL"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lock = threading.Lock()
        self._queue = LiteQueue(self.file)
        self._queue.conn.execute(f"PRAGMA synchronous = {self.SYNCHRONOUS}")

    def put(self, text: str) -> None:
        with self._lock:
            self._queue.put(text)

    def work(self) -> str:
        with self._lock:
            message = self._queue.pop()
        text: str = message.data
        self.answer(text)
        with self._lock:
            self._queue.done(message.message_id)
        return text

    def close(self) -> None:
        self._queue.conn.close()


class LiteQueueWithWorker(LiteQueuePeer):
    """A thread of its own runs the items, as with ours, and tells the caller who waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._there: SimpleQueue[bool] = SimpleQueue()  # one entry for each item put in
        self._ended: dict[str, threading.Event] = {}
        self._worker = threading.Thread(target=self._work_all, daemon=True)
        self._worker.start()

    def _work_all(self) -> None:
        while self._there.get():
            self._ended.pop(self.work()).set()

    def _begin(self, item: Item) -> threading.Event:
        end = self._ended[item.text] = threading.Event()
        self.put(item.text)
        self._there.put(True)  # noqa: FBT003 - False ends the worker
        return end

    def pipelined(self, items: Sequence[Item]) -> None:
        for end in [self._begin(item) for item in items]:
            end.wait()

    def call(self, item: Item) -> None:
        self._begin(item).wait()

    def close(self) -> None:
        self._there.put(False)  # noqa: FBT003
        self._worker.join()
        super().close()


class LiteQueueAsShipped(LiteQueuePeer):
    """As it comes: a commit may be lost when the machine goes down."""

    SYNCHRONOUS = "NORMAL"
