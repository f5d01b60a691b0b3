"""Roster: what a supervisor knows of its children, and what it is to do next.

Decisions alone: time and jitter are arguments, and no actor is started, stopped or waited for
here. The supervisor's thread changes it; any thread may read it, for each child is a frozen
record that is replaced whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Final

import pykka
from attrs import evolve, field, frozen

from actors.children import ChildInfo, ChildSpec, ChildState
from actors.contained import Contained, as_exception, contained
from actors.linked import Ended
from actors.restarts import Restart, RestartCount, Restarts, Strategy, affected
from meerkat.errors import TooManyRestarts

STARTING, RUNNING, WAITING = ChildState.STARTING, ChildState.RUNNING, ChildState.WAITING
STOPPING, STOPPED = ChildState.STOPPING, ChildState.STOPPED

_UP: Final = (STARTING, RUNNING)
_ON_ITS_WAY: Final = (STARTING, WAITING)


@frozen(kw_only=True)
class Child:
    """One child at one moment, as its supervisor sees it."""

    spec: ChildSpec
    actor_class: type[Contained]
    state: ChildState = WAITING
    ref: pykka.ActorRef[Any] | None = None
    after: ChildState | None = None
    """It is to be stopped, and this is what comes after."""
    due: float = -math.inf
    """Not to be started before, in seconds."""
    starts: int = 0
    fresh: bool = True
    """It has not run yet, since somebody asked for its start."""
    last_reason: str | None = None
    left_behind: int = 0
    started: Future[pykka.ActorRef[Any]] = field(factory=Future)
    """For who asked for its start."""
    stopped: Future[None] = field(factory=Future)
    """For who asked for its stop."""

    @property
    def id(self) -> str:
        """Its name."""
        return self.spec.id

    @property
    def running(self) -> pykka.ActorRef[Any] | None:
        """The actor, while it is ready for messages."""
        return self.ref if self.state is RUNNING else None

    @property
    def info(self) -> ChildInfo:
        """What is told of it."""
        return ChildInfo(
            id=self.spec.id,
            state=self.state,
            ref=self.ref,
            restarts=max(0, self.starts - 1),
            last_reason=self.last_reason,
            left_behind=self.left_behind,
        )


class Roster:
    """The children of one supervisor, in the order of their start."""

    def __init__(self, specs: Iterable[ChildSpec], restarts: Restarts) -> None:
        self._strategy = restarts.strategy
        self._count = RestartCount(restarts)
        self._children: dict[str, Child] = {}
        self._ids: dict[pykka.ActorRef[Any], str] = {}
        self._up = False
        for spec in specs:
            self.add(spec)

    def __iter__(self) -> Iterator[Child]:
        """All of them, as they are now. For any thread."""
        return iter(list(self._children.values()))

    def __getitem__(self, child_id: str) -> Child:
        """One of them; KeyError for none of ours. For any thread."""
        return self._children[child_id]

    # --- what a host asks for -----------------------------------------------------------

    def add(self, spec: ChildSpec) -> Future[pykka.ActorRef[Any]]:
        """Have one more, the last in the order; ValueError for an id that is taken."""
        if not isinstance(spec, ChildSpec):
            raise TypeError(f"a child is a ChildSpec, not {type(spec).__name__}")
        if spec.id in self._children:
            raise ValueError(f"there is a child {spec.id!r} already")
        child = Child(spec=spec, actor_class=contained(spec.actor_class))
        self._children[spec.id] = child
        return child.started

    def restart(self, child_id: str) -> Future[pykka.ActorRef[Any]]:
        """Have one started that is stopped; ValueError for another."""
        child = self._that_is_stopped(child_id)
        child = evolve(child, started=Future(), stopped=Future())
        return self._set(child, state=WAITING, due=-math.inf, fresh=True).started

    def terminate(self, child_id: str) -> Future[None]:
        """Have one stopped, for good."""
        child = self._children[child_id]
        if child.state is STOPPED:
            return child.stopped
        if child.state is WAITING:
            return self._gone(child, STOPPED, None).stopped
        return self._set(child, after=STOPPED).stopped

    def delete(self, child_id: str) -> Future[None]:
        """Forget one that is stopped; ValueError for another."""
        child = self._that_is_stopped(child_id)
        del self._children[child_id]
        return child.stopped

    def _that_is_stopped(self, child_id: str) -> Child:
        child = self._children[child_id]
        if child.state is not STOPPED:
            raise ValueError(f"child {child_id!r} is {child.state}, not stopped")
        return child

    # --- what is to be done -------------------------------------------------------------

    def next_to_stop(self) -> Child | None:
        """Whom to tell to stop now, if anybody: one at a time, the last first."""
        doomed = [child for child in self._children.values() if child.after is not None]
        if not doomed or doomed[-1].ref is None or doomed[-1].state is STOPPING:
            return None
        return self._set(doomed[-1], state=STOPPING)

    def next_to_start(self, now: float) -> Child | None:
        """Whom to start now, if anybody; ``born`` or ``failed`` is to follow.

        Where the order counts each waits for those before it, and all for those that stop.
        """
        in_order = not self._up or self._strategy is not Strategy.ONE_FOR_ONE
        if in_order and any(child.after is not None for child in self._children.values()):
            return None
        for child in self._children.values():
            if child.state is WAITING and child.due <= now:
                return self._set(child, state=STARTING, starts=child.starts + 1)
            if in_order and child.state in _ON_ITS_WAY:
                return None
        return None

    def comes_up(self) -> bool:
        """Is the first start over? True once."""
        if self._up or any(child.state in _ON_ITS_WAY for child in self._children.values()):
            return False
        self._up = True
        return True

    # --- what has happened --------------------------------------------------------------

    def born(self, child: Child, ref: pykka.ActorRef[Any]) -> None:
        """There is an actor."""
        self._ids[ref] = child.id
        self._set(self._children[child.id], ref=ref)

    def started(self, ref: pykka.ActorRef[Any]) -> None:
        """An actor is ready."""
        child = self.of(ref)
        if child is not None and child.state is STARTING:
            child = self._set(child, state=RUNNING, fresh=False)
            if not child.started.done():
                child.started.set_result(ref)

    def of(self, ref: pykka.ActorRef[Any]) -> Child | None:
        """Whose actor this is, if it is one of those we have now."""
        child_id = self._ids.get(ref)
        return None if child_id is None else self._children[child_id]

    def left_behind(self, child: Child) -> None:
        """An actor has not stopped in time. It is none of ours any more."""
        child = self._set(child, left_behind=child.left_behind + 1)
        self._gone(child, child.after or STOPPED, None)

    def ended(
        self, child: Child, error: BaseException | None, *, at: float, jitter: float
    ) -> float | None:
        """An actor has ended, or could not be born: seconds until something is due, or None.

        Raises TooManyRestarts from the error, or the error that kept a child from its first
        start: the supervisor fails with it.
        """
        if child.after is not None:
            self._gone(child, child.after, error)
            return None
        if child.fresh and error is not None:
            self._never_ran(child, as_exception(error, child.id))
            return None
        if not child.spec.restart.follows(failed=error is not None):
            self._gone(child, STOPPED, error)
            return None
        delay_s = self._count.failed(at, jitter)
        if delay_s is None:
            self._gone(child, STOPPED, error)
            raise TooManyRestarts(child.id, _text(error)) from error
        self._gone(child, WAITING, error)
        self._restart_with(child, at + delay_s)
        return delay_s

    def stopped(self, child: Child, ended: Ended | None) -> None:
        """An actor has ended because its supervisor does."""
        self._gone(child, STOPPED, None if ended is None else ended.error)

    def close(self) -> None:
        """The supervisor ends: nobody waits any longer."""
        for child in self:
            if child.state is not STOPPED:
                self._gone(child, STOPPED, None)

    def _restart_with(self, failed: Child, due: float) -> None:
        """Have those that a failure takes along stopped, and all of them started at a time."""
        for child_id in affected(self._strategy, list(self._children), failed.id):
            child = self._children[child_id]
            if child.state is WAITING or child.after is WAITING:
                self._set(child, due=due)
            elif child.state in _UP and child.after is None:
                ends = child.spec.restart is Restart.TEMPORARY
                self._set(child, due=due, after=STOPPED if ends else WAITING)

    def _never_ran(self, child: Child, error: Exception) -> None:
        child = self._gone(child, STOPPED, error)
        if not self._up:
            raise error
        if child.starts == 1:  # one that was added is not, as in OTP
            del self._children[child.id]

    def _gone(self, child: Child, state: ChildState, error: BaseException | None) -> Child:
        if child.ref is not None:
            del self._ids[child.ref]
        reason = _text(error) if error is not None else child.last_reason
        child = self._set(child, state=state, ref=None, after=None, last_reason=reason)
        if state is STOPPED:
            dead = pykka.ActorDeadError(f"child {child.id!r} is stopped")
            _give_up(child, dead if error is None else as_exception(error, child.id))
        return child

    def _set(self, child: Child, **changes: Any) -> Child:
        changed = self._children[child.id] = evolve(child, **changes)
        return changed


def _give_up(child: Child, error: Exception) -> None:
    """Tell who waits for a child to run, or to stop, that it does not, or has."""
    if not child.started.done():
        child.started.set_exception(error)
    if not child.stopped.done():
        child.stopped.set_result(None)


def _text(error: BaseException | None) -> str:
    if error is None:
        return "it stopped"
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
