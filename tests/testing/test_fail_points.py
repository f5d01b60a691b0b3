"""Fail points: what is armed happens at its pass and nowhere else, here and in a child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meerkat import LogicalRuntimeId
from meerkat.errors import CommitUnknown, StoreError
from meerkat.fail_points import WHAT_HAS_HAPPENED, FailPoint, reached
from meerkat.store import Batch, RuntimeRow, SqliteStore
from meerkat.testing.fail_points import FailPoints, PointReached, as_environment

A = LogicalRuntimeId("a")
P = FailPoint.COMMIT_DUE
OTHER = FailPoint.COMMIT_DONE


def claim(fence: int) -> Batch:
    return Batch(runtime=RuntimeRow(runtime_id=A, fence=fence + 1), expected_fence=fence)


def test_every_point_says_what_has_happened() -> None:
    assert list(WHAT_HAS_HAPPENED) == list(FailPoint)
    assert len(set(WHAT_HAS_HAPPENED.values())) == len(FailPoint)


def test_what_is_armed_happens_at_its_pass() -> None:
    with FailPoints().raises(P, at=2) as points:
        reached(P)
        reached(OTHER)
        with pytest.raises(PointReached, match="commit_due was reached") as caught:
            reached(P)
        reached(P)
    assert caught.value.point is P
    assert {p: n for p, n in points.reached.items() if n} == {P: 3, OTHER: 1}


def test_what_lasts_happens_at_every_later_pass() -> None:
    called: list[int] = []
    with FailPoints() as points:
        points.calls(P, lambda: called.append(points.reached[P]), at=2, lasting=True)
        for _ in range(4):
            reached(P)
    assert called == [2, 3, 4]


def test_nothing_happens_outside_of_it() -> None:
    points = FailPoints().raises(P)
    reached(P)
    with points, pytest.raises(PointReached):
        reached(P)
    reached(P)
    assert points.reached[P] == 1


def test_several_know_nothing_of_each_other() -> None:
    with FailPoints() as first:
        with FailPoints() as second:
            reached(P)
        reached(P)
    assert (first.reached[P], second.reached[P]) == (2, 1)


def test_a_store_that_fails_before_its_commit_has_written_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sessions.db")
    store.commit(claim(0))
    with FailPoints().raises(P, lambda: StoreError("no")), pytest.raises(StoreError, match="no"):
        store.commit(claim(1))
    store.commit(claim(1))
    with (
        FailPoints().raises(OTHER, lambda: CommitUnknown("who knows")),
        pytest.raises(CommitUnknown),
    ):
        store.commit(claim(2))
    row = store.load_runtime(A)
    assert row is not None
    assert row.fence == 3
    store.close()


CHILD = """
import sys
from meerkat.fail_points import FailPoint, reached
from meerkat.testing.fail_points import FailPoints
with FailPoints.of_environment():
    for number in range(5):
        reached(FailPoint.COMMIT_DUE)
        print(number, flush=True)
"""


@pytest.mark.parametrize(
    ("what", "status"), [("kill", -signal.SIGKILL), ("raise", 1)], ids=["killed", "raised"]
)
def test_a_child_is_armed_by_its_environment(what: str, status: int) -> None:
    said = as_environment(P, at=3, what=what)
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, **said},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (status, ["0", "1"])


def test_a_child_that_is_told_nothing_is_left_alone() -> None:
    with FailPoints.of_environment({}) as points:
        reached(P)
    assert points.reached[P] == 1


@pytest.mark.parametrize("said", ["commit_due", "commit_due:1=explode", "nowhere:1=kill"])
def test_what_an_environment_cannot_mean_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match=r"nowhere|MEERKAT_FAIL_POINTS"):
        FailPoints.of_environment({"MEERKAT_FAIL_POINTS": said})


def test_passes_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        FailPoints().raises(P, at=0)
