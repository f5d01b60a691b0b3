"""The watchdog: a wait that lasts is told once, with who waits for whom, and no payload."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import pytest
from plane_builders import WAIT_S, FakeClock, OpenPlane, Puppet, prompt, result_of, system_of
from plane_stores import FrozenDisk
from test_waits import queued, run_of, until, waits

from actors import ControlPlane
from meerkat import RunOutput
from meerkat.errors import StoreError
from meerkat.limits import Backoff
from meerkat.store import MemoryStore

STUCK_AFTER_S = 120.0
SECRET = "nobody is to read this"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet, clock: FakeClock) -> ControlPlane:
    plane = open_plane(puppet, clock=clock, stuck_after_s=STUCK_AFTER_S, grace_s=WAIT_S)
    plane.register_many(["a", "b", "c"])
    return plane


@pytest.fixture
def told() -> Iterator[SimpleQueue[str]]:
    """What the watchdog says."""
    lines: SimpleQueue[str] = SimpleQueue()

    class Hear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.put(record.getMessage())

    hear, logger = Hear(), logging.getLogger("actors.waits")
    logger.addHandler(hear)
    yield lines
    logger.removeHandler(hear)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(4, thread_name_prefix="host")
    yield pool
    pool.shutdown(wait=False)  # a test that has failed leaves them waiting, until its plane ends


def look(plane: ControlPlane, clock: FakeClock, seconds: float = STUCK_AFTER_S) -> None:
    """Let time pass, and the watchdog look as often as it does in that."""
    for _ in range(8):
        clock.advance(plane, seconds / 8)


def noted(plane: ControlPlane, count: int = 1) -> None:
    """So many threads wait, and somebody will look at them, if that is to be."""
    waits = system_of(plane).waits

    def are_noted() -> bool:
        with waits._lock:
            return len(waits._waiting) == count and (waits._looking or not waits._stuck_after_s)

    until(are_noted)


def all_of(lines: SimpleQueue[str]) -> list[str]:
    return [lines.get() for _ in range(lines.qsize())]


def test_a_wait_that_lasts_is_told_once(
    plane: ControlPlane,
    puppet: Puppet,
    clock: FakeClock,
    told: SimpleQueue[str],
    threads: ThreadPoolExecutor,
) -> None:
    run = run_of(plane, puppet, "a")
    handle = queued(plane, "a")
    threads.submit(handle.result)
    noted(plane)
    look(plane, clock, STUCK_AFTER_S - 1)
    assert all_of(told) == []
    look(plane, clock)
    (line,) = all_of(told)
    waited_for = f"for input {handle.input_id} of a"  # type: ignore[attr-defined]
    assert line.startswith("stuck: a caller on host_0 has waited ")
    assert waited_for in line
    assert line.endswith(f"; a has run {run.called.run_id} in hand")
    look(plane, clock)
    assert all_of(told) == []
    puppet.release()


def test_a_chain_is_told_to_its_end(
    plane: ControlPlane,
    puppet: Puppet,
    clock: FakeClock,
    told: SimpleQueue[str],
    threads: ThreadPoolExecutor,
) -> None:
    a, b = run_of(plane, puppet, "a"), run_of(plane, puppet, "b")
    run_of(plane, puppet, "c")
    waiting = [waits(a, plane, queued(plane, "b")), waits(b, plane, queued(plane, "c"))]
    threads.submit(plane.unregister, "a")
    noted(plane, 3)
    look(plane, clock)
    (line,) = [each for each in all_of(told) if "a caller" in each]
    parts = line.split("; ")
    assert [part.split(" on ")[0] for part in parts[::2]] == [
        "stuck: a caller",
        f"run {a.called.run_id} of a",
        f"run {b.called.run_id} of b",
    ]
    assert all(" on meerkat-run-" in part for part in parts[2::2])
    assert parts[1] == f"a has run {a.called.run_id} in hand, is being unregistered"
    puppet.release()
    for each in waiting:  # a stop that came first would start no other run, and wait for these
        result_of(each)


def test_a_disk_that_hangs_is_told(
    open_plane: OpenPlane, clock: FakeClock, told: SimpleQueue[str], threads: ThreadPoolExecutor
) -> None:
    disk = FrozenDisk(MemoryStore())
    plane = open_plane(store=disk, clock=clock, stuck_after_s=STUCK_AFTER_S)
    plane.register("a")
    disk.freeze()
    asked = threads.submit(plane.ingest, "a", prompt(SECRET))
    assert disk.stuck.wait(WAIT_S)
    noted(plane)
    look(plane, clock)
    (line,) = all_of(told)
    assert line.endswith("has waited 120 s for ingest of a; a waits for the disk")
    assert SECRET not in line
    disk.thaw()
    assert result_of(asked).is_accepted


def test_a_slot_that_does_not_come_is_told(
    open_plane: OpenPlane,
    puppet: Puppet,
    clock: FakeClock,
    told: SimpleQueue[str],
    threads: ThreadPoolExecutor,
) -> None:
    plane = open_plane(puppet, clock=clock, stuck_after_s=STUCK_AFTER_S, max_concurrent_runs=1)
    plane.register_many(["a", "b"])
    run_of(plane, puppet, "a")
    threads.submit(queued(plane, "b").result)
    noted(plane)
    look(plane, clock)
    (line,) = all_of(told)
    assert line.endswith("; b waits for a run slot")
    puppet.release()


def test_a_runtime_that_starts_over_after_a_failure_is_told(
    open_plane: OpenPlane, clock: FakeClock, told: SimpleQueue[str], threads: ThreadPoolExecutor
) -> None:
    class Broken(MemoryStore):
        broken = False

        def commit_many(self, batches: Any) -> Any:
            if self.broken:
                raise StoreError("disk full")
            return super().commit_many(batches)

    store = Broken()
    backoff = Backoff(base_s=10 * STUCK_AFTER_S, cap_s=10 * STUCK_AFTER_S)
    plane = open_plane(store=store, clock=clock, stuck_after_s=STUCK_AFTER_S, backoff=backoff)
    plane.register("a")
    handle = queued(plane, "a")
    store.broken = True
    with pytest.raises(StoreError):
        plane.ingest("a", prompt())
    threads.submit(handle.result)
    noted(plane)
    look(plane, clock)
    (line,) = all_of(told)
    assert line.endswith("; a waits for a back-off")
    plane.stop()  # the handle ends with it


def test_a_coroutine_that_awaits_what_is_behind_itself_is_told(
    open_plane: OpenPlane, clock: FakeClock, told: SimpleQueue[str]
) -> None:
    asked = threading.Event()

    async def agent(context: Any, primitive: Any) -> RunOutput:
        if primitive.text == "first":
            handle = plane.submit("a", prompt()).completion
            waiting = asyncio.ensure_future(asyncio.wrap_future(handle))
            asked.set()
            await asyncio.wait([waiting])
        return RunOutput(append=[])

    plane = open_plane(agent, clock=clock, stuck_after_s=STUCK_AFTER_S)
    plane.register("a")
    plane.ingest("a", prompt("first"))
    assert asked.wait(WAIT_S)
    noted(plane)
    look(plane, clock)
    (line,) = all_of(told)
    assert " of a on meerkat-run-loop has waited " in line
    assert "for input " in line
    plane.stop(timeout=0)
    assert not system_of(plane).waits._waiting


def test_a_wait_that_ends_in_time_is_not_told(
    plane: ControlPlane,
    puppet: Puppet,
    clock: FakeClock,
    told: SimpleQueue[str],
    threads: ThreadPoolExecutor,
) -> None:
    for _ in range(3):
        run = run_of(plane, puppet, "a")
        waiting = threads.submit(queued(plane, "b").result)
        noted(plane)
        look(plane, clock, STUCK_AFTER_S / 2)
        run.returns()
        puppet.next_run().returns()
        result_of(waiting)
    look(plane, clock, 2 * STUCK_AFTER_S)
    assert all_of(told) == []
    assert not system_of(plane).waits._looking  # nobody waits: nothing is due


def test_without_a_bound_nobody_looks(
    open_plane: OpenPlane,
    puppet: Puppet,
    clock: FakeClock,
    told: SimpleQueue[str],
    threads: ThreadPoolExecutor,
) -> None:
    plane = open_plane(puppet, clock=clock, stuck_after_s=None)
    plane.register("a")
    run = run_of(plane, puppet, "a")
    threads.submit(queued(plane, "a").result)
    noted(plane)
    look(plane, clock, 1e6)
    assert all_of(told) == []
    run.returns()
    puppet.release()
