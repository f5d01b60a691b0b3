"""Control: retire, recycle, reset, stop and destroy, with a run in hand and without one."""

from __future__ import annotations

import pytest
from builders import (
    Runtime,
    codes_of,
    effects_of,
    message,
    progress,
    prompt,
    request,
    uuid_of,
)

from meerkat import (
    DestroyReport,
    InputPhase,
    RecycleReport,
    ResetReport,
    RetireReport,
    RuntimeEpochId,
    RuntimeState,
    SessionId,
    kernel,
)
from meerkat.errors import RunRefused, RuntimeDestroyed, RuntimeNotReady
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, AbandonReason
from meerkat.outcomes import TerminationReason
from meerkat.policy import Lane, Signal, WakeMode
from meerkat.reports import StopReport

P, S = InputPhase, RuntimeState
EPOCH = RuntimeEpochId(uuid_of(3))


def abandoned(runtime: Runtime, *ids: object) -> set[object]:
    return {runtime.state(each).terminal_outcome for each in ids}  # type: ignore[arg-type]


def because(cause: AbandonCause) -> set[object]:
    return {AbandonedOutcome(AbandonReason(cause))}


# --- stop and destroy -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "cause", "state", "report"),
    [
        (kernel.Stop(), AbandonCause.STOPPED, S.STOPPED, StopReport(inputs_abandoned=4)),
        (
            kernel.Destroy(),
            AbandonCause.DESTROYED,
            S.DESTROYED,
            DestroyReport(inputs_abandoned=4),
        ),
    ],
)
def test_stop_and_destroy_fence_the_run_in_hand(
    runtime: Runtime,
    command: kernel.Command,
    cause: AbandonCause,
    state: RuntimeState,
    report: object,
) -> None:
    in_hand = runtime.admit(message(), message())
    run = runtime.stage()
    waiting = runtime.admit(prompt(), progress())
    done = runtime.do(command)
    assert done.reply == report
    assert abandoned(runtime, *in_hand, *waiting) == because(cause)
    assert effects_of(done, kernel.InterruptRun) == [kernel.InterruptRun(run)]
    head = runtime.memory.head
    assert (head.phase.state, head.run, head.phase.run_id) == (state, None, None)
    assert [runtime.lane(lane) for lane in Lane] == [[], []]
    assert codes_of(done)[:4] == ["input.abandoned"] * 4
    for late in (lambda: runtime.complete(run), lambda: runtime.fail(run)):
        with pytest.raises(RunRefused):
            late()
    assert abandoned(runtime, *in_hand) == because(cause)


@pytest.mark.parametrize("command", [kernel.Stop(), kernel.Destroy(), kernel.Reset(EPOCH)])
def test_the_silent_intents_are_cleared(runtime: Runtime, command: kernel.Command) -> None:
    runtime.do(kernel.SetSilentIntents(frozenset({"mob.peer_added"})))
    runtime.do(command)
    assert runtime.memory.head.silent_intents == frozenset()


def test_a_silent_request_waits_unwoken(runtime: Runtime) -> None:
    runtime.do(kernel.SetSilentIntents(frozenset({"mob.peer_added"})))
    silent, loud = request("mob.peer_added"), request("mob.peer_left")
    runtime.admit(silent)
    policy = runtime.state(silent.id).policy
    assert policy is not None
    assert (policy.wake_mode, policy.signal) == (WakeMode.NONE, Signal.NONE)
    assert not runtime.memory.runnable
    runtime.admit(loud)
    assert runtime.memory.runnable
    runtime.stage()
    assert runtime.contributors == [silent.id, loud.id]


def test_only_a_reset_revives_a_stopped_runtime(runtime: Runtime) -> None:
    runtime.do(kernel.Stop())
    kept = runtime.memory.head
    registered = runtime.do(kernel.Register(SessionId(uuid_of(1)), RuntimeEpochId(uuid_of(2))))
    assert (registered.told, registered.effects) == ((), ())
    assert runtime.memory.head == kept
    with pytest.raises(RuntimeNotReady) as refused:
        runtime.do(kernel.Recycle())
    assert refused.value.state is S.STOPPED
    runtime.do(kernel.Reset(EPOCH))
    assert runtime.memory.head.phase.state is S.IDLE
    assert runtime.offer(prompt()).is_accepted
    assert runtime.memory.runnable


# --- reset ------------------------------------------------------------------------------


def test_a_reset_gives_everything_up_and_rotates_the_epoch(runtime: Runtime) -> None:
    ids = runtime.admit(prompt(), message(), progress())
    runtime.fail(runtime.stage())
    done = runtime.do(kernel.Reset(EPOCH))
    assert done.reply == ResetReport(inputs_abandoned=3)
    assert abandoned(runtime, *ids) == because(AbandonCause.RESET)
    head = runtime.memory.head
    assert (head.epoch_id, head.held, head.awake) == (EPOCH, frozenset(), False)
    assert (head.phase.state, head.executor_attached) == (S.IDLE, True)
    assert runtime.memory.ledger.active_count == 0
    assert runtime.do(kernel.Reset(EPOCH)).reply == ResetReport(inputs_abandoned=0)


def test_an_attached_executor_keeps_working_after_a_reset(runtime: Runtime) -> None:
    runtime.do(kernel.Reset(EPOCH))
    (offered,) = runtime.admit(prompt())
    runtime.complete(runtime.stage())
    assert runtime.phase(offered) is P.CONSUMED
    assert runtime.memory.head.phase.state is S.IDLE


@pytest.mark.parametrize("command", [kernel.Reset(EPOCH), kernel.Recycle(), kernel.Recover(None)])
def test_not_with_a_run_in_hand(runtime: Runtime, command: kernel.Command) -> None:
    (in_hand,) = runtime.admit(prompt())
    run = runtime.stage()
    before = runtime.memory.head
    with pytest.raises(RuntimeNotReady) as refused:
        runtime.do(command)
    assert refused.value.state is S.RUNNING
    assert runtime.memory.head is before
    assert runtime.phase(in_hand) is P.STAGED
    runtime.complete(run)


# --- retire -----------------------------------------------------------------------------


def test_retire_with_an_executor_drains_everything_the_run_in_hand_included(
    runtime: Runtime,
) -> None:
    (in_hand,) = runtime.admit(prompt())
    run = runtime.stage()
    runtime.admit(prompt(), progress())
    done = runtime.do(kernel.Retire())
    assert done.reply == RetireReport(inputs_abandoned=0, inputs_pending_drain=3)
    assert codes_of(done) == ["topology.runtime_retired"]
    assert runtime.memory.head.phase.state is S.RUNNING
    assert runtime.do(kernel.Retire()).reply == RetireReport()
    runtime.complete(run)
    assert runtime.memory.head.phase.state is S.RETIRED
    assert runtime.phase(in_hand) is P.CONSUMED
    for _ in range(2):
        assert runtime.memory.runnable
        runtime.complete(runtime.stage())
    assert runtime.memory.ledger.active_count == 0
    assert runtime.memory.head.phase.state is S.RETIRED
    assert runtime.do(kernel.Retire()).reply == RetireReport()


def test_progress_that_woke_nobody_is_drained_too(runtime: Runtime) -> None:
    runtime.admit(progress())
    assert not runtime.memory.runnable
    runtime.do(kernel.Retire())
    assert runtime.memory.runnable


def test_retire_without_an_executor_gives_up_all_but_the_run_in_hand() -> None:
    runtime = Runtime(attached=False)
    (in_hand,) = runtime.admit(prompt())
    run = runtime.stage()
    waiting = runtime.admit(prompt(), progress())
    done = runtime.do(kernel.Retire())
    assert done.reply == RetireReport(inputs_abandoned=2, inputs_pending_drain=1)
    assert abandoned(runtime, *waiting) == because(AbandonCause.RETIRED)
    assert runtime.phase(in_hand) is P.STAGED
    runtime.complete(run)
    assert runtime.memory.head.phase.state is S.RETIRED


def test_a_stopped_runtime_retires() -> None:
    runtime = Runtime()
    runtime.do(kernel.Stop())
    assert runtime.do(kernel.Retire()).reply == RetireReport()
    assert runtime.memory.head.phase.state is S.RETIRED


# --- recycle ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attached", "retired", "after"),
    [(False, False, S.IDLE), (True, False, S.ATTACHED), (True, True, S.IDLE)],
)
def test_recycle_keeps_all_pending_work_in_order(
    attached: bool, retired: bool, after: RuntimeState
) -> None:
    runtime = Runtime(attached=attached)
    ids = runtime.admit(prompt(), message(), prompt())
    (steered,) = runtime.admit(progress())
    epoch = runtime.memory.head.epoch_id
    if retired:
        runtime.do(kernel.Retire())
    done = runtime.do(kernel.Recycle())
    assert done.reply == RecycleReport(inputs_transferred=4)
    assert "topology.runtime_recycled" in codes_of(done)
    assert (runtime.lane(Lane.QUEUE), runtime.lane(Lane.STEER)) == (ids, [steered])
    assert runtime.memory.head.phase.state is after
    assert runtime.memory.head.epoch_id == epoch
    assert runtime.memory.head.awake
    assert runtime.offer(prompt()).is_accepted


# --- attach and detach ------------------------------------------------------------------


def test_attaching_during_a_run_counts_from_the_next(runtime: Runtime) -> None:
    runtime = Runtime(attached=False)
    runtime.admit(prompt())
    run = runtime.stage()
    runtime.do(kernel.AttachExecutor())
    assert runtime.memory.head.phase.state is S.RUNNING
    runtime.complete(run)
    assert runtime.memory.head.phase.state is S.ATTACHED
    runtime.admit(prompt())
    run = runtime.stage()
    runtime.do(kernel.DetachExecutor())
    runtime.complete(run)
    assert runtime.memory.head.phase.state is S.IDLE


def test_attaching_wakes_what_waits() -> None:
    runtime = Runtime(attached=False)
    runtime.admit(progress())
    done = runtime.do(kernel.AttachExecutor())
    assert codes_of(done) == ["runtime.state_changed"]
    assert runtime.memory.runnable
    assert runtime.do(kernel.AttachExecutor()).told == ()


@pytest.mark.parametrize("command", [kernel.Stop(), kernel.Retire()])
def test_attaching_never_revives(command: kernel.Command) -> None:
    runtime = Runtime(attached=False)
    runtime.do(command)
    state = runtime.memory.head.phase.state
    runtime.do(kernel.AttachExecutor())
    assert runtime.memory.head.phase.state is state


# --- register and unregister ------------------------------------------------------------


def test_registering_keeps_the_session_and_renews_the_epoch(runtime: Runtime) -> None:
    (waiting,) = runtime.admit(prompt())
    session, epoch = runtime.memory.head.session_id, runtime.memory.head.epoch_id
    done = runtime.do(kernel.Unregister())
    ended = effects_of(done, kernel.RuntimeEnded)
    assert ended == [kernel.RuntimeEnded(TerminationReason.UNREGISTERED)]
    head = runtime.memory.head
    assert (head.registered, head.epoch_id, head.session_id) == (False, None, session)
    runtime.do(kernel.Register(SessionId(uuid_of(1)), EPOCH))
    head = runtime.memory.head
    assert (head.registered, head.epoch_id, head.session_id) == (True, EPOCH, session)
    assert epoch != EPOCH
    assert runtime.lane(Lane.QUEUE) == [waiting]
    assert runtime.memory.runnable


def test_unregister_waits_for_the_run(runtime: Runtime) -> None:
    runtime.admit(prompt())
    runtime.stage()
    with pytest.raises(RunRefused, match="a run is in hand"):
        runtime.do(kernel.Unregister())


def test_a_destroyed_runtime_refuses_every_command(runtime: Runtime) -> None:
    runtime.do(kernel.Destroy())
    before = runtime.memory.head
    for command in (
        kernel.Register(SessionId.new(), EPOCH),
        kernel.AttachExecutor(),
        kernel.DetachExecutor(),
        kernel.SetSilentIntents(frozenset()),
        kernel.Retire(),
        kernel.Recycle(),
        kernel.Reset(EPOCH),
        kernel.Recover(None),
        kernel.Stop(),
        kernel.Destroy(),
        kernel.AcceptInput(prompt(), b""),
    ):
        with pytest.raises(RuntimeDestroyed):
            runtime.do(command)
    assert runtime.memory.head is before


def test_detached_it_runs_nothing_until_another_is_attached(runtime: Runtime) -> None:
    runtime.admit(prompt(), prompt())
    run = runtime.stage()
    runtime.do(kernel.DetachExecutor())
    runtime.complete(run)
    assert (runtime.memory.head.phase.state, runtime.memory.runnable) == (S.IDLE, False)
    runtime.do(kernel.AttachExecutor())
    assert runtime.memory.runnable
    runtime.do(kernel.DetachExecutor())
    assert (runtime.memory.head.phase.state, runtime.memory.runnable) == (S.IDLE, False)


def test_recycled_it_works_what_woke_nobody_and_what_was_held(runtime: Runtime) -> None:
    runtime.admit(progress())
    assert not runtime.memory.runnable
    runtime.do(kernel.Recycle())
    assert runtime.memory.runnable
    runtime.fail(runtime.stage())
    assert not runtime.memory.runnable
    runtime.do(kernel.Recycle())
    assert runtime.memory.runnable


@pytest.mark.parametrize("command", [kernel.Recycle(), kernel.Retire(), kernel.Recover(None)])
def test_what_wakes_a_runtime_leaves_one_without_work_asleep(
    runtime: Runtime, command: kernel.Command
) -> None:
    """Else an input that wakes nobody would be run as soon as it comes."""
    runtime.do(command)
    assert runtime.memory.head.awake is False


def test_unregistered_it_sleeps_until_it_is_registered_again(runtime: Runtime) -> None:
    (waiting,) = runtime.admit(prompt())
    runtime.do(kernel.Unregister())
    assert (runtime.memory.head.registered, runtime.memory.head.awake) == (False, False)
    runtime.do(kernel.Register(SessionId.new(), EPOCH))
    assert runtime.memory.runnable
    assert runtime.lane(Lane.QUEUE) == [waiting]
