"""Waiting in a run: why it is woken, how often it is told, and what comes before what."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import pytest
from boundary_builders import TAKEN_IN, at_boundary, begun, commit, ingested
from plane_builders import (
    PEER,
    WAIT_S,
    FakeClock,
    OpenPlane,
    Puppet,
    PuppetRun,
    continuation,
    event,
    operation,
    peer_message,
    progress,
    prompt,
    request,
    result_of,
    steered,
    system_of,
)

from actors import ControlPlane
from meerkat import FlowStepInput, Input, PeerInput, PeerResponseTerminal, RunContext, WakeReason
from meerkat.errors import ApplyFailed, RunCancelled
from meerkat.limits import Backoff
from meerkat.origins import Flow

TIMEOUT, STEERED = WakeReason.TIMEOUT, WakeReason.STEERED
WORK_WAITING, CANCELLED = WakeReason.WORK_WAITING, WakeReason.CANCELLED


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet, grace_s=WAIT_S)
    plane.register("a")
    return plane


def look(context: RunContext) -> WakeReason:
    """Wait for no time at all."""
    return context.wait(0)


def begin_wait(run: PuppetRun) -> Future[WakeReason]:
    """Have a run wait, and see it wait: from now on it can only be woken."""
    waits, attention = threading.Event(), run.context.attention  # type: ignore[attr-defined]
    reason = attention.reason

    def reason_and_say_so() -> WakeReason | None:
        found: WakeReason | None = reason()
        waits.set()  # under the lock of whoever wants to wake it
        return found

    attention.reason = reason_and_say_so
    waiting = run.asks(lambda context: context.wait(3 * WAIT_S))
    assert waits.wait(WAIT_S)
    return waiting


def terminal(**header: Any) -> PeerInput:
    convention = PeerResponseTerminal(request_id="req-1", status="completed")
    return PeerInput("done", convention=convention, source=PEER, **header)


def flow_step(mode: str) -> FlowStepInput:
    source = Flow(flow_id="flow-1", step_index=0)
    return FlowStepInput("go", step_id="s", turn_metadata={"handling_mode": mode}, source=source)


REASONS: dict[str, tuple[Callable[[], Input], WakeReason]] = {
    "prompt": (prompt, TIMEOUT),
    "prompt, steered": (steered, STEERED),
    "flow step, queued": (lambda: flow_step("queue"), TIMEOUT),
    "flow step, steered": (lambda: flow_step("steer"), STEERED),
    "event": (event, TIMEOUT),
    "event, steered": (lambda: event(handling_mode="steer"), STEERED),
    "peer message": (peer_message, WORK_WAITING),
    "peer message, queued": (lambda: peer_message(handling_mode="queue"), TIMEOUT),
    "peer message, steered": (lambda: peer_message(handling_mode="steer"), STEERED),
    "peer request": (request, WORK_WAITING),
    "silent request": (lambda: request("hush"), TIMEOUT),
    "silent request, steered": (lambda: request("hush", handling_mode="steer"), STEERED),
    "progress": (progress, STEERED),
    "terminal response": (terminal, TIMEOUT),
    "terminal response, steered": (lambda: terminal(handling_mode="steer"), STEERED),
    "continuation": (continuation, TIMEOUT),
    "operation": (operation, TIMEOUT),
    "steered, ephemeral": (lambda: steered(durability="ephemeral"), STEERED),
    "peer message, ephemeral": (lambda: peer_message(durability="ephemeral"), WORK_WAITING),
}
"""What arrives during a run → why a waiting run is woken."""


@pytest.mark.parametrize("name", REASONS)
def test_why_a_run_is_woken(plane: ControlPlane, puppet: Puppet, name: str) -> None:
    """STEERED exactly while a boundary would hand something over, the rest once or never."""
    make, reason = REASONS[name]
    plane.set_silent_intents("a", ["hush"])
    _, run = begun(plane, puppet)
    assert run.does(look) is TIMEOUT
    ingested(plane, make())
    assert run.does(look) is reason
    again = STEERED if reason is STEERED else TIMEOUT
    assert run.does(look) is again
    assert bool(run.does(at_boundary)) is (reason is STEERED)
    assert run.does(look) is again
    if reason is STEERED:
        run.does(commit())
        assert run.does(look) is TIMEOUT


@pytest.mark.parametrize(
    ("make", "reason"), [(steered, STEERED), (progress, STEERED), (peer_message, WORK_WAITING)]
)
def test_what_arrives_wakes_a_run_that_waits(
    plane: ControlPlane, puppet: Puppet, make: Any, reason: WakeReason
) -> None:
    _, run = begun(plane, puppet)
    waiting = begin_wait(run)
    ingested(plane, prompt(), continuation())
    assert not waiting.done()
    ingested(plane, make())
    assert waiting.result(WAIT_S) is reason


def test_each_peer_that_calls_is_heard(plane: ControlPlane, puppet: Puppet) -> None:
    _, run = begun(plane, puppet)
    for _ in range(3):
        ingested(plane, peer_message())
        assert run.does(look) is WORK_WAITING
        assert run.does(look) is TIMEOUT


def test_a_boundary_may_be_taken_without_waiting_for_its_sign(
    plane: ControlPlane, puppet: Puppet
) -> None:
    """A level, no count: two were steered, and one commit takes the sign away."""
    _, run = begun(plane, puppet)
    ingested(plane, steered("1"), steered("2"))
    assert run.does(commit()).contributing_input_ids
    assert run.does(look) is TIMEOUT


def test_the_sign_stays_for_what_came_after_the_boundary(
    plane: ControlPlane, puppet: Puppet
) -> None:
    _, run = begun(plane, puppet)
    ingested(plane, steered("1"))
    boundary = run.does(at_boundary)
    ingested(plane, steered("2"))
    run.does(lambda _: boundary.commit())
    assert run.does(look) is STEERED
    run.does(commit())
    assert run.does(look) is TIMEOUT


def test_the_sign_stays_while_progress_takes_the_place_of_progress(
    plane: ControlPlane, puppet: Puppet
) -> None:
    _, run = begun(plane, puppet)
    for number in range(3):
        ingested(plane, progress(str(number), supersession_key="k"))
        assert run.does(look) is STEERED
    run.does(commit())
    assert run.does(look) is TIMEOUT


# --- what waited before the run ---------------------------------------------------------


def test_what_waits_in_a_held_lane_may_be_taken_in(open_plane: OpenPlane, puppet: Puppet) -> None:
    """Its own run failed; while that waits for its back-off, another run comes by."""
    plane = open_plane(puppet, clock=FakeClock(), backoff=Backoff(base_s=60.0))
    plane.register("a")
    failed = plane.submit("a", steered("failed once"))
    puppet.next_run().raises(ApplyFailed("once"))
    _, run = begun(plane, puppet)
    assert run.does(look) is STEERED
    assert run.does(at_boundary).texts == ["failed once"]
    run.does(commit())
    assert run.does(look) is TIMEOUT
    assert result_of(failed.completion).kind is TAKEN_IN


def test_what_a_run_left_is_there_for_the_next(open_plane: OpenPlane, puppet: Puppet) -> None:
    """A continuation before it in the lane makes it wait behind one more run."""
    plane = open_plane(puppet)
    plane.register("a")
    _, run = begun(plane, puppet)
    ingested(plane, continuation(), steered("left"))
    assert run.does(look) is STEERED
    run.returns()
    resumed = puppet.next_run()
    assert resumed.called.text == ""
    assert resumed.does(look) is STEERED
    assert resumed.does(at_boundary).texts == ["left"]


def test_what_waited_at_a_restart_is_there_too(open_plane: OpenPlane, puppet: Puppet) -> None:
    first = open_plane()
    first.register("a")
    ingested(first, continuation(), progress("from before"))
    first.stop()
    open_plane(puppet)
    resumed = puppet.next_run()
    assert resumed.does(look) is STEERED
    assert resumed.does(at_boundary).texts == ["from before"]


def test_a_run_is_never_told_of_its_own_inputs(open_plane: OpenPlane, puppet: Puppet) -> None:
    """Not even in the moment in which it starts, before its driver has gone on."""
    plane = open_plane(puppet)
    plane.register("a")
    reasons: SimpleQueue[WakeReason] = SimpleQueue()
    system = system_of(plane)
    start = system.threads.start

    def start_and_let_it_look(task: Callable[[], None], *lost: Any) -> None:
        start(task, *lost)
        reasons.put(puppet.next_run().does(look))

    system.threads.start = start_and_let_it_look
    ingested(plane, steered("mine"))
    assert reasons.get(timeout=WAIT_S) is TIMEOUT
    system.threads.start = start  # what is started next is no run


# --- what comes before what -------------------------------------------------------------


def test_a_cancelled_run_is_told_that_before_all_else(plane: ControlPlane, puppet: Puppet) -> None:
    _, run = begun(plane, puppet)
    ingested(plane, steered(), peer_message())
    assert plane.interrupt("a", "now")
    for _ in range(2):
        assert run.does(look) is CANCELLED


def test_what_is_steered_comes_before_work_that_waits(plane: ControlPlane, puppet: Puppet) -> None:
    _, run = begun(plane, puppet)
    ingested(plane, peer_message(), steered())
    assert [run.does(look) for _ in range(2)] == [STEERED] * 2
    run.does(commit())
    assert [run.does(look) for _ in range(2)] == [WORK_WAITING, TIMEOUT]


def test_a_run_that_is_to_end_at_its_next_boundary_ends_before_all_else(
    plane: ControlPlane, puppet: Puppet
) -> None:
    _, run = begun(plane, puppet)
    ingested(plane, steered(), peer_message())
    assert plane.interrupt("a", "after_boundary")
    assert plane.interrupt("a", "now")
    for deed in (look, at_boundary, look):
        with pytest.raises(RunCancelled):
            run.does(deed)


# --- how long ---------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 0.0, -1, 0.001, -math.inf, math.nan])
def test_a_wait_for_nothing_times_out(plane: ControlPlane, puppet: Puppet, seconds: float) -> None:
    _, run = begun(plane, puppet)
    assert run.does(lambda context: context.wait(seconds)) is TIMEOUT


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 10**30])
def test_a_wait_may_be_as_long_as_one_likes(
    plane: ControlPlane, puppet: Puppet, seconds: float
) -> None:
    _, run = begun(plane, puppet)
    waiting = run.asks(lambda context: context.wait(seconds))
    ingested(plane, steered())
    assert waiting.result(WAIT_S) is STEERED
