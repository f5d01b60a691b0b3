"""Counts by themselves: where a value is counted, and that none is lost."""

from __future__ import annotations

import random
import threading
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from plane_builders import WAIT_S

from actors.counts import (
    GROUP_BOUNDS,
    RESTARTED_KEPT,
    SEEN_MAX,
    TIME_BOUNDS_S,
    Buckets,
    Counts,
)
from actors.journal import BATCHES_A_GROUP
from meerkat import LogicalRuntimeId


def test_the_bounds_are_one_series_each() -> None:
    assert TIME_BOUNDS_S[:4] == (0.0001, 0.0002, 0.0005, 0.001)
    assert TIME_BOUNDS_S[-1] == 5000.0
    assert list(TIME_BOUNDS_S) == sorted(set(TIME_BOUNDS_S))
    assert all(len(f"{bound:g}") <= 6 for bound in TIME_BOUNDS_S)
    assert GROUP_BOUNDS == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    assert GROUP_BOUNDS[-1] == BATCHES_A_GROUP


@pytest.mark.parametrize(
    ("value", "bucket"), [(-1.0, 0), (0.0, 0), (1.0, 0), (1.1, 1), (2.0, 1), (2.5, 2), (9.0, 2)]
)
def test_a_value_belongs_to_the_first_bound_that_is_not_below_it(value: float, bucket: int) -> None:
    buckets = Buckets((1.0, 2.0))
    buckets.see(value)
    counts, total = buckets.read()
    assert [index for index, count in enumerate(counts) if count] == [bucket]
    assert total == max(0.0, value)


def test_many_values_are_where_each_would_be() -> None:
    chance, buckets = random.Random(7), Buckets(TIME_BOUNDS_S)
    values = [chance.choice(TIME_BOUNDS_S) * chance.choice((0.5, 1, 1.5)) for _ in range(5_000)]
    expected = [0] * (len(TIME_BOUNDS_S) + 1)
    for value in values:
        buckets.see(value)
        expected[bisect_left(TIME_BOUNDS_S, value)] += 1
    counts, total = buckets.read()
    assert list(counts) == expected
    assert total == pytest.approx(sum(values))


def test_what_waits_to_be_sorted_in_is_bounded_though_nobody_reads() -> None:
    buckets = Buckets((1.0,))
    for _ in range(10 * SEEN_MAX):
        buckets.see(0.5)
        assert len(buckets._seen) < SEEN_MAX
    assert buckets.read() == ((10 * SEEN_MAX, 0), 5.0 * SEEN_MAX)


def test_under_eight_threads_and_readers_no_value_is_lost() -> None:
    buckets, each, over = Buckets((1.0, 2.0)), 20_000, threading.Event()

    def see(value: float) -> None:
        for _ in range(each):
            buckets.see(value)

    def read() -> list[int]:
        found = []
        while not over.is_set():
            found.append(sum(buckets.read()[0]))
        return found

    with ThreadPoolExecutor(10) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        for seen in [threads.submit(see, number % 3 + 0.5) for number in range(8)]:
            seen.result(6 * WAIT_S)
        over.set()
        for reader in readers:
            found = reader.result(WAIT_S)
            assert found == sorted(found)
    assert buckets.read()[0] == (3 * each, 3 * each, 2 * each)


def test_the_runtimes_that_were_restarted_last_are_remembered_and_no_more() -> None:
    counts = Counts(datetime.now(UTC))
    names = [LogicalRuntimeId(f"r{number}") for number in range(RESTARTED_KEPT + 5)]
    for at, name in enumerate(names):
        counts.driver_restarted(name, float(at), "why")
    counts.driver_restarted(names[5], 999.0, "again")
    assert counts.restarts == len(names) + 1
    assert list(counts.restarted) == [*names[6:], names[5]]
    last = counts.restarted[names[5]]
    assert (last.times, last.at, last.reason) == (2, 999.0, "again")
