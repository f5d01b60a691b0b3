"""meerkat: the domain of durable agent sessions. Values in, values out.

No thread, clock, chance or logging set-up is in this package; the stores are its one part
that does I/O. The running system is in the package ``actors``.
"""

from meerkat.bindings import (
    RuntimeBuildMode,
    SessionBindingsMismatch,
    SessionOwned,
    SessionRuntimeBindings,
    StandaloneEphemeral,
)
from meerkat.boundary import AsyncBoundary, Boundary
from meerkat.codec import from_json, to_json
from meerkat.drivers import EphemeralRuntimeDriver, PersistentRuntimeDriver
from meerkat.epoch import EpochCursorSnapshot, EpochCursorState
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import (
    IdempotencyKey,
    InputId,
    LogicalRuntimeId,
    OperationId,
    RunId,
    RuntimeEpochId,
    RuntimeEventId,
    SessionId,
    SupersessionKey,
)
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.inputs import (
    ContinuationInput,
    ExternalEventInput,
    FlowStepInput,
    Input,
    OperationInput,
    PeerInput,
    PromptInput,
)
from meerkat.interfaces import AsyncRunContext, RunContext, RuntimeControlPlane, RuntimeDriver
from meerkat.operations import OperationKind
from meerkat.operations_registry import OpsLifecycleRegistry
from meerkat.origins import (
    External,
    Flow,
    Operator,
    Peer,
    PeerMessage,
    PeerRequest,
    PeerResponseProgress,
    PeerResponseTerminal,
    System,
)
from meerkat.outcomes import (
    Accepted,
    AcceptOutcome,
    CompletionHandle,
    CompletionOutcome,
    Deduplicated,
    Rejected,
)
from meerkat.policy import DefaultPolicy, PolicyDecision, PolicyTable, WakeMode
from meerkat.receipts import RunBoundaryReceipt
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    RedriveReport,
    ResetReport,
    RetireReport,
)
from meerkat.runs import ExecutionKind, InterruptMode, RunOutput, StagedInput, WakeReason
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.stored_input import StoredInputState

__all__ = [
    "AcceptOutcome",
    "Accepted",
    "AsyncBoundary",
    "AsyncRunContext",
    "Boundary",
    "CompletionHandle",
    "CompletionOutcome",
    "ContinuationInput",
    "Deduplicated",
    "DefaultPolicy",
    "DestroyReport",
    "EphemeralRuntimeDriver",
    "EpochCursorSnapshot",
    "EpochCursorState",
    "EventGap",
    "ExecutionKind",
    "External",
    "ExternalEventInput",
    "Flow",
    "FlowStepInput",
    "IdempotencyKey",
    "Input",
    "InputId",
    "InputPhase",
    "InputState",
    "InterruptMode",
    "LogicalRuntimeId",
    "OperationId",
    "OperationInput",
    "OperationKind",
    "Operator",
    "OpsLifecycleRegistry",
    "Peer",
    "PeerInput",
    "PeerMessage",
    "PeerRequest",
    "PeerResponseProgress",
    "PeerResponseTerminal",
    "PersistentRuntimeDriver",
    "PolicyDecision",
    "PolicyTable",
    "PromptInput",
    "RecoveryReport",
    "RecycleReport",
    "RedriveReport",
    "Rejected",
    "ResetReport",
    "RetireReport",
    "RunBoundaryReceipt",
    "RunContext",
    "RunId",
    "RunOutput",
    "RuntimeBuildMode",
    "RuntimeControlPlane",
    "RuntimeDriver",
    "RuntimeEpochId",
    "RuntimeEventEnvelope",
    "RuntimeEventId",
    "RuntimeState",
    "SessionBindingsMismatch",
    "SessionId",
    "SessionOwned",
    "SessionRuntimeBindings",
    "StagedInput",
    "StandaloneEphemeral",
    "StoredInputState",
    "SupersessionKey",
    "System",
    "WakeMode",
    "WakeReason",
    "from_json",
    "to_json",
]
