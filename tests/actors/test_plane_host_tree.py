"""The host's actor tree: a supervisor started by hand, wrapped, and ended with every actor."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pykka
import pytest
from plane_builders import WAIT_S, Agent, prompt, result_of

from actors import ControlPlane, RuntimeSupervisor
from meerkat import RuntimeState
from meerkat.errors import ControlPlaneStopped, StoreError
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore


class HostActor(pykka.ThreadingActor):
    """Something of the host's own."""

    def on_receive(self, message: Any) -> Any:
        return message


def test_a_supervisor_of_the_hosts_tree_is_wrapped_and_ends_with_it(path: Path) -> None:
    host = HostActor.start()
    supervisor = RuntimeSupervisor.start(store=SqliteStore(path), executor=Agent())
    first, second = (ControlPlane.wrap(supervisor) for _ in range(2))
    first.register("a")
    assert result_of(second.submit("a", prompt("hi")).completion).result == "re: hi"
    with first.subscribe("a") as events:
        pykka.ActorRegistry.stop_all()
        assert list(events) == []
    assert not supervisor.is_alive()
    assert not host.is_alive()
    for plane in (first, second):
        with pytest.raises(ControlPlaneStopped):
            plane.runtime_state("a")
        plane.stop()
        with pytest.raises(ControlPlaneStopped):
            plane.start()
    with pytest.raises(ControlPlaneStopped):
        ControlPlane.wrap(supervisor)
    with ControlPlane(SqliteStore(path)) as again:  # the store was closed and let go
        assert again.runtime_state("a") is RuntimeState.IDLE
        assert again.active_input_ids("a") == []


def test_stopping_every_actor_answers_everybody(path: Path) -> None:
    hung = Agent(held=True)
    plane = ControlPlane(SqliteStore(path), hung, grace_s=0.01).start()
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("1", "2")]
    hung.next_call()
    stopped = threading.Event()

    def stop_all() -> None:
        pykka.ActorRegistry.stop_all()
        stopped.set()

    threading.Thread(target=stop_all, daemon=True).start()
    while True:
        try:
            plane.runtime_state("a")
        except ControlPlaneStopped:
            break
    hung.release()
    assert stopped.wait(WAIT_S)
    assert result_of(submitted[0].completion).kind is CompletionKind.COMPLETED
    assert result_of(submitted[1].completion).reason == "control plane stopped"
    plane.stop()


def test_pooled_drivers_are_not_in_the_registry(path: Path) -> None:
    before = len(pykka.ActorRegistry.get_all())
    with ControlPlane(SqliteStore(path)) as plane:
        plane.register_many([f"r{number}" for number in range(50)])
        assert len(pykka.ActorRegistry.get_all()) == before + 1
    assert len(pykka.ActorRegistry.get_all()) == before


def test_a_supervisor_that_cannot_own_the_store_does_not_start(path: Path) -> None:
    with ControlPlane(SqliteStore(path)), pytest.raises(StoreError, match="in use by"):
        RuntimeSupervisor.start(store=SqliteStore(path))


@pytest.mark.parametrize("number", [0, -1])
def test_a_plane_runs_at_least_one_at_a_time(path: Path, number: int) -> None:
    with pytest.raises(ValueError, match="max_concurrent_runs"):
        ControlPlane(SqliteStore(path), max_concurrent_runs=number).start()
