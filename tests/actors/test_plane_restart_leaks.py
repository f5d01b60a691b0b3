"""Many restarts leave nothing behind: no thread, no file, no memory."""

from __future__ import annotations

import gc
import logging
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, prompt, result_of
from restart_builders import Breaking, Plant, at_once, fail, open_files

from actors import ControlPlane, DriverThreads, RestartPolicy
from meerkat.errors import CommitUnknown
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

DRIVER_RESTARTS = 1_000
JOURNAL_RESTARTS = 200
GROWTH_MAX = 256 * 1024
"""Bytes: less than 300 a restart; a driver's memory, or a traceback kept, takes thousands."""

FILES_SPARE = 10
"""A thread that reads has a connection of its own while it lives, and some come and go."""

# What is remembered of restarts is bounded by how many are allowed: it is no leak.
POLICY = RestartPolicy(drivers=at_once(2 * DRIVER_RESTARTS), journal=at_once(2 * JOURNAL_RESTARTS))


def work(plane: ControlPlane) -> None:
    """Have every part of the plane do something."""
    for name in "ab":
        done = plane.submit(name, prompt())
        assert result_of(done.completion).kind is CompletionKind.COMPLETED


def grown(restart: Callable[[], None], times: int, plane: ControlPlane) -> int:
    """The bytes by which so many restarts have made the process grow, after a few others."""
    for _ in range(50):
        restart()
    work(plane)
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            restart()
        work(plane)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def settled_threads(at_most: int) -> bool:
    """Are there so few threads, once those that are about to end have ended?"""
    for thread in threading.enumerate():
        if threading.active_count() <= at_most:
            break
        if thread.name.startswith("meerkat-run-"):
            thread.join(WAIT_S)
    return threading.active_count() <= at_most


@pytest.mark.parametrize("drivers", list(DriverThreads), ids=str)
def test_a_thousand_restarts_of_a_driver(
    open_plane: OpenPlane,
    plant: Plant,
    drivers: DriverThreads,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "actors")
    plane = open_plane(Agent(), drivers=drivers, restart=POLICY)
    plane.register_many(["a", "b"])
    work(plane)
    plant("a")
    fail(plane, "a")  # the timers have their thread
    threads, files = threading.active_count(), open_files()
    bytes_more = grown(lambda: fail(plane, "a"), DRIVER_RESTARTS, plane)
    assert settled_threads(threads)
    assert open_files() <= files + FILES_SPARE
    assert bytes_more < GROWTH_MAX


def test_two_hundred_restarts_of_the_journal(
    open_plane: OpenPlane, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "actors")
    disk = Breaking(SqliteStore(path))
    backoff = Backoff(base_s=0.0)
    plane = open_plane(Agent(), store=disk, restart=POLICY, backoff=backoff)
    plane.register_many(["a", "b"])

    def restart() -> None:
        disk.break_next()
        with pytest.raises(CommitUnknown):
            plane.ingest("a", prompt(), timeout=WAIT_S)

    work(plane)
    restart()
    work(plane)
    threads, files = threading.active_count(), open_files()
    bytes_more = grown(restart, JOURNAL_RESTARTS, plane)
    assert disk.broke == JOURNAL_RESTARTS + 51
    assert settled_threads(threads)
    assert open_files() <= files + FILES_SPARE
    assert bytes_more < GROWTH_MAX
