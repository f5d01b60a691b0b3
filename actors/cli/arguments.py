"""Arguments: the commands of the command line, and which of them is meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Final

from actors.cli import completion
from actors.cli.backup import BACKUP
from actors.cli.control import BY_HAND
from actors.cli.copying import COPY
from actors.cli.doctor import DOCTOR
from actors.cli.events import EVENTS
from actors.cli.inputs import INPUTS
from actors.cli.receipts import RECEIPTS
from actors.cli.run import RUN
from actors.cli.runtimes import RUNTIMES
from actors.cli.serve import SERVE
from actors.cli.show import SHOW
from actors.cli.status import ExitStatus, UsageError
from actors.cli.tidying import PRUNE, VACUUM
from actors.cli.top import TOP
from actors.version import version

COMMANDS: Final = (
    RUN,
    SHOW,
    RUNTIMES,
    INPUTS,
    RECEIPTS,
    EVENTS,
    TOP,
    SERVE,
    DOCTOR,
    BACKUP,
    COPY,
    PRUNE,
    VACUUM,
    *BY_HAND,
    completion.COMPLETION,
)


_LISTED: Final = "meerkat --help lists the commands"


def act_on(arguments: Sequence[str]) -> ExitStatus:
    """Do what the arguments say.

    Raises UsageError where they name no command, SystemExit with the status after help, or
    after a message about wrong usage, and what the command raises.
    """
    parser = _parser()
    if completion.is_asked():
        completion.answer(parser)
    meant = _as_options(arguments)
    known = argparse.Namespace(arguments=tuple(arguments))
    given, others = parser.parse_known_args(meant, known)
    if others:  # refused by the command, whose usage says what it takes
        given.refuse(f"it does not take {' '.join(others)}")
    act: Callable[[argparse.Namespace], ExitStatus] = given.act
    return act(given)


def _as_options(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments as the parser reads them; UsageError where they name no command."""
    if not arguments:
        raise UsageError(f"say what to do: {_LISTED}")
    first, *others = arguments
    if first == "help":
        return [*_as_options(others)[:1], "--help"] if others else ["--help"]
    names = [each.name for each in COMMANDS]
    if first in names or first.startswith("-"):
        return arguments
    alike = difflib.get_close_matches(first, names, n=3)
    meant = f"did you mean {' or '.join(alike)}? " if alike else ""
    raise UsageError(f"there is no command {first[:40]!r}; {meant}{_LISTED}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meerkat",
        description="Durable agent sessions from the command line.",
        epilog="meerkat COMMAND --help has examples.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser
