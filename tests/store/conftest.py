"""Stores to test on, each contract test on both, and one deterministic Hypothesis profile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from copy_builders import Made, store_of
from hypothesis import HealthCheck, settings

from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.store.copyable import CopyableStore

settings.register_profile(
    "store",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database will be; nothing is there yet."""
    return tmp_path / "sessions.db"


@pytest.fixture
def sqlite_store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[RuntimeStore]:
    """Each store in turn, empty."""
    made: RuntimeStore = MemoryStore() if request.param == "memory" else SqliteStore(path)
    yield made
    made.close()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Makes an empty store of a kind; all are closed at the end."""
    with ExitStack() as opened:

        def make(kind: str) -> CopyableStore:
            store = store_of(kind, tmp_path)
            opened.callback(store.close)
            return store

        yield make
