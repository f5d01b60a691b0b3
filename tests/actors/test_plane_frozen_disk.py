"""A frozen disk: nothing leaves a runtime before the commit it depends on, and then in order.

While every commit stands still nobody is answered, told, called or completed; reading
another connection finds nothing either. After the thaw all of it comes, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    code_of,
    decided,
    event,
    events_until,
    operation,
    progress,
    prompt,
    result_of,
    steered,
    tell,
)
from plane_stores import FrozenDisk

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import LogicalRuntimeId, RuntimeEventEnvelope, RuntimeState, kernel
from meerkat.errors import ApplyFailed
from meerkat.events import ProjectionEvent
from meerkat.identifiers import RuntimeEpochId
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

A = LogicalRuntimeId("a")


@pytest.fixture
def disk(path: Path) -> FrozenDisk:
    return FrozenDisk(SqliteStore(path))


def state_call(plane: ControlPlane) -> Reply[RuntimeState]:
    return tell(plane, "a", m.Query(lambda memory, _: memory.head.phase.state, Reply()))


def test_nothing_of_an_acceptance_leaves_before_its_commit(
    open_plane: OpenPlane, disk: FrozenDisk, path: Path
) -> None:
    agent, settled = Agent(held=True), list[int]()
    plane = open_plane(agent, store=disk)
    plane.register("a")
    with plane.subscribe("a") as events:
        disk.freeze()
        offered = [prompt("1"), event({"n": 2}), operation(), steered("4"), prompt("5")]
        submitted = [plane.submit("a", each) for each in offered]
        for number, each in enumerate(submitted):
            each.accepted.add_done_callback(lambda _, number=number: settled.append(number))
        state = state_call(plane)
        assert disk.stuck.wait(WAIT_S)
        decided(plane, "a")  # all five are decided; one is staged for a run

        assert settled == []
        assert not any(each.accepted.done() or each.completion.done() for each in submitted)
        assert not state.done()
        assert agent.calls == []
        assert events.next_within(0) is None
        other = SqliteStore(path)
        assert other.load_active_inputs(A) == []
        assert all(other.load_input(A, each.id) is None for each in offered)

        disk.thaw()
        assert agent.next_call().text == "1"
        assert result_of(state) is RuntimeState.RUNNING
        assert [result_of(each.accepted).input_id for each in submitted] == [
            each.id for each in offered
        ]
        assert settled == [0, 1, 2, 3, 4]
        told = events_until(events, "input.queued", times=4)
    accepted = [each.event.input_id for each in told if code_of(each) == "input.accepted"]
    assert accepted == [each.id for each in offered]
    agent.release()
    for each in submitted:
        result_of(each.completion)
    assert agent.texts == ["1", "4", '{"n":2}', "5"]


def test_nothing_of_a_run_leaves_before_its_commit(
    open_plane: OpenPlane, disk: FrozenDisk, path: Path
) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, store=disk)
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("1", "2")]
    for each in submitted:
        result_of(each.accepted)
    run_id = agent.next_call().run_id
    with plane.subscribe("a") as events:
        disk.freeze()
        agent.release()
        assert disk.stuck.wait(WAIT_S)
        state = state_call(plane)
        decided(plane, "a")

        assert not any(each.completion.done() for each in submitted)
        assert agent.texts == ["1"]
        assert events.next_within(0) is None
        assert not state.done()
        other = SqliteStore(path)
        assert other.load_boundary_receipt(A, run_id, 0) is None
        assert other.load_session_snapshot(A) is None

        disk.thaw()
        assert result_of(submitted[0].completion).result == "re: 1"
        assert agent.next_call().text == "2"
        codes = [code_of(each) for each in events_until(events, "run.started")]
    assert codes.index("input.consumed") < codes.index("run.completed")
    assert codes.index("run.completed") < codes.index("input.staged")
    assert other.load_boundary_receipt(A, run_id, 0) is not None


def fail_once(called: Any, _context: Any) -> None:
    if called.attempt == 1:
        raise ApplyFailed("not yet")


def test_a_failure_is_on_disk_before_the_next_attempt(
    open_plane: OpenPlane, disk: FrozenDisk
) -> None:
    agent = Agent(fail_once, held=True)
    plane = open_plane(agent, store=disk)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    agent.next_call()
    with plane.subscribe("a") as events:
        disk.freeze()
        agent.release()
        assert disk.stuck.wait(WAIT_S)
        decided(plane, "a")
        assert len(agent.calls) == 1
        assert events.next_within(0) is None
        disk.thaw()
        assert code_of(events_until(events, "run.failed")[-1]) == "run.failed"
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED
    assert [call.attempt for call in agent.calls] == [1, 2]


CONTROL: dict[str, Callable[[], Any]] = {
    "retire": lambda: m.Call(kernel.Retire(), Reply()),
    "recycle": lambda: m.Call(kernel.Recycle(), Reply()),
    "reset": lambda: m.ResetRuntime(RuntimeEpochId.new(), Reply()),
    "stop": lambda: m.StopRuntime(Reply()),
    "destroy": lambda: m.Call(kernel.Destroy(), Reply()),
    "unregister": lambda: m.UnregisterRuntime(Reply()),
    "silent intents": lambda: m.Call(kernel.SetSilentIntents(frozenset({"x"})), Reply()),
}
ENDS_HANDLES = {"reset", "stop", "destroy", "unregister", "retire"}


@pytest.mark.parametrize("name", CONTROL)
def test_nothing_of_a_control_call_leaves_before_its_commit(
    open_plane: OpenPlane, disk: FrozenDisk, name: str
) -> None:
    plane = open_plane(store=disk)
    plane.register("a")
    waiting = plane.submit("a", progress())
    result_of(waiting.accepted)
    with plane.subscribe("a") as events:
        disk.freeze()
        if name == "recycle":  # writes nothing itself: it waits for what came before
            plane.submit("a", progress())
        reply = tell(plane, "a", CONTROL[name]())
        assert disk.stuck.wait(WAIT_S)
        read = decided(plane, "a") if name != "unregister" else Reply()
        assert not reply.done()
        assert not read.done()
        assert not waiting.completion.done()
        assert events.next_within(0) is None
        disk.thaw()
        reply.result(WAIT_S)
    assert waiting.completion.done() == (name in ENDS_HANDLES)


def test_a_registration_is_on_disk_before_it_is_answered(
    open_plane: OpenPlane, disk: FrozenDisk, path: Path
) -> None:
    plane = open_plane(store=disk)
    disk.freeze()
    known = plane._door.register("a").reply
    assert disk.stuck.wait(WAIT_S)
    decided_not = tell(plane, "a", m.ExecutorReady(Reply()))
    assert not known.done()
    assert not decided_not.done()
    assert SqliteStore(path).load_runtime(A) is None
    disk.thaw()
    result_of(known)
    row = SqliteStore(path).load_runtime(A)
    assert row is not None
    assert row.epoch_id == known.result().epoch_id


def test_a_host_event_keeps_its_place_behind_what_is_being_written(
    open_plane: OpenPlane, disk: FrozenDisk
) -> None:
    plane = open_plane(store=disk)
    plane.register("a")
    with plane.subscribe("a") as events:
        disk.freeze()
        plane.submit("a", prompt())
        assert disk.stuck.wait(WAIT_S)
        envelope = RuntimeEventEnvelope(runtime_id="a", event=ProjectionEvent(1))
        published = tell(plane, "a", m.Call(kernel.PublishEvent(envelope), Reply()))
        decided(plane, "a")
        assert not published.done()
        assert events.next_within(0) is None
        disk.thaw()
        result_of(published)
        codes = [code_of(each) for each in events_until(events, "runtime.projection_emitted")]
    assert codes == ["input.accepted", "input.queued", "runtime.projection_emitted"]


def test_an_input_costs_two_commits(open_plane: OpenPlane, disk: FrozenDisk) -> None:
    """Acceptance and staging are one, the receipt and its consumption are the other."""
    plane = open_plane(Agent(), store=disk)
    plane.register("a")
    before = disk.commits
    for count in range(1, 4):
        result_of(plane.submit("a", prompt()).completion)
        assert disk.commits == before + 2 * count


def test_ephemeral_input_waits_for_no_disk(open_plane: OpenPlane, disk: FrozenDisk) -> None:
    """It is never written: neither its acceptance nor its staging waits for a commit."""
    agent = Agent(held=True)
    plane = open_plane(agent, store=disk)
    plane.register("a")
    disk.freeze()
    submitted = plane.submit("a", prompt("gone", durability="ephemeral"))
    assert result_of(submitted.accepted).is_accepted
    disk.thaw()
    agent.release()
    assert result_of(submitted.completion).kind is CompletionKind.COMPLETED


@pytest.mark.parametrize("end", ["stop", "destroy"])
def test_a_run_that_is_ended_while_its_staging_is_written_is_never_called(
    open_plane: OpenPlane, disk: FrozenDisk, end: str
) -> None:
    agent = Agent()
    plane = open_plane(agent, store=disk)
    plane.register_many(["a", "b"])
    disk.freeze()
    submitted = plane.submit("a", prompt())
    assert disk.stuck.wait(WAIT_S)
    ended = tell(plane, "a", CONTROL[end]())
    decided(plane, "a")
    disk.thaw()
    assert result_of(ended).inputs_abandoned == 1
    assert result_of(submitted.accepted).is_accepted
    assert result_of(submitted.completion).kind is CompletionKind.RUNTIME_TERMINATED
    assert result_of(plane.submit("b", prompt("other")).completion).result == "re: other"
    plane.stop()
    assert agent.texts == ["other"]
