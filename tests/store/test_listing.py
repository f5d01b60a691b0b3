"""Listings of a SQLite file, whatever a row looks like; the rest is what every store promises."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import meerkat.store
from meerkat.store import Order, SqliteStore
from meerkat.testing.store_conformance.summaries import fill
from meerkat.testing.store_rows import R2, R3, START


def test_no_statement_numbers_its_values_which_pythons_to_come_refuse() -> None:
    folder = Path(meerkat.store.__file__).parent
    texts = {path.name: path.read_text() for path in folder.glob("sqlite*.py")}
    assert "sqlite_listing.py" in texts
    assert [name for name, text in texts.items() if re.search(r"[?]\d", text)] == []


def test_a_row_that_cannot_be_read_is_listed_with_what_is_wrong(
    sqlite_store: SqliteStore,
) -> None:
    fill(sqlite_store)
    with sqlite3.connect(sqlite_store.path) as database:
        database.execute("UPDATE runtimes SET state = 'lost' WHERE runtime_id = ?", (R2.value,))
        database.execute("UPDATE inputs SET state = '{' WHERE runtime_id = ?", (R3.value,))
    for order in Order:
        found = {each.name: each for each in sqlite_store.page_summaries(order).items}
        broken, unread = found[R2.value], found[R3.value]
        assert (broken.row, broken.pending, broken.oldest_at) == (None, 2, START)
        assert broken.unreadable is not None
        assert "'lost'" in broken.unreadable
        assert (unread.pending, unread.oldest_at, unread.unreadable) == (1, None, None)
