"""The persistent driver: what is on disk when a call returns; nothing of one that raised."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_builders import driver_over, read_again

from meerkat import (
    Accepted,
    Deduplicated,
    InputPhase,
    InputState,
    OperationId,
    OperationInput,
    Rejected,
    RunOutput,
    RuntimeState,
    to_json,
)
from meerkat.conversation import digest_of
from meerkat.errors import (
    InputValidationFailed,
    RunRefused,
    RuntimeNotReady,
    StoreError,
)
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, AbandonReason
from meerkat.json_values import canonical
from meerkat.store import Batch, MemoryStore, RuntimeStore, SqliteStore
from meerkat.testing.store_rows import R1, input_id, prompt


class Watched(MemoryStore):
    """A store that counts its commits, and refuses them when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[Batch] = []
        self.refusing = False

    def commit(self, batch: Batch) -> None:
        if self.refusing:
            raise StoreError("no space left on device")
        super().commit(batch)
        self.commits.append(batch)


def stored(store: RuntimeStore, number: int) -> InputState:
    state = store.load_input(R1, input_id(number))
    assert state is not None
    return state


def abandoned(cause: AbandonCause) -> AbandonedOutcome:
    return AbandonedOutcome(AbandonReason(cause))


def test_per_01_an_accepted_prompt_is_on_disk_when_the_call_returns(
    sqlite_store: SqliteStore, path: Path
) -> None:
    driver = driver_over(sqlite_store)
    outcome = driver.accept_input(prompt(1))
    assert isinstance(outcome, Accepted)
    elsewhere = read_again(path).load_input(R1, input_id(1))
    assert elsewhere == outcome.state == driver.input_state(input_id(1))
    assert elsewhere is not None
    assert elsewhere.phase is InputPhase.QUEUED


def test_per_02_a_duplicate_key_leaves_one_row(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.accept_input(prompt(1, "k"))
    again = driver.accept_input(prompt(2, "k"))
    assert isinstance(again, Deduplicated)
    assert (again.input_id, again.existing_id) == (input_id(2), input_id(1))
    assert store.load_input(R1, input_id(2)) is None
    assert len(store.load_active_inputs(R1)) == 1


def test_per_02_the_key_holds_after_the_end_reset_and_restart(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.accept_input(prompt(1, "run"))
    driver.complete_run(driver.start_run() and driver.current_run_id)  # type: ignore[arg-type]
    driver.accept_input(prompt(2, "reset"))
    driver.reset()
    for each in (driver, driver_over(store)):
        for number, key in ((1, "run"), (2, "reset")):
            again = each.accept_input(prompt(9, key))
            assert isinstance(again, Deduplicated)
            assert again.existing_id == input_id(number)
            assert again.existing_state.is_terminal


def test_an_id_offered_again_is_a_duplicate_after_its_end(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.accept_input(OperationInput(OperationId.new(), {}, id=input_id(1)))
    again = driver.accept_input(prompt(1))
    assert isinstance(again, Deduplicated)
    assert again.existing_state.phase is InputPhase.CONSUMED


def test_per_05_retiring_for_drain_keeps_the_queue(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.attach_executor()
    driver.accept_input(prompt(1))
    driver.accept_input(prompt(2))
    assert driver.retire().inputs_pending_drain == 2
    assert [state.phase for state in store.load_active_inputs(R1)] == [InputPhase.QUEUED] * 2
    row = store.load_runtime(R1)
    assert row is not None
    assert row.state is RuntimeState.RETIRED
    again = driver_over(store)
    assert again.runtime_state() is RuntimeState.RETIRED
    with pytest.raises(RuntimeNotReady, match="retired"):
        again.accept_input(prompt(3))
    again.start_run()


@pytest.mark.parametrize(
    ("give_up", "cause", "state"),
    [
        ("reset", AbandonCause.RESET, RuntimeState.IDLE),
        ("stop", AbandonCause.STOPPED, RuntimeState.STOPPED),
        ("destroy", AbandonCause.DESTROYED, RuntimeState.DESTROYED),
        ("retire", AbandonCause.RETIRED, RuntimeState.RETIRED),
    ],
)
def test_per_06_giving_up_is_stored_with_its_reason(
    store: RuntimeStore, give_up: str, cause: AbandonCause, state: RuntimeState
) -> None:
    driver = driver_over(store)
    for number in (1, 2):
        driver.accept_input(prompt(number))
    assert getattr(driver, give_up)().inputs_abandoned == 2
    for number in (1, 2):
        assert stored(store, number).phase is InputPhase.ABANDONED
        assert stored(store, number).terminal_outcome == abandoned(cause)
    row = store.load_runtime(R1)
    assert row is not None
    assert row.state is state
    assert store.runtimes_with_work() == []


def test_per_09_retired_during_a_run_is_stored_while_the_run_goes_on(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.attach_executor()
    driver.accept_input(prompt(1))
    driver.start_run()
    driver.retire()
    row = store.load_runtime(R1)
    assert row is not None
    assert row.state is RuntimeState.RETIRED
    assert driver.runtime_state() is RuntimeState.RUNNING
    run_id = driver.current_run_id
    assert run_id is not None
    driver.complete_run(run_id)
    assert driver.runtime_state() is RuntimeState.RETIRED


def test_rcp_04_two_boundaries_of_one_run(store: RuntimeStore) -> None:
    driver = driver_over(store)
    driver.attach_executor()
    driver.accept_input(prompt(1))
    driver.start_run()
    run_id = driver.current_run_id
    assert run_id is not None
    driver.accept_input(prompt(2, turn_metadata={"handling_mode": "steer"}))
    messages = [{"role": "user", "content": "ä"}, {"role": "assistant", "content": "b"}]
    first = driver.commit_boundary(run_id, (input_id(2),), RunOutput(append=messages[:1]))
    second = driver.complete_run(run_id, RunOutput(messages=messages, result={"n": 1}))
    assert [first.sequence, second.sequence] == [0, 1]
    assert second.message_count == 2
    assert second.conversation_digest == digest_of(canonical(messages))
    assert store.load_boundary_receipt(R1, run_id, 0) == first
    assert store.load_boundary_receipt(R1, run_id, 1) == second
    assert store.load_boundary_receipt(R1, run_id, 2) is None
    for number, sequence in ((2, 0), (1, 1)):
        assert stored(store, number).last_run_id == run_id
        assert stored(store, number).last_boundary_sequence == sequence
    assert stored(store, 1).result == {"n": 1}
    snapshot = store.load_session_snapshot(R1)
    assert snapshot is not None
    assert digest_of(snapshot.messages) == second.conversation_digest


def test_rcp_06_a_run_lands_with_one_receipt_or_not_at_all() -> None:
    store = Watched()
    driver = driver_over(store)
    driver.accept_input(prompt(1))
    driver.start_run()
    run_id = driver.current_run_id
    assert run_id is not None
    store.refusing = True
    with pytest.raises(StoreError):
        driver.complete_run(run_id, RunOutput(append=[{"n": 1}]))
    assert store.load_boundary_receipt(R1, run_id, 0) is None
    assert stored(store, 1).phase is InputPhase.STAGED
    assert store.load_session_snapshot(R1) is None
    store.refusing = False
    receipt = driver.complete_run(run_id, RunOutput(append=[{"n": 1}]))
    assert store.page_receipts(R1).items == (receipt,)
    assert receipt.message_count == 1
    assert stored(store, 1).phase is InputPhase.CONSUMED
    assert [entry.to_phase for entry in stored(store, 1).history].count(InputPhase.CONSUMED) == 1
    with pytest.raises(RunRefused):
        driver.complete_run(run_id)


def test_an_acceptance_that_raised_left_no_trace_and_can_be_repeated() -> None:
    store = Watched()
    driver = driver_over(store)
    driver.accept_input(prompt(1, supersession_key="s"))
    driver.drain_events()
    driver.take_signal()
    before = to_json(stored(store, 1)), driver.active_input_ids()
    store.refusing = True
    offered = prompt(2, "k", supersession_key="s")
    with pytest.raises(StoreError):
        driver.accept_input(offered)
    assert (to_json(stored(store, 1)), driver.active_input_ids()) == before
    assert driver.input_state(offered.id) is None
    assert driver.drain_events() == []
    assert driver.take_signal() == 0
    store.refusing = False
    assert isinstance(driver.accept_input(offered), Accepted)
    assert stored(store, 2).admission_sequence == 1
    assert stored(store, 1).phase is InputPhase.SUPERSEDED


def test_what_need_not_be_durable_writes_no_input() -> None:
    store = Watched()
    driver = driver_over(store)
    driver.attach_executor()
    assert isinstance(driver.accept_input(prompt(1, durability="derived")), Rejected)
    assert isinstance(driver.accept_input(prompt(2, durability="ephemeral")), Accepted)
    with pytest.raises(InputValidationFailed):
        driver.accept_input(prompt(3, text="x" * 2**21))
    driver.detach_executor()
    # The first event of a load claims the runtime: its number is nobody else's then.
    assert [batch.inputs for batch in store.commits] == [()]
    driver.accept_input(prompt(4, "k"))
    driver.accept_input(prompt(5, "k"))
    driver.accept_input(prompt(4))
    assert len(store.commits) == 2
    assert [row.state.input_id for row in store.commits[1].inputs] == [input_id(4)]


def test_a_runtime_is_claimed_before_any_run() -> None:
    store = Watched()
    driver = driver_over(store)
    driver.accept_input(prompt(1, durability="ephemeral"))
    driver.start_run()
    (claim,) = store.commits
    assert (claim.expected_fence, claim.runtime.fence, claim.inputs) == (0, 1, ())
