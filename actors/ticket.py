"""Tickets: decisions that go to disk together, and what each of them lets out after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from attrs import frozen

from actors.replies import Reply
from meerkat.errors import MeerkatError
from meerkat.identifiers import RuntimeEventId
from meerkat.kernel import Emit, RuntimeHead, Transition
from meerkat.pending_commit import PendingCommit

Answer = Callable[[], Any]
"""Makes a caller's answer at the moment it leaves."""


@frozen(eq=False)
class Step:
    """One decision or answer, in the order of the mailbox."""

    now: datetime
    transition: Transition | None
    reply: Reply[Any] | None
    answer: Answer | None
    error: MeerkatError | None

    def settle(self) -> None:
        """Give the caller its answer."""
        if self.reply is None:
            return
        if self.error is not None:
            self.reply.fail(self.error)
        elif self.answer is not None:
            self.reply.give(self.answer())
        else:
            self.reply.give(None if self.transition is None else self.transition.reply)


def host_events_of(transition: Transition | None) -> Iterator[RuntimeEventId]:
    """The events of hosts that a decision tells."""
    for telling in () if transition is None else transition.told:
        if isinstance(telling, Emit) and telling.event_id is not None:
            yield telling.event_id


class Ticket:
    """What was decided since the last ticket left. Not thread-safe."""

    __slots__ = ("_steps", "commit")

    def __init__(self, head: RuntimeHead, steps: Sequence[Step] = ()) -> None:
        self.commit = PendingCommit(head)
        self._steps: list[Step] | None = list(steps) or None

    @property
    def steps(self) -> Sequence[Step]:
        """What was decided and answered, in order."""
        return self._steps or ()

    def decided(
        self,
        transition: Transition,
        now: datetime,
        reply: Reply[Any] | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Add a decision, and the answer that depends on it."""
        self.commit.add(transition)
        self._add(Step(now, transition, reply, answer, None))

    def answered(
        self,
        now: datetime,
        reply: Reply[Any],
        answer: Answer | None = None,
        error: MeerkatError | None = None,
    ) -> None:
        """Add an answer that only has to wait its turn."""
        self._add(Step(now, None, reply, answer, error))

    def _add(self, step: Step) -> None:
        self._steps = self._steps or []
        self._steps.append(step)

    def fail(self, error: MeerkatError) -> None:
        """Tell every caller that it did not happen."""
        for step in self.steps:
            if step.reply is not None:
                step.reply.fail(error)
