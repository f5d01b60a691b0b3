"""Seat: where a driver's runs sit: the slot, the run in hand, the conversation between runs.

It knows nothing of inputs or commits. Owned by one driver, used in its mailbox only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from actors import messages as m
from actors.runs import Executor, Run, Stopped, Succeeded
from actors.system import System
from meerkat.conversation import Conversation
from meerkat.identifiers import LogicalRuntimeId, RunId
from meerkat.kernel import RuntimeHead, StartRun

RUNS_IN_A_ROW: Final = 16
"""Runs for which one runtime may keep its slot while others wait for one."""


class Seat:
    """A runtime's place among the runs."""

    def __init__(
        self, system: System, runtime_id: LogicalRuntimeId, tell: Callable[[Any], None]
    ) -> None:
        self._system = system
        self._id = runtime_id
        self._tell = tell
        self._run: Run | None = None
        self.executor: Executor | None = None  # who was called for the last run
        self._has_slot = False
        self._asked = False
        self._in_a_row = 0
        self._conversation: Conversation | None = None

    def take_slot(self) -> bool:
        """Is a slot ours now? If not, SlotGranted will say when."""
        if not self._has_slot and not self._asked:
            self._has_slot = self._system.slots.take(lambda: self._tell(m.SlotGranted()))
            self._asked = not self._has_slot
        return self._has_slot

    def slot_granted(self) -> None:
        """The slot that was asked for is ours."""
        self._asked = False
        self._has_slot = True

    def return_slot(self) -> None:
        """Let others run."""
        self._in_a_row = 0
        if self._has_slot:
            self._has_slot = False
            self._system.slots.give_back()

    def begin(self, effect: StartRun, head: RuntimeHead, executor: Executor | None) -> None:
        """Call the executor; RunEnded says how it went."""
        run_id, system, tell = effect.run.run_id, self._system, self._tell
        self._run, self.executor = None, executor
        if executor is None:
            tell(m.RunEnded(run_id, Stopped()))
            return
        self._run = Run(
            runtime_id=self._id,
            run=effect.run,
            primitive=effect.primitive,
            executor=executor,
            conversation=self._conversation,
            load=lambda: Conversation(lambda: system.store.load_session_snapshot(self._id)),
            bindings=lambda: system.bindings.of_run(self._id, head, system.clock),
            report=lambda ended_id, text: tell(m.RunProgressed(ended_id, text)),
            ended=lambda ended_id, ending: tell(m.RunEnded(ended_id, ending)),
        )
        system.threads.start(self._run.perform)

    def ended(self, message: m.RunEnded) -> None:
        """Take over what the run made of the conversation; make room for others in time."""
        self._run = None
        if isinstance(message.ending, Succeeded):
            self._conversation = message.ending.conversation
            self._conversation.apply(message.ending.plan.change)
        self._in_a_row += 1
        if self._in_a_row >= RUNS_IN_A_ROW and self._system.slots.contended:
            self.return_slot()

    def cancel(self, run_id: RunId | None = None) -> None:
        """Tell the run in hand that it is cancelled; with an id, only if it is that run."""
        if self._run is not None and run_id in (None, self._run.run_id):
            self._run.cancelled.set()

    def clear(self) -> None:
        """The runtime's memory is gone: nothing of this seat holds any more."""
        self.cancel()
        self._run = self._conversation = None
        self.return_slot()
