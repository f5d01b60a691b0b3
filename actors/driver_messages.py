"""What each message means to a driver, as a table from message to handler.

A handler decides through the driver and returns; it raises what is to be answered with an
error. Nothing here touches the journal.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from actors import driver_restart
from actors import messages as m
from actors.driver_elsewhere import before_accepting, take_in
from actors.driver_redrive import redrive
from actors.driver_runs import RUN_HANDLERS
from actors.logs import about, without_text
from actors.replies import Handle, Reply, settle
from actors.watching import NoticeKind, RuntimeWatch
from meerkat import kernel
from meerkat.errors import (
    Fenced,
    InputNotFound,
    InputValidationFailed,
    MeerkatError,
    Overloaded,
    OwnedElsewhere,
    RuntimeDestroyed,
    RuntimeNotFound,
    StoreError,
)
from meerkat.events import EventCode
from meerkat.input_lifecycle import InputState
from meerkat.loading import recovery_of
from meerkat.outcomes import (
    Accepted,
    AcceptOutcome,
    CompletionHandle,
    Deduplicated,
    Rejected,
    TerminationReason,
)
from meerkat.runtime_lifecycle import RuntimeState, RuntimeStep

if TYPE_CHECKING:
    from actors.driver import DriverActor

logger = logging.getLogger(__name__)

_FOR_ALL_INPUTS: Final = (
    kernel.Wake,
    kernel.Retire,
    kernel.Recycle,
    kernel.Stop,
    kernel.Destroy,
)
"""Commands about every input there is: what was offered elsewhere before them is among those."""


def handle(driver: DriverActor, message: Any) -> None:
    """Carry one message out."""
    _HANDLERS[type(message)](driver, message)


# --- inputs -----------------------------------------------------------------------------


def _accept(driver: DriverActor, message: m.Accept) -> None:
    memory = driver.registered()
    offered, known = message.input, None
    if driver.system.sharing is not None:
        before_accepting(driver, offered)
    in_memory = memory.ledger.get_by_key(offered.idempotency_key) or memory.ledger.get(offered.id)
    if memory.head.phase.admits and in_memory is None:
        known = driver.known(offered)
    command = kernel.AcceptInput(offered, message.payload, known)

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        return lambda: _answered(driver, message.reply, transition.reply)

    try:
        driver.decide(command, message.reply, answer)
    except Overloaded:
        driver.system.counts.overload()
        raise


def _answered(driver: DriverActor, reply: Reply[AcceptOutcome], outcome: Any) -> Any:
    """Tie the caller's handle to the input it was taken in as, then answer."""
    _count_answer(driver, reply, type(outcome))
    handle = reply.completion
    match outcome:
        case _ if handle is None:
            pass
        case Accepted(state=state) | Deduplicated(existing_state=state):
            _watch_until_ended(driver, state, handle)
        case Rejected(reason=reason):
            settle(handle.set_exception, InputValidationFailed(str(reason)))
    return outcome


def _count_answer(
    driver: DriverActor, reply: Reply[AcceptOutcome], kind: type[AcceptOutcome]
) -> None:
    counts, clock, arrived = driver.system.counts, driver.system.clock, reply.arrived
    if kind is not Accepted or arrived is None:
        counts.answer(kind)
        return
    try:
        waited_s = clock.monotonic() - arrived
    except Exception as error:  # the host's; its caller is answered all the same
        logger.exception("a clock failed", exc_info=without_text(error))
        waited_s = 0.0
    counts.accept_to_durable_s.see(waited_s)


def _watch_until_ended(
    driver: DriverActor, state: InputState, handle: CompletionHandle
) -> CompletionHandle:
    driver.system.completions.watch_until_ended(driver.runtime_id, state, handle)
    return handle


def _watch(driver: DriverActor, message: m.Watch) -> None:
    memory = driver.registered()
    state = memory.ledger.get(message.input_id) or driver.system.store.load_input(
        driver.runtime_id, message.input_id
    )
    if state is None:
        raise InputNotFound(message.input_id)
    found, handle = state, Handle(driver.system.waits, driver.runtime_id, state.input_id)
    driver.ticket.answered(
        driver.system.clock.now(),
        message.reply,
        lambda: _watch_until_ended(driver, found, handle),
    )


def _query(driver: DriverActor, message: m.Query) -> None:
    value = message.read(driver.registered(), driver.system.store)
    driver.ticket.answered(driver.system.clock.now(), message.reply, lambda: value)


def _subscribe(driver: DriverActor, message: m.Subscribe) -> None:
    """In the driver's turn: a runtime that is loaded has numbers to go on from."""
    driver.registered()
    events, runtime_id = driver.system.events, driver.runtime_id
    driver.ticket.answered(
        driver.system.clock.now(),
        message.reply,
        lambda: events.subscribe(runtime_id, message.after),
    )


def _watch_runtime(driver: DriverActor, message: m.WatchRuntime) -> None:
    """Hear of the driver, first that it is set aside or has ended if that is how things stand."""
    watchers, runtime_id, stands = driver.system.watchers, driver.runtime_id, None
    try:
        memory = driver.registered()
    except OwnedElsewhere:
        raise
    except Fenced:
        stands = (NoticeKind.ENDED, str(TerminationReason.TAKEN_OVER))
    except (RuntimeNotFound, StoreError):
        raise
    except MeerkatError as error:
        stands = (NoticeKind.SET_ASIDE, getattr(error, "reason", str(error)))
    else:
        if memory.head.phase.state is RuntimeState.DESTROYED:
            stands = (NoticeKind.ENDED, str(TerminationReason.DESTROYED))

    def answer() -> RuntimeWatch:
        return watchers.watch(runtime_id, *(stands or ()))

    driver.ticket.answered(driver.system.clock.now(), message.reply, answer)


# --- control ----------------------------------------------------------------------------


def _call(driver: DriverActor, message: m.Call) -> None:
    if isinstance(message.command, kernel.Stop | kernel.Destroy):
        driver.present()  # also when it waits for a run to unregister: this is the way out
    else:
        driver.registered()
    if driver.system.sharing is not None and isinstance(message.command, _FOR_ALL_INPUTS):
        take_in(driver)
    reply = message.reply
    if isinstance(message.command, kernel.Destroy):
        reply = driver.ending_epoch(reply, "runtime destroyed")
    driver.decide(message.command, reply)


def _reset(driver: DriverActor, message: m.ResetRuntime) -> None:
    driver.registered()
    if driver.system.sharing is not None:
        take_in(driver)
    reply = driver.ending_epoch(message.reply, "runtime reset")
    driver.decide(kernel.Reset(message.epoch_id), reply)


def _recover(driver: DriverActor, message: m.RecoverRuntime) -> None:
    """Recover in place; a runtime that is unavailable is loaded again first."""
    loaded_now = driver_restart.bring_back(driver)
    memory = driver.registered()

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        return lambda: loaded_now or transition.reply

    driver.decide(recovery_of(driver.system.store, memory), message.reply, answer)


def _register(driver: DriverActor, message: m.RegisterRuntime) -> None:
    head, bindings = driver.loaded().head, driver.system.bindings
    if driver.unregistering and (head.registered or driver.is_busy):
        driver.coming_back = (*driver.coming_back, message)
        return
    driver.unregistering = ()
    destroyed = head.phase.state is RuntimeState.DESTROYED
    if head.registered and head.feed_watermark and not destroyed:
        bindings.of(driver.runtime_id, head)  # may have to read, which is done before answering

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        return lambda: bindings.of(driver.runtime_id, transition.head)

    driver.decide(message.command, message.reply, answer)
    if driver.system.sharing is not None and not head.registered:
        driver.handle_next(m.TakeOffered())


def _unregister(driver: DriverActor, message: m.UnregisterRuntime) -> None:
    head = driver.loaded().head
    if head.registered and head.phase.state is RuntimeState.DESTROYED:
        raise RuntimeDestroyed
    if head.registered:
        driver.unregistering = (*driver.unregistering, message.reply)
    elif driver.unregistering and not driver.unregistering[0].done():
        driver.unregistering[0].pass_on(message.reply)  # decided already: join
    else:
        raise RuntimeNotFound(driver.runtime_id)


def _stop(driver: DriverActor, message: m.StopRuntime) -> None:
    """Call the stop hook off the mailbox; the runtime stops when it has returned."""
    phase = driver.present().head.phase
    hook = getattr(driver.executor, "stop", None)
    needless = phase.state is RuntimeState.STOPPED or not phase.allows(RuntimeStep.STOP)
    if needless or not callable(hook):
        driver.decide(kernel.Stop(), message.reply)
        return
    driver.stopping = (*driver.stopping, message.reply)
    if len(driver.stopping) > 1:
        return  # the hook is being called: this stop joins the first one
    tell, system, runtime_id = driver.tell, driver.system, driver.runtime_id

    def call_hook() -> None:
        try:
            returned = hook(runtime_id)
            if inspect.iscoroutine(returned):
                system.loop.perform(returned)
        except BaseException as error:
            logger.exception(
                "runtime %s: the executor's stop hook failed",
                runtime_id,
                exc_info=without_text(error),
                extra=about(runtime_id=runtime_id, error_type=type(error).__name__),
            )
        tell(m.StopHookReturned(message.reply))

    system.threads.start(call_hook)
    system.timers.after(system.grace_s, lambda: tell(m.StopHookReturned(message.reply)))


def _stop_hook_returned(driver: DriverActor, message: m.StopHookReturned) -> None:
    if message.reply in driver.stopping:
        stopping, driver.stopping = driver.stopping, ()
        for reply in stopping:
            driver.tell(m.Call(kernel.Stop(), reply))


def _replace_executor(driver: DriverActor, message: m.ReplaceExecutor) -> None:
    driver.registered()
    attaches = message.executor is not None
    driver.decide(kernel.AttachExecutor() if attaches else kernel.DetachExecutor(), message.reply)
    driver.executor = message.executor


def _executor_ready(driver: DriverActor, message: m.ExecutorReady) -> None:
    driver.registered()
    ready = driver.executor is not None
    driver.ticket.answered(driver.system.clock.now(), message.reply, lambda: ready)


# --- operations -------------------------------------------------------------------------


def _record_operation(driver: DriverActor, message: m.RecordOperation) -> None:
    """Record an end; a registry that has missed one, whose caller had gone, is told first."""
    head, row = driver.loaded().head, message.row
    if row.epoch_id == head.epoch_id and row.seq <= head.feed_watermark:
        driver.system.bindings.adopt(driver.runtime_id, head)
    driver.decide(kernel.RecordOperation(message.row), message.reply)


def _operation_began(driver: DriverActor, message: m.OperationBegan) -> None:
    if driver.loaded().head.registered:
        driver.decide(kernel.NoteOperation(message.epoch_id, message.record))


def _operation_moved(driver: DriverActor, message: m.OperationMoved) -> None:
    """Tell of a step; an end is a reason to look at the feed."""
    if driver.loaded().head.registered:
        driver.decide(kernel.TellOperation(message.event))
        driver.feed_moved = driver.feed_moved or message.event.code is EventCode.OPERATION_COMPLETED


def _epoch_retired(driver: DriverActor, _message: m.EpochRetired) -> None:
    driver.epochs_ending -= 1


# --- coming and going -------------------------------------------------------------------


def _resume(driver: DriverActor, _message: m.Resume) -> None:
    """Load the runtime and work what waits."""
    driver_restart.go_on(driver)


def _take_offered(driver: DriverActor, _message: m.TakeOffered) -> None:
    """Take in what other processes have offered."""
    take_in(driver)


def _taken_elsewhere(driver: DriverActor, message: m.TakenElsewhere) -> None:
    """Another process has the runtime: end as if that had refused a commit."""
    if driver.memory is not None and driver.unavailable is None:
        driver_restart.begin_anew(driver, OwnedElsewhere(driver.runtime_id, message.owner))


def _begin_anew(driver: DriverActor, message: m.BeginAnew) -> None:
    """A strategy restarts this driver with one that failed."""
    if driver.unavailable is None:
        driver_restart.begin_anew(driver, driver_restart.RestartedWithOthers(message.reason))


def _quiesce(driver: DriverActor, message: m.Quiesce) -> None:
    driver.quiesce = message
    if message.drain and driver.memory is not None and driver.memory.head.registered:
        driver.decide(kernel.Wake())


_HANDLERS: Final[Mapping[type, Callable[[DriverActor, Any], None]]] = {
    m.Accept: _accept,
    m.Redrive: redrive,
    m.Watch: _watch,
    m.Query: _query,
    m.Subscribe: _subscribe,
    m.WatchRuntime: _watch_runtime,
    m.Call: _call,
    m.ResetRuntime: _reset,
    m.RecoverRuntime: _recover,
    m.RegisterRuntime: _register,
    m.UnregisterRuntime: _unregister,
    m.StopRuntime: _stop,
    m.StopHookReturned: _stop_hook_returned,
    m.ReplaceExecutor: _replace_executor,
    m.ExecutorReady: _executor_ready,
    m.RecordOperation: _record_operation,
    m.OperationBegan: _operation_began,
    m.OperationMoved: _operation_moved,
    m.EpochRetired: _epoch_retired,
    m.Resume: _resume,
    m.TakeOffered: _take_offered,
    m.TakenElsewhere: _taken_elsewhere,
    m.BeginAnew: _begin_anew,
    m.Quiesce: _quiesce,
    **RUN_HANDLERS,
}
