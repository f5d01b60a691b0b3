"""Arguments: the commands of the command line, and which of them is meant."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Final

from actors.cli.backup import BACKUP
from actors.cli.control import BY_HAND
from actors.cli.doctor import DOCTOR
from actors.cli.inputs import INPUTS
from actors.cli.receipts import RECEIPTS
from actors.cli.run import RUN
from actors.cli.runtimes import RUNTIMES
from actors.cli.show import SHOW
from actors.cli.status import ExitStatus
from actors.cli.tidying import PRUNE, VACUUM

COMMANDS: Final = (
    RUN,
    SHOW,
    RUNTIMES,
    INPUTS,
    RECEIPTS,
    DOCTOR,
    BACKUP,
    PRUNE,
    VACUUM,
    *BY_HAND,
)

DISTRIBUTION: Final = "meerkat-runtime"


def act_on(arguments: Sequence[str]) -> ExitStatus:
    """Do what the arguments say.

    Raises SystemExit with the status after help, or after a message about wrong usage, and
    what the command raises.
    """
    given = _parser().parse_args(arguments, argparse.Namespace(arguments=tuple(arguments)))
    act: Callable[[argparse.Namespace], ExitStatus] = given.act
    return act(given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meerkat", description="Durable agent sessions from the command line."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "(not installed)"
