"""Restarts: who is started anew when a child fails, how soon, and how often before it is given up.

Arithmetic alone: the time and the jitter are arguments, and nothing is started here. The
words are OTP's.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from attrs import Attribute, field, frozen

from meerkat.checks import of_kind
from meerkat.limits import DEFAULT_BACKOFF, Backoff
from meerkat.words import Word

_Child = TypeVar("_Child")


class Strategy(Word):
    """Which children are started anew when one has failed."""

    ONE_FOR_ONE = "one_for_one"
    """The one that failed."""
    ONE_FOR_ALL = "one_for_all"
    """All of them."""
    REST_FOR_ONE = "rest_for_one"
    """The one that failed, and those started after it."""


class Restart(Word):
    """After which ends a child is started anew."""

    PERMANENT = "permanent"
    """After every one."""
    TRANSIENT = "transient"
    """After a failure, not after an ordinary stop."""
    TEMPORARY = "temporary"
    """After none."""

    def follows(self, *, failed: bool) -> bool:
        """Is the child to be started anew?"""
        return (self, failed) in _FOLLOWS


_FOLLOWS: Final = frozenset(
    {(Restart.PERMANENT, True), (Restart.PERMANENT, False), (Restart.TRANSIENT, True)}
)
"""The ends that a restart follows: the type of the child, and whether it failed."""


def affected(strategy: Strategy, children: Sequence[_Child], failed: _Child) -> tuple[_Child, ...]:
    """The children that a failure restarts, in the order they were started.

    ``children`` is all of them in that order; ValueError when ``failed`` is not among them.
    """
    return tuple(_AFFECTED[strategy](children, children.index(failed)))


_AFFECTED: Final[Mapping[Strategy, Callable[[Sequence[Any], int], Sequence[Any]]]] = {
    Strategy.ONE_FOR_ONE: lambda children, failed: children[failed : failed + 1],
    Strategy.ONE_FOR_ALL: lambda children, _failed: children,
    Strategy.REST_FOR_ONE: lambda children, failed: children[failed:],
}


# --- how often, and how soon ------------------------------------------------------------


def _count(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if type(value) is not int:
        raise TypeError(f"{attribute.name} takes an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{attribute.name} is never negative")


def _seconds(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if type(value) not in (int, float):
        raise TypeError(f"{attribute.name} takes seconds, not {type(value).__name__}")
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise ValueError(f"{attribute.name} is above 0, and finite")


@frozen(kw_only=True)
class Restarts:
    """How the children of one kind are restarted.

    Back-off and period go together: a child that fails at once each time is given up only if
    the waits before ``intensity`` restarts fit into ``period_s``, as those of the defaults do
    (8 take 13 to 26 s). Raises TypeError or ValueError for a field of the wrong type or range.
    """

    strategy: Strategy = field(default=Strategy.ONE_FOR_ONE, validator=of_kind(Strategy))
    intensity: int = field(default=8, validator=_count)
    """Restarts allowed within the period; 0 for none ever."""
    period_s: float = field(default=60.0, validator=_seconds)
    """Seconds over which restarts are counted."""
    backoff: Backoff = field(default=DEFAULT_BACKOFF, validator=of_kind(Backoff))
    """How long each waits: the longer, the more there were within the period."""


_RESTARTS: Final = of_kind(Restarts)


@frozen(kw_only=True)
class RestartPolicy:
    """How the parts of a control plane are restarted, by kind; TypeError for anything else."""

    drivers: Restarts = field(default=Restarts(), validator=_RESTARTS)
    """Counted for each runtime: over the ceiling that one is set aside."""
    journal: Restarts = field(default=Restarts(strategy=Strategy.REST_FOR_ONE), validator=_RESTARTS)
    """Over the ceiling the whole plane fails."""


DEFAULT_RESTART: Final = RestartPolicy()


class RestartCount:
    """The restarts of late, of one child or of all children of a supervisor. Not thread-safe.

    Remembers ``intensity`` times at most.
    """

    __slots__ = ("_at", "_restarts")

    def __init__(self, restarts: Restarts) -> None:
        self._restarts = restarts
        self._at: deque[float] = deque()

    @property
    def since(self) -> float | None:
        """When the first of the restarts was that are counted just now."""
        return self._at[0] if self._at else None

    def failed(self, at: float, jitter: float) -> float | None:
        """Count a failure: the seconds until the restart, or None when it is one too many.

        ``at`` is in seconds and never goes back, ``jitter`` is in [0, 1). One too many is one
        after ``intensity`` restarts in the ``period_s`` up to ``at``; it is not counted.
        """
        times, restarts = self._at, self._restarts
        while times and at - times[0] > restarts.period_s:
            times.popleft()
        if len(times) >= restarts.intensity:
            return None
        times.append(at)
        return restarts.backoff.delay_s(len(times), jitter)
