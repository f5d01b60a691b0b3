"""Mailbox: the messages that wait for one pooled actor, and whether it has its turn.

It has its actor scheduled when there is mail and nobody runs it. What comes after the end is the
actor's to refuse.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from actors.pool import ActorPool, PooledActor

_NO_MAIL: Final[deque[Any]] = deque(maxlen=0)
"""The mailbox of an actor at rest, whichever it is: an empty deque of its own is 0.6 KB."""

_REST, _DUE, _IN_TURN = range(3)
"""How a mailbox stands: without mail, in the queue for its turn, or at it."""


class Mailbox:
    """The mail of one actor. Thread-safe.

    It knows, too, whether its actor has ended: what Pykka asks of an actor's
    ``threading.Event``, for which nobody waits here.
    """

    __slots__ = ("_actor", "_closed", "_lock", "_mail", "_pool", "_state", "_stopped", "in_hand")

    def __init__(self) -> None:
        self._mail = _NO_MAIL
        self._lock = threading.Lock()
        self._state = _REST
        self._closed = False
        self._stopped = False
        self._actor: PooledActor | None = None
        self._pool: ActorPool | None = None
        self.in_hand: Any = None  # what the actor is handling

    def is_set(self) -> bool:
        """Has the actor ended?"""
        return self._stopped

    def set(self) -> None:
        """It has ended."""
        self._stopped = True

    @property
    def is_closed(self) -> bool:
        """Takes it no more mail?"""
        return self._closed

    @property
    def actor(self) -> PooledActor | None:
        """Whose mail it is; None until that is bound."""
        return self._actor

    def bind(self, actor: PooledActor, pool: ActorPool) -> None:
        """Say whose mail it is, and what schedules it."""
        self._actor, self._pool = actor, pool

    def put(self, item: Any, /) -> None:
        """Put mail behind all other; refused once it is closed. Any thread may call it."""
        closed = wake = False
        actor, pool = self._actor, self._pool
        try:
            with self._lock:
                closed = self._closed
                if not closed:
                    if self._mail is _NO_MAIL:
                        self._mail = deque()
                    if self._state == _REST:
                        wake, self._state = True, _DUE
                    self._mail.append(item)
        finally:  # a signal of the main thread may come anywhere, and this still has to be done
            if wake and actor is not None and pool is not None:
                try:
                    pool.schedule(actor)
                except BaseException:
                    pool.schedule(actor)  # it may be there already: twice does no harm
                    raise
        if closed and actor is not None:
            actor.refuse(item)

    def put_first(self, item: Any) -> None:
        """Put mail before all other. For the actor itself, in its turn."""
        with self._lock:
            if self._mail is _NO_MAIL:
                self._mail = deque()
            self._mail.appendleft(item)

    def get(self) -> Any:
        """Take the next message, of which there is one."""
        return self._mail.popleft()

    def empty(self) -> bool:
        """Does none wait?"""
        return not self._mail

    def __len__(self) -> int:
        return len(self._mail)

    def begin_turn(self, count: int) -> list[Any] | None:
        """Begin a turn, unless one is under way: None then.

        Gives the next messages, up to ``count``, without taking them; none if only one waits.
        """
        with self._lock:
            if self._state == _IN_TURN:
                return None
            self._state = _IN_TURN
            if len(self._mail) <= 1:
                return []
            return [envelope.message for envelope in islice(self._mail, count)]

    def break_turn(self) -> None:
        """The turn is over, and there may be mail: it is to be scheduled."""
        with self._lock:
            self._state, self.in_hand = _DUE, None

    def next_or_rest(self) -> Any | None:
        """The next message; None puts the mailbox to rest until there is mail again."""
        with self._lock:
            if self._mail:
                self.in_hand = self._mail.popleft()
                return self.in_hand
            self.in_hand = None
            self._mail = _NO_MAIL
            self._state = _REST
            return None

    def close_if_empty(self) -> bool:
        """Take no more mail, unless there is some."""
        with self._lock:
            self._closed = self._closed or not self._mail
            return self._closed

    def close_at_rest(self) -> bool:
        """Take no more mail, unless there is some or the actor has its turn. May be asked again."""
        with self._lock:
            at_rest = self._state == _REST
            self._closed = self._closed or at_rest
            return at_rest

    def close(self) -> list[Any]:
        """Take no more mail; gives what was not handled."""
        with self._lock:
            self._closed = True
            left, self._mail = list(self._mail), _NO_MAIL
            return left
