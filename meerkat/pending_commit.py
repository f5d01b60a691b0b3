"""What is decided but not yet durable: transitions folded into one batch.

Each input appears once, in its last version, so that an acceptance and the staging that
rides on it are one row. Ephemeral inputs are left out: they are never written.
"""

from __future__ import annotations

from meerkat.conversation import SessionChange
from meerkat.identifiers import InputId, LogicalRuntimeId, OperationId
from meerkat.inputs import Durability
from meerkat.kernel import RuntimeHead, Transition
from meerkat.operations import OperationRecord
from meerkat.ops_snapshot import OperationRow
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store.protocol import Batch, InputRow, RuntimeRow


class PendingCommit:
    """Transitions of one runtime on their way to the store. Not thread-safe."""

    __slots__ = (
        "_begun",
        "_changed",
        "_head",
        "_inputs",
        "_operations",
        "_receipts",
        "_session",
        "tells",
    )

    def __init__(self, head: RuntimeHead) -> None:
        self._head = head
        self._changed = False
        self._inputs: dict[InputId, InputRow] | None = None
        self._receipts: tuple[RunBoundaryReceipt, ...] = ()
        self._begun: dict[OperationId, OperationRecord] | None = None
        self._operations: tuple[OperationRow, ...] = ()
        self._session: tuple[SessionChange, ...] = ()
        self.tells = False
        """Is there an event to tell? Its number is only good once the runtime is claimed."""

    def add(self, transition: Transition) -> None:
        """Fold one more transition in."""
        if transition.states:
            self._add_inputs(transition)
        if transition.receipt is not None:
            self._receipts += (transition.receipt,)
        if transition.head is not self._head or transition.operations or transition.begun:
            self._add_operations(transition)
        if transition.session is not None:
            self._session += (transition.session,)
        if not self._changed and transition.head is not self._head:
            self._changed = _stored_part(self._head) != _stored_part(transition.head)
        self._head = transition.head
        self.tells = self.tells or bool(transition.told)

    def _add_inputs(self, transition: Transition) -> None:
        inputs = self._inputs = self._inputs or {}
        payload, last = transition.payload, len(transition.states) - 1
        for index, state in enumerate(transition.states):
            if state.durability is Durability.EPHEMERAL:
                continue
            before = inputs.get(state.input_id)
            carried = before.payload if before else payload if index == last else None
            inputs[state.input_id] = InputRow(state, carried)

    def _add_operations(self, transition: Transition) -> None:
        if transition.head.epoch_id != self._head.epoch_id:
            self._begun = None  # of an epoch that is over already
        if transition.begun:
            self._begun = self._begun or {}
            self._begun.update((record.operation_id, record) for record in transition.begun)
        for row in transition.operations:
            if self._begun:
                self._begun.pop(row.record.operation_id, None)
            self._operations += (row,)

    def ride(self, head: RuntimeHead) -> None:
        """Let a newer head ride along, without making it a reason to write."""
        self._head = head

    @property
    def writes(self) -> bool:
        """Is there anything that has to be on disk before the effects may go?"""
        operations = self._begun or self._operations
        rows = self._inputs or self._receipts or operations or self._session
        return bool(rows or self._changed)

    @property
    def proves(self) -> bool:
        """Does a run land with it?"""
        return bool(self._receipts)

    def batch(self, runtime_id: LogicalRuntimeId, expected_fence: int) -> Batch:
        """What the store is asked to commit; it raises the fence by one.

        Every commit does, not only a writer's first: one that has loaded the runtime and
        then missed a commit of another writer is refused, whatever it has claimed.
        """
        return Batch(
            runtime=row_of(runtime_id, self._head, expected_fence + 1),
            expected_fence=expected_fence,
            inputs=tuple(self._inputs.values()) if self._inputs else (),
            receipts=self._receipts,
            begun=tuple(self._begun.values()) if self._begun else (),
            operations=self._operations,
            session=self._session,
        )


def _stored_part(head: RuntimeHead) -> tuple[object, ...]:
    """What of a head is a reason to write by itself.

    The cursors are none: they ride on the next write, as one that is stale after a crash
    repeats a notice and loses none. Nor is the feed's watermark: it rises together with the
    row of an operation, and falls to 0 together with another epoch's id, reasons both.
    """
    return (
        head.phase.stored,
        head.registered,
        head.session_id,
        head.epoch_id,
        head.silent_intents,
        head.paused,
        head.row_is_stale,
    )


def row_of(runtime_id: LogicalRuntimeId, head: RuntimeHead, fence: int) -> RuntimeRow:
    """The stored form of a runtime's head."""
    return RuntimeRow(
        runtime_id=runtime_id,
        session_id=head.session_id,
        epoch_id=head.epoch_id,
        state=head.phase.stored,
        fence=fence,
        registered=head.registered,
        next_admission_sequence=head.next_admission_sequence,
        silent_intents=head.silent_intents,
        cursors=head.cursors,
        feed_watermark=head.feed_watermark,
        live_operations=len(head.live_operations),
        paused=head.paused,
    )
