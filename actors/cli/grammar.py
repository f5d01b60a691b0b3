"""Grammar: what the commands of the command line have in common.

A command's module has its :class:`Command` beside what it does: its operand, its options, its
help, and how the options become a value. ``arguments`` has the list of all.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Final

from attrs import frozen

from actors.cli.status import MEANS, ExitStatus, UsageError
from meerkat.errors import StoreError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeStore, open_store

DEFAULT_STORE: Final = "sqlite:///meerkat.db"

_DIGITS_MAX: Final = 15
"""Of a number: more than anybody has of anything, and less than SQLite cannot count to."""

_NARROW: Final = 40
_INDENT: Final = " " * len("usage: ")


def _statuses() -> str:
    lines = ["exit status:"]
    for status, means in MEANS.items():
        lines += textwrap.wrap(f"  {status:<3}  {means}", _NARROW, subsequent_indent=" " * 7)
    return "\n".join(lines) + "\n"


STATUSES: Final = _statuses()


@frozen(kw_only=True)
class Command:
    """One command. ``help`` is in lines that fit a narrow terminal, without the exit statuses."""

    name: str
    operand: str = ""
    summary: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    act: Callable[[argparse.Namespace], ExitStatus]

    def add_to(self, commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add it to the commands of a parser."""
        usage = " ".join(["meerkat", self.name, *self.operand.split(), "[options]"])
        parser = commands.add_parser(
            self.name,
            help=self.summary,
            description=f"{self.help}\n{STATUSES}",
            usage=textwrap.fill(f"{_INDENT}{usage}", _NARROW, subsequent_indent=_INDENT).lstrip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_options(parser)
        parser.set_defaults(act=self.act, refuse=parser.error)


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add ``--store``."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=DEFAULT_STORE,
        help="where sessions are kept (default: %(default)s)",
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add the operand that names a runtime."""
    parser.add_argument(
        "runtime", metavar="RUNTIME", type=_runtime_id, help="the id of the runtime"
    )


def optional_runtime(parser: argparse.ArgumentParser) -> None:
    """Add the operand that names a runtime, or all of them by not being there."""
    parser.add_argument(
        "runtime",
        metavar="RUNTIME",
        nargs="?",
        type=_runtime_id,
        help="the id of the runtime (default: all)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")


def store_of(given: argparse.Namespace) -> RuntimeStore:
    """The store that ``--store`` names; UsageError as by :func:`store_at`."""
    return store_at(given.store, said_by="--store")


def store_at(url: str, *, said_by: str) -> RuntimeStore:
    """The store of a URL; UsageError for one of another form, or without what it needs."""
    try:
        return open_store(url)
    except StoreError as error:
        raise UsageError(f"{said_by}: {error.text}") from error
    except ModuleNotFoundError as missing:  # of an extra; it says which
        raise UsageError(f"{said_by}: {missing}") from missing


def positive(text: str) -> int:
    """A number above 0 that a store can count to, as argparse wants to be told."""
    if not text.isascii() or not text.isdigit() or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    if len(text.lstrip("0")) > _DIGITS_MAX:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} has more than {_DIGITS_MAX} digits")
    return int(text)


def _runtime_id(text: str) -> LogicalRuntimeId:
    try:
        return LogicalRuntimeId(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
