"""Member: one process, as the others and the database meet it.

It renews its lease, adopts, takes what was offered, and has a driver for each runtime that it
works. Killed, it forgets; stopped and continued, it goes on where it was, knowing nothing of what
happened meanwhile, and what it had sent before arrives all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from placement.database import PAGE, Commit
from placement.driver import Driver
from placement.words import LOST, Answer

if TYPE_CHECKING:
    from placement.world import World

READERS: Final = 16
GROUP: Final = 512
HINTS_LOST: Final = 0.05
"""Of the hints, those that never come: nothing may depend on one."""


@frozen(kw_only=True)
class Times:
    """How long things take, in seconds."""

    lease_s: float = 10.0
    hop_s: float = 0.0005
    """One way, between any two machines."""
    commit_s: float = 0.002
    batch_s: float = 0.000_036
    """A commit takes that, and each batch in it that."""
    run_s: float = 5.0
    away_s: float = 30.0
    """How long a call waits for a database that has gone."""
    pause_s: float = 1.0
    """Between two tries to reach it, at most."""

    hesitates: bool = False
    """Does one whose lease was over leave what others had to them for another look?"""

    @property
    def look_s(self) -> float:
        """Between two looks at what is to be adopted, and two signs of life."""
        return self.lease_s / 3


class Member:
    """One process. A life begins with ``start`` and ends with ``kill`` or ``drain``."""

    def __init__(self, world: World, name: str, shard: int | None) -> None:
        self.world = world
        self.name = name
        self.shard = shard
        self.life = 0
        self.up = False
        self.stopped = False
        self.linked = True
        self.me = 0
        self.drivers: dict[int, Driver] = {}
        self._forget()

    def _forget(self) -> None:
        self.me = 0
        self.drivers = {}
        self._frozen: list[Callable[[], None]] = []
        self._journal: deque[tuple[Driver, Commit]] = deque()
        self._committing = False
        self._reads: deque[Callable[[], None]] = deque()
        self._reading = 0
        self._looking = False
        self._late_until = 0.0
        self._renewed_at = self.world.now

    @property
    def able(self) -> bool:
        """Could it adopt just now?"""
        return self.well and self.world.database_up and self.me > 0

    @property
    def _is_late(self) -> bool:
        """Was its lease over, as far as it knows, so that those of others may be by accident?"""
        times, now = self.world.times, self.world.now
        over = now - self._renewed_at > times.lease_s
        return times.hesitates and (over or now < self._late_until)

    @property
    def well(self) -> bool:
        """Is nothing wrong with it?"""
        return self.up and not self.stopped and self.linked

    # --- what happens to it -------------------------------------------------------------

    def start(self) -> None:
        """Begin another life."""
        self.up, self.stopped = True, False
        database = self.world.database
        self.ask(lambda done: done(database.enter(self.name, self.shard)), self._entered)

    def _entered(self, me: Any) -> None:
        if me is LOST:
            self.start()
            return
        self.me = me
        self.world.lives[me] = self
        self._looks_again(self.world.times.look_s * self.world.chance.random())
        self._look()

    def kill(self) -> None:
        """End at once; the lease lasts."""
        self.world.leaves_work(self.me)
        self.up = False
        self.life += 1
        self._forget()

    def drain(self) -> None:
        """End in order; the lease is over."""
        self.world.leaves_work(self.me)
        if self.able:
            self.world.database.leave(self.me)
        self.up = False
        self.life += 1
        self._forget()

    def stop(self) -> None:
        """Do nothing until ``go_on``, as after SIGSTOP."""
        self.world.leaves_work(self.me)
        self.stopped = True

    def go_on(self) -> None:
        """Go on as if nothing had happened."""
        self.stopped = False
        held, self._frozen = self._frozen, []
        for call in held:
            self.world.ready_at_once(call)

    def cut(self) -> None:
        """Reach the database no more."""
        self.world.leaves_work(self.me)
        self.linked = False

    def mend(self) -> None:
        """Reach it again."""
        self.linked = True

    # --- what it does when --------------------------------------------------------------

    def arrives(self, call: Callable[[], None]) -> None:
        """Something comes in from outside."""
        if self.up:
            self._do(self.life, call)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Do it then, in this life."""
        self.world.after(delay_s, partial(self._do, self.life, call))

    def _do(self, life: int, call: Callable[[], None]) -> None:
        if life != self.life:
            return
        if self.stopped:
            self._frozen.append(partial(self._do, life, call))
        else:
            call()

    # --- the way to the database and back -----------------------------------------------

    def ask(
        self,
        work: Callable[[Callable[[Any], None]], None],
        then: Callable[[Any], None],
        *,
        takes_s: float = 0.0,
        waited_s: float = 0.0,
    ) -> None:
        """Have the database do something and go on with its answer, or with LOST.

        A call that does not get there is tried again; what became of one whose answer does not
        come back is asked for, as the store asks what became of a transaction.
        """
        world = self.world
        delay_s = world.within(world.times.hop_s) + takes_s

        def reached(life: int) -> None:
            if self.linked and world.database_up:
                work(partial(self._comes_back, life, then, 0.0))
            elif waited_s > world.times.away_s:
                self._do(life, partial(then, LOST))
            else:
                pause_s = world.within(world.times.pause_s)
                again = partial(self.ask, work, then, takes_s=takes_s, waited_s=waited_s + pause_s)
                world.after(pause_s, partial(self._do, life, again))

        world.after(delay_s, partial(reached, self.life))

    def _comes_back(
        self, life: int, then: Callable[[Any], None], waited_s: float, answer: Any
    ) -> None:
        world = self.world
        if self.linked and world.database_up:
            delay_s = world.within(world.times.hop_s)
            world.after(delay_s, partial(self._do, life, partial(then, answer)))
        elif waited_s > world.times.away_s:
            self._do(life, partial(then, LOST))
        else:
            pause_s = world.within(world.times.pause_s)
            again = partial(self._comes_back, life, then, waited_s + pause_s, answer)
            world.after(pause_s, again)

    def read(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """The same through one of so many readers."""

        def begin() -> None:
            self._reading += 1
            self.ask(lambda done: done(work()), ended)

        def ended(answer: Any) -> None:
            self._reading -= 1
            if self._reads:
                self._reads.popleft()()
            then(answer)

        if self._reading < READERS:
            begin()
        else:
            self._reads.append(begin)

    # --- the journal --------------------------------------------------------------------

    def commit(self, driver: Driver, batch: Commit) -> None:
        """Have a batch committed with those of other runtimes."""
        self._journal.append((driver, batch))
        if not self._committing:
            self._commit_group()

    def _commit_group(self) -> None:
        self._committing = True
        group = [self._journal.popleft() for _ in range(min(GROUP, len(self._journal)))]
        times = self.world.times
        takes_s = times.commit_s + times.batch_s * len(group)
        work = partial(self._write, self.me, [batch for _, batch in group])
        self.ask(work, partial(self._landed, group), takes_s=takes_s)

    def _write(self, me: int, batches: Sequence[Commit], done: Callable[[Any], None]) -> None:
        database = self.world.database
        for batch in batches:
            row = database.runtimes[batch.runtime]
            if row.locked:
                row.waiting.append(partial(self._write, me, batches, done))
                return
        database.counts["transactions"] += 1
        done([database.commit(me, batch) for batch in batches])

    def _landed(self, group: Sequence[tuple[Driver, Commit]], answers: Any) -> None:
        self._committing = False
        for number, (driver, _) in enumerate(group):
            driver.told(LOST if answers is LOST else answers[number])
        if self._journal and not self._committing:
            self._commit_group()

    # --- sharing ------------------------------------------------------------------------

    def _looks_again(self, delay_s: float) -> None:
        def look() -> None:
            self._looks_again(self.world.times.look_s)
            if not self._looking:
                self._look()

        self.later(delay_s, look)

    def _look(self) -> None:
        """Give a sign of life, then take what was offered, then adopt."""
        self._looking = True
        database, me = self.world.database, self.me
        self.ask(lambda done: done(database.renew(me)), self._renewed)

    def _renewed(self, answer: Any) -> None:
        if answer is LOST:
            self._looking = False
            return
        database, me = self.world.database, self.me
        self.ask(lambda done: done(database.offered(me)), self._take_all)
        self._renewed_at = self.world.now
        if answer:
            self._late_until = self.world.now + self.world.times.look_s
        if self._is_late:
            self._looking = False
        else:
            self._next_page(-1)

    def _take_all(self, offered: Any) -> None:
        for runtime in () if offered is LOST else offered:
            self.driver(runtime).take()

    def _next_page(self, after: int) -> None:
        database, me = self.world.database, self.me
        work = partial(database.page_adoptable, me, after)
        self.ask(lambda done: done(work()), self._adopt)

    def _adopt(self, page: Any) -> None:
        self._looking = False
        if page is LOST:
            return
        for runtime in page:
            if self.shard is None or self.world.shard(runtime) == self.shard:
                self.driver(runtime)
        if len(page) == PAGE:
            self._next_page(page[-1])

    def driver(self, runtime: int) -> Driver:
        """The driver of a runtime, loading if there was none."""
        driver = self.drivers.get(runtime)
        if driver is None:
            driver = self.drivers[runtime] = Driver(self, runtime)
            driver.load()
        return driver

    def hinted(self, owner: int, runtime: int) -> None:
        """Something was offered to a runtime of that life of this process."""
        if owner == self.me:
            self.driver(runtime).take()

    # --- its door -----------------------------------------------------------------------

    def ingest(self, runtime: int, key: int, reply: Callable[[Answer], None]) -> None:
        """Take an input in, or offer it to who has the runtime."""
        if self.me == 0:
            reply(Answer.AGAIN)
        elif runtime in self.drivers:
            self.drivers[runtime].accept(key, reply)
        else:
            database, me = self.world.database, self.me
            self.read(
                lambda: database.elsewhere(me, runtime, lapsed_too=self._is_late),
                partial(self._decide, runtime, key, reply),
            )

    def _decide(
        self, runtime: int, key: int, reply: Callable[[Answer], None], elsewhere: Any
    ) -> None:
        if elsewhere is LOST:
            reply(Answer.AGAIN)
        elif elsewhere:
            self.ask(partial(self._offer, runtime, key), partial(self._offered, reply))
        else:
            self.driver(runtime).accept(key, reply)

    def _offer(self, runtime: int, key: int, done: Callable[[Any], None]) -> None:
        world, database = self.world, self.world.database

        def inserts() -> None:
            owner = database.offer_inserts(runtime, key)
            lives = world.lives.get(owner)
            if lives is not None and world.chance.random() >= HINTS_LOST:
                world.after(
                    world.within(world.times.hop_s),
                    partial(lives.arrives, partial(lives.hinted, owner, runtime)),
                )
            done(Answer.ACCEPTED)

        if database.offer_looks(runtime):
            world.after(world.within(world.times.hop_s), inserts)
        else:
            database.offer_ends(runtime)
            done(Answer.REFUSED)

    @staticmethod
    def _offered(reply: Callable[[Answer], None], answer: Any) -> None:
        reply(Answer.AGAIN if answer is LOST else answer)

    def turn_runtime(self, runtime: int) -> None:
        """Stop a runtime, if it is this process's; or revive it."""
        database, me = self.world.database, self.me

        def decide(elsewhere: Any) -> None:
            if elsewhere is False:
                self.driver(runtime).turn()

        if me:
            self.read(partial(database.elsewhere, me, runtime), decide)
