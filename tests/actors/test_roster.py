"""Roster: what a supervisor decides, for any order of ends. No actor runs here."""

from __future__ import annotations

from typing import Any

import pykka
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import ChildSpec, ChildState, Restart, Restarts, Strategy
from actors.roster import Child, Roster
from meerkat.errors import TooManyRestarts
from meerkat.limits import Backoff

ALIVE = (ChildState.STARTING, ChildState.RUNNING, ChildState.STOPPING)


class Simulated:
    """A supervisor of actors that are names only."""

    def __init__(self, restarts: Restarts, kinds: dict[str, Restart]) -> None:
        specs = [ChildSpec(name, pykka.ThreadingActor, restart=kinds[name]) for name in kinds]
        self.roster, self.strategy = Roster(specs, restarts), restarts.strategy
        self.now, self.refs = 0.0, 0
        self.up = False
        self.stopping: list[str] = []

    def go_on(self) -> None:
        """Do what the supervisor's thread does after each message, and look at each step."""
        while (child := self.roster.next_to_stop()) is not None:
            self._look_at_stop(child)
        while (child := self.roster.next_to_start(self.now)) is not None:
            self._look_at_start(child)
            self.refs += 1
            self.roster.born(child, self._ref())
        self.up = self.roster.comes_up() or self.up

    def _ref(self) -> Any:
        return ("ref", self.refs)

    def _look_at_stop(self, stopped: Child) -> None:
        later = [child for child in self.roster if self._is_later(child, stopped)]
        assert all(child.after is None for child in later), "the last is stopped first"

    def _is_later(self, one: Child, other: Child) -> bool:
        ids = [child.id for child in self.roster]
        return ids.index(one.id) > ids.index(other.id)

    def _look_at_start(self, started: Child) -> None:
        assert started.ref is None, "there is one actor for a child"
        assert started.due <= self.now
        if self.up and self.strategy is Strategy.ONE_FOR_ONE:
            return
        for child in self.roster:
            assert child.after is None, "those that stop have stopped"
            if self._is_later(started, child):
                assert child.state in (ChildState.RUNNING, ChildState.STOPPED)

    # --- events -------------------------------------------------------------------------

    def alive(self) -> list[Child]:
        return [child for child in self.roster if child.ref is not None]

    def start(self, child: Child) -> None:
        assert child.ref is not None
        self.roster.started(child.ref)

    def end(self, child: Child, error: Exception | None) -> None:
        self.roster.ended(child, error, at=self.now, jitter=0.0)

    def time_goes_on(self, _child: Child) -> None:
        self.now += 1.0


events = st.lists(
    st.tuples(st.sampled_from(["start", "fail", "stop", "time", "overdue"]), st.integers(0, 9)),
    max_size=60,
)
kinds = st.lists(st.sampled_from(Restart), min_size=1, max_size=5)
settings = st.builds(
    Restarts,
    strategy=st.sampled_from(Strategy),
    intensity=st.integers(0, 20),
    backoff=st.sampled_from([Backoff(base_s=0.0), Backoff(base_s=1.0)]),
)


def replay(simulated: Simulated, events: list[tuple[str, int]]) -> bool:
    """Have these things happen to children that are alive; False if the supervisor failed."""
    simulated.go_on()
    for what, number in events:
        alive = simulated.alive()
        if what == "time" or not alive:
            simulated.now += 1.0
        else:
            happen(simulated, what, alive[number % len(alive)])
        simulated.go_on()
    return True


def happen(simulated: Simulated, what: str, child: Child) -> None:
    if what == "start":
        simulated.start(child)
    elif what == "overdue":
        if child.state is ChildState.STOPPING:
            simulated.roster.left_behind(child)
    else:
        fails = what == "fail" and not (child.fresh and not simulated.up)
        simulated.end(child, ValueError() if fails else None)


@given(settings, kinds, events)
def test_every_step_keeps_to_the_order(
    restarts: Restarts, kinds: list[Restart], events: list[tuple[str, int]]
) -> None:
    simulated = Simulated(restarts, {f"c{n}": kind for n, kind in enumerate(kinds)})
    try:
        replay(simulated, events)
    except TooManyRestarts:
        return
    for child in simulated.roster:
        assert (child.ref is not None) == (child.state in ALIVE)


@given(settings, kinds, events)
def test_a_tree_that_is_left_alone_comes_to_rest(
    restarts: Restarts, kinds: list[Restart], events: list[tuple[str, int]]
) -> None:
    simulated = Simulated(restarts, {f"c{n}": kind for n, kind in enumerate(kinds)})
    try:
        replay(simulated, events)
    except TooManyRestarts:
        return
    for _ in range(4 * len(kinds)):  # whoever is to start starts, who is to stop stops
        simulated.now += 60.0
        for child in simulated.alive():
            if child.state is ChildState.STOPPING:
                simulated.end(child, None)
            elif child.state is ChildState.STARTING:
                simulated.start(child)
        simulated.go_on()
    for child in simulated.roster:
        assert child.state in (ChildState.RUNNING, ChildState.STOPPED)
        if child.spec.restart is Restart.PERMANENT:
            assert child.state is ChildState.RUNNING


@given(settings, kinds, events)
def test_a_temporary_child_is_started_once(
    restarts: Restarts, kinds: list[Restart], events: list[tuple[str, int]]
) -> None:
    simulated = Simulated(restarts, {f"c{n}": kind for n, kind in enumerate(kinds)})
    try:
        replay(simulated, events)
    except TooManyRestarts:
        return
    for child in simulated.roster:
        if child.spec.restart is Restart.TEMPORARY:
            assert child.starts <= 1


def up(restarts: Restarts, *kinds: Restart) -> Simulated:
    """All of them run."""
    simulated = Simulated(restarts, {f"c{n}": kind for n, kind in enumerate(kinds)})
    for _ in kinds:
        simulated.go_on()
        for child in simulated.alive():
            simulated.start(child)
    simulated.go_on()
    assert simulated.up
    return simulated


def test_one_that_waits_holds_up_nobody_where_each_is_for_itself() -> None:
    restarts = Restarts(backoff=Backoff(base_s=10.0, cap_s=10.0))
    simulated = up(restarts, Restart.PERMANENT, Restart.PERMANENT)
    simulated.end(simulated.roster["c0"], ValueError())
    simulated.now = 4.0
    simulated.end(simulated.roster["c1"], ValueError())
    simulated.now = 5.0
    simulated.go_on()
    assert simulated.roster["c0"].state is ChildState.STARTING
    assert simulated.roster["c1"].state is ChildState.WAITING
    simulated.now = 9.0
    simulated.go_on()  # c0 has not come up yet
    assert simulated.roster["c1"].state is ChildState.STARTING


def test_the_intensity_is_counted_over_all_children() -> None:
    simulated = up(Restarts(intensity=2), *[Restart.PERMANENT] * 3)
    for name in ("c0", "c1"):
        simulated.end(simulated.roster[name], ValueError())
    with pytest.raises(TooManyRestarts) as caught:
        simulated.end(simulated.roster["c2"], ValueError("third"))
    assert (caught.value.child, caught.value.reason) == ("c2", "ValueError: third")
    assert str(caught.value.__cause__) == "third"


def test_a_failure_that_takes_others_along_counts_once() -> None:
    restarts = Restarts(strategy=Strategy.ONE_FOR_ALL, intensity=1)
    simulated = up(restarts, *[Restart.PERMANENT] * 3)
    simulated.end(simulated.roster["c1"], ValueError())
    simulated.go_on()
    assert simulated.roster["c2"].state is ChildState.STOPPING
    simulated.end(simulated.roster["c2"], ValueError())  # on its way out: not another failure
    simulated.go_on()
    assert simulated.roster["c0"].state is ChildState.STOPPING
