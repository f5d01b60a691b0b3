"""What each message means to a driver, as a table from message to handler.

A handler decides through the driver and returns; it raises what is to be answered with an
error. Nothing here touches the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from actors import messages as m
from actors.replies import settle
from actors.runs import Cancelled, Failed, Stopped, Succeeded, Unreadable
from meerkat import kernel
from meerkat.errors import (
    InputNotFound,
    InputValidationFailed,
    RecoveryCorruption,
    RuntimeDestroyed,
    StoreError,
)
from meerkat.identifiers import RunId
from meerkat.input_lifecycle import InputState
from meerkat.loading import known_input, recovery_of
from meerkat.outcomes import Accepted, CompletionHandle, Deduplicated, Rejected, completion_of
from meerkat.runtime_lifecycle import RuntimeState, RuntimeStep

if TYPE_CHECKING:
    from actors.driver import DriverActor

logger = logging.getLogger(__name__)


def handle(driver: DriverActor, message: Any) -> None:
    """Carry one message out."""
    _HANDLERS[type(message)](driver, message)


# --- inputs -----------------------------------------------------------------------------


def _accept(driver: DriverActor, message: m.Accept) -> None:
    memory = driver.registered()
    offered, known = message.input, None
    in_memory = memory.ledger.get_by_key(offered.idempotency_key) or memory.ledger.get(offered.id)
    if memory.head.phase.admits and in_memory is None:
        known = known_input(driver.system.store, driver.runtime_id, offered)
    command = kernel.AcceptInput(offered, message.payload, known)

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        return lambda: _answered(driver, message.handle, transition.reply)

    driver.decide(command, message.reply, answer)


def _answered(driver: DriverActor, handle: CompletionHandle | None, outcome: Any) -> Any:
    """Tie the caller's handle to the input it was taken in as, then answer."""
    match outcome:
        case _ if handle is None:
            pass
        case Accepted(state=state) | Deduplicated(existing_state=state):
            _watch_until_ended(driver, state, handle)
        case Rejected(reason=reason):
            settle(handle.set_exception, InputValidationFailed(str(reason)))
    return outcome


def _watch_until_ended(
    driver: DriverActor, state: InputState, handle: CompletionHandle
) -> CompletionHandle:
    outcome = completion_of(state)
    if outcome is not None:
        settle(handle.set_result, outcome)
    else:
        driver.system.completions.watch(driver.runtime_id, state.input_id, handle)
    return handle


def _watch(driver: DriverActor, message: m.Watch) -> None:
    memory = driver.registered()
    state = memory.ledger.get(message.input_id) or driver.system.store.load_input(
        driver.runtime_id, message.input_id
    )
    if state is None:
        raise InputNotFound(message.input_id)
    found, handle = state, CompletionHandle()
    driver.ticket.answered(
        driver.system.clock.now(),
        message.reply,
        lambda: _watch_until_ended(driver, found, handle),
    )


def _query(driver: DriverActor, message: m.Query) -> None:
    value = message.read(driver.registered(), driver.system.store)
    driver.ticket.answered(driver.system.clock.now(), message.reply, lambda: value)


# --- control ----------------------------------------------------------------------------


def _call(driver: DriverActor, message: m.Call) -> None:
    if isinstance(message.command, kernel.Stop | kernel.Destroy):
        driver.present()  # also when it waits for a run to unregister: this is the way out
    else:
        driver.registered()
    driver.decide(message.command, message.reply)


def _reset(driver: DriverActor, message: m.ResetRuntime) -> None:
    driver.registered()

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        def rotated() -> Any:
            driver.system.bindings.end(driver.runtime_id, "runtime reset")
            return transition.reply

        return rotated

    driver.decide(kernel.Reset(message.epoch_id), message.reply, answer)


def _recover(driver: DriverActor, message: m.RecoverRuntime) -> None:
    """Recover in place; a runtime that is unavailable is loaded again first."""
    if isinstance(driver.unavailable, RecoveryCorruption | StoreError):
        driver.unavailable = None
    driver.load_report = None
    memory = driver.registered()
    loaded_now = driver.load_report

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        return lambda: loaded_now or transition.reply

    driver.decide(recovery_of(driver.system.store, memory), message.reply, answer)


def _register(driver: DriverActor, message: m.RegisterRuntime) -> None:
    system = driver.system
    if driver.loaded().head.registered and driver.unregistering:
        driver.coming_back.append(message)
        return
    driver.unregistering.clear()

    def answer(transition: kernel.Transition) -> Callable[[], Any]:
        return lambda: system.bindings.of(driver.runtime_id, transition.head, system.clock)

    driver.decide(message.command, message.reply, answer)


def _unregister(driver: DriverActor, message: m.UnregisterRuntime) -> None:
    if not driver.unregistering and driver.registered().head.phase.state is RuntimeState.DESTROYED:
        raise RuntimeDestroyed
    if driver.loaded().head.registered:
        driver.unregistering.append(message.reply)
    else:  # decided already: join
        driver.ticket.answered(driver.system.clock.now(), message.reply)


def _stop(driver: DriverActor, message: m.StopRuntime) -> None:
    """Call the stop hook off the mailbox; the runtime stops when it has returned."""
    phase = driver.present().head.phase
    hook = getattr(driver.executor, "stop", None)
    needless = phase.state is RuntimeState.STOPPED or not phase.allows(RuntimeStep.STOP)
    if needless or not callable(hook):
        driver.decide(kernel.Stop(), message.reply)
        return
    driver.stopping.append(message.reply)
    if len(driver.stopping) > 1:
        return  # the hook is being called: this stop joins the first one
    tell, system, runtime_id = driver.tell, driver.system, driver.runtime_id

    def call_hook() -> None:
        try:
            hook(runtime_id)
        except BaseException:
            logger.exception("runtime %s: the executor's stop hook failed", runtime_id)
        tell(m.StopHookReturned(message.reply))

    system.threads.start(call_hook)
    system.timers.after(system.grace_s, lambda: tell(m.StopHookReturned(message.reply)))


def _stop_hook_returned(driver: DriverActor, message: m.StopHookReturned) -> None:
    if message.reply in driver.stopping:
        stopping, driver.stopping = driver.stopping, []
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


# --- runs -------------------------------------------------------------------------------


def _run_ended(driver: DriverActor, message: m.RunEnded) -> None:
    memory = driver.memory
    if memory is None or memory.head.phase.run_id != message.run_id:
        late = "runtime %s: late result of run %s refused"
        logger.warning(late, driver.runtime_id, message.run_id)
        _gone(driver, message.run_id)
        return
    if isinstance(message.ending, Unreadable):
        driver.seat.ended(message)
        driver.discard(message.ending.error)
        return
    ran = driver.seat.executor
    driver.decide(_ending(driver, message))
    driver.seat.ended(message)
    if isinstance(message.ending, Stopped):
        if driver.executor is ran:
            driver.executor = None
        elif driver.executor is not None:  # its successor was attached while it ran
            driver.decide(kernel.AttachExecutor())


def _gone(driver: DriverActor, run_id: RunId) -> bool:
    """A run that is over has left its seat; without a memory nobody else hands its slot on."""
    gone = driver.seat.gone(run_id)
    if gone and driver.memory is None:
        driver.seat.return_slot()
    return gone


def _ending(driver: DriverActor, message: m.RunEnded) -> kernel.Command:
    match message.ending:
        case Succeeded(plan=plan, result=result):
            return kernel.CompleteRun(message.run_id, plan, result)
        case Failed(error=error, recoverable=recoverable):
            jitter = driver.system.clock.jitter()
            return kernel.FailRun(message.run_id, error, recoverable, jitter)
        case Cancelled() if not driver.cut_short:
            return kernel.CancelRun(message.run_id)
        case Cancelled() | Stopped() | Unreadable():
            return kernel.RequeueRun(message.run_id)


def _run_overdue(driver: DriverActor, message: m.RunOverdue) -> None:
    if _gone(driver, message.run_id):
        overdue = "runtime %s: run %s did not return in time; the runtime goes on without it"
        logger.warning(overdue, driver.runtime_id, message.run_id)


def _run_progressed(driver: DriverActor, message: m.RunProgressed) -> None:
    memory = driver.memory
    if memory is not None and memory.head.phase.run_id == message.run_id:
        driver.decide(kernel.ReportProgress(message.run_id, message.text))


def _slot_granted(driver: DriverActor, _message: m.SlotGranted) -> None:
    driver.seat.slot_granted()
    if driver.memory is None:
        driver.seat.return_slot()


def _lane_due(driver: DriverActor, message: m.LaneDue) -> None:
    if driver.memory is not None and driver.holds.get(message.lane) == message.hold:
        driver.decide(kernel.ReleaseLane(message.lane))


# --- coming and going -------------------------------------------------------------------


def _resume(driver: DriverActor, _message: m.Resume) -> None:
    """Load the runtime and work what waits."""
    driver.go_on()


def _quiesce(driver: DriverActor, message: m.Quiesce) -> None:
    driver.quiesce = message
    if message.drain and driver.memory is not None and driver.memory.head.registered:
        driver.decide(kernel.Wake())


def _cancel_runs(driver: DriverActor, _message: m.CancelRuns) -> None:
    driver.cut_short = True
    driver.seat.cancel()


_HANDLERS: Final[Mapping[type, Callable[[DriverActor, Any], None]]] = {
    m.Accept: _accept,
    m.Watch: _watch,
    m.Query: _query,
    m.Call: _call,
    m.ResetRuntime: _reset,
    m.RecoverRuntime: _recover,
    m.RegisterRuntime: _register,
    m.UnregisterRuntime: _unregister,
    m.StopRuntime: _stop,
    m.StopHookReturned: _stop_hook_returned,
    m.ReplaceExecutor: _replace_executor,
    m.ExecutorReady: _executor_ready,
    m.RunEnded: _run_ended,
    m.RunOverdue: _run_overdue,
    m.RunProgressed: _run_progressed,
    m.SlotGranted: _slot_granted,
    m.LaneDue: _lane_due,
    m.Resume: _resume,
    m.Quiesce: _quiesce,
    m.CancelRuns: _cancel_runs,
}
