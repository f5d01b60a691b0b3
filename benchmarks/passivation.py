"""What passivation costs: a first message to a passivated runtime over one to a warm one.

    python benchmarks/passivation.py [--rounds N] [--times N]

Durable ingests by one caller that waits for each, at full sync, over many runtimes with a
past of their own; nobody runs them, as the plane has no executor. Warm: the runtime is in
memory. Passivated: it has just left it. One is asked after the other in turn, so that both
meet the same disk. Beside it the same for a question that needs no disk (``runtime_state``),
and what ``passivate_after`` costs a pipelined plane that passivates nobody meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from actors import ControlPlane
from meerkat import LogicalRuntimeId, PromptInput, RunContext, RunOutput, StagedInput
from meerkat.store import SqliteStore

PAST = 10
"""Finished inputs of each runtime."""

Figures = dict[str, list[float]]


def echo(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[{"role": "user", "content": primitive.text}])


def taken_ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def fill(store: SqliteStore, names: list[str]) -> None:
    """Give every runtime a past."""
    with ControlPlane(store, echo) as plane:
        plane.register_many(names)
        for _ in range(PAST):
            for each in [plane.submit(name, PromptInput("x" * 200)) for name in names]:
                each.completion.result(60)


def leave(plane: ControlPlane, name: str) -> None:
    """Have one runtime leave memory, now."""
    directory = plane._life.system.directory  # noqa: SLF001 - nothing public says it
    while LogicalRuntimeId(name) in directory:
        directory.passivate(float("inf"))
        time.sleep(0.0005)


def first_messages(folder: Path, times: int) -> Figures:
    """Milliseconds of each kind of call, warm and passivated."""
    names = [f"session-{number}" for number in range(times)]
    path = folder / "sessions.db"
    fill(SqliteStore(path), names)
    figures: Figures = {}
    with ControlPlane(SqliteStore(path), passivate_after=None) as plane:
        calls: dict[str, Callable[[str], object]] = {
            "ingest": lambda name: plane.ingest(name, PromptInput("x" * 200)),
            "runtime_state": plane.runtime_state,
        }
        for name in names:
            for kind, call in calls.items():
                plane.runtime_state(name)
                time.sleep(0.001)  # everything is at rest
                warm = taken_ms(lambda call=call, name=name: call(name))  # type: ignore[misc]
                leave(plane, name)
                cold = taken_ms(lambda call=call, name=name: call(name))  # type: ignore[misc]
                figures.setdefault(f"{kind}, warm", []).append(warm)
                figures.setdefault(f"{kind}, passivated", []).append(cold)
    return figures


def pipelined(folder: Path, rest_s: float | None, inputs: int) -> float:
    """Inputs a second, accepted, run and completed over 100 sessions."""
    names = [f"session-{number}" for number in range(100)]
    with ControlPlane(SqliteStore(folder / "p.db"), echo, passivate_after=rest_s) as plane:
        plane.register_many(names)
        began = time.perf_counter()
        handles = [
            plane.submit(names[number % 100], PromptInput("x" * 200)).completion
            for number in range(inputs)
        ]
        for each in handles:
            each.result(60)
        return inputs / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="the first message to a passivated runtime")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=400)
    options = parser.parse_args()
    figures: Figures = {}
    speeds: dict[str, list[float]] = {"never": [], "after 300 s": [], "after 0.01 s": []}
    rests = (None, 300.0, 0.01)
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            taken = first_messages(Path(folder), options.times)
        for kind, each in taken.items():
            figures.setdefault(kind, []).extend(each)
        for kind, rest_s in zip(speeds, rests, strict=True):
            with tempfile.TemporaryDirectory() as folder:
                speeds[kind].append(pipelined(Path(folder), rest_s, 5_000))
    print(f"{'':28} {'median ms':>10} {'90 % ms':>9} {'over warm':>10}")
    for kind, each in figures.items():
        median, worst = statistics.median(each), statistics.quantiles(each, n=10)[8]
        warm = statistics.median(figures[kind.partition(",")[0] + ", warm"])
        print(f"{kind:28} {median:>10.3f} {worst:>9.3f} {median - warm:>+10.3f}")
    print(f"\n{'passivated':28} {'inputs/s':>10}")
    for kind, each in speeds.items():
        print(f"{kind:28} {statistics.median(each):>10.0f}")


if __name__ == "__main__":
    main()
