"""Figures: what the tests of the reliability table counted, printed under the test run.

Lines with the same heading are one line with their counts added up: a long test is several
short ones. ``--figures FILE`` writes them as JSON, too, for ``tests/reliability/table.py``.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from actors.ground import ground_here

RELEASE = os.environ.get("MEERKAT_RELIABILITY") == "release"
"""The sizes before a release; else those of every commit."""

_COUNTED = re.compile(r"(?P<what>.*\S) (?P<count>\d[\d,_]*)")


@pytest.fixture(autouse=True)
def nobody_stays_in_a_simulation() -> Iterator[None]:
    """The next test of this process would wait for a clock that stands still."""
    yield
    assert ground_here() is None


@pytest.fixture
def sized() -> Callable[[int, int], int]:
    """How many of something: ``sized(on every commit, before a release)``."""
    return lambda commit, release: release if RELEASE else commit


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line of figures: ``figure("1 SIGKILL: kills 500; acknowledged inputs lost 0")``.

    The counts of tests that print the same heading and the same words are added up.
    """
    return lambda line: request.node.user_properties.append(("figure", line))


@pytest.fixture
def no_news() -> Iterator[None]:
    """Nothing is logged: faults that were told to happen are nothing new."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", type=Path, help="write the figures to this file, as JSON")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    reports = [each for found in terminalreporter.stats.values() for each in found]
    lines = summed(
        value
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in getattr(report, "user_properties", ())
        if name == "figure"
    )
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
    if config.option.figures is not None:
        config.option.figures.write_text(json.dumps(lines, indent=1) + "\n")


def summed(lines: Iterable[str]) -> list[str]:
    """One line for each heading and its words, in the order of the numbers they open with."""
    totals: dict[tuple[str, tuple[str, ...]], Counter[str]] = {}
    for line in lines:
        heading, _, said = line.partition(": ")
        counted = [_COUNTED.fullmatch(each) for each in said.split("; ")]
        if not all(counted):
            totals.setdefault((line, ()), Counter())
            continue
        counts = {each["what"]: int(re.sub("[,_]", "", each["count"])) for each in counted if each}
        totals.setdefault((heading, tuple(counts)), Counter()).update(counts)
    found = [
        heading + ": " * bool(words) + "; ".join(f"{word} {counts[word]:,}" for word in words)
        for (heading, words), counts in totals.items()
    ]
    return sorted(found, key=lambda line: (len(line.partition(" ")[0]), line))
