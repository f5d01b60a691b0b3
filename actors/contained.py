"""Contained: actors whose failure, of whatever kind, is their own end and nobody else's.

Pykka's loop answers a SystemExit or a KeyboardInterrupt in one actor by stopping every actor
of the process, and reports a failing ``on_start`` to nobody. The loop here lets nothing
through, and tells whoever watches of every end. Beside ``pool`` and ``threaded`` the third
module that uses Pykka's underscore names, watched by the same test.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from types import new_class
from typing import Any, Final, cast

import pykka

from actors.ground import start_thread
from actors.light import LightAnswer, LightMailbox
from actors.linked import Ended, Inbox, Mailbox, link_of, mailbox_of
from actors.logs import without_text

logger = logging.getLogger(__name__)

_numbers: Final = count()


class Contained(pykka.Actor):
    """What contains an actor, mixed in before its class.

    An Exception while an ask is answered goes to the asker, and the actor lives on, as in
    Pykka. Any other failure ends the actor, and ``on_failure`` is called unless it was
    ``on_start`` or ``on_stop`` that failed. Who was waiting for an answer then gets an
    ActorDeadError whose cause is the failure: a SystemExit would end the asker, too.

    It is mixed in to classes of hosts, so what it adds has names that nobody else has.
    """

    __failure: BaseException | None = None

    def tell_started(self) -> None:
        """Tell the supervisor, if there is one, that the actor is ready.

        Called once ``on_start`` has returned. An actor that is not ready then overrides this,
        and calls it when it is.
        """
        link_of(self.actor_ref).start(self.actor_ref)

    def on_start_failed(self) -> None:
        """Give back what was taken before ``on_start`` failed; Pykka has no hook for that."""

    def _actor_loop(self) -> None:
        if (error := self.__run(self.on_start)) is None:
            self.tell_started()
        else:
            self.__fail(error)
            self.__run(self.on_start_failed)
        while not self.actor_stopped.is_set():
            self.__handle(self.actor_inbox.get())
        self.__end()

    def __handle(self, envelope: Any) -> None:
        asker = envelope.reply_to
        try:
            response = self._handle_receive(envelope.message)
        except BaseException as error:
            lives_on = asker is not None and isinstance(error, Exception)
            if not lives_on:
                self.__fail(error)
            if asker is not None:
                logger.info("%s fails its caller", self, exc_info=without_text(error))
                said = as_exception(error, self)
                _settle(asker.set_exception, (type(said), said, said.__traceback__))
            if not lives_on:
                self.__run(self.on_failure, type(error), error, error.__traceback__)
        else:
            if asker is not None:
                _settle(asker.set, response)

    def _stop(self) -> None:
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        self.__failure = self.__run(self.on_stop)

    def __run(self, hook: Callable[..., None], *args: Any) -> BaseException | None:
        """Call a hook of the host's: what it raised."""
        try:
            hook(*args)
        except BaseException as error:
            logger.exception("a hook of %s failed", self, exc_info=without_text(error))
            return error
        return None

    def __fail(self, error: BaseException) -> None:
        logger.error("%s failed", self, exc_info=without_text(error))
        pykka.ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        self.__failure = error

    def __end(self) -> None:
        """Answer who is too late, and tell everybody."""
        mailbox = mailbox_of(self.actor_ref)
        mailbox.close()
        mailbox.link.end(Ended(self.actor_ref, self.__failure))

    def _start_actor_loop(self) -> None:
        try:
            super()._start_actor_loop()  # of the class it is mixed in to
        except BaseException as error:  # no thread is to be had
            self.__fail(error)
            self.__run(self.on_failure, type(error), error, error.__traceback__)
            self.__end()
            raise


class _OnThread(pykka.ThreadingActor):
    """A Pykka actor on a thread, whatever ground that stands on."""

    @staticmethod
    def _create_future() -> LightAnswer[Any]:
        return LightAnswer()

    def _start_actor_loop(self) -> None:
        start_thread(self._loop_to_its_end, f"{type(self).__name__}-{next(_numbers)}")

    def _loop_to_its_end(self) -> None:
        try:
            self._actor_loop()
        finally:
            pykka.ActorRegistry.unregister(self.actor_ref)


class ContainedActor(Contained, _OnThread):
    """The base of our own actors that have a thread: a Pykka actor that is contained.

    It is used like ``pykka.ThreadingActor``, and ``watch_actor`` tells of its end.
    """

    use_daemon_thread = True

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox(LightMailbox())


def contained(actor_class: type[pykka.Actor]) -> type[Contained]:
    """An actor class, contained; itself, if it is. TypeError for what has another loop.

    The class that comes out has the name of the one that went in, and is a subclass of it.
    """
    if issubclass(actor_class, Contained):
        return actor_class
    if actor_class._actor_loop is not pykka.Actor._actor_loop:
        raise TypeError(f"{actor_class.__name__} has a loop that is not Pykka's")

    def create_inbox() -> Mailbox:
        return Mailbox(cast("Inbox", actor_class._create_actor_inbox()))

    def fill(namespace: dict[str, Any]) -> None:
        namespace |= {name: getattr(actor_class, name) for name in ("__module__", "__qualname__")}
        namespace["_create_actor_inbox"] = staticmethod(create_inbox)

    return cast(
        "type[Contained]",
        new_class(actor_class.__name__, (Contained, actor_class), exec_body=fill),
    )


def start_under(
    supervisor: pykka.ActorRef[Any],
    actor_class: type[Contained],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> pykka.ActorRef[Any]:
    """Start an actor whose start and end a supervisor is told; raises what its birth raises.

    In Pykka's registry it stands before its supervisor, so that ``stop_all``, which begins
    at the end, comes to the supervisor first, and that one stops its actors in order.
    """
    actor = actor_class(*args, **kwargs)
    actor_ref = actor.actor_ref
    link_of(actor_ref).tie(supervisor)
    with pykka.ActorRegistry._actor_refs_lock:
        registered = pykka.ActorRegistry._actor_refs
        ours = registered.index(supervisor) if supervisor in registered else len(registered)
        registered.insert(ours, actor_ref)
    actor._start_actor_loop()
    return actor_ref


def as_exception(error: BaseException, whose: object) -> Exception:
    """A failure as something that may be raised in another actor: it ends nothing there."""
    if isinstance(error, Exception):
        return error
    dead = pykka.ActorDeadError(f"{whose} was ended by {type(error).__name__}: {error}")
    dead.__cause__ = error
    return dead


def _settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
    """Answer; one that has its answer keeps it."""
    with suppress(Exception):
        set_outcome(outcome)
