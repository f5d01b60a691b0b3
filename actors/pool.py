"""Pool: many actors on few threads.

Built on Pykka's own extension points for actor types (``_create_actor_inbox``,
``_create_future``, ``_start_actor_loop``, ``_stop``, ``_handle_receive``): underscore
names, used in this module alone and watched by a test. An actor is run by one worker at a
time, for at most a quantum of messages, then goes to the back of the queue.

Nothing that is told to a pooled actor is lost: what it did not come to handle before it
ended goes to :meth:`PooledActor.on_dead_letter`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Final, Self, cast

import pykka
from attrs import frozen
from pykka import ActorRef

from actors.light import LightAnswer
from actors.logs import without_text
from actors.mailbox import Mailbox
from actors.work_queue import WorkQueue

logger = logging.getLogger(__name__)

MESSAGES_PER_TURN: Final = 64
"""Messages one actor may handle before others have their turn."""


class _Worker(threading.Thread):
    """A thread that runs actors: what waits on it for an actor waits for ever."""

    pool: ActorPool
    actor: PooledActor | None = None
    """Whose turn it is."""
    then: tuple[Callable[[], None], Callable[[BaseException], None]] | None = None
    """What it does after the turn, and who is told if that fails."""


class _Serving(threading.local):
    on = False


_serving: Final = _Serving()


@contextmanager
def serving() -> Iterator[None]:
    """While this thread settles the futures of hosts, it counts as one that runs actors."""
    before, _serving.on = _serving.on, True
    try:
        yield
    finally:
        _serving.on = before


def serve_here(*, on: bool = True) -> None:
    """From now on this thread counts as one that runs actors: what it does, others wait for.

    Or no more, where it has other things to do in between.
    """
    _serving.on = on


def on_worker() -> bool:
    """Is this a thread that runs actors?"""
    return _serving.on


def registry_lock() -> threading.RLock:
    """The lock of Pykka's registry, which is one for the process."""
    return pykka.ActorRegistry._actor_refs_lock  # noqa: SLF001 - there is no other way to it


def actor_of(ref: ActorRef[Any]) -> PooledActor | None:
    """The actor behind a reference, to look at; None for one of another kind."""
    inbox = ref.actor_inbox
    return inbox.actor if isinstance(inbox, Mailbox) else None


class ActorPool:
    """Worker threads that run actors which have mail. Thread-safe."""

    def __init__(self, workers: int) -> None:
        self._ready: WorkQueue[PooledActor] = WorkQueue()
        self._threads = [
            _Worker(target=self._work, name=f"meerkat-driver-{index}", daemon=True)
            for index in range(workers)
        ]
        for worker in self._threads:
            worker.pool = self

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End the workers once they have handled what is ready now; says whether all ended."""
        self._ready.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def workers(self) -> tuple[tuple[str, bool, PooledActor | None], ...]:
        """Each thread by its name: whether it lives, and whose turn it takes just now."""
        return tuple((each.name, each.is_alive(), each.actor) for each in self._threads)

    def busy(self) -> tuple[PooledActor, ...]:
        """The actors that wait for their turn or have it, to look at. Takes no lock."""
        in_turn = (worker.actor for worker in self._threads)
        return (*self._ready.waiting(), *(actor for actor in in_turn if actor is not None))

    def schedule(self, actor: PooledActor) -> None:
        """Give an actor its turn."""
        worker = self._this_worker
        self._ready.put(actor, mine=worker is not None and worker.actor is None)

    @property
    def _this_worker(self) -> _Worker | None:
        """The thread this is called on, if it is one of the pool's."""
        thread = threading.current_thread()
        return thread if isinstance(thread, _Worker) and thread.pool is self else None

    def after_turn(self, call: Callable[[], None], failed: Callable[[BaseException], None]) -> bool:
        """Have this thread make a call after the turn it is in; ``failed`` is told what it raises.

        False when it is no worker in a turn, or has other work: somebody else is to do it.
        """
        worker = self._this_worker
        if worker is None or worker.actor is None or worker.then is not None:
            return False
        if self._ready.has_work or worker.actor.has_mail:
            return False
        worker.then = (call, failed)
        return True

    def _work(self) -> None:
        worker = threading.current_thread()
        if not isinstance(worker, _Worker):
            raise TypeError("workers alone run actors")
        serve_here()
        self._ready.serve(partial(self._turn_of, worker), partial(self._broke_off, worker))

    def _turn_of(self, worker: _Worker, actor: PooledActor) -> None:
        worker.actor = actor
        actor.take_turn()
        worker.actor = None
        if worker.then is not None:
            worker.then[0]()
            worker.then = None

    def _broke_off(self, worker: _Worker, actor: PooledActor, error: BaseException) -> None:
        """A turn failed outside of any message, or what came after it did."""
        logger.error("a turn of %s broke off", type(actor).__name__, exc_info=without_text(error))
        worker.actor, in_turn, then, worker.then = None, worker.actor, worker.then, None
        if in_turn is not None:
            actor.take_up_again(error)
        elif then is None:
            self.schedule(actor)  # it has not had its turn
        if then is not None:
            then[1](error)


_TRIES: Final = 2
"""How often an actor may try to get over one failure: the first try may fail by chance."""

_numbers: Final = count(1)


@frozen
class _Again:
    """A message that comes once more, as Pykka's envelopes hold it."""

    message: Any
    reply_to: None = None


class PooledActor(pykka.Actor):
    """A Pykka actor that shares worker threads with others.

    It is not in Pykka's registry, which is a list: whoever starts it keeps its reference.
    """

    __slots__ = ("_pool",)

    def __init__(self, pool: ActorPool) -> None:  # sets what Pykka's sets, in less memory
        self.actor_urn = f"urn:meerkat:actor:{next(_numbers)}"
        self.actor_inbox = inbox = self._create_actor_inbox()
        self.actor_stopped = cast("threading.Event", inbox)
        self._actor_ref = ActorRef(self)
        self._pool = pool
        inbox.bind(self, pool)

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Self]:
        """Start the actor, without Pykka's registry."""
        actor = cls(*args, **kwargs)
        actor._start_actor_loop()
        return actor.actor_ref

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox()

    @staticmethod
    def _create_future() -> LightAnswer[Any]:
        return LightAnswer()

    def _start_actor_loop(self) -> None:
        """Nothing to start: the inbox schedules the actor when there is mail."""

    @property
    def _inbox(self) -> Mailbox:
        inbox = self.actor_inbox
        if not isinstance(inbox, Mailbox):
            raise TypeError("a pooled actor has a pooled inbox")
        return inbox

    def take_turn(self, quantum: int = MESSAGES_PER_TURN) -> int:
        """Handle up to so many messages, unless another worker does so just now.

        Gives how many it has handled.
        """
        inbox = self._inbox
        mail = inbox.begin_turn(quantum)
        if mail is None:
            return 0
        if mail:
            self._prepare(mail)
        for handled in range(quantum):
            envelope = inbox.next_or_rest()
            if envelope is None:
                return handled
            self._handle(envelope)
            if self.actor_stopped.is_set():
                for left in inbox.close():
                    self.refuse(left)
                return handled + 1
        inbox.break_turn()
        self._pool.schedule(self)
        return quantum

    def take_up_again(self, error: BaseException) -> None:
        """A turn broke off: what was in hand has failed, what is left has another turn."""
        inbox = self._inbox
        envelope, inbox.in_hand = inbox.in_hand, None
        if self.actor_stopped.is_set():
            for left in inbox.close():
                self.refuse(left)
            return
        if envelope is not None:
            self._failed(envelope, error)
        inbox.break_turn()
        self._pool.schedule(self)

    def _prepare(self, mail: Sequence[Any]) -> None:
        try:
            self.before_turn(mail)
        except BaseException as error:  # each message may still be handled for itself
            said = "%s could not prepare its turn"
            logger.exception(said, type(self).__name__, exc_info=without_text(error))

    def _handle(self, envelope: Any) -> None:
        try:
            response = self._handle_receive(envelope.message)
        except BaseException as error:  # noqa: BLE001 - nothing may end a worker
            self._failed(envelope, error)
            return
        if envelope.reply_to is not None:
            envelope.reply_to.set(response)

    def _failed(self, envelope: Any, error: BaseException) -> None:
        if envelope.reply_to is not None:
            envelope.reply_to.set_exception((type(error), error, error.__traceback__))
            return
        for _ in range(_TRIES):
            try:
                self.on_message_failed(envelope.message, error)
            except BaseException as another:
                said = "%s could not get over a failure"
                logger.exception(said, type(self).__name__, exc_info=without_text(another))
            else:
                return

    def _stop(self) -> None:
        self.actor_stopped.set()
        self.on_stop()

    def end_if_idle(self) -> bool:
        """End here and now, if no mail waits. For the actor itself, in its own turn."""
        if self._inbox.close_if_empty():
            self.actor_stopped.set()
            return True
        return False

    def end_at_rest(self) -> bool:
        """End here and now, if no mail waits and no turn is under way. For any thread.

        Of one that has ended so it is said again.
        """
        if self._inbox.close_at_rest():
            self.actor_stopped.set()
            return True
        return False

    @property
    def takes_mail(self) -> bool:
        """Has nobody begun to end it? For any thread."""
        return not self._inbox.is_closed

    def handle_next(self, message: Any) -> None:
        """Handle a message before all that wait. For the actor itself, in its own turn."""
        self._inbox.put_first(_Again(message))

    @property
    def pool(self) -> ActorPool:
        """What gives it its turns."""
        return self._pool

    @property
    def has_mail(self) -> bool:
        """Does mail wait?"""
        return not self._inbox.empty()

    @property
    def letters(self) -> int:
        """How many messages wait. For any thread."""
        return len(self._inbox)

    def refuse(self, envelope: Any) -> None:
        """Pass on a message that came too late."""
        if envelope.reply_to is not None:
            dead = pykka.ActorDeadError(f"{self.actor_ref} has ended")
            envelope.reply_to.set_exception((type(dead), dead, None))
        else:
            self.on_dead_letter(envelope.message)

    def before_turn(self, mail: Sequence[Any]) -> None:
        """Several messages wait, to be handled in this turn. What it raises is logged."""

    def on_message_failed(self, message: Any, error: BaseException) -> None:
        """A message could not be handled. The actor lives on."""

    def on_dead_letter(self, message: Any) -> None:
        """A message came after the end. May be called by any thread."""
