"""OpenTelemetry metrics: every figure is observed, and a collection reads the plane once."""

from __future__ import annotations

from typing import Any

from metric_builders import HISTOGRAM, OLDEST_WAITING_S, Still, figures
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Sum
from plane_builders import Agent, OpenPlane, prompt, result_of

from actors.metrics import METRICS, MetricKind
from actors.otel import observe


def provider(*readers: InMemoryMetricReader) -> MeterProvider:
    return MeterProvider(metric_readers=readers, shutdown_on_exit=False)


def collected(reader: InMemoryMetricReader) -> dict[str, Any]:
    """What a reader has collected just now, by name."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def value_of(metric: Any) -> Any:
    (point,) = metric.data.data_points
    return point.value


def test_every_figure_is_observed_as_what_it_is() -> None:
    reader, given = InMemoryMetricReader(), figures()
    observe(Still(given), provider(reader))
    found = collected(reader)
    for metric in METRICS:
        if metric.kind is MetricKind.HISTOGRAM:
            continue
        observed = found[f"meerkat.{metric.name}"]
        assert (observed.unit, observed.description) == (metric.unit, metric.text)
        if metric.kind is MetricKind.COUNTER:
            assert isinstance(observed.data, Sum)
            assert observed.data.is_monotonic
        else:
            assert isinstance(observed.data, Gauge)
        if metric.unit != "s":
            assert value_of(observed) == getattr(given, metric.name)
    assert value_of(found["meerkat.oldest_waiting"]) == OLDEST_WAITING_S


def test_a_histogram_is_its_buckets_sum_and_count() -> None:
    reader = InMemoryMetricReader()
    observe(Still(figures()), provider(reader))
    found = collected(reader)
    for name in ("group_size", "accept_to_durable", "accept_to_consumed"):
        buckets = found[f"meerkat.{name}.bucket"].data.data_points
        counts = {point.attributes["le"]: point.value for point in buckets}
        assert counts == {"0.0005": 1, "1.0": 3, "1000.0": 6, "+Inf": 10}
        assert value_of(found[f"meerkat.{name}.sum"]) == HISTOGRAM.total
        assert value_of(found[f"meerkat.{name}.count"]) == 10
    assert found["meerkat.accept_to_durable.sum"].unit == "s"


def test_a_collection_reads_the_plane_once_and_the_next_one_again() -> None:
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    plane = Still(figures())
    observe(plane, provider(*readers))
    for reads, reader in enumerate([*readers, readers[0]], start=1):
        plane.given = figures(accepted=reads)
        assert value_of(collected(reader)["meerkat.accepted"]) == reads
        assert plane.reads == reads


def test_of_a_plane_that_does_not_run_nothing_is_observed() -> None:
    reader, plane = InMemoryMetricReader(), Still(None)
    observe(plane, provider(reader))
    assert collected(reader) == {}
    plane.given = figures()
    assert "meerkat.accepted" in collected(reader)


def test_what_a_plane_does_is_observed(open_plane: OpenPlane) -> None:
    reader, plane = InMemoryMetricReader(), open_plane(Agent())
    observe(plane, provider(reader))
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    found = collected(reader)
    assert value_of(found["meerkat.consumed"]) == 1
    assert value_of(found["meerkat.accept_to_durable.count"]) == 1


def test_without_an_sdk_nothing_is_read() -> None:
    plane = Still(figures())
    observe(plane)
    assert plane.reads == 0
