"""Pruning, as the cases about it speak of it: ended inputs, a whole pass, and what it left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from meerkat.identifiers import LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase
from meerkat.limits import Retention
from meerkat.store import InputRow, Pruned, RuntimeStore
from meerkat.testing.store_rows import R1, RUN, START, prompt, row_of

NONE_WHOLE: Final = Retention(max_count=0)
NOW: Final = START + timedelta(days=1)


def ended(number: int, key: str | None = None, run_id: RunId = RUN, **changes: Any) -> InputRow:
    """A consumed input of a run, the ``number``-th that its runtime queued."""
    return row_of(prompt(number, key), InputPhase.CONSUMED, number, last_run_id=run_id, **changes)


def prune_all(
    store: RuntimeStore, keep: Retention, *, limit: int = 256, **asked: Any
) -> tuple[int, int, int]:
    """Step after step to the end; gives what went: inputs, receipts, operations."""
    steps: list[Pruned] = []
    after: str | None = None
    while True:
        steps.append(store.prune(keep, NOW, after=after, limit=limit, **asked))
        after = steps[-1].next
        if after is None:
            break
    return (
        sum(step.inputs for step in steps),
        sum(step.receipts for step in steps),
        sum(step.operations for step in steps),
    )


def whole(store: RuntimeStore, runtime_id: LogicalRuntimeId = R1) -> list[int]:
    """The finished inputs that still have their history."""
    states = store.page_terminal_inputs(runtime_id).items
    return sorted(state.input_id.value.int for state in states if state.history)
