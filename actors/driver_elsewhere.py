"""What a driver does for a runtime that another process has, in a store that several share.

It has no memory of it and takes none: inputs are offered to who has the runtime, what can be
read is read from the store, and everything else raises OwnedElsewhere, which names the owner.
A driver whose commit is refused because of another process asks everything anew that it had
not answered; then its runtime is elsewhere, or it is loaded again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from actors import messages as m
from actors.logs import Fields, say
from actors.offers import Offer
from actors.replies import Handle, settle
from actors.watching import NoticeKind
from meerkat import kernel
from meerkat.admission import reject_reason
from meerkat.bindings import SessionRuntimeBindings
from meerkat.epoch import EpochCursorState
from meerkat.errors import (
    Fenced,
    InputNotFound,
    InputValidationFailed,
    InternalError,
    MeerkatError,
    OwnedElsewhere,
    RuntimeDestroyed,
    RuntimeNotFound,
)
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.inputs import Durability, Input
from meerkat.loading import load_memory
from meerkat.operations_registry import OpsLifecycleRegistry
from meerkat.outcomes import (
    Accepted,
    AcceptOutcome,
    CompletionHandle,
    Deduplicated,
    Rejected,
    TerminationReason,
)
from meerkat.policy import ask
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import InputRow, RuntimeRow

if TYPE_CHECKING:
    from actors.driver import DriverActor
    from actors.sharing import SharedWork

logger = logging.getLogger(__name__)


def answer(driver: DriverActor, message: Any, error: OwnedElsewhere) -> None:
    """Answer a message for a runtime that is elsewhere, in turn with what came before it."""
    perform = _ANSWERS.get(type(message), _refuse)
    try:
        perform(driver, message, error)
    except MeerkatError as refused:
        driver.answer_refused(message, refused)


def _refuse(_driver: DriverActor, _message: Any, error: OwnedElsewhere) -> None:
    raise error


# --- inputs -----------------------------------------------------------------------------


def _offer(driver: DriverActor, message: m.Accept, error: OwnedElsewhere) -> None:
    """Have an input stored for who has the runtime. One that is never stored cannot be."""
    offered, system = message.input, driver.system
    if offered.durability is Durability.EPHEMERAL:
        raise error
    reason = reject_reason(offered)
    if reason is not None:
        if message.reply.completion is not None:
            settle(message.reply.completion.set_exception, InputValidationFailed(str(reason)))
        now = system.clock.now()
        driver.ticket.answered(now, message.reply, lambda: Rejected(reason=reason))
        return
    decision = ask(system.rules.policy, offered, running=False)
    state = evolve(InputState.of(offered, system.clock.now()), policy=decision)
    row = InputRow(state, message.payload)

    def told(outcome: AcceptOutcome | BaseException) -> None:
        if isinstance(outcome, BaseException):
            message.reply.fail(outcome)
            return
        match message.reply.completion, outcome:
            case None, _:
                pass
            case handle, Accepted(state=known) | Deduplicated(existing_state=known):
                _watch_until_ended(driver, known, handle)
        system.counts.offered_elsewhere()
        message.reply.give(outcome)

    _sharing(driver).offers.put(Offer(driver.runtime_id, row, told))


def _watch_until_ended(driver: DriverActor, state: InputState, handle: CompletionHandle) -> None:
    if driver.system.completions.watch_until_ended(driver.runtime_id, state, handle):
        _sharing(driver).watch(driver.runtime_id, state.input_id)


def _watch(driver: DriverActor, message: m.Watch, _error: OwnedElsewhere) -> None:
    state = driver.system.store.load_input(driver.runtime_id, message.input_id)
    if state is None:
        raise InputNotFound(message.input_id)
    handle = Handle(driver.system.waits, driver.runtime_id, state.input_id)
    _watch_until_ended(driver, state, handle)
    driver.ticket.answered(driver.system.clock.now(), message.reply, lambda: handle)


# --- reading ----------------------------------------------------------------------------


def _query(driver: DriverActor, message: m.Query, _error: OwnedElsewhere) -> None:
    """Look at the runtime as it is stored: what its owner has committed last."""
    store, rules = driver.system.store, driver.system.rules
    attached = driver.system.executor is not None
    memory = load_memory(store, _row(driver), rules, executor_attached=attached)
    states = memory.ledger.active()
    run_id = next((each.last_run_id for each in states if each.phase is InputPhase.STAGED), None)
    if run_id is not None:
        memory.head = evolve(memory.head, phase=memory.head.phase.begin_run(run_id))
    value = message.read(memory, store)
    driver.ticket.answered(driver.system.clock.now(), message.reply, lambda: value)


def _row(driver: DriverActor) -> RuntimeRow:
    row = driver.system.store.load_runtime(driver.runtime_id)
    if row is None or not row.registered:
        raise RuntimeNotFound(driver.runtime_id)
    return row


def _bindings(driver: DriverActor, message: m.RegisterRuntime, error: OwnedElsewhere) -> None:
    """Say whose session it is. Its operations are its owner's: the registry takes none."""
    row = _row(driver)
    if row.state is RuntimeState.DESTROYED:
        raise RuntimeDestroyed
    if row.session_id is None or row.epoch_id is None:
        raise error
    registry, cursors = OpsLifecycleRegistry(now=driver.system.clock.now), EpochCursorState()
    registry.terminate_owner(str(error))
    cursors.advance_through(row.cursors)
    found = SessionRuntimeBindings(
        session_id=row.session_id,
        epoch_id=row.epoch_id,
        ops_lifecycle=registry,
        cursor_state=cursors,
    )
    driver.ticket.answered(driver.system.clock.now(), message.reply, lambda: found)


_ANSWERS: Final[Mapping[type, Callable[[DriverActor, Any, OwnedElsewhere], None]]] = {
    m.Accept: _offer,
    m.Watch: _watch,
    m.Query: _query,
    m.RegisterRuntime: _bindings,
}


# --- losing it --------------------------------------------------------------------------


def asks_again(driver: DriverActor, error: MeerkatError) -> bool:
    """Have everything that is not durable asked anew, if another process is what refused it.

    False where that is not so. Nothing of it has happened; a run's calls are refused.
    """
    if driver.system.sharing is None or not isinstance(error, Fenced):
        return False
    steps = [step for ticket in driver.tickets() for step in ticket.steps]
    replies = [step.reply for step in steps if step.reply and not step.reply.done()]
    again = [reply.message for reply in replies if reply.message is not None]
    for reply in replies:
        if reply.message is None:
            reply.fail(error)
    driver.drop_tickets()
    driver.stash = [*again, *(driver.stash or ())]
    return True


def leave_to(driver: DriverActor, error: Fenced) -> None:
    """Another process has the runtime, or has had it: from now on the store ends its handles."""
    system, runtime_id = driver.system, driver.runtime_id
    if driver.claimed and isinstance(error, OwnedElsewhere):
        fields = Fields(runtime_id=runtime_id, owner=error.owner)
        say(
            logger,
            logging.WARNING,
            "runtime %s: %s has taken it over",
            runtime_id,
            error.owner,
            **fields,
        )
        system.counts.taken_over()
        reason = f"{TerminationReason.TAKEN_OVER} by {error.owner}"
        system.watchers.tell(runtime_id, NoticeKind.ENDED, reason)
    driver.claimed = False
    _sharing(driver).watch_all(runtime_id)
    if isinstance(error, OwnedElsewhere):
        _sharing(driver).believe(runtime_id, error.owner)  # what comes now goes there at once
    else:
        driver.tell(m.Resume())  # it may be nobody's again


def is_elsewhere(driver: DriverActor, error: MeerkatError) -> bool:
    """Was the runtime not loaded because another process has it? Then its handles wait on."""
    if not isinstance(error, OwnedElsewhere):
        return False
    _sharing(driver).watch_all(driver.runtime_id)
    return True


def _sharing(driver: DriverActor) -> SharedWork:
    sharing = driver.system.sharing
    if sharing is None:
        raise InternalError("only a store that is shared has runtimes elsewhere")
    return sharing


# --- what was offered here --------------------------------------------------------------


def before_accepting(driver: DriverActor, offered: Input) -> None:
    """What was offered elsewhere before an input comes before it. OwnedElsewhere: so does it."""
    _sharing(driver).refuse_to_overtake(driver.runtime_id)
    if not driver.has_looked_for(offered):
        take_in(driver)


def take_in(driver: DriverActor) -> None:
    """Take in what other processes have offered, as if it were offered here."""
    memory = driver.present()
    for state in _sharing(driver).store.load_offered(driver.runtime_id):
        if memory.ledger.get(state.input_id) is None:
            driver.system.standing.with_inputs.add(driver)
            driver.decide(kernel.TakeIn(state))
