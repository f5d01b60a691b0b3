"""What was given up: listed as it came, and what it said is there until it is let go."""

from __future__ import annotations

from typing import Any, Final

import pytest

from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import InputPhase
from meerkat.store import InputRow, RuntimeStore
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_conformance.listings import listed
from meerkat.testing.store_conformance.pruning import NONE_WHOLE, prune_all
from meerkat.testing.store_rows import R1, R2, batch, input_id, prompt, row_of

PHASES: Final = (InputPhase.QUEUED, InputPhase.CONSUMED, InputPhase.ABANDONED)


def abandoned(number: int, key: str | None = None, sequence: int = 0) -> InputRow:
    """An input that was given up."""
    return row_of(prompt(number, key), InputPhase.ABANDONED, sequence)


def payloads(store: RuntimeStore, *numbers: int, of: LogicalRuntimeId = R1) -> dict[InputId, bytes]:
    """What the inputs of these numbers say, as far as the store has it."""
    return store.load_payloads(of, [input_id(number) for number in numbers])


def said_by(*rows: InputRow) -> dict[InputId, bytes | None]:
    """What rows were written with."""
    return {row.state.input_id: row.payload for row in rows}


class GivenUpCases(StoreCases):
    """What was given up: listed as it came, and what it said is there until it is let go."""

    @pytest.mark.parametrize("limit", [1, 2, 3, 100])
    def test_abandoned_inputs_are_listed_once_as_they_came(
        self, store: RuntimeStore, limit: int
    ) -> None:
        rows = [abandoned(number, key) for number, key in ((5, "b"), (3, None), (4, "a"), (1, "ä"))]
        others = [row_of(prompt(20)), row_of(prompt(21), InputPhase.CONSUMED)]
        store.commit(batch(R1, rows[0], others[0], rows[1], others[1], *rows[2:]))
        store.commit(batch(R2, abandoned(50)))
        found = listed(store.page_abandoned_inputs, R1, limit=limit)
        assert found == [row.state for row in rows]
        assert listed(store.page_abandoned_inputs, R2, limit=limit) == [abandoned(50).state]

    def test_an_input_that_is_given_up_keeps_its_place(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, row_of(prompt(1)), abandoned(2), abandoned(3)))
        assert [*store.page_abandoned_inputs(R1, limit=1).items] == [abandoned(2).state]
        given_up = InputRow(abandoned(1).state)
        store.commit(batch(R1, given_up, after=1, fence=2))
        found = store.page_abandoned_inputs(R1)
        assert [each.input_id for each in found.items] == [input_id(n) for n in (1, 2, 3)]
        assert found.next is None

    def test_behind_nobody_none_is_listed(self, store: RuntimeStore) -> None:
        assert store.page_abandoned_inputs(R1).items == ()
        store.commit(batch(R1, abandoned(1)))
        assert store.page_abandoned_inputs(R1, after=str(input_id(9))).items == ()

    @pytest.mark.parametrize(
        "phase", [InputPhase.QUEUED, InputPhase.CONSUMED, InputPhase.ABANDONED]
    )
    def test_what_an_input_says_is_there_whatever_became_of_it(
        self, store: RuntimeStore, phase: InputPhase
    ) -> None:
        rows = [row_of(prompt(number, text=f"{number} \0 ä"), phase, number) for number in range(5)]
        store.commit(batch(R1, *rows))
        assert payloads(store, *range(5)) == said_by(*rows)
        assert payloads(store, 3, 99) == said_by(rows[3])

    def test_a_later_version_leaves_what_an_input_says(self, store: RuntimeStore) -> None:
        first = row_of(prompt(1, text="the first"))
        store.commit(batch(R1, first))
        later: Any = row_of(prompt(1, text="another"), InputPhase.ABANDONED)
        store.commit(batch(R1, InputRow(later.state), after=1, fence=2))
        assert payloads(store, 1) == said_by(first)

    def test_what_runtimes_say_does_not_mix(self, store: RuntimeStore) -> None:
        store.commit(batch(R1, abandoned(1)))
        store.commit(batch(R2, abandoned(2)))
        assert payloads(store, 1, 2) == said_by(abandoned(1))
        assert payloads(store, 1, 2, of=R2) == said_by(abandoned(2))
        assert payloads(store) == {}
        assert payloads(store, 1, of=LogicalRuntimeId("nobody")) == {}

    def test_what_was_let_go_says_nothing_and_is_listed(self, store: RuntimeStore) -> None:
        rows = abandoned(1), row_of(prompt(2), sequence=1)
        store.commit(batch(R1, *rows, next_admission_sequence=2))
        assert prune_all(store, NONE_WHOLE)[0] == 1
        assert payloads(store, 1, 2) == said_by(rows[1])
        assert [each.input_id for each in store.page_abandoned_inputs(R1).items] == [input_id(1)]
