"""Exit statuses, what they mean, and the errors that lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class ExitStatus(IntEnum):
    """What the command says when it ends."""

    OK = 0
    TROUBLE = 1
    USAGE = 2
    STORE = 3
    INTERRUPTED = 130  # 128 + SIGINT, as a shell would say
    CLOSED_OUTPUT = 141  # 128 + SIGPIPE


MEANS: Final[Mapping[ExitStatus, str]] = {
    ExitStatus.OK: "everything was done",
    ExitStatus.TROUBLE: (
        "a bad line, an input that was refused or given up, nothing of that name, or something "
        "wrong; the rest was done"
    ),
    ExitStatus.USAGE: "the command line is wrong; nothing was started",
    ExitStatus.STORE: "the store refused or failed; the message names the file, and its owner",
    ExitStatus.INTERRUPTED: "stopped by Ctrl-C or SIGTERM",
    ExitStatus.CLOSED_OUTPUT: "whoever read the output went away",
}
"""What each of them tells; every help and every table in the docs has these words."""


class UsageError(Exception):
    """The command line is wrong; its text is what the user reads."""


class NotFoundError(Exception):
    """What the user asked for is not there; its text is what the user reads."""


class OwnerError(Exception):
    """The database's owner cannot be asked, or says no; its text is what the user reads."""

    def __init__(self, text: str, status: ExitStatus = ExitStatus.STORE) -> None:
        super().__init__(text)
        self.status = status
