"""Feeder: offers a file's inputs to the control plane and follows each one to its end.

Everything here happens in the main thread. What other threads have to tell (a future that
is done, a signal, a failing store) comes through one queue, so that nothing needs a lock
and a signal never interrupts anything but the wait for that queue.

One runtime's inputs keep the order of the file: they are offered one after the other, and
so few of them wait at a time that the control plane has no reason to refuse one. Should it
say Overloaded all the same, the line waits and is offered again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from attrs import frozen

from actors.cli.inputs_file import BadLine, InputLine, Line
from actors.cli.progress import Progress
from actors.cli.tally import COUNTED_ENDINGS, Count, Tally
from actors.cli.texts import one_line
from actors.control_plane import ControlPlane, Submission
from meerkat.errors import MeerkatError, Overloaded, RecoveryCorruption, StoreError
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.inputs import Durability
from meerkat.limits import DEFAULT_LIMITS
from meerkat.outcomes import (
    Accepted,
    CompletionKind,
    CompletionOutcome,
    Deduplicated,
    Rejected,
    TerminationReason,
)
from meerkat.store import RuntimeStore

UNDECIDED_MAX: Final = 1_000
"""Offers whose answer is outstanding: enough to fill the commits of the journal."""

WAITING_MAX: Final = DEFAULT_LIMITS.in_flight_max // 2
"""Inputs that have not ended, in all: half of what the control plane takes."""

WAITING_A_RUNTIME_MAX: Final = DEFAULT_LIMITS.pending_inputs_max // 2
"""Inputs of one runtime that have not ended: half of what a runtime takes."""

LINES_A_GROUP: Final = 1_000
"""Lines read ahead, so that their new runtimes are registered in one commit."""

TICK_S: Final = 1.0
"""How long to wait for news before looking at the clock."""


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The user wants the job to stop."""


class ExecutorLeft(Exception):  # noqa: N818 - as above
    """The executor takes no more runs; what waits is for another one."""


@frozen(eq=False)
class _Decided:
    line: InputLine
    submission: Submission


@frozen(eq=False)
class _Ended:
    runtime_id: LogicalRuntimeId
    line: InputLine | None
    future: Future[CompletionOutcome]


News: TypeAlias = "_Decided | _Ended | BaseException"
"""What comes through the queue; an exception is raised where the main thread waits."""


class Feeder:
    """Takes the lines of one file to their end. Used by one thread."""

    def __init__(
        self,
        plane: ControlPlane,
        store: RuntimeStore,
        tally: Tally,
        progress: Progress,
        news: SimpleQueue[News],
    ) -> None:
        self._plane = plane
        self._store = store
        self._tally = tally
        self._progress = progress
        self._news = news
        self._runtimes: dict[LogicalRuntimeId, bool] = {}  # → can it be used?
        self._undecided = 0
        self._waiting: Counter[LogicalRuntimeId] = Counter()
        self._watched: set[InputId] = set()
        self._again: deque[InputLine] = deque()
        self.bad_lines = 0
        self.ended = 0

    @property
    def waiting(self) -> int:
        """Inputs that are watched and have not ended."""
        return len(self._watched) - self.ended

    def feed(self, lines: Iterable[Line]) -> None:
        """Offer every line in order, and wait until all that belongs to them has ended.

        Raises Interrupted, ExecutorLeft and StoreError.
        """
        group: list[Line] = []
        for line in lines:
            group.append(line)
            if len(group) == LINES_A_GROUP:
                self._offer_group(group)
                group = []
        self._offer_group(group)
        self._wait_while(lambda: self._undecided)
        self._finish()

    # --- offering -----------------------------------------------------------------------

    def _offer_group(self, group: list[Line]) -> None:
        self._register([line for line in group if isinstance(line, InputLine)])
        for line in group:
            if isinstance(line, BadLine):
                self._complain(line.number, line.reason)
            elif self._runtimes[line.runtime_id]:
                self._offer(line)

    def _register(self, lines: list[InputLine]) -> None:
        """Make new runtimes known, all in one commit, and take over what they have waiting."""
        new = {each.runtime_id: each for each in lines if each.runtime_id not in self._runtimes}
        if not new:
            return
        try:
            self._plane.register_many(list(new))
        except MeerkatError:  # one of them cannot be: the others can
            for runtime_id, line in new.items():
                self._runtimes[runtime_id] = self._register_one(line)
        else:
            self._runtimes |= dict.fromkeys(new, True)
        for runtime_id in self._store.runtimes_with_work():
            if runtime_id in new and self._runtimes[runtime_id]:
                self._follow_leftovers(runtime_id)

    def _register_one(self, line: InputLine) -> bool:
        try:
            self._plane.register(line.runtime_id)
        except MeerkatError as error:
            self._refused(line, error)
            return False
        return True

    def _offer(self, line: InputLine) -> None:
        self._make_room(line.runtime_id)
        while True:
            try:
                submission = self._plane.submit(line.runtime_id, line.input)
            except Overloaded:
                self._let_some_end(line.runtime_id)
            except MeerkatError as error:
                self._refused(line, error)
                return
            else:
                break
        self._undecided += 1
        decided = _Decided(line, submission)
        submission.accepted.add_done_callback(lambda _: self._news.put(decided))

    def _make_room(self, runtime_id: LogicalRuntimeId) -> None:
        self._hear_all()
        self._wait_while(lambda: self._undecided >= UNDECIDED_MAX)
        self._wait_while(lambda: self.waiting >= WAITING_MAX)
        if self._waiting[runtime_id] >= WAITING_A_RUNTIME_MAX:
            self._plane.wake(runtime_id)  # they may all be of the kind that wakes nobody
            self._wait_while(lambda: self._waiting[runtime_id] >= WAITING_A_RUNTIME_MAX)

    def _let_some_end(self, runtime_id: LogicalRuntimeId) -> None:
        self._plane.wake(runtime_id)
        self._hear(TICK_S)

    # --- hearing ------------------------------------------------------------------------

    def _wait_while(self, condition: Callable[[], object]) -> None:
        while condition():
            self._hear(TICK_S)

    def _hear_all(self) -> None:
        while not self._news.empty():
            self._hear(TICK_S)

    def _hear(self, timeout_s: float) -> None:
        """Take in one piece of news; what is an exception is raised."""
        try:
            news = self._news.get(timeout=timeout_s)
        except Empty:
            pass
        else:
            match news:
                case _Decided():
                    self._decided(news.line, news.submission)
                case _Ended():
                    self._end(news)
                case BaseException():
                    raise news
        self._progress.show(self.ended, len(self._watched))

    def _decided(self, line: InputLine, submission: Submission) -> None:
        self._undecided -= 1
        try:
            outcome: Any = submission.accepted.result()
        except Overloaded:
            self._again.append(line)
            return
        except MeerkatError as error:
            self._refused(line, error)
            return
        match outcome:
            case Rejected(reason=reason):
                self._tally.add(Count.REJECTED)
                self._complain(line.number, f"rejected: {reason}")
            case Accepted(input_id=input_id):
                self._tally.add(Count.ACCEPTED)
                self._watch(line.runtime_id, input_id, submission.completion, line)
            case Deduplicated(existing_id=existing_id, existing_state=state):
                self._tally.add(Count.DEDUPLICATED)
                if not state.is_terminal:
                    self._watch(line.runtime_id, existing_id, submission.completion, line)

    def _watch(
        self,
        runtime_id: LogicalRuntimeId,
        input_id: InputId,
        future: Future[CompletionOutcome],
        line: InputLine | None,
    ) -> None:
        if input_id in self._watched:
            return
        self._watched.add(input_id)
        self._waiting[runtime_id] += 1
        ended = _Ended(runtime_id, line, future)
        future.add_done_callback(lambda _: self._news.put(ended))

    def _end(self, news: _Ended) -> None:
        self.ended += 1
        self._waiting[news.runtime_id] -= 1
        outcome, line = news.future.result(), news.line
        count = COUNTED_ENDINGS.get(outcome.kind)
        if count and line is not None and line.input.durability is Durability.EPHEMERAL:
            self._tally.add(count)  # it is in no commit
        if outcome.reason == str(TerminationReason.PLANE_STOPPED):
            return
        if count is Count.ABANDONED or outcome.kind is CompletionKind.RUNTIME_TERMINATED:
            where = "" if line is None else f"line {line.number}: "
            what = ": ".join(part for part in (outcome.reason, outcome.error) if part)
            self._progress.note(one_line(f"{where}{news.runtime_id}: given up: {what}"))

    # --- finishing ----------------------------------------------------------------------

    def _finish(self) -> None:
        """Wake what woke nobody, and wait until the file's runtimes have nothing left."""
        while self._again:
            self._offer(self._again.popleft())
            self._wait_while(lambda: self._undecided)
        while True:
            with_work = set(self._store.runtimes_with_work())
            with_work |= {each for each, waiting in self._waiting.items() if waiting}
            mine = [each for each in self._runtimes if each in with_work and self._runtimes[each]]
            for runtime_id in mine:
                self._follow_leftovers(runtime_id)
            if not self.waiting:
                return
            self._wait_while(lambda: self.waiting)

    def _follow_leftovers(self, runtime_id: LogicalRuntimeId) -> None:
        """Wake a runtime, and watch what it has waiting that no line of ours stands for."""
        try:
            self._plane.wake(runtime_id)
            for input_id in self._plane.active_input_ids(runtime_id):
                if input_id not in self._watched:
                    handle = self._plane.completion(runtime_id, input_id)
                    self._watch(runtime_id, input_id, handle, None)
        except MeerkatError as error:
            self._runtimes[runtime_id] = False
            self._trouble(f"{runtime_id}: ", error)

    # --- complaining --------------------------------------------------------------------

    def _refused(self, line: InputLine, error: MeerkatError) -> None:
        self.bad_lines += 1
        self._trouble(f"line {line.number}: {line.runtime_id}: ", error)

    def _trouble(self, where: str, error: MeerkatError) -> None:
        """Tell of a refusal; a store that fails is raised, as the job cannot go on."""
        unreadable = isinstance(error.__cause__, RecoveryCorruption)
        if isinstance(error, StoreError) and not unreadable:
            raise error
        self._progress.note(one_line(f"{where}{error}"))

    def _complain(self, number: int, reason: str) -> None:
        self.bad_lines += 1
        self._progress.note(one_line(f"line {number}: {reason}"))
