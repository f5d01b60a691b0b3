"""The floor: SQLite alone doing the same two writes, an accept row and a receipt row.

The rows have the identities that ours have, and the unique indexes that hold them: an input
has an id and an idempotency key, a receipt the id of its run and what it consumed. Nothing
is decided, no state and no session is kept, nobody is told.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from peers.base import Item, Peer, windows
from uuid6 import uuid7

SCHEMA = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "CREATE TABLE accepted (session TEXT, id TEXT, key TEXT, body TEXT)",
    "CREATE UNIQUE INDEX accepted_by_id ON accepted (session, id)",
    "CREATE UNIQUE INDEX accepted_by_key ON accepted (session, key)",
    """CREATE TABLE receipts (
        session TEXT, run_id TEXT, sequence INTEGER, item_id TEXT, digest TEXT,
        PRIMARY KEY (session, run_id, sequence)
    ) WITHOUT ROWID""",
)
PAGE_BYTES = 4096
FULL_LOG_PAGES = 1_000  # where SQLite begins to write over its log
DIGEST = "0" * 64


class RawSqlite(Peer):
    """One commit for the acceptance of one item, another for its receipt."""

    COMPLETED = (
        "SELECT count(*) FROM accepted JOIN receipts "
        "ON accepted.session = receipts.session AND accepted.id = receipts.item_id"
    )
    ITEMS_A_COMMIT: ClassVar[int] = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        for statement in SCHEMA:
            self._connection.execute(statement)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(statement, rows)
            self._connection.execute("COMMIT")

    def pipelined(self, items: Sequence[Item]) -> None:
        for window in windows(items, self.ITEMS_A_COMMIT):
            ids = [str(uuid7()) for _ in window]
            self.accept_all(window, ids)
            for item in window:
                self.answer(item.text)
            self.complete_all(window, ids)

    def call(self, item: Item) -> None:
        self.pipelined([item])

    def accept_all(self, items: Sequence[Item], ids: Sequence[str]) -> None:
        """One commit of the accept rows."""
        rows = [
            (item.session, item_id, f"key-{item.number}", item.text)
            for item, item_id in zip(items, ids, strict=True)
        ]
        self._write("INSERT INTO accepted VALUES (?, ?, ?, ?)", rows)

    def complete_all(self, items: Sequence[Item], ids: Sequence[str]) -> None:
        """One commit of the receipt rows."""
        rows = [
            (item.session, str(uuid7()), 0, item_id, DIGEST)
            for item, item_id in zip(items, ids, strict=True)
        ]
        self._write("INSERT INTO receipts VALUES (?, ?, ?, ?, ?)", rows)

    def close(self) -> None:
        self._connection.close()


class RawSqlite500(RawSqlite):
    """The ceiling of any group commit."""

    ITEMS_A_COMMIT = 500


class RawCommit(RawSqlite):
    """One row of 500 bytes in one commit, in a table without any index.

    Its log has been full once, as that of a peer is after the warm-up: to write over it is
    faster than to make it grow, which these small commits would do all the time.
    """

    COMPLETED = "SELECT count(*) FROM bodies"
    RUNS = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._connection.execute("CREATE TABLE filling (body TEXT)")
        self._write("INSERT INTO filling VALUES (?)", [("x" * PAGE_BYTES,)] * FULL_LOG_PAGES)
        self._connection.execute("CREATE TABLE bodies (body TEXT)")

    def accept(self, item: Item) -> Item:
        self._connection.execute("INSERT INTO bodies VALUES (?)", (item.text,))
        return item

    def settle(self, accepted: Item) -> None:
        """Leave it at that."""
