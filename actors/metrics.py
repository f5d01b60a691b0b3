"""Metrics: every figure of a plane with the name, the kind and the unit it is exported under.

One table for all exporters. A metric is named like its figure, so that a dashboard, the page and
``Figures`` speak of the same things in the same words; units last, as everywhere. Only of
``oldest_at`` the age is exported, ``oldest_waiting``: there may be none, and none is no time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Final, Protocol

from attrs import frozen

from actors.figures import Figures, Histogram
from meerkat.errors import ControlPlaneStopped
from meerkat.words import Word


class Measured(Protocol):
    """What has figures: a control plane of either kind."""

    def figures(self) -> Figures:
        """The plane in numbers; ControlPlaneStopped once it has ended."""
        ...


class MetricKind(Word):
    """What may be done with the values of a metric."""

    COUNTER = "counter"
    """Only rises, from 0 at the plane's start: its rate tells something."""
    GAUGE = "gauge"
    """How things stand."""
    HISTOGRAM = "histogram"


@frozen(kw_only=True)
class Metric:
    """One metric: ``name`` without prefix and unit, ``unit`` in UCUM, and how it is read."""

    name: str
    kind: MetricKind
    unit: str
    text: str
    read: Callable[[Figures], float | Histogram]


def figures_now(plane: Measured) -> Figures | None:
    """The figures of a plane; None when it does not run in this process."""
    try:
        return plane.figures()
    except ControlPlaneStopped:
        return None


def cumulative(histogram: Histogram) -> tuple[tuple[str, int], ...]:
    """The buckets as Prometheus has them: how many values were at most so large, ``+Inf`` last."""
    bounds = (*(str(float(f"{bound:g}")) for bound in histogram.bounds), "+Inf")
    return tuple(zip(bounds, accumulate(histogram.counts), strict=True))


def _oldest_waiting_s(figures: Figures) -> float:
    if figures.oldest_at is None:
        return 0.0
    return max(0.0, (figures.at - figures.oldest_at).total_seconds())


def _of(name: str) -> Callable[[Figures], float | Histogram]:
    def read(figures: Figures) -> float | Histogram:
        value: float | Histogram = getattr(figures, name)
        return value

    return read


def _counter(name: str, unit: str, text: str) -> Metric:
    return Metric(name=name, kind=MetricKind.COUNTER, unit=unit, text=text, read=_of(name))


def _gauge(name: str, unit: str, text: str) -> Metric:
    return Metric(name=name, kind=MetricKind.GAUGE, unit=unit, text=text, read=_of(name))


def _seconds(name: str, text: str) -> Metric:
    kind = MetricKind.HISTOGRAM
    return Metric(name=name, kind=kind, unit="s", text=text, read=_of(f"{name}_s"))


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        name="started_at",
        kind=MetricKind.GAUGE,
        unit="s",
        text="When the plane was started, in seconds since 1970.",
        read=lambda figures: figures.started_at.timestamp(),
    ),
    _gauge("live_runtimes", "{runtime}", "Runtimes in memory."),
    _gauge("live_runtimes_max", "{runtime}", "Runtimes that may be in memory."),
    _gauge("set_aside", "{runtime}", "Runtimes that raise an error until somebody acts."),
    _gauge("runs_in_hand", "{run}", "Executors that were called and have not returned."),
    _gauge("max_concurrent_runs", "{run}", "Runs that may be in hand."),
    _gauge("waiting_for_slot", "{runtime}", "Runtimes that have work to run, and no slot."),
    _gauge("open_calls", "{call}", "Calls whose answer is outstanding."),
    _gauge("in_flight_max", "{call}", "Calls whose answer may be outstanding."),
    _gauge("mailbox_messages", "{message}", "Messages in all mailboxes."),
    _gauge("mailbox_deepest", "{message}", "Messages in the fullest mailbox."),
    _gauge("pending_inputs", "{input}", "Inputs of runtimes in memory that have not ended."),
    Metric(
        name="oldest_waiting",
        kind=MetricKind.GAUGE,
        unit="s",
        text="Age of the oldest input that has not ended, of the runtimes in memory.",
        read=_oldest_waiting_s,
    ),
    _counter("accepted", "{input}", "Inputs taken in."),
    _counter("deduplicated", "{input}", "Inputs offered that were known already."),
    _counter("rejected", "{input}", "Inputs not admitted."),
    _counter("overloaded", "{input}", "Offers of inputs that found no room."),
    _counter("consumed", "{input}", "Inputs that ended consumed."),
    _counter("superseded", "{input}", "Inputs that ended superseded."),
    _counter("coalesced", "{input}", "Inputs that ended coalesced."),
    _counter("abandoned", "{input}", "Inputs that ended abandoned."),
    _counter("runs", "{run}", "Runs begun."),
    _counter("retries", "{run}", "Runs begun with an input that had been tried before."),
    _counter("failed_attempts", "{run}", "Runs that failed, by an error or their deadline."),
    _counter("restarts", "{restart}", "Restarts of drivers."),
    _counter("journal_restarts", "{restart}", "Restarts of the journal."),
    _counter("dead_letters", "{message}", "Messages that came too late."),
    _counter("passivations", "{runtime}", "How often a runtime at rest left memory."),
    _counter("offered", "{input}", "Inputs handed to another process, which has their runtime."),
    _counter("taken_over", "{runtime}", "Runtimes that another process has taken over."),
    _counter("commits", "{transaction}", "Transactions in which something landed."),
    _counter("batches", "{batch}", "Batches that landed."),
    _counter("commit_errors", "{batch}", "Batches that were refused, failed, or are in doubt."),
    Metric(
        name="group_size",
        kind=MetricKind.HISTOGRAM,
        unit="{batch}",
        text="Batches a transaction.",
        read=_of("group_size"),
    ),
    _seconds("accept_to_durable", "From an input's arrival at the door to its answer."),
    _seconds(
        "accept_to_consumed", "From an input's acceptance to its good end, as its history has both."
    ),
)
