"""The page of metrics: each figure under the names that it is exported by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from actors.metrics import METRICS, Metric, MetricKind
from actors.otel.metrics import PREFIX as OTEL_PREFIX
from actors.prometheus import name_of
from made.markdown import MADE, table

_HEAD: Final = f"""\
# Metrics

{MADE}
How they are had is said in [metrics, traces and logs](../how-to/metrics.md). A counter begins at 0
with each start of a plane.
"""


def page() -> str:
    """The whole page."""
    head = ("Prometheus", "OpenTelemetry", "Kind", "Unit", "Is")
    return "\n".join([_HEAD, *table(head, _rows())])


def _rows() -> Iterator[tuple[str, ...]]:
    for metric in METRICS:
        unit = metric.unit.strip("{}")
        kind = str(metric.kind)
        yield f"`{_exposed(metric)}`", f"`{OTEL_PREFIX}{metric.name}`", kind, unit, metric.text


def _exposed(metric: Metric) -> str:
    total = "_total" if metric.kind is MetricKind.COUNTER else ""
    return f"{name_of(metric)}{total}"
