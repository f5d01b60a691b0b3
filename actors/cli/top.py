"""``meerkat top``: what goes on, at a glance, again and again.

What is drawn is ``top_frame``'s; here it is drawn where somebody looks: in place on a terminal,
line by line elsewhere.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from attrs import frozen
from rich.console import Console
from rich.live import Live
from rich.text import Text

from actors.cli.glance import Glances, Sort
from actors.cli.grammar import Command, add_json, add_store, store_of
from actors.cli.keys import END, Keys, keys
from actors.cli.rates import percentile, rate, seen_since
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line
from actors.cli.top_frame import Frame, Glance, frame
from actors.clock import SystemClock
from actors.facts import text_of_time
from meerkat.store import RuntimeStore

INTERVAL_S: Final = 2.0
"""How often it looks, unless it is said: often enough to follow, and nothing to a store."""

INTERVAL_MIN_S: Final = 0.1

LIMIT: Final = 50
"""Runtimes that are listed where no terminal says how many fit."""

LEAVE: Final = frozenset(("q", "Q", END))


@frozen(kw_only=True)
class TopOptions:
    """What the command line says."""

    store: RuntimeStore
    name: str
    interval_s: float
    once: bool
    sort: Sort
    json: bool


def top(options: TopOptions) -> ExitStatus:
    """Show it until somebody has seen enough. Raises UsageError and StoreError."""
    console = Console(highlight=False)
    fit = sys.stdout.isatty() and not console.is_dumb_terminal
    drawn = fit and not (options.once or options.json)
    with closing(options.store):
        glances = Glances(options.store, options.name, options.sort, SystemClock())
        try:
            with keys(sys.stdin if drawn else None) as typed:
                if drawn:
                    _draw(glances, options, console, typed)
                else:
                    _print(glances, options, typed)
        except KeyboardInterrupt:  # whoever ends it knows; nothing is left undone
            return ExitStatus.INTERRUPTED
    return ExitStatus.OK


def _draw(glances: Glances, options: TopOptions, console: Console, typed: Keys) -> None:
    """In place, on a screen of its own, until q."""
    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
        glance = glances.look(console.height)
        while True:
            live.update(_styled(frame(glance, console.width), console.height), refresh=True)
            key = typed.within(options.interval_s)
            if LEAVE & set(key):
                return
            glance = glances.look(console.height)


def _styled(shown: Frame, height: int) -> Text:
    lines = [Text(line, no_wrap=True, overflow="crop") for line in shown.lines[:height]]
    place = len(shown.head) + 1
    if shown.rows and place < len(lines):
        lines[place].stylize("reverse")
    return Text("\n", no_wrap=True, overflow="crop").join(lines)


def _print(glances: Glances, options: TopOptions, typed: Keys) -> None:
    """One frame after the other; with ``once`` there is no other."""
    say: Callable[[Glance], str] = _json if options.json else _text
    while True:
        print(say(glances.look(LIMIT)), flush=True)
        if options.once:
            return
        typed.within(options.interval_s)
        if not options.json:
            print()


def _text(glance: Glance) -> str:
    return "\n".join(frame(glance, shutil.get_terminal_size().columns).lines)


# --- for programs -----------------------------------------------------------------------


def _json(glance: Glance) -> str:
    return json_line(
        {
            "store": glance.store,
            "at": text_of_time(glance.at),
            "owner": glance.owner,
            "note": glance.note,
            "figures": glance.figures,
            "now": _now(glance),
            "runtimes": glance.runtimes,
        }
    )


def _now(glance: Glance) -> dict[str, Any] | None:
    """What the figures come to since the look before, or since the start without one."""
    now, before = glance.figures, glance.before
    if now is None:
        return None
    said: dict[str, Any] = {f"{name}_a_s": rate(name, before, now) for name in _COUNTED}
    for name in _MEASURED:
        histogram = seen_since(name, before, now)
        for q in (50, 99):
            value = percentile(histogram, q / 100)
            finite = value is not None and math.isfinite(value)
            said[f"{name.removesuffix('_s')}_p{q}_s"] = value if finite else None
    return said


_COUNTED: Final = ("accepted", "consumed", "runs")
_MEASURED: Final = ("accept_to_durable_s", "accept_to_consumed_s")


# --- the command ------------------------------------------------------------------------


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not INTERVAL_MIN_S <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {INTERVAL_MIN_S} on")
    return seconds


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    parser.add_argument(
        "--interval",
        metavar="S",
        type=_interval,
        default=INTERVAL_S,
        help="seconds between two looks (default: %(default)g)",
    )
    parser.add_argument("--once", action="store_true", help="look once")
    parser.add_argument(
        "--sort",
        metavar="BY",
        choices=[str(each) for each in Sort],
        default=str(Sort.PENDING),
        help="pending, oldest, or age of the run in hand (default: %(default)s)",
    )
    add_json(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return top(
        TopOptions(
            store=store_of(given),
            name=given.store,
            interval_s=given.interval,
            once=given.once,
            sort=Sort(given.sort),
            json=given.json,
        )
    )


TOP: Final = Command(
    name="top",
    summary="watch what goes on",
    help="""\
Show what goes on, again and again: how
much is taken in and worked, how long it
takes, and the runtimes that have most
to do. From the page of the process that
has the database, or from what is stored
where it serves none. q ends it.

examples:
  meerkat top
  meerkat top --sort oldest
  meerkat top --once --json

""",
    add_options=_add_options,
    act=_act,
)
