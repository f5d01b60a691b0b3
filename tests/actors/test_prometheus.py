"""Prometheus: every figure is scraped, under its name, as what it is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from attrs import fields
from metric_builders import HISTOGRAM, OLDEST_WAITING_S, STARTED_AT, Still, figures
from plane_builders import Agent, Called, OpenPlane, prompt, result_of
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.parser import text_string_to_metric_families

from actors.figures import Figures
from actors.metrics import METRICS, MetricKind
from actors.prometheus import PlaneCollector
from meerkat import RunContext
from meerkat.errors import ApplyFailed


def registry_of(plane: Any) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(PlaneCollector(plane))
    return registry


def test_every_figure_is_a_metric_and_each_is_named_once() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    renamed = {"oldest_at": "oldest_waiting"}
    of_figures = {
        renamed.get(field.name, field.name.removesuffix("_s"))
        for field in fields(Figures)
        if field.name != "at"
    }
    assert set(names) == of_figures


def test_numbers_are_scraped_as_what_they_are() -> None:
    given = figures()
    registry = registry_of(Still(given))
    for metric in METRICS:
        value = getattr(given, metric.name, None)
        if metric.kind is MetricKind.COUNTER:
            assert registry.get_sample_value(f"meerkat_{metric.name}_total") == value
        elif metric.kind is MetricKind.GAUGE and metric.unit != "s":
            assert registry.get_sample_value(f"meerkat_{metric.name}") == value
    assert registry.get_sample_value("meerkat_oldest_waiting_seconds") == OLDEST_WAITING_S
    assert registry.get_sample_value("meerkat_started_at_seconds") == STARTED_AT.timestamp()


def test_nothing_that_waits_has_no_age() -> None:
    registry = registry_of(Still(figures(oldest_at=None)))
    assert registry.get_sample_value("meerkat_oldest_waiting_seconds") == 0.0


@pytest.mark.parametrize(
    "name", ["group_size", "accept_to_durable_seconds", "accept_to_consumed_seconds"]
)
def test_a_histogram_is_cumulative_and_complete(name: str) -> None:
    registry = registry_of(Still(figures()))

    def sample(suffix: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"meerkat_{name}_{suffix}", labels)

    bounds = {"0.0005": 1, "1.0": 3, "1000.0": 6, "+Inf": 10}
    assert {bound: sample("bucket", le=bound) for bound in bounds} == bounds
    assert sample("count") == HISTOGRAM.count == 10
    assert sample("sum") == HISTOGRAM.total


def test_what_is_exposed_can_be_parsed_in_both_formats() -> None:
    registry = registry_of(Still(figures()))
    plain = list(text_string_to_metric_families(generate_latest(registry).decode()))
    open_metrics = list(
        parser.text_string_to_metric_families(exposition.generate_latest(registry).decode())
    )
    for families in (plain, open_metrics):
        assert len(families) == len(METRICS)
        assert all(family.name.startswith("meerkat_") for family in families)
        assert all(family.documentation for family in families)
    kinds = {metric.name: str(metric.kind) for metric in METRICS if metric.unit != "s"}
    assert {f.name.removeprefix("meerkat_"): f.type for f in open_metrics}.items() >= kinds.items()


def test_a_plane_that_does_not_run_has_no_samples_and_breaks_no_scrape() -> None:
    plane = Still(None)
    registry = registry_of(plane)
    assert plane.reads == 0
    assert [family.samples for family in registry.collect()] == []
    plane.given = figures()
    assert len(list(registry.collect())) == len(METRICS)


def test_a_scrape_reads_the_plane_once() -> None:
    plane = Still(figures())
    generate_latest(registry_of(plane))
    assert plane.reads == 1


def test_two_planes_need_two_registries() -> None:
    registry = registry_of(Still(figures()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(PlaneCollector(Still(figures())))


def test_what_a_plane_does_is_scraped(open_plane: OpenPlane) -> None:
    def behave(called: Called, _context: RunContext) -> None:
        if called.attempt == 1:
            raise ApplyFailed("once")

    plane = open_plane(Agent(behave))
    registry = registry_of(plane)
    plane.register("a")
    for _ in range(2):
        result_of(plane.submit("a", prompt(idempotency_key="k")).completion)

    def scraped(name: str) -> float | None:
        return registry.get_sample_value(f"meerkat_{name}")

    names = ["accepted", "deduplicated", "consumed", "runs", "retries", "failed_attempts"]
    assert [scraped(f"{name}_total") for name in names] == [1, 1, 1, 2, 1, 1]
    assert scraped("accept_to_consumed_seconds_count") == 1
    assert scraped("live_runtimes") == 1
    plane.stop()
    assert scraped("live_runtimes") is None


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import actors.prometheus"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'meerkat-runtime[prometheus]'" in ran.stderr.splitlines()[-1]
