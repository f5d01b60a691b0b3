"""Watched runs: what an executor does, noted for the model; and one that does as it is told.

Between a host's executor and its context stands a thin wrapper, which notes when a run
begins, which boundaries it commits and how it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from actors.executors import is_coroutine
from actors.light import LightFuture
from meerkat.identifiers import RunId
from meerkat.interfaces import RunContext
from meerkat.runs import RunOutput, StagedInput, WakeReason

Instruction: TypeAlias = Callable[[RunContext], RunOutput | None]
"""What a puppet does next in its run: it ends it with an output or an error, or goes on."""


UNHEEDED_MAX: Final = 1000
"""Wakings that an executor may ignore, one after the other: no time passes in a simulation
while it does, so without an end it would never return."""


class Unheeded(BaseException):
    """An executor goes round and round; not for it to catch with its own errors."""


@frozen
class Happened:
    """One thing that a run did: began, looked, committed, completed, failed or misbehaved."""

    what: str
    run_id: RunId
    input_ids: tuple[str, ...] = ()
    said: Any = field(default=None, repr=False)
    """An output, an error, or what was wrong."""


@define
class Puppet:
    """An executor that blocks, and does in its run what :meth:`tell` says, call by call."""

    run_id: RunId | None = None
    """The run that waits to be told."""
    _mail: LightFuture[Instruction] = field(factory=LightFuture)

    def __call__(self, context: RunContext, _staged: StagedInput) -> RunOutput:
        """Work until an instruction ends the run."""
        self.run_id = context.run_id
        try:
            while True:
                self._mail = LightFuture()
                output = self._mail.result()(context)
                if output is not None:
                    return output
        finally:
            self.run_id = None

    def tell(self, instruction: Instruction) -> None:
        """Have it done in the run that waits."""
        self._mail.set_result(instruction)


class WatchedExecutor:
    """A host's executor, and beside it a log of what it did. Deterministic if the host's is.

    TypeError for a coroutine executor.
    """

    def __init__(self, executor: Any, happened: Callable[[Happened], None]) -> None:
        if is_coroutine(executor):
            raise TypeError("coroutine executors are not simulated: test what yours awaits")
        self._apply = getattr(executor, "apply", executor)
        self._stop = getattr(executor, "stop", None)
        self._happened = happened

    def apply(self, context: RunContext, staged: StagedInput) -> RunOutput:
        """Have the host's executor work, and note what comes of it."""
        run_id = context.run_id
        ids = tuple(map(str, staged.contributing_input_ids))
        self._happened(Happened("began", run_id, ids))
        try:
            output: RunOutput = self._apply(_WatchedContext(context, self._happened), staged)
        except Unheeded as error:
            self._happened(Happened("misbehaved", run_id, ids, str(error)))
            raise
        except Exception as error:
            self._happened(Happened("failed", run_id, ids, error))
            raise
        if isinstance(output, RunOutput):
            self._happened(Happened("completed", run_id, ids, output))
        else:
            said = f"it gave {type(output).__name__}, where RunOutput is due"
            self._happened(Happened("misbehaved", run_id, ids, said))
        return output

    def stop(self, runtime_id: Any) -> None:
        """Have the host's executor stop, if it can."""
        if self._stop is not None:
            self._stop(runtime_id)


class _WatchedContext:
    """A context that notes which boundaries are committed, and what is woken to no avail."""

    def __init__(self, context: RunContext, happened: Callable[[Happened], None]) -> None:
        self._context, self._happened = context, happened
        self._unheeded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def wait(self, seconds: float) -> WakeReason:
        """Wait; Unheeded for an executor that goes on as if it had not been woken."""
        reason = self._context.wait(seconds)
        self._unheeded = 0 if reason is WakeReason.TIMEOUT else self._unheeded + 1
        if self._unheeded == UNHEEDED_MAX:
            told = f"context.wait has said {reason} {UNHEEDED_MAX} times in a row"
            raise Unheeded(f"{told}, and it waits again")
        return reason

    def boundary(self) -> Any:
        self._unheeded = 0
        found = self._context.boundary()
        ids = tuple(str(each.id) for each in found.inputs)
        self._happened(Happened("looked", self._context.run_id, ids))
        return _WatchedBoundary(found, self._context.run_id, self._happened)


class _WatchedBoundary:
    def __init__(self, boundary: Any, run_id: RunId, happened: Callable[[Happened], None]) -> None:
        self._boundary, self._run_id, self._happened = boundary, run_id, happened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._boundary, name)

    def __bool__(self) -> bool:
        return bool(self._boundary)

    def commit(self, **said: Any) -> Any:
        receipt = self._boundary.commit(**said)
        ids = tuple(map(str, receipt.contributing_input_ids))
        self._happened(Happened("committed", self._run_id, ids, RunOutput(**said)))
        return receipt
