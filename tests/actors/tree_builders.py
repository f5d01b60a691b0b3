"""Builders for trees: children that do what they are told, and a record of what they did."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pykka
from plane_builders import WAIT_S, FakeClock

from actors import ChildInfo, ChildSpec, Ended, Restarts, Strategy, Supervisor, SupervisorRef
from actors.linked import link_of
from actors.tree import _Change
from meerkat.limits import Backoff

FAILURES = [ValueError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit]


def soon(strategy: Strategy = Strategy.ONE_FOR_ONE, intensity: int = 8) -> Restarts:
    """Restarts without a wait."""
    return Restarts(strategy=strategy, intensity=intensity, backoff=Backoff(base_s=0.0))


class Hold:
    """Blocks its actor until it is let go."""

    def __init__(self) -> None:
        self.held, self.let_go = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.held.set()
        assert self.let_go.wait(WAIT_S)


class Story:
    """What happened to the children, in order, as "start a". Thread-safe."""

    def __init__(self) -> None:
        self._told: SimpleQueue[str] = SimpleQueue()
        self.then: dict[str, Callable[[], object]] = {}
        """What is done when something happens."""

    def tell(self, what: str) -> None:
        self._told.put(what)
        self.then.get(what, lambda: None)()

    def fail(self, what: str, error: BaseException) -> None:
        """From now on something that happens raises."""
        self.then[what] = _raising(error)

    def next(self, count: int = 1) -> list[str]:
        """The next things that happen."""
        return [self._told.get(timeout=WAIT_S) for _ in range(count)]

    def rest(self) -> list[str]:
        """What has happened, and was not asked for."""
        return self.next(self._told.qsize())


def _raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


class Child(pykka.ThreadingActor):
    """A plain Pykka actor of a host's. What it is told it raises, or calls, or gives back."""

    use_daemon_thread = True

    def __init__(self, name: str, story: Story) -> None:
        super().__init__()
        self.name, self.story = name, story
        story.then.get(f"make {name}", lambda: None)()

    def on_start(self) -> None:
        self.story.tell(f"start {self.name}")

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message() if callable(message) else message

    def on_stop(self) -> None:
        self.story.tell(f"stop {self.name}")

    def on_failure(self, *_error: Any) -> None:
        self.story.tell(f"fail {self.name}")


def specs(story: Story, names: str, **settings: Any) -> list[ChildSpec]:
    """A child for each letter."""
    return [ChildSpec(name, Child, (name, story), **settings) for name in names]


def info_of(tree: SupervisorRef, child: str) -> ChildInfo:
    return {info.id: info for info in tree.children()}[child]


def hear(tree: SupervisorRef) -> None:
    """Return once the supervisor has heard what it was told before now, and acted on it."""
    for _ in range(2):
        tree.ask(_Change(lambda _roster: Future()), timeout=WAIT_S)


def running(tree: SupervisorRef, child: str, *, restarts: int = 0) -> pykka.ActorRef[Any]:
    """A child's actor, once it runs and has been started anew so often."""
    while True:
        info = info_of(tree, child)
        if tree.child(child) is not None and info.restarts >= restarts:
            assert info.ref is not None
            return info.ref
        hear(tree)


def over(ref: pykka.ActorRef[Any]) -> Ended:
    """How an actor ended."""
    link = link_of(ref)
    assert link.wait_until_ended(WAIT_S)
    assert link.ended is not None
    return link.ended


def open_files() -> int:
    """Files that this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def move(clock: FakeClock, tree: SupervisorRef, seconds: float) -> None:
    """Let time pass; on return the supervisor has heard of all that was due."""
    supervisor: Supervisor | None = tree._actor_weakref()
    assert supervisor is not None
    clock._seconds += seconds
    called = threading.Event()
    supervisor._timers.after(0.0, called.set)
    assert called.wait(WAIT_S)
    hear(tree)
