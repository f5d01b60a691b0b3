"""Tables: rows for people. Where the terminal is too narrow, a row is a few lines.

What came from elsewhere is made fit for a terminal.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.cells import cell_len

from actors.cli.texts import one_line

_GAP: Final = "  "

_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print it to standard output: numbers to the right, and no column with nothing in it."""
    cells = list(zip(*rows, strict=True))
    filled = [number for number, column in enumerate(cells) if set(column) - {None, ""}]
    names = [columns[number] for number in filled]
    texts = [[_text(value) for value in cells[number]] for number in filled]
    right = [all(isinstance(value, int) for value in cells[number]) for number in filled]
    widths = [max(map(cell_len, (name, *found))) for name, found in zip(names, texts, strict=True)]
    if sys.stdout.isatty() and sum(widths) + len(_GAP) * len(widths) > _terminal():
        _print_blocks(names, zip(*texts, strict=True))
        return
    for row in (names, *zip(*texts, strict=True)):
        padded = map(_padded, row, widths, right)
        print(_GAP.join(padded).rstrip())


def _print_blocks(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Each row on lines of its own, one for each of its cells that is not empty."""
    width = max(map(len, names))
    for number, row in enumerate(rows):
        if number:
            print()
        for name, text in zip(names, row, strict=True):
            if text:
                print(f"{name.lower():<{width}} {text}")


def _terminal() -> int:
    return shutil.get_terminal_size().columns


def _text(value: object) -> str:
    return "" if value is None else one_line(str(value))


def _padded(text: str, width: int, right: bool) -> str:  # noqa: FBT001 - one of three columns
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def age(since: datetime | None, now: datetime) -> str | None:
    """How long ago something was, in its largest unit; what is to come was just now."""
    if since is None:
        return None
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in _AGES:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "0 s"
