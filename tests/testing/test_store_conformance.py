"""The cases of store conformance find what is wrong with a store: each wrong one of a table."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pytest_runs import run_pytest
from wrong_stores import WRONG

from meerkat.testing import StoreCapability, StoreConformance
from meerkat.testing.store_conformance import cases_for

HOST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from wrong_stores import WRONG, cases_of
for number, wrong in enumerate(WRONG):
    cases = globals()[f"Test{{number}}"] = cases_of(wrong)
    cases.__module__, cases.__qualname__ = __name__, f"Test{{number}}"
"""
"""The test file of a host that has all of them."""


def outcomes(report: Path) -> dict[str, set[str]]:
    """What became of each class's cases: failed, in error, skipped, or nothing of that."""
    found: dict[str, set[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        ends = {each.tag for each in case} & {"failure", "error", "skipped"}
        found.setdefault(case.attrib["classname"].split(".")[-1], set()).update(ends or {"passed"})
    return found


def test_each_wrong_store_fails_the_case_that_is_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text(HOST)
    named = [
        f"test_wrong.py::Test{number}::test_{wrong.found_by}" for number, wrong in enumerate(WRONG)
    ]
    run = run_pytest(tmp_path, *named, "--junitxml=report.xml")
    found = outcomes(tmp_path / "report.xml")
    missed = [
        wrong.store.__name__
        for number, wrong in enumerate(WRONG)
        if "failure" not in found.get(f"Test{number}", ())
    ]
    assert not missed, run.stdout
    assert all("error" not in each for each in found.values()), run.stdout
    assert len(WRONG) >= 30


def test_there_are_many_cases_and_each_is_for_a_store_of_every_capability() -> None:
    class Everything(StoreConformance):
        capabilities = StoreCapability

    class Nothing(StoreConformance):
        pass

    able, plain = cases_for(Everything), cases_for(Nothing)
    assert len(able) >= 45
    assert set(plain) < set(able)
    assert len(able) - len(plain) >= len(StoreCapability)


def test_a_capability_that_is_none_is_refused_where_the_class_is_written() -> None:
    with pytest.raises(ValueError, match=r"Boastful has .* that there are not: flies; there are"):

        class Boastful(StoreConformance):
            capabilities = ("durable", "flies")  # type: ignore[assignment]


def test_a_class_that_does_not_say_how_its_store_is_opened_fails(tmp_path: Path) -> None:
    (tmp_path / "test_empty.py").write_text(
        "from meerkat.testing import StoreConformance\nclass TestEmpty(StoreConformance): pass\n"
    )
    run = run_pytest(tmp_path, "-k", "unknown_runtime")
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "TestEmpty says how its store is opened" in run.stdout
