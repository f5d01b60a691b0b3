"""Sums: what several shards say of themselves, as one plane would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import fields

from actors.dead_letters import DEAD_LETTERS_KEPT, DeadLetters
from actors.figures import Figures, Histogram
from actors.stopping import NAMES_MAX, ShutdownReport
from actors.supervised import PartState, Supervised


def _first(values: Sequence[Any]) -> Any:
    return min((each for each in values if each is not None), default=None)


def _histogram(values: Sequence[Histogram]) -> Histogram:
    counts = tuple(map(sum, zip(*(each.counts for each in values), strict=True)))
    return Histogram(values[0].bounds, counts, sum(each.total for each in values))


def _names(values: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(name for each in values for name in each)[:NAMES_MAX]


_OF_FIGURES: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "at": max,
    "started_at": min,
    "mailbox_deepest": max,
    "oldest_at": _first,
    "group_size": _histogram,
    "accept_to_durable_s": _histogram,
    "accept_to_consumed_s": _histogram,
}
"""All others are added up."""


def figures_of_all(shards: Sequence[Figures]) -> Figures:
    """The figures of a plane that holds and does what these hold and do."""
    figures: Figures = _summed(Figures, shards, _OF_FIGURES)
    return figures


def _known(values: Sequence[int | None]) -> int | None:
    known = [each for each in values if each is not None]
    return sum(known) if len(known) == len(values) else None


def _failures(values: Sequence[str | None]) -> str | None:
    return "; ".join(each for each in values if each is not None) or None


_OF_REPORTS: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "cancelled": _names,
    "left": _names,
    "runtimes_with_work": _known,
    "store_closed": all,
    "seconds": max,
    "failure": _failures,
}


def report_of_all(shards: Sequence[ShutdownReport]) -> ShutdownReport:
    """What a stop of all of them has found, done and left."""
    if not shards:
        return ShutdownReport()
    report: ShutdownReport = _summed(ShutdownReport, shards, _OF_REPORTS)
    return report


def _summed(
    kind: type[Any], values: Sequence[Any], rules: Mapping[str, Callable[[Sequence[Any]], Any]]
) -> Any:
    return kind(
        **{
            each.name: rules.get(each.name, sum)([getattr(value, each.name) for value in values])
            for each in fields(kind)
        }
    )


def dead_letters_of_all(shards: Sequence[DeadLetters]) -> DeadLetters:
    """How many there were, and the latest of all."""
    letters = sorted((letter for each in shards for letter in each.latest), key=lambda let: let.at)
    return DeadLetters(
        count=sum(each.count for each in shards), latest=tuple(letters[-DEAD_LETTERS_KEPT:])
    )


def supervision_of_all(name: str, shards: Sequence[Supervised]) -> Supervised:
    """The trees of all shards under one root."""
    return Supervised(
        name=name,
        kind="cluster",
        state=PartState.RUNNING,
        children=tuple(shards),
    )
