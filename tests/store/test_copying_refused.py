"""What no copy is made into, and stays unchanged: stores of others, copies that have gone on."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from copy_builders import KINDS, Made, copied, everything, filled

from meerkat import InputPhase, InputState
from meerkat.input_lifecycle import HistoryEntry
from meerkat.limits import Retention
from meerkat.store import InputRow, MemoryStore, PostgresStore, SqliteStore
from meerkat.store.copy_report import CopyRefused
from meerkat.store.copyable import copyable
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.store_rows import (
    R1,
    R3,
    START,
    batch,
    prompt,
    row_of,
    state_in,
)


def test_a_store_with_runtimes_of_its_own_is_refused_unchanged(made: Made) -> None:
    source, target = made("memory"), made("sqlite")
    filled(source)
    target.commit(batch(R3, row_of(prompt(1))))
    before = everything(target)
    with pytest.raises(CopyRefused, match="has runtime agent-3, another's"):
        copied(source, target)
    assert everything(target) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_that_has_gone_on_is_refused_unchanged(made: Made, kind: str) -> None:
    source, target = made(kind), made("memory")
    filled(source)
    assert copied(source, target).is_finished
    row = target.load_runtime(R1)
    assert row is not None
    target.commit(
        evolve(batch(R1, row_of(prompt(60))), runtime=evolve(row, fence=2), expected_fence=1)
    )
    before = everything(target)
    with pytest.raises(CopyRefused, match="agent-1 has gone on there"):
        copied(source, target)
    source.commit(evolve(batch(R1), runtime=evolve(row, fence=9), expected_fence=1))
    source.close()
    with pytest.raises(CopyRefused, match="agent-1 has gone on there"):
        copied(source, target)
    assert everything(target) == before


def moved_apart(there: InputState, *, prune: bool = False) -> tuple[MemoryStore, MemoryStore]:
    """A store and its copy, in which an input has become ``there``, and which has gone on less."""
    source, target = MemoryStore(), MemoryStore()
    source.commit(batch(R1, row_of(prompt(1)), next_admission_sequence=1))
    assert copied(source, target).is_finished
    target.commit(batch(R1, InputRow(there), after=1, fence=2, next_admission_sequence=1))
    if prune:
        assert target.prune(Retention(max_count=0), START).inputs
    consumed = InputRow(state_in(InputPhase.CONSUMED, prompt(1)))
    source.commit(batch(R1, consumed, after=1, fence=5, next_admission_sequence=1))
    return source, target


ELSEWHERE = evolve(
    state_in(InputPhase.STAGED, prompt(1)),
    history=(HistoryEntry(START, InputPhase.ACCEPTED, InputPhase.QUEUED, "elsewhere"),),
)


@pytest.mark.parametrize(
    ("there", "prune"),
    [
        (ELSEWHERE, False),
        (state_in(InputPhase.ABANDONED, prompt(1)), False),
        (state_in(InputPhase.CONSUMED, prompt(1)), True),
    ],
    ids=["another history", "another end", "cut down"],
)
def test_an_input_that_went_another_way_there_is_never_written_over(
    there: InputState, prune: bool
) -> None:
    source, target = moved_apart(there, prune=prune)
    before = everything(target)
    with pytest.raises(CopyRefused, match="has gone on there"):
        copied(source, target)
    assert everything(target) == before


def test_an_earlier_copy_that_was_finished_grows() -> None:
    source, target = MemoryStore(), MemoryStore()
    filled(source)
    assert copied(source, target).is_finished
    row = source.load_runtime(R1)
    assert row is not None
    staged = InputRow(row_of(prompt(5), InputPhase.STAGED, 5).state)
    source.commit(evolve(batch(R1, staged), runtime=evolve(row, fence=2), expected_fence=1))
    source.commit(batch(R3, row_of(prompt(1))))
    assert copied(source, target).is_finished
    assert everything(source) == everything(target)


def test_a_copy_whose_row_alone_has_gone_on_is_refused() -> None:
    source, target = MemoryStore(), MemoryStore()
    source.commit(batch(R1))
    assert copied(source, target).is_finished
    target.commit(batch(R1, after=1, fence=2, paused=True))
    with pytest.raises(CopyRefused, match="has gone on there"):
        copied(source, target)


def test_a_store_is_not_copied_into_itself(made: Made, tmp_path: Path) -> None:
    for kind in KINDS:
        store = made(kind)
        with pytest.raises(CopyRefused, match="is the store that is to be copied"):
            copied(store, store)
    (tmp_path / "one.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "one.db")
    with pytest.raises(CopyRefused, match=r"link\.db"):
        copied(SqliteStore(tmp_path / "one.db"), SqliteStore(tmp_path / "link.db"))
    with pytest.raises(CopyRefused, match="is the store"):
        copied(PostgresStore(postgres_url()), PostgresStore(postgres_url()))


def test_a_store_without_the_calls_of_a_copy_is_refused(made: Made) -> None:
    class Plain:
        """It has the calls of a RuntimeStore, and no other."""

    assert not copyable(Plain())  # type: ignore[arg-type]
    with pytest.raises(CopyRefused, match="cannot be copied"):
        copied(Plain(), made("memory"))  # type: ignore[arg-type]
