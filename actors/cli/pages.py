"""Pages: how the listings of what is stored are asked for and printed, a page at a time.

They read beside a running process. For people there is a table and on standard error where it
goes on; for programs one line of JSON.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

from attrs import frozen

from actors.cli.grammar import add_json, positive
from actors.cli.outputs import say
from actors.cli.status import UsageError
from actors.cli.tables import age, print_table
from actors.cli.texts import json_line
from actors.clock import SystemClock
from actors.facts import Facts, plain
from meerkat.store import Page, RuntimeStore

T = TypeVar("T")

Columns: TypeAlias = Mapping[str, Callable[[Facts], Any]]
"""A table for people: its headings, and what stands below them. A time is shown as an age."""


def fact(name: str) -> Callable[[Facts], Any]:
    """A column that shows one fact as it is."""
    return itemgetter(name)


@frozen(kw_only=True)
class Paging:
    """Which page, and how it is printed."""

    after: str | None
    limit: int
    json: bool


def read_page(
    read: Callable[[RuntimeStore], Page[T]], store: RuntimeStore, paging: Paging
) -> Page[T]:
    """A page of a store; UsageError for a place that no page has named."""
    try:
        return read(store)
    except ValueError as error:
        raise UsageError(f"--after: {paging.after!r} is no place that a page has named") from error


def print_page(
    name: str, following: str | None, shown: Iterable[Facts], columns: Columns, paging: Paging
) -> None:
    """Print it, as JSON on one line or as a table; where it goes on, on standard error."""
    if paging.json:
        print(json_line({name: [plain(facts) for facts in shown], "next": following}))
        return
    now = SystemClock().now()
    rows = [[_cell(cell(facts), now) for cell in columns.values()] for facts in shown]
    if rows:
        print_table(list(columns), rows)
    else:
        say(f"no {name}")
    if following is not None:
        say(f"there are more: --after {shlex.quote(following)}")


def _cell(value: Any, now: datetime) -> Any:
    return age(value, now) if isinstance(value, datetime) else value


PAGE: Final = 50
"""Lines of a listing, unless it is said: what one looks through."""


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add ``--limit``."""
    parser.add_argument(
        "--limit", metavar="N", type=positive, default=PAGE, help="how many (default: %(default)s)"
    )


def add_paging(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which page, and how it is printed."""
    add_limit(parser)
    parser.add_argument("--after", metavar="PLACE", help="go on where the last page said")
    add_json(parser)


def paging_of(given: argparse.Namespace) -> Paging:
    """Which page was asked for."""
    return Paging(after=given.after, limit=given.limit, json=given.json)
