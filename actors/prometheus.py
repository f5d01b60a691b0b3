"""Prometheus: a collector of a plane's figures for ``prometheus_client``.

Nothing is kept here: each scrape reads the plane once. A metric is ``meerkat_``, the figure's
name, and for what is measured in seconds ``_seconds``; a counter ends in ``_total``. Needs the
extra ``prometheus``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

try:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.core import Metric as Family
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"actors.prometheus needs {missing.name}: pip install 'meerkat-runtime[prometheus]'",
        name=missing.name,
    ) from missing

from actors.figures import Histogram
from actors.metrics import METRICS, Measured, Metric, MetricKind, cumulative, figures_now

_FAMILIES: Final[Mapping[MetricKind, type[Family]]] = {
    MetricKind.COUNTER: CounterMetricFamily,
    MetricKind.GAUGE: GaugeMetricFamily,
    MetricKind.HISTOGRAM: HistogramMetricFamily,
}

_SECONDS: Final = "s"


class PlaneCollector(Collector):
    """The figures of a plane of either kind: ``registry.register(PlaneCollector(plane))``.

    A scrape before the start or after the end finds none. A registry takes one of these, as all
    planes have the same names. Any thread may scrape; it waits for nothing.
    """

    def __init__(self, plane: Measured) -> None:
        self._plane = plane

    def describe(self) -> Iterable[Family]:
        """The metrics without values: a plane may be registered before it is started."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> Iterable[Family]:
        """The metrics as they are just now."""
        figures = figures_now(self._plane)
        if figures is None:
            return []
        families = []
        for metric in METRICS:
            family, value = _family(metric), metric.read(figures)
            if isinstance(value, Histogram):
                family.add_metric((), cumulative(value), value.total)  # type: ignore[attr-defined]
            else:
                family.add_metric((), value)  # type: ignore[attr-defined]
            families.append(family)
        return families


def exposition(plane: Measured) -> tuple[str, bytes]:
    """What a scrape of a plane alone is answered: its media type, and the text."""
    registry = CollectorRegistry()
    registry.register(PlaneCollector(plane))
    return CONTENT_TYPE_LATEST, generate_latest(registry)


def name_of(metric: Metric) -> str:
    """What a metric is called here; the samples of a counter have ``_total`` behind it."""
    unit = _unit(metric)
    return f"meerkat_{metric.name}_{unit}" if unit else f"meerkat_{metric.name}"


def _unit(metric: Metric) -> str:
    return "seconds" if metric.unit == _SECONDS else ""


def _family(metric: Metric) -> Family:
    return _FAMILIES[metric.kind](  # type: ignore[call-arg]
        name_of(metric), metric.text, labels=(), unit=_unit(metric)
    )
