"""Silence: how long a shard has been there and given no answer.

Ray starts again what has ended, and sees no difference between a process that works and one that
hangs: whoever asks it does. Counted is from the last answer on, and only while nothing says that
the shard has ended: what is being started anew, or waits for room, is not silent.
"""

from __future__ import annotations

import threading
from typing import Final

CALL_S: Final = 30.0
"""How long any remote call may take beyond what it waits for itself."""

CALLS_IN_SILENCE: Final = 3
"""A shard is asked at least so often before it is taken to hang."""


class Silence:
    """How long one shard has been silent, by the times that it is given. Thread-safe.

    ``max_s`` is how long it may be; None for ever.
    """

    def __init__(self, max_s: float | None) -> None:
        self._max_s = max_s
        self._lock = threading.Lock()
        self._answered_at: float | None = None

    @property
    def call_s(self) -> float:
        """How long an answer is waited for, so that a silence is noticed while it lasts."""
        return CALL_S if self._max_s is None else min(CALL_S, self._max_s / CALLS_IN_SILENCE)

    def answered(self, now: float) -> None:
        """It has answered."""
        with self._lock:
            self._answered_at = now

    def ended(self) -> None:
        """It has ended, or cannot be reached: until it answers again it is not silent."""
        with self._lock:
            self._answered_at = None

    def is_too_long(self, now: float) -> bool:
        """It did not answer in time: is it to be replaced? That is said once."""
        with self._lock:
            since, max_s = self._answered_at, self._max_s
            if since is None or max_s is None or now - since < max_s:
                return False
            self._answered_at = None
            return True
