"""One command: the tests of the reliability table, and their figures on its page in the docs.

``python tests/reliability/table.py`` runs them at the sizes of every commit, ``--release`` at
those before a release, which takes most of a day; ``--jobs 2`` on two processes. What stands
between the two marks of the page is its own: the last cell of each row is the figures that
open with the words of the first, or those of the last time where nothing was measured, as of
test 12 on every commit. Nothing is written unless everything passes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "explanation" / "reliability.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"

TESTS = [
    "tests/reliability",
    "tests/planted",
    "tests/actors/test_plane_canary.py",
    "tests/actors/test_plane_limits.py",
    "tests/actors/test_plane_live_limit.py",
    "tests/ray/test_ray_nodes.py",
    "tests/store/test_sqlite_connections.py",
    "tests/store/test_sqlite_file.py",
]
"""Where figures of the page are printed."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", action="store_true", help="the sizes before a release")
    parser.add_argument(
        "--jobs", default="", help="processes that share the tests, by pytest-xdist"
    )
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "figures.json")
        status = run(figures, release=asked.release, jobs=asked.jobs)
        if status:
            sys.stderr.write("a test failed: the page stays as it was\n")
            return status
        lines = json.loads(figures.read_text())
    PAGE.write_text(with_figures(PAGE.read_text(), lines, measured(release=asked.release)))
    return 0


def run(figures: Path, *, release: bool, jobs: str) -> int:
    """Run the tests; their exit status."""
    command = [sys.executable, "-m", "pytest", "-q", "--figures", str(figures)]
    command += ["-n", jobs] if jobs else []
    command += [each for each in TESTS if (TOP / each).exists()]
    sizes = {"MEERKAT_RELIABILITY": "release"} if release else {}
    command += ["-o", "timeout=0"] if release else []
    return subprocess.run(command, cwd=TOP, env={**os.environ, **sizes}, check=False).returncode


def measured(*, release: bool) -> str:
    """When the figures were measured, where, and at which sizes."""
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} at the sizes "
        f"{'before a release' if release else 'of every commit'}: "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} on {platform.machine()}, "
        f"{os.cpu_count()} cores."
    )


def with_figures(page: str, lines: Sequence[str], when: str) -> str:
    """The page with these figures in the tables between its marks, and no other."""
    before, _, rest = page.partition(BEGIN)
    tables, _, after = rest.partition(END)
    if not tables:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    kept = [line for line in tables.strip().splitlines() if not line.startswith("Measured on ")]
    rows = "\n".join(_with_figure(line, lines) for line in kept).strip()
    return f"{before}{BEGIN}\n{when}\n\n{rows}\n{END}{after}"


def _with_figure(row: str, lines: Sequence[str]) -> str:
    cells = row.split(" | ")
    if len(cells) < 2 or set(row) <= set("|- ") or cells[-1] == "Figure |":
        return row
    found = list(_figures_of(cells[0].strip("| *"), lines))
    return " | ".join([*cells[:-1], f"{'<br>'.join(found)} |"]) if found else row


def _figures_of(name: str, lines: Sequence[str]) -> Iterator[str]:
    """The figures whose heading opens with a name: all of it, or with what it is about."""
    for line in lines:
        heading, _, said = line.partition(": ")
        part = re.fullmatch(rf"{re.escape(name)}\b,? ?(.*)", heading)
        if part:
            about = part[1].partition(", ")[2] if name.isdecimal() else part[1]
            yield f"{about}: {said}" if about else said or line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
