"""When and why: each step says the time of its decision, and each event what it is about."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from builders import (
    Runtime,
    accepted_state,
    effects_of,
    message,
    operation,
    progress,
    prompt,
    state_in,
    uuid_of,
)

from meerkat import (
    Accepted,
    Input,
    InputPhase,
    InputState,
    RunId,
    RunOutput,
    RuntimeEpochId,
    SessionId,
    kernel,
)
from meerkat.events import InputLifecycleEvent, RunLifecycleEvent, RuntimeStateChange
from meerkat.identifiers import CorrelationId

P = InputPhase
FIRST, SECOND = CorrelationId(uuid_of(21)), CorrelationId(uuid_of(22))


def output(runtime: Runtime) -> kernel.CompleteRun:
    run = runtime.memory.head.run
    assert run is not None
    return kernel.CompleteRun(run.run_id, runtime.session.plan(RunOutput()), None)


def run_of(runtime: Runtime) -> RunId:
    run = runtime.memory.head.run
    assert run is not None
    return run.run_id


STEPS_OF_A_RUN: dict[str, Callable[[Runtime], kernel.Command]] = {
    "completed": output,
    "failed": lambda it: kernel.FailRun(run_of(it), "boom", recoverable=True, jitter=0.0),
    "given up": lambda it: kernel.FailRun(run_of(it), "boom", recoverable=False, jitter=0.0),
    "cancelled": lambda it: kernel.CancelRun(run_of(it)),
    "requeued": lambda it: kernel.RequeueRun(run_of(it)),
    "postponed": lambda it: kernel.PostponeRun(run_of(it), "no disk", 1.0),
    "stopped": lambda _: kernel.Stop(),
    "destroyed": lambda _: kernel.Destroy(),
}

STEPS_AT_REST: dict[str, Callable[[Runtime], kernel.Command]] = {
    "staged": lambda _: kernel.StageRun(RunId.new()),
    "reset": lambda _: kernel.Reset(RuntimeEpochId.new()),
    "retired": lambda _: kernel.Retire(),
}


def says_when(done: kernel.Transition, runtime: Runtime) -> None:
    """Every change of a transition was made at the time of its decision."""
    assert done.states
    for state in done.states:
        assert (state.updated_at, state.history[-1].timestamp) == (runtime.clock.now,) * 2


@pytest.mark.parametrize("step", STEPS_OF_A_RUN.values(), ids=STEPS_OF_A_RUN)
def test_what_ends_a_run_says_when(
    runtime: Runtime, step: Callable[[Runtime], kernel.Command]
) -> None:
    runtime.admit(message(), message())
    runtime.stage()
    says_when(runtime.do(step(runtime)), runtime)


@pytest.mark.parametrize("step", STEPS_AT_REST.values(), ids=STEPS_AT_REST)
def test_what_happens_to_what_waits_says_when(step: Callable[[Runtime], kernel.Command]) -> None:
    runtime = Runtime(attached=False)
    runtime.admit(prompt())
    says_when(runtime.do(step(runtime)), runtime)


def test_what_is_taken_in_displaced_or_taken_at_a_boundary_says_when(runtime: Runtime) -> None:
    runtime.admit(prompt(supersession_key="plan"))
    newer = prompt(supersession_key="plan")
    done = runtime.do(kernel.AcceptInput(newer, b"{}"))
    assert len(done.states) == 2
    says_when(done, runtime)
    run = runtime.stage()
    (steered,) = runtime.admit(progress())
    plan = runtime.session.plan(RunOutput(append=[{"role": "user"}]))
    says_when(runtime.do(kernel.CommitBoundary(run, (steered,), plan)), runtime)


@pytest.mark.parametrize(
    "found",
    [
        state_in(P.STAGED),
        evolve(state_in(P.STAGED), attempt_count=10),
        state_in(P.APPLIED),
        state_in(P.APPLIED_PENDING_CONSUMPTION),
        accepted_state(),
        accepted_state(operation()),
    ],
    ids=lambda state: f"{state.phase}, {state.attempt_count} attempts",
)
@pytest.mark.parametrize("proven", [True, False])
def test_a_recovery_says_when_and_tells_of_it(
    runtime: Runtime, found: InputState, proven: bool
) -> None:
    runtime.memory.ledger.put(found)
    done = runtime.do(kernel.Recover(frozenset({found.input_id} if proven else ())))
    says_when(done, runtime)
    (state,) = done.states
    (emit,) = effects_of(done, kernel.Emit)
    assert isinstance(emit.event, InputLifecycleEvent)
    assert (emit.event.input_id, emit.event.reason) == (state.input_id, state.history[-1].reason)
    assert str(emit.event.code).startswith("input.")


@pytest.mark.parametrize(
    ("end", "code", "why", "reasons"),
    [
        ("failed", "run.failed", "boom", ["run_failed"] * 2),
        ("given up", "run.failed", "boom", ["max_attempts_exhausted"] * 2),
        ("cancelled", "run.cancelled", None, ["cancelled"] * 2),
        ("requeued", "run.cancelled", "executor stopped", ["executor_stopped"] * 2),
        ("postponed", "run.cancelled", "no disk", ["run_postponed"] * 2),
        ("completed", "run.completed", None, [None] * 4),
    ],
)
def test_the_end_of_a_run_says_which_run_why_and_on_whose_account(
    runtime: Runtime, end: str, code: str, why: str | None, reasons: list[str | None]
) -> None:
    first, second = runtime.admit(message(correlation_id=FIRST), message(correlation_id=SECOND))
    begun = runtime.do(kernel.StageRun(RunId.new()))
    run = run_of(runtime)
    emits = effects_of(runtime.do(STEPS_OF_A_RUN[end](runtime)), kernel.Emit)
    about_run = [each for each in emits if isinstance(each.event, RunLifecycleEvent)]
    assert [(str(e.event.code), e.event.run_id, e.event.detail) for e in about_run] == [
        (code, run, why)
    ]
    about_inputs = [each for each in emits if isinstance(each.event, InputLifecycleEvent)]
    assert [each.event.reason for each in about_inputs] == reasons
    assert {(e.event.input_id, e.cause, e.correlation_id) for e in about_inputs} == {
        (first, first, FIRST),
        (second, second, SECOND),
    }
    on_account = [each for each in emits if each not in about_inputs]
    on_account += [
        each
        for each in effects_of(begun, kernel.Emit)
        if isinstance(each.event, RunLifecycleEvent | RuntimeStateChange)
    ]
    left_attached = [each for each in on_account if each.cause is not None]
    assert {(each.cause, each.correlation_id) for each in left_attached} == {(first, FIRST)}
    assert len(left_attached) == 4
    started = [e.event for e in on_account if isinstance(e.event, RunLifecycleEvent)]
    assert {event.run_id for event in started} == {run}


@pytest.mark.parametrize(
    "offered",
    [
        progress(handling_mode="steer", correlation_id=FIRST),
        prompt(idempotency_key="k", correlation_id=FIRST),
    ],
    ids=["refused", "known"],
)
def test_what_is_not_taken_in_is_told_on_its_own_account(runtime: Runtime, offered: Input) -> None:
    runtime.admit(prompt(idempotency_key="k", correlation_id=SECOND))
    done = runtime.do(kernel.AcceptInput(offered, b"{}"))
    (emit,) = effects_of(done, kernel.Emit)
    assert (emit.cause, emit.correlation_id) == (offered.id, FIRST)
    assert done.states == ()


def test_what_displaces_another_is_told_as_its_cause(runtime: Runtime) -> None:
    (older,) = runtime.admit(prompt(supersession_key="plan", correlation_id=FIRST))
    newer = prompt(supersession_key="plan", correlation_id=SECOND)
    emits = effects_of(runtime.do(kernel.AcceptInput(newer, b"{}")), kernel.Emit)
    (displaced,) = [e for e in emits if str(e.event.code) == "input.superseded"]
    assert displaced.event.input_id == older
    assert (displaced.cause, displaced.correlation_id) == (newer.id, SECOND)


def test_a_run_s_progress_is_told_on_account_of_its_first_input(runtime: Runtime) -> None:
    first, _ = runtime.admit(message(correlation_id=FIRST), message(correlation_id=SECOND))
    run = runtime.stage()
    (emit,) = effects_of(runtime.do(kernel.ReportProgress(run, "half way")), kernel.Emit)
    assert emit.event == RunLifecycleEvent(emit.event.code, run, "half way")
    assert (emit.cause, emit.correlation_id) == (first, FIRST)


def test_a_refusal_and_a_second_offer_say_which_and_why(runtime: Runtime) -> None:
    first = prompt(idempotency_key="k")
    runtime.admit(first)
    again = prompt(idempotency_key="k")
    (told,) = runtime.do(kernel.AcceptInput(again, b"")).told
    assert isinstance(told, kernel.Emit)
    event = told.event
    assert isinstance(event, InputLifecycleEvent)
    assert (event.code.value, event.input_id) == ("input.deduplicated", again.id)
    assert event.related_input_id == first.id
    wrong = progress(handling_mode="queue")
    (told,) = runtime.do(kernel.AcceptInput(wrong, b"")).told
    assert isinstance(told, kernel.Emit)
    assert isinstance(told.event, InputLifecycleEvent)
    assert (told.event.code.value, told.event.input_id) == ("input.rejected", wrong.id)
    assert told.event.reason


def test_an_answer_says_what_was_decided_and_when(runtime: Runtime) -> None:
    for offered in (prompt(), operation()):
        accepted = runtime.offer(offered)
        assert isinstance(accepted, Accepted)
        assert accepted.policy == accepted.state.policy
        assert accepted.state.policy is not None
        assert accepted.state.created_at == accepted.state.history[0].timestamp


def test_registering_again_keeps_the_session(runtime: Runtime) -> None:
    session = runtime.memory.head.session_id
    assert session is not None
    runtime.do(kernel.Unregister())
    runtime.do(kernel.Register(SessionId.new(), RuntimeEpochId.new()))
    assert runtime.memory.head.session_id == session
