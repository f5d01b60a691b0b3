"""A plane with something in it, and its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from page_builders import TOKEN, planted

from actors import ControlPlane
from actors.dashboard import Dashboard
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, path: Path) -> RuntimeStore:
    return SqliteStore(path) if request.param == "sqlite" else MemoryStore()


@pytest.fixture
def plane(store: RuntimeStore) -> Iterator[ControlPlane]:
    with planted(store) as plane:
        yield plane


@pytest.fixture
def page(plane: ControlPlane) -> Dashboard:
    return Dashboard(plane, token=TOKEN, allow_actions=True)
