"""Commits of a coroutine run that is cut short: they land, and the run knows of it first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coroutine_builders import (
    STRICT,
    AsyncPuppet,
    AsyncPuppetRun,
    begun,
    digest,
    interrupt,
    noiseless,
    said,
)
from plane_builders import (
    WAIT_S,
    OpenPlane,
    error_of,
    result_of,
    steered,
    system_of,
)
from plane_stores import BrokenOnce

from actors import ControlPlane
from meerkat import InputPhase, LogicalRuntimeId, RunOutput
from meerkat.errors import ControlPlaneStopped, RunCancelled, RunRefused, StoreError
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

pytestmark = STRICT

A = LogicalRuntimeId("a")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless():
        yield


@pytest.fixture
def disk(path: Path) -> BrokenOnce:
    return BrokenOnce(SqliteStore(path))


@pytest.fixture
def puppet() -> AsyncPuppet:
    return AsyncPuppet()


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: AsyncPuppet, disk: BrokenOnce) -> Iterator[ControlPlane]:
    """A plane with runtime "a", which gives its runs much grace."""
    plane = open_plane(puppet, store=disk, grace_s=3 * WAIT_S)
    plane.register("a")
    yield plane
    disk.thaw()
    puppet.release()
    plane.stop()


def committing(
    plane: ControlPlane, run: AsyncPuppetRun, disk: BrokenOnce, *, fails: bool = False
) -> tuple[Any, Any, Any]:
    """A commit at a boundary that the frozen disk has not answered; its boundary and input."""
    offered = steered("taken in")
    plane.ingest("a", offered, timeout=WAIT_S)
    boundary = run.does(lambda context: context.boundary())
    disk.freeze()
    if fails:
        disk.break_next()
    commit = run.asks(lambda _: boundary.commit(append=[said("first"), said("taken in")]))
    assert disk.stuck.wait(WAIT_S)
    return commit, boundary, offered.id


def test_a_commit_lands_before_the_run_that_makes_it_is_interrupted(
    plane: ControlPlane, puppet: AsyncPuppet, disk: BrokenOnce
) -> None:
    """The run knows what it has committed, and may still give its output."""
    ended, run = begun(plane, puppet)
    commit, boundary, input_id = committing(plane, run, disk)
    told = interrupt(plane)
    assert run.context.cancelled.wait(WAIT_S)
    run.turned()
    assert not commit.done()
    disk.thaw()
    assert isinstance(error_of(commit), asyncio.CancelledError)
    assert result_of(told) is True
    messages = [said("first"), said("taken in"), said("end")]
    assert run.does(lambda context: context.messages) == messages[:2]
    with pytest.raises(RunRefused):
        run.does(lambda _: boundary.commit())
    with pytest.raises(RunCancelled):
        run.does(lambda context: context.boundary())
    run.returns(RunOutput(append=[said("end")], result="late, but there"))
    assert result_of(ended).result == "late, but there"
    receipts = [
        plane.load_boundary_receipt("a", run.called.run_id, sequence) for sequence in range(3)
    ]
    assert [
        None if each is None else (each.message_count, each.conversation_digest)
        for each in receipts
    ] == [(2, digest(messages[:2])), (3, digest(messages)), None]
    state = plane.input_state("a", input_id)
    assert state is not None
    assert state.phase is InputPhase.CONSUMED
    snapshot = disk.load_session_snapshot(A)
    assert json.loads(snapshot.messages) == messages


def test_what_was_handed_over_before_an_interrupt_may_still_be_committed(
    plane: ControlPlane, puppet: AsyncPuppet
) -> None:
    ended, run = begun(plane, puppet)
    plane.ingest("a", steered("taken in"), timeout=WAIT_S)
    boundary = run.does(lambda context: context.boundary())
    assert plane.interrupt("a", "now") is True
    run.turned()
    receipt = run.does(lambda _: boundary.commit(append=[said("taken in")]))
    assert (receipt.sequence, receipt.message_count) == (0, 1)
    assert run.does(lambda context: context.messages) == [said("taken in")]
    run.raises(asyncio.CancelledError())
    assert result_of(ended).kind is CompletionKind.CANCELLED


def test_a_timeout_of_the_hosts_own_comes_once_the_commit_is_known(
    plane: ControlPlane, puppet: AsyncPuppet, disk: BrokenOnce
) -> None:
    ended, run = begun(plane, puppet)
    plane.ingest("a", steered("taken in"), timeout=WAIT_S)
    boundary = run.does(lambda context: context.boundary())
    disk.freeze()

    async def commits(_context: Any) -> None:
        async with asyncio.timeout(0):
            await boundary.commit(append=[said("first")])

    commit = run.asks(commits)
    assert disk.stuck.wait(WAIT_S)
    assert run.beside(lambda context: context.messages) == []  # it is not durable
    disk.thaw()
    assert isinstance(error_of(commit), TimeoutError)
    assert run.does(lambda context: context.messages) == [said("first")]
    with pytest.raises(RunRefused):
        run.does(lambda _: boundary.commit(append=[said("twice")]))
    assert not run.does(lambda context: context.boundary())
    run.returns()
    assert result_of(ended).result == "re: first"


@pytest.mark.parametrize("interrupted", [True, False])
def test_a_commit_that_fails_ends_the_run_and_all_of_it_is_taken_up_again(
    plane: ControlPlane, puppet: AsyncPuppet, disk: BrokenOnce, interrupted: bool
) -> None:
    """What was steered comes first now; it has been in no run that the store knows of."""
    ended, run = begun(plane, puppet)
    failed, _, _ = committing(plane, run, disk, fails=True)
    if interrupted:
        interrupt(plane)
        assert run.context.cancelled.wait(WAIT_S)
        run.turned()
    disk.thaw()
    assert isinstance(error_of(failed), StoreError | asyncio.CancelledError)
    refused = error_of(run.asks(lambda context: context.boundary()))
    assert isinstance(refused, RunCancelled | asyncio.CancelledError)
    run.returns()
    for text, attempt in (("taken in", 1), ("first", 2)):
        again = puppet.next_run()
        assert (again.called.text, again.called.attempt) == (text, attempt)
        again.returns()
    assert result_of(ended).result == "re: first"


def test_a_stop_waits_for_no_commit_that_the_disk_never_answers(
    plane: ControlPlane, puppet: AsyncPuppet, disk: BrokenOnce
) -> None:
    system_of(plane).grace_s = 0.05
    ended, run = begun(plane, puppet)
    commit, _, _ = committing(plane, run, disk)
    plane.stop(timeout=0)
    assert result_of(ended).reason == "control plane stopped"
    assert isinstance(error_of(commit), asyncio.CancelledError | ControlPlaneStopped)
    disk.thaw()
    while disk.load_session_snapshot(A) is None:
        pass  # it lands all the same, and opens the store again for it
    disk.close()
