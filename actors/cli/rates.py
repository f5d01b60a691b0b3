"""Rates: what two looks at a plane's figures come to. Nothing here touches the world.

Figures are counts since the plane's start, as its page says them; people want to know how fast
it goes now.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

Figures: TypeAlias = Mapping[str, Any]
"""Figures by name, as JSON."""


def time_in(text: str | None) -> datetime | None:
    """The moment that a text of ours names."""
    return None if text is None else datetime.fromisoformat(text)


def rate(name: str, before: Figures | None, now: Figures) -> float:
    """How many a second: since the look before, or since the start where there was none."""
    if before is None or not _later(before, now):
        seconds, counted = _seconds(now["started_at"], now["at"]), now[name]
    else:
        seconds, counted = _seconds(before["at"], now["at"]), now[name] - before[name]
    return float(counted / seconds) if seconds > 0 else 0.0


def _later(before: Figures, now: Figures) -> bool:
    """Is it a later look at the same plane?"""
    return bool(before["started_at"] == now["started_at"]) and _seconds(before["at"], now["at"]) > 0


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


_MAX_Q: Final = 1.0


def percentile(histogram: Mapping[str, Any], q: float) -> float | None:
    """The value that the share ``q`` of what was seen does not pass; None of nothing.

    Within a bucket it is as far as its share of the bucket; above the last bound it is infinite,
    as nobody knows how far. ValueError for a share above 1 or below 0.
    """
    if not 0 <= q <= _MAX_Q:
        raise ValueError(f"a share is from 0 to 1, not {q}")
    bounds, counts = histogram["bounds"], histogram["counts"]
    wanted, seen, low = q * sum(counts), 0, 0.0
    if not sum(counts):
        return None
    for bound, count in zip(bounds, counts, strict=False):
        if count and seen + count >= wanted:
            return float(low + (bound - low) * (wanted - seen) / count)
        seen, low = seen + count, bound
    return math.inf


def seen_since(name: str, before: Figures | None, now: Figures) -> Mapping[str, Any]:
    """The histogram of what was seen since the look before; of all, without one or with nothing."""
    whole: Mapping[str, Any] = now[name]
    if before is None or not _later(before, now):
        return whole
    earlier: Sequence[int] = before[name]["counts"]
    counts = [late - early for late, early in zip(whole["counts"], earlier, strict=True)]
    return {**whole, "counts": counts} if any(counts) else whole
