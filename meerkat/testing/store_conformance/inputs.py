"""Inputs: kept under their id and their key, version after version."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from attrs import evolve

from meerkat.errors import StoreError
from meerkat.identifiers import IdempotencyKey, InputId, LogicalRuntimeId
from meerkat.input_lifecycle import InputPhase
from meerkat.limits import Limits
from meerkat.store import InputRow, RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import (
    R1,
    R2,
    RUN,
    batch,
    everything,
    input_id,
    prompt,
    receipt,
    row_of,
)

ENDED = InputPhase.CONSUMED
ALONE = [each for each in InputPhase if each.value not in ("superseded", "coalesced")]
"""The phases that one input comes to without another."""


def keys(*names: str) -> list[IdempotencyKey]:
    """Keys of these names."""
    return [IdempotencyKey(name) for name in names]


def known(
    store: RuntimeStore,
    numbers: Sequence[int],
    names: Sequence[str] = (),
    of: LogicalRuntimeId = R1,
) -> set[int]:
    """The numbers of the inputs that a store knows by these numbers and keys."""
    states = store.load_known_inputs(of, [input_id(each) for each in numbers], keys(*names))
    assert all(state == store.load_input(of, state.input_id) for state in states)
    return {state.input_id.value.int for state in states}


class InputCases(StoreCases):
    """Inputs: kept under their id and their key, version after version."""

    def test_one_commit_comes_back_equal(self, store: RuntimeStore) -> None:
        row = row_of(prompt(1))
        store.commit(batch(R1, row, receipts=(receipt(0, 1),)))
        assert store.load_input(R1, input_id(1)) == row.state
        assert store.load_active_inputs(R1) == [row.state]
        assert store.load_boundary_receipt(R1, RUN, 0) == receipt(0, 1)

    def test_an_unknown_runtime_has_nothing(self, store: RuntimeStore) -> None:
        store.commit(batch(R2))
        assert store.load_runtime(R1) is None
        assert store.load_active_inputs(R1) == []
        assert store.load_input(R1, input_id(1)) is None
        assert store.load_input_by_key(R1, IdempotencyKey("k")) is None
        assert store.load_boundary_receipt(R1, RUN, 0) is None
        assert store.load_session_snapshot(R1) is None
        assert store.page_terminal_inputs(R1).items == ()
        assert store.page_receipts(R1).items == ()

    def test_a_store_nobody_wrote_to_reads_as_empty(self, store: RuntimeStore) -> None:
        assert store.list_runtimes().items == ()
        assert store.runtimes_with_work() == []
        assert store.load_session_snapshot(R1) is None

    def test_a_newer_version_replaces_the_older(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, row_of(prompt(1, "k"))))
        newer = row_of(prompt(1, "k"), InputPhase.STAGED)
        store.commit(batch(R1, evolve(newer, payload=None), after=1))
        assert store.load_active_inputs(R1) == [newer.state]
        assert store.load_input_by_key(R1, IdempotencyKey("k")) == newer.state

    def test_runtimes_do_not_mix(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, row_of(prompt(1, "k"))))
        store.commit(batch(R2, row_of(prompt(2)), row_of(prompt(3, "k"), sequence=1)))
        assert [state.input_id for state in store.load_active_inputs(R1)] == [input_id(1)]
        assert [state.input_id for state in store.load_active_inputs(R2)] == [
            input_id(2),
            input_id(3),
        ]
        assert store.load_input(R1, input_id(2)) is None
        by_key = store.load_input_by_key(R2, IdempotencyKey("k"))
        assert by_key is not None
        assert by_key.input_id == input_id(3)

    def test_active_inputs_come_in_order_of_admission_unnumbered_last(
        self, store: RuntimeStore
    ) -> None:
        accepted = row_of(prompt(9), InputPhase.ACCEPTED)
        rows = [accepted, *(row_of(prompt(number), sequence=number) for number in (5, 3, 4))]
        store.commit(batch(R1, *rows))
        found = [state.input_id for state in store.load_active_inputs(R1)]
        assert found == [input_id(number) for number in (3, 4, 5, 9)]

    def test_inputs_are_known_by_id_and_by_key_finished_or_not(self, store: RuntimeStore) -> None:
        store.commit(
            batch(
                R1,
                row_of(prompt(1, "a")),
                row_of(prompt(2), ENDED, 1),
                row_of(prompt(3, "c"), ENDED, 2),
                row_of(prompt(4), sequence=3),
            )
        )
        assert known(store, [1, 2, 9]) == {1, 2}
        assert known(store, [], ["a", "c", "none"]) == {1, 3}
        assert known(store, [4, 1], ["a", "c"]) == {1, 3, 4}
        assert known(store, [9], ["z"]) == set()

    def test_nothing_asked_is_nothing_known(self, store: RuntimeStore) -> None:
        assert store.load_known_inputs(R1, [], []) == []
        store.commit(batch(R1, row_of(prompt(1))))
        assert store.load_known_inputs(R1, [], []) == []

    def test_a_store_or_runtime_nobody_wrote_to_knows_nothing(self, store: RuntimeStore) -> None:
        assert known(store, [1], ["a"]) == set()
        store.commit(batch(R2, row_of(prompt(1, "a"))))
        assert known(store, [1], ["a"]) == set()
        assert known(store, [1], of=R2) == known(store, [], ["a"], of=R2) == {1}

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 64, 200])
    def test_many_are_known_at_once(self, store: RuntimeStore, count: int) -> None:
        rows = [row_of(prompt(number, f"k{number}"), sequence=number) for number in range(200)]
        store.commit(batch(R1, *rows))
        asked = range(200 - count, 200)
        assert known(store, asked) == set(asked)
        assert known(store, [], [f"k{each}" for each in asked]) == set(asked)
        assert known(store, [*asked, 0], [f"k{each}" for each in asked]) == {0, *asked}

    def test_text_is_compared_as_it_is(self, store: RuntimeStore) -> None:
        odd = "'; DROP TABLE inputs; --%_ä"
        store.commit(batch(R1, row_of(prompt(1, odd)), row_of(prompt(2, "A"), sequence=1)))
        assert known(store, [], [odd, "a"]) == {1}

    def test_ids_are_of_any_version(self, store: RuntimeStore) -> None:
        odd = InputId(UUID(int=2**128 - 1))
        store.commit(batch(R1, row_of(evolve(prompt(1), id=odd))))
        assert [s.input_id for s in store.load_known_inputs(R1, [odd], [])] == [odd]

    @pytest.mark.parametrize("phase", ALONE, ids=str)
    def test_an_input_comes_back_equal_in_every_phase(
        self, store: RuntimeStore, phase: InputPhase
    ) -> None:
        row = row_of(prompt(1, "k"), phase, 3)
        store.commit(batch(R1, row))
        assert store.load_input(R1, input_id(1)) == row.state
        assert store.load_input_by_key(R1, IdempotencyKey("k")) == row.state
        active = [] if row.state.is_terminal else [row.state]
        assert store.load_active_inputs(R1) == active
        assert [*store.page_terminal_inputs(R1).items] == [row.state][len(active) :]

    def test_a_first_version_may_come_without_its_payload(self, store: RuntimeStore) -> None:
        row = InputRow(row_of(prompt(1), ENDED).state)
        store.commit(batch(R1, row))
        assert store.load_input(R1, input_id(1)) == row.state

    def test_what_has_ended_stays_and_its_batch_is_refused_whole(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, row_of(prompt(1), ENDED)))
        before = everything(store)
        for phase in (InputPhase.QUEUED, ENDED, InputPhase.ABANDONED):
            again = batch(R1, row_of(prompt(2)), row_of(prompt(1), phase), after=1)
            with pytest.raises(StoreError):
                store.commit(again)
            assert everything(store) == before

    def test_a_key_is_taken_for_ever(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, row_of(prompt(1, "k"))))
        store.commit(batch(R1, row_of(prompt(1, "k"), ENDED), after=1))
        before = everything(store)
        with pytest.raises(StoreError):
            store.commit(batch(R1, row_of(prompt(2, "k")), after=1))
        assert everything(store) == before

    def test_a_result_and_an_error_come_back_equal(self, store: RuntimeStore) -> None:
        result = {"ä": [2**64 - 1, -(2**63), 0.1, None, True, "\U0001f9a6"], "": {}}
        row = row_of(prompt(1), ENDED, result=result, last_error="it said: \u0000 'ä'\n")
        store.commit(batch(R1, row))
        assert store.load_input(R1, input_id(1)) == row.state

    @pytest.mark.parametrize("text", ["", "\u0000", "'\";--", "\U0001f9a6 ä \u2028\r\n", "%_\\"])
    def test_any_text_is_kept_in_a_payload(self, store: RuntimeStore, text: str) -> None:
        row = row_of(prompt(1, text=text))
        store.commit(batch(R1, row))
        assert store.load_active_inputs(R1) == [row.state]

    def test_a_payload_of_the_largest_size_is_kept(self, store: RuntimeStore) -> None:
        row = row_of(prompt(1, text="ä" * (Limits().payload_bytes_max // 2 - 1_000)))
        store.commit(batch(R1, row, receipts=(receipt(0, 1),)))
        assert store.load_input(R1, input_id(1)) == row.state
        assert store.load_boundary_receipt(R1, RUN, 0) is not None

    def test_runtime_ids_of_any_letters_do_not_mix(self, store: RuntimeStore) -> None:
        names = ["a", "A", "a/b", "a.b", "a:b", "a@b", "a_b", "a-b", "a" * 255, "a" * 254]
        rows = {
            LogicalRuntimeId(name): row_of(prompt(number, "k")) for number, name in enumerate(names)
        }
        assert store.commit_many([batch(each, row) for each, row in rows.items()]) == [None] * 10
        for runtime_id, row in rows.items():
            assert store.load_active_inputs(runtime_id) == [row.state]
        listed = [each.runtime_id.value for each in store.list_runtimes().items]
        assert sorted(listed) == sorted(names)
        assert sorted(map(str, store.runtimes_with_work())) == sorted(names)

    @pytest.mark.parametrize("key", ["\u0000", " ", "\U0001f9a6" * 512, "Ä", "a\u0308"])
    def test_a_key_is_kept_as_it_is_or_its_batch_is_refused(
        self, store: RuntimeStore, key: str
    ) -> None:
        row = row_of(prompt(1, key))
        refused, landed = store.commit_many([batch(R1, row), batch(R2)])
        assert landed is None
        kept = None if isinstance(refused, StoreError) else row.state
        assert store.load_input_by_key(R1, IdempotencyKey(key)) == kept
        assert store.load_input_by_key(R1, IdempotencyKey(key[:-1] + "x")) is None
