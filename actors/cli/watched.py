"""Watched: which inputs a job waits for, by runtime. Plain bookkeeping, for one thread."""

from __future__ import annotations

from collections import Counter

from meerkat.identifiers import InputId, LogicalRuntimeId


class Watched:
    """The inputs that were ever watched, and how many of them have not ended."""

    def __init__(self) -> None:
        self._known: set[InputId] = set()
        self._waiting: Counter[LogicalRuntimeId] = Counter()
        self._settled = 0
        self.waiting = 0
        """Inputs that have not ended, of all runtimes."""

    @property
    def known(self) -> int:
        """Inputs that were ever watched, and those that needed no watching."""
        return len(self._known) + self._settled

    @property
    def ended(self) -> int:
        """Inputs that have ended, or are waited for no longer."""
        return self.known - self.waiting

    def __contains__(self, input_id: InputId) -> bool:
        return input_id in self._known

    def waiting_of(self, runtime_id: LogicalRuntimeId) -> int:
        """Inputs of one runtime that have not ended."""
        return self._waiting[runtime_id]

    def runtimes(self) -> list[LogicalRuntimeId]:
        """The runtimes that have inputs which have not ended."""
        return [runtime_id for runtime_id, waiting in self._waiting.items() if waiting]

    def add(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> None:
        """Wait for one more input, which must be new."""
        self._known.add(input_id)
        self._waiting[runtime_id] += 1
        self.waiting += 1

    def settle(self) -> None:
        """Note an input that had ended before, or was never taken in."""
        self._settled += 1

    def end(self, runtime_id: LogicalRuntimeId) -> None:
        """One of the runtime's inputs has ended."""
        if self._waiting[runtime_id]:
            self._waiting[runtime_id] -= 1
            self.waiting -= 1

    def give_up(self, runtime_id: LogicalRuntimeId) -> None:
        """Wait for nothing of this runtime any more."""
        self.waiting -= self._waiting.pop(runtime_id, 0)
