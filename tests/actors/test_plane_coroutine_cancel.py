"""Cancelling a coroutine run: CancelledError where it awaits, wherever that is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from coroutine_builders import (
    STRICT,
    AsyncAgent,
    AsyncPuppet,
    begun,
    interrupt,
    noiseless,
)
from plane_builders import (
    WAIT_S,
    OpenPlane,
    decided,
    error_of,
    prompt,
    result_of,
    steered,
    system_of,
)
from plane_stores import BrokenOnce, StoreProxy

from actors import ControlPlane
from meerkat import LogicalRuntimeId, RuntimeState, WakeReason
from meerkat.conversation import SessionSnapshot
from meerkat.errors import RunCancelled
from meerkat.outcomes import CompletionKind
from meerkat.store import RuntimeStore, SqliteStore

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


# --- where it awaits --------------------------------------------------------------------


@pytest.mark.parametrize("where", ["anything", "wait"])
def test_an_interrupt_raises_cancelled_error_where_the_run_awaits(
    plane: ControlPlane, puppet: AsyncPuppet, where: str
) -> None:
    ended, run = begun(plane, puppet)
    if where == "wait":
        cut_off = run.awaits(lambda context: context.wait(WAIT_S))
    else:
        cut_off = run.awaits(lambda _: asyncio.Event().wait())
    assert plane.interrupt("a", "now") is True
    assert isinstance(error_of(cut_off), asyncio.CancelledError)
    assert run.context.cancelled.is_set()
    assert run.does(lambda context: context.attention.waits) is False
    run.raises(asyncio.CancelledError())
    assert result_of(ended).kind is CompletionKind.CANCELLED
    assert plane.runtime_state("a") is RuntimeState.ATTACHED
    assert plane.interrupt("a", "now") is False


def test_a_wait_that_is_woken_before_the_run_is_cut_off_ends_with_cancelled_error_too(
    plane: ControlPlane, puppet: AsyncPuppet
) -> None:
    """Who is told by a wait that it is cancelled is not cut off after that."""
    ended, run = begun(plane, puppet)
    cut_off = run.awaits(lambda context: context.wait(WAIT_S))
    run.beside(lambda context: context.attention.cancel())
    run.turned()
    run.turned()
    assert not cut_off.done()
    assert plane.interrupt("a", "now") is True
    assert isinstance(error_of(cut_off), asyncio.CancelledError)
    assert run.does(lambda context: context.wait(WAIT_S)) is WakeReason.CANCELLED
    run.does(lambda _: asyncio.sleep(0))
    run.returns()
    assert result_of(ended).kind is CompletionKind.COMPLETED


def test_a_wait_in_a_task_of_its_own_hears_of_it_when_the_run_is_cancelled(
    plane: ControlPlane, puppet: AsyncPuppet
) -> None:
    """CancelledError is for the run's own task, and the wait is woken before that or after."""
    ended, run = begun(plane, puppet)
    waits = run.does(lambda context: [asyncio.ensure_future(context.wait(WAIT_S))])
    run.turned()
    run.beside(lambda context: context.attention.cancel())
    run.turned()
    run.turned()
    assert plane.interrupt("a", "now") is True
    assert run.does(lambda _: waits[0]) is WakeReason.CANCELLED
    run.returns()
    assert result_of(ended).kind is CompletionKind.COMPLETED


def test_an_interrupt_reaches_a_run_that_asks_for_a_boundary(
    plane: ControlPlane, puppet: AsyncPuppet, disk: BrokenOnce
) -> None:
    ended, run = begun(plane, puppet)
    disk.freeze()
    plane.submit("a", steered())
    assert disk.stuck.wait(WAIT_S)
    cut_off = run.awaits(lambda context: context.boundary())  # answered once the disk has
    decided(plane, "a")
    told = interrupt(plane)
    assert isinstance(error_of(cut_off), asyncio.CancelledError)
    disk.thaw()
    assert result_of(told) is True
    with pytest.raises(RunCancelled):
        run.does(lambda context: context.boundary())
    run.raises(asyncio.CancelledError())
    assert result_of(ended).kind is CompletionKind.CANCELLED


# --- before it has begun, and twice -----------------------------------------------------


def test_a_run_that_is_interrupted_before_its_first_step_is_never_called(
    plane: ControlPlane, puppet: AsyncPuppet
) -> None:
    held_up, go_on = threading.Event(), threading.Event()

    def hold_up() -> None:
        held_up.set()
        go_on.wait(WAIT_S)

    system_of(plane).loop.call(hold_up)
    assert held_up.wait(WAIT_S)
    submitted = plane.submit("a", prompt("first"))
    assert result_of(submitted.accepted).is_accepted
    assert plane.interrupt("a", "now") is True
    go_on.set()
    assert result_of(submitted.completion).kind is CompletionKind.CANCELLED
    assert puppet.calls == []
    assert begun(plane, puppet)[1].called.text == "first"


class SlowSession(StoreProxy):
    """A store that keeps the readers of sessions waiting."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.reading = threading.Event()
        self.go_on = threading.Event()

    def load_session_snapshot(self, runtime_id: LogicalRuntimeId) -> SessionSnapshot | None:
        self.reading.set()
        self.go_on.wait(WAIT_S)
        snapshot: SessionSnapshot | None = self.inner.load_session_snapshot(runtime_id)
        return snapshot


def test_a_run_that_is_interrupted_while_its_session_is_read_is_never_called(
    open_plane: OpenPlane, path: Path
) -> None:
    store, agent = SlowSession(SqliteStore(path)), AsyncAgent()
    plane = open_plane(agent, store=store)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    assert store.reading.wait(WAIT_S)
    assert plane.interrupt("a", "now") is True
    assert result_of(submitted.completion).kind is CompletionKind.CANCELLED
    store.go_on.set()
    assert agent.calls == []


def test_a_second_interrupt_cuts_the_tidying_up_short(
    plane: ControlPlane, puppet: AsyncPuppet
) -> None:
    ended, run = begun(plane, puppet)
    first = run.awaits(lambda _: asyncio.Event().wait())
    assert plane.interrupt("a", "now") is True
    assert isinstance(error_of(first), asyncio.CancelledError)
    tidying = run.awaits(lambda _: asyncio.Event().wait())
    assert not tidying.done()
    assert plane.interrupt("a", "now") is True
    assert isinstance(error_of(tidying), asyncio.CancelledError)
    run.raises(asyncio.CancelledError())
    assert result_of(ended).kind is CompletionKind.CANCELLED


# --- at its next boundary ---------------------------------------------------------------


@pytest.mark.parametrize("where", ["boundary", "wait", "in a wait"])
def test_an_interrupt_after_the_boundary_raises_run_cancelled_there_and_not_before(
    plane: ControlPlane, puppet: AsyncPuppet, where: str
) -> None:
    ended, run = begun(plane, puppet)
    if where == "in a wait":
        told = run.awaits(lambda context: context.wait(WAIT_S))
    assert plane.interrupt("a", "after_boundary") is True
    if where != "in a wait":
        run.does(lambda context: context.raise_if_cancelled())
        run.does(lambda _: asyncio.sleep(0))
        assert not run.context.cancelled.is_set()
        told = run.asks(
            lambda context: context.boundary() if where == "boundary" else context.wait(WAIT_S)
        )
    assert isinstance(error_of(told), RunCancelled)
    run.raises(RunCancelled())
    assert result_of(ended).kind is CompletionKind.CANCELLED
