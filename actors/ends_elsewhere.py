"""Ends elsewhere: the handles of inputs that another process works, ended through the store.

Those that have waited about as long are looked at together, first soon and then after pauses
that double: what ends soon is told soon, and what takes long costs a look now and then, however
many there are and whenever each of them began to wait.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from actors.completions import Completions
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import completion_of

FIRST_LOOK_S: Final = 0.02
"""From the first handle on an input to the first look at whether it has ended."""

LOOKED_AT_MAX: Final = 1_000
"""Inputs that one question to the store names."""

EARLY: Final = 4
"""By what part of its pause a look may come early, to be one with another that is due."""

Watched = tuple[LogicalRuntimeId, InputId]


class EndsElsewhere:
    """The inputs whose ends are looked for. Thread-safe; one thread looks.

    ``is_here`` says of a runtime that its driver ends the handles itself. ``pause_max_s`` is
    the longest pause, in seconds.
    """

    def __init__(
        self,
        completions: Completions,
        monotonic: Callable[[], float],
        is_here: Callable[[LogicalRuntimeId], bool],
        pause_max_s: float,
    ) -> None:
        self._completions = completions
        self._monotonic = monotonic
        self._is_here = is_here
        self._pause_max_s = pause_max_s
        self._lock = threading.Lock()
        self._fresh: list[Watched] = []
        self._due: list[tuple[float, float, list[Watched]]] = []
        """When each look is due, the pause it came behind, and what is looked at."""

    def watch(self, runtime_id: LogicalRuntimeId, input_ids: Sequence[InputId]) -> bool:
        """Look for the ends of inputs from now on; says whether nobody was looking out so soon."""
        with self._lock:
            first = not self._fresh
            self._fresh.extend((runtime_id, each) for each in input_ids)
            return first and bool(input_ids)

    @property
    def pause_s(self) -> float | None:
        """Seconds until the next look; None when there is nothing to look for."""
        self._plan()
        if not self._due:
            return None
        return max(0.0, min(due for due, _, _ in self._due) - self._monotonic())

    def _plan(self) -> None:
        with self._lock:
            fresh, self._fresh = self._fresh, []
        if fresh:
            self._later(FIRST_LOOK_S, fresh)

    def _later(self, pause_s: float, watched: list[Watched]) -> None:
        pause_s = min(pause_s, self._pause_max_s)
        self._due.append((self._monotonic() + pause_s, pause_s, watched))

    def look(
        self, load: Callable[[Sequence[Watched]], Sequence[tuple[LogicalRuntimeId, InputState]]]
    ) -> None:
        """Ask about those that are due, and end the handles of those that have ended.

        What ``load`` raises is raised; those it was asked about are looked at again.
        """
        together = self._taken_due()
        try:
            while together:
                pause_s, watched = next(iter(together.items()))
                left = [each for each in watched if self._is_waited_for(*each)]
                ended = self._ended(left, load)
                del together[pause_s]
                left = [each for each in left if each not in ended]
                if left:
                    self._later(2 * pause_s, left)
        finally:
            for pause_s, watched in together.items():
                self._later(2 * pause_s, watched)

    def _taken_due(self) -> dict[float, list[Watched]]:
        """What is to be looked at now, by the pause behind it; nothing unless a look is due."""
        now, taken = self._monotonic(), defaultdict[float, list[Watched]](list)
        if any(due <= now for due, _, _ in self._due):
            looks, self._due = self._due, []
            for look in looks:
                due, pause_s, watched = look
                if due - pause_s / EARLY <= now:
                    taken[pause_s] += watched
                else:
                    self._due.append(look)
        return taken

    def _is_waited_for(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> bool:
        waits = self._completions.is_waited_for(runtime_id, input_id)
        return waits and not self._is_here(runtime_id)

    def _ended(
        self,
        watched: list[Watched],
        load: Callable[[Sequence[Watched]], Sequence[tuple[LogicalRuntimeId, InputState]]],
    ) -> set[Watched]:
        ended: set[Watched] = set()
        for start in range(0, len(watched), LOOKED_AT_MAX):
            for runtime_id, state in load(watched[start : start + LOOKED_AT_MAX]):
                outcome = completion_of(state)
                if outcome is not None:
                    ended.add((runtime_id, state.input_id))
                    self._completions.resolve(runtime_id, state.input_id, outcome)
        return ended
