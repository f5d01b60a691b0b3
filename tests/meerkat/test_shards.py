"""Shards: every runtime has one, and few move when their count changes."""

from __future__ import annotations

from collections import Counter

import pytest

from meerkat import LogicalRuntimeId
from meerkat.shards import Shard, shard_of

RUNTIMES = [LogicalRuntimeId(f"airline-{number}") for number in range(10_000)]
PINNED = [0, 3, 6, 1, 3, 2, 2, 4]


def test_the_shard_of_a_runtime_is_the_same_in_every_release() -> None:
    assert [shard_of(each, 7) for each in RUNTIMES[:8]] == PINNED


def test_every_runtime_has_one_shard() -> None:
    shards = [Shard(number=number, of=5) for number in range(5)]
    for each in RUNTIMES[:100]:
        assert [shard.number for shard in shards if each in shard] == [shard_of(each, 5)]


def test_shards_have_about_the_same_number_of_runtimes() -> None:
    held = Counter(shard_of(each, 8) for each in RUNTIMES)
    assert sorted(held) == list(range(8))
    assert max(held.values()) < 1.2 * len(RUNTIMES) / 8


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_one_more_shard_moves_its_share_alone(shards: int) -> None:
    before = {each: shard_of(each, shards) for each in RUNTIMES}
    moved = [each for each in RUNTIMES if shard_of(each, shards + 1) != before[each]]
    assert {shard_of(each, shards + 1) for each in moved} == {shards}
    assert len(moved) == pytest.approx(len(RUNTIMES) / (shards + 1), rel=0.2)


@pytest.mark.parametrize(("number", "of"), [(-1, 2), (2, 2), (0, 0)])
def test_a_shard_that_is_none_is_refused(number: int, of: int) -> None:
    with pytest.raises(ValueError, match=r"shard|must be"):
        Shard(number=number, of=of)


def test_a_shard_says_which_it_is() -> None:
    assert str(Shard(number=0, of=2)) == "shard 0 of 2"
