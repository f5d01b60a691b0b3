"""Stores agree: one script has the same answers and reads on each, and each keeps every promise."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import HealthCheck, Phase, given, seed, settings
from stores_here import (  # noqa: F401 - they are the cases
    STORES,
    TestMemoryStore,
    TestPostgresStore,
    TestSqliteStore,
)

from meerkat.errors import StoreError
from meerkat.store import Batch, MemoryStore, Pruned, RuntimeStore
from meerkat.store.shelf import Shelf
from meerkat.testing.store_agreement import Script, disagreement, store_scripts
from meerkat.testing.store_conformance import cases_for

Sized = Callable[[int, int], int]
Figure = Callable[[str], None]
QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in memory: what is shown here needs no disk."""
MODEL = "memory"
OTHERS = sorted(set(STORES) - {MODEL})
SCRIPTS = {"postgres": (60, 2_000), "sqlite": (300, 20_000)}
"""How many are played, on every commit and before a release. A server is slow to be empty."""
SERIES = 6
"""A long test is several short ones, each with scripts of its own."""


@frozen
class Played:
    """How many scripts were played, and on how many of them two stores differed."""

    scripts: int
    differing: int


def play(
    open_store: Callable[[], RuntimeStore], scripts: int, *, of: int, phases: Any = tuple(Phase)
) -> Played:
    """Play scripts of a series on a store and on the model; fail where they differ."""
    played = differing = 0

    @seed(of)
    @settings(
        max_examples=scripts,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(store_scripts())
    def one(script: Script) -> None:
        nonlocal played, differing
        played += 1
        with closing(open_store()) as store:
            found = disagreement(script, store, MemoryStore())
        differing += found is not None
        assert found is None, str(found)

    one()
    return Played(played, differing)


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("series", range(SERIES))
@pytest.mark.parametrize("name", OTHERS)
def test_a_script_has_the_same_answers_and_reads(
    name: str, series: int, sized: Sized, figure: Figure
) -> None:
    scripts = sized(*SCRIPTS[name]) // SERIES
    with tempfile.TemporaryDirectory(dir=QUICK) as folder:
        places = (Path(folder, str(number)) for number in count())

        def open_store() -> RuntimeStore:
            place = next(places)
            place.mkdir()
            return STORES[name]().open_store(place)

        played = play(open_store, scripts, of=series)
    assert played.scripts >= scripts
    said = f"scripts {played.scripts}; differing replies or reads {played.differing}"
    figure(f"7 stores agree: {said}")


@pytest.mark.parametrize("name", STORES)
def test_each_store_is_held_to_the_cases_for_it(name: str, figure: Figure) -> None:
    """The cases are the tests of its class, which is in this file: they run beside this one."""
    cases, held = STORES[name], len(cases_for(STORES[name]))
    assert globals()[cases.__name__] is cases
    assert held >= 45
    figure(f"7 store conformance: stores 1; cases {held}")


class ForgetsKeys(MemoryStore):
    """It keeps inputs, and not their keys."""

    def load_input_by_key(self, *_: object) -> None:
        return None


class WritesOver(MemoryStore):
    """It takes a receipt that is stored already, and keeps the new one."""

    def _commit(self, batch: Batch) -> StoreError | None:
        shelf = self._shelves.get(batch.runtime.runtime_id, Shelf())
        for each in batch.receipts:
            shelf.receipts.pop((each.run_id, each.sequence), None)
        return super()._commit(batch)


class PrunesWhatIsInHand(MemoryStore):
    """It has operations end with a pruning that does not."""

    def prune(self, *args: Any, **options: Any) -> Pruned:
        for shelf in self._shelves.values():
            shelf.begun.clear()
        return super().prune(*args, **options)


@pytest.mark.parametrize("wrong", [ForgetsKeys, WritesOver, PrunesWhatIsInHand])
def test_scripts_find_a_store_that_is_wrong(wrong: type[MemoryStore]) -> None:
    """The control: as many scripts as run on every commit find each of these."""
    with pytest.raises(AssertionError, match="step"):
        play(wrong, 300, of=1, phases=[Phase.generate])
