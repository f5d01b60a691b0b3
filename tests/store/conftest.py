"""Stores to test on, each contract test on both, and one deterministic Hypothesis profile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from meerkat.store import MemoryStore, RuntimeStore, SqliteStore

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
