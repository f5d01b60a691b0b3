"""Outputs: standard output and standard error, whose readers may go away at any time."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def replace_the_closed() -> None:
    """Put nothing in the place of each standard stream that was closed before we began.

    Python has None there, and the next file that is opened would get its number: what others
    write to a standard stream would be in the database.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - for good


def say(text: str, stream: TextIO | None = None) -> None:
    """Write a line about the job to standard error, or to ``stream``; never raises."""
    stream = stream or sys.stderr
    try:
        print(f"meerkat: {text}", file=stream, flush=True)
    except (OSError, ValueError):
        drop(stream)


def drop(stream: TextIO | None) -> None:
    """Send all that is still to be written nowhere, what waits in the buffer included.

    Otherwise the interpreter would try it again at its end, and end badly.
    """
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
