"""News: what the rest of the process has to tell the main thread, through one queue."""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeAlias

from attrs import frozen

from actors.cli.inputs_file import InputLine
from meerkat.identifiers import LogicalRuntimeId
from meerkat.outcomes import AcceptOutcome, CompletionOutcome


class Interrupted(Exception):
    """The user wants the job to stop."""


class ExecutorLeft(Exception):
    """The executor takes no more runs; what waits is for another one."""


@frozen(eq=False)
class Decided:
    """An offered line was accepted, or was not."""

    line: InputLine
    accepted: Future[AcceptOutcome]
    completion: Future[CompletionOutcome]


@frozen(eq=False)
class Ended:
    """An input has ended; ``line`` is None for one that no line of the file stands for."""

    runtime_id: LogicalRuntimeId
    line: InputLine | None
    future: Future[CompletionOutcome]


News: TypeAlias = Decided | Ended | Exception
"""An exception is raised where the main thread waits."""

NewsQueue: TypeAlias = "SimpleQueue[News]"
"""Whose ``put`` may be called from anywhere, a signal handler included."""
