"""The runtime's lifecycle: every step from every state, runs in hand, and what is stored."""

from __future__ import annotations

import pytest
from builders import round_trip, uuid_of

from meerkat import RunId, RuntimeState
from meerkat.errors import InvalidRuntimeTransition, RunRefused
from meerkat.runtime_lifecycle import Phase, RuntimeStep

S, T = RuntimeState, RuntimeStep
RUN, OTHER = RunId(uuid_of(1)), RunId(uuid_of(2))

LEGAL: dict[tuple[RuntimeStep, RuntimeState], RuntimeState] = {
    (T.INITIALIZE, S.INITIALIZING): S.IDLE,
    (T.ATTACH_EXECUTOR, S.IDLE): S.ATTACHED,
    (T.DETACH_EXECUTOR, S.ATTACHED): S.IDLE,
    (T.RETIRE, S.IDLE): S.RETIRED,
    (T.RETIRE, S.ATTACHED): S.RETIRED,
    (T.RETIRE, S.STOPPED): S.RETIRED,
    (T.RETIRE, S.RETIRED): S.RETIRED,
    (T.RETIRE, S.RUNNING): S.RUNNING,
    **{
        (T.RESET, state): S.IDLE
        for state in (S.INITIALIZING, S.IDLE, S.ATTACHED, S.RETIRED, S.STOPPED)
    },
    (T.RECYCLE, S.IDLE): S.IDLE,
    (T.RECYCLE, S.RETIRED): S.IDLE,
    (T.RECYCLE, S.ATTACHED): S.ATTACHED,
    **{
        (T.STOP, state): S.STOPPED
        for state in (S.IDLE, S.ATTACHED, S.RUNNING, S.RETIRED, S.STOPPED)
    },
    **{(T.DESTROY, state): S.DESTROYED for state in S if state is not S.DESTROYED},
}
"""semantics.md, section 6, written out once more; begin_run is below."""

PLAIN_STEPS = [step for step in RuntimeStep if step is not T.BEGIN_RUN]


def phase_in(state: RuntimeState) -> Phase:
    return Phase(state=S.IDLE).begin_run(RUN) if state is S.RUNNING else Phase(state=state)


@pytest.mark.parametrize("state", RuntimeState, ids=str)
@pytest.mark.parametrize("step", PLAIN_STEPS, ids=str)
def test_every_step_from_every_state(step: RuntimeStep, state: RuntimeState) -> None:
    phase = phase_in(state)
    wanted = LEGAL.get((step, state))
    assert phase.allows(step) is (wanted is not None)
    if wanted is not None:
        assert phase.after(step).state is wanted
        return
    with pytest.raises(InvalidRuntimeTransition) as refused:
        phase.after(step)
    assert refused.value.from_state is state
    assert phase == phase_in(state)


@pytest.mark.parametrize("state", RuntimeState, ids=str)
def test_a_run_begins_from_idle_attached_and_retired(state: RuntimeState) -> None:
    phase = phase_in(state)
    if state in (S.IDLE, S.ATTACHED, S.RETIRED):
        running = phase.begin_run(RUN)
        assert (running.state, running.run_id, running.returns_to) == (S.RUNNING, RUN, state)
        assert running.end_run(RUN) == Phase(state=state)
        return
    with pytest.raises(InvalidRuntimeTransition) as refused:
        phase.begin_run(OTHER)
    assert (refused.value.from_state, refused.value.to_state) == (state, S.RUNNING)


def test_rts_01_initialised_once() -> None:
    fresh = Phase()
    assert fresh.state is S.INITIALIZING
    idle = fresh.after(T.INITIALIZE)
    assert idle.state is S.IDLE
    with pytest.raises(InvalidRuntimeTransition):
        idle.after(T.INITIALIZE)
    with pytest.raises(InvalidRuntimeTransition):
        fresh.after(T.ATTACH_EXECUTOR)


def test_rts_02_attach_and_detach() -> None:
    attached = Phase(state=S.IDLE).after(T.ATTACH_EXECUTOR)
    assert attached.state is S.ATTACHED
    idle = attached.after(T.DETACH_EXECUTOR)
    assert idle.state is S.IDLE
    with pytest.raises(InvalidRuntimeTransition):
        idle.after(T.DETACH_EXECUTOR)


def test_rts_04_one_run_at_a_time() -> None:
    running = Phase(state=S.IDLE).begin_run(RUN)
    with pytest.raises(InvalidRuntimeTransition):
        running.begin_run(OTHER)
    with pytest.raises(RunRefused, match="is not the run in hand"):
        running.end_run(OTHER)
    assert (running.state, running.run_id) == (S.RUNNING, RUN)


@pytest.mark.parametrize("state", [S.IDLE, S.ATTACHED, S.RETIRED])
def test_rts_05_a_run_returns_to_where_it_came_from(state: RuntimeState) -> None:
    """Failing and being cancelled are the same step here; test_runs tells them apart."""
    assert Phase(state=state).begin_run(RUN).end_run(RUN) == Phase(state=state)


@pytest.mark.parametrize("state", [S.IDLE, S.ATTACHED])
def test_rts_07_idle_and_attached_retire(state: RuntimeState) -> None:
    assert Phase(state=state).after(T.RETIRE) == Phase(state=S.RETIRED)


def test_rts_08_retired_stays_retired() -> None:
    assert Phase(state=S.RETIRED).after(T.RETIRE) == Phase(state=S.RETIRED)


@pytest.mark.parametrize("state", [S.IDLE, S.ATTACHED, S.RUNNING, S.RETIRED])
def test_rts_10_stopped_takes_nothing_yet_is_not_terminal(state: RuntimeState) -> None:
    stopped = phase_in(state).after(T.STOP)
    assert stopped == Phase(state=S.STOPPED)
    assert not stopped.admits
    with pytest.raises(InvalidRuntimeTransition):
        stopped.begin_run(OTHER)
    assert stopped.after(T.DESTROY).state is S.DESTROYED
    assert stopped.after(T.RETIRE).state is S.RETIRED
    assert stopped.after(T.RESET).state is S.IDLE


@pytest.mark.parametrize("state", [s for s in S if s is not S.DESTROYED], ids=str)
def test_rts_11_everything_can_be_destroyed_once(state: RuntimeState) -> None:
    destroyed = phase_in(state).after(T.DESTROY)
    assert destroyed == Phase(state=S.DESTROYED)
    for step in PLAIN_STEPS:
        with pytest.raises(InvalidRuntimeTransition):
            destroyed.after(step)
    with pytest.raises(InvalidRuntimeTransition):
        destroyed.begin_run(OTHER)


def test_rts_13_an_illegal_raw_step_holds_both_states() -> None:
    with pytest.raises(InvalidRuntimeTransition) as refused:
        Phase(state=S.DESTROYED).begin_run(RUN)
    assert str(refused.value) == "Invalid runtime state transition: destroyed -> running"
    assert (refused.value.from_state, refused.value.to_state) == (S.DESTROYED, S.RUNNING)
    assert refused.value.code == "invalid_runtime_transition"
    retired = Phase(state=S.RETIRED)
    to_idle = {step for step in PLAIN_STEPS if retired.allows(step)} & {
        step for (step, _), after in LEGAL.items() if after is S.IDLE
    }
    assert to_idle == {T.RESET, T.RECYCLE}
    with pytest.raises(InvalidRuntimeTransition, match="retired -> idle"):
        retired.after(T.INITIALIZE)


@pytest.mark.parametrize(
    ("before", "after"), [(S.IDLE, S.IDLE), (S.RETIRED, S.IDLE), (S.ATTACHED, S.ATTACHED)]
)
def test_rts_15_recycle(before: RuntimeState, after: RuntimeState) -> None:
    assert Phase(state=before).after(T.RECYCLE) == Phase(state=after)
    with pytest.raises(InvalidRuntimeTransition):
        Phase(state=before).begin_run(RUN).after(T.RECYCLE)


@pytest.mark.parametrize(
    ("phase", "stored"),
    [
        (Phase(state=S.ATTACHED), S.IDLE),
        (Phase(state=S.IDLE).begin_run(RUN), S.IDLE),
        (Phase(state=S.ATTACHED).begin_run(RUN), S.IDLE),
        (Phase(state=S.RETIRED).begin_run(RUN), S.RETIRED),
        (Phase(state=S.IDLE).begin_run(RUN).after(T.RETIRE), S.RETIRED),
        (Phase(state=S.ATTACHED).begin_run(RUN).after(T.RETIRE), S.RETIRED),
        *((Phase(state=state), state) for state in (S.IDLE, S.RETIRED, S.STOPPED, S.DESTROYED)),
    ],
)
def test_rts_17_what_a_restart_sees(phase: Phase, stored: RuntimeState) -> None:
    assert phase.stored is stored


def test_a_retiring_run_goes_on_and_returns_to_retired() -> None:
    retiring = Phase(state=S.ATTACHED).begin_run(RUN).after(T.RETIRE)
    assert (retiring.state, retiring.run_id, retiring.retiring) == (S.RUNNING, RUN, True)
    assert not retiring.admits
    assert retiring.end_run(RUN) == Phase(state=S.RETIRED)


@pytest.mark.parametrize("state", RuntimeState, ids=str)
def test_who_admits(state: RuntimeState) -> None:
    assert phase_in(state).admits is (state in (S.IDLE, S.ATTACHED, S.RUNNING))
    assert round_trip(state) is state
