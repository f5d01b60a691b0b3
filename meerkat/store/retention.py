"""Retention: what is left of an input that has been let go, and which rows may go at all.

The part of pruning that is the same in every store. A store finds the rows and writes; what
it may never touch is an input that has not ended, and a receipt of a run that has a
contributor which was not let go yet: a run's receipts go together, so that those of one run
are 0, 1, 2 … without a hole, or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from attrs import evolve, frozen

from meerkat.completion_feed import FEED_MAX
from meerkat.identifiers import RunId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.limits import Retention

IN_FLIGHT: Final = (
    InputPhase.STAGED,
    InputPhase.APPLIED,
    InputPhase.APPLIED_PENDING_CONSUMPTION,
)
"""An input in one of these phases belongs to a run, which may still write receipts."""


def slim(state: InputState) -> InputState:
    """What is kept of a finished input: all that somebody may still ask.

    Its id and key, how it ended and what came of it, its attempts, its times, its last run.
    The payload, which lies beside the state, goes too.
    """
    return evolve(state, policy=None, history=())


@frozen(kw_only=True)
class Ended:
    """A finished input that is still whole, as pruning looks at it."""

    place: int
    """Where it stands in the order of arrival."""
    runtime_id: str
    created_at: datetime
    ended_at: datetime
    sequence: int | None
    next_sequence: int
    run_id: str | None


@frozen(kw_only=True)
class Asked:
    """What one step of pruning is asked for."""

    keep: Retention
    now: datetime
    limit: int
    spared: frozenset[RunId]


def let_go(
    looked_at: Iterable[Ended], asked: Asked, in_hand: Iterable[str | None]
) -> tuple[list[Ended], int | None]:
    """Which inputs are past a bound, and where to look on; None when no later one can be.

    ``in_hand`` are runs that may still write receipts. With a bound of age alone the search
    ends at the first input that came too late to be old: those behind it are younger still.
    One that came in the future, by a clock that was wrong, says nothing of those behind it.
    """
    keep, now = asked.keep, asked.now
    spared = {*map(str, asked.spared), *in_hand} - {None}
    gone: list[Ended] = []
    place: int | None = None
    for each in looked_at:
        young = each.created_at <= now and not keep.is_old(each.created_at, now)
        if keep.max_count is None and young:
            return gone, None
        place = each.place
        past = keep.lets_go(each.ended_at, each.sequence, each.next_sequence, now)
        if past and each.run_id not in spared:
            gone.append(each)
    return gone, place


def operations_gone_through(watermark: int, observed: int) -> int:
    """The last place in the present epoch's feed that is out of everybody's sight.

    Nobody reads further back than the feed is kept, and nothing goes that its runtime has
    not read.
    """
    return min(observed, watermark - FEED_MAX)
