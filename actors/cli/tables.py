"""Tables: rows for people, as wide as their terminal, and as wide as need be elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from actors.cli.texts import one_line

_UNBOUNDED: Final = 10_000
"""Columns of what is no terminal: a line is a row, for whatever reads lines."""

_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print it to standard output. The first column is folded where the terminal is narrow.

    A number stands to the right, and a column with nothing in it not at all. What came from
    elsewhere is made fit for a terminal.
    """
    console = Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _UNBOUNDED,
        highlight=False,
        soft_wrap=False,
        color_system=None,
    )
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="")
    found = list(zip(*([_cell(value) for value in row] for row in rows), strict=True))
    filled = [number for number, cells in enumerate(found) if any(cell.plain for cell in cells)]
    for number in filled:
        right = all(cell.justify == "right" for cell in found[number])
        table.add_column(columns[number], overflow="fold", justify="right" if right else "left")
    for row in zip(*(found[number] for number in filled), strict=True):
        table.add_row(*row)
    console.print(table)


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    return Text(one_line(str(value)), justify="right" if isinstance(value, int) else "left")


def age(since: datetime | None, now: datetime) -> str | None:
    """How long ago something was, in its largest unit; what is to come was just now."""
    if since is None:
        return None
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in _AGES:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "0 s"
