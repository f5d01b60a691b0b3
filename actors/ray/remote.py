"""Remote: a shard as a front door reaches it, whatever carries the calls; and their count."""

from __future__ import annotations

from typing import Protocol

from attrs import define

from actors.light import LightEvent
from actors.ray.looks import ShardLook
from actors.ray.wire import Call, Numbered, Welcome
from actors.stopping import ShutdownReport


class ShardAway(Exception):
    """The shard does not answer now: it is being started anew, or cannot be reached."""


class ShardNotMade(ShardAway):
    """Its process could not make it: the next one most likely cannot, unless on another node."""


class Remote(Protocol):
    """A shard, as one front door reaches it. Thread-safe; every call may raise ShardAway."""

    def hello(self, token: str | None, first: int) -> Welcome:
        """Greet it; ``first`` is the number of the next call."""
        ...

    def take(self, token: str, calls: tuple[Call, ...]) -> bool:
        """Send calls; False where it does not know the token."""
        ...

    def poll(self, token: str, through: int) -> tuple[Numbered, ...] | None:
        """Ask for what is new behind ``through``; None where it does not know the token."""
        ...

    def stop(self, *, drain: bool, timeout_s: float, within_s: float) -> ShutdownReport:
        """Have it stop, and wait for its report for so long."""
        ...

    def place(self, pause: LightEvent) -> None:
        """Have it placed, or find it, now; raises why it cannot be."""
        ...

    def look(self) -> ShardLook:
        """Where it runs, and how."""
        ...

    def hurry(self) -> None:
        """Have its stop wait for no run."""
        ...

    def end(self) -> None:
        """End its process, for good. Raises nothing."""
        ...

    def let_go(self) -> None:
        """The same, but for one that another front door has placed: that one goes on."""
        ...


@define
class LineCounts:
    """What has gone over a line since its start."""

    calls: int = 0
    batches: int = 0
    polls: int = 0
    said: int = 0
    again: int = 0
    unknown: int = 0
    restarts: int = 0
