"""Threaded: actors with the promises of pooled ones, each on a thread of its own.

For hosts that want a stack, a profile or a blocked read to be one runtime's and nobody
else's, and have few runtimes. Beside ``pool`` the second module that uses Pykka's underscore
names, watched by the same test: the mailbox is the pool's, so that nothing told is lost and
an actor ends in the same ways; its turns are taken on Pykka's own thread for the actor.
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue

import pykka

from actors.light import LightEvent
from actors.logs import without_text
from actors.pool import ActorPool, PooledActor, serving
from meerkat.words import Word

logger = logging.getLogger(__name__)


class DriverThreads(Word):
    """Which threads drive runtimes."""

    POOLED = "pooled"
    """A few, which all runtimes share."""
    THREADED = "threaded"
    """One for each runtime that is live."""


class ActorThreads(ActorPool):
    """The threads of threaded actors, in the place of a pool. Thread-safe."""

    def __init__(self) -> None:
        super().__init__(workers=0)
        self._lock = threading.Lock()
        self._running: set[ThreadedActor] = set()

    def stop(self, timeout_s: float) -> bool:
        """End each thread once it has handled what is ready now; says whether all ended."""
        with self._lock:
            running = tuple(self._running)
        for actor in running:
            actor.turns.put(None)
        ended = True
        for actor in running:  # one that hangs is enough to wait for
            ended = actor.over.wait(timeout_s if ended else 0.0) and ended
        return ended

    def schedule(self, actor: PooledActor) -> None:
        """Give an actor its turn."""
        if isinstance(actor, ThreadedActor):
            actor.turns.put(actor)

    def busy(self) -> tuple[PooledActor, ...]:
        """The actors that have a thread, to look at. Takes no lock."""
        return tuple(self._running.copy())

    def begin(self, actor: ThreadedActor) -> None:
        """Give an actor its thread; RuntimeError when none is to be had."""
        with self._lock:
            self._running.add(actor)
        actor.start_thread()

    def end(self, actor: ThreadedActor) -> None:
        """An actor has no thread any more."""
        with self._lock:
            self._running.discard(actor)


class ThreadedActor(PooledActor, pykka.ThreadingActor):
    """A pooled actor whose turns are taken by one thread, which ends with it.

    ``turns`` brings them, and None at the end; ``over`` is set once
    the thread is about to end.
    """

    use_daemon_thread = True

    def __init__(self, threads: ActorThreads) -> None:
        super().__init__(threads)
        self._threads = threads
        self.turns: SimpleQueue[PooledActor | None] = SimpleQueue()
        self.over = LightEvent()

    def _start_actor_loop(self) -> None:
        try:
            self._threads.begin(self)
        except BaseException:  # no thread to be had; or a signal, and there may be one
            self.turns.put(None)
            self._threads.end(self)
            raise

    def start_thread(self) -> None:
        """Have the turns taken on a thread of its own from now on."""
        pykka.ThreadingActor._start_actor_loop(self)  # noqa: SLF001 - the pool's starts none

    def _actor_loop(self) -> None:
        """Take turns until the actor, or its plane, ends."""
        with serving():
            while not self.actor_stopped.is_set() and self.turns.get() is not None:
                try:
                    self.take_turn()
                except BaseException as error:  # nothing may end the thread but its actor's end
                    said = "a turn of %s broke off"
                    logger.exception(said, type(self).__name__, exc_info=without_text(error))
                    self.take_up_again(error)
        self._threads.end(self)
        self.over.set()

    def end_at_rest(self) -> bool:
        """End here and now, if no mail waits and no turn is under way. For any thread."""
        ended = super().end_at_rest()
        if ended:
            self.turns.put(None)
        return ended
