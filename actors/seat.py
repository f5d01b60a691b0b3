"""Seat: where a driver's runs sit: the slot, the run in hand, the conversation between runs.

It knows nothing of inputs or commits. Owned by one driver, used in its mailbox only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from actors import messages as m
from actors.runs import Executor, Run, SessionUnreadable, Stopped, Succeeded
from actors.system import System
from meerkat.conversation import Conversation, SessionSnapshot
from meerkat.errors import ControlPlaneStopped, StoreError
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
        self._fenced: RunId | None = None
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
        """Let others run; a run that is still about keeps its slot until it has returned."""
        self._in_a_row = 0
        if self._has_slot and self._run is None and self._fenced is None:
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
            load=lambda: Conversation(self._read_session),
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

    def _read_session(self) -> SessionSnapshot | None:
        if self._system.closing.is_set():
            raise ControlPlaneStopped
        try:
            return self._system.store.load_session_snapshot(self._id)
        except StoreError as error:
            raise SessionUnreadable(error.text) from error

    def cancel(self) -> None:
        """Tell the run in hand that it is cancelled."""
        if self._run is not None:
            self._run.cancelled.set()

    @property
    def occupied(self) -> bool:
        """Is a run still about, though its runtime has done with it? No other may start."""
        return self._run is not None or self._fenced is not None

    def fence(self, run_id: RunId | None = None) -> None:
        """The run in hand is over for its runtime: cancel it, and wait until it is gone.

        It has the plane's grace to return. With an id, only if it is that run.
        """
        run = self._run
        if run is None or run_id not in (None, run.run_id):
            return
        run.cancelled.set()
        self._run, self._fenced = None, run.run_id
        overdue = m.RunOverdue(run.run_id)
        self._system.timers.after(self._system.grace_s, lambda: self._tell(overdue))

    def gone(self, run_id: RunId) -> bool:
        """A fenced run has returned, or has had its grace: the seat is free again."""
        if self._fenced == run_id:
            self._fenced = None
            return True
        if self._run is not None and self._run.run_id == run_id:
            self._run = None  # its end is decided, but not told yet: there is nobody to tell
            return True
        return False

    def clear(self) -> None:
        """The runtime's memory is gone: nothing of this seat holds any more."""
        self.fence()
        self._conversation = None
        self.return_slot()
