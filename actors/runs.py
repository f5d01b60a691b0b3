"""Runs: what an ordinary executor is handed, and the thread function that hands it over.

A run knows its runtime only as a :class:`RunLink`: what it asks there becomes a message to
the runtime's driver. ``coroutine_runs`` has the same for coroutine executors.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from actors.attention import Attention
from actors.executors import (
    Ending,
    Executor,
    Failed,
    SessionUnreadable,
    bounded,
    ending_of,
    planned,
)
from actors.light import waitable_s
from actors.replies import Reply, refuse_deadlock, wait_for
from actors.thread_frames import frame_of, stack_of
from meerkat.bindings import SessionRuntimeBindings
from meerkat.boundary import Boundary
from meerkat.conversation import Conversation, Plan, SessionSnapshot
from meerkat.errors import RecoveryCorruption, RunCancelled, StoreError
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.inputs import Input
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunInHand, RunOutput, StagedInput, WakeReason

T = TypeVar("T")

FRAMES_SHOWN: Final = 32
"""Innermost frames of a run that are shown: as many as fit into the text of an event."""


class RunLink(Protocol):
    """What a run may ask of its runtime, from any thread. Nothing here waits but the reads."""

    def read_session(self) -> SessionSnapshot | None:
        """What the store holds of the session; StoreError."""
        ...

    def bindings(self) -> SessionRuntimeBindings:
        """The bindings of the run's epoch; StoreError."""
        ...

    def progressed(self, text: str) -> None:
        """The run says how far it is."""
        ...

    def take_boundary(self) -> Reply[tuple[Input, ...]]:
        """Ask for what is steered into the run."""
        ...

    def commit_boundary(
        self, input_ids: tuple[InputId, ...], plan: Plan, conversation: Conversation
    ) -> Reply[RunBoundaryReceipt]:
        """Have inputs consumed; the plan is in ``conversation`` once the reply is given."""
        ...

    def leaving(self) -> None:
        """The run has learned that it is to end: its grace begins."""
        ...

    def signs(self) -> None:
        """The run has given a sign of life."""
        ...

    def ended(self, ending: Ending) -> None:
        """The run is over."""
        ...

    def performing(self) -> AbstractContextManager[None]:
        """While this lasts, the run is on this thread."""
        ...

    def carried(self) -> None:
        """From now on this task is the run's."""
        ...

    def in_context(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        """What the task of the run is to do, where the run's trace is looked for."""
        ...


class RunBase(ABC):
    """What contexts of both kinds have in common: who the run is, and what it may look at."""

    def __init__(
        self,
        *,
        runtime_id: LogicalRuntimeId,
        run: RunInHand,
        primitive: StagedInput,
        executor: Executor,
        conversation: Conversation | None,
        link: RunLink,
    ) -> None:
        self.runtime_id = runtime_id
        self.run_id = run.run_id
        self.attempt = run.attempt
        self.input_ids = run.contributors
        self.attention = Attention()
        self.cancelled = self.attention.cancelled
        self._primitive = primitive
        self._apply: Any = getattr(executor, "apply", executor)
        self._conversation = conversation
        self._link = link
        self._read_session = partial(_read_session, link)

    @property
    def bindings(self) -> SessionRuntimeBindings:
        """The runtime's epoch, registry and cursors."""
        try:
            return self._link.bindings()
        except (StoreError, RecoveryCorruption) as error:
            raise SessionUnreadable(error) from error

    def cancel(self) -> None:
        """Have the run end now."""
        self.attention.cancel()

    def give_grace(self) -> None:
        """The run has learned that it is to end: it has the plane's grace to return, once."""
        self._link.leaving()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.runtime_id}, {self.run_id}, attempt {self.attempt})"

    def stack(self) -> str:
        """Where the run is just now, as a traceback prints it; empty when that is unknown."""
        try:
            return self._stack()
        except Exception as error:  # noqa: BLE001 - it looks into objects of the host
            return f"its stack cannot be had: {type(error).__name__}"

    @abstractmethod
    def _stack(self) -> str:
        """The same; it looks into objects of the host, and may raise."""

    def _report(self, text: object) -> None:
        if not isinstance(text, str):
            raise TypeError(f"progress is a text, not {type(text).__name__}")
        self.attention.refuse_over()
        self._link.signs()
        self._link.progressed(bounded(text))

    def _refuse_cancelled(self) -> None:
        self.attention.refuse_over()
        if self.cancelled.is_set():
            raise RunCancelled

    def _look_up(self) -> None:
        """Before a boundary: say where the run ends here, and give a sign of life."""
        self._link.signs()
        try:
            self.attention.refuse_ended()
        except RunCancelled:
            self._link.leaving()
            raise
        self._refuse_cancelled()

    def _begin_to_wait(self, seconds: float) -> float:
        """Before a wait: a sign of life; gives how long it may take."""
        if not isinstance(seconds, int | float):
            raise TypeError(f"wait takes seconds, not {type(seconds).__name__}")
        self._link.signs()
        self.attention.waits = True
        return waitable_s(seconds)

    def _before_commit(self) -> None:
        """Before a commit: what was handed over is the run's for as long as it is in hand."""
        refuse_deadlock("commit")
        self._link.signs()
        self.attention.refuse_over()

    def lost(self, error: BaseException) -> None:
        """The run broke off outside of its executor: a defect, and an end like another."""
        self._end(Failed(f"the run broke off: {type(error).__name__}", recoverable=True))

    def _end(self, ending: Ending) -> None:
        reached(FailPoint.RUN_RETURNED)
        self.attention.end()
        self._link.ended(ending)


def _read_session(link: RunLink) -> SessionSnapshot:
    """For a conversation, which goes on from run to run: it must not keep the first one."""
    try:
        return link.read_session() or SessionSnapshot()
    except (StoreError, RecoveryCorruption) as error:
        raise SessionUnreadable(error) from error


class Run(RunBase):
    """One run of an ordinary executor. Used by the run's own thread, but for ``cancelled``."""

    _thread_id: int | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The committed messages: a fresh list, the caller's to change."""
        self.attention.refuse_over()
        return self._loaded().messages()

    @property
    def snapshot(self) -> bytes | None:
        """The opaque bytes that were committed last."""
        self.attention.refuse_over()
        return self._loaded().committed().opaque

    def raise_if_cancelled(self) -> None:
        """Raise RunCancelled when the run has been cancelled."""
        self._refuse_cancelled()

    def progress(self, text: str) -> None:
        """Tell the readers of events how far the run is; TypeError for what is no text."""
        self._report(text)

    def boundary(self) -> Boundary:
        """What was steered into the run so far; see RunContext."""
        self._look_up()
        refuse_deadlock("boundary")
        return Boundary(wait_for(self._link.take_boundary(), "boundary", None), self._commit)

    def wait(self, seconds: float) -> WakeReason:
        """Wait for a reason to look up; see RunContext."""
        seconds = self._begin_to_wait(seconds)
        try:
            return self.attention.wait(seconds)
        except RunCancelled:
            self._link.leaving()
            raise
        finally:
            self._link.signs()
            self.attention.waits = False

    def _commit(self, input_ids: tuple[InputId, ...], output: RunOutput) -> RunBoundaryReceipt:
        self._before_commit()
        conversation = self._loaded()
        plan = conversation.plan(output)
        reached(FailPoint.BOUNDARY_PLANNED)
        reply = self._link.commit_boundary(input_ids, plan, conversation)
        receipt = wait_for(reply, "commit", None)
        reached(FailPoint.BOUNDARY_COMMITTED)
        return receipt

    def _loaded(self) -> Conversation:
        if self._conversation is None:
            self._conversation = Conversation(self._read_session)
        return self._conversation

    def _stack(self) -> str:
        """Where the run's thread is just now."""
        frame = frame_of(self._thread_id)
        return "" if frame is None else stack_of(frame, FRAMES_SHOWN)

    def perform(self) -> None:
        """Call the executor and say how it ended, whatever it does. Lets nothing through."""
        self._thread_id = threading.get_ident()
        with self._link.performing():
            ending = self._outcome()
        self._thread_id = None
        self._end(ending)

    def _outcome(self) -> Ending:
        try:
            reached(FailPoint.RUN_BEGINS)
            return planned(self._apply(self, self._primitive), self._loaded())
        except BaseException as error:  # noqa: BLE001 - whatever a host raises is a failure
            return ending_of(error, cancelled=self.cancelled.is_set())
