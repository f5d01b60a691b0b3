"""The watch: a run that gives no sign is shown with its stack, once per silence."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest
from plane_builders import (
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
    steered,
    system_of,
)
from plane_interrupts import begin_wait

from actors import ControlPlane
from actors.subscriptions import Subscription
from meerkat.outcomes import CompletionKind

STUCK_S, LOOK_S = 100.0, 25.0
"""The bound, and how often the watch looks: it shows a run at most a look late."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def agent() -> Puppet:
    return Puppet()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Puppet, clock: FakeClock) -> ControlPlane:
    plane = open_plane(agent, clock=clock, stuck_after_s=STUCK_S, grace_s=1e6)
    plane.register("a")
    return plane


def begin(plane: ControlPlane, agent: Puppet) -> PuppetRun:
    plane.submit("a", prompt())
    run = agent.next_run()
    run.does(lambda _: None)  # from now on it is where it waits for what to do
    return run


def told(plane: ControlPlane, events: Subscription) -> list[str]:
    """The texts of all that was told of runs so far."""
    decided(plane, "a")
    plane.runtime_state("a")
    texts = []
    while (each := events.next_within(0)) is not None:
        assert code_of(each) == "run.progress", each
        texts.append(each.event.detail)  # type: ignore[union-attr]
    return texts


def test_a_run_without_a_sign_is_shown_once_with_where_it_is(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    run = begin(plane, agent)
    with plane.subscribe("a") as events, logged("no sign for 125 s") as said:
        clock.advance(plane, STUCK_S - 1)
        assert told(plane, events) == []
        assert not said.is_set()
        clock.advance(plane, 1 + LOOK_S)
        (text,) = told(plane, events)
        assert said.is_set()
        clock.advance(plane, 10 * STUCK_S)
        assert told(plane, events) == []  # not again for the same silence
    lines = text.splitlines()
    assert lines[0] == "no sign for 125 s"
    assert any("plane_builders.py" in line and "in perform" in line for line in lines)
    assert not run.context.cancelled.is_set()
    run.returns()


def test_the_stack_ends_where_the_executor_is_however_deep_that_is(
    open_plane: OpenPlane, clock: FakeClock
) -> None:
    reached, let_go = threading.Event(), threading.Event()

    def ask_an_agent(depth: int) -> None:
        look_for_a_seat(depth - 1)

    def look_for_a_seat(depth: int) -> None:
        if depth:
            ask_an_agent(depth)
        reached.set() or let_go.wait(WAIT_S)

    agent = Agent(lambda *_: look_for_a_seat(100))
    plane = open_plane(agent, clock=clock, stuck_after_s=STUCK_S)
    plane.register("a")
    submitted = plane.submit("a", prompt())
    assert reached.wait(WAIT_S)
    with plane.subscribe("a") as events, logged("reached.set() or let_go.wait") as said:
        clock.advance(plane, STUCK_S)
        (text,) = told(plane, events)
        assert said.is_set()
    assert f'File "{__file__}", line' in text
    assert "in look_for_a_seat" in text
    assert "reached.set() or let_go.wait(WAIT_S)" in text
    let_go.set()
    result_of(submitted.completion)


SIGNS: dict[str, Any] = {
    "progress": lambda context: context.progress("half way"),
    "boundary": lambda context: context.boundary(),
    "wait": lambda context: context.wait(0),
}


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_begins_a_new_silence(
    plane: ControlPlane, agent: Puppet, clock: FakeClock, name: str
) -> None:
    run = begin(plane, agent)
    with plane.subscribe("a") as events:
        clock.advance(plane, STUCK_S - 1)
        run.does(SIGNS[name])
        said = ["half way"] if name == "progress" else []
        clock.advance(plane, STUCK_S - 1)
        assert told(plane, events) == said
        clock.advance(plane, 1 + LOOK_S)
        assert len(told(plane, events)) == 1
        run.does(SIGNS[name])
        clock.advance(plane, STUCK_S + LOOK_S)
        assert len(told(plane, events)) == 1 + len(said)


def test_a_commit_at_a_boundary_is_a_sign(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    run = begin(plane, agent)
    more = plane.submit("a", steered("more"))
    result_of(more.accepted)
    boundary = run.does(lambda context: context.boundary())
    clock.advance(plane, STUCK_S - 1)
    run.does(lambda _: boundary.commit(append=[]))
    assert result_of(more.completion).kind is CompletionKind.COMPLETED_WITHOUT_RESULT
    with plane.subscribe("a") as events:
        clock.advance(plane, STUCK_S - 1)
        assert told(plane, events) == []
        clock.advance(plane, 1 + LOOK_S)
        assert len(told(plane, events)) == 1


def test_a_run_that_waits_by_its_own_will_is_never_stuck(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    run = begin(plane, agent)
    waiting = begin_wait(run)
    with plane.subscribe("a") as events:
        clock.advance(plane, 10 * STUCK_S)
        assert told(plane, events) == []
        plane.interrupt("a", "now")
        result_of(waiting)
        clock.advance(plane, STUCK_S - 1)
        assert told(plane, events) == []  # its silence began when it woke
        clock.advance(plane, 1 + LOOK_S)
        assert len(told(plane, events)) == 1


def test_the_end_of_a_wait_is_a_sign_before_it_is_an_end(
    plane: ControlPlane, agent: Puppet
) -> None:
    """A look of the watch at that very moment finds one or the other."""
    run = begin(plane, agent)
    link: Any = run.context._link
    waits, sign = list[bool](), link.signs

    def signs() -> None:
        waits.append(run.context.attention.waits)
        sign()

    link.signs = signs
    run.does(lambda context: context.wait(0))
    assert waits[-1] is True
    assert run.context.attention.waits is False


def test_every_run_has_its_own_silence(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane.register("b")
    first = begin(plane, agent)
    clock.advance(plane, STUCK_S / 2)
    plane.submit("b", prompt())
    second = agent.next_run()
    with plane.subscribe() as events:
        clock.advance(plane, STUCK_S / 2)
        shown = events_until(events, "run.progress")[-1]
        assert shown.event.run_id == first.called.run_id
        clock.advance(plane, STUCK_S / 2)
        shown = events_until(events, "run.progress")[-1]
        assert shown.event.run_id == second.called.run_id


def test_a_run_that_is_over_is_not_watched(
    plane: ControlPlane, agent: Puppet, clock: FakeClock
) -> None:
    submitted = plane.submit("a", prompt())
    agent.next_run().returns()
    result_of(submitted.completion)
    with plane.subscribe("a") as events:
        clock.advance(plane, 10 * STUCK_S)
        assert told(plane, events) == []
        clock.advance(plane, 10 * STUCK_S)
        assert told(plane, events) == []
    run = begin(plane, agent)  # the watch has gone to rest meanwhile
    with plane.subscribe("a") as events:
        clock.advance(plane, STUCK_S)
        assert len(told(plane, events)) == 1
    run.returns()


def test_with_none_nothing_is_watched(
    open_plane: OpenPlane, agent: Puppet, clock: FakeClock
) -> None:
    plane = open_plane(agent, clock=clock, stuck_after_s=None)
    plane.register("a")
    begin(plane, agent)
    with plane.subscribe("a") as events, logged("no sign") as said:
        clock.advance(plane, 1e9)
        assert told(plane, events) == []
        assert not said.is_set()


def test_a_run_that_is_over_is_not_held_in_memory(open_plane: OpenPlane) -> None:
    """Neither by the watch, nor by its thread, nor by the conversation it has handed on."""
    runs: list[weakref.ref[Any]] = []
    agent = Agent(lambda _, context: runs.append(weakref.ref(context)))
    plane = open_plane(agent, run_deadline_s=1e6)
    plane.register_many(["a", "b"])
    for text in ("1", "2"):
        for runtime_id in ("a", "b"):
            result_of(plane.submit(runtime_id, prompt(text)).completion)
    for runtime_id in ("a", "b"):
        decided(plane, runtime_id)
    assert len(runs) == 4
    assert system_of(plane).watch._watched == {}
    until = time.monotonic() + WAIT_S
    while any(run() is not None for run in runs):  # its thread may still be on its way back
        assert time.monotonic() < until, [gc.get_referrers(run()) for run in runs if run()]
        gc.collect()
