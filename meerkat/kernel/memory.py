"""Memory: what a driver holds of its runtime while it is loaded.

``RuntimeHead`` is the frozen part that every decision replaces; ``RuntimeMemory`` puts the
ledger beside it. Decisions read both; :meth:`RuntimeMemory.apply` alone changes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from meerkat.epoch import EpochCursorSnapshot
from meerkat.identifiers import (
    LogicalRuntimeId,
    OperationId,
    RuntimeEpochId,
    RuntimeEventId,
    SessionId,
)
from meerkat.kernel.telling import Emit
from meerkat.ledger import Ledger
from meerkat.limits import (
    ARCHIVED_EPHEMERAL_MAX,
    DEFAULT_BACKOFF,
    DEFAULT_LIMITS,
    HOST_EVENT_IDS_MAX,
    Backoff,
    Limits,
)
from meerkat.policy import DEFAULT_POLICY, Lane, PolicyTable
from meerkat.runs import RunInHand
from meerkat.runtime_lifecycle import WORKING, Phase

if TYPE_CHECKING:
    from meerkat.kernel.transition import Transition


@frozen(kw_only=True)
class RuntimeHead:
    """Everything of a runtime but its inputs."""

    phase: Phase = Phase()
    run: RunInHand | None = None
    registered: bool = False
    session_id: SessionId | None = None
    epoch_id: RuntimeEpochId | None = None
    next_admission_sequence: int = 0
    silent_intents: frozenset[str] = frozenset()
    paused: bool = False
    """Is no run to be started, until somebody resumes it?"""
    cursors: EpochCursorSnapshot = EpochCursorSnapshot()
    feed_watermark: int = 0
    live_operations: frozenset[OperationId] = frozenset()
    """The last sequence given in the completion feed of the present epoch."""
    executor_attached: bool = False
    awake: bool = False
    held: frozenset[Lane] = frozenset()
    row_is_stale: bool = False
    """Does the stored row say what a restart undoes? The next recovery rewrites it."""


@frozen
class Rules:
    """What a host may set: limits, back-off and policy."""

    limits: Limits = DEFAULT_LIMITS
    backoff: Backoff = DEFAULT_BACKOFF
    policy: PolicyTable = DEFAULT_POLICY


class RuntimeMemory:
    """One runtime in memory. Owned by its driver; not thread-safe.

    ``durable`` says whether a store remembers finished inputs.
    """

    __slots__ = ("head", "host_events", "ledger", "rules", "runtime_id")

    def __init__(
        self,
        runtime_id: LogicalRuntimeId,
        *,
        durable: bool,
        rules: Rules | None = None,
        head: RuntimeHead | None = None,
    ) -> None:
        self.runtime_id = runtime_id
        self.rules = rules or Rules()
        self.head = head or RuntimeHead()
        self.ledger = Ledger(ARCHIVED_EPHEMERAL_MAX if durable else None)
        self.host_events: dict[RuntimeEventId, None] = {}

    def apply(self, transition: Transition) -> None:
        """Take a decided transition into memory."""
        self.head = transition.head
        for state in transition.states:
            self.ledger.put(state)
        if transition.relane:
            self.ledger.rebuild_lanes()
        for telling in transition.told:
            if isinstance(telling, Emit) and telling.event_id is not None:
                self._remember(telling.event_id)

    def _remember(self, event_id: RuntimeEventId) -> None:
        self.host_events[event_id] = None
        if len(self.host_events) > HOST_EVENT_IDS_MAX:
            del self.host_events[next(iter(self.host_events))]

    @property
    def next_lane(self) -> Lane | None:
        """The lane the next run is taken from: steer first, held and empty ones never."""
        for lane in (Lane.STEER, Lane.QUEUE):
            if lane not in self.head.held and self.ledger.waiting_count(lane):
                return lane
        return None

    @property
    def quiescent(self) -> bool:
        """Is there nothing to do: no run in hand, no input that has not ended?"""
        return self.head.run is None and not self.ledger.active_count

    @property
    def has_waiting(self) -> bool:
        """Does anything wait in a lane, held or not?"""
        return self.ledger.has_waiting

    @property
    def runnable(self) -> bool:
        """Can a run be staged: awake, not paused, an executor, a state and a lane with work."""
        head = self.head
        return (
            head.awake
            and not head.paused
            and head.executor_attached
            and head.phase.state in WORKING
            and self.next_lane is not None
        )
