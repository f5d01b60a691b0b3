"""Interrupts, and the other ways for a runtime or its plane to end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    Puppet,
    PuppetRun,
    code_of,
    decided,
    events_until,
    logged,
    prompt,
    result_of,
    unregistering,
)
from plane_interrupts import MODES, check_cancelled, state_of

from actors import ControlPlane
from meerkat import InputPhase, RuntimeState
from meerkat.errors import InvalidState, RunCancelled, RuntimeNotFound
from meerkat.outcomes import CompletionKind

GRACE_S = 5.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def agent() -> Puppet:
    return Puppet()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Puppet, clock: FakeClock) -> ControlPlane:
    """A plane whose grace passes when the clock says so."""
    plane = open_plane(agent, clock=clock, grace_s=GRACE_S)
    plane.register("a")
    return plane


def test_a_runtime_in_its_grace_is_running(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    submitted = plane.submit("a", prompt())
    agent.next_run()
    plane.interrupt("a", "now")
    for call in (plane.recycle, plane.reset, plane.recover):
        with pytest.raises(InvalidState, match="running"):
            call("a")
    clock.advance(plane, GRACE_S)
    result_of(submitted.completion)
    for call in (plane.recycle, plane.recover, plane.reset):
        call("a")
    assert plane.runtime_state("a") is RuntimeState.IDLE


def test_a_retiring_runtime_drains_what_is_left(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    hung, waits = (plane.submit("a", prompt(text)) for text in ("hung", "waits"))
    result_of(waits.accepted)
    agent.next_run()
    assert plane.retire("a").inputs_pending_drain == 2
    assert plane.interrupt("a", "now") is True
    clock.advance(plane, GRACE_S)
    check_cancelled(plane, hung)
    agent.next_run().returns()
    assert result_of(waits.completion).result == "re: waits"
    assert plane.runtime_state("a") is RuntimeState.RETIRED


def test_an_unregistering_runtime_waits_no_longer_than_the_grace(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    hung, waits = (plane.submit("a", prompt(text)) for text in ("hung", "waits"))
    result_of(waits.accepted)
    run = agent.next_run()
    assert plane.interrupt("a", "now") is True
    gone = unregistering(plane, "a")
    clock.advance(plane, GRACE_S - 0.1)
    assert run.does(lambda _: gone.done()) is False
    clock.advance(plane, 0.1)
    result_of(gone)
    assert result_of(hung.completion).kind is CompletionKind.CANCELLED
    assert result_of(waits.completion).reason == "runtime session unregistered"
    with pytest.raises(RuntimeNotFound):
        plane.interrupt("a", "now")
    with logged("late result refused") as said:  # nobody drives the runtime any more
        run.returns()
        assert said.wait(WAIT_S)


@pytest.mark.parametrize("end", ["stop_runtime", "destroy"])
def test_a_runtime_that_is_ended_does_not_wait_for_the_grace(
    plane: ControlPlane, agent: Puppet, clock: FakeClock, end: str
) -> None:
    submitted = plane.submit("a", prompt())
    agent.next_run()
    plane.interrupt("a", "now")
    getattr(plane, end)("a")
    assert result_of(submitted.completion).kind is CompletionKind.RUNTIME_TERMINATED
    assert plane.interrupt("a", "now") is False
    with plane.subscribe("a") as events:
        clock.advance(plane, GRACE_S)
        told: Any = events_until(events, "run.progress")[0]
        assert "did not return in time" in told.event.detail
        decided(plane, "a")
        assert events.next_within(0) is None  # its inputs had ended, and end once


def cut_short(plane: ControlPlane, run: PuppetRun) -> None:
    """Stop the plane, have the run end on account of it, and wait for the end."""
    told = threading.Event()
    run.context.attention.listen(told.set)
    stopping = threading.Thread(target=plane.stop, kwargs={"timeout": 0})
    stopping.start()
    assert told.wait(WAIT_S)
    run.raises(RunCancelled())
    stopping.join(WAIT_S)
    assert not stopping.is_alive()


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupted_run_that_its_plane_cuts_short_is_not_taken_up_again(
    open_plane: OpenPlane, mode: str
) -> None:
    agent = Puppet()
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register("a")
    submitted = plane.submit("a", prompt("drop me"))
    result_of(submitted.accepted)
    run = agent.next_run()
    assert plane.interrupt("a", mode) is True
    cut_short(plane, run)
    assert result_of(submitted.completion).kind is CompletionKind.CANCELLED
    check_cancelled(open_plane(agent), submitted)
    assert len(agent.calls) == 1


def test_the_run_after_an_interrupted_one_is_taken_up_again(open_plane: OpenPlane) -> None:
    agent = Puppet()
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register("a")
    first, second = (plane.submit("a", prompt(text)) for text in ("drop me", "keep me"))
    input_id = result_of(second.accepted).input_id
    run = agent.next_run()
    plane.interrupt("a", "now")
    run.raises(RunCancelled())
    assert result_of(first.completion).kind is CompletionKind.CANCELLED
    cut_short(plane, agent.next_run())
    assert result_of(second.completion).reason == "control plane stopped"
    again = open_plane(Agent())
    assert result_of(again.completion("a", input_id)).result == "re: keep me"


def test_a_stop_of_the_plane_waits_for_the_grace_and_no_longer(open_plane: OpenPlane) -> None:
    agent = Puppet()
    plane = open_plane(agent, grace_s=HUNG_S)
    plane.register("a")
    hung, waits = (plane.submit("a", prompt(text)) for text in ("hung", "waits"))
    input_id = result_of(waits.accepted).input_id
    agent.next_run()
    assert plane.interrupt("a", "now") is True
    plane.stop(timeout=3 * WAIT_S)
    assert result_of(hung.completion).kind is CompletionKind.CANCELLED
    assert result_of(waits.completion).reason == "control plane stopped"
    again = open_plane()
    check_cancelled(again, hung)
    state = again.input_state("a", input_id)
    assert state is not None
    assert (state.phase, state.attempt_count) == (InputPhase.QUEUED, 0)


def test_the_stop_hook_of_an_executor_may_interrupt_its_run(open_plane: OpenPlane) -> None:
    """The runtime runs on until the hook has returned."""

    class Stopping(Puppet):
        def apply(self, context: Any, primitive: Any) -> Any:
            return self(context, primitive)

        def stop(self, runtime_id: Any) -> None:
            told.append(plane.interrupt(runtime_id, "now"))
            ended.append(result_of(submitted.completion).kind)

    told: list[bool] = []
    ended: list[CompletionKind] = []
    agent = Stopping()
    plane = open_plane(agent, grace_s=WAIT_S)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    run.asks(lambda context: context.cancelled.wait(WAIT_S))
    run.raises(RunCancelled())
    assert plane.stop_runtime("a").inputs_abandoned == 0
    assert (told, ended) == ([True], [CompletionKind.CANCELLED])


def test_a_replaced_executor_takes_the_run_after_the_interrupted_one(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    hung, waits = (plane.submit("a", prompt(text)) for text in ("hung", "waits"))
    result_of(waits.accepted)
    run, second = agent.next_run(), Puppet()
    plane.attach_executor("a", second)
    plane.interrupt("a", "now")
    with plane.subscribe("a") as events:
        clock.advance(plane, GRACE_S)
        events_until(events, "run.started")
        run.raises(ValueError("late"))
        codes = [code_of(each) for each in events_until(events, "run.progress")]
    second.next_run().returns()
    assert "run.failed" not in codes
    assert result_of(waits.completion).result == "re: waits"
    assert state_of(plane, hung).phase is InputPhase.ABANDONED
    assert agent.texts == ["hung"]
