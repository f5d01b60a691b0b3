"""Figures: one plane at one moment in numbers. The page, ``top`` and exporters are made of them.

Counts begin at 0 with each start of a plane, and only rise; the rest is how things stand. What
nobody knows to have landed is not counted. Nothing here waits, is asked of a mailbox, or takes
a lock that a driver or the journal works under.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from attrs import frozen

from actors.counts import Buckets
from actors.standing import Standing
from actors.system import System
from meerkat.errors import Fenced
from meerkat.input_lifecycle import AbandonedOutcome, CoalescedOutcome, SupersededOutcome
from meerkat.outcomes import Accepted, Deduplicated, Rejected

if TYPE_CHECKING:
    from actors.driver import DriverActor

_TRIES: Final = 8
"""How often a driver's inputs are looked at while it changes them."""


@frozen
class Histogram:
    """How often a value was how large.

    ``counts`` has one number for each of ``bounds``, which ascend, and one more: what was at
    most that large and above the bound before. ``total`` is the sum of the values.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)


@frozen(kw_only=True)
class Figures:
    """A plane in numbers: how things stand, then what was counted since ``started_at``."""

    at: datetime
    """When they were read, by the plane's clock (UTC)."""
    started_at: datetime

    live_runtimes: int
    """Runtimes that are in memory; one that was passivated is not."""
    live_runtimes_max: int
    set_aside: int
    """Of those, the ones that raise an error until somebody acts."""
    runs_in_hand: int
    """Executors that were called and have not returned, fenced ones too."""
    max_concurrent_runs: int
    waiting_for_slot: int
    """Runtimes that have work to run, and no slot."""
    open_calls: int
    """Calls whose answer is outstanding."""
    in_flight_max: int
    mailbox_messages: int
    """Messages in all mailboxes that nobody has handled."""
    mailbox_deepest: int
    """Messages in the fullest of them."""
    pending_inputs: int
    """Inputs that have not ended, of the runtimes in memory."""
    oldest_at: datetime | None
    """When the oldest of those was accepted; None when there is none."""

    accepted: int
    """Inputs taken in, continuations of the plane's own included."""
    deduplicated: int
    rejected: int
    overloaded: int
    """Offers that found no room, whatever the limit: each time that Overloaded was said."""
    consumed: int
    superseded: int
    coalesced: int
    abandoned: int
    runs: int
    """Runs begun."""
    retries: int
    """Of those, runs with an input that had been tried before."""
    failed_attempts: int
    """Runs that failed, by an error or their deadline."""
    restarts: int
    """Restarts of drivers."""
    journal_restarts: int
    dead_letters: int
    passivations: int
    """How often a runtime at rest left memory."""
    offered: int
    """Inputs handed to another process, which has their runtime: none of those taken in here."""
    taken_over: int
    """Runtimes that another process has taken over, as this one had not renewed its lease."""
    commits: int
    """Transactions in which something landed."""
    batches: int
    """What landed in them: each of one runtime, whole or not at all."""
    commit_errors: int
    """Batches that were refused, failed, or of which nobody knows whether they landed."""

    group_size: Histogram
    """Batches a transaction."""
    accept_to_durable_s: Histogram
    """Seconds from an input's arrival at the door to its answer, of those that were accepted."""
    accept_to_consumed_s: Histogram
    """Seconds from an input's acceptance to its end, of those that were consumed.

    Both as its stored history has them: the commit that holds the end comes on top."""


def figures_of(system: System) -> Figures:
    """The figures of what runs behind a front door, just now. Any thread.

    It costs a look at each runtime that has inputs, and at each that has mail.
    """
    counts, journal = system.counts, system.journal.counts
    durable, consumed = map(histogram_of, (counts.accept_to_durable_s, counts.accept_to_consumed_s))
    letters = [driver.letters for driver in system.pool.busy()]
    pending, oldest_at = _pending(system.standing)
    groups = histogram_of(journal.group_size)
    return Figures(
        at=system.clock.now(),
        started_at=counts.started_at,
        live_runtimes=len(system.directory),
        live_runtimes_max=system.rules.limits.live_runtimes_max,
        set_aside=sum(map(_is_aside, tuple(system.standing.refusing))),
        runs_in_hand=len(system.watch),
        max_concurrent_runs=system.slots.size,
        waiting_for_slot=system.slots.waiting,
        open_calls=len(system.calls),
        in_flight_max=system.rules.limits.in_flight_max,
        mailbox_messages=sum(letters),
        mailbox_deepest=max(letters, default=0),
        pending_inputs=pending,
        oldest_at=oldest_at,
        accepted=durable.count + counts.answered[Accepted],
        deduplicated=counts.answered[Deduplicated],
        rejected=counts.answered[Rejected],
        overloaded=counts.overloaded,
        consumed=consumed.count,
        superseded=counts.ended[SupersededOutcome],
        coalesced=counts.ended[CoalescedOutcome],
        abandoned=counts.ended[AbandonedOutcome],
        runs=system.watch.begun,
        retries=system.watch.retries,
        failed_attempts=counts.failed_attempts,
        restarts=counts.restarts,
        journal_restarts=journal.restarts,
        dead_letters=system.dead_letters.count,
        passivations=system.directory.passivated,
        offered=counts.offered,
        taken_over=counts.lost_runtimes,
        commits=groups.count,
        batches=round(groups.total),
        commit_errors=journal.commit_errors,
        group_size=groups,
        accept_to_durable_s=durable,
        accept_to_consumed_s=consumed,
    )


def histogram_of(buckets: Buckets) -> Histogram:
    """What a histogram holds just now."""
    return Histogram(buckets.bounds, *buckets.read())


def _is_aside(driver: DriverActor) -> bool:
    return driver.unavailable is not None and not isinstance(driver.unavailable, Fenced)


def _pending(standing: Standing) -> tuple[int, datetime | None]:
    """How many inputs drivers have that have not ended, and the oldest of their times."""
    pending, oldest_at = 0, None
    for memory in standing.have_inputs():
        pending += memory.ledger.active_count
        for _ in range(_TRIES):
            try:
                first = memory.ledger.first
            except RuntimeError:  # it was changed under our eyes
                continue
            if first is not None and (oldest_at is None or first.created_at < oldest_at):
                oldest_at = first.created_at
            break
    return pending, oldest_at
