"""The bounds of a run's time: which there are, and that they leave nothing behind."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from plane_builders import Agent, FakeClock, OpenPlane, prompt, result_of, system_of

from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

NO_TIME = [-1, -0.5, math.nan, math.inf, -math.inf, 1e300]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("run_deadline_s", 0),
        ("stuck_after_s", 0),
        *(
            (name, each)
            for name in ("run_deadline_s", "stuck_after_s", "grace_s")
            for each in NO_TIME
        ),
    ],
)
def test_what_is_no_time_to_wait_for_is_refused(
    open_plane: OpenPlane, path: Path, name: str, seconds: float
) -> None:
    with pytest.raises(ValueError, match=name):
        open_plane(**{name: seconds})
    store = SqliteStore(path)
    store.acquire()  # nobody owns it
    store.close()


@pytest.mark.parametrize("seconds", [0, 1e-9, 1e9])
def test_a_grace_may_be_nothing_or_longer_than_anything(
    open_plane: OpenPlane, seconds: float
) -> None:
    plane = open_plane(Agent(), grace_s=seconds, run_deadline_s=1e9, stuck_after_s=1e9)
    plane.register("a")
    assert result_of(plane.submit("a", prompt()).completion).kind is CompletionKind.COMPLETED


def test_runs_that_end_in_time_leave_no_timers(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = open_plane(agent, clock=FakeClock(), run_deadline_s=60.0)
    plane.register("a")
    submitted = [plane.submit("a", prompt(f"{number}")) for number in range(400)]
    for each in submitted:
        result_of(each.completion)
    assert len(agent.calls) == 400
    assert len(system_of(plane).timers._due) < 100
