"""Clock: the only reader of time and chance, and the one timer of a system.

Everything else is handed the time. A test puts its own clock in the place of
:class:`SystemClock`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

from actors.light import LightCondition
from actors.logs import without_text
from actors.pool import serve_here

logger = logging.getLogger(__name__)

CANCELLED_MAX: Final = 64
"""Cancelled calls that may lie about before they are swept out, however few are due."""


_TRIES: Final = 2
"""How often a call that is due is made: it may have failed by chance."""


class Clock(Protocol):
    """Where time and chance come from. Thread-safe."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def jitter(self) -> float:
        """A number in [0, 1)."""
        ...


class SystemClock:
    """The machine's time and chance."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def jitter(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing


def new_token() -> str:
    """Chance that nobody can guess, as text that fits into a URL."""
    return secrets.token_urlsafe()


class Timer:
    """One call that is due later."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call


class Timers:
    """Calls that are due later, made by one daemon thread. Thread-safe.

    A call must be short and must not raise: it tells an actor something.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Timer]] = []
        self._cancelled = 0
        self._order = itertools.count()
        self._changed = LightCondition()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Make ``call`` once, ``delay_s`` seconds from now; never once stopped."""
        timer = Timer(call)
        with self._changed:
            if self._stopped:
                return timer
            due = self._clock.monotonic() + delay_s
            heapq.heappush(self._due, (due, next(self._order), timer))
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="meerkat-timers", daemon=True)
                thread.start()  # first: a signal may come in between, and one too many does no harm
                self._thread = thread
            self._changed.notify_all()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Do not make that call, if it has not been made. Costs no search."""
        with self._changed:
            if timer.call is None:
                return
            timer.call = None
            self._cancelled += 1
            if self._cancelled > max(CANCELLED_MAX, len(self._due) // 2):
                self._due = [entry for entry in self._due if entry[2].call is not None]
                heapq.heapify(self._due)
                self._cancelled = 0

    @property
    def due(self) -> int:
        """How many calls are due later. Takes no lock."""
        return max(0, len(self._due) - self._cancelled)

    def stop(self, timeout_s: float | None = None) -> None:
        """Drop what is due later and end the thread, waiting for it so long. Idempotent."""
        with self._changed:
            self._stopped = True
            self._due.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _work(self) -> None:
        serve_here()
        while not self._stopped:
            try:
                self._make_next()
            except BaseException as error:  # a clock of the host's, say: the next one is due
                logger.exception("the timers failed", exc_info=without_text(error))

    def _make_next(self) -> None:
        """Wait until a call is due, and make it. It is due until it was made, or cancelled."""
        with self._changed:
            while not self._stopped and not self._is_due():
                self._changed.wait(self._wait_s())
            if self._stopped:
                return
            entry = self._due[0]
            call, entry[2].call = entry[2].call, None
            heapq.heappop(self._due)
            self._cancelled -= call is None
        if call is not None:
            make_call(call)

    def _is_due(self) -> bool:
        return bool(self._due) and self._due[0][0] <= self._clock.monotonic()

    def _wait_s(self) -> float | None:
        if not self._due:
            return None
        left_s = self._due[0][0] - self._clock.monotonic()
        return min(max(0.0, left_s), threading.TIMEOUT_MAX)


def make_call(call: Callable[[], None]) -> None:
    """Make a call that is due; one that raises does not stop the others, and is made again.

    It tells an actor something, which may be heard twice and not lost.
    """
    for _ in range(_TRIES):
        try:
            call()
        except BaseException as error:
            logger.exception("a call that was due failed", exc_info=without_text(error))
        else:
            return
