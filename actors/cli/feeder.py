"""Feeder: offers a file's inputs to the control plane and follows each one to its end.

Everything here happens in the main thread. What other threads have to tell (a future that
is done, a signal, a failing store) comes through one queue, so that nothing needs a lock
and a signal never interrupts anything but the wait for that queue.

One runtime's inputs keep the order of the file: they are offered one after the other, and
so few of them wait at a time that the control plane has no reason to refuse one. Should it
say Overloaded all the same, the line waits and is offered again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty
from typing import Final

from actors.cli.inputs_file import BadLine, InputLine, Line
from actors.cli.news import Decided, Ended, ExecutorLeft, Interrupted, NewsQueue
from actors.cli.progress import Progress
from actors.cli.tally import COUNTED_ENDINGS, Count, Tally
from actors.cli.texts import one_line
from actors.cli.watched import Watched
from actors.control_plane import ControlPlane
from actors.watching import NoticeKind
from meerkat.errors import (
    ControlPlaneStopped,
    MeerkatError,
    Overloaded,
    RecoveryCorruption,
    RuntimeUnavailable,
    StoreError,
)
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
"""Lines read ahead, so that their new runtimes are registered together."""

TICK_S: Final = 1.0
"""How long to wait for news before looking at the clock."""


class Feeder:
    """Takes the lines of one file to their end. Used by one thread."""

    def __init__(
        self,
        plane: ControlPlane,
        store: RuntimeStore,
        tally: Tally,
        progress: Progress,
        news: NewsQueue,
    ) -> None:
        self._plane = plane
        self._store = store
        self._tally = tally
        self._progress = progress
        self._news = news
        self._watch_drivers = plane.watch()
        self._usable: set[LogicalRuntimeId] = set()
        self._unusable: dict[LogicalRuntimeId, MeerkatError] = {}
        self._undecided = 0
        self._again: deque[InputLine] = deque()
        self.watched = Watched()
        self.bad_lines = 0
        """Lines that hold no input, or one that could not be offered."""

    def feed(self, lines: Iterable[Line]) -> None:
        """Offer every line in order, and wait until all that belongs to them has ended.

        Raises Interrupted, ExecutorLeft, and StoreError when the job cannot go on.
        """
        group: list[Line] = []
        for line in lines:
            group.append(line)
            if len(group) == LINES_A_GROUP:
                self._offer_group(group)
                group = []
        self._offer_group(group)
        while self._undecided or self._again:
            self._offer_again()
            self._wait_while(lambda: self._undecided)
        self._finish()

    def hear_the_rest(self) -> None:
        """Take in what is known by now, after a stop; errors and signals count no more."""
        while not self._news.empty():
            with suppress(Interrupted, ExecutorLeft, StoreError):
                self._hear()

    # --- offering -----------------------------------------------------------------------

    def _offer_group(self, group: list[Line]) -> None:
        self._register([line for line in group if isinstance(line, InputLine)])
        for line in group:
            if isinstance(line, BadLine):
                self.bad_lines += 1
                self._note(f"line {line.number}: {line.reason}")
            elif line.runtime_id in self._unusable:
                self._refused(line.place, self._unusable[line.runtime_id])
            else:
                self._offer_again()
                self._offer(line)

    def _register(self, lines: list[InputLine]) -> None:
        """Make new runtimes known, all together, and watch what they have waiting."""
        named = dict.fromkeys(line.runtime_id for line in lines)
        new = [each for each in named if each not in self._usable and each not in self._unusable]
        if not new:
            return
        try:
            self._plane.register_many(new)
            self._usable.update(new)
        except MeerkatError:  # one of them cannot be: the others can
            for runtime_id in new:
                self._register_one(runtime_id)
        for runtime_id in self._usable.intersection(new, self._store.runtimes_with_work()):
            self._watch_leftovers(runtime_id)

    def _register_one(self, runtime_id: LogicalRuntimeId) -> None:
        try:
            self._plane.register(runtime_id)
            self._usable.add(runtime_id)
        except MeerkatError as error:
            self._unusable[runtime_id] = error

    def _offer(self, line: InputLine) -> None:
        self._make_room(line.runtime_id)
        while True:
            try:
                submission = self._plane.submit(line.runtime_id, line.input)
                break
            except Overloaded:
                self._let_some_end(line.runtime_id)
            except MeerkatError as error:
                self._refused(line.place, error)
                return
        self._undecided += 1
        news, completion = self._news, submission.completion
        submission.accepted.add_done_callback(
            lambda accepted: news.put(Decided(line, accepted, completion))
        )

    def _offer_again(self) -> None:
        """Offer first what was told Overloaded: it stands further up in the file."""
        while self._again:
            line = self._again.popleft()
            self._let_some_end(line.runtime_id)
            self._offer(line)

    def _make_room(self, runtime_id: LogicalRuntimeId) -> None:
        """Wait while too much is under way; all that waits may be of the kind to wake."""
        while not self._news.empty():
            self._hear()
        self._wait_while(lambda: self._undecided >= UNDECIDED_MAX)
        watched = self.watched
        if watched.waiting >= WAITING_MAX:
            self._wake_all()
            self._wait_while(lambda: watched.waiting > WAITING_MAX // 2)
        if watched.waiting_of(runtime_id) >= WAITING_A_RUNTIME_MAX:
            self._wake(runtime_id)
            self._wait_while(lambda: watched.waiting_of(runtime_id) > WAITING_A_RUNTIME_MAX // 2)

    def _wake_all(self) -> None:
        for runtime_id in self.watched.runtimes():
            self._wake(runtime_id)

    def _let_some_end(self, runtime_id: LogicalRuntimeId) -> None:
        self._wake(runtime_id)
        self._hear()

    def _wake(self, runtime_id: LogicalRuntimeId) -> None:
        with suppress(RuntimeUnavailable):  # a notice tells of it
            self._plane.wake(runtime_id)

    # --- hearing ------------------------------------------------------------------------

    def _wait_while(self, condition: Callable[[], object]) -> None:
        while condition():
            self._hear()

    def _hear(self) -> None:
        """Take in the next piece of news, if there is one soon; an exception is raised."""
        try:
            news = self._news.get(timeout=TICK_S)
        except Empty:
            pass
        else:
            if isinstance(news, Exception):
                raise news
            if isinstance(news, Decided):
                self._decided(news)
            else:
                self._ended(news)
        while (notice := self._watch_drivers.next_within(0)) is not None:
            if notice.kind is NoticeKind.SET_ASIDE and notice.runtime_id in self._usable:
                aside = RuntimeUnavailable(notice.runtime_id, notice.reason or "it failed")
                self._give_up(notice.runtime_id, aside)
        self._progress.show(self.watched.ended, self.watched.known)

    def _decided(self, news: Decided) -> None:
        self._undecided -= 1
        line, completion = news.line, news.completion
        try:
            outcome = news.accepted.result()
        except Overloaded:
            self._again.append(line)
            return
        except ControlPlaneStopped:
            return  # the next call offers it
        except MeerkatError as error:
            self._refused(line.place, error)
            return
        match outcome:
            case Rejected(reason=reason):
                self.watched.settle()
                self._tally.add(Count.REJECTED)
                self._note(f"{line.place}: rejected: {reason}")
            case Accepted(input_id=input_id):
                self._tally.add(Count.ACCEPTED)
                self._watch(line.runtime_id, input_id, completion, line)
            case Deduplicated(existing_id=existing_id, existing_state=state):
                self._tally.add(Count.DEDUPLICATED)
                if state.is_terminal:
                    self.watched.settle()
                else:
                    self._watch(line.runtime_id, existing_id, completion, line)

    def _watch(
        self,
        runtime_id: LogicalRuntimeId,
        input_id: InputId,
        future: Future[CompletionOutcome],
        line: InputLine | None,
    ) -> None:
        if input_id not in self.watched:
            self.watched.add(runtime_id, input_id)
            news = self._news
            future.add_done_callback(lambda ended: news.put(Ended(runtime_id, line, ended)))

    def _ended(self, news: Ended) -> None:
        outcome, line = news.future.result(), news.line
        if outcome.reason == str(TerminationReason.PLANE_STOPPED):
            return  # the input has not ended: it waits for the next start
        self.watched.end(news.runtime_id)
        count = COUNTED_ENDINGS.get(outcome.kind)
        if count and line is not None and line.input.durability is Durability.EPHEMERAL:
            self._tally.add(count)  # it is in no commit
        if count is Count.ABANDONED or outcome.kind is CompletionKind.RUNTIME_TERMINATED:
            place = str(news.runtime_id) if line is None else line.place
            what = ": ".join(part for part in (outcome.reason, outcome.error) if part)
            self._note(f"{place}: given up: {what}")

    # --- finishing ----------------------------------------------------------------------

    def _finish(self) -> None:
        """Wake what woke nobody, and wait until the file's runtimes have nothing left."""
        while True:
            for runtime_id in self._usable.intersection(self._store.runtimes_with_work()):
                self._watch_leftovers(runtime_id)
            if not self.watched.waiting:
                return
            self._wake_all()
            self._wait_while(lambda: self.watched.waiting)

    def _watch_leftovers(self, runtime_id: LogicalRuntimeId) -> None:
        """Watch what a runtime has waiting that no line of ours stands for."""
        try:
            for input_id in self._plane.active_input_ids(runtime_id):
                if input_id not in self.watched:
                    handle = self._plane.completion(runtime_id, input_id)
                    self._watch(runtime_id, input_id, handle, None)
        except MeerkatError as error:
            self._give_up(runtime_id, error)

    def _give_up(self, runtime_id: LogicalRuntimeId, error: MeerkatError) -> None:
        self._usable.discard(runtime_id)
        self._unusable[runtime_id] = error
        self.watched.give_up(runtime_id)
        self._refused(str(runtime_id), error)

    # --- complaining --------------------------------------------------------------------

    def _refused(self, place: str, error: MeerkatError) -> None:
        """Tell of a refusal. A store that fails is raised instead: the job cannot go on."""
        unreadable = isinstance(error.__cause__, RecoveryCorruption)
        if isinstance(error, StoreError) and not unreadable:
            raise error
        self.bad_lines += 1
        self._note(f"{place}: {error}")

    def _note(self, text: str) -> None:
        self._progress.note(one_line(text))
