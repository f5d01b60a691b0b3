"""How long until a run in hand knows: steered input, and an interrupt; full sync to disk.

    python benchmarks/latency.py [--rounds N] [--times N]

Steer: from the host's call of ``submit`` to the moment the executor, waiting in
``context.wait``, holds the input in its hands, which has been committed on the way.
Interrupt: from the call of ``interrupt(…, "now")`` to the moment the waiting executor goes
on. Both for an ordinary and a coroutine executor, and beside them, in the same round, one
full-sync commit of SQLite alone: the least that a durable hand-over can take.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from actors import ControlPlane
from meerkat import AsyncRunContext, PromptInput, RunContext, RunOutput, StagedInput, WakeReason
from meerkat.store import SqliteStore

PATIENCE_S = 30.0

at_rest: SimpleQueue[None] = SimpleQueue()  # the executor is about to wait
woken: SimpleQueue[float] = SimpleQueue()  # when it held what it waited for


def listener(context: RunContext, _primitive: StagedInput) -> RunOutput:
    """Wait, take in what was steered, and again, until it is interrupted."""
    at_rest.put(None)
    while context.wait(PATIENCE_S) is WakeReason.STEERED:
        boundary = context.boundary()
        woken.put(time.perf_counter())
        boundary.commit()
        at_rest.put(None)
    woken.put(time.perf_counter())
    context.raise_if_cancelled()
    return RunOutput()


async def coroutine_listener(context: AsyncRunContext, _primitive: StagedInput) -> RunOutput:
    """The same as a coroutine: an interrupt is CancelledError there."""
    at_rest.put(None)
    try:
        while await context.wait(PATIENCE_S) is WakeReason.STEERED:
            boundary = await context.boundary()
            woken.put(time.perf_counter())
            await boundary.commit()
            at_rest.put(None)
    except asyncio.CancelledError:
        woken.put(time.perf_counter())
        raise
    return RunOutput()


def settle() -> None:
    """Let an executor that says it is about to wait get there."""
    at_rest.get()
    time.sleep(0.002)


def latencies_ms(folder: Path, executor: Any, times: int) -> tuple[list[float], list[float]]:
    """(steer to hand-over, interrupt to wake), in milliseconds."""
    steered, interrupted = [], []
    with ControlPlane(store=SqliteStore(folder / "sessions.db"), executor=executor) as plane:
        plane.register("a")
        for _ in range(times):
            run = plane.submit("a", PromptInput("listen"))
            settle()
            began = time.perf_counter()
            plane.submit("a", PromptInput("now", turn_metadata={"handling_mode": "steer"}))
            steered.append((woken.get() - began) * 1000)
            settle()
            began = time.perf_counter()
            plane.interrupt("a", "now")
            interrupted.append((woken.get() - began) * 1000)
            run.completion.result(PATIENCE_S)
    return steered, interrupted


def commits_ms(folder: Path, times: int) -> list[float]:
    """One row of 500 bytes per commit, WAL, full sync, with the same pauses between."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE item (body TEXT)")
    taken = []
    for _ in range(times):
        time.sleep(0.002)
        began = time.perf_counter()
        connection.execute("INSERT INTO item VALUES (?)", ("x" * 500,))
        taken.append((time.perf_counter() - began) * 1000)
    connection.close()
    return taken


def in_new_folder(measure: Callable[[Path], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description="latency to a run in hand")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=300)
    options = parser.parse_args()
    figures: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        raw = in_new_folder(lambda folder: commits_ms(folder, options.times))
        figures.setdefault("raw SQLite: one commit, full sync", []).extend(raw)
        for kind, executor in (("thread", listener), ("coroutine", coroutine_listener)):
            steered, interrupted = in_new_folder(
                lambda folder, executor=executor: latencies_ms(folder, executor, options.times)
            )
            figures.setdefault(f"steer to hand-over, {kind}", []).extend(steered)
            figures.setdefault(f"interrupt now to wake, {kind}", []).extend(interrupted)
    base = statistics.median(next(iter(figures.values())))
    print(f"{'':36} {'median ms':>10} {'99 % ms':>9} {'to a commit':>12}")
    for name, taken in figures.items():
        median, worst = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
        print(f"{name:36} {median:>10.3f} {worst:>9.3f} {median / base:>12.2f}")


if __name__ == "__main__":
    main()
