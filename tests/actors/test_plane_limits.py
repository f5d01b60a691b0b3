"""Limits: one below, at, and one above; refused at the door, typed, with nothing kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, decided, error_of, prompt, result_of, tell
from plane_stores import FrozenDisk

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import RuntimeState, to_json
from meerkat.errors import InputValidationFailed, Overloaded
from meerkat.limits import Limits
from meerkat.store import MemoryStore, SqliteStore

Figure = Callable[[str], None]


def floods(limit: str, taken: int, refused: int) -> str:
    """The figure of a limit: what was taken up to it, and what was refused past it."""
    return f"floods, {limit}: taken up to the limit {taken}; refused past it {refused}"


def test_pending_inputs_of_a_runtime(open_plane: OpenPlane, figure: Figure) -> None:
    agent = Agent()
    plane = open_plane(limits=Limits(pending_inputs_max=3))
    plane.register_many(["a", "b"])
    first = plane.submit("a", prompt("1", idempotency_key="k"))
    for text in ("2", "3"):
        assert plane.ingest("a", prompt(text)).is_accepted
    refused = plane.submit("a", prompt("4", idempotency_key="k4"))
    refused_as = [error_of(refused.accepted), error_of(refused.completion)]
    for error in refused_as:
        assert isinstance(error, Overloaded)
        assert (error.limit, error.value) == ("pending_inputs_max", 3)
    taken = plane.active_input_ids("a")
    assert len(taken) == 3
    figure(floods("pending inputs of a runtime", len(taken), len(refused_as)))
    # What is known already, another runtime, and control pass.
    assert plane.ingest("a", prompt(idempotency_key="k")).is_deduplicated
    assert plane.ingest("b", prompt()).is_accepted
    assert plane.runtime_state("a") is RuntimeState.IDLE
    plane.attach_executor("a", agent)
    result_of(first.completion)
    while plane.active_input_ids("a"):
        pass
    assert plane.ingest("a", prompt("4", idempotency_key="k4")).is_accepted


def test_inputs_in_flight_of_a_plane(open_plane: OpenPlane, path: Path, figure: Figure) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk, limits=Limits(in_flight_max=3))
    plane.register_many(["a", "b"])
    disk.freeze()
    flying = [plane.submit("a", prompt()) for _ in range(2)]
    flying.append(plane.submit("b", prompt()))
    refusals = []
    for offer in (plane.submit, plane.ingest):
        with pytest.raises(Overloaded) as refused:
            offer("b", prompt("one too many"))
        assert (refused.value.limit, refused.value.value) == ("in_flight_max", 3)
        refusals.append(refused.value)
    figure(floods("inputs in flight", len(flying), len(refusals)))
    calls = [tell(plane, "a", m.RecoverRuntime(Reply())), decided(plane, "a")]
    disk.thaw()
    for each in flying:
        assert result_of(each.accepted).is_accepted
    for call in calls:
        call.result(WAIT_S)
    assert plane.ingest("b", prompt()).is_accepted
    assert len(plane.active_input_ids("b")) == 2


def test_the_size_of_a_payload(open_plane: OpenPlane, figure: Figure) -> None:
    size = len(to_json(prompt("x" * 100)))
    plane = open_plane(limits=Limits(payload_bytes_max=size))
    plane.register("a")
    for length in (99, 100):
        assert plane.ingest("a", prompt("x" * length)).is_accepted
    refusals = []
    for offer in (plane.submit, plane.ingest):
        with pytest.raises(InputValidationFailed, match="over the limit") as refused:
            offer("a", prompt("x" * 101))
        refusals.append(refused.value)
    taken = plane.active_input_ids("a")
    assert len(taken) == 2
    figure(floods("size of a payload", len(taken), len(refusals)))


def test_what_is_refused_at_the_door_is_not_in_flight(open_plane: OpenPlane) -> None:
    plane = open_plane(limits=Limits(in_flight_max=1))
    plane.register("a")
    for _ in range(3):
        with pytest.raises(InputValidationFailed):
            plane.ingest("a", prompt("\ud800"))
        with pytest.raises(ValueError, match="runtime id"):
            plane.ingest("not an id", prompt())
    assert plane.ingest("a", prompt()).is_accepted


@pytest.mark.parametrize("setting", ["limits", "backoff", "retention"])
def test_bounds_of_another_kind_are_refused_at_the_start(setting: str) -> None:
    with pytest.raises(TypeError, match=f"{setting} is a {setting.capitalize()}, not dict"):
        ControlPlane(MemoryStore(), **{setting: {}}).start()  # type: ignore[arg-type]
