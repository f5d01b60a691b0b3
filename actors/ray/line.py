"""Line: the way of this front door's calls to one shard, and of all that comes back.

Two threads carry it. One takes what was called meanwhile and sends it as one remote call; the
other keeps one question for news open, and hands on what has come. What is sent is kept until it
is answered. A shard that does not know this front door's token was started anew: what it owes is
asked for again. A thread that fails itself fails the calls it had in hand, and begins anew, too.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from actors.clock import Clock
from actors.light import LightCondition
from actors.pool import serve_here
from actors.ray.errand import Errand
from actors.ray.mishaps import tell_unknown, tell_untold
from actors.ray.owed import PUT_OFF_S, Owed
from actors.ray.remote import LineCounts, Remote, ShardAway
from actors.ray.wire import (
    BYTES_MAX,
    CALLS_MAX,
    Call,
    Over,
    Said,
    Welcome,
    pack,
    unpack_said,
)
from actors.run_places import RunThreads

logger = logging.getLogger(__name__)

PAUSES_S: Final = (0.05, 1.0)
"""Pauses between two greetings of a shard that is away: the first, and what they double up to."""


class Line:
    """One front door's line to one shard. Thread-safe.

    ``welcomed`` is called with every greeting, ``away`` with why one had no answer, and ``ended``
    when the shard has said its last, on a thread of the line. ``first`` gives what a shard that
    knows of nothing is told before all else; it is quick, and takes no lock.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        threads: RunThreads,
        clock: Clock,
        welcomed: Callable[[Welcome], object],
        ended: Callable[[], object],
        away: Callable[[ShardAway], object],
        first: Callable[[], list[Errand]] = list,
    ) -> None:
        self.remote = remote
        self._clock = clock
        self.counts = LineCounts()
        self._welcomed = welcomed
        self._ended = ended
        self._is_away = away
        self._first = first
        self._threads = threads
        self._changed = LightCondition()
        self._connecting = threading.Lock()
        self._token: str | None = None
        self._over = False
        """Has the shard said its last, or does nobody listen any more?"""
        self._next = 1
        self._through = 0
        self._carrying = 0
        self._waiting: deque[Errand] = deque()
        self._words: deque[tuple[str, int, int]] = deque()
        self._batch: tuple[Call, ...] = ()
        """What was sent, and has perhaps not arrived."""
        self._in_doubt = False
        """Was it sent before, and may have arrived?"""
        self._spoiled = False
        """Has a thread failed, so that the shard is to forget all that was sent?"""
        self._owed = Owed(self.counts)

    def start(self) -> None:
        """Begin to send and to listen; RuntimeError when there is no thread to be had."""
        for work in (self._listen, self._send):
            self._threads.start(partial(self._carry, work))
            self._carrying += 1

    def _carry(self, work: Callable[[], object]) -> None:
        serve_here()  # host code gets here in the callbacks of futures alone
        try:
            while not self._is_done(work):
                self._pause(PAUSES_S[1])
        finally:
            serve_here(on=False)
            with self._changed:
                self._carrying -= 1
                self._changed.notify_all()

    def _is_done(self, work: Callable[[], object]) -> bool:
        """Work until the line is over. What fails for no reason that is known is begun anew.

        The calls that were sent have failed then: who knows what another try would do.
        """
        try:
            if self._spoiled:
                self._greet(self._token, None)
            work()
        except Exception as error:  # noqa: BLE001 - callers wait for this thread
            with self._changed:
                sent = self._owed.take_sent()
                self._batch, self._in_doubt, self._spoiled = (), False, True
            tell_unknown(sent, error)
            return self._over
        return True

    def wait_until_left(self, timeout_s: float) -> None:
        """Wait for the threads of a line that has ended: they may be in a remote call."""
        with self._changed:
            self._changed.wait_for(lambda: self._carrying <= 0, timeout_s)

    # --- the front door's side ----------------------------------------------------------

    def put(self, *errands: Errand) -> bool:
        """Have calls sent, in their order; False where nobody will, and none is taken."""
        with self._changed:
            if self._over:
                return False
            self._waiting.extend(errands)
            self._changed.notify_all()
            return True

    def word(self, name: str, feed: int, count: int) -> None:
        """Have a word sent that has no answer."""
        self._words.append((name, feed, count))  # first: a finalizer may say it
        with self._changed:
            self._changed.notify_all()

    def is_last(self) -> None:
        """The shard is to stop, for good: what it refuses because of that is told.

        Until then it is kept, for whoever takes the shard's place.
        """
        with self._changed:
            self._owed.last = True

    def wait_until_over(self, timeout_s: float) -> bool:
        """Wait until the shard has said its last; says whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._over, timeout_s)

    def end(self) -> list[Errand]:
        """Listen no more; gives what has not come to its end, in the order of the calls.

        What was sent without an answer and is not to be made twice ends here.
        """
        with self._changed:
            self._over = True
            owed, lost = self._take_owed()
            owed += self._waiting
            self._waiting.clear()
            self._changed.notify_all()
        for errand in lost:
            errand.lost()
        return owed

    # --- sending ------------------------------------------------------------------------

    def _send(self) -> None:
        while True:
            with self._changed:
                self._wait_for_calls()
                if self._over:
                    return
                if not self._may_send():
                    continue
                token, batch = self._token, self._batch or self._next_batch()
                self._batch = batch
            if token is None:
                continue
            try:
                known = self.remote.take(token, batch)
            except ShardAway as away:
                self._in_doubt = True
                self._greet(token, away)
                continue
            self._arrived(token, known=known)
            if not known:
                self._greet(token, None)

    def _arrived(self, token: str, *, known: bool) -> None:
        """A remote call has had its answer: its calls are taken, or not one of them is."""
        with self._changed:
            if self._token != token:
                return
            self.counts.batches += known
            if not known and not self._in_doubt:
                self._waiting.extendleft(reversed(self._owed.never_sent(self._batch)))
            self._batch, self._in_doubt = (), False

    def _wait_for_calls(self) -> None:
        """Wait until there is something to send, or what was put off is due."""
        if self._owed.puts_off:
            self._changed.wait_for(self._may_send, PUT_OFF_S)
            self._waiting.extendleft(reversed(self._owed.due(self._clock.monotonic())))
        else:
            self._changed.wait_for(lambda: self._may_send() or self._owed.puts_off)

    def _may_send(self) -> bool:
        if self._over:
            return True
        return self._token is not None and bool(self._batch or self._waiting or self._words)

    def _next_batch(self) -> tuple[Call, ...]:
        """What was called meanwhile, as much as goes into one remote call."""
        calls: list[Call] = []
        size = 0
        while self._words and len(calls) < CALLS_MAX:
            name, feed, count = self._words.popleft()
            arguments = (feed, count) if name == "more" else (feed,)
            if name == "close_feed":
                self._owed.closed(feed)
            calls.append(Call(self._number(), name, pack(arguments)))
        while self._waiting and len(calls) < CALLS_MAX:
            size += len(self._waiting[0].arguments)
            if calls and size > BYTES_MAX:
                break
            errand = self._waiting.popleft()
            errand.number, errand.tell = self._number(), self.word
            self._owed.sent(errand)
            calls.append(Call(errand.number, errand.name, errand.arguments))
            self.counts.calls += 1
        return tuple(calls)

    def _number(self) -> int:
        number, self._next = self._next, self._next + 1
        return number

    # --- listening ----------------------------------------------------------------------

    def _listen(self) -> None:
        self._greet(None, None)
        while not self._over:
            token = self._token
            if token is None:
                return
            try:
                told = self.remote.poll(token, self._through)
            except ShardAway as away:
                self._greet(token, away)
                continue
            if told is None:
                self._greet(token, None)
                continue
            self.counts.polls += bool(told)
            for number, call, packed in told:
                self._hear(token, number, unpack_said(call, packed))

    def _hear(self, token: str, number: int, said: Said) -> None:
        """Take in what is new; whoever is told of it is told without a lock."""
        errand: Errand | None = None
        try:
            with self._changed:
                if self._token != token or number <= self._through:
                    return
                self._through = number
                self.counts.said += 1
                errand = self._owed.asked(said.number)
                tell = self._owed.hear(said, self._clock.monotonic())
                if isinstance(said, Over):
                    self._over, tell = True, self._ended
                if self._over or self._owed.puts_off:
                    self._changed.notify_all()
            if tell is not None:
                tell()
        except Exception as error:
            if errand is None:
                raise
            with self._changed:
                self._owed.forget(errand.number)
            tell_untold(errand, error)

    # --- greeting -----------------------------------------------------------------------

    def _greet(self, token: str | None, away: ShardAway | None) -> None:
        """Greet the shard until it answers, unless the other thread has since ``token``."""
        with self._connecting:
            pause_s, longest_s = PAUSES_S
            said: set[str] = set()
            if away is not None and not self._over:
                self._tell_away(away, said)
                self._pause(pause_s)
            while self._token == token and not self._over:
                try:
                    known_as = None if self._spoiled else token
                    welcome = self.remote.hello(known_as, self._next)
                except ShardAway as error:
                    self._tell_away(error, said)
                    welcome = None
                if welcome is not None and welcome.opened and welcome.token == token:
                    return
                if welcome is not None:
                    self._welcomed(welcome)
                    if welcome.opened:
                        self._begin(welcome.token)
                        return
                self._pause(pause_s)
                pause_s = min(2 * pause_s, longest_s)

    def _tell_away(self, away: ShardAway, said: set[str]) -> None:
        """Log why the shard does not answer, unless that was ``said`` since it last did."""
        self._is_away(away)
        if str(away) not in said and not self._over:
            said.add(str(away))
            logger.warning("a shard does not answer: %s", away)

    def _pause(self, pause_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._over, pause_s)

    def _begin(self, token: str) -> None:
        """The shard knows of nothing: what it owes is asked for again, before all else."""
        with self._changed:
            if self._over:
                return
            self.counts.restarts += self._token is not None
            owed, lost = self._take_owed()
            self._waiting.extendleft(reversed([*self._first(), *owed]))
            self._token, self._through, self._spoiled = token, 0, False
            self._changed.notify_all()
        for errand in lost:
            errand.lost()

    def _take_owed(self) -> tuple[list[Errand], list[Errand]]:
        """What is to be sent again, and what is not to be; what was on its way is neither."""
        self._batch, self._in_doubt = (), False
        self._words.clear()
        return self._owed.take()
