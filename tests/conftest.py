"""Figures: what the tests of the reliability table counted, printed under the test run."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

RELEASE = os.environ.get("MEERKAT_RELIABILITY") == "release"
"""The sizes before a release; else those of every commit."""


@pytest.fixture
def sized() -> Callable[[int, int], int]:
    """How many of something: ``sized(on every commit, before a release)``."""
    return lambda commit, release: release if RELEASE else commit


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line of figures: ``figure("1 SIGKILL: kills 500; acknowledged inputs lost 0")``."""
    return lambda line: request.node.user_properties.append(("figure", line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for found in terminalreporter.stats.values() for each in found]
    lines = {
        value
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "figure"
    }
    if lines:
        terminalreporter.section("figures")
        for line in sorted(lines, key=lambda line: (len(line.partition(" ")[0]), line)):
            terminalreporter.write_line(line)
