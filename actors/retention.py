"""Retention: cuts the past down in the background, a small step at a time.

A step is one call of the store, on a thread of its own; between two of them commits go on,
and the pause is as long as the step was, so that the disk stays theirs. No driver
takes part: what has ended is in no driver's memory, and what is left of it says the same of
its key, its id and its ending.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from attrs import frozen

from actors.clock import Clock, Timers
from actors.light import LightEvent
from actors.logs import said_of, without_text
from actors.run_places import RunThreads
from meerkat.errors import StoreError
from meerkat.identifiers import RunId
from meerkat.limits import Backoff, Retention
from meerkat.store import Pruned, RuntimeStore

logger = logging.getLogger(__name__)

PASS_EVERY_S: Final = 10.0
"""From the end of a pass over what is kept to the next one; after one that found nothing twice
as long as before, up to the longest."""

PASS_EVERY_MAX_S: Final = 320.0

PAUSE_MIN_S: Final = 0.005
"""Shortest pause between two steps."""

PAUSE_PER_STEP: Final = 1.0
"""A pause is this many times as long as the step before it, its wait for other writers included:
where much is written there are longer pauses."""


@frozen(kw_only=True)
class Means:
    """What a pruner works with. ``in_hand`` gives the runs that executors are called for."""

    store: RuntimeStore
    clock: Clock
    timers: Timers
    threads: RunThreads
    backoff: Backoff
    in_hand: Callable[[], frozenset[RunId]]


class Pruner:
    """Prunes one store by one rule, from :meth:`start` to :meth:`stop`. Thread-safe."""

    def __init__(self, keep: Retention, means: Means) -> None:
        self._keep = keep
        self._means = means
        self._lock = threading.Lock()
        self._at_rest = LightEvent()
        self._at_rest.set()
        self._stopped = False
        self._after: str | None = None
        self._found = False
        self._pass_every_s = PASS_EVERY_S
        self._failures = 0

    @property
    def prunes(self) -> bool:
        """Is there anything to cut down, ever?"""
        return not self._keep.keeps_everything

    def start(self) -> None:
        """Begin the first pass in a while; never when everything is kept."""
        if self.prunes:
            self._later(self._pass_every_s)

    def stop(self, timeout_s: float) -> bool:
        """Take no step any more; says whether the one in hand ended within the time."""
        with self._lock:
            self._stopped = True
        return self._at_rest.wait(timeout_s)

    def _later(self, delay_s: float) -> None:
        self._means.timers.after(delay_s, self._begin)

    def _begin(self) -> None:
        """Take a step elsewhere: the timers wait for no disk."""
        with self._lock:
            if self._stopped:
                return
            self._at_rest.clear()
        try:
            self._means.threads.start(self._step)
        except RuntimeError:  # no thread to be had
            self._later(PASS_EVERY_S)
            self._at_rest.set()

    def _step(self) -> None:
        try:
            self._later(self._prune())
        finally:
            self._at_rest.set()

    def _prune(self) -> float:
        """Take one step; gives the seconds until the next one."""
        means = self._means
        began, spared = means.clock.monotonic(), means.in_hand()
        try:
            pruned = means.store.prune(
                self._keep, means.clock.now(), after=self._after, spared=spared
            )
        except Exception as error:
            self._after = None
            self._failures += 1
            if isinstance(error, StoreError):
                logger.warning("the past could not be cut down: %s", said_of(error))
            else:
                logger.exception("a step of retention failed", exc_info=without_text(error))
            return means.backoff.delay_s(self._failures, means.clock.jitter())
        self._failures = 0
        return self._go_on_after(pruned, means.clock.monotonic() - began)

    def _go_on_after(self, pruned: Pruned, took_s: float) -> float:
        self._after = pruned.next
        self._found = self._found or bool(pruned.inputs or pruned.operations)
        if pruned.next is not None:
            return max(PAUSE_MIN_S, took_s * PAUSE_PER_STEP)
        longer_s = min(self._pass_every_s * 2, PASS_EVERY_MAX_S)
        self._pass_every_s = PASS_EVERY_S if self._found else longer_s
        self._found = False
        return self._pass_every_s
