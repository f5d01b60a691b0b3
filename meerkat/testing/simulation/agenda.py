"""Agenda: what can be done now, what is due later, and which is next. Time passes here alone."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Final

from meerkat.testing.simulation.errors import Stuck
from meerkat.testing.simulation.items import NEVER, Waiter, is_stale

STEP_S: Final = 1e-6
"""How long a step takes, in seconds of the simulation."""

STALE_MAX: Final = 256
"""Waits that are over and may lie among what is due, however little that is."""


class Agenda:
    """What is ready, and what is due. Used by the thread that has the baton."""

    def __init__(self, seed: int, *, patience_s: float) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - to be replayed is what it is for
        self.now = 0.0
        self.steps = 0
        self.fate: Callable[[], None] = _nothing
        self.fate_at: float = NEVER
        """The step at which ``fate`` is called next; it says when it is after that."""
        self._patience_s = patience_s
        self._random = self.chance.random
        self._ready: list[Any] = []
        self._due: list[tuple[float, int, Any, int]] = []
        self._order = 0
        self._stale = 0
        self._quiet: Waiter | None = None
        self._asleep: dict[Waiter, None] = {}

    # --- what is to be done -------------------------------------------------------------

    def ready(self, item: Any) -> None:
        """Something can be done: an actor's turn, a call, a task, a thread that goes on."""
        self._ready.append(item)

    def waiting(self) -> tuple[Any, ...]:
        """What can be done now."""
        return tuple(self._ready)

    def later(self, delay_s: float, item: Any, turn: int = 0) -> None:
        """The same, ``delay_s`` seconds from now."""
        self._order += 1
        heapq.heappush(self._due, (self.now + delay_s, self._order, item, turn))

    def stale(self) -> None:
        """Something that is due later need not be done any more."""
        self._stale += 1
        if self._stale > max(STALE_MAX, len(self._due) // 2):
            self._due = [entry for entry in self._due if not is_stale(entry)]
            heapq.heapify(self._due)
            self._stale = 0

    def wake(self, waiter: Waiter) -> None:
        """Let a thread that sleeps go on."""
        waiter.asleep = False
        waiter.turn += 1
        self._ready.append(waiter)

    # --- what is next -------------------------------------------------------------------

    def _next(self) -> Any:
        """The next thing that can be done, by chance; time goes on until there is one."""
        self.steps = steps = self.steps + 1
        self.now = now = self.now + STEP_S
        if steps >= self.fate_at:
            self.fate()
        ready, due = self._ready, self._due
        if due and due[0][0] <= now:
            self._fall_due()
        while not ready:
            self._let_time_pass()
        waiting = len(ready)
        if waiting == 1:
            return ready.pop()
        at = int(self._random() * waiting)
        item, ready[at] = ready[at], ready[-1]
        ready.pop()
        return item

    def _fall_due(self) -> None:
        due, now = self._due, self.now
        while due and due[0][0] <= now:
            entry = heapq.heappop(due)
            if is_stale(entry):
                self._stale -= 1
            elif entry[2].__class__ is Waiter:
                self.wake(entry[2])
            else:
                self._ready.append(entry[2])

    def _let_time_pass(self) -> None:
        """Nothing can be done now: go on to what is due next."""
        while self._due and is_stale(self._due[0]):
            heapq.heappop(self._due)
            self._stale -= 1
        due_at, quiet = self._due[0][0] if self._due else NEVER, self._quiet
        if due_at <= self.now:
            self._fall_due()
            return
        if quiet is not None and quiet.asleep and quiet.until < due_at:
            self.now = max(self.now, quiet.until)
            self.wake(quiet)
            return
        stuck = self._who_is_stuck(due_at)
        if stuck is not None:
            stuck.error = Stuck(self._story(stuck))
            self.wake(stuck)
            return
        self.now = max(self.now, due_at)
        self._fall_due()

    def _who_is_stuck(self, due_at: float) -> Waiter | None:
        """The first thread of the host that waits without an end, if it does so for too long."""
        for waiter in self._asleep:
            if waiter.process is None and waiter.asleep:
                lasted_s = due_at - waiter.since
                if due_at == NEVER or (waiter.until == NEVER and lasted_s > self._patience_s):
                    return waiter
        return None

    def _story(self, stuck: Waiter) -> str:
        lasted_s = self.now - stuck.since
        others = sum(1 for each in self._asleep if each is not stuck)
        return (
            f"a wait of the host does not end: it has lasted {lasted_s:g} s of the simulation, "
            f"{len(self._due)} things are due later, {others} other threads wait"
        )


def _nothing() -> None:
    """The fate of most steps."""
