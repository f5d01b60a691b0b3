"""What restarts cost the others: their latency while one runtime, or the journal, keeps failing.

    python benchmarks/restarts.py [--rounds N] [--seconds S]

Durable ingests, at full sync, over 50 runtimes by one caller that waits for each. Beside it
one more runtime is offered inputs at a steady rate, and each of those is, in turn: nothing
(nobody offers), taken as any other, met by a defect in its driver, which begins anew from the
store, or one whose commit breaks the journal, which is restarted. Restarts have no pause here,
as a pause is a setting; who is told that nobody knows offers again, and has waited for both.
Each round takes all four in turn on one plane. Ratios are to the first of them.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from actors import ControlPlane, RestartPolicy, Restarts
from meerkat import LogicalRuntimeId, PromptInput
from meerkat.errors import MeerkatError, StoreError
from meerkat.limits import Backoff
from meerkat.store import Batch, SqliteStore

OTHERS: Final = [f"session-{number}" for number in range(50)]
FAILING: Final = LogicalRuntimeId("failing")

AT_ONCE: Final = Restarts(intensity=1_000_000, period_s=60.0, backoff=Backoff(base_s=0.0))

KINDS: Final = {
    "nobody offers": (0.0, ""),
    "an input taken, 100 a second": (100.0, ""),
    "its driver restarted, 100 a second": (100.0, "driver"),
    "the journal restarted, 10 a second": (10.0, "journal"),
}
"""What is done beside: inputs a second for the failing runtime, and what fails by each."""


class Failing:
    """A store with a defect that meets one runtime, in a read or in a commit."""

    def __init__(self, inner: SqliteStore) -> None:
        self.inner = inner
        self.fails = ""
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def load_known_inputs(self, runtime_id: LogicalRuntimeId, *more: Any) -> Any:
        """What the driver asks of the store in its turn."""
        if self.fails == "driver" and runtime_id == FAILING:
            self.failed += 1
            raise RuntimeError("a defect")
        return self.inner.load_known_inputs(runtime_id, *more)

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        """What the journal's writer does."""
        met = any(batch.runtime.runtime_id == FAILING for batch in batches)
        if met and self.fails == "journal":
            self.failed += 1
            raise RuntimeError("a defect")
        return self.inner.commit_many(batches)


def taken_ms(plane: ControlPlane, name: str) -> float:
    """How long until an input is accepted, however often it has to be offered."""
    offered = PromptInput("x" * 200, idempotency_key=str(time.perf_counter_ns()))
    began = time.perf_counter()
    while True:
        try:
            plane.ingest(name, offered)
        except StoreError:  # it was in hand with one that broke the journal
            continue
        return (time.perf_counter() - began) * 1000


class Beside:
    """Offers inputs to the failing runtime at a steady rate, from a thread of its own."""

    def __init__(self, plane: ControlPlane, rate: float) -> None:
        self._plane, self._pause_s = plane, 1 / rate if rate else 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._offer, daemon=True)

    def __enter__(self) -> None:
        if self._pause_s:
            self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        if self._pause_s:
            self._thread.join()

    def _offer(self) -> None:
        due = time.perf_counter()
        while not self._over.wait(max(0.0, due - time.perf_counter())):
            due += self._pause_s
            try:
                self._plane.ingest(FAILING, PromptInput("x" * 200))
            except MeerkatError:
                continue


def latencies(store: Failing, plane: ControlPlane, kind: str, seconds: float) -> list[float]:
    """The latencies of the others, in milliseconds."""
    rate, fails = KINDS[kind]
    store.fails, store.failed = fails, 0
    taken: list[float] = []
    with Beside(plane, rate):
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            taken += (taken_ms(plane, name) for name in OTHERS)
    store.fails = ""
    for name in (*OTHERS, FAILING):  # what waits would be loaded at each restart
        plane.reset(name)
    expected = rate * seconds if fails else 0
    if store.failed < expected * 0.8:
        raise SystemExit(f"{kind}: only {store.failed} of {expected:g} failures came about")
    return taken


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, list[float]]:
    store: Any = Failing(SqliteStore(folder / "sessions.db"))
    restart = RestartPolicy(drivers=AT_ONCE, journal=AT_ONCE)
    figures: dict[str, list[float]] = {kind: [] for kind in KINDS}
    backoff = Backoff(base_s=0.0)
    with ControlPlane(store, restart=restart, backoff=backoff) as plane:
        plane.register_many([*OTHERS, FAILING])
        for _ in range(rounds):
            for kind in KINDS:
                figures[kind] += latencies(store, plane, kind, seconds)
    return figures


def percentile(taken: list[float], percent: float) -> float:
    return statistics.quantiles(taken, n=1000)[round(percent * 10) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description="the cost of restarts for the others")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    logging.getLogger("actors").addHandler(logging.NullHandler())  # as a host that logs elsewhere
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.rounds, options.seconds)
    base = percentile(figures["nobody offers"], 99)
    print(f"{'beside':36} {'calls':>7} {'median ms':>10} {'99 % ms':>9} {'over':>6} {'99.9 %':>8}")
    for kind, taken in figures.items():
        median, worst = statistics.median(taken), percentile(taken, 99)
        print(
            f"{kind:36} {len(taken):>7} {median:>10.3f} {worst:>9.3f} {worst / base:>6.2f} "
            f"{percentile(taken, 99.9):>8.3f}"
        )


if __name__ == "__main__":
    main()
