"""Epoch cursors: how far a runtime's consumers have read its completion feed.

Three numbers that only ever advance, shared by everybody who holds the same bindings. When
they advance is the driver's and the executor side's to decide; when they are stored is the
journal's. A cursor that is stale after a crash repeats a notice, and never loses one.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, Self

from attrs import field, frozen

from meerkat.checks import unsigned


@frozen(kw_only=True)
class EpochCursorSnapshot:
    """The cursors at one moment: a plain value that does not move. Sequences of the feed."""

    agent_applied_cursor: int = field(default=0, validator=unsigned)
    """Through here the agent has been shown what ended."""
    runtime_observed_seq: int = field(default=0, validator=unsigned)
    """Through here the driver has read the feed."""
    runtime_last_injected_seq: int = field(default=0, validator=unsigned)
    """Through here a continuation has been accepted."""

    def furthest(self, other: EpochCursorSnapshot) -> EpochCursorSnapshot:
        """Each cursor where the further of the two has it; one of the two, if it is ahead."""
        if other in (self, AT_THE_START):
            return self
        if self == AT_THE_START:
            return other
        return EpochCursorSnapshot(
            agent_applied_cursor=max(self.agent_applied_cursor, other.agent_applied_cursor),
            runtime_observed_seq=max(self.runtime_observed_seq, other.runtime_observed_seq),
            runtime_last_injected_seq=max(
                self.runtime_last_injected_seq, other.runtime_last_injected_seq
            ),
        )


AT_THE_START: Final = EpochCursorSnapshot()
"""No consumer has read anything: most epochs stay there."""

advancing: Final = Lock()
"""One for all epochs: it is held for three comparisons, and a lock each would be kept for years."""


class EpochCursorState:
    """The cursors of one epoch, all 0 at first. Thread-safe.

    ``advance_*`` takes the larger of old and new, so that a late report moves nothing back.
    Each raises TypeError for anything but an int and ValueError for a negative one. The
    cursors are independent here; a driver that injects advances ``observed`` first, and so
    keeps injected <= observed <= watermark.
    """

    __slots__ = ("__weakref__", "_cursors")

    def __init__(self) -> None:
        self._cursors = AT_THE_START

    @classmethod
    def from_recovered(
        cls,
        agent_applied_cursor: int,
        runtime_observed_seq: int,
        runtime_last_injected_seq: int,
    ) -> Self:
        """Cursors that go on from stored ones."""
        state = cls()
        state._cursors = EpochCursorSnapshot(
            agent_applied_cursor=agent_applied_cursor,
            runtime_observed_seq=runtime_observed_seq,
            runtime_last_injected_seq=runtime_last_injected_seq,
        )
        return state

    def advance_through(self, cursors: EpochCursorSnapshot) -> None:
        """Take over each cursor that is further."""
        self._advance(cursors)

    def snapshot(self) -> EpochCursorSnapshot:
        """All three, as of one moment."""
        return self._cursors  # replaced whole, so that reading it needs no lock

    @property
    def agent_applied_cursor(self) -> int:
        """Through here the agent has been shown what ended."""
        return self._cursors.agent_applied_cursor

    @property
    def runtime_observed_seq(self) -> int:
        """Through here the driver has read the feed."""
        return self._cursors.runtime_observed_seq

    @property
    def runtime_last_injected_seq(self) -> int:
        """Through here a continuation has been accepted."""
        return self._cursors.runtime_last_injected_seq

    def advance_agent_applied_cursor(self, seq: int) -> None:
        """The executor side has shown the agent all through ``seq``."""
        self._advance(EpochCursorSnapshot(agent_applied_cursor=seq))

    def advance_runtime_observed_seq(self, seq: int) -> None:
        """The driver has read the feed through ``seq``."""
        self._advance(EpochCursorSnapshot(runtime_observed_seq=seq))

    def advance_runtime_last_injected_seq(self, seq: int) -> None:
        """A continuation for all through ``seq`` was accepted."""
        self._advance(EpochCursorSnapshot(runtime_last_injected_seq=seq))

    def __repr__(self) -> str:
        return f"EpochCursorState({self.snapshot()!r})"

    def _advance(self, to: EpochCursorSnapshot) -> None:
        with advancing:
            self._cursors = self._cursors.furthest(to)
