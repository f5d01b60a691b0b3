"""6: any steps of a runtime against its model, with crashes, clock jumps and store faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.store.protocol import Batch
from meerkat.testing import RuntimeStateMachine

pytestmark = pytest.mark.usefixtures("no_news")

Sized = Callable[[int, int], int]

PARTS = 4
"""So that several processes can share them; each part draws other steps."""


class CountingMachine(RuntimeStateMachine):
    """Counts its steps: how often everything agreed."""

    steps = 0

    @invariant()
    def counts(self) -> None:
        type(self).steps += 1


def run(machine: type[RuntimeStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def made(
    part: int, make_store: Callable[[Any], RuntimeStore], base: type = CountingMachine
) -> type[CountingMachine]:
    """A machine of its own: its name is what its steps are drawn from."""
    return type(f"Part{part}", (base,), {"make_store": make_store, "steps": 0})


@pytest.mark.parametrize("part", range(PARTS))
def test_the_model_and_the_runtime_never_differ(
    part: int, sized: Sized, figure: Callable[[str], None]
) -> None:
    machine = made(part, lambda _: MemoryStore())
    examples = sized(480, 20_000) // PARTS
    run(machine, examples, sized(50, 100))
    assert machine.steps > examples * 10
    figure(f"6 state machine: steps {machine.steps}; differences 0")


def test_nor_do_they_on_a_disk(tmp_path: Path, sized: Sized, figure: Callable[[str], None]) -> None:
    opened: list[SqliteStore] = []

    def open_store(_machine: object) -> RuntimeStore:
        opened.append(SqliteStore(tmp_path / f"{len(opened)}.db"))
        return opened[-1]

    machine = made(PARTS, open_store)
    run(machine, sized(20, 200), sized(50, 100))
    for store in opened:
        store.close()
    assert len(opened) >= 20
    figure(f"6 state machine: steps {machine.steps}; differences 0")


# --- the control: what is wrong is found ------------------------------------------------


class ForgetfulStore(MemoryStore):
    """Says that a group has landed of which the last input is missing."""

    def commit_many(self, batches: Any) -> Any:
        return super().commit_many([_without_last(each) for each in batches])


def _without_last(batch: Batch) -> Batch:
    return evolve(batch, inputs=batch.inputs[:-1]) if len(batch.inputs) > 1 else batch


class LosesReceipts(MemoryStore):
    """Says that receipts have landed, and keeps none."""

    def commit_many(self, batches: Any) -> Any:
        return super().commit_many([evolve(each, receipts=()) for each in batches])


@pytest.mark.parametrize("wrong", [ForgetfulStore, LosesReceipts])
def test_a_store_that_does_not_keep_what_it_says_is_found(wrong: type[MemoryStore]) -> None:
    with pytest.raises(AssertionError):
        run(made(PARTS + 1, lambda _: wrong()), 500, 50)  # the first that finds it ends it
