"""The files of the page: small, plain, with nothing in them that a policy would have to allow."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "actors/dashboard/static"
MODULES = sorted(STATIC.rglob("*.js"))
FILES = sorted(file for file in STATIC.rglob("*.*") if file.is_file())

LINES_MAX = 300

NODE = shutil.which("node")

MARKUP = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser"
"""What would read a text as markup or as a program."""


def name_of(file: Path) -> str:
    return str(file.relative_to(STATIC))


@pytest.mark.skipif(NODE is None, reason="there is no node")
@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_a_program(module: Path, tmp_path: Path) -> None:
    copy = tmp_path / f"{module.stem}.mjs"  # the name by which node knows a module
    copy.write_bytes(module.read_bytes())
    checked = subprocess.run(
        [str(NODE), "--check", copy], check=False, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_is_small_and_opens_with_its_rule(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) < LINES_MAX
    if file.suffix in {".js", ".css"}:
        assert lines[0].startswith("/*")


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_text_is_read_as_markup(module: Path) -> None:
    assert re.findall(MARKUP, module.read_text()) == []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_nothing_is_fetched_from_elsewhere(file: Path) -> None:
    addresses = re.findall(r"(?:https?:)?//[a-z][\w.-]+\.[a-z]+[^\s\"']*", file.read_text())
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}


def test_every_module_is_imported_and_what_is_imported_is_there() -> None:
    imported = {STATIC / "app.js", STATIC / "theme.js"}  # named by the page itself
    for module in MODULES:
        for path in re.findall(r"from \"(\.[^\"]+)\"", module.read_text()):
            imported.add((module.parent / path).resolve())
    assert imported == set(MODULES)


def test_the_page_names_its_files_relatively() -> None:
    named = re.findall(r"(?:src|href)=\"([^\"]+)\"", (STATIC / "index.html").read_text())
    files = {each for each in named if not each.startswith("#")}
    assert all((STATIC.parent / each).is_file() for each in files), files


def test_the_page_names_all_its_modules_so_that_none_is_found_late() -> None:
    named = re.findall(r"modulepreload\" href=\"([^\"]+)\"", (STATIC / "index.html").read_text())
    others = {STATIC / "app.js", STATIC / "theme.js"}
    assert {STATIC.parent / each for each in named} == set(MODULES) - others
