"""Redriving: one call of a host that is many messages, each about a few inputs.

What is asked next, and what has come of it so far; how an answer is waited for is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from actors import messages as m
from actors.door import Asked, Door, RuntimeName
from actors.driver_redrive import AT_ONCE
from meerkat.identifiers import InputId
from meerkat.input_lifecycle import AbandonCause
from meerkat.reports import RedrivenInput, RedriveReport, SkippedInput

T = TypeVar("T")


class Redriving:
    """The steps of one redrive, for one caller: while it is not ``over``, ``ask`` and ``took``.

    ``timeout_s`` is for all of them together. TypeError for what is no collection of ids, or
    of causes.
    """

    def __init__(
        self,
        door: Door,
        runtime_id: RuntimeName,
        input_ids: Iterable[InputId] | None,
        causes: Iterable[AbandonCause],
        timeout_s: float | None,
    ) -> None:
        self._door = door
        self._runtime_id = runtime_id
        self._wanted = None if input_ids is None else _checked(input_ids, InputId)
        self._causes = frozenset(_checked(causes, AbandonCause))
        self._clock = door.clock
        self._until = None if timeout_s is None else self._clock.monotonic() + timeout_s
        self._after: str | None = None
        self._redriven: list[RedrivenInput] = []
        self._skipped: list[SkippedInput] = []
        self.over = False

    @property
    def left_s(self) -> float | None:
        """How long the next answer may be waited for."""
        return None if self._until is None else max(0.0, self._until - self._clock.monotonic())

    @property
    def report(self) -> RedriveReport:
        """What has come of it so far."""
        return RedriveReport(redriven=tuple(self._redriven), skipped=tuple(self._skipped))

    def ask(self) -> Asked[m.Redriven]:
        """Send the next message. Of no input at all too: the runtime's state is told then."""
        asked_for = None if self._wanted is None else self._wanted[:AT_ONCE]
        return self._door.redrive(self._runtime_id, asked_for, self._after, self._causes)

    def took(self, done: m.Redriven) -> None:
        """Take an answer in; raises what stopped it half-way."""
        self._redriven += done.redriven
        self._skipped += done.skipped
        if done.refused is not None:
            raise done.refused
        if self._wanted is None:
            self._after = done.next
            self.over = done.next is None
        else:
            self._wanted = self._wanted[AT_ONCE:]
            self.over = not self._wanted


def _checked(values: Iterable[T], kind: type[T]) -> tuple[T, ...]:
    """Each of them once, in their order."""
    if not isinstance(values, Iterable):
        raise TypeError(f"redrive takes {kind.__name__}s, not one {type(values).__name__}")
    listed = tuple(dict.fromkeys(values))
    for each in listed:
        if not isinstance(each, kind):
            raise TypeError(f"redrive takes {kind.__name__}s, not {type(each).__name__}")
    return listed
