"""Tests of the tests: each planted bug is found by the test that is named for it.

A bug is planted into a copy of both packages, and its test is run against that copy in a
process of its own. The control runs the same tests against an unchanged copy: what fails
there finds nothing. README.md says how to plant one more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import bugs_of_actors
import bugs_of_meerkat
import planted_copy
import pytest
from planted_bug import Bug
from warm_starts import WarmStart

BUGS: Final = (*bugs_of_meerkat.BUGS, *bugs_of_actors.BUGS)
BUGS_MIN: Final = 30
FOLDERS: Final = sorted({bug.found_by.partition("/")[0] for bug in BUGS})

A_BUG: Final = BUGS[0]


@pytest.fixture(scope="module")
def start() -> Iterator[WarmStart]:
    with planted_copy.warm_start() as start:
        yield start


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(
    start: WarmStart, bug: Bug, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    copy = planted_copy.copy_to(tmp_path)
    planted_copy.plant(bug, copy)
    said = planted_copy.run(start, copy, [bug.found_by], "-x")
    figure(f"planted bugs: planted 1; found {int(said.found)}")
    assert said.found, f"{bug.found_by} has not found it: {said.failures}\n{said.output}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_control_finds_nothing(start: WarmStart, folder: str, tmp_path: Path) -> None:
    named = {bug.found_by for bug in BUGS if bug.found_by.startswith(f"{folder}/")}
    said = planted_copy.run(start, planted_copy.copy_to(tmp_path), sorted(named))
    assert said.passed, f"{said.failures}\n{said.output}"


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= BUGS_MIN
    assert len({(bug.file, bug.old, bug.new) for bug in BUGS}) == len(BUGS)


# --- what is no finding -----------------------------------------------------------------


def test_a_bug_that_its_test_does_not_see_is_not_found(start: WarmStart, tmp_path: Path) -> None:
    copy = planted_copy.copy_to(tmp_path)
    planted_copy.plant(A_BUG, copy)
    said = planted_copy.run(start, copy, ["meerkat/test_limits.py"])
    assert (said.passed, said.found) == (True, False)


@pytest.mark.parametrize("broken", ["import nowhere\n", "def (\n", "raise NameError\n"])
def test_a_copy_that_does_not_run_finds_nothing(
    start: WarmStart, tmp_path: Path, broken: str
) -> None:
    copy = planted_copy.copy_to(tmp_path)
    source = copy / "meerkat" / "limits.py"
    source.write_text(f"{source.read_text()}\n{broken}")
    said = planted_copy.run(start, copy, ["meerkat/test_limits.py"])
    assert (said.passed, said.found) == (False, False)


def test_an_error_in_the_product_s_own_code_is_no_finding(start: WarmStart, tmp_path: Path) -> None:
    copy = planted_copy.copy_to(tmp_path)
    source = copy / "meerkat" / "kernel" / "accept.py"
    text = source.read_text()
    source.write_text(text.replace("refuse_unless_admitting(head)\n", "nowhere(head)\n", 1))
    said = planted_copy.run(start, copy, [A_BUG.found_by])
    assert said.failures
    assert not said.found


def test_a_test_that_does_not_exist_finds_nothing(start: WarmStart, tmp_path: Path) -> None:
    said = planted_copy.run(
        start, planted_copy.copy_to(tmp_path), ["meerkat/test_limits.py::test_none"]
    )
    assert (said.passed, said.found) == (False, False)


def test_an_edit_without_a_single_place_is_refused(tmp_path: Path) -> None:
    copy = planted_copy.copy_to(tmp_path)
    planted_copy.plant(A_BUG, copy)
    with pytest.raises(LookupError, match="0 places"):
        planted_copy.plant(A_BUG, copy)
    with pytest.raises(LookupError, match="places for"):
        planted_copy.plant(Bug("many", "meerkat/ledger.py", "self", "it", ""), copy)


def test_tests_that_would_see_another_copy_are_not_run(start: WarmStart, tmp_path: Path) -> None:
    """The installed packages, say: they would pass whatever is planted."""
    lines = f"import sys\nsys.path.insert(0, {str(planted_copy.TOP)!r})\n"
    (tmp_path / "actors.py").write_text(f"{lines}del sys.modules['actors']\nimport actors\n")
    said = planted_copy.run(start, tmp_path, ["meerkat/test_limits.py"])
    assert (said.passed, said.found) == (False, False)
    assert "and not the copy" in said.output
