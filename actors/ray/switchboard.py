"""Switchboard: which line a call takes, and where it waits while the shards are divided anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import astuple

from actors.light import LightCondition
from actors.ray.errand import Errand, errand_of_feed
from actors.ray.far_feeds import FarFeed
from actors.ray.line import Line
from actors.ray.looks import WireFigures
from actors.ray.remote import LineCounts
from actors.replies import OpenCalls, Reply
from meerkat.errors import CallTimedOut, ControlPlaneStopped
from meerkat.shards import shard_of


class Switchboard:
    """The lines of one front door. Thread-safe.

    ``calls`` bounds what is under way, and settles what is left at the end.
    """

    def __init__(self, calls: OpenCalls) -> None:
        self.calls = calls
        self._changed = LightCondition()
        self._lines: tuple[Line, ...] = ()
        """None while they are changed: what is called meanwhile is held."""
        self._held: deque[Errand] = deque()
        self._stopped = False
        self._past = LineCounts()

    # --- calling ------------------------------------------------------------------------

    def send(self, errand: Errand) -> None:
        """Send a call to the shard of its runtime, or hold it; ControlPlaneStopped."""
        while True:
            with self._changed:
                if self._stopped:
                    raise ControlPlaneStopped
                if not self._lines:
                    self._held.append(errand)
                    return
                line = self._line_of(errand)
            if line.put(errand):
                return
            self._wait_for_others(line)

    def _line_of(self, errand: Errand) -> Line:
        runtime_id = errand.runtime_id
        return self._lines[0 if runtime_id is None else shard_of(runtime_id, len(self._lines))]

    def _wait_for_others(self, line: Line) -> None:
        """A line that takes nothing has been put aside, or soon is."""
        with self._changed:
            self._changed.wait_for(lambda: line not in self._lines or self._stopped)

    def to_each(self, name: str, arguments: bytes, timeout_s: float) -> list[Reply[Any]]:
        """Ask every shard; CallTimedOut while there are none."""
        replies: list[Reply[Any]] = []
        for line in self.lines(name, timeout_s):
            reply: Reply[Any] = Reply()
            self.calls.opened(reply)
            replies.append(reply)
            if not line.put(Errand(name, None, arguments, reply)):
                reply.fail(ControlPlaneStopped("its shards are divided anew"))
        return replies

    def feed_each(self, feed: FarFeed[Any], timeout_s: float) -> list[Reply[Any]]:
        """Have every shard tell a feed; CallTimedOut while there are none."""
        errands = [errand_of_feed(feed, None) for _ in self.lines(feed.call, timeout_s)]
        for errand, line in zip(errands, self.lines(feed.call, timeout_s), strict=False):
            self.calls.opened(errand.reply)
            if not line.put(errand):
                errand.refused(ControlPlaneStopped("its shards are divided anew"))
        return [errand.reply for errand in errands]

    def lines(self, call: str, timeout_s: float) -> tuple[Line, ...]:
        """The lines; waits while they are changed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._lines) or self._stopped, timeout_s)
            if self._stopped:
                raise ControlPlaneStopped
            if not self._lines:
                raise CallTimedOut(call, timeout_s)
            return self._lines

    # --- changing -----------------------------------------------------------------------

    def hold(self) -> tuple[Line, ...]:
        """Hold what is called from now on; gives the lines there were."""
        with self._changed:
            lines, self._lines = self._lines, ()
            self._changed.notify_all()
            return lines

    def owe(self, errands: Sequence[Errand]) -> None:
        """What lines that have ended owe comes before all that is held."""
        with self._changed:
            self._held.extendleft(reversed(errands))

    def connect(self, lines: Sequence[Line]) -> None:
        """Use these lines: for what was held, then for what comes."""
        with self._changed:
            self._lines = tuple(lines)
            self._stopped = False
            for errand in self._of_runtimes(self._held):
                self._line_of(errand).put(errand)
            self._held.clear()
            self._changed.notify_all()

    def _of_runtimes(self, owed: Iterable[Errand]) -> list[Errand]:
        """Without those to every shard: a feed is asked for of each that there is now."""
        owed = list(owed)
        feeds = {each.feed: None for each in owed if each.runtime_id is None and each.feed}
        for feed in feeds:
            for line in self._lines:
                line.put(errand_of_feed(feed, None))
        for errand in owed:
            if errand.runtime_id is None and errand.feed is None:
                errand.reply.fail(ControlPlaneStopped("its shards are divided anew"))
        return [each for each in owed if each.runtime_id is not None]

    def stop(self) -> tuple[Line, ...]:
        """Take no more calls; what is held is told. Gives the lines there were."""
        with self._changed:
            self._stopped = True
            lines, self._lines = self._lines, ()
            held, self._held = self._held, deque()
            self._changed.notify_all()
        for errand in held:
            errand.stopped()
        return lines

    # --- looking ------------------------------------------------------------------------

    def put_aside(self, line: Line) -> None:
        """A line has ended: what went over it is counted on."""
        with self._changed:
            self._past = _sum(self._past, line.counts)

    def figures(self) -> WireFigures:
        """What has gone over all lines."""
        with self._changed:
            counts = self._past
            for line in self._lines:
                counts = _sum(counts, line.counts)
        names = ("calls", "batches", "polls", "said", "again", "unknown", "restarts")
        return WireFigures(**dict(zip(names, astuple(counts), strict=True)))


def _sum(one: LineCounts, other: LineCounts) -> LineCounts:
    return LineCounts(*map(sum, zip(astuple(one), astuple(other), strict=True)))
