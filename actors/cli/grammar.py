"""Grammar: what the commands of the command line have in common.

A command's module has its :class:`Command` beside what it does: its operand, its options, its
help, and how the options become a value. ``arguments`` has the list of all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final

from attrs import frozen

from actors.cli.status import ExitStatus, UsageError
from meerkat.errors import StoreError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeStore, open_store

DEFAULT_STORE: Final = "sqlite:///meerkat.db"

STATUSES: Final = """\
exit status:
  0    everything was done
  1    a bad line, an input that was
       refused or given up, no such
       runtime, or something wrong
  2    the command line is wrong
  3    the store refused or failed
  130  stopped by Ctrl-C or SIGTERM
  141  the reader of the output left
"""


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
        parser = commands.add_parser(
            self.name,
            help=self.summary,
            description=f"{self.help}\n{STATUSES}",
            usage=" ".join(["meerkat", self.name, *self.operand.split(), "[options]"]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_options(parser)
        parser.set_defaults(act=self.act)


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


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def store_of(given: argparse.Namespace) -> RuntimeStore:
    """The store that was named; UsageError for a URL of another form."""
    try:
        return open_store(given.store)
    except StoreError as error:
        raise UsageError(f"--store: {error.text}") from error


def positive(text: str) -> int:
    """A number above 0, as argparse wants to be told."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _runtime_id(text: str) -> LogicalRuntimeId:
    try:
        return LogicalRuntimeId(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
