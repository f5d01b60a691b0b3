"""A copy that is killed at any moment: run again it finishes, and ends equal."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from copy_builders import EPOCHS, everything, filled
from copy_programs import PROGRAM, named
from test_copying_beside import spoil

from meerkat import InputPhase
from meerkat.conversation import AppendMessages
from meerkat.fail_points import FailPoint
from meerkat.identifiers import LogicalRuntimeId
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import SqliteStore
from meerkat.store.copy_runtime import WHOLE
from meerkat.store.copying import copy_store
from meerkat.testing.postgres_server import postgres_url
from meerkat.testing.processes import Children
from meerkat.testing.store_rows import R3, batch, ended, prompt, receipt, row_of

MOMENTS = (
    FailPoint.TRANSACTION_BEGUN,
    FailPoint.ROWS_WRITTEN,
    FailPoint.COMMIT_DUE,
    FailPoint.COMMIT_DONE,
)
KILLS = 8


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(["copy_programs", "meerkat.store.copying"]) as started:
        yield started


@pytest.fixture
def source(path: Path) -> Path:
    """A store whose copy takes several transactions."""
    with closing(SqliteStore(path)) as store:
        filled(store)
        rows = [row_of(prompt(n, f"k{n}"), InputPhase.CONSUMED, n) for n in range(700)]
        receipts = tuple(receipt(number) for number in range(300))
        messages = b"[" + b",".join([b'"m"'] * 50) + b"]"
        store.commit(
            batch(
                R3,
                *rows,
                receipts=receipts,
                operations=tuple(ended(number, EPOCHS[0]) for number in range(1, 200)),
                session=(AppendMessages(0, 50, messages),),
                epoch_id=EPOCHS[0],
            )
        )
        others = [LogicalRuntimeId(f"other-{number}") for number in range(300)]
        store.commit_many([batch(each, row_of(prompt(1))) for each in others])
    return path


def copied_under_kills(children: Children, source: Path, target: str, chance: random.Random) -> int:
    """Copy, killed again and again, until a copy comes to its end; how many were killed."""
    for kills in range(KILLS):
        moment = {chance.choice(MOMENTS): chance.randint(1, 6)}
        if not children.start(PROGRAM, str(source), target, kills=moment).end():
            return kills
    assert not children.start(PROGRAM, str(source), target).end()
    return KILLS


@pytest.mark.parametrize("seed", range(6))
def test_a_copy_into_a_file_that_is_killed_ends_equal(
    children: Children, source: Path, tmp_path: Path, seed: int
) -> None:
    target = str(tmp_path / "copy.db")
    assert copied_under_kills(children, source, target, random.Random(seed))
    with closing(SqliteStore(source)) as ours, closing(named(target)) as theirs:
        assert everything(theirs) == everything(ours)  # type: ignore[arg-type]


def test_a_copy_into_postgres_that_is_killed_ends_equal(children: Children, source: Path) -> None:
    target = f"{postgres_url()} k{uuid4().hex}"
    assert copied_under_kills(children, source, target, random.Random(1))
    with closing(SqliteStore(source)) as ours, closing(named(target)) as theirs:
        assert everything(theirs) == everything(ours)  # type: ignore[arg-type]


def test_a_copy_that_begins_again_and_is_killed_ends_equal(
    children: Children, source: Path, tmp_path: Path
) -> None:
    """What is there cannot be added to: it is erased, and brought anew."""
    target = tmp_path / "copy.db"
    with closing(SqliteStore(source)) as owner:
        owner.acquire()
        with closing(SqliteStore(source)) as ours, closing(SqliteStore(target)) as theirs:
            assert copy_store(ours, theirs).owner
        store = SqliteStore(target)
        spoil(store, "UPDATE inputs SET payload = replace(payload, 'prompt 1', 'prompt 2')")
        store.close()
    for at in (1, 2, 3):
        for moment in MOMENTS:
            child = children.start(PROGRAM, str(source), str(target), kills={moment: at})
            child.end()
    assert not children.start(PROGRAM, str(source), str(target)).end()
    with closing(SqliteStore(source)) as ours, closing(SqliteStore(target)) as theirs:
        assert everything(theirs) == everything(ours)


def test_of_a_copy_that_is_not_finished_no_runtime_goes_on(
    children: Children, source: Path, tmp_path: Path
) -> None:
    target = str(tmp_path / "copy.db")
    child = children.start(PROGRAM, str(source), target, kills={FailPoint.COMMIT_DONE: 6})
    assert child.end()
    with closing(named(target)) as store:
        rows = store.list_runtimes().items
        assert {row.state for row in rows} == {RuntimeState.DESTROYED}
        assert WHOLE in {row.set_aside for row in rows}
        assert store.runtimes_with_work() == []
