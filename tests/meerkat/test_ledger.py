"""Ledger: what is known, what waits, and what a store is left to remember."""

from __future__ import annotations

import pytest
from builders import (
    START,
    Clock,
    message,
    operation,
    progress,
    prompt,
    state_in,
    uuid_of,
)

from meerkat import IdempotencyKey, InputId, InputPhase, PersistentRuntimeDriver, RunId
from meerkat import input_lifecycle as lifecycle
from meerkat.inputs import Input
from meerkat.ledger import Ledger
from meerkat.policy import Lane
from meerkat.store import MemoryStore
from meerkat.store.protocol import Batch, InputRow


def holding(*states: lifecycle.InputState, archived_max: int | None = None) -> Ledger:
    ledger = Ledger(archived_max)
    for state in states:
        ledger.put(state)
    return ledger


def test_led_02_only_non_terminal_rows_are_listed() -> None:
    accepted = state_in(InputPhase.ACCEPTED)
    consumed = lifecycle.consume_on_accept(
        lifecycle.InputState.of(operation(), START),
        START,
        policy=state_in(InputPhase.QUEUED).policy,  # type: ignore[arg-type]
    )
    assert list(holding(accepted, consumed).active()) == [accepted]


def test_led_03_counts() -> None:
    first, second = state_in(InputPhase.ACCEPTED), state_in(InputPhase.ACCEPTED)
    ledger = holding(first, state_in(InputPhase.SUPERSEDED), second)
    assert len(ledger) == 3
    assert ledger.active_count == 2
    assert [state.input_id for state in ledger.active()] == [first.input_id, second.input_id]


def test_led_05_recovery_keeps_the_durable_row_alone() -> None:
    store = MemoryStore()
    first = PersistentRuntimeDriver("agent-1", store, now=Clock())
    durable, ephemeral = prompt(), prompt(durability="ephemeral")
    for offered in (durable, ephemeral):
        first.accept_input(offered)
    assert store.load_input(first.runtime_id, ephemeral.id) is None

    row = store.load_runtime(first.runtime_id)
    assert row is not None
    stray = state_in(InputPhase.QUEUED, prompt(durability="ephemeral"), sequence=9)
    store.commit(Batch(runtime=row, expected_fence=row.fence, inputs=(InputRow(stray, b"{}"),)))
    second = PersistentRuntimeDriver("agent-1", store, now=Clock())
    assert second.recover().inputs_recovered == 1
    assert second.active_input_ids() == [durable.id]
    assert second.input_phase(ephemeral.id) is None


# --- insertion, keys, lanes -------------------------------------------------------------


def test_active_is_in_order_of_insertion_whatever_follows() -> None:
    states = [state_in(InputPhase.QUEUED, sequence=n) for n in (2, 0, 1)]
    ledger = holding(*states)
    staged = lifecycle.stage_for_run(states[0], START, run_id=RunId(uuid_of(1)))
    ledger.put(staged)
    assert list(ledger.active()) == [staged, states[1], states[2]]


def test_lanes_follow_the_phase() -> None:
    queued = state_in(InputPhase.QUEUED)
    steered = state_in(InputPhase.QUEUED, progress(), sequence=1)
    ledger = holding(queued, steered)
    assert list(ledger.waiting(Lane.QUEUE)) == [queued]
    assert list(ledger.waiting(Lane.STEER)) == [steered]
    staged = lifecycle.stage_for_run(queued, START, run_id=RunId(uuid_of(1)))
    ledger.put(staged)
    assert ledger.waiting_count(Lane.QUEUE) == 0
    back = lifecycle.rollback_staged(staged, START, reason="run_failed", error="boom")
    ledger.put(back)
    assert list(ledger.waiting(Lane.QUEUE)) == [back]
    assert ledger.waiting_count(Lane.STEER) == 1


@pytest.mark.parametrize("offered", [prompt(), progress()])
def test_something_waits_until_the_last_of_it_is_in_hand_whichever_lane_it_is_in(
    offered: Input,
) -> None:
    assert not holding().has_waiting
    queued = state_in(InputPhase.QUEUED, offered)
    ledger = holding(queued)
    assert ledger.has_waiting
    ledger.put(lifecycle.stage_for_run(queued, START, run_id=RunId(uuid_of(1))))
    assert not ledger.has_waiting


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_a_lane_is_in_order_of_admission_whatever_order_it_is_entered_in(
    order: tuple[int, ...],
) -> None:
    ledger = holding(*(state_in(InputPhase.QUEUED, sequence=n) for n in order))
    assert [s.admission_sequence for s in ledger.waiting(Lane.QUEUE)] == [0, 1, 2]


def test_lanes_can_be_projected_afresh() -> None:
    states = [state_in(InputPhase.QUEUED, sequence=n) for n in (1, 0)]
    ledger = holding(*states, state_in(InputPhase.STAGED), state_in(InputPhase.ACCEPTED))
    ledger.rebuild_lanes()
    assert list(ledger.waiting(Lane.QUEUE)) == [states[1], states[0]]


def test_a_runtime_without_a_store_remembers_every_key() -> None:
    keyed = prompt(idempotency_key="K")
    ledger = holding(state_in(InputPhase.CONSUMED, keyed))
    found = ledger.get_by_key(IdempotencyKey("K"))
    assert found is not None
    assert (found.input_id, found.phase) == (keyed.id, InputPhase.CONSUMED)
    assert ledger.get(keyed.id) is found
    assert ledger.get_by_key(IdempotencyKey("other")) is None
    assert ledger.get_by_key(None) is None


def test_with_a_store_a_finished_input_is_known_until_it_is_forgotten() -> None:
    keyed = state_in(InputPhase.CONSUMED, prompt(idempotency_key="K"))
    ledger = holding(keyed, archived_max=2)
    assert ledger.get(keyed.input_id) is keyed
    ledger.forget(keyed.input_id)
    assert ledger.get(keyed.input_id) is None
    assert ledger.get_by_key(IdempotencyKey("K")) is None
    assert len(ledger) == 0


def test_with_a_store_the_last_finished_ephemeral_inputs_are_kept() -> None:
    finished = [
        state_in(InputPhase.CONSUMED, message(durability="ephemeral", idempotency_key=key))
        for key in ("a", "b", "c")
    ]
    ledger = holding(*finished, archived_max=2)
    for state in finished:
        ledger.forget(state.input_id)
    assert [ledger.get(state.input_id) for state in finished] == [None, *finished[1:]]
    assert ledger.get_by_key(IdempotencyKey("a")) is None
    assert ledger.get_by_key(IdempotencyKey("c")) is finished[2]


def test_an_unknown_id_is_none() -> None:
    assert holding().get(InputId(uuid_of(9))) is None


def test_what_is_forgotten_takes_its_key_along() -> None:
    """The store answers for it from then on: memory does not grow with a runtime's past."""
    ledger = Ledger(1)
    keys = [IdempotencyKey(f"k{number}") for number in range(3)]
    ended = [state_in(InputPhase.ABANDONED, prompt(idempotency_key=key)) for key in keys]
    for state in ended:
        ledger.put(state)
    assert (len(ledger), len(ledger._by_key)) == (3, 3)
    ledger.forget(ended[0].input_id)
    ledger.forget(ended[0].input_id)
    assert ledger.get_by_key(keys[0]) is None
    assert set(ledger._by_key) == set(keys[1:])
    ledger.put(state_in(InputPhase.ACCEPTED, prompt(idempotency_key="waits")))
    assert len(ledger) == 3


def test_without_a_key_a_finished_input_is_forgotten_as_well() -> None:
    ledger = Ledger(1)
    state = state_in(InputPhase.ABANDONED)
    ledger.put(state)
    ledger.forget(state.input_id)
    assert (len(ledger), ledger.get(state.input_id)) == (0, None)
