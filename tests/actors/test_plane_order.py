"""Order: one session's inputs are consumed in the order in which they were accepted.

Through failures, retries, restarts of the plane, and whatever other runtimes do.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    decided,
    error_of,
    prompt,
    result_of,
    steered,
    tell,
)
from plane_stores import FrozenDisk

from actors import messages as m
from actors.replies import Reply
from actors.seat import RUNS_IN_A_ROW
from meerkat import LogicalRuntimeId, RunContext
from meerkat.errors import ApplyFailed
from meerkat.limits import Limits
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore

RUNTIMES = ("a", "b", "c")
PATIENT = Limits(max_attempts=1_000, crash_attempts_max=1_000)


def said_in(store: RuntimeStore, runtime_id: str) -> list[str]:
    """What was said to a session, in order; what was steered may have been said together."""
    snapshot = store.load_session_snapshot(LogicalRuntimeId(runtime_id))
    assert snapshot is not None
    said = [each["content"] for each in json.loads(snapshot.messages) if each["role"] == "user"]
    return [text for together in said for text in together.split("\n\n")]


def at_random(seed: int) -> Agent:
    """An executor that fails three calls in ten."""
    chance = random.Random(seed)

    def behave(_called: Called, _context: RunContext) -> None:
        if chance.random() < 0.3:
            raise ApplyFailed("by chance")

    return Agent(behave)


@pytest.mark.parametrize("seed", range(3))
def test_inputs_are_consumed_in_order(open_plane: OpenPlane, path: Path, seed: int) -> None:
    """Three sessions, fifteen inputs each, three planes one after the other."""
    wanted = {runtime_id: [f"{runtime_id}{n}" for n in range(15)] for runtime_id in RUNTIMES}
    for third in range(3):
        agent = at_random(seed * 3 + third)
        plane = open_plane(agent, limits=PATIENT, max_concurrent_runs=2)
        plane.register_many(RUNTIMES)
        submitted = [
            plane.submit(runtime_id, prompt(wanted[runtime_id][number]))
            for number in range(third * 5, third * 5 + 5)
            for runtime_id in RUNTIMES
        ]
        unrelated = [plane.submit(runtime_id, steered("!")) for runtime_id in ("x", "a")]
        assert unrelated[0].accepted.exception(10) is not None
        for each in submitted[:7]:
            result_of(each.completion)
        plane.stop()  # in the middle of the rest
    last = open_plane(Agent(), limits=PATIENT)
    while any(last.active_input_ids(runtime_id) for runtime_id in RUNTIMES):
        pass
    last.stop()
    store = SqliteStore(path)
    for runtime_id in RUNTIMES:
        said = [text for text in said_in(store, runtime_id) if text != "!"]
        assert said == wanted[runtime_id]
    assert said_in(store, "a").count("!") == 3


def test_steering_one_runtime_moves_nothing_in_another(open_plane: OpenPlane, path: Path) -> None:
    plane = open_plane(at_random(7), limits=PATIENT)
    plane.register_many(["a", "b"])
    submitted = []
    for number in range(20):
        submitted.append(plane.submit("a", prompt(str(number))))
        submitted.append(plane.submit("b", steered(f"s{number}")))
    for each in submitted:
        assert result_of(each.completion).kind is CompletionKind.COMPLETED
    plane.stop()
    store = SqliteStore(path)
    assert said_in(store, "a") == [str(number) for number in range(20)]
    assert said_in(store, "b") == [f"s{number}" for number in range(20)]


def test_first_staging_follows_the_order_of_admission(open_plane: OpenPlane) -> None:
    agent = at_random(11)
    plane = open_plane(agent, limits=PATIENT, store=MemoryStore())
    plane.register("a")
    submitted = [plane.submit("a", prompt(str(number))) for number in range(40)]
    for each in submitted:
        result_of(each.completion)
    firsts = [called.text for called in agent.calls if called.attempt == 1]
    assert firsts == [str(number) for number in range(40)]


def test_a_runtime_runs_one_at_a_time_and_others_beside_it(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, max_concurrent_runs=2)
    plane.register_many(RUNTIMES)
    submitted = [
        plane.submit(runtime_id, prompt(f"{runtime_id}{number}"))
        for number in range(2)
        for runtime_id in RUNTIMES
    ]
    first_two = [agent.next_call(), agent.next_call()]
    for runtime_id in RUNTIMES:
        result_of(decided(plane, runtime_id))
    assert len(agent.calls) == 2
    assert len({called.runtime_id for called in first_two}) == 2
    agent.release()
    for each in submitted:
        assert result_of(each.completion).kind is CompletionKind.COMPLETED
    for runtime_id in RUNTIMES:
        mine = [text for text in agent.texts if text.startswith(runtime_id)]
        assert mine == [f"{runtime_id}0", f"{runtime_id}1"]


def test_waiting_for_a_slot_costs_no_attempt(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, max_concurrent_runs=1, store=MemoryStore())
    plane.register_many(["a", "b"])
    plane.submit("a", prompt("a"))
    agent.next_call()
    waiting = plane.submit("b", prompt("b"))
    input_id = result_of(waiting.accepted).input_id
    decided(plane, "b")
    state: Any = plane.input_state("b", input_id)
    assert (state.phase.value, state.attempt_count) == ("queued", 0)
    agent.release()
    result_of(waiting.completion)
    assert [called.attempt for called in agent.calls] == [1, 1]


def test_a_busy_runtime_makes_room_for_the_others(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    plane = open_plane(agent, max_concurrent_runs=1, store=MemoryStore())
    plane.register_many(["a", "b"])
    submitted = [plane.submit("a", prompt("a")) for _ in range(40)]
    agent.next_call()
    submitted.append(plane.submit("b", prompt("b")))
    decided(plane, "b")
    agent.release()
    for each in submitted:
        result_of(each.completion)
    assert agent.texts.index("b") == RUNS_IN_A_ROW


def test_what_came_while_a_driver_could_not_go_on_comes_before_what_came_later(
    open_plane: OpenPlane,
) -> None:
    disk = FrozenDisk(MemoryStore())
    plane = open_plane(store=disk)
    plane.register("a")
    disk.freeze()
    on_its_way, later = plane.submit("a", prompt()), []
    assert disk.stuck.wait(WAIT_S)
    on_its_way.accepted.add_done_callback(lambda _: later.append(plane.submit("a", prompt("2"))))
    broken = tell(plane, "a", m.Query(lambda _memory, _store: 1 / 0, Reply()))
    sooner = plane.submit("a", prompt("1"))
    assert error_of(broken) is not None
    disk.thaw()
    result_of(sooner.accepted)
    accepted = [result_of(each.accepted).input_id for each in (on_its_way, sooner, *later)]
    assert plane.active_input_ids("a") == accepted
