"""Errand: one call of this front door, from when it is made until nothing more comes of it.

It waits, is sent, and is answered. What was answered may go on: the end of an input is still to
come, or events. The shard may be started anew at any moment, and knows of nothing then: what is
safe to repeat is sent again, and what is not ends as CommitUnknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import define, evolve, field

from actors.ray.far_bindings import bindings_of
from actors.ray.far_feeds import FarFeed
from actors.ray.wire import FarBindings, pack
from actors.replies import Handle, Reply, settle
from meerkat.errors import (
    CommitUnknown,
    ControlPlaneStopped,
    InputNotFound,
    InputValidationFailed,
    Overloaded,
    RuntimeNotFound,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.inputs import Durability, Input
from meerkat.outcomes import Accepted, Deduplicated, Rejected, TerminationReason, terminated

REPEATED: Final = frozenset({
    "active_input_ids", "attach_executor", "completion", "dead_letters", "detach_executor",
    "executor_ready", "figures", "ingest", "input_state", "load_boundary_receipt", "pause",
    "prepare_bindings", "register", "resume", "runs_in_hand", "runtime_state",
    "set_silent_intents", "submit", "subscribe", "supervision", "wake", "watch",
})  # fmt: skip
"""The calls that may be made twice: they read, or are the same as one. An offered input is known
by its id, so that it is taken in once."""

_GONE: Final = {
    InputNotFound: TerminationReason.PROCESS_ENDED,
    RuntimeNotFound: TerminationReason.UNREGISTERED,
}
"""What a shard that was started anew says of an input that is awaited, and how it has ended."""

_LATER: Final = (Overloaded, RuntimeUnavailable, StoreError)
"""What a shard refuses just now, and perhaps not by and by."""


@define(eq=False)
class Errand:
    """One call. Its line guards it; ``close`` and ``more`` are for whom it feeds."""

    name: str
    runtime_id: LogicalRuntimeId | None
    arguments: bytes = field(repr=False)
    reply: Reply[Any] = field(repr=False)
    offered: Input | None = field(default=None, repr=False)
    handle: Handle | None = field(default=None, repr=False)
    """Waits for the end of the input that is offered, or asked for."""
    feed: FarFeed[Any] | None = field(default=None, repr=False)
    again: bool = False
    """Was it sent to a shard that cannot say what became of it?"""
    resumes: bool = False
    """Does it ask for the rest of what a shard that is gone had granted, and nobody has yet?"""
    done: Callable[[], object] | None = field(default=None, repr=False)
    """Called when it is answered, before anybody is told: it is quick, and takes no lock."""
    renews: Callable[[], bool] | None = field(default=None, repr=False)
    """Of one that tells a shard what one before it had been told: does that hold still?"""
    number: int = -1
    """Of those that its line has sent; negative until then."""
    tell: Callable[[str, int, int], None] | None = field(default=None, repr=False)
    """Sends word of its feed: a name, its number, a count."""

    @property
    def goes_on(self) -> bool:
        """Does something come behind the answer?"""
        return self.handle is not None or self.feed is not None

    @property
    def asks_again(self) -> bool:
        """Does it ask for the end of an input whose handle was granted by a shard that is gone?

        Such a handle ends with the input, or with the runtime, and with no other refusal.
        """
        return self.name == "completion" and self.reply.done()

    @property
    def is_the_rest(self) -> bool:
        """Does it ask for the rest of what was granted to somebody before?"""
        return self.asks_again or self.resumes or self.renews is not None

    def is_put_off_by(self, error: BaseException) -> bool:
        """Is it to be asked later again, because of such a refusal?"""
        if self.renews is not None:
            return isinstance(error, _LATER)
        return self.is_the_rest and type(error) not in _GONE

    @property
    def may_be_repeated(self) -> bool:
        """Is it safe to send it to a shard that may have carried it out?

        An ephemeral input is nowhere stored: it may have been worked by who has gone.
        """
        ephemeral = self.offered is not None and self.offered.durability is Durability.EPHEMERAL
        return self.name in REPEATED and not ephemeral

    # --- what comes of it ---------------------------------------------------------------

    def learns(self, value: Any) -> None:
        """What has to be known of an answer to ask for the rest again. Tells nobody."""
        self.resumes = False
        if self.feed is not None:
            self.feed.opened(self, value)
        if self.handle is not None:
            match value:
                case Accepted(input_id=input_id) | Deduplicated(existing_id=input_id):
                    self.handle.input_id = input_id

    def answered(self, value: Any) -> None:
        """The shard has answered: tell who waits, without a lock of the line's."""
        if isinstance(value, FarBindings):
            value = bindings_of(value)
        if self.offered is not None:
            value = self._as_first_told(value)
        if isinstance(value, Rejected) and self.handle is not None:
            settle(self.handle.set_exception, InputValidationFailed(str(value.reason)))
        elif self.handle is not None and self.offered is None:
            value = self.handle
        elif self.feed is not None:
            value = self.feed
        self.reply.give(value)

    def _as_first_told(self, outcome: Any) -> Any:
        """Of an input that was offered again, what the first answer would have been."""
        ours = isinstance(outcome, Deduplicated) and outcome.existing_id == outcome.input_id
        if not (self.again and ours):
            return outcome
        state = outcome.existing_state
        if state.policy is None:
            return outcome
        return Accepted(input_id=outcome.input_id, policy=state.policy, state=state)

    def refused(self, error: BaseException) -> None:
        """The shard has refused, or nobody knows what became of it."""
        if self.asks_again and self.handle is not None and type(error) in _GONE:
            settle(self.handle.set_result, terminated(_GONE[type(error)]))
        self.reply.fail(error)
        if self.feed is not None:
            self.feed.over(self)

    def ended(self, outcome: Any, error: BaseException | None) -> None:
        """The input has ended, or never began."""
        if self.handle is None:
            return
        if error is None:
            settle(self.handle.set_result, outcome)
        else:
            settle(self.handle.set_exception, error)

    def stopped(self) -> None:
        """The front door has stopped: whoever still waits is told."""
        self.reply.fail(ControlPlaneStopped())
        if self.handle is not None:
            settle(self.handle.set_result, terminated(TerminationReason.PLANE_STOPPED))
        if self.feed is not None:
            self.feed.end()

    def lost(self) -> None:
        """It was sent, and is not to be sent twice."""
        said = f"the shard ended while it carried out {self.name}"
        self.refused(CommitUnknown(said))

    def failed(self, error: BaseException) -> None:
        """Nothing more is heard of it: whoever waits for any part of it is told why."""
        self.reply.fail(error)
        self.ended(None, error)
        if self.feed is not None:
            self.feed.over(self)

    # --- for a shard that was started anew ----------------------------------------------

    def once_more(self) -> Errand:
        """The same call, to be sent to a shard that may have carried it out."""
        return evolve(self, again=True, number=-1, tell=None)

    def going_on(self) -> Errand | None:
        """What asks for the rest of what was answered; None when nothing is left to ask for."""
        if self.feed is not None:
            self.feed.started_anew(self)
            if self.feed.closed:
                return None
            return evolve(errand_of_feed(self.feed, self.runtime_id), resumes=True)
        if self.handle is None or self.handle.done() or self.handle.input_id is None:
            return None
        return errand_of_handle(self.handle, self.handle.runtime_id, self.handle.input_id)

    # --- for its feed -------------------------------------------------------------------

    def more(self, count: int) -> None:
        """There is room for as many."""
        if self.tell is not None:
            self.tell("more", self.number, count)

    def close(self) -> None:
        """Nobody reads it any more."""
        if self.tell is not None:
            self.tell("close_feed", self.number, 0)


def errand_of_feed(feed: FarFeed[Any], runtime_id: LogicalRuntimeId | None) -> Errand:
    """What asks a shard for events or notices, from where the feed is."""
    if feed.call == "watch":
        return Errand("watch", runtime_id, pack((runtime_id,)), Reply(), feed=feed)
    after = None if runtime_id is None else feed.after
    return Errand("subscribe", runtime_id, pack((runtime_id, after)), Reply(), feed=feed)


def errand_of_handle(
    handle: Handle, runtime_id: LogicalRuntimeId | None, input_id: InputId
) -> Errand:
    """What asks a shard for the end of an input that is awaited already."""
    reply: Reply[Any] = Reply()
    reply.give(handle)  # nobody waits for the answer: the handle was granted before
    return Errand("completion", runtime_id, pack((runtime_id, input_id)), reply, handle=handle)
