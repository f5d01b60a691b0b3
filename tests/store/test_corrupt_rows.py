"""A row that cannot be read is RecoveryCorruption naming it: nothing is dropped or changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from store_builders import Clock, driver_over, dump, sql

from meerkat import InputPhase, PersistentRuntimeDriver, RuntimeEpochId, RuntimeState
from meerkat.conversation import AppendMessages
from meerkat.errors import RecoveryCorruption, RuntimeNotReady
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, AbandonReason, ConsumedOutcome
from meerkat.store import InputRow, MemoryStore, RuntimeStore, SqliteStore
from meerkat.testing.store_rows import (
    R1,
    R2,
    RUN,
    batch,
    ended,
    input_id,
    prompt,
    receipt,
    row_of,
    state_in,
)

ROW = "WHERE runtime_id = 'agent-1' AND input_id = ?"
TAMPER = {
    "no payload": f"UPDATE inputs SET payload = NULL {ROW}",
    "payload not JSON": f"UPDATE inputs SET payload = '{{' {ROW}",
    "payload not UTF-8": f"UPDATE inputs SET payload = CAST(x'7bff7d' AS TEXT) {ROW}",
    "payload of another input": (
        f"UPDATE inputs SET payload = replace(payload, '0001\"', '0002\"') {ROW}"
    ),
    "state not JSON": f"UPDATE inputs SET state = 'nonsense' {ROW}",
    "state not an object": f"UPDATE inputs SET state = '[]' {ROW}",
    "state not UTF-8": f"UPDATE inputs SET state = CAST(x'ff' AS TEXT) {ROW}",
    "state of another input": (
        f"UPDATE inputs SET state = replace(state, '0001\"', '0002\"') {ROW}"
    ),
    "coerced field": f"UPDATE inputs SET state = replace(state, '\"attempt_count\":0', "
    f'\'"attempt_count":"0"\') {ROW}',
    "duplicate field": f'UPDATE inputs SET state = \'{{"phase":"queued",\' '
    f"|| substr(state, 2) {ROW}",
    "unknown field": f"UPDATE inputs SET state = '{{\"extra\":1,' || substr(state, 2) {ROW}",
    "unknown version": f"UPDATE inputs SET state = replace(state, "
    f"'_version\":1', '_version\":2') {ROW}",
    "no policy": f"UPDATE inputs SET state = json_remove(state, '$.policy') {ROW}",
    "no sequence": f"UPDATE inputs SET state = json_remove(state, '$.admission_sequence') {ROW}",
    "phase column alone": f"UPDATE inputs SET phase = 'staged' {ROW}",
    "phase column terminal": f"UPDATE inputs SET phase = 'consumed' {ROW}",
    "terminal without outcome": f"UPDATE inputs SET phase = 'consumed', "
    f"state = json_set(state, '$.phase', 'consumed') {ROW}",
    "outcome, yet queued": f"UPDATE inputs SET state = json_set(state, '$.terminal_outcome', "
    f'json(\'{{"outcome_type":"consumed"}}\')) {ROW}',
}


def seed(store: RuntimeStore) -> None:
    """A sound row on either side of the one that will be spoilt, and a sound runtime."""
    rows = [row_of(prompt(number), sequence=number) for number in (0, 1, 3)]
    store.commit(batch(R1, *rows, registered=True))
    store.commit(batch(R2, row_of(prompt(1))))


@pytest.mark.parametrize("tampered", TAMPER)
def test_an_unsound_row_makes_its_runtime_unavailable_alone(
    sqlite_store: SqliteStore, path: Path, tampered: str
) -> None:
    seed(sqlite_store)
    sqlite_store.close()
    sql(path, TAMPER[tampered], str(input_id(1)))
    before = dump(path)
    driver = PersistentRuntimeDriver(R1, sqlite_store, now=Clock())
    for _ in range(2):
        with pytest.raises(RecoveryCorruption, match=str(input_id(1))):
            driver.recover()
        assert driver.runtime_state() is RuntimeState.INITIALIZING
        with pytest.raises(RuntimeNotReady):
            driver.accept_input(prompt(7))
    for give_up in (driver.reset, driver.destroy):
        with pytest.raises(RecoveryCorruption):
            give_up()
    with pytest.raises(RecoveryCorruption, match=str(input_id(1))):
        sqlite_store.load_input(R1, input_id(1))
    assert dump(path) == before
    other = PersistentRuntimeDriver(R2, sqlite_store, now=Clock())
    assert other.recover().inputs_recovered == 1
    other.accept_input(prompt(7))


def test_a_row_put_right_again_can_be_recovered(sqlite_store: SqliteStore, path: Path) -> None:
    seed(sqlite_store)
    (kept,) = sql(path, f"SELECT state FROM inputs {ROW}", str(input_id(1)))
    sql(path, TAMPER["state not JSON"], str(input_id(1)))
    driver = driver_over(sqlite_store, recovered=False)
    with pytest.raises(RecoveryCorruption):
        driver.recover()
    sql(path, f"UPDATE inputs SET state = ? {ROW}", kept[0], str(input_id(1)))
    assert driver.recover().inputs_recovered == 3
    assert driver.active_input_ids() == [input_id(0), input_id(1), input_id(3)]


EXHAUSTED = AbandonedOutcome(AbandonReason(AbandonCause.MAX_ATTEMPTS_EXHAUSTED, 2))
CONTRADICTIONS = {
    "terminal without outcome": (InputPhase.CONSUMED, {"terminal_outcome": None}),
    "another phase's outcome": (InputPhase.ABANDONED, {"terminal_outcome": ConsumedOutcome()}),
    "two attempts said, one counted": (
        InputPhase.ABANDONED,
        {"terminal_outcome": EXHAUSTED, "attempt_count": 1},
    ),
    "outcome, yet queued": (InputPhase.QUEUED, {"terminal_outcome": ConsumedOutcome()}),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_rec_13_a_state_that_contradicts_itself_is_refused(store: RuntimeStore, name: str) -> None:
    phase, changes = CONTRADICTIONS[name]
    store.commit(batch(R1, row_of(prompt(0)), row_of(prompt(1), phase, 1, **changes)))
    driver = driver_over(store, recovered=False)
    with pytest.raises(RecoveryCorruption, match=str(input_id(1))):
        driver.recover()
    assert driver.runtime_state() is RuntimeState.INITIALIZING


def test_rec_13_a_sound_terminal_row_is_kept_as_it_is(store: RuntimeStore) -> None:
    exhausted = row_of(prompt(1), InputPhase.ABANDONED, terminal_outcome=EXHAUSTED, attempt_count=2)
    store.commit(batch(R1, exhausted, row_of(prompt(2), InputPhase.CONSUMED)))
    driver = driver_over(store)
    assert driver.active_input_ids() == []
    assert driver.input_state(input_id(1)) == exhausted.state
    assert driver.input_phase(input_id(2)) is InputPhase.CONSUMED


@pytest.mark.parametrize("phase", [InputPhase.ACCEPTED, InputPhase.APPLIED])
def test_work_without_its_payload_cannot_be_queued(phase: InputPhase) -> None:
    store = MemoryStore()
    store.commit(batch(R1, InputRow(evolve(state_in(phase, prompt(1)), input=None))))
    with pytest.raises(RecoveryCorruption, match=str(input_id(1))):
        driver_over(store)


RUNTIME_TAMPER = {
    "session_id": "'nonsense'",
    "epoch_id": "'nonsense'",
    "state": "'asleep'",
    "registered": "7",
    "silent_intents": "'\"ab\"'",
    "cursors": "'{}x'",
}


@pytest.mark.parametrize("column", RUNTIME_TAMPER)
def test_an_unsound_runtime_row_is_named(
    sqlite_store: SqliteStore, path: Path, column: str
) -> None:
    seed(sqlite_store)
    value = RUNTIME_TAMPER[column]
    sql(path, f"UPDATE runtimes SET {column} = {value} WHERE runtime_id = 'agent-1'")
    with pytest.raises(RecoveryCorruption, match="agent-1"):
        sqlite_store.load_runtime(R1)
    with pytest.raises(RecoveryCorruption, match="agent-1"):
        sqlite_store.list_runtimes()
    assert sqlite_store.load_runtime(R2) is not None
    assert sqlite_store.runtimes_with_work() == [R1, R2]


def test_unsound_receipts_messages_and_ids_are_named(sqlite_store: SqliteStore, path: Path) -> None:
    sqlite_store.commit(
        batch(R1, receipts=(receipt(0),), session=(AppendMessages(0, 2, b"[1,2]"),))
    )
    sql(path, "UPDATE receipts SET contributing_input_ids = '{}'")
    with pytest.raises(RecoveryCorruption, match=f"{RUN}'/0"):
        sqlite_store.load_boundary_receipt(R1, RUN, 0)
    with pytest.raises(RecoveryCorruption, match=str(RUN)):
        sqlite_store.page_receipts(R1)
    sql(path, "UPDATE messages SET position = 1")
    with pytest.raises(RecoveryCorruption, match="messages of runtime agent-1"):
        sqlite_store.load_session_snapshot(R1)
    sqlite_store.commit(batch(R2, row_of(prompt(1))))
    sql(path, "UPDATE runtimes SET runtime_id = ' bad' WHERE runtime_id = 'agent-2'")
    sql(path, "UPDATE inputs SET runtime_id = ' bad' WHERE runtime_id = 'agent-2'")
    with pytest.raises(RecoveryCorruption, match="' bad'"):
        sqlite_store.runtimes_with_work()


def test_an_unreadable_operation_names_its_runtime(sqlite_store: SqliteStore, path: Path) -> None:
    epoch_id = RuntimeEpochId.new()
    sqlite_store.commit(batch(R1, epoch_id=epoch_id, operations=(ended(1, epoch_id),)))
    sql(path, "UPDATE operations SET record = '{}'")
    with pytest.raises(RecoveryCorruption, match="operations of agent-1"):
        sqlite_store.load_ops_snapshot(R1)
