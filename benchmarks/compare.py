"""Ours beside the peers, in one run: the same items, the same durability, ratios.

    python benchmarks/compare.py [--store sqlite|postgres] [--only NAME,…] [--items X]
                                 [--rounds N] [--markdown] [--json FILE] [--plot FILE.png]
                                 [--from FILE] [--sync-ms MS]

Needs the extra ``bench`` for the peers; one that is missing is shown as not installed. Each
round measures every peer at every job once, each in a fresh process and a fresh folder, in
an order that changes from round to round. A ratio is taken within a round; what is printed
is the median of the rounds, and their range. ``--items`` multiplies the number of items.
Databases go where TMPDIR says; the file system is printed, since on tmpfs a full sync costs
nothing. ``--from`` prints and plots the figures that ``--json`` has saved, and measures
nothing. With the defaults it takes about five minutes on 2 cores.

``--sync-ms`` takes the comparison to a slower disk than this machine's: every sync that SQLite asks
for, ours and every peer's, answers so many milliseconds later (`slower_syncs.py`; Linux, and a C
compiler). It is seen to be so before anything is measured, and whatever shows the figures says it.

``--store postgres`` compares who keeps things in PostgreSQL, and ours in SQLite beside them: one
server for all of the run, made for it and durable; ``MEERKAT_POSTGRES_URL`` takes its place. Each
measurement has a database of its own there.
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
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compare_jobs import items_of, measure
from compare_report import report
from peers.catalogue import COMPARISONS, ENTRIES
from slower_syncs import NotSlower, SlowerSyncs, slower_syncs

PATIENCE_S = 120  # for one measurement; the longest takes a few seconds
NOT_INSTALLED = "not installed"


def one_child(name: str, job: str, count: int, slower: SlowerSyncs | None = None) -> dict[str, Any]:
    """One measurement, in a process and a folder of its own; or why there is none."""
    if ENTRIES[name].missing:
        return {"error": NOT_INSTALLED}
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        order = json.dumps({"name": name, "job": job, "count": count, "folder": folder})
        command = [sys.executable, __file__, "--child", order]
        try:
            done = subprocess.run(  # noqa: S603 - this very script
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                env=slower and slower.environment,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no end after {PATIENCE_S} s"}
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit status {done.returncode}"}
    figure: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if slower and "syncs" not in figure:
        return {"error": "its syncs were not made slower"}
    return figure


def child(order: dict[str, Any]) -> None:
    """Measure, and print the figure as the last line."""
    entry = ENTRIES[order["name"]]
    figure = measure(entry, order["job"], order["count"], Path(order["folder"]))
    print(json.dumps(figure), flush=True)
    os._exit(0)  # whatever threads a peer leaves behind


def all_rounds(
    names: Sequence[str],
    jobs: Sequence[str],
    options: argparse.Namespace,
    slower: SlowerSyncs | None,
) -> Iterator[dict[str, Any]]:
    """The figures of every round, as they are taken."""
    for number in range(options.rounds):
        turn = number % len(names)
        order = [*names[turn:], *names[:turn]]
        for job in jobs:
            for name in order:
                if job in ENTRIES[name].jobs:
                    say(f"round {number + 1} of {options.rounds}: {job}, {name}")
                    count = items_of(job, ENTRIES[name], options.items)
                    figure = one_child(name, job, count, slower)
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
    about_server = server_settings() if any(ENTRIES[name].server for name in names) else {}
    return {
        **about_server,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "file_system": file_system(Path(tempfile.gettempdir())),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def server_settings() -> dict[str, Any]:
    """The server's version, and that it waits for its disk."""
    try:
        from peers.server import server_url, settings  # noqa: PLC0415 - psycopg is an extra
    except ModuleNotFoundError:
        return {}
    return {"server": dict(settings(server_url()))}


def file_system(folder: Path) -> str:
    """The kind of file system a folder is on (Linux): on tmpfs a full sync is free."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown file system"
    rows = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    holding = [row for row in rows if folder.resolve().is_relative_to(row[1])]
    return max(holding, key=lambda row: len(row[1]))[2]


def names_of(text: str) -> list[str]:
    """The entries of ``--only``."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in ENTRIES]:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(ENTRIES)}")
    return names


def milliseconds(text: str) -> float:
    """The value of ``--sync-ms``: a wait that is one."""
    ms = float(text)
    if not 0 < ms < PATIENCE_S:
        raise argparse.ArgumentTypeError(f"{text} ms: more than 0 and less than {PATIENCE_S}")
    return ms


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", choices=list(COMPARISONS), default="sqlite")
    parser.add_argument("--only", type=names_of, default=list(ENTRIES), metavar="NAME,…")
    parser.add_argument("--items", type=float, default=1.0, metavar="X")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", action="store_true", help="tables for the README")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save every figure")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="needs matplotlib")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="saved")
    parser.add_argument("--sync-ms", type=milliseconds, metavar="MS", help="a slower disk")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.sync_ms is not None and options.store == "postgres":
        parser.error(
            "--sync-ms makes the syncs of SQLite slower, and --store postgres has a server"
        )
    if options.sync_ms is not None and options.saved is not None:
        parser.error("--sync-ms is for figures that are taken, and those of --from have been")
    return options


@contextmanager
def server() -> Iterator[None]:
    """A server for the children of this process, unless there is one."""
    # Imported late: a child has to see SQLite's connections before anything of ours does.
    from meerkat.testing.postgres_server import URL_VARIABLE, PostgresServer  # noqa: PLC0415

    if URL_VARIABLE in os.environ:
        yield
        return
    with PostgresServer() as made:
        os.environ[URL_VARIABLE] = made.url
        yield
        del os.environ[URL_VARIABLE]


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure of a run; ours is always measured, as the ratios are to it."""
    asked = COMPARISONS[options.store]
    names = [name for name in asked.names if name in options.only or name == asked.ours]
    with ExitStack() as stack:
        if options.store == "postgres":
            stack.enter_context(server())
        slower = None
        if options.sync_ms is not None:
            slower = stack.enter_context(slower_syncs(options.sync_ms))
        figures = list(all_rounds(names, asked.jobs, options, slower))
        around = surroundings(names) | (slower.surroundings if slower else {})
    return {"ours": asked.ours, "surroundings": around, "figures": figures}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a peer that is installed failed."""
    options = options_of(arguments)
    if options.child is not None:
        child(options.child)
    if options.saved is not None:
        results = json.loads(options.saved.read_text(encoding="utf-8"))
    else:
        try:
            results = measured(options)
        except NotSlower as error:
            sys.exit(f"compare.py: {error}")
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
