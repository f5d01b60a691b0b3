"""Shares: how evenly rendezvous hashing divides runtimes, and how many move with another shard.

A sample of ids is drawn and placed. That a runtime's shard is as good as drawn by chance is tested
(Pearson's chi-square); from that the figures of a larger count follow, as so many draws scatter
around their mean by the binomial law.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final
from uuid import UUID

from attrs import frozen

from meerkat.identifiers import LogicalRuntimeId, SessionId
from meerkat.shards import shard_of

_UUID_BITS: Final = 128


@frozen(kw_only=True)
class Shares:
    """What became of a sample in so many shards, and in one more."""

    sampled: int
    shards: int
    smallest: float
    largest: float
    """Over the mean share."""
    deviations: float
    """How far chi-square is from its mean, in its standard deviations."""
    moved: float
    """The share of those that have another shard when there is one more."""
    moved_elsewhere: int
    """Those of them that went anywhere but to the new one: there should be none."""

    @property
    def moved_by_theory(self) -> float:
        """One in n + 1."""
        return 1 / (self.shards + 1)


def ids(count: int, seed: int) -> list[LogicalRuntimeId]:
    """Ids of sessions, as a plane names them."""
    chance = random.Random(seed)  # noqa: S311 - to be replayed
    return [
        LogicalRuntimeId.for_session(SessionId(UUID(int=chance.getrandbits(_UUID_BITS), version=4)))
        for _ in range(count)
    ]


def placed(sample: Sequence[LogicalRuntimeId], shards: int) -> Shares:
    """Place a sample in so many shards, and in one more."""
    before = [shard_of(each, shards) for each in sample]
    after = [shard_of(each, shards + 1) for each in sample]
    held = Counter(before)
    mean = len(sample) / shards
    chi_square = sum((held[number] - mean) ** 2 / mean for number in range(shards))
    freedom = shards - 1
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    return Shares(
        sampled=len(sample),
        shards=shards,
        smallest=min(held[number] for number in range(shards)) / mean,
        largest=max(held.values()) / mean,
        deviations=(chi_square - freedom) / math.sqrt(2 * freedom),
        moved=len(moved) / len(sample),
        moved_elsewhere=sum(new != shards for new in moved),
    )


def largest_by_theory(runtimes: int, shards: int) -> float:
    """The largest share over the mean, of so many draws: the mean of the highest of ``shards``.

    Each share is near enough normal; the highest of n normal draws is about the (n - 3/8) / (n +
    1/4) quantile (Blom, "Statistical estimates and transformed beta-variables", 1958).
    """
    deviation = math.sqrt((shards - 1) / runtimes)
    return 1 + deviation * NormalDist().inv_cdf((shards - 0.375) / (shards + 0.25))
