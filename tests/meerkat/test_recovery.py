"""Recovery: what a crash leaves, what it becomes, and what the report counts."""

from __future__ import annotations

from typing import ClassVar

import pytest
from attrs import evolve
from builders import (
    START,
    Clock,
    Runtime,
    effects_of,
    message,
    operation,
    progress,
    prompt,
    state_in,
    uuid_of,
)

from meerkat import (
    EphemeralRuntimeDriver,
    Input,
    InputPhase,
    InputState,
    RecoveryReport,
    RunId,
    RuntimeState,
    kernel,
)
from meerkat.errors import RecoveryCorruption
from meerkat.input_lifecycle import (
    AbandonCause,
    AbandonedOutcome,
    AbandonReason,
    ConsumedOutcome,
    contradiction,
)
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.policy import DEFAULT_POLICY, Lane, PolicyDecision
from meerkat.recovery import receipts_wanted, refuse_corruption

P = InputPhase
RUN = RunId(uuid_of(7))
"""The run that ``state_in`` stages for; its boundary is number 0."""
RECEIPT_STORED = "a receipt of the run lists every input it was staged for"
NO_RECEIPT = kernel.Recover(frozenset())
NO_STORE = kernel.Recover(None)


def holding(*states: InputState, rules: Rules | None = None) -> Runtime:
    """An attached runtime as a crash left it."""
    runtime = Runtime(rules)
    for state in states:
        runtime.memory.ledger.put(state)
    placed = [s.admission_sequence + 1 for s in states if s.admission_sequence is not None]
    head = runtime.memory.head
    runtime.memory.head = evolve(head, next_admission_sequence=max([0, *placed]))
    return runtime


def as_command(runtime: Runtime, said: kernel.Recover | str) -> kernel.Recover:
    """What the store says of the receipts, about the inputs that are there."""
    if isinstance(said, kernel.Recover):
        return said
    return kernel.Recover(frozenset(state.input_id for state in runtime.memory.ledger.active()))


def recovered(runtime: Runtime, said: kernel.Recover | str) -> RecoveryReport:
    report = runtime.do(as_command(runtime, said)).reply
    assert isinstance(report, RecoveryReport)
    return report


# --- the table --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "command", "becomes", "requeued", "changed"),
    [
        (P.ACCEPTED, NO_RECEIPT, P.QUEUED, 1, True),
        (P.QUEUED, NO_RECEIPT, P.QUEUED, 0, False),
        (P.STAGED, NO_RECEIPT, P.QUEUED, 1, True),
        (P.STAGED, RECEIPT_STORED, P.QUEUED, 1, True),
        (P.APPLIED, RECEIPT_STORED, P.CONSUMED, 0, True),
        (P.APPLIED, NO_RECEIPT, P.QUEUED, 1, True),
        (P.APPLIED, NO_STORE, P.APPLIED, 0, False),
        (P.APPLIED_PENDING_CONSUMPTION, RECEIPT_STORED, P.CONSUMED, 0, True),
        (P.APPLIED_PENDING_CONSUMPTION, NO_RECEIPT, P.QUEUED, 1, True),
        (P.APPLIED_PENDING_CONSUMPTION, NO_STORE, P.APPLIED_PENDING_CONSUMPTION, 0, False),
    ],
)
def test_every_phase_a_crash_can_leave(
    found: InputPhase,
    command: kernel.Recover,
    becomes: InputPhase,
    requeued: int,
    changed: bool,
) -> None:
    before = state_in(found)
    runtime = holding(before)
    done = runtime.do(as_command(runtime, command))
    report = done.reply
    assert isinstance(report, RecoveryReport)
    assert (report.inputs_recovered, report.inputs_requeued, report.inputs_abandoned) == (
        1,
        requeued,
        0,
    )
    after = runtime.state(before.input_id)
    assert after.phase is becomes
    assert len(done.states) == changed
    assert after.recovery_count == changed
    if not changed:
        assert after is before
    if becomes is P.QUEUED and found is not P.ACCEPTED:
        assert (after.last_run_id, after.last_boundary_sequence) == (None, None)
        assert after.attempt_count == before.attempt_count
        assert after.admission_sequence == before.admission_sequence
    if becomes is P.CONSUMED:
        assert after.terminal_outcome == ConsumedOutcome()
        assert (after.last_run_id, after.last_boundary_sequence) == (RUN, 0)


@pytest.mark.parametrize("phase", [P.CONSUMED, P.SUPERSEDED, P.COALESCED, P.ABANDONED], ids=str)
def test_terminal_rows_are_untouched(phase: InputPhase) -> None:
    before = state_in(phase)
    runtime = holding(before)
    assert recovered(runtime, NO_RECEIPT) == RecoveryReport()
    assert runtime.state(before.input_id) is before


# --- attempts of crashes ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "becomes"), [(8, P.QUEUED), (9, P.QUEUED), (10, P.ABANDONED), (11, P.ABANDONED)]
)
@pytest.mark.parametrize("phase", [P.STAGED, P.APPLIED])
def test_a_run_that_keeps_killing_the_process_ends(
    phase: InputPhase, attempts: int, becomes: InputPhase
) -> None:
    before = evolve(state_in(phase), attempt_count=attempts)
    runtime = holding(before)
    report = recovered(runtime, NO_RECEIPT)
    after = runtime.state(before.input_id)
    assert (after.phase, after.attempt_count, after.recovery_count) == (becomes, attempts, 1)
    assert report.inputs_recovered == 1
    gone = becomes is P.ABANDONED
    assert (report.inputs_abandoned, report.inputs_requeued) == (int(gone), int(not gone))
    if gone:
        exhausted = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, attempts)
        assert after.terminal_outcome == AbandonedOutcome(exhausted)


def test_the_limit_of_crashes_can_be_set() -> None:
    before = state_in(P.STAGED)
    runtime = holding(before, rules=Rules(limits=Limits(crash_attempts_max=1)))
    assert recovered(runtime, NO_RECEIPT).inputs_abandoned == 1


def test_a_receipt_proves_the_inputs_it_lists_and_no_other() -> None:
    pending, other = (state_in(P.APPLIED_PENDING_CONSUMPTION, sequence=n) for n in (0, 1))
    runtime = holding(pending, other)
    runtime.do(kernel.Recover(frozenset({other.input_id})))
    assert runtime.phase(pending.input_id) is P.QUEUED
    assert runtime.phase(other.input_id) is P.CONSUMED
    assert receipts_wanted([pending, state_in(P.STAGED), state_in(P.QUEUED)]) == ((RUN, 0),)


# --- scenarios --------------------------------------------------------------------------


def test_rec_02_a_lost_lane_is_projected_again() -> None:
    queued = state_in(P.QUEUED)
    runtime = holding(queued)
    lanes = runtime.memory.ledger._lanes
    lanes[Lane.QUEUE].leave(queued)
    assert runtime.lane(Lane.QUEUE) == []
    assert recovered(runtime, NO_STORE) == RecoveryReport(inputs_recovered=1)
    assert runtime.lane(Lane.QUEUE) == [queued.input_id]


def test_rec_06_applied_work_of_a_runtime_without_a_store_stays() -> None:
    pending = state_in(P.APPLIED_PENDING_CONSUMPTION)
    runtime = holding(pending)
    report = recovered(runtime, NO_STORE)
    assert (report.inputs_recovered, report.inputs_requeued) == (1, 0)
    assert runtime.state(pending.input_id) is pending
    assert [runtime.lane(lane) for lane in Lane] == [[], []]


def test_rec_07_in_flight_work_comes_first_in_its_own_lane() -> None:
    in_flight = [
        state_in(P.STAGED, message(), sequence=0),
        state_in(P.STAGED, progress(), sequence=1),
    ]
    waiting = [
        state_in(P.QUEUED, message(), sequence=2),
        state_in(P.QUEUED, progress(), sequence=3),
    ]
    offered = [state_in(P.ACCEPTED, prompt()), state_in(P.ACCEPTED, progress())]
    runtime = holding(*waiting, *offered, *in_flight)
    report = recovered(runtime, NO_RECEIPT)
    assert (report.inputs_recovered, report.inputs_requeued) == (6, 4)
    for lane, place in ((Lane.QUEUE, 0), (Lane.STEER, 1)):
        assert runtime.lane(lane) == [
            in_flight[place].input_id,
            waiting[place].input_id,
            offered[place].input_id,
        ]
    sequences = [runtime.state(each.input_id).admission_sequence for each in offered]
    assert sequences == [4, 5]
    assert runtime.memory.head.next_admission_sequence == 6
    assert runtime.memory.head.run is None
    assert runtime.memory.runnable


# --- the report -------------------------------------------------------------------------


def test_the_report_has_a_line_for_each_kind_of_action() -> None:
    runtime = holding(
        state_in(P.ACCEPTED),
        state_in(P.QUEUED),
        state_in(P.STAGED),
        state_in(P.STAGED),
        evolve(state_in(P.STAGED), attempt_count=10),
        state_in(P.APPLIED_PENDING_CONSUMPTION),
    )
    assert recovered(runtime, RECEIPT_STORED) == RecoveryReport(
        inputs_recovered=6,
        inputs_abandoned=1,
        inputs_requeued=3,
        details=(
            "queued what was only accepted: 1",
            "requeued what was in flight: 2",
            "consumed what a receipt proves: 1",
            "abandoned after too many attempts: 1",
        ),
    )


def test_recovering_twice_gives_the_same() -> None:
    runtime = holding(state_in(P.ACCEPTED), state_in(P.STAGED, sequence=3), state_in(P.QUEUED))
    recovered(runtime, NO_RECEIPT)
    once = list(runtime.memory.ledger.active())
    lane, head = runtime.lane(Lane.QUEUE), runtime.memory.head
    done = runtime.do(NO_RECEIPT)
    assert done.reply == RecoveryReport(inputs_recovered=3)
    assert done.states == ()
    assert effects_of(done, kernel.Emit) == []
    assert list(runtime.memory.ledger.active()) == once
    assert (runtime.lane(Lane.QUEUE), runtime.memory.head) == (lane, head)


@pytest.mark.parametrize("state", [RuntimeState.IDLE, RuntimeState.RETIRED, RuntimeState.STOPPED])
def test_recovery_leaves_the_state_as_it_is(state: RuntimeState) -> None:
    driver = EphemeralRuntimeDriver("agent-1", now=Clock())
    if state is RuntimeState.RETIRED:
        driver.retire()
    if state is RuntimeState.STOPPED:
        driver.stop()
    assert driver.recover() == RecoveryReport()
    assert driver.runtime_state() is state


def test_ephemeral_inputs_survive_a_recovery_in_place(driver: EphemeralRuntimeDriver) -> None:
    offered = prompt(durability="ephemeral")
    driver.accept_input(offered)
    assert driver.recover().inputs_recovered == 1
    assert driver.recycle().inputs_transferred == 1
    assert driver.active_input_ids() == [offered.id]


# --- unsound rows -----------------------------------------------------------------------

EXHAUSTED = AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, 3)
UNSOUND = [
    (evolve(state_in(P.CONSUMED), terminal_outcome=None), "terminal without its outcome"),
    (evolve(state_in(P.QUEUED), terminal_outcome=ConsumedOutcome()), "an outcome, yet"),
    (evolve(state_in(P.ABANDONED), terminal_outcome=ConsumedOutcome()), "another phase's"),
    (
        evolve(state_in(P.ABANDONED), terminal_outcome=AbandonedOutcome(EXHAUSTED)),
        "exhausted after 3 attempts, yet 0 were counted",
    ),
    (evolve(state_in(P.QUEUED), input=None), "queued without its payload"),
    (evolve(state_in(P.QUEUED), admission_sequence=None), "queued without its admission_sequence"),
    (evolve(state_in(P.QUEUED), policy=None), "queued without its policy"),
    (evolve(state_in(P.STAGED), input=None), "staged without its payload"),
]


@pytest.mark.parametrize(("state", "said"), UNSOUND, ids=[said for _, said in UNSOUND])
def test_an_unsound_row_is_refused_by_name(state: InputState, said: str) -> None:
    with pytest.raises(RecoveryCorruption) as refused:
        refuse_corruption(state)
    assert str(refused.value).startswith(f"Recovery corruption: input {state.input_id}: ")
    assert said in refused.value.reason


@pytest.mark.parametrize("phase", InputPhase, ids=str)
def test_sound_rows_pass(phase: InputPhase) -> None:
    state = state_in(phase)
    assert contradiction(state) is None
    assert refuse_corruption(state) is state


def test_an_exhausted_row_with_its_count_passes() -> None:
    state = evolve(
        state_in(P.ABANDONED), terminal_outcome=AbandonedOutcome(EXHAUSTED), attempt_count=3
    )
    assert contradiction(state) is None
    assert state.created_at == START


# --- afterwards -------------------------------------------------------------------------


def test_it_wakes_while_anything_is_left_to_do() -> None:
    """Whatever is found behind it."""
    hopeless = evolve(state_in(P.STAGED, prompt(), sequence=1), attempt_count=10)
    runtime = holding(state_in(P.QUEUED, prompt(), sequence=0), hopeless)
    assert recovered(runtime, NO_RECEIPT).inputs_abandoned == 1
    assert runtime.memory.runnable
    alone = holding(hopeless)
    assert recovered(alone, NO_RECEIPT).inputs_abandoned == 1
    assert not alone.memory.head.awake


def test_the_stored_row_is_as_it_should_be(runtime: Runtime) -> None:
    runtime.memory.head = evolve(runtime.memory.head, row_is_stale=True)
    recovered(runtime, NO_RECEIPT)
    assert runtime.memory.head.row_is_stale is False


def test_what_was_only_accepted_keeps_a_place_that_it_has() -> None:
    placed = evolve(state_in(P.ACCEPTED), admission_sequence=3)
    runtime = holding(placed, state_in(P.QUEUED, prompt(), sequence=7))
    recovered(runtime, NO_RECEIPT)
    assert runtime.state(placed.input_id).admission_sequence == 3
    assert runtime.memory.head.next_admission_sequence == 8


def test_what_was_only_accepted_is_decided_about_as_in_a_runtime_at_rest() -> None:
    class Table:
        asked: ClassVar[list[bool]] = []

        def resolve(
            self,
            input: Input,  # noqa: A002
            *,
            running: bool,
        ) -> PolicyDecision:
            self.asked.append(running)
            return DEFAULT_POLICY.resolve(input, running=running)

    offered = operation()
    runtime = holding(
        state_in(P.ACCEPTED), state_in(P.ACCEPTED, offered), rules=Rules(policy=Table())
    )
    report = recovered(runtime, NO_RECEIPT)
    assert (report.inputs_recovered, report.inputs_requeued) == (2, 2)
    assert Table.asked == [False, False]
    state = runtime.state(offered.id)
    assert (state.phase, state.terminal_outcome) == (P.CONSUMED, ConsumedOutcome())
    assert state.policy == DEFAULT_POLICY.resolve(offered, running=False)
    assert state.recovery_count == 1


def test_only_applied_inputs_ask_for_a_receipt_and_each_for_its_own() -> None:
    """One that waits may have been in a run before; one in flight has proved nothing."""
    second = evolve(
        state_in(P.APPLIED_PENDING_CONSUMPTION), last_boundary_sequence=1, last_run_id=RUN
    )
    others = [
        state_in(P.QUEUED),
        evolve(state_in(P.QUEUED), last_run_id=RUN),
        evolve(state_in(P.STAGED), last_run_id=RunId(uuid_of(8))),
    ]
    assert receipts_wanted([second, state_in(P.APPLIED), *others]) == ((RUN, 1), (RUN, 0))
