"""Telling: what the readers of events are told of a decision.

An :class:`Emit` is one event. A :class:`Story` is several that always go together, as the
few ids they are made of: most events are dropped unread, so they are made when somebody
reads them. Both say how many events they are, as each takes a number of its runtime's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

from attrs import frozen

from meerkat.events import (
    Event,
    EventCode,
    InputLifecycleEvent,
    RunLifecycleEvent,
    RuntimeStateChange,
)
from meerkat.identifiers import CausationId, CorrelationId, InputId, RunId, RuntimeEventId
from meerkat.input_lifecycle import InputState
from meerkat.runs import RunInHand
from meerkat.runtime_lifecycle import RuntimeState


@frozen
class Emit:
    """One event.

    ``event_id`` and ``timestamp`` are a host's own; else an id is made on reading, and the
    time is that of the decision.
    """

    count: ClassVar[int] = 1
    event: Event
    cause: InputId | CausationId | None = None
    correlation_id: CorrelationId | None = None
    event_id: RuntimeEventId | None = None
    timestamp: datetime | None = None

    def emits(self) -> Sequence[Emit]:
        """Itself."""
        return (self,)


@frozen
class Story:
    """``count`` events, which ``tell`` makes of ``about``."""

    count: int
    tell: Callable[..., Iterable[Emit]]
    about: tuple[Any, ...]

    def emits(self) -> Sequence[Emit]:
        """The events, in order."""
        return tuple(self.tell(*self.about))


Telling: TypeAlias = Emit | Story

_Subject = tuple[InputId, CorrelationId | None, CausationId | None]
"""An input that is told of, and what its header says of what it belongs to and came from."""


def told(code: EventCode, state: InputState, reason: str | None = None) -> Emit:
    """Tell of a step in an input's life."""
    return _step(code, _subject(state), reason)


def _step(code: EventCode, subject: _Subject, reason: str | None = None) -> Emit:
    """What happens to an input is on its own account, unless its header says on whose."""
    input_id, correlation_id, causation_id = subject
    cause = causation_id or input_id
    return Emit(InputLifecycleEvent(code, input_id, reason), cause, correlation_id)


def _subject(state: InputState) -> _Subject:
    return state.input_id, state.correlation_id, state.causation_id


def _subjects(states: Iterable[InputState]) -> tuple[_Subject, ...]:
    return tuple(map(_subject, states))


def run_told(
    code: EventCode, run: RunInHand, states: Iterable[InputState], detail: str | None = None
) -> Emit:
    """Tell of a step of a run, on account of its first contributor."""
    first = next(iter(states), None)
    correlation_id = None if first is None else first.correlation_id
    return Emit(RunLifecycleEvent(code, run.run_id, detail), run.contributors[0], correlation_id)


def state_changed(before: RuntimeState, after: RuntimeState, *first: InputState) -> Emit:
    """Tell that a run has begun or ended, on account of its first contributor."""
    return _state_changed(before, after, *_subjects(first))


def _state_changed(before: RuntimeState, after: RuntimeState, *first: _Subject) -> Emit:
    return Emit(RuntimeStateChange(before, after), *(first[0][:2] if first else ()))


# --- stories ----------------------------------------------------------------------------


def input_taken_in(state: InputState, end: EventCode) -> Story:
    """An input was accepted, and then queued or consumed."""
    return Story(2, _taken_in, (end, *_subject(state)))


def _taken_in(end: EventCode, *subject: Any) -> Iterable[Emit]:
    for code in (EventCode.INPUT_ACCEPTED, end):
        yield _step(code, subject)


def run_begun(run_id: RunId, before: RuntimeState, states: Sequence[InputState]) -> Story:
    """A runtime began a run, and its contributors were staged."""
    return Story(2 + len(states), _begun, (run_id, before, *_subjects(states)))


def _begun(run_id: RunId, before: RuntimeState, *subjects: _Subject) -> Iterable[Emit]:
    yield _state_changed(before, RuntimeState.RUNNING, *subjects)
    for subject in subjects:
        yield _step(EventCode.INPUT_STAGED, subject)
    yield _run_step(EventCode.RUN_STARTED, run_id, subjects)


def run_completed(run_id: RunId, after: RuntimeState, states: Sequence[InputState]) -> Story:
    """A run's contributors were applied and consumed, and it completed."""
    return Story(2 + 2 * len(states), _completed, (run_id, after, *_subjects(states)))


def _completed(run_id: RunId, after: RuntimeState, *subjects: _Subject) -> Iterable[Emit]:
    yield from _consumed(*subjects)
    yield _run_step(EventCode.RUN_COMPLETED, run_id, subjects)
    yield _state_changed(RuntimeState.RUNNING, after, *subjects)


def _run_step(code: EventCode, run_id: RunId, subjects: Sequence[_Subject]) -> Emit:
    return Emit(RunLifecycleEvent(code, run_id), *subjects[0][:2])


def inputs_consumed(states: Sequence[InputState]) -> Story:
    """Inputs were applied and consumed."""
    return Story(2 * len(states), _consumed, _subjects(states))


def _consumed(*subjects: _Subject) -> Iterable[Emit]:
    for subject in subjects:
        yield _step(EventCode.INPUT_APPLIED, subject)
        yield _step(EventCode.INPUT_CONSUMED, subject)
