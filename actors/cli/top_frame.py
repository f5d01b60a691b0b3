"""The frame of ``meerkat top``: facts in, lines of text out. Nothing here touches the world.

Above: what the process that has the database does. Below: the runtimes with most to do. A line
is never wider than the terminal; what matters least leaves first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from io import StringIO
from typing import Any, Final

from attrs import frozen
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from actors.cli.rates import Figures, percentile, rate, seen_since, time_in
from actors.cli.tables import age
from actors.cli.texts import counted, one_line
from actors.facts import Facts, note_of, state_of

WIDTH_MIN: Final = 20
"""Columns that are drawn for, however narrow a terminal says it is."""


@frozen(kw_only=True)
class Glance:
    """What is known at one moment: JSON facts, whether a process or the file told them."""

    store: str
    at: datetime
    owner: str | None = None
    """Who works on the database, as far as is known."""
    note: str | None = None
    """Why the process that works tells nothing; None when it does."""
    figures: Figures | None = None
    before: Figures | None = None
    """The figures of the look before."""
    runtimes: Sequence[Facts] = ()


@frozen(kw_only=True)
class Frame:
    """What is drawn. No line is wider than was asked for."""

    head: tuple[str, ...]
    heading: str
    rows: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, from above."""
        table = (self.heading, *self.rows) if self.rows else ("no runtime has anything to do",)
        return (*self.head, "", *table)


def frame(glance: Glance, width: int) -> Frame:
    """Draw it for a terminal with so many columns."""
    width = max(width, WIDTH_MIN)
    heading, *rows = _table(glance, width)
    return Frame(head=_head(glance, width), heading=heading, rows=tuple(rows))


# --- the head ---------------------------------------------------------------------------


def _head(glance: Glance, width: int) -> tuple[str, ...]:
    grid = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 1, 0, 0))
    grid.add_row("store", _text(f"{glance.store}  {glance.at:%H:%M:%S} UTC"))
    for label, said in (("owner", glance.owner), ("note", glance.note)):
        if said is not None:
            grid.add_row(label, _text(said))
    if glance.figures is not None:
        for label, parts in _PARTS.items():
            found = [part for part in parts(glance.figures, glance.before, glance.at) if part]
            if found:
                grid.add_row(label, ", ".join(found))
    return _drawn(grid, width)


def _working(now: Figures, before: Figures | None, _at: datetime) -> list[str | None]:
    return [
        _per_s("accepted", before, now),
        _per_s("consumed", before, now),
        _per_s("runs", before, now),
        None if before else "since the start",
    ]


def _runs(now: Figures, _before: Figures | None, _at: datetime) -> list[str | None]:
    waiting = now["waiting_for_slot"]
    return [
        f"{now['runs_in_hand']:,} of {now['max_concurrent_runs']:,} in hand",
        f"{waiting:,} wait for a slot" if waiting else None,
    ]


def _inputs(now: Figures, _before: Figures | None, at: datetime) -> list[str | None]:
    waits = age(time_in(now["oldest_at"]), at)
    return [
        f"{now['pending_inputs']:,} pending",
        f"oldest waits {waits}" if waits else None,
        f"{now['open_calls']:,} calls open" if now["open_calls"] else None,
    ]


def _latency(name: str) -> Callable[[Figures, Figures | None, datetime], list[str | None]]:
    def said(now: Figures, before: Figures | None, _at: datetime) -> list[str | None]:
        histogram = seen_since(name, before, now)
        values = {q: percentile(histogram, q / 100) for q in (50, 99)}
        return [
            f"p{q} {_seconds(value, histogram['bounds'][-1])}"
            for q, value in values.items()
            if value is not None
        ]

    return said


def _memory(now: Figures, _before: Figures | None, _at: datetime) -> list[str | None]:
    return [counted(now["live_runtimes"], "runtime"), _some(now, "set_aside", "set aside")]


def _trouble(now: Figures, _before: Figures | None, _at: datetime) -> list[str | None]:
    return [_some(now, name, text) for name, text in _TROUBLE.items()]


def _some(now: Figures, name: str, text: str) -> str | None:
    return f"{now[name]:,} {text}" if now.get(name) else None


_TROUBLE: Final[Mapping[str, str]] = {
    "overloaded": "offers without room",
    "failed_attempts": "failed attempts",
    "abandoned": "abandoned",
    "restarts": "restarts",
    "journal_restarts": "journal restarts",
    "commit_errors": "commit errors",
    "dead_letters": "dead letters",
}
"""Counts since the start that are shown once there is something to count."""

_PARTS: Final[Mapping[str, Callable[[Figures, Figures | None, datetime], list[str | None]]]] = {
    "rate": _working,
    "runs": _runs,
    "inputs": _inputs,
    "durable": _latency("accept_to_durable_s"),
    "consumed": _latency("accept_to_consumed_s"),
    "memory": _memory,
    "so far": _trouble,
}
"""The lines of the head: their labels, and what they say."""


def _per_s(name: str, before: Figures | None, now: Figures) -> str:
    return f"{rate(name, before, now):,.1f} {name}/s"


_UNITS: Final = ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "us", 1e6))


def _seconds(value: float, last: float) -> str:
    if math.isinf(value):
        return f">{last:g} s"
    size, unit = next((size, unit) for least, unit, size in _UNITS if value >= least)
    return f"{value * size:.3g} {unit}"


# --- the table --------------------------------------------------------------------------

Cell = Callable[[Facts, datetime], str]


@frozen(kw_only=True)
class _Shown:
    """A column: what stands in it, and from which width of the terminal on it is there."""

    cell: Cell
    from_width: int = 0
    right: bool = False
    shrinks: bool = False


def _since(facts: Mapping[str, Any] | None, name: str, at: datetime) -> str:
    return "" if facts is None else age(time_in(facts.get(name)), at) or ""


def _tries(facts: Facts, _at: datetime) -> str:
    attempt = (facts.get("run") or {}).get("attempt")
    return "" if attempt is None else str(attempt)


_COLUMNS: Final[Mapping[str, _Shown]] = {
    "RUNTIME": _Shown(cell=lambda facts, _: str(facts["runtime_id"]), shrinks=True),
    "STATE": _Shown(cell=lambda facts, _: state_of(facts), from_width=60),
    "PENDING": _Shown(cell=lambda facts, _: f"{facts['pending_inputs']:,}", right=True),
    "OLDEST": _Shown(cell=lambda facts, at: _since(facts, "oldest_at", at), from_width=36),
    "RUN": _Shown(cell=lambda facts, at: _since(facts.get("run"), "began_at", at), from_width=28),
    "TRY": _Shown(cell=_tries, from_width=72, right=True),
    "NOTE": _Shown(cell=lambda facts, _: note_of(facts) or "", from_width=52, shrinks=True),
}
"""The columns by heading. A narrow terminal is for what runs and what waits."""


def _table(glance: Glance, width: int) -> tuple[str, ...]:
    shown = {name: each for name, each in _COLUMNS.items() if each.from_width <= width}
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name, each in shown.items():
        table.add_column(
            name,
            justify="right" if each.right else "left",
            no_wrap=not each.shrinks,
            overflow="ellipsis",
        )
    for facts in glance.runtimes:
        table.add_row(*(_text(each.cell(facts, glance.at), wraps=False) for each in shown.values()))
    return _drawn(table, width)


# --- drawing ----------------------------------------------------------------------------


def _text(foreign: str, *, wraps: bool = True) -> Text:
    """A text that may hold anything, on one line of its own unless it ``wraps``."""
    return Text(one_line(foreign), no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")


def _drawn(table: Table, width: int) -> tuple[str, ...]:
    paper = Console(file=StringIO(), width=width, color_system=None, legacy_windows=False)
    with paper.capture() as captured:
        paper.print(table)
    return tuple(line.rstrip() for line in captured.get().splitlines())
