"""Progress: how far a job is, on standard error.

A terminal gets a bar that fits it; anything else gets whole lines, few of them. A reader
that goes away ends the telling, never the job.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Protocol, TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Column

from actors.cli.outputs import say
from actors.clock import Clock

SHOW_EVERY_S: Final = 0.1
"""A bar is drawn ten times a second; more would be work nobody sees."""

LINE_EVERY_S: Final = 5.0
"""Lines in a log: often enough to see that it goes on."""

BAR_COLUMNS_MIN: Final = 40
"""A terminal with fewer columns gets the count alone, which is never cut."""

LABEL: Final = "inputs "

SHOW_CURSOR: Final = b"\x1b[?25h"
"""What a bar that is cut off leaves undone."""


class Progress(Protocol):
    """Where a job tells how far it is. Used by the main thread only; never raises."""

    def note(self, text: str) -> None:
        """Tell something that stays to be read."""
        ...

    def show(self, ended: int, known: int) -> None:
        """Tell how many inputs have ended, of how many that are known so far."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; notes go on. Idempotent."""
        ...


def progress_on(stream: TextIO | None, clock: Clock) -> Progress:
    """The progress that suits where standard error leads."""
    if stream is not None and stream.isatty():
        console = Console(file=stream, highlight=False)
        if not console.is_dumb_terminal:
            return Bar(console, clock)
    return Lines(stream, clock)


class Lines:
    """Whole lines, for a pipe or a file."""

    def __init__(self, stream: TextIO | None, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._last = clock.monotonic()

    def note(self, text: str) -> None:
        """Write a line."""
        say(text, self._stream)

    def show(self, ended: int, known: int) -> None:
        """Write a line every few seconds."""
        now = self._clock.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            self.note(f"{ended} of {known} inputs have ended")

    def close(self) -> None:
        """There is nothing to undo."""


def _wide_columns() -> list[ProgressColumn]:
    return [
        TextColumn(LABEL.strip()),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        TimeElapsedColumn(),
    ]


def _narrow_columns() -> list[ProgressColumn]:
    return [TextColumn("{task.fields[count]}")]


class Bar:
    """A bar at the foot of a terminal, notes above it."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._last = clock.monotonic()
        self._narrow = console.width < BAR_COLUMNS_MIN
        self._bar = RichProgress(
            *(_narrow_columns() if self._narrow else _wide_columns()),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("", total=None, count="")
        self._bar.start()

    def note(self, text: str) -> None:
        """Write above the bar."""
        with suppress(OSError, ValueError):
            self._console.print(f"meerkat: {escape(text)}", soft_wrap=True)

    def show(self, ended: int, known: int) -> None:
        """Move the bar."""
        now = self._clock.monotonic()
        if now - self._last >= SHOW_EVERY_S:
            self._last = now
            count = f"{ended}/{known or '?'}"
            if len(count) + len(LABEL) <= self._console.width:
                count = LABEL + count
            self._bar.update(self._task, completed=ended, total=known or None, count=count)

    def close(self) -> None:
        """Take the bar away."""
        with suppress(OSError, ValueError):
            self._bar.stop()
