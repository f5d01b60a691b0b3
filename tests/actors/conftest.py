"""Planes on a database of their own, all of which are stopped at the end of a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plane_builders import Agent, OpenPlane

from actors import ControlPlane
from meerkat.limits import Backoff
from meerkat.store import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def open_plane(path: Path) -> Iterator[OpenPlane]:
    """Start a plane; on the test's own database unless it is given a store."""
    planes: list[ControlPlane] = []
    agents: list[Agent] = []

    def start(executor: Any = None, **settings: Any) -> ControlPlane:
        store = settings.pop("store", None)
        settings.setdefault("backoff", Backoff(base_s=0.001))
        settings.setdefault("grace_s", 0.05)
        plane = ControlPlane(store or SqliteStore(path), executor, **settings)
        planes.append(plane.start())
        if isinstance(executor, Agent):
            agents.append(executor)
        return plane

    yield start
    for agent in agents:
        agent.release()
    for plane in planes:
        plane.stop()


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Agent) -> ControlPlane:
    """A plane with an executor and one runtime, "a"."""
    plane = open_plane(agent)
    plane.register("a")
    return plane


@pytest.fixture
def quiet_plane(open_plane: OpenPlane) -> ControlPlane:
    """A plane without an executor and one runtime, "a"."""
    plane = open_plane()
    plane.register("a")
    return plane
