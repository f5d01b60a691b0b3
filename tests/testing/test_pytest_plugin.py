"""The pytest plugin: cases are found and counted, a run without any fails, and it is light."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
from pytest_runs import TOP, run_pytest

PASSED, FAILED = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED

STORE = """
import pytest
from meerkat.store import MemoryStore
from meerkat.testing import StoreConformance

class {name}(StoreConformance):
    def open_store(self, place):
        {first}
        return MemoryStore()
"""
OTHER = "def test_something_else(): pass\n"
FEW = "unknown_runtime or next_instance"
"""Enough cases to count: one that any store runs, and two that need a durable one."""


def write_store(folder: Path, name: str = "TestMine", first: str = "") -> None:
    (folder / "test_store.py").write_text(STORE.format(name=name, first=first))
    (folder / "test_other.py").write_text(OTHER)


@pytest.mark.parametrize("name", ["TestMine", "MyStoreCases"])
def test_the_cases_of_a_store_are_counted_whatever_its_class_is_called(
    tmp_path: Path, name: str
) -> None:
    write_store(tmp_path, name)
    run = run_pytest(tmp_path, "-k", FEW)
    assert run.returncode == PASSED, run.stdout
    said = f"store conformance: test_store.py::{name}: 1 ran, 2 skipped (durable 2)"
    assert said in run.stdout


def test_workers_counts_are_one(tmp_path: Path) -> None:
    write_store(tmp_path)
    run = run_pytest(tmp_path, "-k", FEW, "-p", "xdist", "-n", "2")
    assert run.returncode == PASSED, run.stdout
    said = "store conformance: test_store.py::TestMine: 1 ran, 2 skipped (durable 2)"
    assert run.stdout.count(said) == 1


@pytest.mark.parametrize("also", [(), ("-p", "xdist", "-n", "2")], ids=["one", "workers"])
def test_a_run_in_which_every_case_was_skipped_fails(tmp_path: Path, also: tuple[str, ...]) -> None:
    write_store(tmp_path, first="pytest.skip('no server')")
    run = run_pytest(tmp_path, "-k", FEW + " or something_else", *also)
    assert run.returncode == FAILED
    assert "1 passed, 3 skipped" in run.stdout
    assert "no case ran for test_store.py::TestMine" in run.stdout


def test_of_two_stores_each_must_have_run(tmp_path: Path) -> None:
    write_store(tmp_path)
    second = STORE.format(name="TestServer", first="pytest.skip('no server')")
    (tmp_path / "test_second.py").write_text(second)
    run = run_pytest(tmp_path, "-k", FEW)
    assert run.returncode == FAILED
    assert "no case ran for test_second.py::TestServer" in run.stdout
    assert "no case ran for test_store.py::TestMine" not in run.stdout


def test_a_run_that_asks_for_conformance_fails_without_any(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(OTHER)
    asked = run_pytest(tmp_path, "--store-conformance")
    assert asked.returncode == FAILED
    assert "no case ran, as no subclass of StoreConformance was found" in asked.stdout
    assert run_pytest(tmp_path).returncode == PASSED
    assert run_pytest(tmp_path, "--store-conformance", "--collect-only").returncode == PASSED
    write_store(tmp_path)
    assert run_pytest(tmp_path, "--store-conformance", "-k", FEW).returncode == PASSED


def test_a_case_that_fails_is_shown_with_its_values(tmp_path: Path) -> None:
    write_store(tmp_path, first="MemoryStore.load_active_inputs = lambda *_: [7]")
    run = run_pytest(tmp_path, "-k", FEW)
    assert run.returncode == FAILED
    assert "assert [7] == []" in run.stdout


def test_the_bases_are_not_run_themselves(tmp_path: Path) -> None:
    (tmp_path / "test_store.py").write_text(
        "from meerkat.testing import StoreConformance\n"
        "from meerkat.testing.store_conformance import *\n"
        "def test_one(): pass\n"
    )
    run = run_pytest(tmp_path)
    assert run.returncode == PASSED
    assert "1 passed" in run.stdout


def test_it_loads_nothing_where_nobody_asks_for_the_kit(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    heavy = {'meerkat', 'actors', 'hypothesis', 'attrs', 'cattrs', 'pykka', 'sqlite3'}\n"
        "    assert 'meerkat_pytest' in sys.modules\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    run = run_pytest(tmp_path)
    assert run.returncode == PASSED, run.stdout


def test_an_installation_has_it() -> None:
    """Under the name of its module, so that ``-p`` does not load it twice."""
    declared = configparser.ConfigParser()
    declared.read(TOP / "setup.cfg")
    assert declared["options.entry_points"]["pytest11"].split() == [
        "meerkat_pytest",
        "=",
        "meerkat_pytest",
    ]
    assert declared["options"]["py_modules"] == "meerkat_pytest"
