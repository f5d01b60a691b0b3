"""Fail points, armed: what is to happen when the code comes to one of them.

The points, and what has happened when each is reached, are those of ``meerkat.fail_points``.
A child process is armed by an environment variable, so that it needs no word of its caller's.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, NoReturn, Self

from attrs import frozen

from meerkat.fail_points import WHAT_HAS_HAPPENED, FailPoint, unwatch, watch

__all__ = ["ENVIRONMENT", "WHAT_HAS_HAPPENED", "FailPoint", "FailPoints", "PointReached"]

ENVIRONMENT: Final = "MEERKAT_FAIL_POINTS"
"""Says what is armed in a child: ``commit_due:3=kill`` and the like, with commas between."""

_KILL, _RAISE = "kill", "raise"


class PointReached(Exception):
    """A fail point was reached that had been told to raise; ``point`` says which."""

    def __init__(self, point: FailPoint) -> None:
        super().__init__(f"{point} was reached: {WHAT_HAS_HAPPENED[point]}")
        self.point = point


def kill_this_process() -> NoReturn:
    """SIGKILL: nothing of this process comes after."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process outlived its own SIGKILL")


@frozen
class _Armed:
    """Something that happens at the ``at``-th pass of a point, and with ``lasting`` ever after."""

    at: int
    lasting: bool
    happens: Callable[[], object]

    def is_due(self, passes: int) -> bool:
        return passes == self.at or (self.lasting and passes > self.at)


class FailPoints:
    """Counts how often each fail point was reached, and has something happen there.

    A context manager: it is told of the points of all threads of this process while it lasts.
    Passes are counted from 1. The points of files, transactions and retention are SqliteStore's:
    over another store they are not reached. Several may last at once; they know nothing of each
    other. What is called at a point is called on the thread that has come there, which may hold
    locks of the store's: it may set an event or wait for one, and must not call the control
    plane. Thread-safe. Raises ValueError for a pass before the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reached: Counter[FailPoint] = Counter()
        self._armed: dict[FailPoint, list[_Armed]] = {}

    # --- arming -------------------------------------------------------------------------

    def raises(
        self,
        point: FailPoint,
        error: Callable[[], BaseException] | None = None,
        *,
        at: int = 1,
        lasting: bool = False,
    ) -> Self:
        """Raise at a pass of a point: what ``error`` makes, else PointReached.

        With ``lasting`` at every later pass too.
        """

        def fail() -> NoReturn:
            raise PointReached(point) if error is None else error()

        return self.calls(point, fail, at=at, lasting=lasting)

    def kills(self, point: FailPoint, *, at: int = 1) -> Self:
        """Kill this process at a pass of a point, with SIGKILL."""
        return self.calls(point, kill_this_process, at=at)

    def calls(
        self,
        point: FailPoint,
        callback: Callable[[], object],
        *,
        at: int = 1,
        lasting: bool = False,
    ) -> Self:
        """Call something at a pass of a point; what it raises goes on there."""
        if at < 1:
            raise ValueError(f"passes are counted from 1, not {at}")
        with self._lock:
            self._armed.setdefault(point, []).append(_Armed(at, lasting, callback))
        return self

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """What the variable ``MEERKAT_FAIL_POINTS`` says; ValueError for what it cannot mean."""
        made = cls()
        for said in filter(None, environment.get(ENVIRONMENT, "").split(",")):
            place, _, what = said.partition("=")
            name, _, at = place.partition(":")
            arm = {_KILL: made.kills, _RAISE: made.raises}.get(what)
            if arm is None:
                raise ValueError(f"{ENVIRONMENT}: {said!r} is not point:pass=kill or =raise")
            arm(FailPoint(name), at=int(at or 1))
        return made

    # --- what happened ------------------------------------------------------------------

    @property
    def reached(self) -> Mapping[FailPoint, int]:
        """How often each point was reached so far; 0 for one that was not."""
        with self._lock:
            return {point: self._reached[point] for point in FailPoint}

    # --- lasting ------------------------------------------------------------------------

    def __enter__(self) -> Self:
        watch(self._at)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        unwatch(self._at)

    def _at(self, point: FailPoint) -> None:
        with self._lock:
            self._reached[point] += 1
            passes = self._reached[point]
            due = [each for each in self._armed.get(point, ()) if each.is_due(passes)]
        for each in due:
            each.happens()


def as_environment(point: FailPoint, at: int = 1, what: str = _KILL) -> dict[str, str]:
    """The variable that has a child killed, or ``what="raise"``, at a pass of a point."""
    return {ENVIRONMENT: f"{point}:{at}={what}"}
