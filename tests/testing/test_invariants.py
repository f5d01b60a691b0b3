"""Each invariant can fail: what is broken by hand is found, under its number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from attrs import evolve

from meerkat import (
    ContinuationInput,
    EphemeralRuntimeDriver,
    IdempotencyKey,
    InputId,
    InputPhase,
    InputState,
    LogicalRuntimeId,
    OperationId,
    PersistentRuntimeDriver,
    PromptInput,
    RunId,
    RunOutput,
    RuntimeState,
)
from meerkat.epoch import EpochCursorSnapshot
from meerkat.identifiers import RuntimeEpochId
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, AbandonReason
from meerkat.limits import Limits
from meerkat.operations import OperationKind, OperationRecord
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.policy import Lane
from meerkat.store import MemoryStore
from meerkat.store.protocol import RuntimeRow
from meerkat.testing.invariants import (
    InvariantBroken,
    Moment,
    check_driver,
    check_memory,
    check_moment,
    check_refused,
    check_step,
    check_store,
    observed,
)

AGENT = LogicalRuntimeId("agent-1")


def a_life() -> MemoryStore:
    """A run that was proven, one that has failed once, a steered one, and two that wait."""
    store = MemoryStore()
    driver = PersistentRuntimeDriver(AGENT, store)
    driver.attach_executor()
    driver.accept_input(PromptInput("first", idempotency_key="first"))
    driver.complete_run(driver.start_run() and in_hand(driver), RunOutput(append=[{"a": 1}]))
    for text in ("second", "third", "fourth"):
        driver.accept_input(PromptInput(text, idempotency_key=text))
    driver.start_run()
    driver.fail_run(in_hand(driver), "boom")
    driver.accept_input(ContinuationInput("go on"))
    return store


def in_hand(driver: EphemeralRuntimeDriver | PersistentRuntimeDriver) -> RunId:
    run_id = driver.current_run_id
    assert run_id is not None
    return run_id


@pytest.fixture
def moment() -> Moment:
    return observed(a_life())[AGENT]


def test_a_sound_store_is_sound() -> None:
    seen = check_store(a_life())
    assert len(seen[AGENT].inputs) == 5
    assert [state.attempt_count for state in seen[AGENT].inputs.values()].count(1) == 2


# --- what one look shows ----------------------------------------------------------------

Tamper = Callable[[Moment], Moment]


def consumed(moment: Moment) -> InputState:
    return next(s for s in moment.inputs.values() if s.phase is InputPhase.CONSUMED)


def queued(moment: Moment, nth: int = 0) -> InputState:
    """The one that failed, then those that were never tried."""
    waiting = [s for s in moment.inputs.values() if s.phase is InputPhase.QUEUED]
    return sorted(waiting, key=lambda state: state.admission_sequence or 0)[nth]


def of_input(which: Callable[[Moment], InputState], **changes: Any) -> Tamper:
    def tampered(moment: Moment) -> Moment:
        state = which(moment)
        return evolve(moment, inputs={**moment.inputs, state.input_id: evolve(state, **changes)})

    return tampered


def of_receipt(**changes: Any) -> Tamper:
    def tampered(moment: Moment) -> Moment:
        ((place, receipt),) = moment.receipts.items()
        return evolve(moment, receipts={place: evolve(receipt, **changes)})

    return tampered


def of_row(**changes: Any) -> Tamper:
    def tampered(moment: Moment) -> Moment:
        assert moment.row is not None
        return evolve(moment, row=evolve(moment.row, **changes))

    return tampered


def exhausted(attempts: int) -> AbandonedOutcome:
    return AbandonedOutcome(AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, attempts))


def history_of(which: Callable[[Moment], InputState], cut: Callable[[Any], Any]) -> Tamper:
    return lambda moment: of_input(which, history=cut(which(moment).history))(moment)


def twice_proven(moment: Moment) -> Moment:
    ((_, receipt),) = moment.receipts.items()
    again = evolve(receipt, run_id=RunId.new())
    return evolve(moment, receipts={**moment.receipts, (again.run_id, 0): again})


def abandoned_after(attempts: int, told: int) -> Tamper:
    """An input that only ever failed, with a history of as many stagings."""

    def tampered(moment: Moment) -> Moment:
        state = queued(moment)
        tried = state.history[1:3] * attempts
        end = evolve(state.history[-1], from_phase="queued", to_phase=InputPhase.ABANDONED)
        end = evolve(end, from_phase=InputPhase.QUEUED)
        changed = evolve(
            state,
            phase=InputPhase.ABANDONED,
            attempt_count=attempts,
            history=(state.history[0], *tried, end),
            terminal_outcome=exhausted(told),
        )
        return evolve(moment, inputs={**moment.inputs, state.input_id: changed})

    return tampered


ID, RUN = InputId.new(), RunId.new()
BROKEN: Mapping[str, tuple[int, Tamper]] = {
    "an end without its outcome": (2, of_input(consumed, terminal_outcome=None)),
    "an outcome without its end": (2, of_input(queued, terminal_outcome=exhausted(0))),
    "another phase's outcome": (2, of_input(consumed, terminal_outcome=exhausted(0))),
    "a history that ends elsewhere": (2, of_input(queued, phase=InputPhase.APPLIED)),
    "a history with a hole": (2, history_of(consumed, lambda lines: lines[1:])),
    "a history that was cut": (2, history_of(queued, lambda lines: lines[:-1])),
    "a key of two inputs": (
        3,
        of_input(lambda m: queued(m, 1), idempotency_key=IdempotencyKey("first")),
    ),
    "work left in a stopped runtime": (4, of_row(state=RuntimeState.STOPPED)),
    "work left in a destroyed runtime": (4, of_row(state=RuntimeState.DESTROYED)),
    "a receipt of nothing": (9, of_receipt(contributing_input_ids=())),
    "a receipt with a hole before it": (9, of_receipt(sequence=1)),
    "a receipt of another run": (9, of_receipt(run_id=RUN)),
    "a receipt that is not there": (9, lambda moment: evolve(moment, receipts={})),
    "two receipts of one input": (9, twice_proven),
    "another digest": (9, of_receipt(conversation_digest="0" * 64)),
    "another count": (9, of_receipt(message_count=7)),
    "a receipt of what still waits": (
        10,
        lambda m: of_receipt(contributing_input_ids=(queued(m).input_id,))(
            of_input(consumed, last_boundary_sequence=None)(m)
        ),
    ),
    "attempts nobody made": (11, of_input(queued, attempt_count=2)),
    "attempts without end": (11, abandoned_after(11, 11)),
    "one failure too many": (11, abandoned_after(4, 4)),
    "another number of attempts told": (11, abandoned_after(3, 2)),
    "a number given twice": (12, of_input(lambda m: queued(m, 1), admission_sequence=0)),
    "a number that comes again": (12, of_row(next_admission_sequence=2)),
    "one behind whose back a later one was tried": (
        12,
        lambda m: of_row(next_admission_sequence=100)(of_input(queued, admission_sequence=99)(m)),
    ),
    "injected before it was observed": (
        13,
        of_row(cursors=EpochCursorSnapshot(runtime_last_injected_seq=1)),
    ),
    "observed before it happened": (
        13,
        of_row(cursors=EpochCursorSnapshot(runtime_observed_seq=1)),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_a_look_shows_is_found_broken(moment: Moment, name: str) -> None:
    number, tamper = BROKEN[name]
    with pytest.raises(InvariantBroken) as broken:
        check_moment(AGENT, tamper(moment))
    assert broken.value.number == number, str(broken.value)
    assert broken.value.runtime_id == "agent-1"
    assert "agent-1" in str(broken.value)


def test_what_is_staged_for_two_runs_is_found(moment: Moment) -> None:
    for nth in (0, 1):
        state = queued(moment, nth)
        staged = evolve(state.history[0], from_phase=state.phase, to_phase=InputPhase.STAGED)
        moment = of_input(
            lambda _, state=state: state,  # type: ignore[misc]
            phase=InputPhase.STAGED,
            attempt_count=1,
            last_run_id=RunId.new(),
            history=(*state.history, staged),
        )(moment)
    with pytest.raises(InvariantBroken, match="staged for 2 runs") as broken:
        check_moment(AGENT, moment)
    assert broken.value.number == 5


def operation(moment: Moment) -> OperationRecord:
    return OperationRecord(
        operation_id=OperationId.new(),
        kind=OperationKind.BACKGROUND_TOOL_OP,
        display_name="a tool",
        created_at=queued(moment).created_at,
    )


def test_operations_that_are_where_they_do_not_belong_are_found(moment: Moment) -> None:
    record = operation(moment)
    epoch = RuntimeEpochId.new()
    for snapshot in (
        OpsSnapshot(epoch_id=epoch, operations=(record,)),
        OpsSnapshot(epoch_id=epoch, live=(record, operation(moment))),
    ):
        with pytest.raises(InvariantBroken) as broken:
            check_moment(
                AGENT, evolve(moment, operations=snapshot), limits=Limits(operations_live_max=1)
            )
        assert broken.value.number == 14


# --- one runtime in memory --------------------------------------------------------------


class LyingDriver(EphemeralRuntimeDriver):
    """Says something else than it holds."""

    says: Mapping[str, Any] = {}

    def waiting_input_ids(self, lane: Lane) -> list[InputId]:
        found: list[InputId] = super().waiting_input_ids(lane)
        return found + list(self.says.get(lane.value, ()))

    def runtime_state(self) -> RuntimeState:
        said: RuntimeState = self.says.get("state") or super().runtime_state()
        return said

    @property
    def current_run_id(self) -> RunId | None:
        return self.says.get("run_id", super().current_run_id)


@pytest.fixture
def driver() -> LyingDriver:
    driver = LyingDriver(AGENT)
    for text in ("first", "second"):
        driver.accept_input(PromptInput(text))
    return driver


def test_a_sound_driver_is_sound(driver: LyingDriver) -> None:
    check_driver(driver)
    driver.start_run()
    check_driver(driver)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (4, {"steer": [ID]}),
        (4, {"steer": "itself"}),
        (5, {"state": RuntimeState.RUNNING}),
        (5, {"run_id": RUN}),
        (5, {"state": RuntimeState.RUNNING, "run_id": RUN}),
    ],
    ids=["unknown in a lane", "in two lanes", "no run", "idle in a run", "no contributors"],
)
def test_a_driver_that_contradicts_itself_is_found(
    driver: LyingDriver, number: int, says: dict[str, Any]
) -> None:
    itself = driver.waiting_input_ids(Lane.QUEUE)
    driver.says = {name: itself if said == "itself" else said for name, said in says.items()}
    with pytest.raises(InvariantBroken) as broken:
        check_driver(driver)
    assert broken.value.number == number


def test_a_run_that_is_another_ones_is_found(driver: LyingDriver) -> None:
    driver.start_run()
    driver.says = {"run_id": RUN}
    with pytest.raises(InvariantBroken) as broken:
        check_driver(driver)
    assert broken.value.number == 5


def test_a_memory_whose_run_is_gone_is_found(driver: LyingDriver) -> None:
    driver.start_run()
    memory = driver._memory
    check_memory(memory)
    memory.head = evolve(memory.head, run=None)
    with pytest.raises(InvariantBroken) as broken:
        check_memory(memory)
    assert broken.value.number == 5


def test_a_memory_with_too_many_operations_is_found(driver: LyingDriver) -> None:
    memory = driver._memory
    live = frozenset({OperationId.new(), OperationId.new()})
    memory.head = evolve(memory.head, live_operations=live)
    check_memory(memory, limits=Limits(operations_live_max=2))
    with pytest.raises(InvariantBroken) as broken:
        check_memory(memory, limits=Limits(operations_live_max=1))
    assert broken.value.number == 14


# --- two moments ------------------------------------------------------------------------

OTHER = LogicalRuntimeId("agent-2")


def without(which: Callable[[Moment], InputState]) -> Tamper:
    def tampered(moment: Moment) -> Moment:
        gone = which(moment).input_id
        return evolve(moment, inputs={k: v for k, v in moment.inputs.items() if k != gone})

    return tampered


STEPS: Mapping[str, tuple[int, Tamper]] = {
    "an ended input that changed": (2, of_input(consumed, result={"a": 1})),
    "a history that is another": (2, history_of(queued, lambda lines: lines[1:])),
    "an input that is gone": (10, without(queued)),
    "a receipt that is gone": (9, lambda moment: evolve(moment, receipts={})),
    "a receipt that was written again": (9, of_receipt(message_count=2)),
    "a fence that fell": (13, of_row(fence=1)),
    "numbers that start again": (13, of_row(next_admission_sequence=0)),
}


@pytest.mark.parametrize("name", STEPS)
def test_what_a_step_may_not_change_is_found(moment: Moment, name: str) -> None:
    number, tamper = STEPS[name]
    check_step({AGENT: moment}, {AGENT: moment})
    with pytest.raises(InvariantBroken) as broken:
        check_step({AGENT: moment}, {AGENT: tamper(moment)})
    assert broken.value.number == number


@pytest.mark.parametrize(
    "cursor", ["agent_applied_cursor", "runtime_observed_seq", "runtime_last_injected_seq"]
)
def test_a_cursor_that_goes_back_is_found(moment: Moment, cursor: str) -> None:
    further = of_row(cursors=EpochCursorSnapshot(**{cursor: 3}))(moment)
    with pytest.raises(InvariantBroken) as broken:
        check_step({AGENT: further}, {AGENT: moment})
    assert broken.value.number == 13
    another_epoch = of_row(epoch_id=RuntimeEpochId.new())(moment)
    check_step({AGENT: further}, {AGENT: another_epoch})


def test_a_step_of_another_runtime_changes_nothing(moment: Moment) -> None:
    later = of_row(silent_intents=frozenset({"hush"}))(moment)
    before, after = {AGENT: moment, OTHER: moment}, {AGENT: later, OTHER: moment}
    check_step(before, after, touched=[AGENT])
    with pytest.raises(InvariantBroken) as broken:
        check_step(before, after, touched=["agent-2"])
    assert broken.value.number == 15
    with pytest.raises(InvariantBroken, match="gone"):
        check_step(before, {AGENT: moment})


def test_a_refused_step_that_changed_something_is_found(moment: Moment) -> None:
    check_refused({AGENT: moment}, {AGENT: moment})
    changed = of_input(queued, last_error="oh")(moment)
    with pytest.raises(InvariantBroken, match="has changed inputs") as broken:
        check_refused({AGENT: moment}, {AGENT: changed})
    assert broken.value.number == 1
    with pytest.raises(InvariantBroken):
        check_refused({}, {AGENT: moment})


def test_retention_may_cut_down_what_has_ended(moment: Moment) -> None:
    cut = of_input(consumed, history=(), policy=None)(moment)
    pruned = evolve(cut, receipts={})
    check_step({AGENT: moment}, {AGENT: pruned}, pruned=True)
    check_moment(AGENT, pruned)
    with pytest.raises(InvariantBroken):
        check_step({AGENT: moment}, {AGENT: pruned})
    forgot = of_input(consumed, idempotency_key=None)(pruned)
    with pytest.raises(InvariantBroken):
        check_step({AGENT: moment}, {AGENT: forgot}, pruned=True)


def test_a_runtime_that_was_never_stored_is_not_looked_at() -> None:
    assert observed(MemoryStore(), ["agent-1"]) == {}


def test_a_row_alone_is_enough() -> None:
    check_moment(AGENT, Moment(state=RuntimeState.IDLE, row=RuntimeRow(runtime_id=AGENT)))
