"""The runtime's lifecycle: which state follows which, as a table.

A :class:`Phase` is the state together with the run in hand and the state that run came
from. Its steps give a new phase or raise; nothing here knows of inputs or of a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve, frozen

from meerkat.errors import InvalidRuntimeTransition, RunRefused
from meerkat.identifiers import RunId
from meerkat.words import Word


class RuntimeState(Word):
    """What a runtime is doing."""

    INITIALIZING = "initializing"
    IDLE = "idle"
    ATTACHED = "attached"
    RUNNING = "running"
    RETIRED = "retired"
    STOPPED = "stopped"
    DESTROYED = "destroyed"


class RuntimeStep(Word):
    """What may happen to a runtime."""

    INITIALIZE = "initialize"
    ATTACH_EXECUTOR = "attach_executor"
    DETACH_EXECUTOR = "detach_executor"
    BEGIN_RUN = "begin_run"
    RETIRE = "retire"
    RESET = "reset"
    RECYCLE = "recycle"
    STOP = "stop"
    DESTROY = "destroy"


_S = RuntimeState
_EVERY_LIVE = (_S.INITIALIZING, _S.IDLE, _S.ATTACHED, _S.RUNNING, _S.RETIRED, _S.STOPPED)

TRANSITIONS: Final[Mapping[RuntimeStep, Mapping[RuntimeState, RuntimeState]]] = {
    RuntimeStep.INITIALIZE: {_S.INITIALIZING: _S.IDLE},
    RuntimeStep.ATTACH_EXECUTOR: {_S.IDLE: _S.ATTACHED},
    RuntimeStep.DETACH_EXECUTOR: {_S.ATTACHED: _S.IDLE},
    RuntimeStep.BEGIN_RUN: dict.fromkeys((_S.IDLE, _S.ATTACHED, _S.RETIRED), _S.RUNNING),
    RuntimeStep.RETIRE: dict.fromkeys((_S.IDLE, _S.ATTACHED, _S.STOPPED, _S.RETIRED), _S.RETIRED)
    | {_S.RUNNING: _S.RUNNING},
    RuntimeStep.RESET: dict.fromkeys(
        (_S.INITIALIZING, _S.IDLE, _S.ATTACHED, _S.RETIRED, _S.STOPPED), _S.IDLE
    ),
    RuntimeStep.RECYCLE: {_S.IDLE: _S.IDLE, _S.RETIRED: _S.IDLE, _S.ATTACHED: _S.ATTACHED},
    RuntimeStep.STOP: dict.fromkeys(
        (_S.IDLE, _S.ATTACHED, _S.RUNNING, _S.RETIRED, _S.STOPPED), _S.STOPPED
    ),
    RuntimeStep.DESTROY: dict.fromkeys(_EVERY_LIVE, _S.DESTROYED),
}
"""step → {state before: state after}; what is not here is refused."""

_AIMED_AT: Final[Mapping[RuntimeStep, RuntimeState]] = {
    step: next(iter(pairs.values())) for step, pairs in TRANSITIONS.items()
}
_STORED: Final[Mapping[RuntimeState, RuntimeState]] = {_S.ATTACHED: _S.IDLE}

ADMITTING: Final = frozenset({_S.IDLE, _S.ATTACHED, _S.RUNNING})
"""States in which input is admitted (a retiring run's excepted)."""

WORKING: Final = frozenset(TRANSITIONS[RuntimeStep.BEGIN_RUN])
"""States in which the lanes are worked."""


@frozen(kw_only=True)
class Phase:
    """A state, and while a run is in hand the run and the state it will return to."""

    state: RuntimeState = RuntimeState.INITIALIZING
    run_id: RunId | None = None
    returns_to: RuntimeState | None = None

    def allows(self, step: RuntimeStep) -> bool:
        """Can this step be taken? Changes nothing."""
        return self.state in TRANSITIONS[step]

    def after(self, step: RuntimeStep) -> Phase:
        """Take a step other than begin_run; InvalidRuntimeTransition if there is none."""
        after = TRANSITIONS[step].get(self.state)
        if after is None:
            raise InvalidRuntimeTransition(self.state, _AIMED_AT[step])
        if self.state is RuntimeState.RUNNING and after is RuntimeState.RUNNING:
            return evolve(self, returns_to=RuntimeState.RETIRED)
        return AT_REST[after]

    def begin_run(self, run_id: RunId) -> Phase:
        """Take a run in hand, remembering where it came from."""
        if not self.allows(RuntimeStep.BEGIN_RUN):
            raise InvalidRuntimeTransition(self.state, RuntimeState.RUNNING)
        return Phase(state=RuntimeState.RUNNING, run_id=run_id, returns_to=self.state)

    def end_run(self, run_id: RunId) -> Phase:
        """Return to where the run came from; RunRefused if it is not the one in hand."""
        if self.returns_to is None or self.run_id != run_id:
            raise RunRefused(f"run {run_id} is not the run in hand")
        return AT_REST[self.returns_to]

    @property
    def retiring(self) -> bool:
        """Does the run in hand end in retirement?"""
        return self.returns_to is RuntimeState.RETIRED

    @property
    def stored(self) -> RuntimeState:
        """What a restart sees: attached and running as idle, or as retired when retiring."""
        resting = self.returns_to or self.state
        return _STORED.get(resting, resting)

    @property
    def admits(self) -> bool:
        """Is input admitted?"""
        return self.state in ADMITTING and not self.retiring


AT_REST: Final[Mapping[RuntimeState, Phase]] = {state: Phase(state=state) for state in RuntimeState}
"""The phases without a run: one each, whichever runtime is in it."""
