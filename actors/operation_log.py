"""Operation log: what a session's registry tells its runtime's driver.

How an operation ended goes through the driver's mailbox to the disk, under the runtime's
fence, before anybody is told; every step after that is an event, and an end is looked at
by the driver, which may have the runtime go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeAlias

from attrs import frozen

from actors import messages as m
from actors.directory import Directory
from actors.forks import Home
from actors.light import LightCondition
from actors.replies import OpenCalls, Reply, refuse_deadlock, wait_for
from meerkat.completion_feed import FeedEntry
from meerkat.events import EventCode, OperationEvent
from meerkat.identifiers import LogicalRuntimeId, RuntimeEpochId, SessionId
from meerkat.operations import OperationRecord, OperationStep
from meerkat.ops_snapshot import OperationRow

_CALL: Final = "the end of an operation"

_CODES: Final[Mapping[OperationStep, EventCode]] = {
    OperationStep.PROVISIONING_SUCCEEDED: EventCode.OPERATION_STARTED,
    OperationStep.PROGRESS: EventCode.OPERATION_PROGRESS,
}
"""Steps of a live operation that are told → how. An end is always told."""


Keep: TypeAlias = Callable[[LogicalRuntimeId, SessionId, RuntimeEpochId], None]
"""Is told that an operation of an epoch has begun: from now on the plane needs the registry."""


@frozen(eq=False)
class OperationDesk:
    """What the logs of a plane share."""

    now: Callable[[], datetime]
    directory: Directory
    calls: OpenCalls
    home: Home
    keep: Keep


@frozen(eq=False)
class OperationLog:
    """The host of one epoch's registry: its recorder and observer. Thread-safe."""

    desk: OperationDesk
    runtime_id: LogicalRuntimeId
    session_id: SessionId
    epoch_id: RuntimeEpochId

    def before_wait(self) -> None:
        """Raise WouldDeadlock on a thread that an end which is being recorded needs."""
        refuse_deadlock(_CALL)

    def new_lock(self) -> LightCondition:
        """A lock that the plane's threads can wait on."""
        return LightCondition()

    def check(self) -> None:
        """Raise ControlPlaneForked in a forked child."""
        self.desk.home.check()

    def now(self) -> datetime:
        """The time in UTC."""
        return self.desk.now()

    def record(self, record: OperationRecord, entry: FeedEntry | None) -> None:
        """Have an end stored; it is durable on return.

        Raises StoreError, OwnerRetired when the epoch is over, ControlPlaneStopped, and
        WouldDeadlock on a thread that drives runtimes.
        """
        if entry is None:
            return
        refuse_deadlock(_CALL)  # before anything is sent: what is refused has not happened
        row = OperationRow(epoch_id=self.epoch_id, seq=entry.seq, record=record)
        reply: Reply[None] = Reply()
        self.desk.calls.opened_by_run(reply, self.runtime_id)
        self.desk.directory.deliver(self.runtime_id, m.RecordOperation(row, reply))
        wait_for(reply, _CALL, None)

    def observe(self, record: OperationRecord, step: OperationStep) -> None:
        """Tell the driver of a step that was taken. Capacity slots are nobody's business."""
        ended = record.status.is_terminal
        code = EventCode.OPERATION_COMPLETED if ended else _CODES.get(step)
        if code is None or not record.kind.is_recorded:
            return
        event = OperationEvent(code, record.operation_id, record.status.value if ended else None)
        self.desk.directory.deliver(self.runtime_id, m.OperationMoved(event))

    def begun(self, record: OperationRecord) -> None:
        """Have it kept in mind: nobody waits, and the next process can tell that it is gone."""
        self.desk.keep(self.runtime_id, self.session_id, self.epoch_id)
        if record.kind.is_recorded:
            self.desk.directory.deliver(self.runtime_id, m.OperationBegan(self.epoch_id, record))
