"""Run link: the way from a run to the driver of its runtime, as messages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from actors import messages as m
from actors.clock import Timer
from actors.executors import Cancelled, Ending
from actors.replies import Reply
from actors.runs import RunBase
from actors.system import System
from actors.traces import RunTraced
from meerkat.bindings import SessionRuntimeBindings
from meerkat.conversation import Conversation, Plan, SessionSnapshot
from meerkat.errors import ControlPlaneStopped
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId
from meerkat.inputs import Input
from meerkat.kernel import RuntimeHead
from meerkat.receipts import RunBoundaryReceipt

T = TypeVar("T")


class DriverLink:
    """What one run may ask of its runtime. Thread-safe."""

    def __init__(
        self,
        system: System,
        runtime_id: LogicalRuntimeId,
        run_id: RunId,
        head: RuntimeHead,
        tell: Callable[[Any], None],
    ) -> None:
        self._system = system
        self._runtime_id = runtime_id
        self._run_id = run_id
        self._head = head
        self._tell = tell
        self._trace: RunTraced | None = None
        self._run: RunBase | None = None
        self._deadline: Timer | None = None
        self._grace: Timer | None = None

    def begin(self, run: RunBase, trace: RunTraced | None) -> None:
        """The run is about to begin: its time runs, and somebody looks after it."""
        system, run_id = self._system, self._run_id
        self._run, self._trace = run, trace
        system.waits.run_begins(run)
        system.watch.begin(run, lambda text: self._tell(m.RunStuck(run_id, text)))
        if system.run_deadline_s is not None:
            reached = m.RunDeadline(run_id)
            self._deadline = system.timers.after(system.run_deadline_s, lambda: self._tell(reached))

    def performing(self) -> AbstractContextManager[None]:
        """While this lasts, the run is on this thread."""
        if self._run is None:
            return nullcontext()
        on_thread = self._system.waits.performing(self._run)
        return on_thread if self._trace is None else _both(on_thread, self._trace.performing())

    def carried(self) -> None:
        """From now on this task is the run's."""
        if self._run is not None:
            self._system.waits.carry(self._run)

    def in_context(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """What the task of a coroutine run is to do, in the context of the run's trace."""
        return work() if self._trace is None else self._trace.within(work)

    def read_session(self) -> SessionSnapshot | None:
        """What the store holds of the session; StoreError."""
        self._system.home.check()
        if self._system.closing.is_set():
            raise ControlPlaneStopped
        return self._system.store.load_session_snapshot(self._runtime_id)

    def bindings(self) -> SessionRuntimeBindings:
        """The bindings of the run's epoch; StoreError."""
        self._system.home.check()
        if self._system.closing.is_set():
            raise ControlPlaneStopped
        return self._system.bindings.of_run(self._runtime_id, self._head)

    def progressed(self, text: str) -> None:
        """The run says how far it is."""
        self._tell(m.RunProgressed(self._run_id, text))

    def take_boundary(self) -> Reply[tuple[Input, ...]]:
        """Ask for what is steered into the run."""
        reply: Reply[tuple[Input, ...]] = Reply()
        return self._ask(m.TakeBoundary(self._run_id, reply), reply)

    def commit_boundary(
        self, input_ids: tuple[InputId, ...], plan: Plan, conversation: Conversation
    ) -> Reply[RunBoundaryReceipt]:
        """Have inputs consumed; the plan is in ``conversation`` once the reply is given."""
        reply: Reply[RunBoundaryReceipt] = Reply()
        message = m.CommitAtBoundary(self._run_id, input_ids, plan, conversation, reply)
        return self._ask(message, reply)

    def _ask(self, message: Any, reply: Reply[Any]) -> Reply[Any]:
        self._system.home.check()
        self._system.calls.opened_by_run(reply, self._runtime_id)
        self._tell(message)
        return reply

    def leaving(self) -> None:
        """The run has learned that it is to end: its grace begins, once."""
        run = self._run  # which may end just now
        if run is not None:
            self._system.waits.run_leaves(run)
        if self._grace is None:
            overdue = m.RunOverdue(self._run_id)
            self._grace = self._system.timers.after(
                self._system.grace_s, lambda: self._tell(overdue)
            )

    def signs(self) -> None:
        """The run has given a sign of life; ControlPlaneStopped in a forked child."""
        self._system.home.check()
        if self._run is not None:
            self._system.watch.sign(self._run)

    def ended(self, ending: Ending) -> None:
        """The run is over: nobody looks after it, and nothing is due on its account."""
        if self._system.home.left:
            return
        if self._run is not None:
            self._system.waits.run_leaves(self._run)
            self._system.watch.end(self._run, cancelled=isinstance(ending, Cancelled))
            self._run = None
        for timer in (self._deadline, self._grace):
            if timer is not None:
                self._system.timers.cancel(timer)
        self._tell(m.RunEnded(self._run_id, ending))


@contextmanager
def _both(
    outer: AbstractContextManager[None], inner: AbstractContextManager[None]
) -> Iterator[None]:
    with outer, inner:
        yield
