"""Event log: the last events of one runtime, for whoever reads late.

Events are kept as decided and become envelopes when they are first read: an envelope that
nobody reads is never built.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from attrs import frozen

from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import CausationId, InputId, LogicalRuntimeId, RuntimeEventId
from meerkat.kernel.telling import Emit, Telling

SEQUENCES_PER_FENCE: Final = 2**32
"""Each claim of a runtime numbers its events in a range of its own, above every earlier."""


def first_sequence(fence: int) -> int:
    """The first event number of a runtime loaded while its stored fence is ``fence``."""
    return fence * SEQUENCES_PER_FENCE + 1


class EventLog:
    """A bounded window of events. Not thread-safe; its owner guards it.

    It holds what was told as it was told, several events to an entry; an entry that has been
    read is a tuple of envelopes, as every reader is to see the same ones.
    """

    __slots__ = ("_entries", "_kept", "_next", "_runtime_id", "_window")

    def __init__(self, runtime_id: LogicalRuntimeId, first: int, window: int) -> None:
        self._runtime_id = runtime_id
        self._next = first
        self._window = window
        self._kept = 0  # events in the window: of the first entry, only the last of them may be
        # A list: a log has a handful of entries or drops its first now and then, and an empty
        # deque is as large as sixty entries.
        self._entries: list[_Untold | tuple[RuntimeEventEnvelope, ...]] = []

    def __len__(self) -> int:
        return self._kept

    @property
    def watermark(self) -> int:
        """The number of the last event, or of the one before the first."""
        return self._next - 1

    def rebase(self, first: int) -> None:
        """Go on at ``first``, if that is further; what is kept goes."""
        if first > self._next:
            self._entries.clear()
            self._kept = 0
            self._next = first

    def append(self, telling: Telling, now: datetime) -> None:
        """Stamp events with the next numbers."""
        count = telling.count
        self._entries.append(_Untold(self._next, now, telling))
        self._next += count
        self._kept += count
        if self._kept > self._window:
            self._keep(self._window)

    def drop_oldest(self) -> None:
        """Make room."""
        self._keep(self._kept - 1)

    def _keep(self, count: int) -> None:
        """Keep the last ``count`` events; an entry goes with its last one."""
        self._kept = count
        oldest, entries, gone = self._next - count, self._entries, 0
        while gone < len(entries) and self._end_of(gone) <= oldest:
            gone += 1
        del entries[:gone]

    def _end_of(self, position: int) -> int:
        """The number after an entry's last event."""
        last = position + 1 == len(self._entries)
        return self._next if last else _first_of(self._entries[position + 1])

    def after(
        self, sequence: int, limit: int | None = None
    ) -> tuple[EventGap | None, list[RuntimeEventEnvelope]]:
        """The first ``limit`` events above ``sequence``; before them the gap, if any are gone."""
        oldest = self._next - self._kept
        gap = None
        if sequence < oldest - 1:
            gap = EventGap(requested=sequence, dropped_through=oldest - 1, watermark=self.watermark)
        first = max(sequence + 1, oldest)
        last = self._next if limit is None else min(first + limit, self._next)
        return gap, self._between(first, last)

    def _between(self, first: int, last: int) -> list[RuntimeEventEnvelope]:
        """The events numbered ``first`` to ``last``, the end excluded; readers are near the end."""
        entries, index = self._entries, len(self._entries)
        while index and _first_of(entries[index - 1]) > first:
            index -= 1
        found: list[RuntimeEventEnvelope] = []
        for position in range(max(0, index - 1), len(entries)):
            if _first_of(entries[position]) >= last:
                break
            found += (each for each in self._read(position) if first <= each.sequence < last)
        return found

    def _read(self, position: int) -> tuple[RuntimeEventEnvelope, ...]:
        entry = self._entries[position]
        if isinstance(entry, tuple):
            return entry
        envelopes = tuple(
            envelope_of(self._runtime_id, sequence, entry.now, emit)
            for sequence, emit in enumerate(entry.telling.emits(), entry.first)
        )
        self._entries[position] = envelopes
        return envelopes


@frozen
class _Untold:
    """What was told, and no one has read: its first number, its time."""

    first: int
    now: datetime
    telling: Telling


def _first_of(entry: _Untold | tuple[RuntimeEventEnvelope, ...]) -> int:
    return entry[0].sequence if isinstance(entry, tuple) else entry.first


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
