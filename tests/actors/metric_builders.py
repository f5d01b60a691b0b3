"""Builders for metrics: figures in which every number is another one, and what has figures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import fields

from actors.figures import Figures, Histogram
from meerkat.errors import ControlPlaneStopped

STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HISTOGRAM = Histogram((0.0005, 1.0, 1000.0), (1, 2, 3, 4), 4321.5)
OLDEST_WAITING_S = 90.0


def figures(**changed: Any) -> Figures:
    """Figures whose numbers are 100, 101, 102 … in the order of their fields."""
    at = STARTED_AT + timedelta(hours=1)
    values: dict[str, Any] = {}
    for number, field in enumerate(fields(Figures), start=100):
        values[field.name] = HISTOGRAM if "Histogram" in str(field.type) else number
    times = {"at": at, "started_at": STARTED_AT}
    oldest_at = at - timedelta(seconds=OLDEST_WAITING_S)
    return Figures(**{**values, **times, "oldest_at": oldest_at, **changed})


class Still:
    """What has the same figures until it is given others; None is a plane that does not run."""

    def __init__(self, given: Figures | None) -> None:
        self.given = given
        self.reads = 0

    def figures(self) -> Figures:
        self.reads += 1
        if self.given is None:
            raise ControlPlaneStopped
        return self.given
