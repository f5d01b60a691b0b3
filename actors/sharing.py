"""Sharing: what a plane does besides where several processes have its store at a time.

One thread renews the lease, takes up what has work and is nobody's, has drivers take in what
others have offered, and ends the handles of inputs that are worked elsewhere. Hints wake it;
as a hint may be missed, it looks by itself every third of a lease.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from attrs import frozen

from actors import messages as m
from actors.clock import Clock
from actors.completions import Completions
from actors.directory import Directory
from actors.ends_elsewhere import EndsElsewhere
from actors.ground import start_thread
from actors.light import LightEvent
from actors.logs import said_of, without_text
from actors.offers import Offers
from actors.pool import serve_here
from actors.run_places import RunThreads
from meerkat.errors import MeerkatError, OwnedElsewhere
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.limits import Backoff, Limits
from meerkat.store.ownership import StoreInUse
from meerkat.store.sharing import SharedStore, Sharing

logger = logging.getLogger(__name__)

LOOKS_PER_LEASE: Final = 3
"""How often a lease is renewed, and the store looked at, before the lease is over."""

OWNER_KNOWN_S: Final = 0.05
"""How long it is believed who has a runtime, so that a flood for it does not ask each time."""

OWNERS_KNOWN_MAX: Final = 10_000
"""Runtimes of which it is believed at a time."""

LOOKS_ALL_THE_SAME: Final = 10
"""One look in so many is for what is nobody's though all who were there still are."""

ASKED_AT_ONCE: Final = 1_000
"""Runtimes that one question to the store names."""


@frozen(kw_only=True)
class Means:
    """What a plane shares its store with."""

    store: SharedStore
    sharing: Sharing
    clock: Clock
    threads: RunThreads
    directory: Directory
    completions: Completions
    backoff: Backoff
    limits: Limits


class SharedWork:
    """One process's part in a store that several share. Thread-safe, from start to stop."""

    def __init__(self, means: Means) -> None:
        self.store = means.store
        self.offers = Offers(
            means.store,
            means.threads,
            self._see_taken_in,
            pending_max=means.limits.pending_inputs_max,
        )
        self.at_rest: set[LogicalRuntimeId] = set()
        """Runtimes of this process that have left memory with work that woke nobody."""
        self._means = means
        self._shard = means.sharing.shard
        self._lease_s = means.sharing.lease_s
        self._look_every_s = means.sharing.lease_s / LOOKS_PER_LEASE
        self._now = means.clock.monotonic
        self._owners: dict[LogicalRuntimeId, tuple[str, float]] = {}
        self._ends = EndsElsewhere(means.completions, self._now, self._is_here, self._look_every_s)
        self._renewed_at = self._now()
        self._look_at = self._renewed_at
        self._adopts_at = self._renewed_at
        self._looked_among: frozenset[tuple[str, int]] | None = None
        self._passed_over = 0
        self._sees_offers = False
        self._gives_up = False
        """Is what others have taken to be looked for?"""
        self._in_use = False
        """Has another come in this one's place, so that there is no lease any more?"""
        self._failures = 0
        self._stopped = LightEvent()
        self._over = LightEvent()
        self._over.set()

    # --- for drivers --------------------------------------------------------------------

    def refuse_elsewhere(self, runtime_id: LogicalRuntimeId) -> None:
        """Raise OwnedElsewhere for a runtime that another process has; StoreError.

        While the others may be late as well, also for one of an owner whose lease is over.
        """
        known = self._owners.get(runtime_id)
        if known is not None and self._now() < known[1]:
            raise OwnedElsewhere(runtime_id, known[0])
        owner = self._elsewhere([runtime_id]).get(runtime_id)
        if owner is None:
            self._owners.pop(runtime_id, None)
            return
        self.believe(runtime_id, owner)
        raise OwnedElsewhere(runtime_id, owner)

    def _elsewhere(self, runtime_ids: Sequence[LogicalRuntimeId]) -> dict[LogicalRuntimeId, str]:
        return self.store.owned_elsewhere(runtime_ids, lapsed_too=self._is_late())

    def _is_late(self) -> bool:
        """Was the lease over, so that the others may be as late, and live?"""
        now = self._now()
        return now >= self._renewed_at + self._lease_s or now < self._adopts_at  # as they are set

    def believe(self, runtime_id: LogicalRuntimeId, owner: str) -> None:
        """A store has just said whose a runtime is, by refusing a commit say."""
        if len(self._owners) >= OWNERS_KNOWN_MAX:
            self._owners.clear()
        self._owners[runtime_id] = (owner, self._now() + OWNER_KNOWN_S)

    def refuse_to_overtake(self, runtime_id: LogicalRuntimeId) -> None:
        """Raise OwnedElsewhere while inputs are on their way that were offered before.

        The runtime was elsewhere then; one that comes now is offered, too, and is taken in
        behind them.
        """
        if self.offers.has(runtime_id):
            raise OwnedElsewhere(runtime_id, "whoever takes in what was offered")

    def _see_taken_in(self, runtime_ids: Sequence[LogicalRuntimeId]) -> None:
        """Inputs were offered. Where nobody has their runtime any more, or we do, it is ours."""
        elsewhere, directory = self._elsewhere(runtime_ids), self._means.directory
        ours = [each for each in runtime_ids if each not in elsewhere]
        for runtime_id in ours:
            self._owners.pop(runtime_id, None)
        directory.resume(directory.tell_live(ours, m.TakeOffered()))

    def watch(self, runtime_id: LogicalRuntimeId, *input_ids: InputId) -> None:
        """End the handles of these inputs, of a runtime that is elsewhere, once they end."""
        if self._ends.watch(runtime_id, input_ids):
            self.store.hurry()

    def watch_all(self, runtime_id: LogicalRuntimeId) -> None:
        """The same of all that handles wait for."""
        self.watch(runtime_id, *self._means.completions.waiting(runtime_id))

    def _is_here(self, runtime_id: LogicalRuntimeId) -> bool:
        driver = self._means.directory.driver_of(runtime_id)
        return driver is not None and getattr(driver, "memory", None) is not None

    def runtimes_with_work(self) -> list[LogicalRuntimeId]:
        """Those that have work and are this process's to take up; StoreError."""
        found, after = list[LogicalRuntimeId](), None
        while True:
            page = self.store.page_adoptable(after=after)
            found += [each for each in page.items if self._shard is None or each in self._shard]
            after = page.next
            if after is None:
                return found

    # --- coming and going ---------------------------------------------------------------

    def start(self) -> None:
        """Take up what is nobody's, and go on with that. Called by the store's owner."""
        self._renewed_at = self._look_at = self._now()
        self._over.clear()
        try:
            start_thread(self._work, "meerkat-sharing")
        except BaseException:
            self._over.set()
            raise

    def stop(self, timeout_s: float) -> bool:
        """End; says whether nothing of it is in the store any more within the time."""
        self._stopped.set()
        self.store.hurry()
        ended = self._over.wait(timeout_s)
        return self.offers.stop(timeout_s) and ended

    # --- the thread ---------------------------------------------------------------------

    def _work(self) -> None:
        serve_here()
        hinted = True
        try:
            while not self._stopped.is_set():
                hinted = self._round(hinted=hinted)
        finally:
            self._over.set()

    def _round(self, *, hinted: bool) -> bool:
        """Do what is due, then wait for what comes next; was there a hint?

        One that has lost its lease for good takes nothing up, and still hears how all ends.
        """
        failed = _failure_of(self._renew)
        if self._gives_up:
            failed = _failure_of(self._give_up_taken) or failed
        if failed is None:
            failed = _failure_of(partial(self._look, hinted=hinted))
        failed = _failure_of(self._end_handles) or failed
        if failed is None:
            self._failures = 0
        else:
            self._failed(failed)
        return self.store.wait_for_hint(self._pause_s())

    def _look(self, *, hinted: bool) -> None:
        """See what was offered; and what is nobody's, when it is due or a hint is about that."""
        now = self._now()
        due = now >= self._look_at
        if not (due or hinted):
            return
        directory, offered = self._means.directory, self.store.offered()
        directory.resume(directory.tell_live(offered, m.TakeOffered()))
        hint_was_theirs = bool(offered) or self._sees_offers
        self._sees_offers = bool(offered) or (self._sees_offers and not due)
        if due:
            self._look_at = now + self._look_every_s
            self._passed_over += 1
        if now >= self._adopts_at and (due or not offered):
            self._take_up(told=hinted and not hint_was_theirs)

    def _end_handles(self) -> None:
        self._ends.look(self.store.load_ended)

    def _failed(self, error: Exception) -> None:
        """The store does not answer: again after a pause, which leaves time for a renewal."""
        self._failures += 1
        if not isinstance(error, MeerkatError):
            logger.error("sharing a store failed", exc_info=without_text(error))
        elif self._failures == 1:
            logger.warning("a shared store could not be asked: %s", said_of(error))
        jitter = self._means.clock.jitter()
        pause_s = self._means.backoff.delay_s(self._failures, jitter)
        self._look_at = self._now()
        self._stopped.wait(min(pause_s, self._look_every_s))

    def _pause_s(self) -> float:
        now, ends_s = self._now(), self._ends.pause_s
        pause_s = min(self._look_at - now, self._renewed_at + self._look_every_s - now)
        return max(0.0, pause_s if ends_s is None else min(pause_s, ends_s))

    def _renew(self) -> None:
        now = self._now()
        if now < self._renewed_at + self._look_every_s:
            return
        try:
            ran = self.store.renew()
        except StoreInUse:
            self._gives_up, self._in_use = self._gives_up or not self._in_use, True
            raise
        self._in_use = False
        late = self._now() >= self._renewed_at + self._lease_s  # this thread, or its answer
        if late or not ran:  # the clock of a host that was suspended has stood still
            self._adopts_at = now + self._look_every_s  # the others may be as late, and live
            self._looked_among = None  # what was offered and not claimed meanwhile may be nobody's
            self.at_rest.clear()
            self._gives_up = True
            logger.warning("the lease on a shared store was over; it is renewed")
        self._renewed_at = now  # last: until then it is late by this, from then on by the other

    def _give_up_taken(self) -> None:
        """Have drivers end whose runtime another process has taken over meanwhile.

        Handles on its inputs are ended through the store from now on: also of a runtime that
        had left memory, and has no driver that would see to them.
        """
        directory, completions = self._means.directory, self._means.completions
        known = list(dict.fromkeys((*directory.live(), *completions.runtimes())))
        for start in range(0, len(known), ASKED_AT_ONCE):
            taken = self.store.owned_elsewhere(known[start : start + ASKED_AT_ONCE])
            for runtime_id, owner in taken.items():
                directory.tell_live([runtime_id], m.TakenElsewhere(owner))
                self.watch_all(runtime_id)
            if not self._in_use:
                self._renew()
        self._gives_up = False

    def _take_up(self, *, told: bool) -> None:
        """Have runtimes with work taken up that are nobody's, unless there is a backlog.

        Nothing becomes nobody's while those who live stay the same: then it is looked for now
        and then only, as it costs a look at all that has work; or when a hint has ``told`` of it.
        Where inputs are offered all the time, a hint is taken to be about one of them.
        """
        living, after = self.store.owners(), None
        told = told or self._passed_over >= LOOKS_ALL_THE_SAME
        if living == self._looked_among and not told:
            return
        self._looked_among = None
        while not (self._stopped.is_set() or self._means.directory.backlog):
            page = self.store.page_adoptable(after=after)
            ours = list(filter(self._is_ours, page.items))
            self._means.directory.resume(self._means.directory.tell_live(ours, m.Resume()))
            after = page.next
            if after is None:
                self._looked_among, self._passed_over = living, 0
                return
            self._renew()

    def _is_ours(self, runtime_id: LogicalRuntimeId) -> bool:
        self._owners.pop(runtime_id, None)  # who had it has it no more
        driver = self._means.directory.driver_of(runtime_id)
        if runtime_id in self.at_rest or not getattr(driver, "is_vacant", driver is None):
            return False
        return self._shard is None or runtime_id in self._shard


def _failure_of(step: Callable[[], None]) -> Exception | None:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - the thread outlives whatever a store does
        return error
    return None
