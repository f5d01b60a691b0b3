"""Traces: what a plane tells its tracing, and how it carries contexts from offers to runs.

The trace of an offered input waits here, by the input's id, for the runs that take it up. It
is let go when the input has ended or its runtime leaves memory, and with
:data:`CARRIED_MAX` waiting the oldest is. What was accepted in an earlier process has none.

What a tracing raises is logged, once, and counts for nothing: everything is told through
:meth:`Traces.told`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from actors.logs import without_text
from actors.replies import Reply, as_control_plane_error
from actors.tracing import OfferTrace, RunEnd, RunEndKind, RunTrace, Tracing
from actors.watching import RuntimeNotice
from meerkat import kernel
from meerkat.errors import CommitUnknown
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.inputs import Input
from meerkat.outcomes import Accepted, AcceptOutcome
from meerkat.receipts import RunBoundaryReceipt

logger = logging.getLogger(__name__)

CARRIED_MAX: Final = 100_000
"""Offers whose inputs wait: as many as calls may be in flight."""

T = TypeVar("T")

_ENDS: Final[Mapping[type[kernel.Command], RunEndKind]] = {
    kernel.CompleteRun: RunEndKind.COMPLETED,
    kernel.FailRun: RunEndKind.FAILED,
    kernel.CancelRun: RunEndKind.CANCELLED,
    kernel.RequeueRun: RunEndKind.REQUEUED,
    kernel.PostponeRun: RunEndKind.POSTPONED,
}
"""What is decided of a run → how it ended."""


class Traces:
    """The traces of one plane: a tracing that never raises. Thread-safe."""

    def __init__(self, tracing: Tracing, carried_max: int = CARRIED_MAX) -> None:
        self._tracing = tracing
        self._carried_max = carried_max
        self._lock = threading.Lock()
        self._offers: dict[InputId, tuple[LogicalRuntimeId, OfferTrace]] = {}
        self._of_runtime: dict[LogicalRuntimeId, set[InputId]] = {}
        self._runs: dict[RunTraced, None] = {}
        self._complained = False

    def __len__(self) -> int:
        return len(self._offers)

    def told(self, tell: Callable[[], T]) -> T | None:
        """What the tracing gives; None when it raises. Ctrl-C on a host's thread passes."""
        try:
            return tell()
        except (KeyboardInterrupt, SystemExit) as error:
            if threading.current_thread() is threading.main_thread():
                raise
            self._failed(error)
        except BaseException as error:  # noqa: BLE001 - whatever it raises, the plane goes on
            self._failed(error)
        return None

    def _failed(self, error: BaseException) -> None:
        if not self._complained:
            self._complained = True
            said = "the tracing failed; what it raises from now on is not logged"
            logger.error(said, exc_info=without_text(error))

    # --- offers -------------------------------------------------------------------------

    def reply_to(
        self,
        runtime_id: LogicalRuntimeId,
        input: Input,  # noqa: A002
    ) -> Reply[AcceptOutcome]:
        """The reply of an input that is being offered, here and now."""
        if not isinstance(input, Input):
            return Reply()  # it will be refused
        offer = self.told(partial(self._tracing.offered, runtime_id, input))
        return Reply() if offer is None else OfferReply(self, runtime_id, input.id, offer)

    def carry(self, runtime_id: LogicalRuntimeId, input_id: InputId, offer: OfferTrace) -> None:
        """Keep the offer of an input that waits for its runs; the first of an id stays."""
        with self._lock:
            if input_id in self._offers:
                return
            while len(self._offers) >= self._carried_max:
                self._let_go(next(iter(self._offers)))
            self._offers[input_id] = (runtime_id, offer)
            self._of_runtime.setdefault(runtime_id, set()).add(input_id)

    def _let_go(self, input_id: InputId) -> None:
        runtime_id, _ = self._offers.pop(input_id)
        of_runtime = self._of_runtime[runtime_id]
        of_runtime.discard(input_id)
        if not of_runtime:
            del self._of_runtime[runtime_id]

    def input_ended(self, input_id: InputId) -> None:
        """No run takes this input up any more."""
        if input_id in self._offers:
            with self._lock:
                if input_id in self._offers:
                    self._let_go(input_id)

    def runtime_left(self, runtime_id: LogicalRuntimeId) -> None:
        """A runtime has left memory."""
        with self._lock:
            for input_id in self._of_runtime.pop(runtime_id, ()):
                self._offers.pop(input_id, None)

    def offers_of(self, input_ids: Iterable[InputId]) -> tuple[OfferTrace, ...]:
        """The offers of those inputs that were offered here, in the same order."""
        found = (self._offers.get(each) for each in input_ids)
        return tuple(each[1] for each in found if each is not None)

    # --- runs ---------------------------------------------------------------------------

    def run_begins(self, runtime_id: LogicalRuntimeId, effect: kernel.StartRun) -> RunTraced | None:
        """A run is about to begin; None when it is not traced."""
        run, inputs = effect.run, effect.primitive.inputs
        offers = self.offers_of(run.contributors)
        begins = partial(self._tracing.run_begins, runtime_id, run, inputs, offers)
        trace = self.told(begins)
        if trace is None:
            return None
        traced = RunTraced(self, trace)
        self._runs[traced] = None
        return traced

    def run_ended(self, run: RunTraced) -> None:
        """The end of that run was told."""
        self._runs.pop(run, None)

    # --- the rest -----------------------------------------------------------------------

    def noticed(self, notice: RuntimeNotice) -> None:
        """Something became of a driver."""
        self.told(partial(self._tracing.noticed, notice))

    def close(self) -> None:
        """The plane has ended: so have the runs that did not return, as far as it goes."""
        for run in tuple(self._runs):
            run.end(RunEnd(kind=RunEndKind.FENCED))
        with self._lock:
            self._offers.clear()
            self._of_runtime.clear()


class OfferReply(Reply[AcceptOutcome]):
    """The reply of an offered input that is traced: its trace ends before anybody is answered."""

    def __init__(
        self, traces: Traces, runtime_id: LogicalRuntimeId, input_id: InputId, offer: OfferTrace
    ) -> None:
        super().__init__()
        self._traces = traces
        self._input = (runtime_id, input_id)
        self._untold = [offer]  # whoever takes it out tells: a stop and a driver may race

    def give(self, value: AcceptOutcome) -> None:
        """Settle with a value; see ``Reply``."""
        waits = isinstance(value, Accepted) and not value.state.is_terminal
        self._tell(value, carried=waits)
        super().give(value)

    def fail(self, error: BaseException) -> None:
        """Settle with an error; see ``Reply``."""
        self.refused(error)
        super().fail(error)

    def refused(self, error: BaseException) -> None:
        """It was not even sent, or failed; where nobody knows, it may have runs all the same."""
        said = as_control_plane_error(error)
        self._tell(said, carried=isinstance(said, CommitUnknown))

    def _tell(self, outcome: AcceptOutcome | BaseException, *, carried: bool) -> None:
        try:
            offer = self._untold.pop()
        except IndexError:
            return
        if carried:
            self._traces.carry(*self._input, offer)
        self._traces.told(partial(offer.ended, outcome))


class RunTraced:
    """The trace of one run, which is certain to end, once. Thread-safe.

    The seat of its runtime holds it: whatever takes the run out of hand ends it.
    """

    def __init__(self, traces: Traces, trace: RunTrace) -> None:
        self._traces = traces
        self._trace = trace
        self._untold = [trace]
        self._closing = False

    @contextmanager
    def performing(self) -> Iterator[None]:
        """While this lasts, what runs here runs in the run's context."""
        context = self._traces.told(self._trace.performing)
        enter, leave = getattr(context, "__enter__", None), getattr(context, "__exit__", None)
        entered = enter is not None and self._traces.told(lambda: (enter(),)) is not None
        try:
            yield
        finally:
            if entered and leave is not None:
                self._traces.told(lambda: leave(None, None, None))  # of an error it hears later

    async def within(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The same for the task of a coroutine run."""
        with self.performing():
            return await work()

    def committing(self, input_ids: Sequence[InputId]) -> Callable[[RunBoundaryReceipt], None]:
        """A boundary is decided; gives how to say that it is durable."""
        offers = self._traces.offers_of(input_ids)  # which are let go when it is

        def committed(receipt: RunBoundaryReceipt) -> None:
            self._traces.told(lambda: self._trace.committed(receipt, offers))

        return committed

    def closing(self, command: kernel.Command, error_type: str | None) -> EndReply:
        """The end of the run is decided; it is told when this reply is given or fails."""
        self._closing = True
        return EndReply(self, _ENDS[type(command)], error_type)

    def fenced(self) -> None:
        """The run was taken out of its runtime's hand, unless its end was decided before."""
        if not self._closing:
            self.end(RunEnd(kind=RunEndKind.FENCED))

    def end(self, end: RunEnd) -> None:
        """Tell the end, unless it was told."""
        try:
            trace = self._untold.pop()
        except IndexError:
            return
        self._traces.run_ended(self)
        self._traces.told(partial(trace.ended, end))


class EndReply(Reply[Any]):
    """Who is answered when the end of a traced run is durable, or could not be made so."""

    def __init__(self, run: RunTraced, kind: RunEndKind, error_type: str | None) -> None:
        super().__init__()
        self._run = run
        self._kind = kind
        self._error_type = error_type

    def give(self, value: Any) -> None:
        """It is durable, with the receipt if there is one."""
        receipt = value if isinstance(value, RunBoundaryReceipt) else None
        self._run.end(RunEnd(kind=self._kind, receipt=receipt, error_type=self._error_type))
        super().give(value)

    def fail(self, error: BaseException) -> None:
        """It is not durable, or nobody knows."""
        self._run.end(RunEnd(kind=RunEndKind.UNCOMMITTED, error_type=type(error).__name__))
        super().fail(error)
