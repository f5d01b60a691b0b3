"""Asking: before something is given up for good, whoever sits there is asked."""

from __future__ import annotations

import argparse
import sys

from actors.cli.status import UsageError


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def agreed(command: str, loses: str) -> bool:
    """Ask whether to go on; UsageError where nobody sits who could be asked."""
    if not sys.stdin.isatty():
        raise UsageError(f"{command}: {loses}; say --yes, or call it on a terminal")
    print(f"{command}: {loses}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
