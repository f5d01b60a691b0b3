"""The page on testing: each of its examples is a whole file, and passes for who copies it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pytest_runs import TOP, run_pytest

PAGE = TOP / "docs" / "testing.md"
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
TESTS = sorted(name for name in FILES if name.startswith("test_"))


def test_every_block_of_the_page_is_a_file() -> None:
    assert len(FILES) == PAGE.read_text("utf-8").count("```python") >= 10


@pytest.mark.parametrize("name", TESTS)
def test_an_example_passes(tmp_path: Path, name: str) -> None:
    for each, text in FILES.items():
        if each == name or each not in TESTS:
            (tmp_path / each).write_text(text)
    run = run_pytest(tmp_path, "-q", "-p", "_hypothesis_pytestplugin")
    assert run.returncode == pytest.ExitCode.OK, run.stdout
