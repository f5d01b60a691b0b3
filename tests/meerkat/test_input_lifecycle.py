"""The input's lifecycle: every step from every phase, the guards, and what a step records."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from builders import (
    START,
    Clock,
    Runtime,
    accepted_state,
    codes_of,
    effects_of,
    prompt,
    round_trip,
    state_in,
    uuid_of,
)

from meerkat import EphemeralRuntimeDriver, InputId, InputPhase, InputState, RunId, kernel, to_json
from meerkat import input_lifecycle as lifecycle
from meerkat.errors import InvalidInputTransition
from meerkat.input_lifecycle import (
    AbandonCause,
    AbandonedOutcome,
    AbandonReason,
    CoalescedOutcome,
    ConsumedOutcome,
    HistoryEntry,
    InputStep,
    SupersededOutcome,
    TerminalOutcome,
    allows,
)
from meerkat.policy import DEFAULT_POLICY

P = InputPhase
RUN = RunId(uuid_of(7))
OTHER = InputId(uuid_of(8))
LATER = START + timedelta(seconds=1)
POLICY = DEFAULT_POLICY.resolve(prompt(), running=False)
NON_TERMINAL = [P.ACCEPTED, P.QUEUED, P.STAGED, P.APPLIED, P.APPLIED_PENDING_CONSUMPTION]
REASONS = [
    AbandonReason(AbandonCause.RETIRED),
    AbandonReason(AbandonCause.RESET),
    AbandonReason(AbandonCause.STOPPED),
    AbandonReason(AbandonCause.DESTROYED),
    AbandonReason(AbandonCause.CANCELLED),
    AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, 3),
]
Take = Callable[[InputState], InputState]

STEPS: dict[InputStep, Take] = {
    InputStep.QUEUE_ACCEPTED: lambda s: lifecycle.queue_accepted(
        s, LATER, policy=POLICY, sequence=5
    ),
    InputStep.CONSUME_ON_ACCEPT: lambda s: lifecycle.consume_on_accept(s, LATER, policy=POLICY),
    InputStep.STAGE_FOR_RUN: lambda s: lifecycle.stage_for_run(s, LATER, run_id=RUN),
    InputStep.ROLLBACK_STAGED: lambda s: lifecycle.rollback_staged(
        s, LATER, reason="run_failed", error="boom"
    ),
    InputStep.MARK_APPLIED: lambda s: lifecycle.mark_applied(s, LATER, run_id=RUN),
    InputStep.MARK_APPLIED_PENDING_CONSUMPTION: lambda s: (
        lifecycle.mark_applied_pending_consumption(s, LATER, sequence=42)
    ),
    InputStep.CONSUME: lambda s: lifecycle.consume(s, LATER),
    InputStep.RECOVER: lambda s: lifecycle.recover(s, LATER),
    InputStep.SUPERSEDE: lambda s: lifecycle.supersede(s, LATER, by=OTHER),
    InputStep.COALESCE: lambda s: lifecycle.coalesce(s, LATER, into=OTHER),
    InputStep.ABANDON: lambda s: lifecycle.abandon(s, LATER, reason=REASONS[0]),
}
LEGAL: dict[tuple[InputStep, InputPhase], InputPhase] = {
    (InputStep.QUEUE_ACCEPTED, P.ACCEPTED): P.QUEUED,
    (InputStep.CONSUME_ON_ACCEPT, P.ACCEPTED): P.CONSUMED,
    (InputStep.STAGE_FOR_RUN, P.QUEUED): P.STAGED,
    (InputStep.ROLLBACK_STAGED, P.STAGED): P.QUEUED,
    (InputStep.MARK_APPLIED, P.STAGED): P.APPLIED,
    (InputStep.MARK_APPLIED_PENDING_CONSUMPTION, P.APPLIED): P.APPLIED_PENDING_CONSUMPTION,
    (InputStep.CONSUME, P.APPLIED_PENDING_CONSUMPTION): P.CONSUMED,
    (InputStep.RECOVER, P.STAGED): P.QUEUED,
    (InputStep.RECOVER, P.APPLIED): P.QUEUED,
    (InputStep.RECOVER, P.APPLIED_PENDING_CONSUMPTION): P.QUEUED,
    (InputStep.SUPERSEDE, P.QUEUED): P.SUPERSEDED,
    (InputStep.COALESCE, P.QUEUED): P.COALESCED,
    **{(InputStep.ABANDON, phase): P.ABANDONED for phase in NON_TERMINAL},
}
"""semantics.md, section 3, written out once more; recover is section 11's."""

EVERY_PAIR = [(step, phase) for step in InputStep for phase in InputPhase]


def test_lif_01_a_whole_life() -> None:
    state = accepted_state()
    assert (state.phase, state.history, state.terminal_outcome, state.policy) == (
        P.ACCEPTED,
        (),
        None,
        None,
    )
    state = lifecycle.queue_accepted(state, START, policy=POLICY, sequence=0)
    assert (state.phase, state.last_run_id, state.admission_sequence) == (P.QUEUED, None, 0)
    state = lifecycle.stage_for_run(state, START, run_id=RUN)
    assert (state.phase, state.last_run_id, state.attempt_count) == (P.STAGED, RUN, 1)
    state = lifecycle.mark_applied(state, START, run_id=RUN)
    assert (state.phase, state.last_run_id, state.last_boundary_sequence) == (P.APPLIED, RUN, None)
    state = lifecycle.mark_applied_pending_consumption(state, START, sequence=42)
    assert (state.phase, state.last_boundary_sequence) == (P.APPLIED_PENDING_CONSUMPTION, 42)
    state = lifecycle.consume(state, START)
    assert (state.phase, state.last_run_id, state.last_boundary_sequence) == (P.CONSUMED, RUN, 42)
    assert len(state.history) == 5
    assert state.terminal_outcome == ConsumedOutcome()
    assert state.input is None


def test_lif_03_applied_work_is_never_rolled_back() -> None:
    state = state_in(P.APPLIED_PENDING_CONSUMPTION)
    with pytest.raises(InvalidInputTransition):
        lifecycle.rollback_staged(state, START, reason="run_failed", error=None)
    assert state.phase is P.APPLIED_PENDING_CONSUMPTION


def test_lif_04_another_run_cannot_apply_it() -> None:
    state = state_in(P.STAGED)
    with pytest.raises(InvalidInputTransition) as refused:
        lifecycle.mark_applied(state, START, run_id=RunId(uuid_of(99)))
    assert (refused.value.step, refused.value.phase) == ("mark_applied", "staged")
    assert state.phase is P.STAGED
    assert lifecycle.mark_applied(state, START, run_id=RUN).phase is P.APPLIED


@pytest.mark.parametrize("reason", REASONS, ids=str)
@pytest.mark.parametrize("phase", NON_TERMINAL, ids=str)
def test_lif_06_every_non_terminal_input_can_be_abandoned(
    phase: InputPhase, reason: AbandonReason
) -> None:
    state = lifecycle.abandon(state_in(phase), LATER, reason=reason, error="boom")
    assert state.phase is P.ABANDONED
    assert state.terminal_outcome == AbandonedOutcome(reason)
    assert state.last_error == "boom"
    assert state.history[-1] == HistoryEntry(LATER, phase, P.ABANDONED, reason.cause.value)


def test_lif_07_all_non_terminal_inputs_are_abandoned_at_once() -> None:
    driver = EphemeralRuntimeDriver("agent-1", now=Clock())
    done, waiting = prompt(), [prompt(), prompt()]
    driver.accept_input(done)
    driver.start_run()
    assert driver.current_run_id is not None
    driver.complete_run(driver.current_run_id)
    for each in waiting:
        driver.accept_input(each)
    consumed = driver.input_state(done.id)
    predicted = driver.active_input_ids()
    assert predicted == [each.id for each in waiting]
    report = driver.retire()
    assert report.inputs_abandoned == 2
    assert [driver.input_phase(each) for each in predicted] == [P.ABANDONED, P.ABANDONED]
    assert driver.input_state(done.id) == consumed
    assert driver.reset().inputs_abandoned == 0


@pytest.mark.parametrize(
    ("phase", "step"),
    [
        (P.ACCEPTED, InputStep.STAGE_FOR_RUN),
        (P.ACCEPTED, InputStep.MARK_APPLIED),
        (P.QUEUED, InputStep.MARK_APPLIED),
        (P.QUEUED, InputStep.CONSUME),
    ],
)
def test_lif_09_no_phase_is_skipped(phase: InputPhase, step: InputStep) -> None:
    state = state_in(phase)
    with pytest.raises(InvalidInputTransition):
        STEPS[step](state)
    assert state.phase is phase


def test_lif_10_supersede_and_coalesce_need_a_queued_input() -> None:
    queued, accepted = state_in(P.QUEUED), state_in(P.ACCEPTED)
    superseded = lifecycle.supersede(queued, START, by=OTHER)
    assert superseded.phase is P.SUPERSEDED
    assert superseded.terminal_outcome == SupersededOutcome(superseded_by=OTHER)
    coalesced = lifecycle.coalesce(queued, START, into=OTHER)
    assert coalesced.phase is P.COALESCED
    assert coalesced.terminal_outcome == CoalescedOutcome(aggregate_id=OTHER)
    for step in (InputStep.SUPERSEDE, InputStep.COALESCE):
        with pytest.raises(InvalidInputTransition):
            STEPS[step](accepted)


@pytest.mark.parametrize(("step", "phase"), sorted(LEGAL, key=str), ids=str)
def test_lif_11_every_legal_step_adds_one_entry(step: InputStep, phase: InputPhase) -> None:
    before = state_in(phase)
    after = STEPS[step](before)
    assert after.phase is LEGAL[step, phase]
    assert after.history[:-1] == before.history
    entry = after.history[-1]
    assert (entry.timestamp, entry.from_phase, entry.to_phase) == (LATER, phase, after.phase)
    assert after.updated_at == LATER
    assert after.created_at == before.created_at
    reasons = {
        InputStep.ROLLBACK_STAGED: "run_failed",
        InputStep.RECOVER: "recovered",
        InputStep.SUPERSEDE: "superseded",
        InputStep.COALESCE: "coalesced",
        InputStep.CONSUME_ON_ACCEPT: "consume_on_accept",
        InputStep.ABANDON: "retired",
    }
    assert entry.reason == reasons.get(step)
    assert (after.input is None) == after.is_terminal
    assert (after.terminal_outcome is not None) == after.is_terminal


@pytest.mark.parametrize(("step", "phase"), EVERY_PAIR, ids=str)
def test_lif_12_the_probe_agrees_with_the_step(step: InputStep, phase: InputPhase) -> None:
    state = state_in(phase)
    kept = evolve(state)
    legal = (step, phase) in LEGAL
    assert [allows(state, step) for _ in range(3)] == [legal] * 3
    assert state == kept
    if not legal:
        with pytest.raises(InvalidInputTransition) as refused:
            STEPS[step](state)
        assert (refused.value.step, refused.value.phase) == (step.value, phase.value)
        assert state == kept


def test_lif_14_an_ending_is_told_and_recorded(runtime: Runtime) -> None:
    first, second = runtime.admit(prompt(), prompt())
    done = runtime.complete(runtime.stage())
    assert ("input.consumed", first) in [
        (str(emit.event.code), getattr(emit.event, "input_id", None))
        for emit in effects_of(done, kernel.Emit)
    ]
    assert runtime.state(first).terminal_outcome == ConsumedOutcome()
    given_up = runtime.do(kernel.Stop())
    assert "input.abandoned" in codes_of(given_up)
    assert runtime.state(second).terminal_outcome == AbandonedOutcome(
        AbandonReason(AbandonCause.STOPPED)
    )


@pytest.mark.parametrize("phase", InputPhase, ids=str)
def test_lif_15_phases_equal_themselves(phase: InputPhase) -> None:
    assert round_trip(phase) is phase
    terminal = {P.CONSUMED, P.SUPERSEDED, P.COALESCED, P.ABANDONED}
    assert phase.is_terminal == (phase in terminal)
    state = state_in(phase)
    assert round_trip(state) == state


@pytest.mark.parametrize(
    ("outcome", "document"),
    [
        (ConsumedOutcome(), {"outcome_type": "consumed"}),
        (
            SupersededOutcome(OTHER),
            {"outcome_type": "superseded", "superseded_by": str(OTHER)},
        ),
        (CoalescedOutcome(OTHER), {"outcome_type": "coalesced", "aggregate_id": str(OTHER)}),
        *(
            (
                AbandonedOutcome(reason),
                {
                    "outcome_type": "abandoned",
                    "reason": {"cause": reason.cause.value}
                    | ({} if reason.attempts is None else {"attempts": reason.attempts}),
                },
            )
            for reason in REASONS
        ),
    ],
)
def test_lif_15_outcomes_equal_themselves(outcome: TerminalOutcome, document: Any) -> None:
    assert json.loads(to_json(outcome)) == document
    assert round_trip(outcome) == outcome


# --- attempts ---------------------------------------------------------------------------


def test_a_rollback_keeps_the_attempt_and_the_place() -> None:
    staged = state_in(P.STAGED, sequence=4)
    back = lifecycle.rollback_staged(staged, LATER, reason="run_failed", error="boom")
    assert (back.attempt_count, back.last_run_id, back.admission_sequence) == (1, None, 4)
    assert back.last_error == "boom"
    uncounted = lifecycle.rollback_staged(
        staged, LATER, reason="executor_stopped", error=None, uncounted=True
    )
    assert (uncounted.attempt_count, uncounted.last_error) == (0, None)


def test_attempts_belong_to_max_attempts_exhausted_alone() -> None:
    with pytest.raises(ValueError, match="attempts goes with"):
        AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED)
    with pytest.raises(ValueError, match="attempts goes with"):
        AbandonReason(AbandonCause.RESET, 1)


def test_what_came_of_a_run_and_what_was_decided_stay_with_the_input() -> None:
    pending = state_in(InputPhase.APPLIED_PENDING_CONSUMPTION)
    assert lifecycle.consume(pending, START, result={"a": 1}).result == {"a": 1}
    policy = state_in(InputPhase.QUEUED).policy
    assert policy is not None
    assert lifecycle.consume_on_accept(accepted_state(), START, policy=policy).policy == policy
