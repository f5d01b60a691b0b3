"""Ray door: every public call of a control plane as an errand to the shard of its runtime.

What can be refused without the shard is refused here: what is no runtime id, what no JSON can
carry, what is too much at once. The rest the shard says, in the control plane's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from actors import messages as m
from actors.clock import Clock
from actors.dead_letters import DeadLetters
from actors.door import Asked, Door, RuntimeName, Submission, checked_intents, input_id_of
from actors.executors import Executor, checked_executor
from actors.figures import Figures
from actors.life import Comings
from actors.ray.attached import Attached
from actors.ray.errand import Errand, errand_of_feed
from actors.ray.far_feeds import FarFeed
from actors.ray.sums import dead_letters_of_all, figures_of_all, supervision_of_all
from actors.ray.switchboard import Switchboard
from actors.ray.wire import pack
from actors.replies import Handle, Reply, refuse_deadlock, wait_for
from actors.run_watch import RunNow
from actors.subscriptions import Subscription
from actors.supervised import Supervised
from actors.watching import RuntimeWatch
from meerkat.admission import encode_input
from meerkat.bindings import SessionRuntimeBindings
from meerkat.events import RuntimeEventEnvelope
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, SessionId, as_runtime_id
from meerkat.input_lifecycle import AbandonCause, InputState
from meerkat.inputs import Input
from meerkat.limits import Limits
from meerkat.outcomes import AcceptOutcome, CompletionHandle
from meerkat.receipts import RunBoundaryReceipt
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    ResetReport,
    RetireReport,
    StopReport,
)
from meerkat.runs import InterruptMode
from meerkat.runtime_lifecycle import RuntimeState

LOOK_S: Final = 30.0
"""How long an answer of all shards is waited for, where the call has no ``timeout``."""


class RayDoor(Door):
    """The calls of one front door to shards. Thread-safe.

    ``dumps`` gives the bytes of an executor. With ``guarded`` a call whose answer would be
    waited for on a thread that brings answers is refused before it is made.
    """

    def __init__(
        self,
        life: Comings,
        board: Switchboard,
        *,
        clock: Clock,
        limits: Limits,
        dumps: Callable[[Any], bytes],
        attached: Attached,
        guarded: bool = True,
    ) -> None:
        super().__init__(life)
        self._board = board
        self._clock = clock
        self._limits = limits
        self._dumps = dumps
        self._attached = attached
        self._guarded = guarded

    @property
    def clock(self) -> Clock:
        """What its timeouts are measured by."""
        return self._clock

    @property
    def loop_is_missed(self) -> bool:
        """No loop of this process carries runs."""
        return False

    def without_waits(self) -> RayDoor:
        """The same calls for who waits for no answer on a thread."""
        return RayDoor(
            self._life,
            self._board,
            clock=self._clock,
            limits=self._limits,
            dumps=self._dumps,
            attached=self._attached,
            guarded=False,
        )

    # --- registering --------------------------------------------------------------------

    def register(self, runtime_id: RuntimeName) -> Asked[SessionRuntimeBindings]:
        """Make a runtime known, under a session of its own."""
        return self._far(runtime_id, "register")

    def prepare_bindings(self, session_id: SessionId) -> Asked[SessionRuntimeBindings]:
        """Make the runtime of a session known."""
        if not isinstance(session_id, SessionId):
            raise TypeError(f"a session id is a SessionId, not {type(session_id).__name__}")
        runtime_id = LogicalRuntimeId.for_session(session_id)
        return self._sent(Errand("prepare_bindings", runtime_id, pack((session_id,)), Reply()))

    def unregister(self, runtime_id: RuntimeName) -> Asked[None]:
        """Finish the run in hand, end the other handles, and forget the runtime."""
        return self._leaving(runtime_id, "unregister")

    # --- inputs -------------------------------------------------------------------------

    def ingest(self, runtime_id: RuntimeName, input: Input) -> Asked[AcceptOutcome]:  # noqa: A002
        """Offer an input."""
        self._refuse_deadlock("ingest")
        return self._offered("ingest", as_runtime_id(runtime_id), input, None)

    def submit(self, runtime_id: RuntimeName, input: Input) -> Submission:  # noqa: A002
        """Offer an input, with a handle on its end."""
        name = as_runtime_id(runtime_id)
        handle = Handle(None, name)
        asked = self._offered("submit", name, input, handle)
        return Submission(asked.reply, handle)

    def _offered(
        self, call: str, name: LogicalRuntimeId, offered: Input, handle: Handle | None
    ) -> Asked[AcceptOutcome]:
        encode_input(offered, self._limits.payload_bytes_max)  # what it refuses is not sent
        reply: Reply[AcceptOutcome] = Reply()
        reply.completion = handle
        arguments = pack((name, offered))
        self._board.calls.opened_within_limit(reply, name)
        self._send(Errand(call, name, arguments, reply, offered=offered, handle=handle))
        return Asked(call, name, reply)

    def redrive(
        self,
        runtime_id: RuntimeName,
        input_ids: tuple[InputId, ...] | None,
        after: str | None,
        causes: frozenset[AbandonCause],
    ) -> Asked[m.Redriven]:
        """Have inputs that were given up offered again: these, or the next few of all."""
        return self._far(runtime_id, "redrive", input_ids, after, causes)

    def completion(
        self, runtime_id: RuntimeName, input_id_or_outcome: InputId | AcceptOutcome
    ) -> Asked[CompletionHandle]:
        """Ask for a handle on an input's end."""
        name, input_id = as_runtime_id(runtime_id), input_id_of(input_id_or_outcome)
        self._refuse_deadlock("completion")
        handle = Handle(None, name, input_id)
        errand = Errand("completion", name, pack((name, input_id)), Reply(), handle=handle)
        return self._sent(errand)

    def input_state(self, runtime_id: RuntimeName, input_id: InputId) -> Asked[InputState | None]:
        """Ask for all that is known of an input."""
        return self._far(runtime_id, "input_state", input_id)

    def active_input_ids(self, runtime_id: RuntimeName) -> Asked[list[InputId]]:
        """Ask for the non-terminal inputs, in order of admission."""
        return self._far(runtime_id, "active_input_ids")

    # --- events -------------------------------------------------------------------------

    def publish_event(self, envelope: RuntimeEventEnvelope) -> Asked[None]:
        """Put a host's event in order with the rest."""
        self._refuse_deadlock("publish_event")
        packed = pack((envelope,))
        return self._sent(Errand("publish_event", envelope.runtime_id, packed, Reply()))

    def subscribe(self, runtime_id: RuntimeName, after: int | None) -> Asked[Subscription]:
        """Ask for the events of one runtime."""
        return self._one_feed(FarFeed("subscribe", as_runtime_id(runtime_id), after))

    def subscribe_to_all(self) -> Subscription:
        """Everybody's events, from when each shard knows of it."""
        feed, _ = self.feed_of_all("subscribe", LOOK_S)
        return cast("Subscription", feed)

    def watch(self, runtime_id: RuntimeName) -> Asked[RuntimeWatch]:
        """Ask to hear what becomes of a runtime's driver."""
        return self._one_feed(FarFeed("watch", as_runtime_id(runtime_id), None))

    def watch_all(self) -> RuntimeWatch:
        """Hear what becomes of every driver, from when each shard knows of it."""
        feed, _ = self.feed_of_all("watch", LOOK_S)
        return cast("RuntimeWatch", feed)

    def _one_feed(self, feed: FarFeed[Any]) -> Asked[Any]:
        self._refuse_deadlock(feed.call)
        return self._sent(errand_of_feed(feed, feed.runtime_id))

    def feed_of_all(self, call: str, timeout_s: float) -> tuple[FarFeed[Any], list[Reply[Any]]]:
        """A feed of all shards, and what each answers once it tells."""
        self._refuse_deadlock(call)
        feed: FarFeed[Any] = FarFeed(call, None, None)
        return feed, self._board.feed_each(feed, timeout_s)

    def dead_letters(self) -> DeadLetters:
        """What came too late so far."""
        return dead_letters_of_all(self._of_each("dead_letters"))

    # --- control ------------------------------------------------------------------------

    def retire(self, runtime_id: RuntimeName) -> Asked[RetireReport]:
        """Take no more input."""
        return self._far(runtime_id, "retire")

    def recycle(self, runtime_id: RuntimeName) -> Asked[RecycleReport]:
        """Start over with all pending work."""
        return self._far(runtime_id, "recycle")

    def reset(self, runtime_id: RuntimeName) -> Asked[ResetReport]:
        """Give everything up and begin a new epoch."""
        return self._far(runtime_id, "reset")

    def recover(self, runtime_id: RuntimeName) -> Asked[RecoveryReport]:
        """Put right what a crash left."""
        return self._far(runtime_id, "recover")

    def destroy(self, runtime_id: RuntimeName) -> Asked[DestroyReport]:
        """Give everything up, for good."""
        return self._leaving(runtime_id, "destroy")

    def stop_runtime(self, runtime_id: RuntimeName) -> Asked[StopReport]:
        """Call the executor's stop hook, then give everything up."""
        return self._far(runtime_id, "stop_runtime")

    def wake(self, runtime_id: RuntimeName) -> Asked[None]:
        """Work whatever waits."""
        return self._far(runtime_id, "wake")

    def pause(self, runtime_id: RuntimeName) -> Asked[None]:
        """Have no run started."""
        return self._far(runtime_id, "pause")

    def resume(self, runtime_id: RuntimeName) -> Asked[None]:
        """Have runs started again."""
        return self._far(runtime_id, "resume")

    def set_silent_intents(self, runtime_id: RuntimeName, intents: Iterable[str]) -> Asked[None]:
        """Replace the set of request intents that wake nobody."""
        return self._far(runtime_id, "set_silent_intents", checked_intents(intents))

    def attach_executor(self, runtime_id: RuntimeName, executor: Executor) -> Asked[None]:
        """Use another executor from the next run on; a shard started anew is given it again."""
        name, packed = as_runtime_id(runtime_id), self._dumps(checked_executor(executor))
        self._refuse_deadlock("attach_executor")
        return self._sent(self._attached.attaching(name, packed))

    def detach_executor(self, runtime_id: RuntimeName) -> Asked[None]:
        """Let what waits wait."""
        self._refuse_deadlock("detach_executor")
        return self._sent(self._attached.detaching(as_runtime_id(runtime_id)))

    def interrupt(self, runtime_id: RuntimeName, mode: InterruptMode | str) -> Asked[bool]:
        """Have the run in hand end."""
        return self._far(runtime_id, "interrupt", InterruptMode(mode))

    # --- looking ------------------------------------------------------------------------

    def runtime_state(self, runtime_id: RuntimeName) -> Asked[RuntimeState]:
        """Ask what the runtime is doing."""
        return self._far(runtime_id, "runtime_state")

    def executor_ready(self, runtime_id: RuntimeName) -> Asked[bool]:
        """Ask whether there is somebody to run what waits."""
        return self._far(runtime_id, "executor_ready")

    def load_boundary_receipt(
        self, runtime_id: RuntimeName, run_id: RunId, sequence: int
    ) -> Asked[RunBoundaryReceipt | None]:
        """Ask for the receipt of exactly this run and sequence."""
        return self._far(runtime_id, "load_boundary_receipt", run_id, sequence)

    def figures(self) -> Figures:
        """The shards in numbers, added up."""
        return figures_of_all(self._of_each("figures"))

    def runs_in_hand(self) -> tuple[RunNow, ...]:
        """The runs that are under way, shard by shard."""
        return tuple(run for runs in self._of_each("runs_in_hand") for run in runs)

    def supervision(self) -> Supervised:
        """What runs in each shard."""
        return supervision_of_all("shards", self._of_each("supervision"))

    # --- asking -------------------------------------------------------------------------

    def _far(self, runtime_id: RuntimeName, call: str, *arguments: Any) -> Asked[Any]:
        """The call of that name at the runtime's shard, with these arguments behind its id."""
        name = as_runtime_id(runtime_id)
        self._refuse_deadlock(call)
        return self._sent(Errand(call, name, pack((name, *arguments)), Reply()))

    def _leaving(self, runtime_id: RuntimeName, call: str) -> Asked[Any]:
        """The same, of a call behind which no executor is the runtime's any more."""
        name = as_runtime_id(runtime_id)
        self._refuse_deadlock(call)
        return self._sent(self._attached.leaving(call, name))

    def _sent(self, errand: Errand) -> Asked[Any]:
        name = cast("LogicalRuntimeId", errand.runtime_id)
        self._board.calls.opened(errand.reply, name)
        self._send(errand)
        return Asked(errand.name, name, errand.reply)

    def _send(self, errand: Errand) -> None:
        """Send it; what prevents that is raised, and the call takes no place any more."""
        try:
            self._board.send(errand)
        except BaseException as error:
            errand.refused(error)
            raise

    def _of_each(self, name: str) -> list[Any]:
        self._refuse_deadlock(name)
        replies = self._board.to_each(name, pack(()), LOOK_S)
        return [wait_for(reply, name, LOOK_S) for reply in replies]

    def _refuse_deadlock(self, call: str) -> None:
        if self._guarded:
            refuse_deadlock(call)
