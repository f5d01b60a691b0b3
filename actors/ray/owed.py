"""Owed: what a shard has been asked and not brought to its end, and what becomes of it.

Whoever keeps this calls it under a lock, and makes the calls that it gives back without one:
they settle futures, and get to host code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Final

from actors.ray.errand import Errand
from actors.ray.far_feeds import says_stopped
from actors.ray.remote import LineCounts
from actors.ray.wire import Answer, Call, FeedTold, InputEnded, Refusal, Said
from meerkat.errors import ControlPlaneStopped
from meerkat.outcomes import TerminationReason, terminated

PUT_OFF_S: Final = 1.0
"""How long an input whose runtime is refused just now is not asked for again."""

_STOPPED: Final = terminated(TerminationReason.PLANE_STOPPED)

Tell = Callable[[], object]


class Owed:
    """What one shard owes one front door. Not thread-safe."""

    def __init__(self, counts: LineCounts) -> None:
        self.last = False
        """Is it the front door itself that stops the shard, so that nobody takes its place?"""
        self._counts = counts
        self._sent: dict[int, Errand] = {}
        self._going_on: dict[int, Errand] = {}
        self._put_off: list[Errand] = []
        self._put_off_at = 0.0
        self._moved: list[Errand] = []
        """Refused by a shard that stops: they are for whoever takes its place."""

    def sent(self, errand: Errand) -> None:
        """One more call is on its way, under its number."""
        self._sent[errand.number] = errand

    def never_sent(self, calls: Sequence[Call]) -> list[Errand]:
        """These calls were not taken: they are to be sent as if for the first time."""
        found = [self._sent.pop(call.number, None) for call in calls]
        return [each for each in found if each is not None]

    def asked(self, number: int) -> Errand | None:
        """The call of that number, if anything of it is still to come."""
        return self._sent.get(number) or self._going_on.get(number)

    def forget(self, number: int) -> None:
        """What else comes of this call is for nobody."""
        self._sent.pop(number, None)
        self._going_on.pop(number, None)

    def closed(self, number: int) -> None:
        """The feed of this call has no reader any more."""
        self._going_on.pop(number, None)

    def take_sent(self) -> list[Errand]:
        """The calls that were sent and have no answer, but for the rest of what was granted."""
        known = {number: each for number, each in self._sent.items() if not each.is_the_rest}
        self._sent = {number: each for number, each in self._sent.items() if each.is_the_rest}
        self._counts.unknown += len(known)
        return [*known.values()]

    # --- what the shard says ------------------------------------------------------------

    def hear(self, said: Said, now: float) -> Tell | None:
        """Take in what the shard says; gives whom to tell of it."""
        match said:
            case Answer(number=number, value=value):
                return self._answered(number, value)
            case Refusal(number=number, error=error, cause=cause):
                error.__cause__ = cause
                return self._refused(number, error, now)
            case InputEnded(number=number, outcome=outcome, error=failure):
                if outcome == _STOPPED and not self.last:
                    return None  # it goes on at whoever takes the shard's place
                ended = self._going_on.pop(number, None)
                return None if ended is None else partial(ended.ended, outcome, failure)
            case FeedTold():
                self._fed(said)
        return None

    def _answered(self, number: int, value: object) -> Tell | None:
        errand = self._sent.pop(number, None)
        if errand is None:
            return None
        if errand.done is not None:
            errand.done()
        if errand.goes_on:
            errand.learns(value)
            self._going_on[number] = errand
        return partial(errand.answered, value)

    def _refused(self, number: int, error: BaseException, now: float) -> Tell | None:
        errand = self._sent.pop(number, None) or self._going_on.pop(number, None)
        if errand is None:
            return None
        if isinstance(error, ControlPlaneStopped) and not self.last:
            self._moved.append(errand)
        elif errand.is_put_off_by(error):
            self._put_off.append(errand)
            self._put_off_at = now
        else:
            return partial(errand.refused, error)
        return None

    def _fed(self, told: FeedTold) -> None:
        errand = self._going_on.get(told.number)
        if errand is None or errand.feed is None:
            return
        items = [item for item in told.items if self.last or not says_stopped(item)]
        errand.feed.arrived(errand, items)
        if told.over and (self.last or errand.feed.is_of_one_that_ended):
            del self._going_on[told.number]
            errand.feed.over(errand)

    # --- what is asked again ------------------------------------------------------------

    @property
    def puts_off(self) -> bool:
        """Is there something to be asked for again, by and by?"""
        return bool(self._put_off)

    def due(self, now: float) -> list[Errand]:
        """What was put off, once it may be asked for again; it comes before what waits.

        What has been told otherwise since is not told again.
        """
        if not self._put_off or now < self._put_off_at + PUT_OFF_S:
            return []
        told = {each.runtime_id for each in self._sent.values() if each.done is not None}
        due, self._put_off = self._put_off, []
        return [
            each
            for each in due
            if each.renews is None or (each.renews() and each.runtime_id not in told)
        ]

    def take(self) -> tuple[list[Errand], list[Errand]]:
        """All of it, as it is to be sent to another one; and what is not to be made twice.

        What the last one was told again is not in it: the next one is told all of that anew.
        """
        sent = [*self._sent.values()]
        rest = [each.going_on() for each in self._going_on.values()]
        again = [errand for errand in sent if errand.may_be_repeated]
        lost = [errand for errand in sent if not errand.may_be_repeated]
        calls = [(each.number, each) for each in (*self._moved, *self._put_off)]
        calls += [(each.number, each.once_more()) for each in again]
        calls = [(number, each) for number, each in calls if each.renews is None]
        calls.sort(key=itemgetter(0))  # in their order, whatever has become of each
        self._sent, self._going_on, self._moved, self._put_off = {}, {}, [], []
        self._counts.again += len(again)
        self._counts.unknown += len(lost)
        return [*(each for each in rest if each is not None), *(each for _, each in calls)], lost
