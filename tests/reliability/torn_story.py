"""A small database with a log: a few commits, and after each what a reader saw of all tables.

Pages have 512 bytes, as small as SQLite has them, so that there are few bytes to cut at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from meerkat.conversation import AppendMessages
from meerkat.identifiers import RuntimeEpochId
from meerkat.input_lifecycle import InputPhase
from meerkat.store import Batch, SqliteStore
from meerkat.testing.store_rows import R1, R2, R3, batch, ended, live, prompt, receipt, row_of

DATABASE: Final = "sessions.db"
WAL: Final = f"{DATABASE}-wal"
PAGE: Final = 512
FRAME: Final = 24 + PAGE
"""A frame of the log: its head, and a page."""
LOG_HEAD: Final = 32

EPOCH: Final = RuntimeEpochId.parse("00000000-0000-7000-8000-000000000001")
TABLES: Final = {
    "runtimes": "1",
    "inputs": "1, 2",
    "receipts": "1, 2, 3",
    "messages": "1, 2",
    "snapshots": "1",
    "operations": "1, 2, 3",
    "begun_operations": "1, 2, 3",
}
"""The tables, and the columns that put their rows in one order."""

Dump = tuple[Any, ...]

BEFORE: Final = (
    batch(R1, row_of(prompt(1, "key-1")), epoch_id=EPOCH),
    batch(R2, row_of(prompt(2), InputPhase.CONSUMED), receipts=(receipt(0, 2),)),
    batch(R3, row_of(prompt(3, "key-3", text="the third's own words"))),
)
COMMITS: Final[Sequence[Batch]] = (
    batch(R1, row_of(prompt(4, "key-4"), sequence=1), after=1, fence=2, epoch_id=EPOCH),
    batch(
        R1,
        row_of(prompt(1, "key-1"), InputPhase.CONSUMED),
        after=2,
        fence=3,
        receipts=(receipt(0, 1),),
        session=(AppendMessages(0, 2, b'["one","two"]'),),
        epoch_id=EPOCH,
    ),
    batch(
        R1, begun=(live(9),), operations=(ended(1, EPOCH),), after=3, fence=4, epoch_id=EPOCH
    ),
)  # fmt: skip


@frozen
class Story:
    """The files as they lie when nobody has closed them, and the history they hold.

    ``history`` has what was there before the first commit of the log, and after each;
    ``ends`` the log's size after each, so that what a part of it holds is known.
    """

    database: bytes
    log: bytes
    history: tuple[Dump, ...]
    ends: tuple[int, ...]

    def commits_in(self, size: int) -> int:
        """How many commits are whole in so much of the log."""
        return sum(end <= size for end in self.ends)

    def commits_before(self, place: int) -> int:
        """How many commits end before the frame that a byte of the log belongs to."""
        if place < LOG_HEAD:
            return 0
        return self.commits_in(place - (place - LOG_HEAD) % FRAME)

    def write_to(self, folder: Path, *, database: bytes | None = None, log: bytes = b"") -> None:
        """Make these the files of a folder."""
        for left in folder.iterdir():
            left.unlink()
        (folder / DATABASE).write_bytes(self.database if database is None else database)
        if log:
            (folder / WAL).write_bytes(log)


def story(folder: Path) -> Story:
    """Tell it anew."""
    path = folder / DATABASE
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("VACUUM")
    store = SqliteStore(path)
    for each in BEFORE:
        store.commit(each)
    store.close()
    database = path.read_bytes()
    history, ends = [dump(path)], []
    for each in COMMITS:
        store.commit(each)
        history.append(dump(path))
        ends.append((folder / WAL).stat().st_size)
    log = (folder / WAL).read_bytes()
    assert path.read_bytes() == database
    store.close()
    return Story(database, log, tuple(history), tuple(ends))


def dump(path: Path) -> Dump:
    """Everything in all tables, through a connection that only reads."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return everything_in(connection)


def everything_in(connection: Any) -> Dump:
    """Everything in all tables."""
    return tuple(
        tuple(connection.execute(f"SELECT * FROM {table} ORDER BY {order}"))
        for table, order in TABLES.items()
    )
