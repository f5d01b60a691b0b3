"""Boundaries while the runtime, or the plane, is being ended.

What a boundary committed stays consumed and is never run again; what it did not commit
waits, uncounted, and is run later.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from boundary_builders import (
    COMPLETED,
    TAKEN_IN,
    TERMINATED,
    Midway,
    at_boundary,
    expect_run,
    proven,
    texts_in,
)
from plane_builders import (
    WAIT_S,
    OpenPlane,
    Puppet,
    phase_of,
    result_of,
    steered,
    system_of,
    unregistering,
)

from actors import ControlPlane
from meerkat import InputPhase, RuntimeState
from meerkat.errors import InvalidState, RunCancelled, RuntimeNotFound


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet, grace_s=WAIT_S)
    plane.register("a")
    return plane


@contextmanager
def stopping(plane: ControlPlane, **how: Any) -> Iterator[None]:
    """A plane that is being stopped: it takes no calls any more, and ends with the block."""
    with ThreadPoolExecutor(1) as threads:
        stopped = threads.submit(plane.stop, **how)
        while not system_of(plane).calls._refusing:
            pass
        yield
        result_of(stopped)


@pytest.mark.parametrize("drain", [True, False])
def test_a_plane_that_stops_lets_a_run_take_in_what_it_was_steered(
    open_plane: OpenPlane, plane: ControlPlane, puppet: Puppet, path: Path, drain: bool
) -> None:
    midway = Midway(plane, puppet, committed=False)
    with stopping(plane, drain=drain):
        midway.commit()
        assert midway.run.does(lambda context: context.boundary().texts) == ["two"]
        midway.run.returns()
        if drain:
            expect_run(puppet, "two", 1)
    ended = midway.ended()
    assert (ended["first"], ended["one"]) == (COMPLETED, TAKEN_IN)
    assert ended["two"] is (COMPLETED if drain else TERMINATED)
    second = Puppet()
    again = open_plane(second)
    if not drain:
        expect_run(second, "two", 1)
    assert result_of(again.completion("a", midway.ids["two"])).kind is COMPLETED
    assert texts_in(path) == ["taken: one", "first", "re: first", "two", "re: two"]


def test_a_run_that_is_cut_short_by_a_stop_keeps_what_it_committed(
    open_plane: OpenPlane, plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    midway = Midway(plane, puppet)
    with stopping(plane, timeout=0):
        assert midway.run.does(lambda context: context.cancelled.wait(WAIT_S))
        with pytest.raises(RunCancelled):
            midway.run.does(at_boundary)
        midway.run.raises(RunCancelled())
    second = Puppet()
    again = open_plane(second)
    expect_run(second, "two", 1)
    expect_run(second, "first", 1)  # being cut short cost it no attempt
    assert result_of(again.completion("a", midway.ids["first"])).kind is COMPLETED
    assert texts_in(path) == ["taken: one", "two", "re: two", "first", "re: first"]


def test_a_retiring_runtime_goes_on_with_its_boundaries_and_drains_the_rest(
    plane: ControlPlane, puppet: Puppet
) -> None:
    midway = Midway(plane, puppet, committed=False)
    assert plane.retire("a").inputs_pending_drain == 3
    with pytest.raises(InvalidState):
        plane.ingest("a", steered("too late"))
    midway.commit()
    assert midway.run.does(lambda context: context.boundary().texts) == ["two"]
    midway.run.returns()
    expect_run(puppet, "two", 1)
    assert midway.ended() == {"first": COMPLETED, "one": TAKEN_IN, "two": COMPLETED}
    assert plane.runtime_state("a") is RuntimeState.RETIRED


def test_unr_06_a_runtime_that_is_unregistered_lets_its_run_take_in_what_it_was_steered(
    plane: ControlPlane, puppet: Puppet
) -> None:
    midway = Midway(plane, puppet, committed=False)
    gone = unregistering(plane, "a")
    with pytest.raises(RuntimeNotFound):
        plane.ingest("a", steered("too late"))
    midway.commit()
    assert midway.run.does(lambda context: context.boundary().texts) == ["two"]
    assert not gone.done()
    midway.run.returns()
    result_of(gone)
    ended = midway.ended()
    assert (ended["first"], ended["one"]) == (COMPLETED, TAKEN_IN)
    assert ended["two"] is TERMINATED
    plane.register("a")
    expect_run(puppet, "two", 1)
    assert result_of(plane.completion("a", midway.ids["two"])).kind is COMPLETED


@pytest.mark.parametrize("end", ["stop_runtime", "destroy"])
def test_what_was_handed_over_is_given_up_with_its_runtime(
    plane: ControlPlane, puppet: Puppet, path: Path, end: str
) -> None:
    midway = Midway(plane, puppet, committed=False)
    assert getattr(plane, end)("a").inputs_abandoned == 3
    for call in (midway.commit, lambda: midway.run.does(at_boundary)):
        with pytest.raises(RunCancelled):
            call()
    assert set(midway.ended().values()) == {TERMINATED}
    for each in midway.ids.values():
        assert phase_of(plane, "a", each) is InputPhase.ABANDONED
    assert (proven(path), texts_in(path)) == ({}, [])
