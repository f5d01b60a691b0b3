"""Loading: what a driver takes up when it has no memory of its runtime.

A runtime's first use in this process, and every rebuild after a failed commit, come through
here. The store is only read: what the recovery changes goes out with the driver's next
commit.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from attrs import evolve, frozen

from actors import driver_rest
from actors.passivation import Note
from actors.system import System
from meerkat import kernel
from meerkat.fail_points import FailPoint, reached
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.kernel import RuntimeHead, RuntimeMemory, Transition
from meerkat.loading import load_memory, recovery_of
from meerkat.outcomes import CompletionOutcome, TerminationReason, completion_of, terminated
from meerkat.runtime_lifecycle import RuntimeState

_NEVER_STORED: Final[CompletionOutcome | None] = terminated(TerminationReason.PROCESS_ENDED)


@frozen(kw_only=True)
class Loaded:
    """A runtime as the store has it, recovered in memory.

    ``head`` is the one before the recovery, ``lost`` the handles whose input ended, or went,
    while nobody was loaded.
    """

    memory: RuntimeMemory
    head: RuntimeHead
    fence: int
    recovery: Transition | None
    at: datetime
    lost: tuple[tuple[InputId, CompletionOutcome], ...]


def load(
    system: System, runtime_id: LogicalRuntimeId, note: Note | None, *, attached: bool
) -> Loaded:
    """Read a runtime and recover it in memory; ``note`` is what it left when it was passivated.

    One that was never registered is initializing. Raises RecoveryCorruption naming an
    unsound row, StoreError when the store fails.
    """
    row = system.store.load_runtime(runtime_id)
    if row is None:
        head = RuntimeHead(executor_attached=attached)
        memory = RuntimeMemory(runtime_id, durable=True, rules=system.rules, head=head)
    else:
        memory = load_memory(
            system.store,
            row,
            system.rules,
            executor_attached=attached,
            with_offered=system.sharing is None,
        )
    reached(FailPoint.RUNTIME_READ)
    if note is not None:
        driver_rest.before_recovery(note, memory)
    take_up_operations(system, memory)
    head, now, recovery = memory.head, system.clock.now(), None
    lost = _lost(system, memory)
    left = memory.ledger.active_count or head.row_is_stale
    if left and row is not None and row.state is not RuntimeState.DESTROYED:
        recovery = kernel.decide(memory, recovery_of(system.store, memory), now)
        memory.apply(recovery)
        if note is not None:
            driver_rest.after_recovery(note, memory)
        reached(FailPoint.RUNTIME_RECOVERED)
    return Loaded(
        memory=memory,
        head=head,
        fence=0 if row is None else row.fence,
        recovery=recovery,
        at=now,
        lost=lost,
    )


def take_up_operations(system: System, memory: RuntimeMemory) -> None:
    """Bring the session's registry up to what the store holds; StoreError.

    Where nothing has ended that nobody was told of, and nobody holds the registry, it is
    not made: most sessions have no operations.
    """
    cursors = system.bindings.cursors(memory.runtime_id, memory.head)
    if cursors != memory.head.cursors:
        memory.head = evolve(memory.head, cursors=cursors)
    head = memory.head
    is_over = head.epoch_id is None or head.phase.state is RuntimeState.DESTROYED
    news = head.feed_watermark > head.cursors.runtime_observed_seq or head.live_operations
    if news and not is_over:
        system.bindings.of(memory.runtime_id, head)
    system.bindings.take_up(memory.runtime_id, head)


def _lost(system: System, memory: RuntimeMemory) -> tuple[tuple[InputId, CompletionOutcome], ...]:
    lost = []
    for input_id in system.completions.waiting(memory.runtime_id):
        if memory.ledger.get(input_id) is None:
            state, outcome = system.store.load_input(memory.runtime_id, input_id), _NEVER_STORED
            if state is not None:  # one that has not ended was offered, and is taken in apart
                outcome = completion_of(state)
            if outcome is not None:
                lost.append((input_id, outcome))
    return tuple(lost)
