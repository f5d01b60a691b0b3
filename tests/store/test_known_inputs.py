"""What is known of many offered inputs is had in one look, and is what one look each gives."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_builders import QUICK, sql

from meerkat import IdempotencyKey, InputId, InputPhase, InputState, LogicalRuntimeId
from meerkat.errors import RecoveryCorruption
from meerkat.loading import KnownInputs, known_input
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.testing.store_rows import R1, batch, input_id, prompt, row_of

ENDED = InputPhase.CONSUMED


def keys(*names: str) -> list[IdempotencyKey]:
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


# --- the store --------------------------------------------------------------------------


def test_a_row_that_cannot_be_read_is_corruption(sqlite_store: SqliteStore, path: Path) -> None:
    sqlite_store.commit(batch(R1, row_of(prompt(1)), row_of(prompt(2), sequence=1)))
    sql(path, "UPDATE inputs SET state = '{' WHERE input_id = ?", str(input_id(2)))
    assert known(sqlite_store, [1]) == {1}
    with pytest.raises(RecoveryCorruption):
        known(sqlite_store, [1, 2])


NUMBERS, NAMES = st.integers(0, 9), ("a", "b", "c", "d", "e")


@settings(settings.get_profile("store"), max_examples=60)
@given(
    stored=st.lists(st.tuples(NUMBERS, st.booleans()), unique_by=lambda each: each[0]),
    ids=st.lists(NUMBERS, max_size=12),
    names=st.lists(st.sampled_from(NAMES), max_size=8),
)
def test_both_stores_know_what_one_look_each_finds(
    stored: list[tuple[int, bool]], ids: list[int], names: list[str]
) -> None:
    """Every second input has a key, as no two may share one."""
    rows = [
        row_of(prompt(n, NAMES[n // 2] if n % 2 else None), ENDED if over else InputPhase.QUEUED, n)
        for n, over in stored
    ]
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        stores: list[RuntimeStore] = [MemoryStore(), SqliteStore(Path(folder) / "s.db")]
        for store in stores:
            store.commit(batch(R1, *rows))
            expected = {n for n, _ in stored if n in ids or (n % 2 and NAMES[n // 2] in names)}
            assert known(store, ids, names) == expected
            store.close()


# --- those that are offered -------------------------------------------------------------


class Asked(MemoryStore):
    """Counts how often it is asked."""

    times = 0

    def load_known_inputs(
        self,
        runtime_id: LogicalRuntimeId,
        input_ids: Sequence[InputId],
        keys: Sequence[IdempotencyKey],
    ) -> list[InputState]:
        self.times += 1
        return super().load_known_inputs(runtime_id, input_ids, keys)


def test_a_store_is_asked_once_for_all_that_are_offered() -> None:
    store = Asked()
    store.commit(batch(R1, row_of(prompt(1, "a")), row_of(prompt(2), ENDED, 1)))
    offered = [prompt(1), prompt(2), prompt(3, "a"), prompt(4)]
    found = KnownInputs(store, R1, offered)
    assert [getattr(found.of(each), "input_id", None) for each in offered] == [
        input_id(1),
        input_id(2),
        input_id(1),
        None,
    ]
    assert store.times == 1


def test_a_key_goes_before_an_id() -> None:
    store = MemoryStore()
    store.commit(batch(R1, row_of(prompt(1, "a")), row_of(prompt(2, "b"), sequence=1)))
    both = prompt(2, "a")
    for found in (KnownInputs(store, R1, [both]).of(both), known_input(store, R1, both)):
        assert found is not None
        assert found.input_id == input_id(1)


def test_no_key_is_not_a_key() -> None:
    store = MemoryStore()
    store.commit(batch(R1, row_of(prompt(1))))
    offered = [prompt(1), prompt(2)]
    found = KnownInputs(store, R1, offered)
    assert found.of(offered[1]) is None


def test_without_a_store_nothing_is_known() -> None:
    assert known_input(None, R1, prompt(1)) is None


def test_it_answers_for_those_it_was_asked_about_alone() -> None:
    """An id that comes again with another key has to be looked up again."""
    found = KnownInputs(MemoryStore(), R1, [prompt(1, "a"), prompt(2)])
    inside = (prompt(1, "a"), prompt(2), prompt(1), prompt(2, "a"))
    assert [each in found for each in inside] == [True] * 4
    outside = (prompt(3), prompt(3, "a"), prompt(1, "b"), prompt(2, "b"))
    assert [each in found for each in outside] == [False] * 4
