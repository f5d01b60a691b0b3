"""The pruner by itself: when it takes which step. Its timers call when a test says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from actors.retention import (
    PASS_EVERY_MAX_S,
    PASS_EVERY_S,
    PAUSE_MIN_S,
    PAUSE_PER_STEP,
    Means,
    Pruner,
)
from meerkat import RunId
from meerkat.errors import StoreError
from meerkat.limits import KEEP_EVERYTHING, Backoff, Retention
from meerkat.store import Pruned

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunId.new()
KEEP = Retention(max_count=1)


class Bench:
    """A pruner whose store answers as told, and whose time stands still but for the store."""

    def __init__(self, *answers: Pruned | Exception, keep: Retention = KEEP) -> None:
        self.answers = list(answers)
        self.asked: list[str | None] = []
        self.delays: list[float] = []
        self.took_s = 0.0
        self.threads_left = True
        self._due: list[Callable[[], None]] = []
        self._seconds = 0.0
        me: Any = self
        means = Means(
            store=me,
            clock=me,
            timers=me,
            threads=me,
            backoff=Backoff(base_s=7, cap_s=100),
            in_hand=lambda: frozenset({RUN}),
        )
        self.pruner = Pruner(keep, means)
        self.pruner.start()

    def due(self) -> None:
        """The time of what was put off last has come."""
        self._due.pop()()

    # what the pruner uses

    def prune(
        self, keep: Retention, now: datetime, *, after: str | None, spared: frozenset[RunId]
    ) -> Pruned:
        assert (keep, now, spared) == (KEEP, NOW, {RUN})
        self.asked.append(after)
        self._seconds += self.took_s
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        self.delays.append(delay_s)
        self._due.append(call)

    def start(self, task: Callable[[], object]) -> None:
        if not self.threads_left:
            raise RuntimeError("no thread to be had")
        task()

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self._seconds

    def jitter(self) -> float:
        return 0.0


def test_nothing_is_ever_due_when_everything_is_kept() -> None:
    assert Bench(keep=KEEP_EVERYTHING).delays == []


def test_a_pass_goes_on_where_the_step_before_it_ended() -> None:
    bench = Bench(Pruned(next="1"), Pruned(next="2"), Pruned(), Pruned())
    for _ in range(4):
        bench.due()
    assert bench.asked == [None, "1", "2", None]


def test_a_pause_is_as_long_as_its_step_and_never_nothing() -> None:
    bench = Bench(Pruned(next="1"), Pruned(next="2"))
    bench.due()
    bench.took_s = 3.0
    bench.due()
    assert bench.delays == [PASS_EVERY_S, PAUSE_MIN_S, 3.0 * PAUSE_PER_STEP]


def test_passes_that_find_nothing_come_further_apart() -> None:
    found = (Pruned(inputs=1, next="1"), Pruned())
    bench = Bench(*[Pruned()] * 7, *found, Pruned(operations=1), Pruned())
    for _ in range(11):
        bench.due()
    s = PASS_EVERY_S
    quiet = [2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 32 * s, 32 * s]
    assert bench.delays == [s, *quiet, PAUSE_MIN_S, s, s, 2 * s]
    assert 32 * s == PASS_EVERY_MAX_S


@pytest.mark.parametrize("error", [StoreError("disk full"), ValueError("a defect")])
def test_a_failed_pass_begins_anew_after_a_back_off(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(Pruned(next="1"), error, error, Pruned(next="1"), error)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            bench.due()
    assert bench.asked == [None, "1", None, None, "1"]
    assert bench.delays[2:] == [3.5, 7.0, PAUSE_MIN_S, 3.5]
    assert len(caplog.records) == 3


def test_without_a_thread_it_waits_for_one() -> None:
    bench = Bench(Pruned())
    bench.threads_left = False
    bench.due()
    assert (bench.asked, bench.delays) == ([], [PASS_EVERY_S] * 2)
    bench.threads_left = True
    bench.due()
    assert bench.asked == [None]


def test_once_stopped_it_takes_no_step() -> None:
    bench = Bench()
    assert bench.pruner.stop(0)
    bench.due()
    assert (bench.asked, bench.delays) == ([], [PASS_EVERY_S])


def test_a_stop_says_whether_the_step_in_hand_has_ended() -> None:
    bench = Bench(Pruned())
    inside: list[bool] = []
    prune = bench.prune

    def stop_inside(*args: Any, **asked: Any) -> Pruned:
        inside.append(bench.pruner.stop(0))
        return prune(*args, **asked)

    bench.prune = stop_inside  # type: ignore[method-assign]
    bench.due()
    assert inside == [False]
    assert bench.pruner.stop(0)
