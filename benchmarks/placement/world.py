"""World: the members, their database, the callers, and what goes wrong; replayed by a seed.

It runs on the agenda of the project's seeded scheduler: what can be done, what is due, and which
is next by chance. Its threads are left out, as no step of the model waits within itself. The
scheduler has one simulated process at a time; here there are a hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from attrs import define, frozen

from meerkat.identifiers import LogicalRuntimeId
from meerkat.shards import shard_of
from meerkat.testing.simulation.agenda import Agenda
from meerkat.testing.simulation.items import Call
from placement.database import Database
from placement.member import Member, Times
from placement.watch import Watch
from placement.words import Answer

CHECK_S: Final = 0.1
"""How often the world looks whether anything is in nobody's hands."""

PATIENCE_S: Final = 5.0
"""How long a caller waits for an answer before it asks another member."""


@frozen(kw_only=True)
class Size:
    """How large a world is, and what its callers do."""

    members: int = 100
    runtimes: int = 1_000_000
    inputs_a_second: float = 10_000.0
    turns_a_second: float = 0.0
    """How many runtimes are stopped, or revived."""
    sharded: bool = False
    """Does each member take up the runtimes of one shard, and callers go to it?"""


@define
class Asking:
    """An input on its way to be acknowledged."""

    key: int
    runtime: int
    timer: Call | None = None
    over: bool = False


class World(Agenda):
    """A hundred members, say, and what is asked of them."""

    def __init__(self, seed: int, size: Size, times: Times) -> None:
        super().__init__(seed, patience_s=0.0)
        self.size = size
        self.times = times
        self.watch = Watch()
        self.database = Database(lambda: self.now, times.lease_s, self.watch)
        self.database_up = True
        self.asked = 0
        self.bound_s = times.lease_s
        self.lives: dict[int | None, Member] = {}
        self.members = [
            Member(self, f"m{number}", number if size.sharded else None)
            for number in range(size.members)
        ]
        self.calling = True
        """Do callers come, and do things go wrong?"""
        self._shards: dict[int, int] = {}

    # --- time ---------------------------------------------------------------------------

    def after(self, delay_s: float, call: Callable[[], None]) -> Call:
        """Make a call, some time from now."""
        due = Call(call, "")
        self.later(delay_s, due)
        return due

    def ready_at_once(self, call: Callable[[], None]) -> None:
        """Make a call, in no order with others that are ready."""
        self.ready(Call(call, ""))

    def cancel(self, due: Call | None) -> None:
        """Do not make it, if it has not been made."""
        if due is not None and due.call is not None:
            due.call = None
            self.stale()

    def run(self, seconds: float) -> None:
        """Let so much time pass, and do what is due in it."""
        until = self.now + seconds
        while self.now < until:
            due: Call = self._next()
            call, due.call = due.call, None
            if call is not None:
                call()

    def within(self, mean_s: float) -> float:
        """A time like that: half of it to half as much again."""
        return mean_s * (0.5 + self.chance.random())

    # --- callers ------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the members and the callers."""
        for member in self.members:
            member.start()
        self._arrive()
        if self.size.turns_a_second:
            self._turn_one()
        self._check()

    def _arrive(self) -> None:
        if self.calling:
            self.asked += 1
            self._ask(Asking(self.asked, self.chance.randrange(self.size.runtimes)))
            self.after(self.chance.expovariate(self.size.inputs_a_second), self._arrive)

    def _turn_one(self) -> None:
        if self.calling:
            runtime = self.chance.randrange(self.size.runtimes)
            member = self.door(runtime)
            member.arrives(partial(member.turn_runtime, runtime))
            self.after(self.chance.expovariate(self.size.turns_a_second), self._turn_one)

    def shard(self, runtime: int) -> int:
        """The number of a runtime's shard."""
        if runtime not in self._shards:
            name = LogicalRuntimeId(f"session-{runtime}")
            self._shards[runtime] = shard_of(name, self.size.members)
        return self._shards[runtime]

    def door(self, runtime: int) -> Member:
        """Whom a caller asks: the member of its shard, or any that answers the door."""
        if self.size.sharded:
            return self.members[self.shard(runtime)]
        for _ in range(self.size.members):
            member = self.chance.choice(self.members)
            if member.up:
                return member
        return self.members[0]

    def _ask(self, asking: Asking) -> None:
        if asking.over:
            return
        member = self.door(asking.runtime)
        asking.timer = self.after(self.within(PATIENCE_S), partial(self._ask, asking))
        if member.up:
            reply = partial(self._answered, asking)
            delay_s = self.within(self.times.hop_s)
            work = partial(member.ingest, asking.runtime, asking.key, reply)
            self.after(delay_s, partial(member.arrives, work))

    def _answered(self, asking: Asking, answer: Answer) -> None:
        if asking.over:
            return
        self.cancel(asking.timer)
        if answer is Answer.AGAIN:
            asking.timer = self.after(self.within(PATIENCE_S / 10), partial(self._ask, asking))
            return
        asking.over = True
        if answer is Answer.ACCEPTED:
            self.watch.answered(asking.key, is_stored=self._is_stored(asking))

    def _is_stored(self, asking: Asking) -> bool:
        database = self.database
        return asking.key in database.ended or (
            asking.key in database.runtimes[asking.runtime].pending
        )

    # --- what must hold -----------------------------------------------------------------

    def _check(self) -> None:
        able = [each for each in self.members if each.able]
        orphans = self.database.orphans() if able else []
        if self.size.sharded:
            shards = {each.shard for each in able}
            orphans = [each for each in orphans if self.shard(each) in shards]
        self.watch.looked(orphans, self.now, self.bound_s)
        self.after(CHECK_S, self._check)

    def leaves_work(self, owner: int) -> None:
        """A member is gone: what it had work for waits for another one."""
        for runtime in self.database.work_of(owner):
            self.watch.left.setdefault(runtime, self.now)

    def end(self, limit_s: float) -> None:
        """Everybody comes back, and all that waits is worked; then look what has become of it."""
        self.calling = False
        self.database_up = True
        for member in self.members:
            member.linked = True
            member.go_on()
            if not member.up:
                member.start()
        until = self.now + limit_s
        while self.now < until and self.database.with_work():
            self.run(self.times.look_s)
        self.watch.ended(self.database.ended)
