"""Interfaces: what a driver and a control plane answer to, and what an executor is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from threading import Event

    from meerkat.bindings import SessionRuntimeBindings
    from meerkat.boundary import AsyncBoundary, Boundary
    from meerkat.events import RuntimeEventEnvelope
    from meerkat.identifiers import InputId, LogicalRuntimeId, RunId
    from meerkat.input_lifecycle import InputPhase, InputState
    from meerkat.inputs import Input
    from meerkat.outcomes import AcceptOutcome
    from meerkat.receipts import RunBoundaryReceipt
    from meerkat.reports import (
        DestroyReport,
        RecoveryReport,
        RecycleReport,
        ResetReport,
        RetireReport,
    )
    from meerkat.runs import WakeReason
    from meerkat.runtime_lifecycle import RuntimeState
    from meerkat.stored_input import StoredInputState


@runtime_checkable
class RuntimeDriver(Protocol):
    """The interface to one runtime. Raises RuntimeDriverError; see each driver for threads."""

    def accept_input(self, input: Input) -> AcceptOutcome:  # noqa: A002
        """Offer an input; durable on return if it says so."""
        ...

    def on_runtime_event(self, envelope: RuntimeEventEnvelope) -> None:
        """Put a host's event in order with the rest."""
        ...

    def recover(self) -> RecoveryReport:
        """Put right what a crash left."""
        ...

    def runtime_state(self) -> RuntimeState:
        """What the runtime is doing."""
        ...

    def input_state(self, input_id: InputId) -> InputState | None:
        """All that is known of an input; None for an unknown one."""
        ...

    def input_phase(self, input_id: InputId) -> InputPhase | None:
        """How far an input has come."""
        ...

    def input_last_run_id(self, input_id: InputId) -> RunId | None:
        """The run that an input was last staged for."""
        ...

    def input_last_boundary_sequence(self, input_id: InputId) -> int | None:
        """The receipt that proves an input."""
        ...

    def stored_input_state(self, input_id: InputId) -> StoredInputState | None:
        """An input as a store keeps it."""
        ...

    def active_input_ids(self) -> list[InputId]:
        """The non-terminal inputs, in order of admission."""
        ...


@runtime_checkable
class RuntimeControlPlane(Protocol):
    """The front door to all runtimes. Raises RuntimeControlPlaneError."""

    def ingest(
        self,
        runtime_id: LogicalRuntimeId | str,
        input: Input,  # noqa: A002
        *,
        timeout: float | None = None,
    ) -> AcceptOutcome:
        """Offer an input to a runtime; durable on return if it says so."""
        ...

    def publish_event(self, envelope: RuntimeEventEnvelope) -> None:
        """Route a host's event to the runtime it names."""
        ...

    def retire(self, runtime_id: LogicalRuntimeId | str) -> RetireReport:
        """Take no more input; drain what waits."""
        ...

    def recycle(self, runtime_id: LogicalRuntimeId | str) -> RecycleReport:
        """Start over with all pending work kept."""
        ...

    def reset(self, runtime_id: LogicalRuntimeId | str) -> ResetReport:
        """Give everything up and begin a new epoch."""
        ...

    def recover(self, runtime_id: LogicalRuntimeId | str) -> RecoveryReport:
        """Put right what a crash left."""
        ...

    def destroy(self, runtime_id: LogicalRuntimeId | str) -> DestroyReport:
        """Give everything up, for good."""
        ...

    def runtime_state(self, runtime_id: LogicalRuntimeId | str) -> RuntimeState:
        """What the runtime is doing, as of its last landed commit."""
        ...

    def load_boundary_receipt(
        self, runtime_id: LogicalRuntimeId | str, run_id: RunId, sequence: int
    ) -> RunBoundaryReceipt | None:
        """The receipt of exactly this run and sequence."""
        ...


class _RunContext(Protocol):
    run_id: RunId
    runtime_id: LogicalRuntimeId
    attempt: int
    cancelled: Event
    """Set when the run is to end: an interrupt ``now``, a deadline, a stop."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The committed messages: a fresh list, the caller's to change."""
        ...

    @property
    def snapshot(self) -> bytes | None:
        """The opaque bytes that were committed last."""
        ...

    @property
    def bindings(self) -> SessionRuntimeBindings:
        """The runtime's epoch, registry and cursors."""
        ...


class RunContext(_RunContext, Protocol):
    """What an executor knows of its run, and may ask. Used by the run's own thread only.

    ``cancelled`` and ``bindings`` alone may be used from anywhere, and for as long as one
    likes. Whatever else is asked once the run is over raises RunRefused.
    """

    def boundary(self) -> Boundary:
        """What was steered into the run so far, to be taken in and committed.

        Raises RunCancelled when the run is cancelled, or was to be at its next boundary.
        """
        ...

    def wait(self, seconds: float) -> WakeReason:
        """Wait for a reason to look up, at most so many seconds; TIMEOUT when there is none.

        STEERED for as long as a boundary would hand something over, WORK_WAITING once for
        a queued input that calls for a yielding run, CANCELLED once the run is cancelled.
        Raises RunCancelled when the run was to end at its next boundary.
        """
        ...

    def raise_if_cancelled(self) -> None:
        """Raise RunCancelled when the run has been cancelled."""
        ...

    def progress(self, text: str) -> None:
        """Tell the readers of events how far the run is; TypeError for what is no text."""
        ...


class AsyncRunContext(_RunContext, Protocol):
    """The same for a coroutine executor. Used by the run's own task only.

    A cancelled run has CancelledError raised where it awaits; ``commit`` is over before.
    ``raise_if_cancelled`` and ``progress`` act when they are called, and may be awaited
    besides. Ending an operation waits for the disk: do it with ``asyncio.to_thread``.
    """

    async def boundary(self) -> AsyncBoundary:
        """What was steered into the run so far, to be taken in and committed.

        Raises RunCancelled when the run was to end at its next boundary.
        """
        ...

    async def wait(self, seconds: float) -> WakeReason:
        """Wait for a reason to look up, as :meth:`RunContext.wait` does."""
        ...

    def raise_if_cancelled(self) -> Awaitable[None]:
        """Raise RunCancelled when the run has been cancelled."""
        ...

    def progress(self, text: str) -> Awaitable[None]:
        """Tell the readers of events how far the run is; TypeError for what is no text."""
        ...
