"""Performing: which executor the options of a command name."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from attrs import frozen

from actors.cli.command import CommandExecutor
from actors.cli.executors import load_executor
from actors.executors import Executor


@frozen(kw_only=True)
class Performer:
    """An executor, and what ends everything that it has started outside this process."""

    executor: Executor
    kill_all: Callable[[], None] = lambda: None


def add_executors(parser: argparse.ArgumentParser, without: str) -> None:
    """Add ``--executor`` and ``--command``; ``without`` says what there is without them."""
    executors = parser.add_mutually_exclusive_group()
    executors.add_argument(
        "--executor",
        metavar="MODULE:NAME",
        help=f"a function (context, primitive) -> RunOutput; without one, {without}",
    )
    executors.add_argument(
        "--command",
        metavar="CMD",
        help="a program started for each run: JSON in, JSON out",
    )


def performer_of(executor: str | None, command: str | None) -> Performer | None:
    """What the options name; None for neither. UsageError for one that cannot be used."""
    if command is not None:
        program = CommandExecutor(command)
        return Performer(executor=program, kill_all=program.kill_all)
    if executor is not None:
        return Performer(executor=load_executor(executor))
    return None
