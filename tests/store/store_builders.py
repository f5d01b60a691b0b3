"""Builders: drivers over a store, and what lies below a store, as tests of the stores need it."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from meerkat import PersistentRuntimeDriver
from meerkat.store import RuntimeStore, SqliteStore
from meerkat.testing.store_rows import R1, START


class Clock:
    """One second later at every look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def driver_over(store: RuntimeStore, *, recovered: bool = True) -> PersistentRuntimeDriver:
    """A driver of R1, recovered where the store knows it."""
    known = store.load_runtime(R1) is not None
    driver = PersistentRuntimeDriver(R1, store, now=Clock())
    if known and recovered:
        driver.recover()
    return driver


QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in memory for tests that open very many files, and need no disk."""


# --- below the store --------------------------------------------------------------------


def sql(path: Path, statement: str, *values: object) -> list[Any]:
    """Run one statement behind the store's back, on a connection of its own."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def dump(path: Path) -> list[Any]:
    """Every stored input, byte for byte."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    try:
        return connection.execute("SELECT * FROM inputs ORDER BY 1, 2").fetchall()
    finally:
        connection.close()


def read_again(path: Path) -> SqliteStore:
    """A second store on the same file: it reads through connections of its own."""
    return SqliteStore(path)
