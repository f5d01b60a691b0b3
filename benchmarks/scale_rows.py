"""What ``scale.py`` measures, one function a row: each is called in a fresh process.

A function takes the number of runtimes and a folder of its own, and gives its figures by
name. Seconds and bytes; ratios are of two things measured in the same process.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scale_stores import names, session_of

from actors import ControlPlane, RuntimeSupervisor
from actors import messages as m
from actors.many_calls import ManyCalls
from actors.replies import Reply
from actors.system import System
from meerkat import AsyncRunContext, PromptInput, RunContext, RunOutput, StagedInput
from meerkat.identifiers import LogicalRuntimeId
from meerkat.kernel import RuntimeMemory
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Batch, MemoryStore, RuntimeStore, SqliteStore

Figures = dict[str, float]

REGISTERED_AT_A_TIME: Final = 1_000
"""Calls that are outstanding at a time where memory is measured: each of them has a future."""

LIVE_SHARE: Final = 100
"""Of so many known runtimes one is live, where the known are counted by the million."""

INPUTS_EACH: Final = 10
"""Inputs that wait in each runtime that is recovered."""

LONG, SHORT = 10_000, 10
RUNS_EACH: Final = 300

SLEEP_S: Final = 0.010
RUNS_A_SESSION: Final = 20


# --- parts ------------------------------------------------------------------------------


def answer(_context: RunContext, primitive: StagedInput) -> RunOutput:
    """An executor that costs next to nothing, and appends two messages."""
    said = {"role": "user", "content": primitive.text}
    return RunOutput(append=[said, {"role": "assistant", "content": "noted"}], result="noted")


def resident_bytes() -> int:
    """Memory of this process that is in use now, garbage collected (Linux)."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def in_another_process(call: str, *values: object) -> None:
    """Fill a store where the memory that this takes is not measured."""
    script = f"import sys; from pathlib import Path; import scale_stores; scale_stores.{call}"
    command = [sys.executable, "-c", script, *map(str, values)]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)  # noqa: S603 - this very folder


@contextmanager
def supervised(store: RuntimeStore, executor: object = answer) -> Iterator[System]:
    """A plane's parts, from before its start to after its stop."""
    plane = RuntimeSupervisor.start(store=store, executor=executor, passivate_after=None)
    try:
        yield plane.ask(m.GiveSystem())
    finally:
        plane.stop()


def ask_all(system: System, asked: Sequence[LogicalRuntimeId]) -> list[RuntimeState]:
    """Send each runtime its first message, and wait for every answer."""

    def state_of(memory: RuntimeMemory, _store: RuntimeStore) -> RuntimeState:
        return memory.head.phase.state

    calls = ManyCalls[RuntimeState]("ask", system.clock, None)
    for name in asked:
        reply: Reply[RuntimeState] = Reply()
        system.directory.deliver(name, m.Query(state_of, reply))
        calls.sent(reply)
    return calls.results()


def register_in_turns(plane: ControlPlane, known: Sequence[LogicalRuntimeId]) -> None:
    """Register, and let go of the bindings."""
    for start in range(0, len(known), REGISTERED_AT_A_TIME):
        plane.register_many(known[start : start + REGISTERED_AT_A_TIME])


def handle_one_each(plane: ControlPlane, known: Sequence[LogicalRuntimeId]) -> None:
    """Have each runtime work one input off."""
    for start in range(0, len(known), REGISTERED_AT_A_TIME):
        group = known[start : start + REGISTERED_AT_A_TIME]
        wait([plane.submit(name, PromptInput("hello")).completion for name in group])


# --- the rows ---------------------------------------------------------------------------


def start_new(count: int, folder: Path) -> Figures:
    """Runtimes that are registered, all of them live, and the stop of them."""
    plane = ControlPlane(SqliteStore(folder / "new.db"), answer, passivate_after=None)
    began = time.perf_counter()
    plane.start()
    plane.register_many(names(count))
    started = time.perf_counter()
    plane.stop()
    return {"start_s": started - began, "stop_s": time.perf_counter() - started}


def start_known(count: int, folder: Path) -> Figures:
    """Runtimes that the store knows, made live by a first message each, and their stop."""
    path, asked = folder / "known.db", names(count)
    in_another_process("known_runtimes(Path(sys.argv[1]), int(sys.argv[2]))", path, count)
    began = time.perf_counter()
    with supervised(SqliteStore(path)) as system:
        ask_all(system, asked)
        started = time.perf_counter()
    return {"start_s": started - began, "stop_s": time.perf_counter() - started}


def start_uncollected(count: int, folder: Path) -> Figures:
    """The first of these again, with the collector off, as a host may have it at its start."""
    gc.disable()
    return start_new(count, folder)


def idle_memory(count: int, folder: Path) -> Figures:
    """What a live runtime adds to the process: registered only, and after one input."""
    known = names(2 * count)
    with ControlPlane(SqliteStore(folder / "idle.db"), answer, passivate_after=None) as plane:
        warm = known[count : count + REGISTERED_AT_A_TIME]
        register_in_turns(plane, warm)
        handle_one_each(plane, warm)
        before = resident_bytes()
        register_in_turns(plane, known[:count])
        registered = resident_bytes()
        handle_one_each(plane, known[:count])
        worked = resident_bytes()
    return {
        "idle_bytes": (registered - before) / count,
        "after_one_input_bytes": (worked - before) / count,
    }


def known_memory(count: int, folder: Path) -> Figures:
    """The whole process over a store of many known runtimes, one in a hundred live."""
    path = folder / "known.db"
    in_another_process("known_runtimes(Path(sys.argv[1]), int(sys.argv[2]))", path, count)
    live = [LogicalRuntimeId(f"session-{n:07d}") for n in range(0, count, LIVE_SHARE)]
    with supervised(SqliteStore(path)) as system:
        for start in range(0, len(live), REGISTERED_AT_A_TIME):
            ask_all(system, live[start : start + REGISTERED_AT_A_TIME])
        return {"resident_bytes": resident_bytes(), "live": len(system.directory)}


def recovery(count: int, folder: Path) -> Figures:
    """From the start of a plane until every runtime is recovered, over reading the rows.

    The executor holds every slot, so that what is measured is the way there: runtimes in
    which a run has begun, or that wait for a slot.
    """
    path, asked, over = folder / "pending.db", names(count), threading.Event()
    fill = "pending_inputs(Path(sys.argv[1]), *map(int, sys.argv[2:]))"
    in_another_process(fill, path, count, INPUTS_EACH)
    store = SqliteStore(path)
    began = time.perf_counter()
    rows = sum(len(store.load_active_inputs(name)) for name in asked)
    read_s = time.perf_counter() - began
    store.close()
    gc.collect()

    def held(_context: RunContext, _primitive: StagedInput) -> RunOutput:
        over.wait()
        return RunOutput()

    began = time.perf_counter()
    with supervised(SqliteStore(path), held) as system:
        states = ask_all(system, asked)
        recovered_s = time.perf_counter() - began
        over.set()
    assert rows == count * INPUTS_EACH, rows  # noqa: S101 - of the measurement itself
    assert len(states) == count  # noqa: S101
    return {"read_s": read_s, "recovered_s": recovered_s, "ratio": recovered_s / read_s}


class TimedStore(SqliteStore):
    """Adds up the time inside ``commit_many``."""

    seconds = 0.0

    def commit_many(self, batches: Sequence[Batch]) -> list:
        """Commit, and take the time."""
        began = time.perf_counter()
        try:
            return super().commit_many(batches)
        finally:
            self.seconds += time.perf_counter() - began


def history(_count: int, folder: Path) -> Figures:
    """Runs on a long session and on a short one, in turn: time in the store, and in all."""
    path = folder / "history.db"
    sessions = {LONG: LogicalRuntimeId("long"), SHORT: LogicalRuntimeId("short")}
    for messages, name in sessions.items():
        session_of(path, name, messages)
    store = TimedStore(path)
    in_store: dict[int, list[float]] = {LONG: [], SHORT: []}
    whole: dict[int, list[float]] = {LONG: [], SHORT: []}
    with ControlPlane(store, answer) as plane:
        for turn in range(RUNS_EACH + 1):
            for messages in (LONG, SHORT) if turn % 2 else (SHORT, LONG):
                began, before = time.perf_counter(), store.seconds
                plane.submit(sessions[messages], PromptInput("again")).completion.result()
                whole[messages].append(time.perf_counter() - began)
                in_store[messages].append(store.seconds - before)
    first_s = whole[LONG][0]  # which reads the session once
    store_s = {size: statistics.median(times[1:]) for size, times in in_store.items()}
    whole_s = {size: statistics.median(times[1:]) for size, times in whole.items()}
    return {
        "store_ratio": store_s[LONG] / store_s[SHORT],
        "run_ratio": whole_s[LONG] / whole_s[SHORT],
        "store_s": store_s[LONG],
        "run_s": whole_s[LONG],
        "first_run_s": first_s,
    }


async def asleep(_context: AsyncRunContext, _primitive: StagedInput) -> RunOutput:
    """A model that answers after ten milliseconds."""
    await asyncio.sleep(SLEEP_S)
    return RunOutput(result="noted")


def bare_sleeps_a_second(count: int) -> float:
    """What the event loop alone makes of the same sleeps, in tasks of its own."""

    async def session() -> None:
        for _ in range(RUNS_A_SESSION):
            await asyncio.create_task(asyncio.sleep(SLEEP_S))

    async def every() -> None:
        await asyncio.gather(*[session() for _ in range(count)])

    began = time.perf_counter()
    asyncio.run(every())
    return count * RUNS_A_SESSION / (time.perf_counter() - began)


def _sleeping(store: RuntimeStore, count: int) -> Figures:
    known, ideal = names(count), count / SLEEP_S
    with ControlPlane(store, asleep, max_concurrent_runs=count) as plane:
        plane.register_many(known)
        wait([plane.submit(name, PromptInput("warm")).completion for name in known])
        began = time.perf_counter()
        wait(
            [
                plane.submit(name, PromptInput("message")).completion
                for _ in range(RUNS_A_SESSION)
                for name in known
            ]
        )
        rate = count * RUNS_A_SESSION / (time.perf_counter() - began)
    bare = bare_sleeps_a_second(count)
    return {
        "runs_a_second": rate,
        "of_ideal": rate / ideal,
        "bare_loop_of_ideal": bare / ideal,
    }


def coroutines_memory(count: int, _folder: Path) -> Figures:
    """Coroutine executors that sleep, over the ideal; nothing goes to disk."""
    return _sleeping(MemoryStore(), count)


def coroutines_sqlite(count: int, folder: Path) -> Figures:
    """The same at full sync to disk."""
    return _sleeping(SqliteStore(folder / "coroutines.db"), count)


ROWS: Final[Mapping[str, Callable[[int, Path], Figures]]] = {
    "start-new": start_new,
    "start-known": start_known,
    "start-uncollected": start_uncollected,
    "idle-memory": idle_memory,
    "known-memory": known_memory,
    "recovery": recovery,
    "history": history,
    "coroutines-memory": coroutines_memory,
    "coroutines-sqlite": coroutines_sqlite,
}
