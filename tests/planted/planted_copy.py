"""Copies of the two packages, and what tests say of them in a process of their own.

Such a process is a fork of one that has imported all but the two packages and the tests.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from importlib.util import cache_from_source
from pathlib import Path

import planted_witness as witness
from attrs import frozen
from planted_bug import Bug
from warm_starts import WarmStart

from meerkat.testing.postgres_server import URL_VARIABLE, postgres_url

TOP = Path(__file__).resolve().parents[2]
PACKAGES = ("meerkat", "actors")

TEST_S = 30
"""Seconds until a test that hangs is interrupted, which is no finding."""

WAIT_S = 3
"""Seconds that a test waits for what a bug keeps from coming. The control has as few."""

PROCESS_S = 110
"""Seconds until the process is given up: its tests take a few."""

IMPORTED = (
    *("_pytest.assertion.rewrite", "_pytest.config", "_pytest.terminal", "_pytest.python"),
    *("_pytest.runner", "_pytest.tmpdir", "_pytest.monkeypatch", "_pytest.junitxml"),
    *("asyncio", "attrs", "cattrs.preconf.orjson", "concurrent.futures.thread", "orjson"),
    *("hypothesis", "hypothesis.stateful", "multiprocessing.context", "psycopg", "psycopg_pool"),
    *("pykka", "sqlite3", "uuid6"),
)
"""What the packages and the tests need, and no copy changes."""


@frozen
class Verdict:
    """What the tests said: pytest's exit status, and each failure with its reason."""

    status: int
    failures: tuple[str, ...]
    honest: bool
    output: str

    @property
    def passed(self) -> bool:
        """Did tests run, and all of them pass?"""
        return self.status == 0

    @property
    def found(self) -> bool:
        """Did a test fail, and did every failure say what is wrong?"""
        return self.status == 1 and bool(self.failures) and self.honest


def copy_to(folder: Path) -> Path:
    """The two packages as they are now, compiled as far as they are."""
    for package in PACKAGES:
        shutil.copytree(TOP / package, folder / package)
    return folder


def plant(bug: Bug, copy: Path) -> None:
    """Put a bug into a copy."""
    source = copy / bug.file
    source.write_text(bug.planted_in(source.read_text()))
    Path(cache_from_source(str(source))).unlink(missing_ok=True)


def warm_start() -> WarmStart:
    """A process whose forks run tests, each against the copy that it stands in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    own = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what is not needed costs half of the time
        "MEERKAT_WAIT_S": str(WAIT_S),
        URL_VARIABLE: postgres_url(),  # one server for all of them
        "PYTHONPATH": str(Path(__file__).parent),
    }
    return WarmStart(kept | own, "pytest", *IMPORTED)


def run(start: WarmStart, copy: Path, tests: Iterable[str], *options: str) -> Verdict:
    """Run tests of ours against a copy."""
    report = copy / "report.json"
    with (copy / "said.txt").open("w+b") as said, Path(os.devnull).open("rb") as nothing:
        status = start.begin(
            *("-q", "--tb=line", "-c", str(TOP / "pyproject.toml")),
            *("-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", witness.__name__),
            *(f"--rootdir={TOP}", f"--timeout={TEST_S}", *options),
            *(str(TOP / "tests" / test) for test in tests),
            cwd=copy,
            streams=(nothing.fileno(), said.fileno(), said.fileno()),
            **{
                "PYTHONPATH": os.pathsep.join([str(copy), str(Path(__file__).parent)]),
                witness.COPY: str(copy),
                witness.REPORT: str(report),
            },
        ).wait(PROCESS_S)
        said.seek(0)
        output = said.read().decode(errors="replace")[-6000:]
    failures = json.loads(report.read_text()) if report.exists() else []
    return Verdict(
        status,
        tuple(f"{each['test']}: {each['said']}" for each in failures),
        all(each["honest"] for each in failures),
        output,
    )
