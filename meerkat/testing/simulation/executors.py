"""Executors that fail: the host's, with faults before it and behind it."""

from __future__ import annotations

import random
from typing import Any, Final

from meerkat.errors import ApplyFailed
from meerkat.interfaces import RunContext
from meerkat.runs import RunOutput, StagedInput
from meerkat.testing.simulation.faults import Draw

_ERRORS: Final = (ApplyFailed, ValueError, MemoryError, SystemExit)


class FailingExecutor:
    """An executor that does what ``inner`` does, when it does not fail."""

    def __init__(self, inner: Any, chance: random.Random, fails: Draw) -> None:
        self._inner = inner
        self._chance = chance
        self._fails = fails

    def apply(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        """Call it, unless the run fails before; or have it fail behind it."""
        fails = self._fails.happens()
        if fails and self._chance.random() < 1 / 2:
            self._fail()
        output: RunOutput = getattr(self._inner, "apply", self._inner)(context, primitive)
        if fails:
            self._fail()
        return output

    def _fail(self) -> None:
        raise self._chance.choice(_ERRORS)("a planted failure")

    def stop(self, runtime_id: Any) -> None:
        """Call its stop hook, if it has one."""
        hook = getattr(self._inner, "stop", None)
        if hook is not None:
            hook(runtime_id)
