"""Ours beside the peers, in one run: the same items, the same durability, ratios.

    python benchmarks/compare.py [--only NAME,…] [--items X] [--rounds N]
                                 [--markdown] [--json FILE] [--plot FILE.png] [--from FILE]

Needs the extra ``bench`` for the peers; one that is missing is shown as not installed. Each
round measures every peer at every job once, each in a fresh process and a fresh folder, in
an order that changes from round to round. A ratio is taken within a round; what is printed
is the median of the rounds, and their range. ``--items`` multiplies the number of items.
Databases go where TMPDIR says; the file system is printed, since on tmpfs a full sync costs
nothing. ``--from`` prints and plots the figures that ``--json`` has saved, and measures
nothing. With the defaults it takes about five minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compare_jobs import JOBS, items_of, measure
from compare_report import report
from peers.catalogue import ENTRIES, OURS

PATIENCE_S = 120  # for one measurement; the longest takes a few seconds
NOT_INSTALLED = "not installed"


def one_child(name: str, job: str, count: int) -> dict[str, Any]:
    """One measurement, in a process and a folder of its own; or why there is none."""
    if ENTRIES[name].missing:
        return {"error": NOT_INSTALLED}
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        order = json.dumps({"name": name, "job": job, "count": count, "folder": folder})
        command = [sys.executable, __file__, "--child", order]
        try:
            done = subprocess.run(  # noqa: S603 - this very script
                command, check=False, capture_output=True, text=True, timeout=PATIENCE_S
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no end after {PATIENCE_S} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit status {done.returncode}"}
    figure: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figure


def child(order: dict[str, Any]) -> None:
    """Measure, and print the figure as the last line."""
    entry = ENTRIES[order["name"]]
    figure = measure(entry, order["job"], order["count"], Path(order["folder"]))
    print(json.dumps(figure), flush=True)
    os._exit(0)  # whatever threads a peer leaves behind


def all_rounds(names: Sequence[str], rounds: int, scale: float) -> Iterator[dict[str, Any]]:
    """The figures of every round, as they are taken."""
    for number in range(rounds):
        turn = number % len(names)
        order = [*names[turn:], *names[:turn]]
        for job in JOBS:
            for name in order:
                if job in ENTRIES[name].jobs:
                    say(f"round {number + 1} of {rounds}: {job}, {name}")
                    figure = one_child(name, job, items_of(job, ENTRIES[name], scale))
                    yield {"round": number, "job": job, "name": name, **figure}
    say("")


def say(line: str) -> None:
    """Progress, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def surroundings(names: Sequence[str]) -> dict[str, Any]:
    """What the figures were taken with."""
    versions = {"pykka": version("pykka")}
    for name in names:
        versions |= ENTRIES[name].versions
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "file_system": file_system(Path(tempfile.gettempdir())),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def file_system(folder: Path) -> str:
    """The kind of file system a folder is on (Linux): on tmpfs a full sync is free."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown file system"
    rows = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    holding = [row for row in rows if folder.resolve().is_relative_to(row[1])]
    return max(holding, key=lambda row: len(row[1]))[2]


def names_of(text: str) -> list[str]:
    """The entries of ``--only``; ours is always among them, as the ratios are to it."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in ENTRIES]:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(ENTRIES)}")
    return [name for name in ENTRIES if name in names or name == OURS]


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=names_of, default=list(ENTRIES), metavar="NAME,…")
    parser.add_argument("--items", type=float, default=1.0, metavar="X")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", action="store_true", help="tables for the README")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save every figure")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="needs matplotlib")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="saved")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a peer that is installed failed."""
    options = options_of(arguments)
    if options.child is not None:
        child(options.child)
    if options.saved is not None:
        results = json.loads(options.saved.read_text(encoding="utf-8"))
    else:
        figures = list(all_rounds(options.only, options.rounds, options.items))
        results = {"surroundings": surroundings(options.only), "figures": figures}
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(report(results, markdown=options.markdown))
    if options.plot is not None:
        from compare_plot import plot  # noqa: PLC0415 - matplotlib comes with the extra

        plot(results, options.plot)
    errors = {figure.get("error") for figure in results["figures"]}
    return 0 if errors <= {None, NOT_INSTALLED} else 1


if __name__ == "__main__":
    sys.exit(main())
