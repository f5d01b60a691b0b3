"""What does it cost that the past is cut down meanwhile? Throughput, as a ratio.

    python benchmarks/retention.py [--past N] [--sessions N] [--items N] [--rounds N]

A database is filled with N (200,000) finished inputs. Each round works the same number of
inputs off over all its sessions, submitted without waiting, once with everything kept and
once while the past is cut down to the last 10 inputs a session: each on a copy of the
database and in a process of its own. The ratio of each round is taken, and their median
printed, with what was pruned meanwhile. The passes begin at once, where a plane takes its
time; within a pass the pace is that of every plane.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from long_past import fill, names, warm_up
from throughput import answer, work_off

import actors.retention
from actors import ControlPlane
from meerkat.limits import KEEP_EVERYTHING, Retention
from meerkat.store import Pruned, SqliteStore

KEPT: Final = Retention(max_count=10)
WITHOUT, WITH = "without", "with"


class Counted(SqliteStore):
    """A store that counts what is pruned, and how long a step takes."""

    pruned = 0
    longest_s = 0.0

    def prune(self, keep: Retention, now: datetime, **asked: Any) -> Pruned:
        """One step."""
        began = time.perf_counter()
        step = super().prune(keep, now, **asked)
        self.longest_s = max(self.longest_s, time.perf_counter() - began)
        self.pruned += step.inputs
        return step


def work(path: Path, sessions: int, items: int, *, prunes: bool) -> dict[str, float]:
    """Work inputs off; items a second, and inputs pruned a second."""
    actors.retention.PASS_EVERY_S = 0.001
    known, mark, store = names(sessions), time.time_ns(), Counted(path)
    keep = KEPT if prunes else KEEP_EVERYTHING
    with ControlPlane(store, answer, retention=keep) as plane:
        warm_up(plane, known)
        before, began = store.pruned, time.perf_counter()
        work_off(plane, known, items, mark)
        seconds = time.perf_counter() - began
        pruned = store.pruned - before
    return {
        "items": items / seconds,
        "pruned": pruned / seconds,
        "longest_ms": store.longest_s * 1_000,
    }


def in_child(filled: Path, sessions: int, items: int, kind: str) -> dict[str, float]:
    """The same on a copy, in a process of its own."""
    copy = filled.with_suffix(".copy")
    shutil.copyfile(filled, copy)
    command = [sys.executable, __file__, "--work", str(copy), "--kind", kind]
    command += ["--sessions", str(sessions), "--items", str(items)]
    done = subprocess.run(  # noqa: S603 - this very script
        command, check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Fill, measure and print the ratio, or do one measurement as a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--past", type=int, default=200_000)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=(WITHOUT, WITH), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        prunes = options.kind == WITH
        print(json.dumps(work(options.work, options.sessions, options.items, prunes=prunes)))
        return
    with tempfile.TemporaryDirectory() as name:
        filled = Path(name, "past.db")
        fill(filled, options.sessions, options.past)
        rounds = [
            [in_child(filled, options.sessions, options.items, kind) for kind in (WITHOUT, WITH)]
            for _ in range(options.rounds)
        ]
    ratios = [pruning["items"] / keeping["items"] for keeping, pruning in rounds]
    print(f"{options.sessions} sessions, {options.past:,} past inputs, {options.items:,} items\n")
    for label, place, key in (
        ("items/s, everything kept", 0, "items"),
        ("items/s, while the past is cut down", 1, "items"),
        ("inputs cut down a second meanwhile", 1, "pruned"),
        ("longest step, ms", 1, "longest_ms"),
    ):
        print(f"{label:36} {statistics.median(pair[place][key] for pair in rounds):9,.0f}")
    low, high = min(ratios), max(ratios)
    print(f"{'ratio':36} {statistics.median(ratios):9.2f} (from {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
