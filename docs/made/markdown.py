"""Markdown: what all pages that are made from the code are put together of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sphinx.pycode import ModuleAnalyzer

MADE: Final = """\
This page is made from the code by `python docs/make_reference.py`; a test fails when it is not up
to date.
"""


def table(names: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """The lines of a table, and an empty one."""
    names = tuple(names)
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def said_of(module: str, of: str = "") -> dict[str, str]:
    """What the text behind each name of a class, or of a module, says, on one line."""
    docs = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {
        name: " ".join(text for text in lines if text)
        for (owner, name), lines in docs.items()
        if owner == of
    }
