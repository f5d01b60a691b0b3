"""OpenTelemetry: the spans of inputs and runs, how they hang together, and what is in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aio_builders import OnLoop, running
from boundary_builders import begun
from coroutine_builders import AsyncAgent
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from plane_builders import (
    Agent,
    Called,
    OpenPlane,
    Puppet,
    event,
    prompt,
    result_of,
    steered,
    system_of,
)
from restart_builders import Plant, drivers, fail

from actors import ControlPlane
from actors.otel import OpenTelemetryTracing
from meerkat import RunContext
from meerkat.identifiers import CorrelationId

CANARY = "tweet-tweet-4711"


class Spans:
    """What was exported, and a provider that exports to here."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("host")
        self.tracing = OpenTelemetryTracing(self.provider)

    def named(self, name: str) -> list[ReadableSpan]:
        return [each for each in self.exporter.get_finished_spans() if each.name == name]

    def only(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def plane_of(open_plane: OpenPlane, spans: Spans, executor: Any = None, **more: Any) -> Any:
    plane = open_plane(executor, tracing=spans.tracing, **more)
    plane.register("a")
    return plane


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == id_of(parent)


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_trace_goes_from_the_caller_through_input_and_run_into_the_executor(
    open_plane: OpenPlane, spans: Spans
) -> None:
    def behave(_called: Called, _context: RunContext) -> None:
        seen.append((trace.get_current_span(), baggage.get_baggage("tenant")))
        with spans.tracer.start_as_current_span("model call"):
            pass

    seen: list[Any] = []
    plane = plane_of(open_plane, spans, Agent(behave))
    with spans.tracer.start_as_current_span("request"):
        token = contexts.attach(baggage.set_baggage("tenant", "t1"))
        submission = plane.submit("a", prompt())
        contexts.detach(token)
    result_of(submission.completion)
    request, ingest = spans.only("request"), spans.only("meerkat ingest")
    run, call = spans.only("meerkat run"), spans.only("model call")
    assert is_child(ingest, request)
    assert is_child(run, ingest)
    assert is_child(call, run)
    assert [link.context.span_id for link in run.links] == [id_of(ingest)]
    assert (ingest.kind, run.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    ((current, tenant),) = seen
    assert current.get_span_context() == run.get_span_context()
    assert tenant == "t1"
    left_on_the_thread = system_of(plane).threads.outcome_of(trace.get_current_span)
    assert result_of(left_on_the_thread) is trace.INVALID_SPAN


def test_what_is_said_of_an_input_and_of_its_run(open_plane: OpenPlane, spans: Spans) -> None:
    plane = plane_of(open_plane, spans, Agent())
    correlation_id = CorrelationId.new()
    offered = prompt(correlation_id=correlation_id, idempotency_key="k")
    submission = plane.submit("a", offered)
    result_of(submission.completion)
    state = plane.input_state("a", offered.id)
    assert of(spans.only("meerkat ingest")) == {
        "messaging.system": "meerkat",
        "messaging.operation.name": "ingest",
        "messaging.operation.type": "send",
        "messaging.destination.name": "a",
        "messaging.message.id": str(offered.id),
        "messaging.message.conversation_id": str(correlation_id),
        "meerkat.input.kind": "prompt",
        "meerkat.outcome": "accepted",
    }
    assert of(spans.only("meerkat run")) == {
        "messaging.system": "meerkat",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": "a",
        "messaging.message.id": str(offered.id),
        "messaging.message.conversation_id": str(correlation_id),
        "meerkat.run.id": str(state.last_run_id),
        "meerkat.run.attempt": 1,
        "meerkat.run.inputs": 1,
        "meerkat.receipt.sequence": 0,
        "meerkat.outcome": "completed",
    }
    again = plane.ingest("a", prompt(idempotency_key="k"))
    assert again.is_deduplicated
    known = of(spans.named("meerkat ingest")[1])
    assert known["meerkat.outcome"] == "deduplicated"
    assert known["meerkat.existing_input.id"] == str(offered.id)


@pytest.mark.parametrize("alike", [True, False])
def test_a_batch_is_a_root_with_links_to_all_its_inputs(
    open_plane: OpenPlane, spans: Spans, alike: bool
) -> None:
    agent = Agent(held=True)
    plane = plane_of(open_plane, spans, agent)
    plane.submit("a", prompt("first"))
    agent.next_call()
    correlation_id = CorrelationId.new()
    with spans.tracer.start_as_current_span("request"):
        ids = [correlation_id if alike else CorrelationId.new() for _ in range(3)]
        events = [event(n, correlation_id=each) for n, each in enumerate(ids)]
        handles = [plane.submit("a", each) for each in events]
    for each in handles:
        result_of(each.accepted)
    agent.release()
    for each in handles:
        result_of(each.completion)
    ingests, run = spans.named("meerkat ingest"), spans.named("meerkat run")[1]
    assert run.parent is None
    assert {link.context.span_id for link in run.links} == {id_of(each) for each in ingests[1:]}
    said = of(run)
    assert said["messaging.batch.message_count"] == said["meerkat.run.inputs"] == 3
    shared = str(correlation_id) if alike else None
    assert said.get("messaging.message.conversation_id") == shared
    assert "messaging.message.id" not in said


def test_a_run_of_an_earlier_process_is_a_root_with_its_correlation(
    path: Path, open_plane: OpenPlane, spans: Spans
) -> None:
    first = open_plane()
    first.register("a")
    correlation_id = CorrelationId.new()
    offered = prompt(correlation_id=correlation_id)
    first.ingest("a", offered)
    first.stop()
    plane = plane_of(open_plane, spans, Agent())
    result_of(plane.completion("a", offered.id))
    run = spans.only("meerkat run")
    assert (run.parent, run.links) == (None, ())
    assert of(run)["messaging.message.conversation_id"] == str(correlation_id)
    assert spans.named("meerkat ingest") == []


def test_what_fails_has_the_type_of_its_error_and_none_of_its_text(
    open_plane: OpenPlane, spans: Spans
) -> None:
    def behave(called: Called, _context: RunContext) -> None:
        if called.attempt == 1:
            raise ValueError(f"cannot do {CANARY}")

    plane = plane_of(open_plane, spans, Agent(behave))
    result_of(plane.submit("a", prompt(CANARY, idempotency_key=CANARY)).completion)
    assert plane.ingest("a", prompt(CANARY, durability="derived")).is_rejected
    plane.stop_runtime("a")
    with pytest.raises(Exception, match="stopped"):
        plane.ingest("a", prompt(CANARY))
    failed, done = spans.named("meerkat run")
    assert (failed.status.status_code, of(failed)["error.type"]) == (StatusCode.ERROR, "ValueError")
    assert of(failed)["meerkat.outcome"] == "failed"
    assert done.status.status_code is StatusCode.UNSET
    assert [of(each)["meerkat.run.attempt"] for each in (failed, done)] == [1, 2]
    ingests = spans.named("meerkat ingest")
    assert [of(each)["meerkat.outcome"] for each in ingests] == ["accepted", "rejected", "failed"]
    types = [of(each).get("error.type") for each in ingests]
    assert types == [None, "DurabilityViolation", "InvalidState"]
    told = [each.to_json() for each in spans.exporter.get_finished_spans()]
    assert [each for each in told if CANARY in each] == []


def test_a_boundary_is_an_event_of_the_run_and_links_to_what_it_took_in(
    open_plane: OpenPlane, spans: Spans
) -> None:
    def deed(context: RunContext) -> None:
        boundary = context.boundary()
        with spans.tracer.start_as_current_span("between"):
            boundary.commit(append=[])

    puppet = Puppet()
    plane = plane_of(open_plane, spans, puppet)
    handle, run = begun(plane, puppet)
    plane.ingest("a", steered())
    run.does(deed)
    run.returns()
    result_of(handle)
    span, ingests = spans.only("meerkat run"), spans.named("meerkat ingest")
    (boundary,) = span.events
    assert boundary.name == "meerkat boundary"
    assert dict(boundary.attributes or {}) == {
        "meerkat.receipt.sequence": 0,
        "meerkat.run.inputs": 1,
    }
    assert [link.context.span_id for link in span.links] == [id_of(each) for each in ingests]
    assert of(span)["meerkat.receipt.sequence"] == 1
    assert is_child(spans.only("between"), span)


def test_a_coroutine_executor_has_the_span_wherever_it_awaits(
    path: Path, on_loop: OnLoop, spans: Spans
) -> None:
    async def behave(_called: Called, context: Any) -> None:
        with spans.tracer.start_as_current_span("before"):
            await context.boundary()
        with spans.tracer.start_as_current_span("after"):
            await context.progress("half")

    async def main() -> None:
        async with running(path, AsyncAgent(behave), tracing=spans.tracing) as plane:
            await plane.register("a")
            with spans.tracer.start_as_current_span("request"):
                sent = plane.submit("a", prompt())
            await sent.completion
            assert trace.get_current_span() is trace.INVALID_SPAN

    on_loop(main)
    run = spans.only("meerkat run")
    assert is_child(spans.only("before"), run)
    assert is_child(spans.only("after"), run)
    assert is_child(run, spans.only("meerkat ingest"))
    assert is_child(spans.only("meerkat ingest"), spans.only("request"))


def test_what_a_run_ingests_itself_hangs_below_it(open_plane: OpenPlane, spans: Spans) -> None:
    def behave(called: Called, _context: RunContext) -> None:
        if called.runtime_id == "a":
            handles.append(planes[0].submit("b", prompt()).completion)

    planes: list[ControlPlane] = []
    handles: list[Any] = []
    planes.append(plane_of(open_plane, spans, Agent(behave)))
    planes[0].register("b")
    result_of(planes[0].submit("a", prompt()).completion)
    result_of(handles[0])
    first, second = spans.named("meerkat run")
    assert {of(each)["messaging.destination.name"] for each in (first, second)} == {"a", "b"}
    traces = {each.get_span_context().trace_id for each in (first, second)}  # type: ignore[union-attr]
    assert len(traces) == 1


def test_a_restart_and_being_set_aside_are_moments(
    open_plane: OpenPlane, spans: Spans, plant: Plant
) -> None:
    plane = plane_of(open_plane, spans, Agent(), restart=drivers(1))
    plant("a")
    fail(plane, "a", times=2)
    with pytest.raises(Exception, match="failed more than"):
        plane.runtime_state("a")
    notices = spans.named("meerkat notice")
    assert [of(each)["meerkat.notice"] for each in notices] == ["restarted", "set_aside"]
    assert [each.status.status_code for each in notices] == [StatusCode.ERROR] * 2
    assert all(each.parent is None for each in notices)
    plane.recover("a")
    assert of(spans.named("meerkat notice")[2])["meerkat.notice"] == "brought_back"
    plane.destroy("a")
    assert len(spans.named("meerkat notice")) == 3


def test_without_an_sdk_nothing_is_traced_and_everything_works(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent(), tracing=OpenTelemetryTracing())
    plane.register("a")
    assert result_of(plane.submit("a", prompt()).completion).kind == "completed"


@pytest.fixture
def without(tmp_path: Path) -> Callable[[str, str], str]:
    """What a process says where a library is not installed."""

    def said(library: str, code: str) -> str:
        hide = f"import sys; sys.modules[{library!r}] = None\n"
        ran = subprocess.run(
            [sys.executable, "-c", hide + code], capture_output=True, text=True, check=False
        )
        return ran.stdout + ran.stderr

    return said


def test_without_the_extra_it_says_what_to_install(without: Callable[[str, str], str]) -> None:
    said = without("opentelemetry", "import actors; import actors.otel")
    assert "pip install 'meerkat-runtime[otel]'" in said.splitlines()[-1]


def test_the_packages_load_no_optional_library() -> None:
    code = (
        "import sys, actors, meerkat, actors.aio\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('opentelemetry',"
        " 'prometheus_client')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
