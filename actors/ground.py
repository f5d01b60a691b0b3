"""Ground: what the threads of a system stand on: how one is started, and what it sleeps on.

That is the operating system, for every thread but those of a simulation: there one thread at a
time runs, the next is chosen by a seed, and time is what the simulation says it is. A ground is
not passed along: it is where a thread stands, and whatever that thread starts stands there, too.
So everything that waits asks here, and only when it really begins to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from actors.clock import Clock, Timers
    from actors.forks import Home
    from actors.run_places import RunThreads
    from actors.threaded import ActorThreads


class Bell(Protocol):
    """What one thread sleeps on, and others wake it with: a lock, in the operating system."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool:  # noqa: FBT001 - a lock's
        """Sleep until it is rung, or ``timeout`` seconds have passed; was it rung?"""
        ...

    def release(self) -> None:
        """Ring it; RuntimeError, or nothing, when it has been rung."""
        ...


class Ground(Protocol):
    """Another ground than the operating system's, and the parts of a system that suit it."""

    @property
    def clock(self) -> Clock:
        """Its time."""
        ...

    def bell(self) -> Bell:
        """A bell that has not been rung."""
        ...

    def start_thread(self, work: Callable[[], object], name: str) -> None:
        """Have ``work`` done by a thread of its own."""
        ...

    def event_loop(self) -> AbstractEventLoop:
        """What carries coroutine runs; RuntimeError where nothing does."""
        ...

    def home(self) -> Home:
        """The process that a plane lives in."""
        ...

    def pool(self) -> ActorThreads:
        """What runs drivers."""
        ...

    def journal_threads(self) -> ActorThreads:
        """What runs the actor that commits."""
        ...

    def run_threads(self, home: Home) -> RunThreads:
        """What runs executors."""
        ...

    def timers(self, clock: Clock) -> Timers:
        """What makes calls that are due later."""
        ...


class _Here(threading.local):
    ground: Ground | None = None


_here: Final = _Here()


def ground_here() -> Ground | None:
    """Where this thread stands; None for the operating system."""
    return _here.ground


@contextmanager
def standing_on(ground: Ground) -> Iterator[None]:
    """While this lasts, this thread stands there."""
    before, _here.ground = _here.ground, ground
    try:
        yield
    finally:
        _here.ground = before


def new_bell() -> Bell:
    """A bell that has not been rung."""
    ground = _here.ground
    if ground is not None:
        return ground.bell()
    bell = threading.Lock()
    bell.acquire()
    return bell


def start_thread(work: Callable[[], object], name: str) -> None:
    """Have ``work`` done by a daemon thread of its own; RuntimeError when none is to be had."""
    ground = _here.ground
    if ground is not None:
        ground.start_thread(work, name)
    else:
        threading.Thread(target=work, name=name, daemon=True).start()
