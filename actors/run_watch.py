"""Run watch: the runs in hand: which gives no sign, with its stack, and how they end.

A run gives a sign when it begins and whenever it uses its context; one that waits by its
own will counts as well. The watch looks a few times per bound; it changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen

from actors.clock import Clock, Timers
from actors.runs import RunBase
from meerkat.identifiers import LogicalRuntimeId, RunId

LOOKS_PER_BOUND: Final = 4
"""How often a run is looked at within the time after which it counts as stuck."""


@define(eq=False)
class Watched:
    """One run that is watched, and when it last gave a sign."""

    run: RunBase
    tell: Callable[[str], None] = field(repr=False)
    sign_at: float
    shown_for: float | None = None
    """The sign since which it has been shown."""


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
        self._looking = False
        self._counts = False
        self._by_themselves = 0
        self._cancelled: list[LogicalRuntimeId] = []

    def begin(self, run: RunBase, tell: Callable[[str], None]) -> None:
        """Watch a run; ``tell`` is given what there is to say when it is stuck."""
        with self._lock:
            self._watched[run] = Watched(run, tell, self._clock.monotonic())
            looking, self._looking = self._looking, True
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
