"""Instruments: a plane's figures as observable instruments of OpenTelemetry.

Nothing is kept or measured here: a collection reads the plane once. An instrument is named
``meerkat.``, then as its figure.

There is no observable histogram (opentelemetry-specification, issue 2713), and a histogram that
measures would cost something for every input, and start from nothing wherever it is begun. A
histogram is three counters in its place, the ones that Prometheus would make of it: ``….bucket``,
cumulative, with the attribute ``le``; ``….sum``; and ``….count``. What computes quantiles of the
one computes them of the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation, get_meter

from actors.figures import Figures, Histogram
from actors.metrics import METRICS, Measured, Metric, MetricKind, cumulative, figures_now

PREFIX: Final = "meerkat."

_Observe = Callable[[Figures], Iterable[Observation]]


def observe(plane: Measured, meter_provider: MeterProvider | None = None) -> None:
    """Have a plane's figures observed, from now on, by ``meter_provider`` or the global one.

    Of a plane that does not run nothing is observed; it may be started later, and again. Call
    it once for a plane. The API cannot take it back: the provider keeps the plane. Thread-safe.
    """
    meter = get_meter("meerkat", meter_provider=meter_provider)
    shared = _SharedFigures(plane)
    for metric in METRICS:
        if metric.kind is MetricKind.HISTOGRAM:
            _create_histogram(meter, shared, metric)
        else:
            _create(meter, shared, metric)


class _SharedFigures:
    """The figures of one collection, for all instruments: to read them is not free.

    An instrument that asks a second time is in the next collection. Thread-safe.
    """

    def __init__(self, plane: Measured) -> None:
        self._plane = plane
        self._lock = threading.Lock()
        self._figures: Figures | None = None
        self._asked: set[str] = set()

    def callback(self, name: str, read: _Observe) -> Callable[[CallbackOptions], list[Observation]]:
        """What the instrument of that name is called back with."""

        def observed(_options: CallbackOptions) -> list[Observation]:
            figures = self._for(name)
            return [] if figures is None else list(read(figures))

        return observed

    def _for(self, name: str) -> Figures | None:
        with self._lock:
            if self._figures is None or name in self._asked:
                self._figures = figures_now(self._plane)
                self._asked.clear()
            self._asked.add(name)
            return self._figures


def _create(meter: Meter, shared: _SharedFigures, metric: Metric) -> None:
    name = f"{PREFIX}{metric.name}"
    callback = shared.callback(name, partial(_value, metric))
    if metric.kind is MetricKind.COUNTER:
        meter.create_observable_counter(name, [callback], metric.unit, metric.text)
    else:
        meter.create_observable_gauge(name, [callback], metric.unit, metric.text)


def _value(metric: Metric, figures: Figures) -> Iterable[Observation]:
    value = metric.read(figures)
    return () if isinstance(value, Histogram) else (Observation(value),)


def _create_histogram(meter: Meter, shared: _SharedFigures, metric: Metric) -> None:
    parts: tuple[tuple[str, str, Callable[[Histogram], Iterable[Observation]]], ...] = (
        ("bucket", "1", _buckets),
        ("sum", metric.unit, lambda histogram: (Observation(histogram.total),)),
        ("count", "1", lambda histogram: (Observation(histogram.count),)),
    )
    for part, unit, read in parts:
        name = f"{PREFIX}{metric.name}.{part}"
        callback = shared.callback(name, partial(_part, metric, read))
        meter.create_observable_counter(name, [callback], unit, metric.text)


def _part(
    metric: Metric, read: Callable[[Histogram], Iterable[Observation]], figures: Figures
) -> Iterable[Observation]:
    histogram = metric.read(figures)
    return read(histogram) if isinstance(histogram, Histogram) else ()


def _buckets(histogram: Histogram) -> Iterable[Observation]:
    return [Observation(count, {"le": bound}) for bound, count in cumulative(histogram)]
