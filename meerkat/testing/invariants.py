"""Invariants: what is true of every runtime after every step, for anyone to call.

The list is that of semantics.md, section 14. Each check raises
:class:`~meerkat.testing.InvariantBroken`, which carries the number and names the runtime, the
input and what was found:

* :func:`check_store` of what is stored, :func:`check_driver` and :func:`check_memory` of one
  runtime in memory: 2-5, 9 and 11-14;
* :func:`check_step` and :func:`check_refused` of two :func:`observed` moments: 1, 2, 9, 13, 15;
* :class:`~meerkat.testing.Promises` of what a host was told: 7, 8, 10 and 16.

6, and recover ∘ recover = recover, speak of what a call answers: the state machine checks them.
Nothing here changes what it looks at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from meerkat.driver_base import DriverBase
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.kernel import RuntimeMemory
from meerkat.limits import DEFAULT_LIMITS, Limits
from meerkat.policy import Lane
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store.protocol import RuntimeStore
from meerkat.testing.invariants_moments import Moment, Observed, check_refused, check_step, observed
from meerkat.testing.invariants_promises import Promises
from meerkat.testing.invariants_rows import (
    InvariantBroken,
    check_conversation,
    check_first_stagings,
    check_input,
    check_inputs,
    check_operations,
    check_receipts,
    check_row,
    ended,
    is_cut_down,
)

__all__ = [
    "InvariantBroken",
    "Moment",
    "Observed",
    "Promises",
    "check_conversation",
    "check_driver",
    "check_first_stagings",
    "check_input",
    "check_inputs",
    "check_memory",
    "check_moment",
    "check_operations",
    "check_receipts",
    "check_refused",
    "check_row",
    "check_step",
    "check_store",
    "observed",
]


def check_store(
    store: RuntimeStore,
    runtime_ids: Iterable[LogicalRuntimeId | str] | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
    own_digests: bool = False,
) -> Observed:
    """Check everything that can be seen of a store alone: 2-5, 9 and 11-14.

    Of ``runtime_ids``, or of all that it has; gives what it saw. ``limits`` are those of the
    plane that wrote it, ``own_digests`` says that executors gave digests of their own. Raises
    InvariantBroken, RecoveryCorruption for a row that cannot be read, and StoreError.
    Anybody may call it while nobody writes; it costs as much as is stored.
    """
    seen = observed(store, runtime_ids)
    for runtime_id, moment in seen.items():
        check_moment(runtime_id, moment, limits=limits, own_digests=own_digests)
    return seen


def check_moment(
    runtime_id: LogicalRuntimeId,
    moment: Moment,
    *,
    limits: Limits = DEFAULT_LIMITS,
    own_digests: bool = False,
) -> None:
    """The same of one runtime that was looked at already."""
    states, receipts = moment.inputs.values(), tuple(moment.receipts.values())
    check_inputs(runtime_id, states, limits)
    check_receipts(runtime_id, receipts, states)
    if moment.row is not None:
        check_row(runtime_id, moment.row, states)
    if not own_digests and not any(map(is_cut_down, states)):
        check_conversation(runtime_id, receipts, moment.session)
    if moment.operations is not None:
        check_operations(runtime_id, moment.operations, limits)


# --- one runtime in memory --------------------------------------------------------------

_LANED: Final = InputPhase.QUEUED
_IN_HAND: Final = frozenset(
    {InputPhase.STAGED, InputPhase.APPLIED, InputPhase.APPLIED_PENDING_CONSUMPTION}
)


@frozen(kw_only=True)
class _Live:
    """One runtime in memory, as plain values."""

    state: RuntimeState
    run_id: RunId | None
    contributors: Sequence[InputId]
    active: Sequence[InputState]
    lanes: Mapping[Lane, Sequence[InputId]]


def check_driver(driver: DriverBase, *, limits: Limits = DEFAULT_LIMITS) -> None:
    """Check a driver that works alone: 4, 5, 11 and 12 of its one runtime.

    Its active inputs, its lanes and its run must make up one whole. Raises InvariantBroken,
    and what the driver raises when it has to ask its store. In the driver's own thread.
    """
    states = [driver.input_state(input_id) for input_id in driver.active_input_ids()]
    active = [state for state in states if state is not None]
    if len(active) != len(states):
        raise InvariantBroken(4, "an active input is unknown", runtime_id=driver.runtime_id)
    live = _Live(
        state=driver.runtime_state(),
        run_id=driver.current_run_id,
        contributors=[state.input_id for state in active if state.phase in _IN_HAND],
        active=active,
        lanes={lane: driver.waiting_input_ids(lane) for lane in Lane},
    )
    _check_live(driver.runtime_id, live, limits)


def check_memory(memory: RuntimeMemory, *, limits: Limits | None = None) -> None:
    """Check a runtime's memory between two steps: 4, 5, 11, 12 and 14.

    Raises InvariantBroken. In the thread that owns the memory; ``limits`` are its own if
    none are given.
    """
    head, ledger = memory.head, memory.ledger
    live = _Live(
        state=head.phase.state,
        run_id=head.phase.run_id,
        contributors=head.run.contributors if head.run else (),
        active=tuple(ledger.active()),
        lanes={lane: [state.input_id for state in ledger.waiting(lane)] for lane in Lane},
    )
    bounds = limits or memory.rules.limits
    _check_live(memory.runtime_id, live, bounds)
    most = bounds.operations_live_max
    if most is not None and len(head.live_operations) > most:
        found = f"{len(head.live_operations)} operations are live, of at most {most}"
        raise InvariantBroken(14, found, runtime_id=memory.runtime_id)


def _check_live(runtime_id: LogicalRuntimeId, live: _Live, limits: Limits) -> None:
    check_inputs(runtime_id, live.active, limits)
    _check_lanes(runtime_id, live)
    _check_run(runtime_id, live)


def _check_lanes(runtime_id: LogicalRuntimeId, live: _Live) -> None:
    """Invariant 4."""
    phases = {state.input_id: state.phase for state in live.active}
    waiting = [(input_id, lane) for lane, ids in live.lanes.items() for input_id in ids]
    found: list[tuple[InputId, str]] = [
        (state.input_id, f"{state.phase}, and among the active")
        for state in live.active
        if ended(state)
    ]
    for input_id, lane in waiting:
        if phases.get(input_id) is not _LANED:
            found.append((input_id, f"{phases.get(input_id)}, and in the {lane} lane"))
    if len(dict(waiting)) != len(waiting):
        found += [(each, "it waits in a lane, and waits again") for each, _ in waiting]
    for input_id in phases.keys() - dict(waiting).keys():
        if phases[input_id] is _LANED:
            found.append((input_id, "queued, and in no lane"))
    for input_id, text in found:
        raise InvariantBroken(4, text, runtime_id=runtime_id, input_id=input_id)


def _check_run(runtime_id: LogicalRuntimeId, live: _Live) -> None:
    """Invariant 5."""
    running = live.state is RuntimeState.RUNNING
    if running != (live.run_id is not None) or running != bool(live.contributors):
        found = f"{live.state} with the run {live.run_id} of {len(live.contributors)} inputs"
        raise InvariantBroken(5, found, runtime_id=runtime_id)
    in_hand = {state.input_id: state for state in live.active if state.phase in _IN_HAND}
    if set(in_hand) != set(live.contributors):
        found = f"the run {live.run_id} has other inputs in hand than {len(in_hand)} staged ones"
        raise InvariantBroken(5, found, runtime_id=runtime_id)
    for input_id, state in in_hand.items():
        if state.last_run_id != live.run_id:
            found = f"{state.phase} for {state.last_run_id} during {live.run_id}"
            raise InvariantBroken(5, found, runtime_id=runtime_id, input_id=input_id)
