"""Operation errors: every refusal of a registry of operations.

All are the caller's fault and leave the registry as it was. Each has a stable ``code`` and
its data as attributes; none carries a result, an error text or a reason of a host. The
rules that raise them are in :mod:`meerkat.operations` and
:mod:`meerkat.operations_registry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meerkat.errors import MeerkatError

if TYPE_CHECKING:
    from meerkat.identifiers import OperationId
    from meerkat.operations import OperationKind, OperationStatus, OperationStep


class OperationError(MeerkatError):
    """A registry of operations refused."""

    code = "operation_error"


class AlreadyRegistered(OperationError):
    """The registry knows an operation of this id."""

    code = "operation_already_registered"

    def __init__(self, operation_id: OperationId) -> None:
        super().__init__(f"Operation already registered: {operation_id}")
        self.operation_id = operation_id


class NotFound(OperationError):
    """The registry knows no operation of this id; finished ones are forgotten in time."""

    code = "operation_not_found"

    def __init__(self, operation_id: OperationId) -> None:
        super().__init__(f"Operation not found: {operation_id}")
        self.operation_id = operation_id


class InvalidTransition(OperationError):
    """A step that the table does not hold for the operation's status."""

    code = "invalid_operation_transition"

    def __init__(
        self, operation_id: OperationId, status: OperationStatus, action: OperationStep
    ) -> None:
        super().__init__(f"Invalid operation transition: {action} while {status}: {operation_id}")
        self.operation_id = operation_id
        self.status = status
        self.action = action


class PeerNotExpected(OperationError):
    """Only a child member of a mob ever becomes peer-ready."""

    code = "peer_not_expected"

    def __init__(self, operation_id: OperationId, kind: OperationKind) -> None:
        super().__init__(f"Peer not expected: {operation_id} is a {kind}")
        self.operation_id = operation_id
        self.kind = kind


class AlreadyPeerReady(OperationError):
    """The operation was reported peer-ready before."""

    code = "already_peer_ready"

    def __init__(self, operation_id: OperationId) -> None:
        super().__init__(f"Already peer-ready: {operation_id}")
        self.operation_id = operation_id


class MaxConcurrentExceeded(OperationError):
    """As many operations are live as may be; register again when one has ended."""

    code = "max_concurrent_exceeded"

    def __init__(self, limit: int, active: int) -> None:
        super().__init__(f"Max concurrent operations exceeded: {active} active, limit {limit}")
        self.limit = limit
        self.active = active


class WaitAlreadyActive(OperationError):
    """Another wait for several operations is pending; end or cancel it first."""

    code = "wait_already_active"

    def __init__(self) -> None:
        super().__init__("A wait for several operations is already active")


class DuplicateWaitOperation(OperationError):
    """One wait names an operation twice."""

    code = "duplicate_wait_operation"

    def __init__(self, operation_id: OperationId) -> None:
        super().__init__(f"Duplicate operation in a wait: {operation_id}")
        self.operation_id = operation_id


class OwnerRetired(OperationError):
    """The registry's owner was terminated; it takes no step any more."""

    code = "owner_retired"

    def __init__(self) -> None:
        super().__init__("Owner retired: the registry takes no more steps")


class StepInsideRecorder(OperationError):
    """A recorder took a step that has to wait for that very recorder to return."""

    code = "step_inside_recorder"

    def __init__(self) -> None:
        super().__init__("A recorder may not end an operation of the registry it records for")
