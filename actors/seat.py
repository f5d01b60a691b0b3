"""Seat: where a driver's runs sit: the slot, the run in hand, the conversation between runs.

It knows nothing of commits, and of inputs only which ones a boundary would hand over.
Owned by one driver, used in its mailbox only.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Any, Final

from actors import messages as m
from actors.coroutine_runs import CoroutineRun
from actors.executors import Executor, Failed, Stopped, Succeeded, is_coroutine
from actors.life_logs import log_begin
from actors.replies import Reply
from actors.run_link import DriverLink
from actors.runs import Run, RunBase
from actors.system import System
from actors.traces import RunTraced
from meerkat import kernel
from meerkat.conversation import Conversation
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputState
from meerkat.kernel import RuntimeHead, StartRun
from meerkat.kernel.run_steps import waits_at_boundary
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import InterruptMode

RUNS_IN_A_ROW: Final = 16
"""Runs for which one runtime may keep its slot while others wait for one."""


class Seat:
    """A runtime's place among the runs."""

    __slots__ = (
        "_asked",
        "_conversation",
        "_fenced",
        "_has_slot",
        "_id",
        "_in_a_row",
        "_is_coroutine",
        "_run",
        "_steered",
        "_system",
        "_tell",
        "_trace",
        "executor",
        "interrupted",
    )

    def __init__(
        self, system: System, runtime_id: LogicalRuntimeId, tell: Callable[[Any], None]
    ) -> None:
        self._system = system
        self._id = runtime_id
        self._tell = tell
        self._run: RunBase | None = None
        self.executor: Executor | None = None  # who was called for the last run
        self._is_coroutine = False  # and is it a coroutine function? Asked of each once
        self.interrupted = False  # was that run?
        self._fenced: RunBase | None = None
        self._trace: RunTraced | None = None  # of the last run
        self._has_slot = False
        self._asked = False
        self._in_a_row = 0
        self._conversation: Conversation | None = None
        self._steered: set[InputId] | None = None  # most runtimes are never steered

    # --- the slot -----------------------------------------------------------------------

    def take_slot(self) -> bool:
        """Is a slot ours now? If not, SlotGranted will say when."""
        if not self._has_slot and not self._asked:
            self._asked = True
            self._has_slot = self._system.slots.take(self, lambda: self._tell(m.SlotGranted()))
            self._asked = not self._has_slot
        return self._has_slot

    def slot_granted(self) -> None:
        """The slot that was asked for is ours."""
        self._asked = False
        self._has_slot = self._system.slots.holds(self)

    def return_slot(self) -> None:
        """Let others run; a run that is still about keeps its slot until it has returned."""
        self._in_a_row = 0
        if self.has_claim and not self.occupied:
            self._system.slots.give_back(self)
            self._has_slot = self._asked = False

    @property
    def has_claim(self) -> bool:
        """Is a slot ours, or asked for?"""
        return self._has_slot or self._asked

    @property
    def waits_for_slot(self) -> bool:
        """Is a slot asked for that is not ours yet? For any thread."""
        return self._asked

    @property
    def at_boundary(self) -> Container[InputId]:
        """What a boundary of the run in hand would hand over. For any thread."""
        return self._steered or ()

    # --- the run in hand ----------------------------------------------------------------

    def begin(self, effect: StartRun, head: RuntimeHead, executor: Executor | None) -> None:
        """Call the executor; RunEnded says how it went."""
        run_id, system = effect.run.run_id, self._system
        if executor is not self.executor:
            self._is_coroutine = executor is not None and is_coroutine(executor)
        self._run, self.executor, self.interrupted = None, executor, False
        self._trace = None
        if executor is None:
            self._tell(m.RunEnded(run_id, Stopped()))
            return
        if system.traces is not None:
            self._trace = system.traces.run_begins(self._id, effect)
        link = DriverLink(system, self._id, run_id, head, self._tell)
        run = self._run = self._new_run(effect, executor, link)
        run.attention.steer(waiting=bool(self._steered))
        log_begin(self._id, effect.run)
        link.begin(run, self._trace)
        try:
            if isinstance(run, CoroutineRun):
                run.start()
            else:
                system.threads.start(run.perform, run.lost)
        except RuntimeError as error:  # no thread to be had
            link.ended(Failed(f"the run could not be started: {error}", recoverable=True))

    def _new_run(
        self, effect: StartRun, executor: Executor, link: DriverLink
    ) -> Run | CoroutineRun:
        parts: dict[str, Any] = {
            "runtime_id": self._id,
            "run": effect.run,
            "primitive": effect.primitive,
            "executor": executor,
            "conversation": self._conversation,
            "link": link,
        }
        return CoroutineRun(self._system.loop, **parts) if self._is_coroutine else Run(**parts)

    def closing(self, command: kernel.Command, error_type: str | None = None) -> Reply[Any] | None:
        """Whom the end of the run in hand is told to, once that is durable, if it is traced."""
        return None if self._trace is None else self._trace.closing(command, error_type)

    def committing(
        self, input_ids: tuple[InputId, ...]
    ) -> Callable[[RunBoundaryReceipt], None] | None:
        """Whom a boundary of the run in hand is told to, once it is durable, if it is traced."""
        return None if self._trace is None else self._trace.committing(input_ids)

    def ended(self, message: m.RunEnded) -> None:
        """Take over what the run made of the conversation; make room for others in time."""
        self._run = self._conversation = None
        if isinstance(message.ending, Succeeded):
            self._conversation = message.ending.conversation
            self._conversation.apply(message.ending.plan.change)
        self._in_a_row += 1
        if self._in_a_row >= RUNS_IN_A_ROW and self._system.slots.contended:
            self.return_slot()

    @property
    def run_id(self) -> RunId | None:
        """The run in hand, once its executor has been called."""
        return None if self._run is None else self._run.run_id

    @property
    def occupied(self) -> bool:
        """Is a run still about, though its runtime has done with it? No other may start."""
        return self._run is not None or self._fenced is not None

    def stack(self, run_id: RunId) -> str:
        """Where that run is just now; empty when it is not about."""
        for run in (self._run, self._fenced):
            if run is not None and run.run_id == run_id:
                return run.stack()
        return ""

    # --- telling it ---------------------------------------------------------------------

    def note(self, state: InputState) -> None:
        """A durable input: does a boundary hand it over, or not any more?"""
        before = bool(self._steered)
        if waits_at_boundary(state):
            self._steered = self._steered or set()
            self._steered.add(state.input_id)
        elif self._steered:
            self._steered.discard(state.input_id)
        waiting = bool(self._steered)
        if self._run is not None and waiting is not before:
            self._run.attention.steer(waiting=waiting)

    def note_all(self, states: Iterable[InputState]) -> None:
        """The same of all that waits in a runtime that was just loaded."""
        self._steered = {each.input_id for each in states if waits_at_boundary(each)} or None

    def call(self) -> None:
        """Work waits behind the run in hand, and asks it to yield."""
        if self._run is not None:
            self._run.attention.call()

    def cancel(self) -> None:
        """Tell the run in hand that it is cancelled."""
        if self._run is not None:
            self._run.cancel()

    def interrupt(self, run_id: RunId, mode: InterruptMode) -> bool:
        """Interrupt that run; False when it is not the one in hand.

        From when it learns that it is to end, it has the plane's grace to return.
        """
        if self._run is None or self._run.run_id != run_id:
            return False
        self.interrupted = True
        if mode is InterruptMode.NOW:
            self._run.cancel()
            self._run.give_grace()
        else:
            self._run.attention.end_at_boundary()
        return True

    def fence(self, run_id: RunId | None = None) -> None:
        """The run in hand is over for its runtime: cancel it, and wait until it is gone.

        It has the plane's grace to return. With an id, only if it is that run.
        """
        run = self._run
        if run is None or run_id not in (None, run.run_id):
            return
        run.cancel()
        self._end_trace()
        self._run, self._fenced = None, run
        self._conversation = None  # the run may still be at it
        run.give_grace()

    def _end_trace(self) -> None:
        if self._trace is not None:
            self._trace.fenced()

    def gone(self, run_id: RunId) -> bool:
        """A run that is over has returned, or has had its grace: the seat is free again."""
        if self._fenced is not None and self._fenced.run_id == run_id:
            self._fenced = None
            return True
        if self._run is not None and self._run.run_id == run_id:
            self._run.cancel()
            self._run = self._conversation = None  # its end is decided, and nobody is told yet
            return True
        return False

    def clear(self) -> None:
        """The runtime's memory is gone: nothing of this seat holds any more."""
        self.fence()
        self._end_trace()
        self._conversation = None
        self._steered = None
        self.return_slot()
