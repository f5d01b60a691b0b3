"""Feeds: what a host reads one after the other, on a thread or in an event loop.

Events and notices are read in the same way: what is ready is fetched without waiting, and who
waits is told when to look.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Feed(Protocol[T_co]):
    """What is read until it is closed. Thread-safe."""

    @property
    def closed(self) -> bool:
        """Will nothing come behind what is ready?"""
        ...

    def next_ready(self) -> T_co | None:
        """The next one, or None when there is none just now. Waits for nothing."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` from now on whenever there is something to look at, the end included.

        It is called by drivers, in the middle of what they do: it must be quick, call nothing
        of the plane, and not raise.
        """
        ...

    def close(self) -> None:
        """End it; a blocked reader returns. Idempotent."""
        ...

    def abandon(self) -> None:
        """Nobody reads it any more: end it soon. Takes no lock, so a finalizer may call it."""
        ...


T = TypeVar("T")


class Reader(ABC, Generic[T]):
    """A feed as an iterator, and as a context that closes it."""

    @abstractmethod
    def next_within(self, timeout_s: float | None) -> T | None:
        """The next one, or None when it is closed or ``timeout_s`` seconds have passed."""

    @abstractmethod
    def close(self) -> None:
        """End it; a blocked reader returns. Idempotent."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        found = self.next_within(None)
        if found is None:
            raise StopIteration
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


F = TypeVar("F", bound=Feed[object])


def close_granted(granted: Future[F]) -> None:
    """Close what came too late for who asked for it."""
    if granted.exception() is None:
        granted.result().close()


def abandon_granted(granted: Future[F]) -> None:
    """The same for a finalizer, which takes no lock."""
    if granted.exception() is None:
        granted.result().abandon()
