"""Control-plane operations: recycle, destroy, silent intents, receipts, host events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from plane_builders import (
    Agent,
    Hooked,
    OpenPlane,
    decided,
    next_event,
    phase_of,
    progress,
    prompt,
    read_of,
    request,
    result_of,
)

from actors import ControlPlane
from meerkat import InputPhase, RuntimeEventEnvelope, RuntimeState, SessionId
from meerkat.errors import InvalidState, RuntimeDestroyed, RuntimeNotFound
from meerkat.events import ProjectionEvent
from meerkat.outcomes import CompletionKind
from meerkat.policy import WakeMode


def test_cpl_15_recycle_keeps_the_waiters(quiet_plane: ControlPlane) -> None:
    waiting = quiet_plane.submit("a", prompt("kept"))
    assert quiet_plane.recycle("a").inputs_transferred == 1
    assert not waiting.completion.done()
    agent = Agent()
    quiet_plane.attach_executor("a", agent)
    assert result_of(waiting.completion).result == "re: kept"
    assert agent.texts == ["kept"]
    assert quiet_plane.recycle("a").inputs_transferred == 0


def test_cpl_16_recycle_wakes_what_nobody_woke(plane: ControlPlane, agent: Agent) -> None:
    waiting = plane.submit("a", progress())
    result_of(waiting.accepted)
    assert agent.calls == []
    assert plane.recycle("a").inputs_transferred == 1
    assert result_of(waiting.completion).kind is CompletionKind.COMPLETED
    assert len(agent.calls) == 1
    assert plane.runtime_state("a") is RuntimeState.ATTACHED


def test_recover_wakes_too_and_says_what_it_found(plane: ControlPlane, agent: Agent) -> None:
    waiting = plane.submit("a", progress())
    report = plane.recover("a")
    assert (report.inputs_recovered, report.inputs_requeued) == (1, 0)
    assert result_of(waiting.completion).kind is CompletionKind.COMPLETED
    assert plane.recover("a").inputs_recovered == 0


def test_cpl_19_destroy_gives_up_everything(quiet_plane: ControlPlane) -> None:
    waiting = quiet_plane.submit("a", prompt())
    input_id = result_of(waiting.accepted).input_id
    assert quiet_plane.destroy("a").inputs_abandoned == 1
    ended = result_of(waiting.completion)
    assert ended.kind is CompletionKind.RUNTIME_TERMINATED
    assert ended.reason == "runtime destroyed"
    assert quiet_plane.runtime_state("a") is RuntimeState.DESTROYED
    assert quiet_plane.active_input_ids("a") == []
    assert phase_of(quiet_plane, "a", input_id) is InputPhase.ABANDONED


def session_runtime(session: SessionId) -> str:
    return f"rt:session:{session}"


REFUSED_WHEN_DESTROYED: dict[str, Callable[[ControlPlane, SessionId], Any]] = {
    "register": lambda plane, session: plane.register(session_runtime(session)),
    "prepare_bindings": lambda plane, session: plane.prepare_bindings(session),
    "ingest": lambda plane, session: plane.ingest(session_runtime(session), prompt()),
    "stop_runtime": lambda plane, session: plane.stop_runtime(session_runtime(session)),
    "set_silent_intents": lambda plane, session: plane.set_silent_intents(
        session_runtime(session), ["x"]
    ),
    "destroy": lambda plane, session: plane.destroy(session_runtime(session)),
    "retire": lambda plane, session: plane.retire(session_runtime(session)),
    "recycle": lambda plane, session: plane.recycle(session_runtime(session)),
    "reset": lambda plane, session: plane.reset(session_runtime(session)),
    "recover": lambda plane, session: plane.recover(session_runtime(session)),
    "attach_executor": lambda plane, session: plane.attach_executor(
        session_runtime(session), Agent()
    ),
    "publish_event": lambda plane, session: plane.publish_event(
        RuntimeEventEnvelope(runtime_id=session_runtime(session), event=ProjectionEvent(1))
    ),
}


@pytest.mark.parametrize("call", REFUSED_WHEN_DESTROYED)
def test_cpl_20_a_destroyed_runtime_refuses(open_plane: OpenPlane, call: str) -> None:
    agent, session = Hooked(), SessionId.new()
    plane = open_plane(agent)
    plane.prepare_bindings(session)
    plane.destroy(session_runtime(session))
    with pytest.raises(InvalidState) as refused:
        REFUSED_WHEN_DESTROYED[call](plane, session)
    assert refused.value.state is RuntimeState.DESTROYED
    assert isinstance(refused.value.__cause__, RuntimeDestroyed)
    assert agent.stops == []


@pytest.mark.parametrize("unregister", [False, True])
def test_destroyed_is_answered_for_ever(
    open_plane: OpenPlane, plane: ControlPlane, unregister: bool
) -> None:
    """After a restart too, and whatever else is asked: never "not found"."""
    plane.destroy("a")
    if unregister:
        with pytest.raises(InvalidState):
            plane.unregister("a")
    assert plane.runtime_state("a") is RuntimeState.DESTROYED
    plane.stop()
    again = open_plane()
    assert again.runtime_state("a") is RuntimeState.DESTROYED
    with pytest.raises(InvalidState):
        again.register("a")


@pytest.mark.parametrize("end", ["reset", "stop_runtime", "destroy"])
def test_cpl_24_silent_intents_end_with_the_work(quiet_plane: ControlPlane, end: str) -> None:
    quiet_plane.set_silent_intents("a", ["mob.peer_added"])
    silent = quiet_plane.ingest("a", request("mob.peer_added"))
    assert silent.policy.wake_mode is WakeMode.NONE
    assert intents_of(quiet_plane) == {"mob.peer_added"}
    getattr(quiet_plane, end)("a")
    assert intents_of(quiet_plane) == frozenset()
    if end == "reset":
        loud = quiet_plane.ingest("a", request("mob.peer_added"))
        assert loud.policy.wake_mode is WakeMode.WAKE_IF_IDLE


def intents_of(plane: ControlPlane) -> frozenset[str]:
    return read_of(plane, "a", lambda memory, _: memory.head.silent_intents)


def test_silent_intents_are_stored(open_plane: OpenPlane, quiet_plane: ControlPlane) -> None:
    quiet_plane.set_silent_intents("a", ["mob.peer_added"])
    quiet_plane.stop()
    assert intents_of(open_plane()) == {"mob.peer_added"}


def test_a_silent_request_waits_until_something_else_wakes(
    plane: ControlPlane, agent: Agent
) -> None:
    plane.set_silent_intents("a", ["mob.peer_added"])
    silent = plane.submit("a", request("mob.peer_added"))
    result_of(silent.accepted)
    decided(plane, "a")
    assert agent.calls == []
    result_of(plane.submit("a", prompt("wake up")).completion)
    assert result_of(silent.completion).kind is CompletionKind.COMPLETED
    assert agent.texts == ["do it", "wake up"]


def test_cpl_25_a_receipt_is_read_by_its_exact_key(open_plane: OpenPlane, agent: Agent) -> None:
    plane, session = open_plane(agent), SessionId.new()
    plane.prepare_bindings(session)
    runtime_id = session_runtime(session)
    submitted = plane.submit(runtime_id, prompt())
    result_of(submitted.completion)
    input_id = result_of(submitted.accepted).input_id
    run_id = agent.calls[0].run_id
    receipt = plane.load_boundary_receipt(runtime_id, run_id, 0)
    assert receipt is not None
    assert (receipt.run_id, receipt.sequence) == (run_id, 0)
    assert receipt.contributing_input_ids == (input_id,)
    assert receipt.message_count == 2
    assert plane.load_boundary_receipt(runtime_id, run_id, 1) is None
    with pytest.raises(RuntimeNotFound):
        plane.load_boundary_receipt(str(session), run_id, 0)


def test_cpl_26_a_host_event_reaches_its_runtime(plane: ControlPlane) -> None:
    envelope = RuntimeEventEnvelope(runtime_id="a", event=ProjectionEvent({"seen": 1}))
    with plane.subscribe("a") as events:
        plane.publish_event(envelope)
        told = next_event(events)
    assert (told.id, told.event) == (envelope.id, envelope.event)
    unknown = RuntimeEventEnvelope(runtime_id="b", event=ProjectionEvent(1))
    with pytest.raises(RuntimeNotFound):
        plane.publish_event(unknown)
