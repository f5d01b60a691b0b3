"""DBOS: one workflow an item, its system database in SQLite; two commits, begun and ended.

Left alone it keeps SQLite's rollback journal; WAL and full sync are set on each connection
its engine makes. A small pool: with the default of 20, its threads wait for SQLite's lock
and it is slower. A caller that waits calls the workflow as a function, which runs it in the
caller's thread, with the same two commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from peers.base import Item, Peer

POOL_SIZE = 2
THREADS = 8


def full_sync(connection: Any, _record: Any) -> None:
    """Set a new connection of the engine to WAL and full sync."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


class DbosPeer(Peer):
    """No conductor, no telemetry: it talks to nobody."""

    COMPLETED = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        sa.event.listen(sa.Engine, "connect", full_sync)
        DBOS(
            config={
                "name": "compare",
                "system_database_url": f"sqlite:///{self.file}",
                "log_level": "ERROR",
                "sys_db_pool_size": POOL_SIZE,
                "max_executor_threads": THREADS,
            }
        )
        run = lambda text: self.answer(text)  # noqa: E731, PLW0108 - it takes no method
        self._workflow = DBOS.workflow(name="answer")(run)
        DBOS.launch()

    def pipelined(self, items: Sequence[Item]) -> None:
        begun = [self.accept(item) for item in items]
        for handle in begun:
            handle.get_result()

    def call(self, item: Item) -> None:
        self._workflow(item.text)

    def accept(self, item: Item) -> Any:
        return DBOS.start_workflow(self._workflow, item.text)

    def settle(self, accepted: Any) -> None:
        accepted.get_result()

    def close(self) -> None:
        DBOS.destroy()
