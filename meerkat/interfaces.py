"""Interfaces: what a driver and a control plane answer to, and what an executor is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from threading import Event

    from meerkat.bindings import SessionRuntimeBindings
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


class RunContext(Protocol):
    """What an executor knows of its run, and may ask. Used by the run's own thread only."""

    run_id: RunId
    runtime_id: LogicalRuntimeId
    attempt: int
    cancelled: Event

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

    def raise_if_cancelled(self) -> None:
        """Raise RunCancelled when the run has been cancelled."""
        ...

    def progress(self, text: str) -> None:
        """Tell the readers of events how far the run is."""
        ...
