"""huey: a task for each item on SqliteHuey; three commits: enqueue, dequeue, the result.

``fsync=True`` is its own setting for full sync. The caller does what huey's consumer does,
``dequeue`` and ``execute``: the consumer's threads poll, and were slower, pipelined by a
quarter and for one caller by half or more. The result stays stored, as a receipt does.
"""

from __future__ import annotations

import logging
from pathlib import Path

from huey import SqliteHuey
from peers.base import QueuePeer


class HueyPeer(QueuePeer):
    """Between dequeue and result an item is nowhere: a crash there loses it."""

    COMPLETED = "SELECT count(*) FROM kv"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        logging.getLogger("huey").setLevel(logging.WARNING)
        self._huey = SqliteHuey("peer", filename=str(self.file), fsync=True)
        self._task = self._huey.task()(self.answer)

    def put(self, text: str) -> None:
        self._task(text)

    def work(self) -> str:
        task = self._huey.dequeue()
        self._huey.execute(task)
        text: str = task.args[0]
        return text

    def close(self) -> None:
        self._huey.storage.close()
