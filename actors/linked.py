"""Linked: how the end of an actor becomes known, to one that waits and to one that watches.

An actor of ours has a mailbox that knows whether it has ended and why; every reference to the
actor leads to it, also after the end. So there is no table of actors, and nothing is polled.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Protocol

import pykka
from attrs import frozen

from actors.light import LightEvent
from actors.logs import without_text

logger = logging.getLogger(__name__)


@frozen
class Ended:
    """What a watcher is sent: an actor has ended, and all of its hooks have returned.

    ``error`` is None after an ordinary stop, else what the actor failed with.
    """

    actor_ref: pykka.ActorRef[Any]
    error: BaseException | None


@frozen
class Started:
    """What a supervisor is sent: an actor of its tree is ready for messages."""

    actor_ref: pykka.ActorRef[Any]


class Inbox(Protocol):
    """What Pykka asks of a mailbox."""

    def put(self, item: Any, /) -> None:
        """Add a message, in its envelope."""
        ...

    def get(self) -> Any:
        """The next one; waits for it."""
        ...

    def empty(self) -> bool:
        """Does none wait?"""
        ...


class Link:
    """One actor's start and end, and who is to know of them. Thread-safe."""

    __slots__ = ("_ended", "_lock", "_over", "_ready", "_supervisor", "_watchers")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watchers: list[pykka.ActorRef[Any]] = []
        self._supervisor: pykka.ActorRef[Any] | None = None
        self._ended: Ended | None = None
        self._ready, self._over = LightEvent(), LightEvent()

    @property
    def ended(self) -> Ended | None:
        """How the actor ended; None while it has not."""
        return self._ended

    @property
    def supervisor(self) -> pykka.ActorRef[Any] | None:
        """Whose child the actor is; None for one that a host has started."""
        return self._supervisor

    def tie(self, supervisor: pykka.ActorRef[Any]) -> None:
        """Have an actor told of the start and the end. Once, before the start."""
        self._supervisor = supervisor
        self.watch(supervisor)

    def watch(self, watcher: pykka.ActorRef[Any]) -> None:
        """Have an actor told of the end: once for each call, at once if it is over."""
        with self._lock:
            ended = self._ended
            if ended is None:
                self._watchers = [each for each in self._watchers if each.is_alive()]
                self._watchers.append(watcher)
        if ended is not None:
            _tell(watcher, ended)

    def start(self, actor_ref: pykka.ActorRef[Any]) -> None:
        """The actor is ready."""
        self._ready.set()
        if self._supervisor is not None:
            _tell(self._supervisor, Started(actor_ref))

    def end(self, ended: Ended) -> None:
        """The actor is over: everybody is told. Once."""
        with self._lock:
            self._ended = ended
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            _tell(watcher, ended)
        self._ready.set()
        self._over.set()

    def wait_until_started(self) -> None:
        """Return once the actor is ready for messages, or has ended."""
        self._ready.wait()

    def wait_until_ended(self, timeout_s: float | None) -> bool:
        """Wait for the end, so many seconds at most: has it come?"""
        return self._over.wait(timeout_s)


def _tell(watcher: pykka.ActorRef[Any], message: object) -> None:
    """Tell an actor of the host; neither its end nor its mailbox is a concern of ours."""
    try:
        watcher.tell(message)
    except pykka.ActorDeadError:
        logger.debug("%s has ended before it heard of %s", watcher, type(message).__name__)
    except BaseException as error:
        said = "%s could not be told of %s"
        logger.exception(said, watcher, type(message).__name__, exc_info=without_text(error))


class Mailbox:
    """A mailbox that can be closed: every ask is answered, also one that races the end.

    It lays itself around one of the kind that the actor's class asks for.
    """

    __slots__ = ("_closed", "_inbox", "_refusing", "link")

    def __init__(self, inbox: Inbox) -> None:
        self.link = Link()
        self._inbox = inbox
        self._closed = False
        self._refusing = threading.Lock()

    def put(self, item: Any, /) -> None:
        """Add a message; once closed, refuse it."""
        self._inbox.put(item)
        if self._closed:  # looked at afterwards: one that closes meanwhile finds the message
            self._refuse_all()

    def get(self) -> Any:
        """The next message; waits for it."""
        return self._inbox.get()

    def empty(self) -> bool:
        """Does no message wait?"""
        return self._inbox.empty()

    def close(self) -> None:
        """Take no more: who has asked, or asks later, hears that the actor is dead."""
        self._closed = True
        self._refuse_all()

    def _refuse_all(self) -> None:
        with self._refusing:
            while not self._inbox.empty():
                reply_to = self._inbox.get().reply_to
                if reply_to is not None:
                    dead = pykka.ActorDeadError("the actor ended before it handled the message")
                    reply_to.set_exception((type(dead), dead, None))


def watch_actor(actor_ref: pykka.ActorRef[Any], watcher: pykka.ActorRef[Any]) -> None:
    """Have ``watcher`` told of the end of one of our actors: its mailbox gets one ``Ended``.

    For a ``RuntimeSupervisor``, a ``Supervisor``, and every actor under one. Each call gives
    exactly one message, also when it races the end, or the actor has ended already.
    TypeError for another actor. From any thread; waits for nothing.
    """
    link_of(actor_ref).watch(watcher)


def top_of(actor_ref: pykka.ActorRef[Any]) -> pykka.ActorRef[Any]:
    """The supervisor at the top of an actor's tree, which may be the actor itself."""
    while (above := link_of(actor_ref).supervisor) is not None:
        actor_ref = above
    return actor_ref


def link_of(actor_ref: pykka.ActorRef[Any]) -> Link:
    """Where the start and the end of an actor are known; TypeError for one not of ours."""
    return mailbox_of(actor_ref).link


def mailbox_of(actor_ref: pykka.ActorRef[Any]) -> Mailbox:
    """The mailbox of an actor; TypeError for one not of ours."""
    mailbox: object = actor_ref.actor_inbox
    if not isinstance(mailbox, Mailbox):
        name = actor_ref.actor_class.__name__
        raise TypeError(f"the end of {name} is not told: it is under no Supervisor")
    return mailbox
