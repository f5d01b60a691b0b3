"""Interrupts: what the caller is told, whatever the runtime is in the middle of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    Puppet,
    decided,
    error_of,
    events_until,
    prompt,
    result_of,
    steered,
)
from plane_interrupts import MODES, begin_wait, check_cancelled, interrupt_call, state_of
from plane_stores import BrokenOnce, FrozenDisk

from actors import ControlPlane
from meerkat import InputPhase, WakeReason
from meerkat.errors import (
    ApplyFailed,
    ControlPlaneStopped,
    RunCancelled,
    RuntimeNotFound,
    StoreError,
)
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind
from meerkat.runs import InterruptMode
from meerkat.store import SqliteStore


@pytest.fixture
def agent() -> Puppet:
    return Puppet()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Puppet) -> ControlPlane:
    """A plane whose grace no test outlives, with one runtime, "a"."""
    plane = open_plane(agent, grace_s=3 * WAIT_S)
    plane.register("a")
    return plane


@pytest.fixture
def disk(path: Path) -> FrozenDisk:
    return FrozenDisk(SqliteStore(path))


@pytest.mark.parametrize("mode", MODES)
def test_without_a_run_in_hand_nobody_is_told(
    plane: ControlPlane, agent: Puppet, mode: str
) -> None:
    assert plane.interrupt("a", mode) is False
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    assert plane.interrupt("a", InterruptMode(mode)) is True
    run.returns()
    result_of(submitted.completion)
    assert plane.interrupt("a", mode) is False
    plane.retire("a")
    assert plane.interrupt("a", mode) is False
    plane.detach_executor("a")
    for end in ("stop_runtime", "destroy"):
        getattr(plane, end)("a")
        assert plane.interrupt("a", mode) is False
    with pytest.raises(RuntimeNotFound):
        plane.interrupt("missing", mode)
    plane.stop()
    with pytest.raises(ControlPlaneStopped):
        plane.interrupt("a", mode)


@pytest.mark.parametrize("mode", ["soon", "", "NOW", None, 3])
def test_another_mode_is_refused(plane: ControlPlane, agent: Puppet, mode: Any) -> None:
    plane.submit("a", prompt())
    run = agent.next_run()
    with pytest.raises(ValueError, match="InterruptMode"):
        plane.interrupt("a", mode)
    assert not run.context.cancelled.is_set()
    assert run.does(lambda context: context.wait(0)) is WakeReason.TIMEOUT


def test_what_waits_for_its_retry_is_not_interrupted(open_plane: OpenPlane) -> None:
    clock, agent = FakeClock(), Puppet()
    plane = open_plane(agent, clock=clock, backoff=Backoff(base_s=8.0))
    plane.register("a")
    with plane.subscribe("a") as events:
        retried = plane.submit("a", prompt("again"))
        agent.next_run().raises(ApplyFailed("not yet"))
        events_until(events, "run.failed")
    assert plane.interrupt("a", "now") is False
    other = plane.submit("a", steered("other"))
    assert agent.next_run().called.text == "other"
    plane.interrupt("a", "now")
    agent.release()
    result_of(other.completion)
    assert state_of(plane, retried).phase is InputPhase.QUEUED
    clock.advance(plane, 4.0)
    assert result_of(retried.completion).result == "re: again"
    assert [(called.text, called.attempt) for called in agent.calls][-1] == ("again", 2)


def test_a_run_whose_staging_is_being_written_is_told_as_soon_as_it_begins(
    open_plane: OpenPlane, agent: Puppet, disk: FrozenDisk
) -> None:
    plane = open_plane(agent, store=disk, grace_s=3 * WAIT_S)
    plane.register("a")
    disk.freeze()
    submitted = plane.submit("a", prompt())
    assert disk.stuck.wait(WAIT_S)
    replies = [interrupt_call(plane, mode) for mode in MODES]
    decided(plane, "a")
    assert not any(reply.done() for reply in replies)
    assert agent.calls == []
    disk.thaw()
    assert [result_of(reply) for reply in replies] == [True, True]
    run = agent.next_run()
    assert run.context.cancelled.is_set()
    assert isinstance(error_of(run.asks(lambda context: context.wait(WAIT_S))), RunCancelled)
    run.raises(RunCancelled())
    check_cancelled(plane, submitted)


def test_a_run_whose_staging_is_refused_was_never_told(open_plane: OpenPlane, path: Path) -> None:
    agent, disk = Agent(), BrokenOnce(SqliteStore(path))
    plane = open_plane(agent, store=disk)
    plane.register("a")
    disk.freeze()
    disk.break_next()
    submitted = plane.submit("a", prompt())
    assert disk.stuck.wait(WAIT_S)
    reply = interrupt_call(plane)
    decided(plane, "a")
    disk.thaw()
    assert isinstance(error_of(reply), StoreError)
    assert isinstance(error_of(submitted.accepted), StoreError)
    assert result_of(plane.submit("a", prompt("next")).completion).result == "re: next"
    assert agent.texts == ["next"]


def test_a_run_whose_end_is_being_written_is_over(
    open_plane: OpenPlane, agent: Puppet, disk: FrozenDisk
) -> None:
    plane = open_plane(agent, store=disk)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    result_of(submitted.accepted)
    disk.freeze()
    run.returns()
    assert disk.stuck.wait(WAIT_S)
    reply = interrupt_call(plane)
    decided(plane, "a")
    disk.thaw()
    assert result_of(reply) is False
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED


@pytest.mark.parametrize("mode", MODES)
def test_a_frozen_disk_does_not_keep_it_from_the_run(
    open_plane: OpenPlane, agent: Puppet, disk: FrozenDisk, mode: str
) -> None:
    plane = open_plane(agent, store=disk, grace_s=3 * WAIT_S)
    plane.register("a")
    submitted = plane.submit("a", prompt("first"))
    result_of(submitted.accepted)
    run = agent.next_run()
    waiting = begin_wait(run)
    disk.freeze()
    later = plane.submit("a", prompt("later"))
    assert disk.stuck.wait(WAIT_S)
    reply = interrupt_call(plane, mode)
    if mode == "now":
        assert result_of(waiting) is WakeReason.CANCELLED
    else:
        assert isinstance(error_of(waiting), RunCancelled)
    assert not reply.done()
    run.raises(RunCancelled())
    decided(plane, "a")
    assert not submitted.completion.done()
    disk.thaw()
    assert result_of(reply) is True
    check_cancelled(plane, submitted)
    agent.release()
    assert result_of(later.completion).result == "re: later"
