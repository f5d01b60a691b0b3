"""Run watch: the runs in hand: which gives no sign, with its stack, and how they end.

A run gives a sign when it begins and whenever it uses its context; one that waits by its
own will counts as well. The watch looks a few times per bound; it changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from attrs import define, field, frozen

from actors.clock import Clock, Timers
from actors.runs import RunBase
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId

LOOKS_PER_BOUND: Final = 4
"""How often a run is looked at within the time after which it counts as stuck."""


@define(eq=False)
class Watched:
    """One run that is watched, and when it last gave a sign."""

    run: RunBase
    tell: Callable[[str], None] = field(repr=False)
    began: float
    sign_at: float
    shown_for: float | None = None
    """The sign since which it has been shown."""
    began_at: datetime | None = None
    """The time of day when it began, reckoned when somebody first wants to know."""

    @property
    def is_stuck(self) -> bool:
        """Was it shown, and has it given no sign since?"""
        return self.shown_for == self.sign_at and not self.run.attention.waits


@frozen(kw_only=True)
class RunNow:
    """A run in hand at one moment: its executor was called, and has not returned.

    That is so, too, of one that its runtime has gone on without (``cancelled`` then).
    """

    runtime_id: LogicalRuntimeId
    run_id: RunId
    attempt: int
    """The most attempts that one of its inputs has had, this one included."""
    input_ids: tuple[InputId, ...]
    """What it was begun with; what it took in since is not here."""
    began_at: datetime
    """When it was begun, by the plane's clock (UTC)."""
    quiet_s: float
    """Seconds since it last gave a sign: used its context, or began."""
    waits: bool
    """Does it wait just now by its own will, for something to be steered into it, say?"""
    stuck: bool
    """Has it given no sign for longer than the plane's ``stuck_after_s``?"""
    cancelled: bool
    """Was it told to end?"""


@frozen(kw_only=True)
class Ends:
    """How runs ended since their ends are counted, and whose have not."""

    by_themselves: int
    cancelled: tuple[LogicalRuntimeId, ...]
    left: tuple[LogicalRuntimeId, ...]


class RunWatch:
    """The runs in hand of one control plane. Thread-safe.

    ``stuck_after_s`` is in seconds; with None no run is looked at.
    """

    def __init__(self, clock: Clock, timers: Timers, stuck_after_s: float | None) -> None:
        self._clock = clock
        self._timers = timers
        self._stuck_after_s = stuck_after_s
        self._lock = threading.Lock()
        self._watched: dict[RunBase, Watched] = {}
        self.begun = 0
        """Runs that were begun."""
        self.retries = 0
        """Of those, runs with an input that had been tried before."""
        self._looking = False
        self._counts = False
        self._by_themselves = 0
        self._cancelled: list[LogicalRuntimeId] = []

    def begin(self, run: RunBase, tell: Callable[[str], None]) -> None:
        """Watch a run; ``tell`` is given what there is to say when it is stuck."""
        began = self._clock.monotonic()
        with self._lock:
            self._watched[run] = Watched(run, tell, began, began)
            looking, self._looking = self._looking, True
            self.begun += 1
            self.retries += run.attempt > 1
        if not looking and self._stuck_after_s is not None:
            self._look_later(self._stuck_after_s)

    def sign(self, run: RunBase) -> None:
        """A run has given a sign of life."""
        watched = self._watched.get(run)
        if watched is not None:
            watched.sign_at = self._clock.monotonic()

    def end(self, run: RunBase, *, cancelled: bool = False) -> None:
        """A run is over; it gave way, or ended by itself."""
        with self._lock:
            known = self._watched.pop(run, None) is not None
            if not (known and self._counts):
                return
            if cancelled:
                self._cancelled.append(run.runtime_id)
            else:
                self._by_themselves += 1

    def count_ends(self) -> None:
        """Count how runs end from now on: each that is in hand now, or begins later, once."""
        with self._lock:
            self._counts = True

    def ends(self) -> Ends:
        """How they ended since they are counted."""
        with self._lock:
            return Ends(
                by_themselves=self._by_themselves,
                cancelled=tuple(self._cancelled),
                left=tuple(run.runtime_id for run in self._watched),
            )

    def __len__(self) -> int:
        return len(self._watched)

    def now(self) -> tuple[RunNow, ...]:
        """The runs in hand, in the order in which they began. Takes no lock."""
        at, now = self._clock.monotonic(), self._clock.now()
        return tuple(_now(each, at, now) for each in tuple(self._watched.values()))

    def in_hand(self) -> frozenset[RunId]:
        """The runs that have begun and are not over."""
        return frozenset(run.run_id for run in tuple(self._watched))

    def _look_later(self, stuck_after_s: float) -> None:
        self._timers.after(stuck_after_s / LOOKS_PER_BOUND, lambda: self._look(stuck_after_s))

    def _look(self, stuck_after_s: float) -> None:
        now = self._clock.monotonic()
        with self._lock:
            watched = list(self._watched.values())
            self._looking = bool(watched)
        for each in watched:
            sign_at = each.sign_at
            if each.run.attention.waits or now - sign_at < stuck_after_s:
                continue
            if each.shown_for != sign_at:
                each.shown_for = sign_at
                each.tell(f"no sign for {now - sign_at:.0f} s\n{each.run.stack()}".rstrip())
        if watched:
            self._look_later(stuck_after_s)


def _now(watched: Watched, at: float, now: datetime) -> RunNow:
    run = watched.run
    if watched.began_at is None:
        watched.began_at = now - timedelta(seconds=max(0.0, at - watched.began))
    return RunNow(
        runtime_id=run.runtime_id,
        run_id=run.run_id,
        attempt=run.attempt,
        input_ids=run.input_ids,
        began_at=watched.began_at,
        quiet_s=max(0.0, at - watched.sign_at),
        waits=run.attention.waits,
        stuck=watched.is_stuck,
        cancelled=run.cancelled.is_set(),
    )
