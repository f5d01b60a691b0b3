"""Restarts: what a new plane finds, and what it makes of a runtime that cannot be read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from plane_builders import Agent, OpenPlane, decided, prompt, result_of

from actors import ControlPlane
from meerkat import InputPhase, RuntimeState
from meerkat.errors import InvalidState, RecoveryCorruption, StoreError
from meerkat.outcomes import CompletionKind


@pytest.mark.parametrize(
    ("step", "state"),
    [
        ("retire", RuntimeState.RETIRED),
        ("stop_runtime", RuntimeState.STOPPED),
        ("destroy", RuntimeState.DESTROYED),
    ],
)
def test_these_states_survive_a_restart(
    open_plane: OpenPlane, quiet_plane: ControlPlane, step: str, state: RuntimeState
) -> None:
    getattr(quiet_plane, step)("a")
    quiet_plane.stop()
    again = open_plane(Agent())
    assert again.runtime_state("a") is state
    with pytest.raises(InvalidState) as refused:
        again.ingest("a", prompt())
    assert refused.value.state is state
    if state is RuntimeState.STOPPED:
        again.register("a")
        assert again.runtime_state("a") is RuntimeState.STOPPED
        again.reset("a")
        assert result_of(again.submit("a", prompt()).completion).kind is CompletionKind.COMPLETED


def test_a_retired_runtime_goes_on_draining_after_a_restart(open_plane: OpenPlane) -> None:
    hung = Agent(held=True)
    first = open_plane(hung, grace_s=0.01)
    first.register("a")
    accepted = [result_of(first.submit("a", prompt(text)).accepted) for text in ("1", "2")]
    hung.next_call()
    assert first.retire("a").inputs_pending_drain == 2
    first.stop(timeout=0)
    agent = Agent()
    second = open_plane(agent)
    for outcome in accepted:
        ended = result_of(second.completion("a", outcome))
        assert ended.kind is CompletionKind.COMPLETED
    assert agent.texts == ["1", "2"]
    assert second.runtime_state("a") is RuntimeState.RETIRED


def test_unfinished_work_is_resumed_without_being_asked_for(open_plane: OpenPlane) -> None:
    first = open_plane()
    first.register_many(["a", "b", "c"])
    for runtime_id in ("a", "b"):
        first.ingest(runtime_id, prompt(runtime_id))
    first.stop()
    agent = Agent()
    open_plane(agent)
    assert {agent.next_call().text, agent.next_call().text} == {"a", "b"}


def test_a_key_is_known_after_everything(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent())
    plane.register("a")
    first = plane.submit("a", prompt("first", idempotency_key="k"))
    result_of(first.completion)
    for step in ("reset", "recycle", "recover", None):
        if step is None:
            plane.stop()
            plane = open_plane(Agent())
        else:
            getattr(plane, step)("a")
        again = plane.ingest("a", prompt("again", idempotency_key="k"))
        assert again.is_deduplicated
        assert again.existing_id == result_of(first.accepted).input_id
        assert again.existing_state.phase is InputPhase.CONSUMED


def test_ephemeral_input_is_gone_after_a_restart(open_plane: OpenPlane) -> None:
    first = open_plane()
    first.register("a")
    waiting = first.submit("a", prompt(durability="ephemeral"))
    kept = result_of(first.submit("a", prompt()).accepted)
    result_of(waiting.accepted)
    assert first.recycle("a").inputs_transferred == 2
    first.stop()
    assert result_of(waiting.completion).reason == "control plane stopped"
    assert open_plane().active_input_ids("a") == [kept.input_id]


def test_a_runtime_with_a_corrupt_row_is_unavailable_and_the_others_go_on(
    open_plane: OpenPlane, path: Path
) -> None:
    first = open_plane()
    first.register_many(["a", "b"])
    offered = {runtime_id: prompt(runtime_id) for runtime_id in "ab"}
    for runtime_id, each in offered.items():
        first.ingest(runtime_id, each)
    first.stop()
    sound = spoil(path, "a")
    agent = Agent()
    plane = open_plane(agent)
    assert result_of(plane.completion("b", offered["b"].id)).result == "re: b"
    for _ in range(2):
        with pytest.raises(StoreError, match=str(offered["a"].id)) as refused:
            plane.runtime_state("a")
        assert isinstance(refused.value.__cause__, RecoveryCorruption)
    for call in (plane.reset, plane.recover, plane.register):
        with pytest.raises(StoreError):
            call("a")
    assert agent.texts == ["b"]
    spoil(path, "a", sound)  # an operator acts
    assert plane.recover("a").inputs_recovered == 1
    assert result_of(plane.completion("a", offered["a"].id)).result == "re: a"
    decided(plane, "a")


def spoil(path: Path, runtime_id: str, state: str = "{}") -> str:
    """Put another state in a runtime's only input row; gives what was there."""
    with sqlite3.connect(path) as connection:
        ((before,),) = connection.execute(
            "SELECT state FROM inputs WHERE runtime_id = ?", (runtime_id,)
        )
        connection.execute("UPDATE inputs SET state = ? WHERE runtime_id = ?", (state, runtime_id))
    connection.close()
    return str(before)
