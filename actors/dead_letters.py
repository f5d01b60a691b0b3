"""Dead letters: messages for something that has ended, which nobody answers any more.

A call that comes too late is answered with an error, and a message whose runtime lives on is
handed to its next driver. What is left, a timer's or a run's word to a driver that has gone,
is counted here, so that nothing is dropped in silence.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

from attrs import frozen

from meerkat.identifiers import LogicalRuntimeId

DEAD_LETTERS_KEPT: Final = 256
"""The latest ones that can be read; all are counted."""


@frozen(kw_only=True)
class DeadLetter:
    """A message that came too late: for whom, what kind of message, and when (UTC)."""

    runtime_id: LogicalRuntimeId
    message: str
    at: datetime


@frozen(kw_only=True)
class DeadLetters:
    """How many there were since the start, and the latest of them, the oldest first."""

    count: int
    latest: tuple[DeadLetter, ...]


class DeadLetterBox:
    """Where they are put. Thread-safe."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._count = 0
        self._latest: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_KEPT)

    def put(self, runtime_id: LogicalRuntimeId, message: object) -> None:
        """Count one; of the message, its kind is kept and nothing else."""
        letter = DeadLetter(runtime_id=runtime_id, message=type(message).__name__, at=self._now())
        with self._lock:
            self._count += 1
            self._latest.append(letter)

    @property
    def count(self) -> int:
        """How many there were. Takes no lock."""
        return self._count

    def read(self) -> DeadLetters:
        """What was put here so far."""
        with self._lock:
            return DeadLetters(count=self._count, latest=tuple(self._latest))
