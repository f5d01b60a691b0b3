"""Chains of waits on a drawn scene: what can move breaks them, and nothing else does."""

from __future__ import annotations

import threading
from collections.abc import Collection

import pytest
from attrs import define, evolve, field

from actors.driver_doing import Doing
from actors.wait_chains import LINES_SHOWN, Wait, dead_chain, story
from meerkat import InputId, RunId
from meerkat.identifiers import LogicalRuntimeId

AT_REST = Doing(
    waits_for_slot=False,
    waits_for_disk=False,
    held_off=False,
    unavailable=None,
    leaving=False,
    letters=0,
    at_boundary=(),
)


@define(eq=False)
class Run:
    runtime_id: LogicalRuntimeId
    run_id: RunId = field(factory=RunId.new)
    cancelled: threading.Event = field(factory=threading.Event)


@define(eq=False)
class Handle:
    input_id: InputId | None = field(factory=InputId.new)
    ended: bool = False

    def done(self) -> bool:
        return self.ended


@define
class Scene:
    """Runs in hand, each of which waits for an input of the runtime it is given."""

    slots: int = 64
    runs: dict[LogicalRuntimeId, Run] = field(factory=dict)
    waits: dict[Run, Wait] = field(factory=dict)
    drivers: dict[LogicalRuntimeId, Doing] = field(factory=dict)

    def waiting(self, name: str, for_name: str) -> Wait:
        runtime_id = LogicalRuntimeId(name)
        run = self.runs.setdefault(runtime_id, Run(runtime_id))
        wait = Wait("result", LogicalRuntimeId(for_name), Handle(), None, 1, run, 0.0)
        self.waits[run] = wait
        return wait

    def runs_in_hand(self) -> Collection[Run]:
        return tuple(self.runs.values())

    def run_of(self, runtime_id: LogicalRuntimeId) -> Run | None:
        return self.runs.get(runtime_id)

    def wait_of(self, run: Run) -> Wait | None:  # type: ignore[override]
        return self.waits.get(run)

    def doing(self, runtime_id: LogicalRuntimeId) -> Doing | None:
        return self.drivers.get(runtime_id, AT_REST)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_ring_is_dead_whoever_asks_and_each_is_named_once(scene: Scene) -> None:
    ring = [scene.waiting(one, other) for one, other in ("ab", "bc", "ca")]
    for wait in ring:
        chain = dead_chain(wait, scene)
        assert len(chain) == 3
        assert chain[0].startswith(f"run {wait.run.run_id} of {wait.run.runtime_id} waits for ")  # type: ignore[union-attr]


def test_a_ring_somewhere_on_the_way_is_dead(scene: Scene) -> None:
    first = scene.waiting("x", "a")
    for one, other in ("ab", "ba"):
        scene.waiting(one, other)
    assert len(dead_chain(first, scene)) == 3


def test_who_closes_a_chain_may_have_a_timeout_and_nobody_else(scene: Scene) -> None:
    closing, other = scene.waiting("a", "b"), scene.waiting("b", "a")
    closing.timeout_s = 60.0
    assert dead_chain(closing, scene)
    assert not dead_chain(other, scene)


def test_an_end_on_the_way_breaks_a_chain(scene: Scene) -> None:
    closing, other = scene.waiting("a", "b"), scene.waiting("b", "a")
    other.future.ended = True  # type: ignore[attr-defined]
    assert not dead_chain(closing, scene)


def test_a_cancelled_run_breaks_a_chain(scene: Scene) -> None:
    closing, other = scene.waiting("a", "b"), scene.waiting("b", "a")
    assert other.run is not None
    other.run.cancelled.set()
    assert not dead_chain(closing, scene)


def test_a_run_that_works_breaks_a_chain(scene: Scene) -> None:
    closing = scene.waiting("a", "b")
    scene.waits.pop(scene.waiting("b", "a").run)  # type: ignore[arg-type]
    assert not dead_chain(closing, scene)


def test_what_a_boundary_hands_over_and_what_is_undecided_may_end(scene: Scene) -> None:
    wait = scene.waiting("a", "a")
    assert dead_chain(wait, scene)
    steered = evolve(AT_REST, at_boundary=(wait.future.input_id,))
    scene.drivers[LogicalRuntimeId("a")] = steered
    assert not dead_chain(wait, scene)
    scene.drivers.clear()
    wait.future.input_id = None  # type: ignore[misc]
    assert not dead_chain(wait, scene)


@pytest.mark.parametrize(
    ("slots", "wants_one", "dead"), [(2, True, True), (2, False, False), (3, True, False)]
)
def test_slots_are_waited_for_when_all_are_taken(
    scene: Scene, slots: int, wants_one: bool, dead: bool
) -> None:
    """One that is free, or on its way to somebody, lets the next run begin."""
    scene.slots = slots
    scene.drivers[LogicalRuntimeId("c")] = evolve(AT_REST, waits_for_slot=wants_one)
    scene.waiting("a", "c")
    assert bool(dead_chain(scene.waiting("b", "c"), scene)) is dead


def test_one_of_all_who_have_slots_is_enough_to_go_on(scene: Scene) -> None:
    scene.slots = 3
    scene.drivers[LogicalRuntimeId("d")] = evolve(AT_REST, waits_for_slot=True)
    scene.waiting("a", "d")
    closing = scene.waiting("b", "d")
    scene.waits.pop(scene.waiting("c", "d").run)  # type: ignore[arg-type]
    assert not dead_chain(closing, scene)


def test_a_runtime_without_a_driver_is_waited_for_in_good_hope(scene: Scene) -> None:
    scene.waiting("b", "a")
    scene.drivers[LogicalRuntimeId("b")] = None  # type: ignore[assignment]
    assert not dead_chain(scene.waiting("a", "b"), scene)


def test_what_is_said_is_bounded(scene: Scene) -> None:
    names = [f"r{number}" for number in range(3 * LINES_SHOWN)]
    for one, other in zip(names, [*names[1:], names[0]], strict=True):
        wait = scene.waiting(one, other)
    chain = dead_chain(wait, scene)
    assert len(chain) == LINES_SHOWN + 1
    assert chain[-1] == f"and {2 * LINES_SHOWN} more"
    assert story(wait, scene, 5.0).count(" has waited ") <= LINES_SHOWN


def test_what_a_driver_does_is_said_in_words() -> None:
    assert not str(AT_REST)
    busy = evolve(AT_REST, waits_for_disk=True, letters=3, unavailable="store_error")
    expected = "waits for the disk, is unavailable (store_error), has 3 messages to handle"
    assert str(busy) == expected
