"""Coming and going leaves nothing behind; an import begins nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from plane_builders import WAIT_S, Agent, prompt, result_of

from actors import ControlPlane, DriverThreads
from meerkat import RunContext, RunOutput, StagedInput
from meerkat.store import SqliteStore

IMPORTS = """
import asyncio, atexit, concurrent.futures, logging, os, signal, sqlite3, sys, threading
import pykka, cattrs, orjson, uuid6
def standing():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    loggers = [logging.getLogger(name) for name in ("", "actors", "meerkat", "pykka")]
    logs = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    files = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
    return atexit._ncallbacks(), threading.active_count(), handlers, logs, len(files)
before = standing()
import actors, meerkat, meerkat.store
assert standing() == before, (before, standing())
"""


async def answer(_context: RunContext, _primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[])


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("this system does not say which files are open")
    return {f"{each.name} {each.readlink()}" for each in folder.iterdir() if each.exists()}


@pytest.mark.parametrize("drivers", list(DriverThreads), ids=str)
@pytest.mark.parametrize("kind", ["ordinary", "coroutine"])
def test_ten_cycles_leave_as_many_threads_and_files(
    path: Path, kind: str, drivers: DriverThreads
) -> None:
    executor = Agent() if kind == "ordinary" else answer
    plane = ControlPlane(SqliteStore(path), executor, drivers=drivers)

    def cycle() -> None:
        with plane:
            plane.register_many(["a", "b"])
            for name in "ab":
                result_of(plane.submit(name, prompt()).completion)

    cycle()
    threads, files = set(threading.enumerate()), open_files()
    for _ in range(10):
        cycle()
    for left in set(threading.enumerate()) - threads:
        left.join(WAIT_S)  # one that was told to end may be about to
    assert set(threading.enumerate()) <= threads
    assert open_files() <= files


def test_an_import_starts_opens_and_registers_nothing() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
