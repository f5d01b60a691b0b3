"""Invariants of moments: what a step may have changed between two looks at the same thing.

A look takes plain values out of a store or a driver, through their public methods. Two of
them are compared: a refused step has changed nothing, any other only what it was to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import field, fields, frozen

from meerkat.conversation import SessionSnapshot
from meerkat.driver_base import DriverBase
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, as_runtime_id
from meerkat.input_lifecycle import InputState
from meerkat.ops_snapshot import OpsSnapshot
from meerkat.policy import Lane
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.protocol import Page, RuntimeRow, RuntimeStore
from meerkat.testing.invariants_rows import InvariantBroken, ended, is_cut_down


@frozen(kw_only=True)
class Moment:
    """What was seen of one runtime at one moment. ``row`` and below are a store's alone."""

    state: RuntimeState
    run_id: RunId | None = None
    inputs: Mapping[InputId, InputState] = field(factory=dict)
    lanes: Mapping[Lane, tuple[InputId, ...]] = field(factory=dict)
    row: RuntimeRow | None = None
    receipts: Mapping[tuple[RunId, int], RunBoundaryReceipt] = field(factory=dict)
    session: SessionSnapshot | None = None
    operations: OpsSnapshot | None = None


Observed: TypeAlias = Mapping[LogicalRuntimeId, Moment]
"""What was seen of several runtimes at one moment."""


def observed(
    seen: RuntimeStore | DriverBase,
    runtime_ids: Iterable[LogicalRuntimeId | str] | None = None,
    *,
    input_ids: Iterable[InputId] = (),
) -> Observed:
    """Look at a store, or at a driver that works alone.

    Of a store ``runtime_ids`` are looked at, all it has if there are none given; of a
    driver its one runtime, and besides its active inputs those of ``input_ids``. Raises
    what the store raises. It costs as much as there is; a store is read runtime by runtime,
    so nobody else should write meanwhile.
    """
    if isinstance(seen, DriverBase):
        return {seen.runtime_id: _of_driver(seen, input_ids)}
    if runtime_ids is None:
        names = [row.runtime_id for row in pages(seen.list_runtimes)]
    else:
        names = [as_runtime_id(each) for each in runtime_ids]
    looked_at = ((name, moment_of(seen, name)) for name in names)
    return {name: moment for name, moment in looked_at if moment is not None}


def pages(read: Any, *which: object) -> Iterator[Any]:
    """Everything that a paged listing of a store has, page by page."""
    page: Page[Any] = read(*which)
    yield from page.items
    while page.next is not None:
        page = read(*which, after=page.next)
        yield from page.items


def moment_of(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> Moment | None:
    """Look at one stored runtime; None for one that is not there."""
    row = store.load_runtime(runtime_id)
    if row is None:
        return None
    states = [
        *store.load_active_inputs(runtime_id),
        *pages(store.page_terminal_inputs, runtime_id),
    ]
    receipts = pages(store.page_receipts, runtime_id)
    inputs = {state.input_id: state for state in states}
    if len(inputs) != len(states):
        raise InvariantBroken(4, "an input is active and ended at once", runtime_id=runtime_id)
    return Moment(
        state=row.state,
        row=row,
        inputs=inputs,
        receipts={(each.run_id, each.sequence): each for each in receipts},
        session=store.load_session_snapshot(runtime_id),
        operations=store.load_ops_snapshot(runtime_id),
    )


def _of_driver(driver: DriverBase, input_ids: Iterable[InputId]) -> Moment:
    ids = dict.fromkeys([*driver.active_input_ids(), *input_ids])
    states = {each: driver.input_state(each) for each in ids}
    return Moment(
        state=driver.runtime_state(),
        run_id=driver.current_run_id,
        inputs={each: state for each, state in states.items() if state is not None},
        lanes={lane: tuple(driver.waiting_input_ids(lane)) for lane in Lane},
    )


# --- what a step may change -------------------------------------------------------------


def check_refused(before: Observed, after: Observed) -> None:
    """Invariant 1: a step that was refused has changed nothing at all."""
    for runtime_id in {**before, **after}:
        earlier, later = before.get(runtime_id), after.get(runtime_id)
        if earlier != later:
            found = f"a refused step has changed {_difference(earlier, later)}"
            raise InvariantBroken(1, found, runtime_id=runtime_id)


def check_step(
    before: Observed,
    after: Observed,
    *,
    touched: Iterable[LogicalRuntimeId | str] | None = None,
    pruned: bool = False,
) -> None:
    """Invariants 2, 9, 13 and 15 between two moments with any steps between them.

    With ``touched`` only these runtimes may have changed; with ``pruned`` retention was at
    work meanwhile, which may cut ended inputs down and forget their receipts.
    """
    may_change = None if touched is None else {as_runtime_id(each) for each in touched}
    for runtime_id, earlier in before.items():
        later = after.get(runtime_id)
        if later is None:
            raise InvariantBroken(15, "it is gone from the store", runtime_id=runtime_id)
        if may_change is not None and runtime_id not in may_change and earlier != later:
            found = f"a step of another one has changed {_difference(earlier, later)}"
            raise InvariantBroken(15, found, runtime_id=runtime_id)
        if earlier is not later:
            _check_inputs(runtime_id, earlier, later, pruned=pruned)
            _check_receipts(runtime_id, earlier, later, pruned=pruned)
            _check_counters(runtime_id, earlier.row, later.row)


def _check_inputs(
    runtime_id: LogicalRuntimeId, earlier: Moment, later: Moment, *, pruned: bool
) -> None:
    for input_id, was in earlier.inputs.items():
        state = later.inputs.get(input_id)
        if state is None:
            raise InvariantBroken(
                10, f"it was {was.phase}, and is gone", runtime_id=runtime_id, input_id=input_id
            )
        if state is was or state == was or (pruned and _only_cut_down(was, state)):
            continue
        found = None
        if ended(was):
            found = f"it had ended, and what was {was} is {state}"
        elif (
            not (pruned and is_cut_down(state))
            and was.history != (state.history[: len(was.history)])
        ):
            found = "what its history said before is not in it any more"
        if found is not None:
            raise InvariantBroken(2, found, runtime_id=runtime_id, input_id=input_id)


def _only_cut_down(was: InputState, state: InputState) -> bool:
    same = (was.phase, was.terminal_outcome, was.attempt_count, was.idempotency_key, was.result)
    return is_cut_down(state) and same == (
        state.phase,
        state.terminal_outcome,
        state.attempt_count,
        state.idempotency_key,
        state.result,
    )


def _check_receipts(
    runtime_id: LogicalRuntimeId, earlier: Moment, later: Moment, *, pruned: bool
) -> None:
    for (run_id, sequence), receipt in earlier.receipts.items():
        now = later.receipts.get((run_id, sequence))
        if now != receipt and not (pruned and now is None):
            word = "gone" if now is None else "another"
            found = f"receipt {sequence} of run {run_id} is {word}"
            raise InvariantBroken(9, found, runtime_id=runtime_id)


def _check_counters(
    runtime_id: LogicalRuntimeId, was: RuntimeRow | None, row: RuntimeRow | None
) -> None:
    if was is None or row is None:
        return
    counters = {
        "its fence": (was.fence, row.fence),
        "the next number of admission": (was.next_admission_sequence, row.next_admission_sequence),
    }
    if was.epoch_id == row.epoch_id:
        old, new = was.cursors, row.cursors
        counters |= {
            "what the agent was shown": (old.agent_applied_cursor, new.agent_applied_cursor),
            "what was read": (old.runtime_observed_seq, new.runtime_observed_seq),
            "what was injected": (old.runtime_last_injected_seq, new.runtime_last_injected_seq),
            "the end of its feed": (was.feed_watermark, row.feed_watermark),
        }
    for name, (earlier, later) in counters.items():
        if later < earlier:
            found = f"{name} went back from {earlier} to {later}"
            raise InvariantBroken(13, found, runtime_id=runtime_id)


def _difference(earlier: Moment | None, later: Moment | None) -> str:
    """In which fields two moments differ, and with which values."""
    if earlier is None or later is None:
        return f"{'nothing' if earlier is None else 'a runtime'} into the opposite"
    told = []
    for each in fields(Moment):
        was, now = getattr(earlier, each.name), getattr(later, each.name)
        if was == now:
            continue
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            names = [str(name) for name in {**was, **now} if was.get(name) != now.get(name)]
            was = {str(name): was.get(name) for name in was if str(name) in names}
            now = {str(name): now.get(name) for name in now if str(name) in names}
        told.append(f"{each.name} from {was} to {now}")
    return "; ".join(told)
