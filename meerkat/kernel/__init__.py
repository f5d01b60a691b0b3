"""The kernel: the one door for change.

``decide(memory, command, now)`` looks at a runtime and gives a :class:`Transition`: what
changes, and what may be told once the change is durable. It touches nothing. A driver
commits the changes, takes them into memory, and only then releases the effects.
"""

from meerkat.kernel.commands import (
    AcceptInput,
    AttachExecutor,
    CancelRun,
    Command,
    CommitBoundary,
    CompleteRun,
    Destroy,
    DetachExecutor,
    FailRun,
    Initialize,
    PublishEvent,
    Recover,
    Recycle,
    Register,
    ReleaseLane,
    ReportProgress,
    RequeueRun,
    Reset,
    Retire,
    SetSilentIntents,
    StageRun,
    Stop,
    Unregister,
    Wake,
)
from meerkat.kernel.decide import decide
from meerkat.kernel.memory import RuntimeHead, RuntimeMemory
from meerkat.kernel.transition import (
    Effect,
    Emit,
    InterruptRun,
    RetryLane,
    RuntimeEnded,
    Signalled,
    StartRun,
    Transition,
)

__all__ = [
    "AcceptInput",
    "AttachExecutor",
    "CancelRun",
    "Command",
    "CommitBoundary",
    "CompleteRun",
    "Destroy",
    "DetachExecutor",
    "Effect",
    "Emit",
    "FailRun",
    "Initialize",
    "InterruptRun",
    "PublishEvent",
    "Recover",
    "Recycle",
    "Register",
    "ReleaseLane",
    "ReportProgress",
    "RequeueRun",
    "Reset",
    "Retire",
    "RetryLane",
    "RuntimeEnded",
    "RuntimeHead",
    "RuntimeMemory",
    "SetSilentIntents",
    "Signalled",
    "StageRun",
    "StartRun",
    "Stop",
    "Transition",
    "Unregister",
    "Wake",
    "decide",
]
