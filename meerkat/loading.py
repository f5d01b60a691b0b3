"""Loading: a runtime's memory, rebuilt from its rows.

A restart, a rebuild after a failed commit and the first use of a runtime that only the
store knows all come through here. Loading writes nothing; the recovery that follows it
does, with the first commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from meerkat.identifiers import InputId, LogicalRuntimeId, OperationId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.inputs import Durability, Input
from meerkat.kernel import Recover, RuntimeHead, RuntimeMemory
from meerkat.kernel.memory import Rules
from meerkat.recovery import receipts_wanted, refuse_corruption
from meerkat.runtime_lifecycle import AT_REST, RuntimeState
from meerkat.store.protocol import RuntimeRow, RuntimeStore

_RESTING: Final[Mapping[RuntimeState, RuntimeState]] = {
    RuntimeState.INITIALIZING: RuntimeState.IDLE,
    RuntimeState.RUNNING: RuntimeState.IDLE,
    RuntimeState.ATTACHED: RuntimeState.IDLE,
}
"""Stored states that only a live runtime can be in → where a restart finds it."""

_NONE_LIVE: Final[frozenset[OperationId]] = frozenset()


def load_memory(
    store: RuntimeStore,
    row: RuntimeRow,
    rules: Rules,
    *,
    executor_attached: bool,
    with_offered: bool = True,
    carried_over: Iterable[InputState] = (),
) -> RuntimeMemory:
    """Rebuild a runtime from its rows; RecoveryCorruption names a row that is unsound.

    ``with_offered=False`` leaves out what other processes have offered: it is taken in apart.
    ``carried_over`` are the ephemeral inputs of a memory that is replaced.
    """
    states = [
        refuse_corruption(state)
        for state in store.load_active_inputs(row.runtime_id)
        if state.durability is not Durability.EPHEMERAL and (with_offered or not _is_offered(state))
    ]
    resting = _RESTING.get(row.state, row.state)
    if resting is RuntimeState.IDLE and executor_attached:
        resting = RuntimeState.ATTACHED
    phase, known = AT_REST[resting], (*states, *carried_over)
    sequences = [s.admission_sequence + 1 for s in known if s.admission_sequence is not None]
    head = RuntimeHead(
        phase=phase,
        registered=row.registered,
        session_id=row.session_id,
        epoch_id=row.epoch_id,
        next_admission_sequence=max([row.next_admission_sequence, *sequences]),
        silent_intents=row.silent_intents,
        paused=row.paused,
        cursors=row.cursors,
        feed_watermark=row.feed_watermark,
        live_operations=_live_operations(store, row),
        executor_attached=executor_attached,
        row_is_stale=row.state is not phase.stored or row.set_aside is not None,
    )
    memory = RuntimeMemory(row.runtime_id, durable=True, rules=rules, head=head)
    for state in known:
        memory.ledger.put(state)
    return memory


def _is_offered(state: InputState) -> bool:
    """Does it say no more than that it was accepted?"""
    return state.phase is InputPhase.ACCEPTED and state.admission_sequence is None


def _live_operations(store: RuntimeStore, row: RuntimeRow) -> frozenset[OperationId]:
    """What has begun in the present epoch; the store is asked where it is known to have some."""
    snapshot = store.load_ops_snapshot(row.runtime_id) if row.live_operations else None
    return _NONE_LIVE if snapshot is None else frozenset(r.operation_id for r in snapshot.live)


def recovery_of(store: RuntimeStore | None, memory: RuntimeMemory) -> Recover:
    """The recovery command for a runtime, with what the store says of its receipts."""
    if store is None:
        return Recover(None)
    proven: set[InputId] = set()
    for run_id, sequence in receipts_wanted(memory.ledger.active()):
        receipt = store.load_boundary_receipt(memory.runtime_id, run_id, sequence)
        if receipt is not None:
            proven.update(receipt.contributing_input_ids)
    return Recover(frozenset(proven))


def known_input(
    store: RuntimeStore | None, runtime_id: LogicalRuntimeId, offered: Input
) -> InputState | None:
    """What the store remembers of an offered input, by its key or its id."""
    return None if store is None else KnownInputs(store, runtime_id, [offered]).of(offered)


class KnownInputs:
    """What the store remembers of inputs that are offered; it is asked once for all of them."""

    __slots__ = ("_by_id", "_by_key", "_ids", "_keys")

    def __init__(
        self, store: RuntimeStore, runtime_id: LogicalRuntimeId, offered: Sequence[Input]
    ) -> None:
        self._ids = {each.id for each in offered}
        self._keys = {each.idempotency_key for each in offered}
        keys = [key for key in self._keys if key is not None]
        states = store.load_known_inputs(runtime_id, list(self._ids), keys)
        self._by_id = {state.input_id: state for state in states}
        self._by_key = {state.idempotency_key: state for state in states}

    def __contains__(self, offered: Input) -> bool:
        key = offered.idempotency_key
        return offered.id in self._ids and (key is None or key in self._keys)

    def of(self, offered: Input) -> InputState | None:
        """The input whose key one of those offered has, or else its id."""
        key = offered.idempotency_key
        by_key = None if key is None else self._by_key.get(key)
        return by_key or self._by_id.get(offered.id)
