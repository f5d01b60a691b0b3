"""Completions: the handles that wait for an input's end.

They are the plane's, not a driver's: a driver may be rebuilt, recycled or recovered, and
its handles wait on.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from itertools import chain

from actors.replies import Handle, settle
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import CompletionHandle, CompletionOutcome, completion_of


class Completions:
    """Handles by runtime and input. Thread-safe; handles are settled outside the lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[LogicalRuntimeId, dict[InputId, list[CompletionHandle]]] = (
            defaultdict(dict)
        )
        self._ending: deque[CompletionHandle] = deque()
        self.ended_by_stop = 0
        """Handles that :meth:`end_all` has ended."""

    def watch(
        self, runtime_id: LogicalRuntimeId, input_id: InputId, handle: CompletionHandle
    ) -> None:
        """Settle ``handle`` when this input ends."""
        with self._lock:
            self._waiting[runtime_id].setdefault(input_id, []).append(handle)

    def watch_until_ended(
        self, runtime_id: LogicalRuntimeId, state: InputState, handle: CompletionHandle
    ) -> bool:
        """Settle ``handle`` with the input's outcome, or once it has one; is that to come?"""
        outcome = completion_of(state)
        if outcome is not None:
            settle(handle.set_result, outcome)
            return False
        if isinstance(handle, Handle):
            handle.input_id = state.input_id
        self.watch(runtime_id, state.input_id, handle)
        return True

    def waiting(self, runtime_id: LogicalRuntimeId) -> list[InputId]:
        """The inputs of a runtime that handles wait for."""
        with self._lock:
            return list(self._waiting.get(runtime_id, ()))

    def runtimes(self) -> list[LogicalRuntimeId]:
        """The runtimes that have handles."""
        with self._lock:
            return list(self._waiting)

    def is_waited_for(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> bool:
        """Does a handle wait for this input? Takes no lock."""
        return input_id in self._waiting.get(runtime_id, ())

    def resolve(
        self, runtime_id: LogicalRuntimeId, input_id: InputId, outcome: CompletionOutcome
    ) -> None:
        """End the handles of one input."""
        with self._lock:
            waiting = self._waiting.get(runtime_id)
            handles = waiting.pop(input_id, []) if waiting else []
            if waiting is not None and not waiting:
                del self._waiting[runtime_id]
        for handle in handles:
            _settle(handle, outcome)

    def end_runtime(self, runtime_id: LogicalRuntimeId, outcome: CompletionOutcome) -> None:
        """End every handle of a runtime."""
        with self._lock:
            waiting = self._waiting.pop(runtime_id, {})
        for handles in waiting.values():
            for handle in handles:
                _settle(handle, outcome)

    def end_all(self, outcome: CompletionOutcome) -> None:
        """End every handle there is, and count them.

        One after the other: where a callback hangs, another call goes on behind it.
        """
        with self._lock:
            for waiting in self._waiting.values():
                self._ending.extend(chain.from_iterable(waiting.values()))
            self._waiting.clear()
        while self._ending:
            handle = self._ending.popleft()
            if not handle.done():
                self.ended_by_stop += 1  # before its callbacks, which may not return
                _settle(handle, outcome)
                ours = handle.exception() is None and handle.result() is outcome
                self.ended_by_stop -= not ours


def _settle(handle: CompletionHandle, outcome: CompletionOutcome) -> None:
    if not handle.done():
        settle(handle.set_result, outcome)
