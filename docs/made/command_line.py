"""The page of the command line: what each command's own help says."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from typing import Final

from actors.cli.arguments import COMMANDS
from actors.cli.grammar import Command
from actors.cli.status import MEANS
from made.markdown import MADE, table

_HEAD: Final = f"""\
# The command line

{MADE}
`meerkat COMMAND --help` says the same in a terminal. What to do with them, at three in the
morning, is in [operating](../how-to/operating.md).
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            _HEAD,
            *table(("Command", "What it does"), (_in_short(each) for each in COMMANDS)),
            "## Exit statuses\n",
            *table(("Status", "Means"), ((int(each), said) for each, said in MEANS.items())),
            *(line for each in COMMANDS for line in _command(each)),
        ]
    )


def _in_short(command: Command) -> tuple[str, str]:
    return f"[`meerkat {command.name}`](#meerkat-{command.name})", command.summary


def _command(command: Command) -> Iterator[str]:
    yield f"## meerkat {command.name}\n"
    about, _, examples = command.help.partition("examples:\n")
    yield "```text"
    yield " ".join(["meerkat", command.name, *command.operand.split(), "[options]"])
    yield "```\n"
    for paragraph in about.strip().split("\n\n"):
        yield from _paragraph(paragraph)
    if examples:
        yield "```text"
        yield textwrap.dedent(examples).strip()
        yield "```\n"
    yield from table(("Option", "What it says"), _options(command))


def _paragraph(text: str) -> Iterator[str]:
    """A paragraph of a help; what is set in is kept as it stands."""
    head, *rest = text.splitlines()
    inner = [line for line in rest if line.startswith(" ")]
    if inner:
        yield from (head, "", "```text", textwrap.dedent("\n".join(inner)), "```\n")
    else:
        yield text + "\n"


def _options(command: Command) -> Iterator[tuple[str, str]]:
    parser = argparse.ArgumentParser(add_help=False)
    command.add_options(parser)
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        shown = action.metavar if isinstance(action.metavar, str) else ""
        names = ", ".join(f"`{f'{each} {shown}'.strip()}`" for each in action.option_strings)
        help_text = (action.help or "") % {
            **vars(action),
            "prog": "meerkat",
            "choices": ", ".join(map(str, action.choices or ())),
        }
        yield names or f"`{shown}`", help_text
