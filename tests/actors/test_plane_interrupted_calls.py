"""Ctrl-C at every point of a call where one can come: nothing hangs, nothing is left open."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, prompt, result_of, system_of
from plane_signals import Interruption, interrupted_at

from actors import ControlPlane, DriverThreads
from meerkat import LogicalRuntimeId
from meerkat.limits import Limits
from meerkat.store import MemoryStore, SqliteStore

CALLS: dict[str, Callable[[ControlPlane], Any]] = {
    "ingest": lambda plane: plane.ingest("a", prompt()),
    "submit": lambda plane: plane.submit("a", prompt()).completion.result(),
    "register": lambda plane: plane.register("b"),
    "register many": lambda plane: plane.register_many(["a", "b"]),
    "read": lambda plane: plane.runtime_state("a"),
    "subscribe": lambda plane: plane.subscribe("a").close(),
    "recycle": lambda plane: plane.recycle("a"),
}


def interruptions(deed: Callable[[], Any]) -> Iterator[Interruption]:
    """Do it again and again, interrupted one point later each time, until it comes through."""
    number = 0
    while True:
        number += 1
        try:
            with interrupted_at(number) as interruption:
                deed()
        except KeyboardInterrupt:
            assert interruption.at
        if not interruption.at:
            assert number > 5
            return
        yield interruption


AT_THE_END = ("__exit__", "leave", "_in_main_thread")
"""Where the handler of a block is taken away: cut short there, it stays, and does no harm."""


@pytest.mark.parametrize("drivers", list(DriverThreads), ids=str)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_is_interrupted_leaves_the_plane_as_it_was(
    call: str, drivers: DriverThreads
) -> None:
    with ControlPlane(MemoryStore(), Agent(), drivers=drivers) as plane:
        plane.register("a")
        for interruption in interruptions(lambda: CALLS[call](plane)):
            outcome = plane.ingest("a", prompt(), timeout=WAIT_S)
            assert result_of(plane.completion("a", outcome, timeout=WAIT_S)), interruption.at
            while len(system_of(plane).calls):  # it may be under way, and takes no place then
                pass
        report = plane.stop()
    assert (report.runtimes_unsettled, report.runs_left, report.store_closed) == (0, 0, True)


def test_a_start_that_is_interrupted_starts_nothing(path: Path) -> None:
    plane = ControlPlane(SqliteStore(path), Agent())

    def start() -> None:
        plane.start()

    for _ in interruptions(start):
        plane.start().stop()  # behind the end of what was interrupted
        with ControlPlane(SqliteStore(path)) as other:
            other.register("a")
    plane.stop()


def test_a_stop_that_is_interrupted_goes_on(path: Path) -> None:
    plane = ControlPlane(SqliteStore(path), Agent()).start()
    for interruption in interruptions(plane.stop):
        assert plane.stop().store_closed, interruption.at
        plane.start().register("a")
    plane.stop()


def test_a_block_that_is_interrupted_where_it_begins_or_ends_is_over(path: Path) -> None:
    plane = ControlPlane(SqliteStore(path), Agent())

    def block() -> None:
        with plane:
            pass

    for interruption in interruptions(block):
        plane.stop()
        with ControlPlane(SqliteStore(path)) as other:
            other.register("a")
        if interruption.at.endswith(AT_THE_END):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, interruption.at


@pytest.mark.parametrize("drivers", list(DriverThreads), ids=str)
@pytest.mark.parametrize("call", ["ingest", "read"])
def test_who_makes_room_for_another_may_be_interrupted(call: str, drivers: DriverThreads) -> None:
    """The driver at rest is ended on the thread that calls; what it leaves behind stays."""
    agent, own = Agent(), Agent()
    limits = Limits(live_runtimes_max=1)
    with ControlPlane(MemoryStore(), agent, drivers=drivers, limits=limits) as plane:
        plane.register_many(["a", "b"])
        plane.attach_executor("b", own)
        rests(plane, "b")
        for interruption in interruptions(lambda: CALLS[call](plane)):
            for name in ("a", "b"):
                rests(plane, name)
                outcome = plane.ingest(name, prompt(), timeout=WAIT_S)
                assert result_of(plane.completion(name, outcome)), interruption.at
            rests(plane, "b")
        assert {called.runtime_id for called in agent.calls} == {"a"}
        assert {called.runtime_id for called in own.calls} == {"b"}
        assert not system_of(plane).calls._of_runtime


def rests(plane: ControlPlane, runtime_id: str) -> None:
    """Have this runtime's driver be the only one, and at rest."""
    directory, until = system_of(plane).directory, monotonic() + WAIT_S
    while directory.live() != (LogicalRuntimeId(runtime_id),) or not directory.resting:
        plane.runtime_state(runtime_id, timeout=WAIT_S)
        assert monotonic() < until
