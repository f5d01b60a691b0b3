"""Driver: the actor that owns one runtime. Decide, commit, release.

A message is decided by the kernel and taken into memory at once; its changes go to the
journal, and what it lets out (answers, events, executor calls, ended handles) waits in a
ticket until they are durable. While one ticket is on its way the next one fills.

A driver never goes on from a commit that failed: it drops its memory and loads the runtime
from the store, which is the way every crash takes; see ``driver_restart``. What each message
means is in ``driver_messages``, what is let out in ``driver_release``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import pykka
from attrs import evolve

from actors import (
    driver_elsewhere,
    driver_messages,
    driver_next,
    driver_release,
    driver_rest,
    driver_restart,
    driver_runs,
)
from actors import messages as m
from actors.driver_loading import load
from actors.executors import Executor
from actors.journal import Entry
from actors.logs import say
from actors.pool import PooledActor
from actors.replies import Reply
from actors.restarts import RestartCount
from actors.seat import Seat
from actors.system import System
from actors.threaded import ThreadedActor
from actors.ticket import Answer, Ticket
from actors.watching import NoticeKind
from meerkat import kernel
from meerkat.errors import (
    ControlPlaneStopped,
    Fenced,
    InternalError,
    MeerkatError,
    Overloaded,
    OwnedElsewhere,
    RecoveryCorruption,
    RunCancelled,
    RuntimeNotFound,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import InputId, LogicalRuntimeId, RuntimeEventId
from meerkat.input_lifecycle import InputState
from meerkat.inputs import Input
from meerkat.kernel import RuntimeHead, RuntimeMemory, Transition
from meerkat.loading import KnownInputs, known_input
from meerkat.policy import Lane
from meerkat.reports import RecoveryReport
from meerkat.store import Batch

logger = logging.getLogger(__name__)

_NO_HEAD: Final = RuntimeHead()
_NONE_HELD: Final[Mapping[Lane, int]] = {}
_NONE_TOLD: Final[Mapping[RuntimeEventId, None]] = {}


class DriverActor(PooledActor):
    """Owns one runtime: its ledger, its run in hand, its place in the store."""

    __slots__ = (
        "_failures",
        "_hold",
        "_known",
        "_ticket",
        "claimed",
        "coming_back",
        "cut_short",
        "doomed",
        "entry",
        "epochs_ending",
        "executor",
        "feed_moved",
        "fence",
        "held_off",
        "holds",
        "host_events",
        "in_flight",
        "load_report",
        "memory",
        "quiesce",
        "restarts",
        "resting",
        "runtime_id",
        "seat",
        "stash",
        "stopping",
        "system",
        "unavailable",
        "unregistering",
    )

    def __init__(self, system: System, runtime_id: LogicalRuntimeId) -> None:
        super().__init__(system.pool)
        self.system = system
        self.runtime_id = runtime_id
        self.executor: Executor | None = system.executor
        self.seat = Seat(system, runtime_id, self.tell)
        self._ticket: Ticket | None = None
        self.unavailable: MeerkatError | None = None
        self.quiesce: m.Quiesce | None = None
        # Most runtimes never have any of these: replaced, not added to, so that none is shared.
        self.holds: Mapping[Lane, int] = _NONE_HELD
        self.unregistering: tuple[Reply[None], ...] = ()
        self.coming_back: tuple[m.RegisterRuntime, ...] = ()
        self.stopping: tuple[Reply[Any], ...] = ()
        self.stash: list[Any] | None = None
        self.restarts: RestartCount | None = None
        self.resting = False
        self.cut_short = False
        self.feed_moved = False
        self.epochs_ending = 0
        self.load_report: RecoveryReport | None = None
        self.host_events = _NONE_TOLD  # what a memory that is gone had told
        self.memory: RuntimeMemory | None = None
        self._known: KnownInputs | None = None
        self.fence = 0
        self.claimed = False
        self.in_flight: Ticket | None = None
        self.entry: Entry | None = None  # its batch, on the way to the disk
        self.doomed: MeerkatError | None = None
        self._failures = 0
        self.held_off = False
        self._hold = 0

    # --- the mailbox --------------------------------------------------------------------

    def on_receive(self, message: Any) -> None:
        """Handle one message, then go on as far as possible."""
        if self.resting:
            self.system.directory.wakes(self)
        if isinstance(message, m.Landed):
            self._landed(message)
        elif self.doomed is not None:
            self.stash = self.stash or []
            self.stash.append(message)
        else:
            try:
                driver_messages.handle(self, message)
            except OwnedElsewhere as error:
                driver_elsewhere.answer(self, message, error)
            except MeerkatError as error:
                self.answer_refused(message, error)
        self._advance()

    def on_message_failed(self, message: Any, error: BaseException) -> None:
        """A defect: answer the caller, drop the memory, go on from the store."""
        driver_restart.on_defect(self, message, error)
        self._advance()

    def on_dead_letter(self, message: Any) -> None:
        """Hand on what came after the end: another driver, or another runtime, takes it."""
        match message:
            case m.FrontDoorMessage() | m.StopHookReturned():
                self._hand_on(message)
            case m.OperationBegan() | m.OperationMoved():
                self._hand_on(message)
            case m.RunCall(reply=reply):
                reply.fail(RunCancelled())  # its runtime has gone
            case m.SlotGranted():
                self.system.slots.give_back(self.seat)
            case m.RunEnded() if driver_runs.said_of_late(message) is not None:
                self._hand_on(message)
            case m.Quiesce():
                message.quiet(self.runtime_id)
            case _:
                self.system.dead_letters.put(self.runtime_id, message)

    def _hand_on(self, message: Any) -> None:
        try:
            self.system.directory.deliver_anew(self.runtime_id, message)
        except (Overloaded, ControlPlaneStopped) as error:
            message.reply.fail(error)

    @property
    def is_aside(self) -> bool:
        """Was the runtime given up, until somebody acts?"""
        return isinstance(self.unavailable, RuntimeUnavailable)

    @property
    def is_vacant(self) -> bool:
        """Does it drive nothing just now, for no other reason than that nothing is asked of it?"""
        kept = self.held_off or self.doomed is not None or self.unavailable is not None
        return self.memory is None and not kept

    def set_unavailable(self, error: MeerkatError) -> None:
        """From now on the runtime's calls raise this, until somebody acts."""
        self.unavailable = error
        self.system.standing.refusing.add(self)

    def leave_behind(self) -> None:
        """It has ended: see to what it knows. Called once, by whoever ends it."""
        driver_rest.leave_behind(self)

    def tell(self, message: Any) -> None:
        """Put a message in the own mailbox, from any thread and at any time."""
        try:
            self.actor_ref.tell(message)
        except pykka.ActorDeadError:
            self.on_dead_letter(message)

    def answer_refused(self, message: Any, error: MeerkatError) -> None:
        """Answer with an error, in turn with everything that was decided before."""
        reply = getattr(message, "reply", None)
        if reply is not None:
            self.ticket.answered(self.system.clock.now(), reply, error=error)

    @property
    def ticket(self) -> Ticket:
        """What was decided since the last ticket left; a runtime at rest has none."""
        if self._ticket is None:
            self._ticket = Ticket(_NO_HEAD if self.memory is None else self.memory.head)
        return self._ticket

    def before_turn(self, mail: Sequence[Any]) -> None:
        """Ask the store about all inputs at once that are offered in this turn.

        The answer holds until an input ends, and is known to the store alone.
        """
        offered = [each.input for each in mail if type(each) is m.Accept]
        if len(offered) > 1 and self.memory is not None:
            with suppress(StoreError, RecoveryCorruption):  # who asks for its own is answered
                if self.system.sharing is not None:
                    self.handle_next(m.TakeOffered())
                self._known = KnownInputs(self.system.store, self.runtime_id, offered)

    def has_looked_for(self, offered: Input) -> bool:
        """Has the store been asked about an input, with the others of this turn?"""
        return self._known is not None and offered in self._known

    def known(self, offered: Input) -> InputState | None:
        """What the store remembers of an offered input; StoreError, RecoveryCorruption."""
        if self._known is not None and offered in self._known:
            return self._known.of(offered)
        return known_input(self.system.store, self.runtime_id, offered)

    # --- deciding -----------------------------------------------------------------------

    def decide(
        self,
        command: kernel.Command,
        reply: Reply[Any] | None = None,
        answer: Callable[[Transition], Answer] | None = None,
    ) -> Transition:
        """Decide one command and take it into memory; its effects wait for the commit."""
        memory, now = self.loaded(), self.system.clock.now()
        transition = kernel.decide(memory, command, now)
        ticket = self.ticket  # which is to know what the memory was before
        memory.apply(transition)
        ticket.decided(transition, now, reply, answer(transition) if answer else None)
        reached(FailPoint.COMMAND_DECIDED)
        return transition

    def loaded(self) -> RuntimeMemory:
        """The runtime's memory, loaded if need be; what makes it unavailable is raised."""
        if self.unavailable is not None:
            raise _anew(self.unavailable)
        if self.memory is None:
            try:
                self.memory = self._load()
            except RecoveryCorruption as error:
                self.set_unavailable(error)
                self.system.watchers.tell(self.runtime_id, NoticeKind.SET_ASIDE, str(error))
                raise
        return self.memory

    def registered(self) -> RuntimeMemory:
        """The memory of a runtime that is registered and stays so; else RuntimeNotFound."""
        memory = self.present()
        if self.unregistering:
            raise RuntimeNotFound(self.runtime_id)
        return memory

    def present(self) -> RuntimeMemory:
        """The same, of one that is about to be unregistered too."""
        memory = self.loaded()
        if not memory.head.registered:
            raise RuntimeNotFound(self.runtime_id)
        return memory

    def _load(self) -> RuntimeMemory:
        """Take up the runtime as the store has it; nothing changes when that fails.

        OwnedElsewhere when another process has it, in a store that several share.
        """
        sharing = self.system.sharing
        if sharing is not None:
            sharing.refuse_elsewhere(self.runtime_id)
        note = self.system.notes.of(self.runtime_id)
        if note is not None:
            self.executor = note.executor
        attached = self.executor is not None
        loaded = load(self.system, self.runtime_id, note, attached=attached)
        self.system.notes.drop(self.runtime_id)
        loaded.memory.host_events.update(self.host_events)
        self.host_events = _NONE_TOLD
        self.fence, self.claimed = loaded.fence, False
        self._ticket = Ticket(loaded.head, self.ticket.steps)
        self.system.events.begin(self.runtime_id, loaded.fence)
        self.seat.note_all(loaded.memory.ledger.active())
        if sharing is not None:
            sharing.at_rest.discard(self.runtime_id)
            self.handle_next(m.TakeOffered())
        self.feed_moved = True
        if loaded.recovery is not None:
            self.ticket.decided(loaded.recovery, loaded.at)
            self.load_report = cast("RecoveryReport", loaded.recovery.reply)
        if loaded.memory.ledger.active_count:
            self.system.standing.with_inputs.add(self)
        for input_id, outcome in loaded.lost:
            self.system.completions.resolve(self.runtime_id, input_id, outcome)
        if logger.isEnabledFor(logging.DEBUG):
            inputs, said = loaded.memory.ledger.active_count, "runtime %s: loaded, inputs %d"
            name = self.runtime_id
            say(logger, logging.DEBUG, said, name, inputs, runtime_id=name, inputs=inputs)
        return loaded.memory

    # --- committing ---------------------------------------------------------------------

    def _advance(self) -> None:
        """Start what can start, send what waits, and say so when nothing is under way."""
        if self.memory is not None and self.doomed is None:
            driver_next.advance(self, self.memory)
        self._flush()
        if not self.is_busy:
            driver_next.forget(self)
            if not self.has_mail:
                self._known = None  # who is at rest keeps nothing of what was asked
            driver_next.say_quiet(self)
            driver_next.try_leave(self)

    @property
    def is_busy(self) -> bool:
        """Is anything that was decided not let out yet?"""
        waits = self._ticket is not None and bool(self._ticket.steps)
        return self.in_flight is not None or waits or self.doomed is not None

    def _flush(self) -> None:
        """Send the ticket if nothing is on its way; one that writes nothing leaves at once."""
        if self.in_flight is not None or self.doomed is not None:
            return
        ticket, memory = self._ticket, self.memory
        if ticket is None or not ticket.steps:
            self._ticket = None
            return
        if memory is not None:
            self._note_cursors(memory, ticket)
            if ticket.commit.writes or (not self.claimed and self._is_to_claim(ticket)):
                self.send(ticket, ticket.commit.batch(self.runtime_id, self.fence))
                return
        self._let_out(ticket)

    def _is_to_claim(self, ticket: Ticket) -> bool:
        """Is a runtime that was loaded to be claimed, though there is nothing to write?

        Its events take the numbers of the claim. And where several processes have the store,
        nobody is told what was read before a commit shows that it was this one's to read.
        """
        if self.system.sharing is None or self.memory is None:
            return ticket.commit.tells
        return ticket.commit.tells or (self.memory.head.registered and self.fence > 0)

    def _note_cursors(self, memory: RuntimeMemory, ticket: Ticket) -> None:
        """How far the agent was shown the feed rides on the runtime's next commit.

        The other two cursors are the driver's own, and shown to whoever holds the bindings.
        """
        cursors = self.system.bindings.cursors(self.runtime_id, memory.head)
        if cursors.agent_applied_cursor > memory.head.cursors.agent_applied_cursor:
            applied = cursors.agent_applied_cursor
            cursors = evolve(memory.head.cursors, agent_applied_cursor=applied)
            memory.head = evolve(memory.head, cursors=cursors)
            ticket.commit.ride(memory.head)

    def send(self, ticket: Ticket, batch: Batch) -> None:
        """Have a ticket's batch written; ``Landed`` says what became of it."""
        self.entry = Entry(self.runtime_id, batch, lambda error: self.tell(m.Landed(ticket, error)))
        self.in_flight = ticket
        self._ticket = None
        reached(FailPoint.TICKET_LEAVES)
        self.system.journal.submit(self.entry)

    @property
    def is_taken(self) -> bool:
        """Will the journal tell what becomes of the ticket in flight?"""
        return self.entry is not None and self.system.journal.has(self.entry)

    def _landed(self, message: m.Landed) -> None:
        ticket = self.in_flight
        if ticket is None or ticket is not message.ticket:
            return
        if message.error is not None:
            if not driver_elsewhere.asks_again(self, message.error):
                ticket.fail(message.error)
            self.in_flight = self.entry = None
            driver_restart.begin_anew(self, message.error)
            return
        self.fence, self.claimed = self.fence + 1, True
        self.system.events.claimed(self.runtime_id, self.fence)
        reached(FailPoint.TICKET_LANDED)
        if ticket.commit.proves:
            self._failures = 0
        self._let_out(ticket)

    def _let_out(self, ticket: Ticket) -> None:
        """Let a durable ticket out. What it cannot let out is made good by beginning anew."""
        error = driver_release.release(self, ticket)
        reached(FailPoint.TICKET_LET_OUT)
        if self.in_flight is ticket:
            self.in_flight = self.entry = None
        else:
            self._ticket = None
        if error is not None:
            said = InternalError(f"{type(error).__name__} while letting out what had landed")
            said.__cause__ = error
            driver_restart.begin_anew(self, said)
        elif self.doomed is not None:
            driver_restart.begin_anew(self, self.doomed)

    def tickets(self) -> tuple[Ticket, ...]:
        """What was decided and is not known to be on disk."""
        found = (self.in_flight, self._ticket)
        return tuple(each for each in found if each is not None)

    def drop_tickets(self) -> None:
        """Nothing of it will be on disk."""
        self.in_flight = self.entry = self._ticket = None

    def drop_memory(self) -> None:
        """From now on the store alone knows the runtime."""
        self.memory = self._known = None
        self.system.standing.with_inputs.discard(self)

    def next_delay_s(self) -> float:
        """How long to wait after one more failure of the store; a run that lands starts over."""
        self._failures += 1
        return self.system.rules.backoff.delay_s(self._failures, self.system.clock.jitter())

    # --- told by what is let out --------------------------------------------------------

    def hold(self, lane: Lane) -> int:
        """A lane waits for its retry; gives the number that its end is to name."""
        self._hold += 1
        self.holds = {**self.holds, lane: self._hold}
        return self._hold

    def has_ended(self, input_id: InputId) -> None:
        """An input has ended, durably: from now on the store answers for it."""
        if self.memory is not None:
            self.memory.ledger.forget(input_id)
            self._known = None

    def ending_epoch(self, reply: Reply[Any], reason: str) -> Reply[Any]:
        """A reply in the place of the caller's, who is answered once the registry is retired.

        Elsewhere: the ends of its operations are recorded here, so this driver stays for them.
        """
        decided: Reply[Any] = Reply()
        epoch_id = self.loaded().head.epoch_id

        def settled(decided: Any) -> None:
            error = decided.exception()
            if error is not None:
                reply.fail(error)
                return

            def retired() -> None:
                reply.give(decided.result())
                self.tell(m.EpochRetired())

            self.epochs_ending += 1
            self.system.bindings.end(self.runtime_id, epoch_id, reason, retired)

        decided.add_done_callback(settled)
        return decided


class ThreadedDriverActor(DriverActor, ThreadedActor):
    """The same on a thread of its own."""


def _anew(error: MeerkatError) -> MeerkatError:
    """The same refusal again: one that is raised twice drags both callers' frames along."""
    said: MeerkatError
    match error:
        case RecoveryCorruption(reason=reason):
            said = RecoveryCorruption(reason)
        case Fenced(runtime_id=runtime_id):
            said = Fenced(runtime_id)
        case RuntimeUnavailable(runtime_id=runtime_id, reason=reason):
            said = RuntimeUnavailable(runtime_id, reason)
        case _:
            said = StoreError(str(error))
    return said
