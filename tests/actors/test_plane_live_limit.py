"""Live runtimes: at most so many are in memory, whoever was asked longest ago leaves first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from passivation_builders import live, passivations, settle
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    decided,
    error_of,
    progress,
    prompt,
    result_of,
    system_of,
    tell,
)

from actors import ControlPlane
from actors import messages as m
from actors.replies import Reply
from meerkat import RuntimeState
from meerkat.errors import ControlPlaneStopped, Overloaded
from meerkat.limits import Limits
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore


def limited(open_plane: OpenPlane, executor: Any, live_max: int, **settings: Any) -> ControlPlane:
    limits = Limits(live_runtimes_max=live_max)
    return open_plane(executor, limits=limits, passivate_after=None, **settings)


def wait_at_rest(plane: ControlPlane, count: int) -> None:
    """Until as many drivers are at rest."""
    while len(system_of(plane).directory._resting) < count:
        pass


def test_the_one_asked_longest_ago_leaves(open_plane: OpenPlane, agent: Agent) -> None:
    plane = limited(open_plane, agent, 3)
    for name in "abc":
        plane.register(name)
    wait_at_rest(plane, 3)
    for name in "ab":
        settle(plane, name)
        wait_at_rest(plane, 3)
    plane.register("d")
    assert live(plane) == {"a", "b", "d"}
    wait_at_rest(plane, 3)
    result_of(plane.submit("c", prompt()).completion)
    assert live(plane) == {"b", "c", "d"}
    assert passivations(plane) == 2


def test_an_input_that_would_make_one_too_many_is_refused(
    open_plane: OpenPlane, figure: Callable[[str], None]
) -> None:
    agent = Agent(held=True)
    plane = limited(open_plane, agent, 2, max_concurrent_runs=3)
    for name in "abc":
        plane.register(name)
    running = [plane.submit(name, prompt()) for name in "ab"]
    for _ in running:
        agent.next_call()
    refusals = []
    for offer in (plane.ingest, plane.submit):
        with pytest.raises(Overloaded, match="live_runtimes_max is at its limit of 2") as refused:
            offer("c", prompt())
        assert (refused.value.limit, refused.value.value) == ("live_runtimes_max", 2)
        refusals.append(refused.value)
    taken, refused_past = len(running), len(refusals)
    figure(f"floods, live runtimes: taken up to the limit {taken}; refused past it {refused_past}")
    # What is live takes more, control passes, and nothing of what was refused is left.
    running.append(plane.submit("a", prompt("more")))
    assert plane.runtime_state("c") is RuntimeState.ATTACHED
    plane.register("d")
    assert plane.active_input_ids("c") == []
    assert plane.reset("c").inputs_abandoned == 0
    assert plane.stop_runtime("b").inputs_abandoned == 1
    assert len(system_of(plane).calls) == 0
    agent.release()
    for each in running:
        result_of(each.completion)
    while True:
        try:
            accepted = plane.submit("c", prompt())
        except Overloaded:
            continue  # the runs that were held are about to end
        break
    assert result_of(accepted.completion).kind is CompletionKind.COMPLETED
    assert len(live(plane)) <= 2


def test_an_input_that_comes_too_late_for_its_driver_is_refused_too(
    open_plane: OpenPlane,
) -> None:
    agent = Agent(held=True)
    plane = limited(open_plane, agent, 1, max_concurrent_runs=3)
    plane.register_many(["a", "b"])
    wait_at_rest(plane, 1)
    settle(plane, "a")
    wait_at_rest(plane, 1)
    gone = next(iter(system_of(plane).directory._drivers.values())).actor_inbox._actor
    running = plane.submit("b", prompt())
    agent.next_call()
    late: Any = m.Accept(prompt(), b"", Reply())
    gone.on_dead_letter(late)
    error = error_of(late.reply)
    assert isinstance(error, Overloaded)
    assert error.limit == "live_runtimes_max"
    agent.release()
    result_of(running.completion)


def test_many_are_registered_and_few_are_live(open_plane: OpenPlane) -> None:
    plane = limited(open_plane, None, 5)
    names = [f"r{number}" for number in range(200)]
    plane.register_many(names)
    for name in names[:20]:
        assert plane.ingest(name, prompt()).is_accepted
    wait_at_rest(plane, 5)
    assert len(live(plane)) == 5


@pytest.mark.parametrize("live_max", [1, 2, 5, 100])
def test_unfinished_runtimes_take_turns_at_the_start(
    open_plane: OpenPlane, path: Path, live_max: int
) -> None:
    quiet = open_plane(passivate_after=None)
    names = [f"r{number}" for number in range(30)]
    quiet.register_many(names)
    for name in names:
        quiet.ingest(name, prompt(name))
    quiet.stop()
    most = 0

    def look(*_: Any) -> None:
        nonlocal most
        most = max(most, len(system.directory))

    agent = Agent(look, held=True)
    plane = limited(open_plane, agent, live_max)
    system = system_of(plane)
    agent.release()
    while len(agent.calls) < len(names):
        agent.next_call()
    while any(plane.active_input_ids(name) for name in names):
        pass
    assert sorted(agent.texts) == sorted(names)
    assert most <= (live_max + 1) // 2


def test_others_find_room_while_runtimes_are_taken_up(open_plane: OpenPlane) -> None:
    quiet = open_plane(passivate_after=None)
    quiet.register_many(["a", "b", "c", "d", "e", "x"])
    for name in "abcde":
        quiet.ingest(name, prompt(name))
    quiet.stop()
    agent = Agent(held=True)
    plane = limited(open_plane, agent, 4)
    for _ in range(2):
        agent.next_call()
    mine = plane.submit("x", prompt("x"))
    assert result_of(mine.accepted).is_accepted
    assert agent.next_call().text == "x"
    assert len(live(plane)) == 3
    agent.release()
    result_of(mine.completion)
    while len(agent.calls) < 6:
        agent.next_call()


def test_turns_come_without_an_executor_too(open_plane: OpenPlane) -> None:
    plane = open_plane(passivate_after=None)
    names = [f"r{number}" for number in range(10)]
    plane.register_many(names)
    for name in names:
        plane.ingest(name, prompt(name))
    plane.stop()
    plane = limited(open_plane, None, 2)
    while system_of(plane).directory._unfinished:
        pass
    settle(plane, "r0")
    wait_at_rest(plane, 1)
    assert len(live(plane)) <= 2


def test_a_draining_stop_works_what_takes_turns(open_plane: OpenPlane, path: Path) -> None:
    plane = limited(open_plane, Agent(), 2)
    names = [f"r{number}" for number in range(10)]
    plane.register_many(names)
    accepted = {name: plane.ingest(name, progress()) for name in names}  # they wake nobody
    handles = [plane.completion(name, outcome) for name, outcome in accepted.items()]
    plane.stop(drain=True)
    assert {result_of(each).kind for each in handles} == {CompletionKind.COMPLETED}
    assert SqliteStore(path).runtimes_with_work() == []


def test_a_stop_passes_whatever_is_at_its_limit(open_plane: OpenPlane) -> None:
    agent = Agent(held=True)
    limits = Limits(live_runtimes_max=1, pending_inputs_max=1)
    plane = open_plane(agent, limits=limits)
    plane.register_many(["a", "b"])
    running = plane.submit("a", prompt())
    agent.next_call()
    assert isinstance(error_of(plane.submit("a", prompt()).accepted), Overloaded)
    while live(plane) != {"a"}:
        pass  # the other one is about to leave
    with pytest.raises(Overloaded):
        plane.submit("b", prompt())
    waiting = tell(plane, "b", m.RecoverRuntime(Reply()))
    waiting.result(WAIT_S)
    decided(plane, "b").result(WAIT_S)
    assert plane.interrupt("a", "now")
    assert plane.destroy("b").inputs_abandoned == 0
    agent.release()
    result_of(running.completion)
    plane.stop()
    with pytest.raises(ControlPlaneStopped):
        plane.submit("a", prompt())
