"""Life: how the shards behind a front door come, go, and are divided anew.

A start that fails, or is interrupted, leaves no shard behind. A stop and a regrouping go on to
their end on threads of their own, whoever waits for them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from actors import messages as m
from actors.clock import Clock
from actors.light import LightEvent
from actors.ray.attached import Attached
from actors.ray.errand import Errand
from actors.ray.greetings import Greetings
from actors.ray.line import Line
from actors.ray.looks import ShardLook
from actors.ray.remote import Remote, ShardAway
from actors.ray.sums import report_of_all
from actors.ray.switchboard import Switchboard
from actors.replies import OpenCalls, refuse_deadlock
from actors.run_places import RunThreads
from actors.settings import STOP_TIMEOUT_S
from actors.stopping import ShutdownReport
from actors.system import System
from meerkat.errors import CallTimedOut, ControlPlaneStopped, NotInThisProcess

T = TypeVar("T")

LAST_WORDS_S: Final = 5.0
"""How long a shard that has stopped is listened to: what it says last is on its way by then."""

PATIENCE_S: Final = 60.0
"""How much longer than its timeout, and a few times the grace of runs, a stop is waited for."""

Places = Callable[[int | None], Sequence[Remote]]
"""Gives so many shards, not placed yet; or those that there are."""


class RayLife:
    """One front door's shards, from start to stop and again. Thread-safe.

    ``places`` gives the shards, ``connect`` and ``disconnect`` reach the cluster; a start may
    take ``start_within_s`` seconds.
    """

    def __init__(
        self,
        places: Places,
        *,
        shards: int | None,
        clock: Clock,
        in_flight_max: int,
        start_within_s: float,
        connect: Callable[[], bool],
        disconnect: Callable[[], None],
    ) -> None:
        self.board = Switchboard(OpenCalls(in_flight_max))
        self.attached = Attached()
        self._in_flight_max = in_flight_max
        self._places = places
        self._shards = shards
        self._clock = clock
        self._start_within_s = start_within_s
        self._connect = connect
        self._disconnect = disconnect
        self._connected_here = False
        self._lock = threading.RLock()  # a signal handler may stop what its thread starts
        self._regrouping = threading.Lock()
        self._threads: RunThreads | None = None
        self._greetings = Greetings()
        self._ended: tuple[Line, ...] = ()
        """The lines to the shards that were told to stop last."""
        self._ending: Future[ShutdownReport] | None = None
        self._stopping = LightEvent()
        self._follows = False
        """Is it another front door that stops the shards, and ends them?"""

    @property
    def system(self) -> System:
        """The parts behind it are the shards': NotInThisProcess."""
        if self._threads is None:
            raise ControlPlaneStopped
        raise NotInThisProcess("the control plane of a shard", "ask it through the front door")

    # --- starting -----------------------------------------------------------------------

    def start(self) -> None:
        """Place the shards and wait until they are open; raises why one is not."""
        with self._lock:
            ending = self._ending
        if ending is not None:
            refuse_deadlock("start")
            ending.exception()
        with self._lock:
            if self._threads is not None:
                return
            self._ending, self._stopping, self._follows = None, LightEvent(), False
            self._connected_here = self._connect()
            self._threads = RunThreads()
            self.attached.clear()
            self.board.calls = OpenCalls(self._in_flight_max)
            try:
                self._open(self._shards)
            except BaseException:
                self._undo()
                raise

    def _open(self, shards: int | None) -> None:
        lines = self._lines(self._places(shards))
        self.board.connect(lines)
        self._greetings.wait(len(lines), self._start_within_s, "start", patient=False)

    def _lines(self, remotes: Sequence[Remote]) -> list[Line]:
        """Lines to shards, which are placed first."""
        threads = self._running()
        self._greetings = greetings = Greetings()
        placed: list[Remote] = []
        try:
            for remote in remotes:
                remote.place(self._stopping)
                placed.append(remote)
        except BaseException:
            for remote in placed:
                remote.let_go()
            raise
        lines = [
            Line(
                remote,
                threads=threads,
                clock=self._clock,
                welcomed=partial(greetings.came, number),
                ended=self._has_ended,
                away=partial(greetings.is_away, number),
                first=partial(self.attached.again, number, len(remotes)),
            )
            for number, remote in enumerate(remotes)
        ]
        for line in lines:
            line.start()
        return lines

    def _running(self) -> RunThreads:
        if self._threads is None:
            raise ControlPlaneStopped
        return self._threads

    def _undo(self) -> None:
        """A start has failed: end what it has begun."""
        for line in self.board.stop():
            line.end()
            line.remote.let_go()
            line.wait_until_left(LAST_WORDS_S)
        self._leave()

    def _leave(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.stop()
        if self._connected_here:
            self._disconnect()

    # --- stopping -----------------------------------------------------------------------

    def stop(self, message: m.ShutDown) -> ShutdownReport:
        """Stop all shards, and wait for their ends; whoever calls meanwhile waits for the same."""
        refuse_deadlock("stop")
        with self._lock:
            if self._ending is None:
                if self._threads is None:
                    return ShutdownReport()
                ending = RunThreads()
                self._stopping.set()
                self._ending = ending.outcome_of(partial(self._stop, message))
                ending.stop()
            future = self._ending
        try:
            return future.result(message.timeout_s)
        except TimeoutError:
            self.hurry()
        return future.result()

    def _stop(self, message: m.ShutDown) -> ShutdownReport:
        with self._regrouping:
            board = self.board
            board.calls.refuse()
            lines = board.stop()
            for line in lines:
                line.is_last()
            reports, left = self._end(lines, message)
            for errand in left:
                errand.stopped()
            board.calls.fail_all(ControlPlaneStopped())
            self._leave()
            return report_of_all(reports)

    def _has_ended(self) -> None:
        """A shard has said its last: unless that was asked for here, another front door did.

        It sees to the others, too, in its own time; what has taken their names since is not
        to be stopped.
        """
        if self._stopping.is_set() or self._regrouping.locked():
            return
        self._follows = True
        with suppress(RuntimeError):
            threads = RunThreads()
            threads.start(partial(self.stop, m.ShutDown(drain=False, timeout_s=0)))
            threads.stop()

    def _end(
        self, lines: Sequence[Line], message: m.ShutDown
    ) -> tuple[list[ShutdownReport], list[Errand]]:
        """Stop the shards behind these lines, and end them; gives what they owe."""
        self._ended = lines = tuple(lines)
        threads = RunThreads()
        ends = [threads.outcome_of(partial(self._end_one, line, message)) for line in lines]
        reports = [end.result() for end in ends]
        threads.stop()
        owed: list[Errand] = []
        for line in lines:
            self.board.put_aside(line)
            owed += line.end()
        for line in lines:
            line.wait_until_left(LAST_WORDS_S)
        return reports, owed

    def _end_one(self, line: Line, message: m.ShutDown) -> ShutdownReport:
        if self._follows:
            line.wait_until_over(LAST_WORDS_S)
            line.remote.let_go()
            return ShutdownReport()
        until = self._clock.monotonic() + message.timeout_s + PATIENCE_S
        said = "it did not answer"
        try:
            while (left_s := until - self._clock.monotonic()) > 0:
                try:
                    report = line.remote.stop(
                        drain=message.drain, timeout_s=message.timeout_s, within_s=left_s
                    )
                except ShardAway as away:
                    said = str(away)
                    if left_s < PATIENCE_S:
                        break  # it may be on its way back, but not for longer than the runs
                    self._pause()
                else:
                    line.wait_until_over(LAST_WORDS_S)
                    return report
        finally:
            line.remote.end()
        return ShutdownReport(failure=f"a shard was ended without a stop: {said}")

    def _pause(self) -> None:
        LightEvent().wait(0.1)

    def hurry(self) -> None:
        """Have a stop that is under way, or comes, wait for no run."""
        for line in self._ended:
            with suppress(ShardAway):
                line.remote.hurry()

    # --- regrouping ---------------------------------------------------------------------

    def reshard(self, shards: int, timeout_s: float | None) -> None:
        """Divide the runtimes among so many shards instead; CallTimedOut bounds the caller."""
        refuse_deadlock("reshard")
        self._running()
        if self._shards is None:  # they would be stopped, and nobody here could place others
            raise NotInThisProcess("the placing of shards", "ask the front door that placed them")
        threads = RunThreads()
        done = threads.outcome_of(partial(self._reshard, shards))
        threads.stop()
        try:
            done.result(timeout_s)
        except TimeoutError:
            if done.done():
                raise
            raise CallTimedOut("reshard", timeout_s or 0.0) from None

    def _reshard(self, shards: int) -> None:
        with self._regrouping:
            self._running()
            lines = self.board.hold()
            _, owed = self._end(lines, m.ShutDown(drain=False, timeout_s=STOP_TIMEOUT_S))
            self.board.owe(owed)  # first: it waits there, should the others not come
            self._shards = shards
            fresh = self._lines(self._places(shards))
            self.board.connect(fresh)
            self._greetings.wait(len(fresh), self._start_within_s, "reshard", patient=True)

    # --- looking ------------------------------------------------------------------------

    def look(self, timeout_s: float) -> tuple[ShardLook, ...]:
        """Where each shard runs, and how; of one that does not answer, why."""
        lines = self.board.lines("shards", timeout_s)
        looks: list[ShardLook] = []
        for number, line in enumerate(lines):
            try:
                looks.append(line.remote.look())
            except ShardAway as away:
                looks.append(ShardLook(number=number, of=len(lines), trouble=str(away)))
        return tuple(looks)
