"""``meerkat completion``: the Tab key of a shell, which asks the program what may follow.

argcomplete knows the shells, and reads commands, options and words from the very parser that
reads the command line; only what stands in a database is added here, in ``completers``.
"""

from __future__ import annotations

import argparse
import os
from typing import Final, NoReturn

from actors.cli.grammar import Command
from actors.cli.status import ExitStatus, NotFoundError

SHELLS: Final = ("bash", "zsh", "fish")

_MISSING: Final = "completion needs argcomplete: pip install 'meerkat-runtime[completion]'"


def is_asked() -> bool:
    """Does a shell ask what may follow, in the place of a person who wants something done?"""
    return "_ARGCOMPLETE" in os.environ


def answer(parser: argparse.ArgumentParser) -> NoReturn:
    """Tell the shell what may follow, and end the process. Whatever happens, nothing is done."""
    try:
        from actors.cli.completers import complete  # noqa: PLC0415 - when it is asked for
    except ModuleNotFoundError:
        raise SystemExit(ExitStatus.TROUBLE) from None
    complete(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    try:
        from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - when it is asked for
    except ModuleNotFoundError as missing:
        raise NotFoundError(_MISSING) from missing
    print(shellcode(["meerkat"], use_defaults=False, shell=given.shell).strip())
    return ExitStatus.OK


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


COMPLETION: Final = Command(
    name="completion",
    operand="SHELL",
    summary="make the Tab key work",
    help="""\
Print what a shell is to read at its
start, so that Tab completes commands,
options, and the names of runtimes.

examples:
  eval "$(meerkat completion bash)"
  eval "$(meerkat completion zsh)"
  meerkat completion fish | source
""",
    add_options=_add_options,
    act=_act,
)
