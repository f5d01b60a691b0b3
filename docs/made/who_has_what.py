"""The picture of several processes on one database: who has which runtime, and what says so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from made.drawing import arrow, box, drawing, words

TITLE: Final = (
    "Three processes over one PostgreSQL. Process A has the runtimes r1 and r2, process B has r3; "
    "each renews the lease of its row in the table of owners. B offers an input for r1 by writing "
    "its row, and a hint wakes A. Process C was killed: once its lease is over, B takes up r4 with "
    "a commit that names B as its owner. A commit is taken if its fence is the stored one and no "
    "other owner has a lease on the runtime."
)

_TOP: Final = 24
_PROCESS: Final = (20, 335, 650)
_WIDTH: Final = 270
_HEIGHT: Final = 150
_TABLES: Final = 362
_LINE: Final = 24

_OWNERS: Final = (
    ("A", "12:00:09"),
    ("B", "12:00:08"),
    ("C", "11:59:58, over"),
)
_RUNTIMES: Final = (
    ("r1", "fence 7", "A"),
    ("r2", "fence 3", "A"),
    ("r3", "fence 12", "B"),
    ("r4", "fence 5", "C, then B"),
)
_INPUTS: Final = (
    ("r1", "number 3", "staged"),
    ("r1", "no number", "offered by B"),
    ("r4", "number 0", "queued"),
)


def picture() -> str:
    """The whole picture."""
    return drawing(940, 560, TITLE, [*_processes(), *_database(), *_arrows()])


def _processes() -> Iterator[str]:
    a, b, c = _PROCESS
    for x, name, about in (
        (a, "process A", "has r1 and r2"),
        (b, "process B", "has r3, takes up r4"),
    ):
        yield box(x, _TOP, _WIDTH, _HEIGHT)
        yield words(x + _WIDTH / 2, _TOP + 26, name, "title")
        yield words(x + _WIDTH / 2, _TOP + 44, about, "soft")
    for x, runtime in ((a + 16, "r1"), (a + 142, "r2"), (b + 16, "r3"), (b + 142, "r4")):
        yield box(x, _TOP + 62, 112, 72, "strong")
        yield words(x + 56, _TOP + 92, f"driver of {runtime}", "title")
        yield words(x + 56, _TOP + 112, "one at a time", "soft")
    yield (
        f'<rect class="box" x="{c}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        'stroke-dasharray="6 5"/>'
    )
    yield words(c + _WIDTH / 2, _TOP + 26, "process C", "title")
    yield words(c + _WIDTH / 2, _TOP + 44, "killed, stopped or cut off; had r4", "soft")
    yield words(c + _WIDTH / 2, _TOP + 88, "should it come back, its commit of r4", "soft")
    yield words(c + _WIDTH / 2, _TOP + 106, "is refused: the fence has moved", "soft")


def _database() -> Iterator[str]:
    a, b, c = _PROCESS
    yield box(a, _TABLES - 16, c + _WIDTH - a, 194)
    middle = (a + c + _WIDTH) / 2
    yield words(middle, _TABLES + 164, "PostgreSQL: its rows and its clock decide", "title")
    yield from _table(a + 16, "owners: a lease each", _OWNERS, (0, 46))
    yield from _table(b, "runtimes: a fence, an owner", _RUNTIMES, (0, 46, 128))
    yield from _table(c - 16, "inputs", _INPUTS, (0, 46, 138))


def _table(
    x: float, title: str, rows: Sequence[Sequence[str]], columns: Sequence[float]
) -> Iterator[str]:
    yield box(x, _TABLES, _WIDTH, 140, "strong")
    yield words(x + 14, _TABLES + 24, title, "title left")
    for number, row in enumerate(rows):
        for place, value in zip(columns, row, strict=True):
            yield words(x + 14 + place, _TABLES + 48 + _LINE * number, value, "soft left")


def _arrows() -> Iterator[str]:
    bottom = _TOP + _HEIGHT
    yield arrow(f"M90 {bottom} V{_TABLES - 2}")
    yield words(98, 208, "renews its lease", "soft on left")
    yield arrow(f"M236 {bottom} V258 H400 V{_TABLES - 2}")
    yield words(244, 248, "commits r1, if its fence is 7", "soft on left")
    yield arrow(f"M470 {bottom} V{_TABLES - 2}")
    yield words(478, 226, "takes up r4:", "soft on left")
    yield words(478, 243, "C's lease is over", "soft on left")
    yield arrow(f"M590 {bottom} V292 H700 V{_TABLES - 2}")
    yield words(598, 282, "offers an input for r1, and a hint wakes A", "soft on left")
