"""Tree: a supervisor of actors of any kind, in OTP's words.

It starts its children in order, starts anew those that fail, and stops all of them in the
reverse order. What it is to do next stands in ``roster``; here it is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, TypeVar, cast

import pykka
from attrs import frozen

from actors.children import ChildInfo, ChildSpec
from actors.clock import Clock, SystemClock, Timer, Timers
from actors.contained import ContainedActor, as_exception, start_under
from actors.linked import Ended, Started, link_of
from actors.logs import about, without_text
from actors.restarts import Restarts
from actors.roster import Child, Roster
from actors.supervised import PartState, Supervised

logger = logging.getLogger(__name__)

T = TypeVar("T")

CHILDREN_RESTARTS: Final = Restarts()
"""What a supervisor does unless it is told: one for one, 8 within a minute."""


@frozen
class _Look:
    """Something may be due."""


@frozen
class _Overdue:
    """An actor has had its time to stop."""

    actor_ref: pykka.ActorRef[Any]


@frozen
class _Change:
    """The host wants something else; the answer is the future that the change gives."""

    make: Callable[[Roster], Future[Any]]


class SupervisorRef(pykka.ActorRef["Supervisor"]):
    """A reference to a Supervisor. Thread-safe, as all references are.

    ``children`` and ``child`` wait for nothing, and tell of the end after it, too. The other
    calls wait for the supervisor, ``timeout`` seconds at most, then raise TimeoutError; the
    change is made all the same. They raise ActorDeadError when it has ended or ends first,
    and KeyError for an id that it has not.
    """

    def __init__(self, actor: Supervisor, roster: Roster) -> None:
        super().__init__(actor)
        self._roster = roster

    def children(self) -> tuple[ChildInfo, ...]:
        """All children, in the order of their start."""
        return tuple(child.info for child in self._roster)

    def child(self, child_id: str) -> pykka.ActorRef[Any] | None:
        """The actor that runs for a child now; None while there is none. KeyError as above."""
        return self._roster[child_id].running

    def supervision(self) -> Supervised:
        """The children as a tree, with the children of those that are supervisors themselves.

        A control plane among them tells what runs for it. Waits for nothing.
        """
        return Supervised(
            name=self.actor_class.__name__,
            kind="supervisor",
            state=PartState.RUNNING if self.is_alive() else PartState.STOPPED,
            children=tuple(_supervised(child.info) for child in self._roster),
        )

    def add(self, spec: ChildSpec, *, timeout: float | None = None) -> pykka.ActorRef[Any]:
        """Start one more child, the last in the order, and wait until it runs.

        What keeps it from its start is raised, and the child is not added; ValueError for an
        id that is taken.
        """
        return self._change(lambda roster: roster.add(spec), timeout)

    def terminate(self, child_id: str, *, timeout: float | None = None) -> None:
        """Stop a child and wait for its end; it stays stopped until it is restarted."""
        self._change(lambda roster: roster.terminate(child_id), timeout)

    def restart_child(self, child_id: str, *, timeout: float | None = None) -> pykka.ActorRef[Any]:
        """Start a child that is stopped, and wait until it runs; ValueError for another.

        What keeps it from its start is raised.
        """
        return self._change(lambda roster: roster.restart(child_id), timeout)

    def delete(self, child_id: str, *, timeout: float | None = None) -> None:
        """Forget a child that is stopped; ValueError for another."""
        self._change(lambda roster: roster.delete(child_id), timeout)

    def _change(self, make: Callable[[Roster], Future[T]], timeout: float | None) -> T:
        clock = SystemClock()
        until = None if timeout is None else clock.monotonic() + timeout
        try:
            made = cast("Future[T]", self.ask(_Change(make), timeout=timeout))
        except pykka.Timeout as late:
            raise TimeoutError(str(late)) from None
        return made.result(None if until is None else until - clock.monotonic())


def _supervised(info: ChildInfo) -> Supervised:
    """A child, with what stands under it if it can say."""
    tell = getattr(info.ref, "supervision", None)
    left = f"{info.left_behind} left behind" if info.left_behind else None
    said = [each for each in (info.last_reason, left) if each is not None]
    return Supervised(
        name=info.id,
        kind="child" if tell is None else "supervisor",
        state=PartState(str(info.state)),
        restarts=info.restarts,
        note="; ".join(said) or None,
        children=() if tell is None else tell().children,
    )


class Supervisor(ContainedActor):
    """Keeps actors running. ``Supervisor.start([ChildSpec(…), …])`` gives a SupervisorRef.

    A child whose actor ends is started anew as its spec and the strategy of ``restarts``
    say, after a back-off on ``clock``; over the intensity, counted over all children, the
    supervisor stops them and fails with TooManyRestarts, which its own parent, or whoever
    watches it, is told. It is itself a child like any other, and an actor of Pykka's
    registry, where it stands behind its children: ``ActorRegistry.stop_all()`` comes to it
    first. At its end each child is given ``shutdown_s`` seconds.
    """

    shutdown_s: ClassVar[float | None] = None

    def __init__(
        self,
        children: Iterable[ChildSpec] = (),
        *,
        restarts: Restarts = CHILDREN_RESTARTS,
        clock: Clock | None = None,
    ) -> None:
        super().__init__()
        self._clock = clock or SystemClock()
        self._timers = Timers(self._clock)
        self._roster = Roster(children, restarts)
        self._last_calls: dict[pykka.ActorRef[Any], Timer] = {}
        self._actor_ref = SupervisorRef(self, self._roster)

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> SupervisorRef:
        """Start the supervisor, and wait until all children have started.

        Takes what the class takes. When a child cannot start, those before it are stopped and
        what kept it from its start is raised.
        """
        ref = cast("SupervisorRef", super().start(*args, **kwargs))
        link = link_of(ref)
        try:
            link.wait_until_started()
        except BaseException:  # an interrupt of the host: it gets no reference
            ref.stop(block=False)
            raise
        if link.ended is not None and link.ended.error is not None:
            raise as_exception(link.ended.error, ref)
        return ref

    # --- the life of the children -------------------------------------------------------

    def on_start(self) -> None:
        """Begin with the first child."""
        self.actor_ref.tell(_Look())

    def tell_started(self) -> None:
        """Nothing yet: it is ready when its children are."""

    def on_receive(self, message: Any) -> Any:
        """Hear of a child, and do what follows from it."""
        match message:
            case _Look():
                pass
            case Started(actor_ref):
                self._roster.started(actor_ref)
            case Ended(actor_ref, error):
                self._on_ended(actor_ref, error)
            case _Overdue(actor_ref):
                self._on_overdue(actor_ref)
            case _Change(make):
                return self._on_change(make)
            case _:
                return super().on_receive(message)
        self._go_on()
        return None

    def _on_ended(self, actor_ref: pykka.ActorRef[Any], error: BaseException | None) -> None:
        last_call = self._last_calls.pop(actor_ref, None)
        if last_call is not None:
            self._timers.cancel(last_call)
        child = self._roster.of(actor_ref)
        if child is not None:
            self._over(child, error)

    def _over(self, child: Child, error: BaseException | None) -> None:
        at, jitter = self._clock.monotonic(), self._clock.jitter()
        delay_s = self._roster.ended(child, error, at=at, jitter=jitter)
        if delay_s is not None:
            logger.warning(
                "child %s has ended; it starts anew in %.3g s",
                child.id,
                delay_s,
                extra=about(delay_s=delay_s),
            )
            self._after(delay_s, _Look())

    def _on_overdue(self, actor_ref: pykka.ActorRef[Any]) -> None:
        self._last_calls.pop(actor_ref, None)
        child = self._roster.of(actor_ref)
        if child is not None:
            self._leave_behind(child)

    def _on_change(self, make: Callable[[Roster], Future[Any]]) -> Future[Any]:
        """Note what is wanted; it is done by a message, whose failure is the supervisor's own."""
        outcome = make(self._roster)
        self.actor_ref.tell(_Look())
        return outcome

    def _go_on(self) -> None:
        """Tell to stop, and start, whoever is next."""
        while (child := self._roster.next_to_stop()) is not None:
            self._tell_to_stop(child)
        while (child := self._roster.next_to_start(self._clock.monotonic())) is not None:
            self._start_child(child)
        if self._roster.comes_up():
            super().tell_started()

    def _start_child(self, child: Child) -> None:
        spec = child.spec
        try:
            ref = start_under(self.actor_ref, child.actor_class, spec.args, spec.kwargs)
        except BaseException as error:
            said = "child %s could not be made"
            logger.exception(said, child.id, exc_info=without_text(error))
            self._over(child, error)
        else:
            self._roster.born(child, ref)

    def _tell_to_stop(self, child: Child) -> None:
        if child.ref is None:
            return
        child.ref.stop(block=False)
        if child.spec.shutdown_s is not None:
            overdue = self._after(child.spec.shutdown_s, _Overdue(child.ref))
            self._last_calls[child.ref] = overdue

    def _leave_behind(self, child: Child) -> None:
        logger.error(
            "child %s did not stop within %s s; its thread is left behind",
            child.id,
            child.spec.shutdown_s,
        )
        self._roster.left_behind(child)

    def _after(self, delay_s: float, message: object) -> Timer:
        return self._timers.after(delay_s, partial(_tell, self.actor_ref, message))

    # --- the end ------------------------------------------------------------------------

    def on_stop(self) -> None:
        """Stop the children, the last first."""
        self._stop_children()

    def on_failure(self, *_error: Any) -> None:
        """Stop the children, the last first."""
        self._stop_children()

    def _stop_children(self) -> None:
        self._timers.stop()
        for child in reversed(tuple(self._roster)):
            if child.ref is None:
                continue
            child.ref.stop(block=False)
            link = link_of(child.ref)
            if link.wait_until_ended(child.spec.shutdown_s):
                self._roster.stopped(child, link.ended)
            else:
                self._leave_behind(child)
        self._roster.close()


def _tell(actor_ref: pykka.ActorRef[Any], message: object) -> None:
    with suppress(pykka.ActorDeadError):
        actor_ref.tell(message)
