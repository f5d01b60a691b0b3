"""Exit statuses, and the errors that lead to them. The README's table is made of these."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """What the command says when it ends."""

    OK = 0
    """Everything was done."""
    TROUBLE = 1
    """A bad line, an input that was given up, nothing of that name, or something wrong."""
    USAGE = 2
    """The command line itself is wrong; nothing was started."""
    STORE = 3
    """The store refused or failed; the message names the file, and its owner."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM; 128 + SIGINT, as a shell would say."""
    CLOSED_OUTPUT = 141
    """Whoever read our output went away; 128 + SIGPIPE."""


class UsageError(Exception):
    """The command line is wrong; its text is what the user reads."""


class NotFoundError(Exception):
    """What the user asked for is not there; its text is what the user reads."""
