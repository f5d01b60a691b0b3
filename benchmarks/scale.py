"""Many runtimes on one machine: start and stop, memory, recovery, long sessions, coroutines.

    python benchmarks/scale.py [--only ROW …] [--rounds N] [--quick] [--markdown]

Every row is measured in a fresh process, on a fresh database with full sync; the median of
the rounds is printed beside what is to be reached and what is aimed at. ``--quick`` takes a
tenth of the runtimes and scales the two bounds of time along.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from attrs import frozen
from scale_rows import ROWS

QUICK: Final = 10
"""A quick round takes so many times fewer runtimes."""

KB: Final = 1_024.0
MB: Final = 1_024.0 * 1_024.0


@frozen
class Line:
    """One figure of a row: what it is called there, its unit, and its two bounds if it has any."""

    row: str
    figure: str
    says: str
    unit: str = ""
    reach: float | None = None
    aim: float | None = None
    divisor: float = 1.0
    grows: bool = False
    """Does it grow with the number of runtimes?"""


SIZES: Final = {
    "start-new": 100_000,
    "start-known": 100_000,
    "start-uncollected": 100_000,
    "idle-memory": 50_000,
    "known-memory": 1_000_000,
    "recovery": 10_000,
    "history": 2,
    "coroutines-memory": 1_000,
    "coroutines-sqlite": 1_000,
}
"""Row → runtimes in it."""

FIXED: Final = frozenset({"history", "coroutines-memory", "coroutines-sqlite"})
"""Rows whose number of runtimes is what they are about."""

LINES: Final = (
    Line("start-new", "start_s", "start of {size:,}, registered", "s", 10, 4, grows=True),
    Line("start-new", "stop_s", "stop of all", "s", 10, 4, grows=True),
    Line(
        "start-known", "start_s", "start of {size:,} known, a message each", "s", 10, 4, grows=True
    ),
    Line("start-known", "stop_s", "stop of all", "s", 10, 4, grows=True),
    Line("start-uncollected", "start_s", "… registered, collector off", "s", grows=True),
    Line("idle-memory", "idle_bytes", "a live idle runtime", "KB", 8, 4, KB),
    Line("idle-memory", "after_one_input_bytes", "the same after one input", "KB", None, None, KB),
    Line("known-memory", "resident_bytes", "process, {size:,} known, 1 % live", "MB", 400, 250, MB),
    Line("recovery", "ratio", "{size:,} runtimes recovered, over reading", "x", 4, 2),
    Line("recovery", "recovered_s", "… in seconds", "s"),
    Line("recovery", "read_s", "… reading and decoding alone", "s"),
    Line("history", "store_ratio", "10,000 messages over 10: store", "x", 1.3, 1.05),
    Line("history", "run_ratio", "… the whole run", "x"),
    Line("history", "store_s", "… store, a run", "ms", None, None, 1e-3),
    Line("history", "first_run_s", "… first run, which reads the session", "ms", None, None, 1e-3),
    Line(
        "coroutines-memory",
        "of_ideal",
        "{size:,} sleeping coroutines, in memory",
        "of ideal",
        0.3,
        0.6,
    ),
    Line("coroutines-memory", "runs_a_second", "… runs", "/s"),
    Line("coroutines-memory", "bare_loop_of_ideal", "… the bare event loop", "of ideal"),
    Line(
        "coroutines-sqlite",
        "of_ideal",
        "{size:,} sleeping coroutines, full sync",
        "of ideal",
        0.3,
        0.6,
    ),
    Line("coroutines-sqlite", "runs_a_second", "… runs", "/s"),
)


def measured(row: str, count: int) -> dict[str, float]:
    """Measure one row in a process of its own."""
    command = [sys.executable, __file__, "--row", row, "--count", str(count)]
    done = subprocess.run(  # noqa: S603 - this very script
        command, check=True, stdout=subprocess.PIPE, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def text_of(line: Line, value: float | None) -> str:
    """A bound or a figure as the table has it."""
    if value is None:
        return ""
    digits = max(0, 3 - len(str(int(value))))
    return f"{value:,.{digits}f} {line.unit}".strip()


def table(
    rows: list[str], sizes: dict[str, int], rounds: dict[str, list[dict[str, float]]]
) -> list[list[str]]:
    """The printed cells, a list a line."""
    cells = [["", "measured", "from … to", "reach", "aim"]]
    for line in LINES:
        if line.row not in rows:
            continue
        values = [figures[line.figure] / line.divisor for figures in rounds[line.row]]
        scale = sizes[line.row] / SIZES[line.row] if line.grows else 1.0
        bounds = [None if bound is None else bound * scale for bound in (line.reach, line.aim)]
        cells.append(
            [
                line.says.format(size=sizes[line.row]),
                text_of(line, statistics.median(values)),
                f"{text_of(line, min(values))} … {text_of(line, max(values))}",
                *[text_of(line, bound) for bound in bounds],
            ]
        )
    return cells


def show(cells: list[list[str]], *, markdown: bool) -> None:
    """Print the table, for a terminal or for a page."""
    if markdown:
        cells = [cells[0], ["---"] * len(cells[0]), *cells[1:]]
        for row in cells:
            print(f"| {' | '.join(row)} |")
        return
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    for first, *rest in cells:
        others = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *others]))


def main() -> None:
    """Measure the rows and print the table, or measure one row as a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="ROW", default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row is not None:
        with tempfile.TemporaryDirectory() as name:
            figures = ROWS[options.row](options.count, Path(name))
        print(json.dumps(figures))
        return
    quick = {row: 1 if row in FIXED or not options.quick else QUICK for row in ROWS}
    sizes = {row: size // quick[row] for row, size in SIZES.items()}
    rounds: dict[str, list[dict[str, float]]] = {row: [] for row in options.only}
    for _ in range(options.rounds):
        for row in options.only:
            rounds[row].append(measured(row, sizes[row]))
    print(f"median of {options.rounds} rounds, full sync unless said otherwise\n")
    show(table(options.only, sizes, rounds), markdown=options.markdown)


if __name__ == "__main__":
    main()
