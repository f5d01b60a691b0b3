"""Planes on a database of their own, all of which are stopped at the end of a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aio_builders import LOOPS, Main, OnLoop, performed
from plane_builders import WAIT_S, Agent, OpenPlane, Puppet
from plane_stores import FrozenDisk
from restart_builders import Plant, planter

from actors import ControlPlane, DriverThreads
from actors.run_loop import RunLoop
from actors.run_places import RunThreads
from meerkat.limits import Backoff
from meerkat.store import SqliteStore

IN_BOTH_MODES = frozenset(
    {
        "test_figures",
        "test_runs_in_hand",
        "test_supervision",
        "test_plane_boundary_commits",
        "test_plane_callers",
        "test_plane_completions",
        "test_plane_continuation_orders",
        "test_plane_driver_restarts",
        "test_plane_events",
        "test_plane_lifecycle",
        "test_plane_limits",
        "test_plane_op_owners",
        "test_plane_order",
        "test_plane_passivation",
        "test_plane_passivation_races",
        "test_plane_retries",
        "test_plane_set_aside",
        "test_plane_stopping",
        "test_plane_store_faults",
        "test_plane_unregister",
        "test_plane_watch",
    }
)
"""The tests that are run with pooled drivers, and with one thread for each."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "drivers" in metafunc.fixturenames and metafunc.module.__name__ in IN_BOTH_MODES:
        metafunc.parametrize("drivers", list(DriverThreads), indirect=True, ids=str)


@pytest.fixture
def drivers(request: pytest.FixtureRequest) -> DriverThreads:
    """Which threads drive the runtimes of the planes that are opened."""
    return getattr(request, "param", DriverThreads.POOLED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def open_plane(path: Path, drivers: DriverThreads) -> Iterator[OpenPlane]:
    """Start a plane; on the test's own database unless it is given a store.

    Its grace is a patience: a test in which something hangs until the end gives it ``HUNG_S``.
    """
    planes: list[ControlPlane] = []
    agents: list[Agent] = []
    disks: list[FrozenDisk] = []

    def start(executor: Any = None, **settings: Any) -> ControlPlane:
        store = settings.pop("store", None)
        if isinstance(store, FrozenDisk):
            disks.append(store)
        settings.setdefault("backoff", Backoff(base_s=0.001))
        settings.setdefault("grace_s", WAIT_S)
        settings.setdefault("drivers", drivers)
        plane = ControlPlane(store or SqliteStore(path), executor, **settings)
        planes.append(plane.start())
        if isinstance(executor, Agent):
            agents.append(executor)
        return plane

    yield start
    for disk in disks:
        disk.thaw()  # a test that has failed may have left it frozen
    for agent in agents:
        agent.release()
    for plane in planes:
        plane.stop()


@pytest.fixture(params=LOOPS)
def on_loop(request: pytest.FixtureRequest) -> OnLoop:
    """Perform a coroutine on an event loop, of every kind there is."""

    def perform(main: Main) -> Any:
        return performed(LOOPS[request.param], main)

    return perform


@pytest.fixture
def loop() -> Iterator[RunLoop]:
    threads = RunThreads()
    loop = RunLoop(threads)
    yield loop
    threads.stop()
    if not loop._stopped:
        loop.stop(WAIT_S)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Plant a defect in drivers, for the rest of the test."""
    return planter(monkeypatch)


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


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
