"""Spans: what a plane's inputs and runs look like in OpenTelemetry.

=================  ========  ===================================================================
Span               Kind      From, to; parent; links
=================  ========  ===================================================================
``meerkat ingest``  producer  the call to durable or refused; what was current where the host called
``meerkat run``     consumer  the start to the durable receipt; the ingest span of its input if it
                             has one, else none; links to the ingest spans of all its inputs
``meerkat notice``  internal  a moment in which a driver was restarted, set aside or brought back
=================  ========  ===================================================================

Attributes have the names of OpenTelemetry's conventions for messaging where those fit: the
runtime is the destination, an input the message. The others begin with ``meerkat.``. There is
no payload, text of an error or idempotency key in any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider

from actors.tracing import OfferTrace, RunEnd, RunEndKind
from actors.watching import NoticeKind, RuntimeNotice
from meerkat.identifiers import LogicalRuntimeId
from meerkat.inputs import Input
from meerkat.outcomes import Accepted, AcceptOutcome, Deduplicated, Rejected
from meerkat.receipts import RunBoundaryReceipt
from meerkat.runs import RunInHand

SCOPE: Final = "meerkat"

_SYSTEM: Final = "messaging.system"
_OPERATION: Final = "messaging.operation.name"
_OPERATION_TYPE: Final = "messaging.operation.type"
_RUNTIME: Final = "messaging.destination.name"
_INPUT: Final = "messaging.message.id"
_BATCH: Final = "messaging.batch.message_count"
_CORRELATION: Final = "messaging.message.conversation_id"
_ERROR: Final = "error.type"

_KIND: Final = "meerkat.input.kind"
_OUTCOME: Final = "meerkat.outcome"
_EXISTING: Final = "meerkat.existing_input.id"
_RUN: Final = "meerkat.run.id"
_INPUTS: Final = "meerkat.run.inputs"
_ATTEMPT: Final = "meerkat.run.attempt"
_SEQUENCE: Final = "meerkat.receipt.sequence"
_NOTICE: Final = "meerkat.notice"
_RESTART_IN: Final = "meerkat.restart_in_s"

_OUTCOMES: Final[Mapping[type, str]] = {
    Accepted: "accepted",
    Deduplicated: "deduplicated",
    Rejected: "rejected",
}

_AMISS: Final = frozenset(
    {RunEndKind.FAILED, RunEndKind.POSTPONED, RunEndKind.FENCED, RunEndKind.UNCOMMITTED}
)
"""The ends of a run that are errors; one that was cancelled ended as it was told to."""

_OTHER: Final = "_OTHER"
"""What the conventions call an error without a type."""


class OpenTelemetryTracing:
    """The tracing of a plane with OpenTelemetry: ``ControlPlane(…, tracing=…)``. Thread-safe.

    Spans go to ``tracer_provider``, by default to the global one.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)

    def offered(self, runtime_id: LogicalRuntimeId, input: Input) -> OfferSpan:  # noqa: A002
        """Begin the span of an input, under what is current here."""
        attributes = {
            **_of_operation("ingest", "send", runtime_id),
            _INPUT: str(input.id),
            _KIND: str(input.kind),
        }
        if input.correlation_id is not None:
            attributes[_CORRELATION] = str(input.correlation_id)
        here = contexts.get_current()
        span = self._tracer.start_span(
            "meerkat ingest", here, SpanKind.PRODUCER, attributes=attributes
        )
        return OfferSpan(span, here)

    def run_begins(
        self,
        runtime_id: LogicalRuntimeId,
        run: RunInHand,
        inputs: Sequence[Input],
        offers: Sequence[OfferTrace],
    ) -> RunSpan:
        """Begin the span of a run, under its input's if it has one input."""
        spans = [each for each in offers if isinstance(each, OfferSpan)]
        alone = len(run.contributors) == 1 and len(spans) == 1
        parent = spans[0].context if alone else Context()
        span = self._tracer.start_span(
            "meerkat run",
            parent,
            SpanKind.CONSUMER,
            attributes=_of_run(runtime_id, run, inputs),
            links=[Link(each.span.get_span_context()) for each in spans],
        )
        return RunSpan(span, parent)

    def noticed(self, notice: RuntimeNotice) -> None:
        """Leave a span that is a moment; that a runtime has ended is no news to its host."""
        if notice.kind is NoticeKind.ENDED:
            return
        attributes: dict[str, str | float] = {
            _RUNTIME: str(notice.runtime_id),
            _NOTICE: str(notice.kind),
        }
        if notice.restart_in_s is not None:
            attributes[_RESTART_IN] = notice.restart_in_s
        span = self._tracer.start_span("meerkat notice", Context(), attributes=attributes)
        if notice.kind is not NoticeKind.BROUGHT_BACK:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


class OfferSpan:
    """The span of one offered input, and the context that its runs go on in."""

    __slots__ = ("context", "span")

    def __init__(self, span: Span, here: Context) -> None:
        self.span = span
        self.context = trace.set_span_in_context(span, here)

    def ended(self, outcome: AcceptOutcome | BaseException) -> None:
        """End it with what became of the input."""
        self.span.set_attribute(_OUTCOME, _OUTCOMES.get(type(outcome), "failed"))
        match outcome:
            case BaseException():
                _amiss(self.span, type(outcome).__name__)
            case Rejected(reason=reason):
                _amiss(self.span, type(reason).__name__)
            case Deduplicated(existing_id=existing_id):
                self.span.set_attribute(_EXISTING, str(existing_id))
        self.span.end()


class RunSpan:
    """The span of one run."""

    __slots__ = ("_context", "_span")

    def __init__(self, span: Span, parent: Context) -> None:
        self._span = span
        self._context = trace.set_span_in_context(span, parent)

    @contextmanager
    def performing(self) -> Iterator[None]:
        """While this lasts the span is current here."""
        token = contexts.attach(self._context)
        try:
            yield
        finally:
            contexts.detach(token)

    def committed(self, receipt: RunBoundaryReceipt, offers: Sequence[OfferTrace]) -> None:
        """Note a boundary, and link to what it took in."""
        inputs = len(receipt.contributing_input_ids)
        attributes = {_SEQUENCE: receipt.sequence, _INPUTS: inputs}
        self._span.add_event("meerkat boundary", attributes)
        for each in offers:
            if isinstance(each, OfferSpan):
                self._span.add_link(each.span.get_span_context())

    def ended(self, end: RunEnd) -> None:
        """End it."""
        span = self._span
        span.set_attribute(_OUTCOME, str(end.kind))
        if end.receipt is not None:
            span.set_attribute(_SEQUENCE, end.receipt.sequence)
        if end.kind in _AMISS:
            _amiss(span, end.error_type or _OTHER)
        span.end()


def _of_operation(name: str, kind: str, runtime_id: LogicalRuntimeId) -> dict[str, str]:
    return {
        _SYSTEM: "meerkat",
        _OPERATION: name,
        _OPERATION_TYPE: kind,
        _RUNTIME: str(runtime_id),
    }


def _of_run(
    runtime_id: LogicalRuntimeId, run: RunInHand, inputs: Sequence[Input]
) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        **_of_operation("run", "process", runtime_id),
        _RUN: str(run.run_id),
        _ATTEMPT: run.attempt,
        _INPUTS: len(run.contributors),
    }
    if len(run.contributors) == 1:
        attributes[_INPUT] = str(run.contributors[0])
    else:
        attributes[_BATCH] = len(run.contributors)
    correlations = {each.correlation_id for each in inputs}
    if len(correlations) == 1 and None not in correlations:
        attributes[_CORRELATION] = str(correlations.pop())
    return attributes


def _amiss(span: Span, error_type: str) -> None:
    span.set_attribute(_ERROR, error_type)
    span.set_status(Status(StatusCode.ERROR))
