"""The floor: PostgreSQL alone doing the same two writes, each a transaction of one statement."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psycopg
from peers.base import Item, windows
from peers.raw_sqlite import DIGEST
from peers.server import PeerOnServer
from uuid6 import uuid7

SCHEMA = (
    'CREATE TABLE accepted (session text COLLATE "C", id uuid, key text, body text)',
    "CREATE UNIQUE INDEX accepted_by_id ON accepted (id, session)",
    "CREATE UNIQUE INDEX accepted_by_key ON accepted (session, key)",
    """CREATE TABLE receipts (
        session text COLLATE "C", run_id uuid, sequence bigint, item_id uuid, digest text,
        PRIMARY KEY (session, run_id, sequence)
    )""",
)
ACCEPT = (
    "INSERT INTO accepted SELECT * "
    "FROM unnest(%s::text[], %s::uuid[], %s::text[], %s::text[]) AS given"
)
RECEIPT = (
    "INSERT INTO receipts SELECT * "
    "FROM unnest(%s::text[], %s::uuid[], %s::bigint[], %s::uuid[], %s::text[]) AS given"
)


class RawPostgres(PeerOnServer):
    """One commit for the acceptance of one item, another for its receipt."""

    COMPLETED = (
        "SELECT count(*) FROM accepted JOIN receipts "
        "ON accepted.session = receipts.session AND accepted.id = receipts.item_id"
    )
    ITEMS_A_COMMIT: ClassVar[int] = 1

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lock = threading.Lock()
        self._connection = psycopg.connect(self.url, autocommit=True, prepare_threshold=2)
        for statement in SCHEMA:
            self._connection.execute(statement)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock:
            columns = [list(column) for column in zip(*rows, strict=True)]
            self._connection.execute(statement, columns)  # type: ignore[arg-type]

    def pipelined(self, items: Sequence[Item]) -> None:
        for window in windows(items, self.ITEMS_A_COMMIT):
            self._work(window)

    def call(self, item: Item) -> None:
        self._work([item])

    def _work(self, items: Sequence[Item]) -> None:
        ids = [str(uuid7()) for _ in items]
        self._write(
            ACCEPT,
            [
                (item.session, one, f"key-{item.number}", item.text)
                for item, one in zip(items, ids, strict=True)
            ],
        )
        for item in items:
            self.answer(item.text)
        self._write(
            RECEIPT,
            [
                (item.session, str(uuid7()), 0, one, DIGEST)
                for item, one in zip(items, ids, strict=True)
            ],
        )

    def close(self) -> None:
        self._connection.close()


class RawPostgres500(RawPostgres):
    """The same rows, 500 items in a commit."""

    ITEMS_A_COMMIT: ClassVar[int] = 500
