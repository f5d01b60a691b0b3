"""The pytest plugin of meerkat: sees to it that the cases of store conformance really run.

Pytest loads it wherever meerkat is installed, at every start. So it stands beside the packages,
as anything in them would load meerkat, and imports nothing but pytest.

A subclass of ``meerkat.testing.StoreConformance`` is collected whatever its name is. A run in
which none of the cases of such a class ran fails: all were skipped, so nothing was shown. With
``--store-conformance`` a run without any such class fails, too: for CI, where a file that is no
longer found must not pass for a store that conforms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any, Final

import pytest

KIT: Final = "meerkat.testing.store_conformance"
MARK: Final = "is_store_conformance"
"""What a class of cases is known by; in the bases, which are not run themselves, of their own."""

pytest.register_assert_rewrite(KIT)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--store-conformance``."""
    parser.getgroup("meerkat").addoption(
        "--store-conformance",
        action="store_true",
        help="fail a run in which no store conformance case ran",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Count where the reports arrive: in the process that was started, not in its workers."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Counted(config), "meerkat_store_conformance")


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module | pytest.Class, name: str, obj: object
) -> pytest.Collector | None:
    """Collect the subclasses, whatever their names are."""
    if not isinstance(obj, type) or not getattr(obj, MARK, False) or MARK in vars(obj):
        return None
    collected: pytest.Collector = pytest.Class.from_parent(collector, name=name, obj=obj)
    return collected


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in a case's report which store it was run for, and what it needs that is missing."""
    report = yield
    cases: Any = getattr(item, "cls", None)
    if isinstance(item, pytest.Function) and getattr(cases, MARK, False):
        store = item.nodeid.partition("::")[0] + "::" + cases.__name__
        # The attributes of a report travel from a worker to whoever started it, as JSON.
        report.store_conformance = [store, cases.missing_for(item.function)]  # type: ignore[attr-defined]
    return report


class _Counted:
    """How many cases ran, and were skipped for what, for each store."""

    def __init__(self, config: pytest.Config) -> None:
        self._asked: bool = config.option.store_conformance and not config.option.collectonly
        self._ran: Counter[str] = Counter()
        self._skipped: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        store, missing = getattr(report, "store_conformance", (None, []))
        if store is None:
            return
        skipped = self._skipped.setdefault(store, Counter())
        if report.skipped and not hasattr(report, "wasxfail"):
            skipped[", ".join(missing) or "for reasons of its own"] += 1
        elif report.when == "call":
            self._ran[store] += 1

    @property
    def _nothing_ran(self) -> list[str]:
        """What is wrong with the run, a line each."""
        idle = [f"no case ran for {each}" for each in self._skipped if not self._ran[each]]
        if self._asked and not self._ran and not idle:
            return ["no case ran, as no subclass of StoreConformance was found"]
        return idle

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        passed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if self._nothing_ran and session.exitstatus in passed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for store, skipped in sorted(self._skipped.items()):
            why = ", ".join(f"{what} {count}" for what, count in sorted(skipped.items()))
            terminalreporter.write_line(
                f"store conformance: {store}: {self._ran[store]} ran, {skipped.total()} skipped"
                + (f" ({why})" if why else "")
            )
        for line in self._nothing_ran:
            terminalreporter.write_line(f"store conformance: {line}", red=True)
