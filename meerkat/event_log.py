"""Event log: the last events of one runtime, for whoever reads late.

Events are kept as decided and become envelopes when they are first read: an envelope that
nobody reads is never built.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import Final

from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import CausationId, InputId, LogicalRuntimeId, RuntimeEventId
from meerkat.kernel.transition import Emit

SEQUENCES_PER_FENCE: Final = 2**32
"""Each claim of a runtime numbers its events in a range of its own, above every earlier."""


def first_sequence(fence: int) -> int:
    """The first event number of a runtime loaded while its stored fence is ``fence``."""
    return fence * SEQUENCES_PER_FENCE + 1


class EventLog:
    """A bounded window of events. Not thread-safe; its owner guards it."""

    __slots__ = ("_entries", "_next", "_runtime_id")

    def __init__(self, runtime_id: LogicalRuntimeId, first: int, window: int) -> None:
        self._runtime_id = runtime_id
        self._next = first
        self._entries: deque[tuple[datetime, Emit] | RuntimeEventEnvelope] = deque(maxlen=window)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def watermark(self) -> int:
        """The number of the last event, or of the one before the first."""
        return self._next - 1

    def rebase(self, first: int) -> None:
        """Go on at ``first``, if that is further; what is kept goes."""
        if first > self._next:
            self._entries.clear()
            self._next = first

    def append(self, emit: Emit, now: datetime) -> None:
        """Stamp one event with the next number."""
        self._entries.append((now, emit))
        self._next += 1

    def drop_oldest(self) -> None:
        """Make room."""
        self._entries.popleft()

    def after(
        self, sequence: int, limit: int | None = None
    ) -> tuple[EventGap | None, list[RuntimeEventEnvelope]]:
        """The first ``limit`` events above ``sequence``; before them the gap, if any are gone."""
        oldest = self._next - len(self._entries)
        gap = None
        if sequence < oldest - 1:
            gap = EventGap(requested=sequence, dropped_through=oldest - 1, watermark=self.watermark)
        start = max(0, sequence + 1 - oldest)
        end = len(self._entries) if limit is None else min(start + limit, len(self._entries))
        return gap, [self._envelope(index) for index in range(start, end)]

    def _envelope(self, index: int) -> RuntimeEventEnvelope:
        entry = self._entries[index]
        if isinstance(entry, RuntimeEventEnvelope):
            return entry
        sequence = self._next - len(self._entries) + index
        envelope = envelope_of(self._runtime_id, sequence, entry[0], entry[1])
        self._entries[index] = envelope
        return envelope


def envelope_of(
    runtime_id: LogicalRuntimeId, sequence: int, now: datetime, emit: Emit
) -> RuntimeEventEnvelope:
    """Build the envelope of a decided event."""
    cause = emit.cause
    return RuntimeEventEnvelope(
        id=emit.event_id or RuntimeEventId.new(),
        runtime_id=runtime_id,
        sequence=sequence,
        timestamp=emit.timestamp or now,
        event=emit.event,
        causation_id=CausationId(cause.value) if isinstance(cause, InputId) else cause,
        correlation_id=emit.correlation_id,
    )
