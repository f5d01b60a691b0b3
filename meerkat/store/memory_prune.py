"""Pruning in memory: what a step does to the shelves, under the store's lock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import islice

from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.store.protocol import Pruned
from meerkat.store.retention import IN_FLIGHT, Asked, Ended, let_go, operations_gone_through, slim
from meerkat.store.shelf import Shelf

Shelves = Mapping[LogicalRuntimeId, Shelf]


class Arrivals:
    """The inputs that are whole, in the order in which they came."""

    def __init__(self) -> None:
        self._inputs: dict[int, tuple[LogicalRuntimeId, InputId]] = {}
        self._last = 0

    def add(self, runtime_id: LogicalRuntimeId, input_id: InputId) -> None:
        """One more has come."""
        self._last += 1
        self._inputs[self._last] = (runtime_id, input_id)

    def after(self, place: int) -> Iterator[tuple[int, LogicalRuntimeId, InputId]]:
        """Those behind a place."""
        places = list(self._inputs)
        for each in islice(places, bisect_right(places, place), None):
            yield each, *self._inputs[each]

    def forget(self, runtime_id: LogicalRuntimeId) -> None:
        """None of a runtime's is there any more."""
        for place in [place for place, each in self._inputs.items() if each[0] == runtime_id]:
            del self._inputs[place]

    def pop(self, place: int) -> tuple[LogicalRuntimeId, InputId]:
        """One is whole no more."""
        return self._inputs.pop(place)


def prune_inputs(
    shelves: Shelves,
    whole: Arrivals,
    asked: Asked,
    after: int,
) -> Pruned:
    """Cut finished inputs down, and forget the runs of which none is whole any more."""
    looked_at = list(islice(_ended(shelves, whole, after), asked.limit))
    gone, place = let_go(looked_at, asked, _in_hand(shelves, looked_at))
    named: set[tuple[LogicalRuntimeId, str]] = set()
    for each in gone:
        runtime_id, input_id = whole.pop(each.place)
        shelf = shelves[runtime_id]
        shelf.inputs[input_id] = slim(shelf.inputs[input_id])
        shelf.payloads.pop(input_id, None)
        if each.run_id is not None:
            named.add((runtime_id, each.run_id))
    receipts = sum(_forget(shelves[runtime_id], run_id) for runtime_id, run_id in named)
    over = len(looked_at) < asked.limit or place is None
    next_place = "operations/" if over else f"inputs/{place}"
    return Pruned(inputs=len(gone), receipts=receipts, next=next_place)


def _ended(shelves: Shelves, whole: Arrivals, after: int) -> Iterator[Ended]:
    for place, runtime_id, input_id in whole.after(after):
        shelf = shelves[runtime_id]
        state, runtime = shelf.inputs[input_id], shelf.row
        if input_id in shelf.active or runtime is None:
            continue
        yield Ended(
            place=place,
            runtime_id=runtime_id.value,
            created_at=state.created_at,
            ended_at=state.updated_at,
            sequence=state.admission_sequence,
            next_sequence=runtime.next_admission_sequence,
            run_id=None if state.last_run_id is None else str(state.last_run_id),
        )


def _in_hand(shelves: Shelves, looked_at: list[Ended]) -> frozenset[str]:
    """The runs that inputs of these runtimes are in flight for."""
    names = {LogicalRuntimeId(each.runtime_id) for each in looked_at}
    active = (shelves[name].inputs[each] for name in names for each in shelves[name].active)
    return frozenset(str(state.last_run_id) for state in active if state.phase in IN_FLIGHT)


def _forget(shelf: Shelf, run_id: str) -> int:
    """Drop the receipts of a run, unless one of its contributors is whole, or has not ended."""
    keys = [key for key in shelf.receipts if str(key[0]) == run_id]
    named = {each for key in keys for each in shelf.receipts[key].contributing_input_ids}
    if any(each in shelf.payloads or each in shelf.active for each in named):
        return 0
    for key in keys:
        del shelf.receipts[key]
    return len(keys)


def prune_operations(shelves: Shelves, after: str, limit: int) -> Pruned:
    """Drop ended operations that are out of sight, runtime by runtime."""
    gone = 0
    for runtime_id in sorted(shelves, key=str):
        shelf, runtime = shelves[runtime_id], shelves[runtime_id].row
        if runtime_id.value <= after or runtime is None:
            continue
        through = operations_gone_through(
            runtime.feed_watermark, runtime.cursors.runtime_observed_seq
        )
        for place, row in list(shelf.operations.items()):
            if row.epoch_id != runtime.epoch_id or row.seq <= through:
                del shelf.operations[place]
                gone += 1
                if gone == limit:
                    return Pruned(operations=gone, next=f"operations/{after}")
        after = runtime_id.value
    return Pruned(operations=gone)
