"""Every block of code in the docs does what the page says; ``page_blocks`` says how."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest import SkipTest

import page_blocks
import pytest
from page_blocks import TOP, files, parsed, same

PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
RUN = [page for page in PAGES if list(parsed(page).examples())]
SHOWS = [(page, name) for page in RUN for name, _ in files(parsed(page))]
TESTS = [(page, name) for page, name in SHOWS if name.startswith("test_")]

SHOWN = {"text", "json"}
"""What is there to be read."""


def named(value: Path | str) -> str:
    return str(value.relative_to(TOP)) if isinstance(value, Path) else value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page is worked; what is imported from there is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", RUN, ids=named)
def test_a_page_can_be_followed(folder: Path, page: Path) -> None:
    for example in parsed(page).examples():
        with suppress(SkipTest):  # the others are done all the same
            example.evaluate()


@pytest.mark.parametrize(("page", "name"), TESTS, ids=named)
def test_a_test_that_a_page_shows_passes(folder: Path, page: Path, name: str) -> None:
    for each, text in files(parsed(page)):
        if each == name or not each.startswith("test_"):
            (folder / each).write_text(text, encoding="utf-8")
    page_blocks.passes(name)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_block_is_of_a_language_that_nobody_runs(page: Path) -> None:
    fences = re.findall(r"^ *```(.*)$", page.read_text("utf-8"), re.MULTILINE)
    opened = {each for each in fences[::2] if not each.startswith("{")}
    assert opened <= {"python", "output", "console", "sh"} | SHOWN


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_is_skipped_has_a_reason(page: Path) -> None:
    for said in re.findall(r"skip: *(.*?) *-->", page.read_text("utf-8")):
        assert re.fullmatch(r'(start|next) "[^"]{10,}"|end', said), said


# --- that a wrong page is seen ------------------------------------------------------------

WRONG = {
    "an error": "```python\n1 / 0\n```",
    "another output": "```python\nprint(1)\n```\n\n```output\n2\n```",
    "a command that fails": "```console\n$ false\n```",
    "a command that prints something else": "```console\n$ echo one\ntwo\n```",
    "a command that prints more": "```console\n$ echo one two\none\n```",
    "a script that fails": "```sh\nfalse\ntrue\n```",
    "a name of another page": "```python\nplane\n```",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_page_is_seen(folder: Path, text: str) -> None:
    (folder / "page.md").write_text(text)
    with pytest.raises((AssertionError, ArithmeticError, NameError)):
        test_a_page_can_be_followed(folder, folder / "page.md")


def test_a_right_page_passes(folder: Path) -> None:
    (folder / "page.md").write_text(
        "```python\n# mine.py\nWHO = 'world'\n```\n\n```python\nfrom mine import WHO\n```\n\n"
        "```python\nprint('hello', WHO)\n```\n\n```output\nhello …\n```\n\n"
        "```console\n$ false\n$ echo $?\n1\n$ echo one \\\n  two\none two\n$ cat mine.py\n"
        '# mine.py\n…\n```\n\n<!-- skip: next "it would fail" -->\n\n```sh\nfalse\n```\n'
    )
    test_a_page_can_be_followed(folder, folder / "page.md")


def test_anything_may_be_left_out_of_an_output() -> None:
    same("a\nb\nc 1  \n", "a\n…\nc …")
    with pytest.raises(AssertionError):
        same("a\nb\nd 1\n", "a\n…\nc …")
