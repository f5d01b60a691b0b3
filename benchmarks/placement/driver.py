"""Driver: one runtime in the hands of one process: decide, commit, release.

It claims with its first commit, before any run. Whatever becomes of a commit that did not land, it
drops its memory and leaves; who looks again loads it anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from placement.database import Commit, Landed
from placement.words import LOST, Answer

if TYPE_CHECKING:
    from placement.member import Member


class Driver:
    """One runtime in memory."""

    __slots__ = (
        "_asked",
        "_busy",
        "_done",
        "_fence",
        "_loaded",
        "_member",
        "_offered",
        "_open",
        "_over",
        "_queue",
        "_running",
        "_stages",
        "_takes",
        "_telling",
        "_turning",
        "_turns",
        "runtime",
    )

    def __init__(self, member: Member, runtime: int) -> None:
        self.runtime = runtime
        self._member = member
        self._fence = 0
        self._open = True
        self._loaded = self._busy = self._over = False
        self._turns = self._turning = self._offered = False
        self._queue: deque[int] = deque()
        self._takes: list[int] = []
        self._asked: list[tuple[int, Callable[[Answer], None]]] = []
        self._telling: list[tuple[int, Callable[[Answer], None]]] = []
        self._running: int | None = None
        self._done: int | None = None
        self._stages: int | None = None

    # --- loading ------------------------------------------------------------------------

    def load(self) -> None:
        """Read the runtime: this writes nothing, and so claims nothing."""
        database = self._member.world.database
        self._busy, self._offered = True, False
        self._member.read(lambda: database.load(self.runtime), self._read)

    def _read(self, answer: Any) -> None:
        self._busy = False
        if answer is LOST:
            self._leave()
            return
        fence, is_open, pending = answer
        if not self._loaded:
            self._fence, self._open, self._loaded = fence, is_open, True
            self._queue = deque(key for key, number in pending if number is not None)
        if fence == self._fence:
            self._takes = [key for key, number in pending if number is None]
        self._step()

    def take(self) -> None:
        """Something was offered: see what."""
        if self._busy:
            self._offered = True
        elif self._loaded and not self._over:
            self.load()

    # --- what it is asked ---------------------------------------------------------------

    def accept(self, key: int, reply: Callable[[Answer], None]) -> None:
        """Take an input in."""
        self._asked.append((key, reply))
        self._step()

    def turn(self) -> None:
        """Stop the runtime: all that waits is given up, and no more taken in; or revive it."""
        self._turns = True
        self._step()

    # --- decide, commit -----------------------------------------------------------------

    def _step(self) -> None:
        if self._busy or not self._loaded or self._over:
            return
        if self._offered:
            self.load()
            return
        self._telling, self._asked = self._asked, []
        if not self._open:
            self._tell(Answer.REFUSED)
        accepts = [key for key, _ in self._telling]
        done, self._done = self._done, None
        takes, self._takes = self._takes, []
        turns, self._turns = self._turns, False
        self._stages = None
        if done is not None:
            self._running = None
        if self._running is None and self._open and not turns:
            waiting = [*self._queue, *takes, *accepts]
            self._stages = waiting[0] if waiting else None
        if not (accepts or takes or turns or done is not None or self._stages is not None):
            return
        self._turning = turns
        self._busy = True
        batch = Commit(
            runtime=self.runtime,
            expected=self._fence,
            accepts=accepts,
            takes=takes,
            consumes=done,
            turns=turns,
        )
        self._member.commit(self, batch)

    # --- release ------------------------------------------------------------------------

    def told(self, answer: Any) -> None:
        """What has become of the commit."""
        self._busy = False
        if not isinstance(answer, Landed):
            self._leave()
            return
        self._fence += 1
        if self._turning:
            self._open, self._running, self._done = not self._open, None, None
        if not self._open:
            self._queue.clear()
        else:
            self._queue.extend(answer.numbers)
        self._tell(Answer.ACCEPTED)
        if self._stages is not None and self._queue and self._queue[0] == self._stages:
            self._running = self._queue.popleft()
            world = self._member.world
            duration_s = world.chance.expovariate(1 / world.times.run_s)
            key = self._running
            self._member.later(duration_s, lambda: self._ran(key))
        self._step()

    def _tell(self, answer: Answer) -> None:
        telling, self._telling = self._telling, []
        for _, reply in telling:
            reply(answer)

    def _ran(self, key: int) -> None:
        """A run has ended; what came of one that was given up is nobody's."""
        if self._running == key and not self._over:
            self._done = key
            self._step()

    def _leave(self) -> None:
        """Drop the memory. Who has asked is told to ask again."""
        self._over = True
        if self._member.drivers.get(self.runtime) is self:
            del self._member.drivers[self.runtime]
        self._telling += self._asked
        self._asked = []
        self._tell(Answer.AGAIN)
