"""Database: what the shared store promises, as a model: owners with leases, runtimes, inputs.

A call is one moment, as the row lock of a runtime makes it one; an offer is two, its look and its
insert, with the lock held between them. Times are the database's own. What a call has seen and
done is told to a Watch at that very moment, which holds it against a record of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from attrs import Factory, define, frozen

from placement.watch import Watch

PAGE: Final = 1_000
"""Runtimes of a page of those that can be adopted."""


@define
class Owner:
    """A row of ``owners``: one life of a process."""

    name: str
    shard: int | None
    until: float
    there: bool = True
    """Has nobody come in its place?"""


@define
class Runtime:
    """A row of ``runtimes``, and the inputs of it that have not ended, with their numbers."""

    fence: int = 0
    owner: int | None = None
    open: bool = True
    admitted: int = 0
    pending: dict[int, int | None] = Factory(dict)
    locked: int = 0
    waiting: list[Callable[[], None]] = Factory(list)


@define(kw_only=True)
class Commit:
    """What one commit of a runtime changes. Inputs are named by their keys."""

    runtime: int
    expected: int
    accepts: Sequence[int] = ()
    takes: Sequence[int] = ()
    consumes: int | None = None
    turns: bool = False
    """Does it stop a runtime that takes inputs, or have one take them again?"""


@frozen
class Landed:
    """It is durable."""

    numbers: dict[int, int]


@frozen
class Refused:
    """Nothing happened: somebody else has it, by name, or None for a fence that moved."""

    elsewhere: str | None


@define
class Rules:
    """The rules, each of which may be left out."""

    owner_test: bool = True
    """A commit is refused while another owner's lease lasts."""
    leases_count: bool = True
    """What can be adopted is in nobody's hands."""
    offers_lock: bool = True
    """An offer holds the runtime's row from its look to its insert."""
    work_is_found: bool = True
    """Who looks for what can be adopted finds it."""


class Database:
    """One database. Every method is one transaction, or one moment of it."""

    def __init__(self, now: Callable[[], float], lease_s: float, watch: Watch) -> None:
        self.rules = Rules()
        self.lease_s = lease_s
        self.counts: Counter[str] = Counter()
        self.owners: dict[int, Owner] = {}
        self.runtimes: dict[int, Runtime] = defaultdict(Runtime)
        self.ended: dict[int, bool] = {}
        """The inputs that have ended: was it with a receipt?"""
        self._named: dict[str, int] = {}
        self._now = now
        self._watch = watch
        self._work: dict[int | None, set[int]] = defaultdict(set)
        """The runtimes with work, by their owner."""
        self._offers: dict[int | None, set[int]] = defaultdict(set)
        """Those with inputs that were offered and not yet taken, by their owner."""

    # --- owners -------------------------------------------------------------------------

    def enter(self, name: str, shard: int | None) -> int:
        """Become an owner, in the place of one of the same name."""
        before = self._named.get(name)
        if before is not None:
            self.leave(before)
            self.owners[before].there = False
        me = self._named[name] = len(self.owners) + 1
        self.owners[me] = Owner(name, shard, 0.0)
        self.renew(me)
        return me

    def renew(self, me: int) -> bool:
        """Renew the lease, unless another one has come in one's place; was it over?"""
        was_over = not self._lives(me)
        if self.owners[me].there:
            self.counts["renewals"] += 1
            self._set_lease(me, self._now() + self.lease_s)
        return was_over

    def leave(self, me: int) -> None:
        """End the lease at once."""
        self._set_lease(me, self._now())

    def _set_lease(self, number: int, until: float) -> None:
        self.owners[number].until = until
        self._watch.lease(number, until)

    def _lives(self, number: int | None) -> bool:
        return number is not None and self.owners[number].until > self._now()

    # --- looking ------------------------------------------------------------------------

    def elsewhere(self, me: int, runtime: int, *, lapsed_too: bool = False) -> bool:
        """Is it in the hands of another process, or was it, if such count whose lease is over?"""
        self.counts["owners looked up"] += 1
        owner = self.runtimes[runtime].owner
        return owner not in (None, me) and (lapsed_too or self._lives(owner))

    def load(self, runtime: int) -> tuple[int, bool, list[tuple[int, int | None]]]:
        """Its fence, whether it takes inputs, and its pending inputs in their order."""
        self.counts["runtimes loaded"] += 1
        row = self.runtimes[runtime]
        pending = sorted(
            row.pending.items(), key=lambda each: (each[1] is None, each[1] or 0, each[0])
        )
        return row.fence, row.open, pending

    def page_adoptable(self, me: int, after: int) -> list[int]:
        """The next runtimes with work that are in nobody's hands, or this process's."""
        found: set[int] = set()
        for owner, runtimes in self._work.items() if self.rules.work_is_found else ():
            if owner == me or not self._lives(owner) or not self.rules.leases_count:
                found |= runtimes
        page = sorted(each for each in found if each > after)[:PAGE]
        self.counts["pages"] += 1
        self.counts["rows of pages"] += len(page)
        self._watch.adoptable(me, page, self._now())
        return page

    def offered(self, me: int) -> list[int]:
        """The runtimes of this process with inputs that were offered."""
        self.counts["looks for offers"] += 1
        return sorted(self._offers[me])

    def work_of(self, owner: int) -> set[int]:
        """The runtimes with work of an owner."""
        return self._work.get(owner, set())

    def with_work(self) -> int:
        """How many runtimes have work."""
        return sum(map(len, self._work.values()))

    def orphans(self) -> list[int]:
        """The runtimes with work that are in nobody's hands."""
        return [
            each
            for owner, runtimes in self._work.items()
            if not self._lives(owner)
            for each in runtimes
        ]

    # --- writing ------------------------------------------------------------------------

    def commit(self, me: int, batch: Commit) -> Landed | Refused:
        """Commit, if the fence is the expected one and nobody else has the runtime."""
        row = self.runtimes[batch.runtime]
        if self.rules.owner_test and row.owner != me and self._lives(row.owner):
            self.counts["refused: elsewhere"] += 1
            return Refused(self.owners[row.owner].name if row.owner else None)
        if row.fence != batch.expected or not self.owners[me].there:
            self.counts["refused: fence"] += 1
            return Refused(None)
        self.counts["batches"] += 1
        if row.owner != me:
            self.counts["claims"] += 1
        row.fence += 1
        self._watch.committed(batch.runtime, me, row.fence, self._now())
        self._unlist(batch.runtime, row)
        row.owner = me
        numbers = self._admit(row, batch)
        if batch.consumes is not None:
            self._watch.consumed(batch.runtime, batch.consumes, row.pending[batch.consumes])
            self._end(row, batch.consumes, well=True)
        if batch.turns:
            row.open = not row.open
        if not row.open:  # what it has not been told of it ends when it takes it up
            for key in [each for each, number in row.pending.items() if number is not None]:
                self._end(row, key, well=False)
        self._list(batch.runtime, row)
        return Landed(numbers)

    def _admit(self, row: Runtime, batch: Commit) -> dict[int, int]:
        numbers: dict[int, int] = {}
        for key in (*batch.accepts, *batch.takes):
            if row.pending.get(key) is None and key not in self.ended:
                numbers[key] = row.pending[key] = row.admitted
                row.admitted += 1
        return numbers

    def _end(self, row: Runtime, key: int, *, well: bool) -> None:
        del row.pending[key]
        self.ended[key] = well

    def _unlist(self, runtime: int, row: Runtime) -> None:
        self._work[row.owner].discard(runtime)
        self._offers[row.owner].discard(runtime)

    def _list(self, runtime: int, row: Runtime) -> None:
        if row.pending:
            self._work[row.owner].add(runtime)
            if None in row.pending.values():
                self._offers[row.owner].add(runtime)

    # --- the two moments of an offer ----------------------------------------------------

    def offer_looks(self, runtime: int) -> bool:
        """Lock the runtime's row, and see whether it takes inputs."""
        row = self.runtimes[runtime]
        row.locked += self.rules.offers_lock
        return row.open

    def offer_inserts(self, runtime: int, key: int) -> int | None:
        """Insert the input, and let go of the row; whose runtime it is."""
        row = self.runtimes[runtime]
        if key not in row.pending and key not in self.ended:
            self.counts["offers"] += 1
            self._watch.offered(runtime, key, takes=row.open)
            row.pending[key] = None
            self._list(runtime, row)
        self.offer_ends(runtime)
        return row.owner if self._lives(row.owner) else None

    def offer_ends(self, runtime: int) -> None:
        """Let go of the row: who has waited for it goes on."""
        row = self.runtimes[runtime]
        row.locked -= self.rules.offers_lock
        if not row.locked:
            waiting, row.waiting = row.waiting, []
            for each in waiting:
                each()
