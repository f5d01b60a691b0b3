"""Tracing: what an implementation of traces is told, and what it is asked to do.

One is given to a plane as ``tracing``; ``actors.otel`` has the one for OpenTelemetry. What is
told, and when, is ``actors.traces``'. Nothing here imports a tracing library.

An implementation is called on the host's threads, on those that drive runtimes and on those of
runs, and is to return at once. What it raises is logged once and harms nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from meerkat.identifiers import LogicalRuntimeId
from meerkat.inputs import Input
from meerkat.outcomes import AcceptOutcome
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunInHand
from meerkat.words import Word

if TYPE_CHECKING:
    from actors.watching import RuntimeNotice


class RunEndKind(Word):
    """How a run ended, as far as its runtime is concerned."""

    COMPLETED = "completed"
    """Its receipt is durable."""
    FAILED = "failed"
    """The executor raised, or gave what cannot be committed; or its deadline came."""
    CANCELLED = "cancelled"
    """It ended as it was told to, and its inputs are given up."""
    REQUEUED = "requeued"
    """The executor takes no more runs: its inputs wait, uncounted."""
    POSTPONED = "postponed"
    """The store could not give it its session: its inputs wait, uncounted."""
    FENCED = "fenced"
    """Its runtime went on without it: what it still brings is refused."""
    UNCOMMITTED = "uncommitted"
    """It had ended, and that could not be written: the store decides what becomes of it."""


@frozen(kw_only=True)
class RunEnd:
    """The end of a run, once that is durable.

    ``receipt`` is there when it completed; ``error_type`` names what went wrong, without a
    word of its text.
    """

    kind: RunEndKind
    receipt: RunBoundaryReceipt | None = None
    error_type: str | None = None


class OfferTrace(Protocol):
    """The trace of one offered input. It is carried, in memory, to the runs of the input."""

    def ended(self, outcome: AcceptOutcome | BaseException) -> None:
        """It is durable, or known already, or refused; before whoever waits for that hears."""
        ...


class RunTrace(Protocol):
    """The trace of one run."""

    def performing(self) -> AbstractContextManager[object]:
        """While this lasts the executor is called: on this thread, or in this task."""
        ...

    def committed(self, receipt: RunBoundaryReceipt, offers: Sequence[OfferTrace]) -> None:
        """A boundary is durable. ``offers`` are those of its inputs that are known here."""
        ...

    def ended(self, end: RunEnd) -> None:
        """The run is over, durably. Its executor may still be about if it was fenced."""
        ...


class Tracing(Protocol):
    """Where the traces of a plane go. Thread-safe."""

    def offered(self, runtime_id: LogicalRuntimeId, input: Input) -> OfferTrace:  # noqa: A002
        """An input is offered. Called where the host calls, in its thread and its context."""
        ...

    def run_begins(
        self,
        runtime_id: LogicalRuntimeId,
        run: RunInHand,
        inputs: Sequence[Input],
        offers: Sequence[OfferTrace],
    ) -> RunTrace:
        """A run is about to begin: its attempt is durable.

        ``offers`` are those of its inputs that were offered in this process.
        """
        ...

    def noticed(self, notice: RuntimeNotice) -> None:
        """A driver was restarted, set aside, brought back, or has ended."""
        ...
