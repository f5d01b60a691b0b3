"""Races of calls against a stop, a restart and passivation: every one of them is answered.

A race is a plane of its own, four threads that call it, and something that comes in between;
a stop ends it. MEERKAT_RACES says how many. A deadline marks a failure, and answers nobody.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest
from attrs import define, field
from plane_builders import WAIT_S, Agent, event, progress, prompt, system_of

from actors import ControlPlane, DriverThreads
from actors import messages as m
from actors.replies import Reply
from meerkat.errors import MeerkatError
from meerkat.limits import Backoff, Limits
from meerkat.store import MemoryStore

RACES = int(os.environ.get("MEERKAT_RACES", "2000"))
CALLERS = 4
CALLS_EACH = 3
NAMES = ("a", "b", "c")


@define
class Race:
    """One plane, and everything that somebody waits for."""

    plane: ControlPlane
    chance: random.Random
    waited_for: list[Future[Any]] = field(factory=list)

    def call(self, seed: int) -> None:
        """Make a few calls; whatever refuses one is an answer, a deadline would be none."""
        chance = random.Random(seed)
        for _ in range(CALLS_EACH):
            name = chance.choice(NAMES)
            try:
                CALLS[chance.choice(list(CALLS))](self, name)
            except MeerkatError:
                continue

    def breaks(self, name: str) -> None:
        """A defect in a driver: it begins anew."""
        reply: Reply[Any] = Reply()
        self.waited_for.append(reply)
        message = m.Query(lambda _memory, _store: 1 / 0, reply)
        self.plane._door.ask(name, "breaks", message)

    def leaves(self, _name: str) -> None:
        """All that rest leave memory now."""
        system = system_of(self.plane)
        system.directory.passivate(system.clock.monotonic())

    def stops(self, _name: str) -> None:
        self.plane.stop(timeout=self.chance.choice([0, WAIT_S]))


def _submit(race: Race, name: str) -> None:
    sent = race.plane.submit(name, prompt())
    race.waited_for += [sent.accepted, sent.completion]


def _read_events(race: Race, name: str) -> None:
    with race.plane.subscribe(name, after=0) as events:
        next(events, None)


def _read_events_to_the_end(race: Race, name: str) -> None:
    for _ in race.plane.subscribe(name):
        pass


def _watch(race: Race, name: str) -> None:
    for _ in race.plane.watch(name):
        pass


def _wait_for_the_end(race: Race, name: str) -> None:
    outcome = race.plane.ingest(name, event())
    race.plane.completion(name, outcome).result()


CALLS: dict[str, Callable[[Race, str], Any]] = {
    "ingest": lambda race, name: race.plane.ingest(name, progress()),
    "ask": lambda race, name: race.plane.runtime_state(name),
    "recycle": lambda race, name: race.plane.recycle(name),
    "register": lambda race, name: race.plane.register(name),
    "submit": _submit,
    "submit again": _submit,
    "subscribe": _read_events,
    "subscribe to the end": _read_events_to_the_end,
    "watch": _watch,
    "completion": _wait_for_the_end,
}
BETWEEN: dict[str, Callable[[Race, str], Any]] = {
    "stop": Race.stops,
    "restart": Race.breaks,
    "passivation": Race.leaves,
}


def unanswered(seed: int, callers: ThreadPoolExecutor, drivers: DriverThreads) -> int:
    """One race; how many waited in vain."""
    chance = random.Random(seed)
    plane = ControlPlane(
        MemoryStore(),
        Agent(),
        drivers=drivers,
        grace_s=WAIT_S,
        backoff=Backoff(base_s=0.001, cap_s=0.002),
        passivate_after=0.001,
        limits=Limits(live_runtimes_max=2),
    )
    race = Race(plane.start(), chance)
    plane.register_many(NAMES)
    together = threading.Barrier(CALLERS + 1)

    def call(number: int) -> None:
        together.wait(WAIT_S)
        race.call(seed * CALLERS + number)

    calling = [callers.submit(call, number) for number in range(CALLERS)]
    together.wait(WAIT_S)
    for _ in range(chance.randrange(4)):
        deed = chance.choice(list(BETWEEN.values()))
        try:
            deed(race, chance.choice(NAMES))
        except MeerkatError:
            continue
    plane.stop(timeout=chance.choice([0, WAIT_S]))
    return sum(not _is_answered(each) for each in (*calling, *race.waited_for))


def _is_answered(waited_for: Future[Any]) -> bool:
    try:
        error = waited_for.exception(WAIT_S)
    except FutureTimeoutError:
        return False
    assert error is None or isinstance(error, MeerkatError), error
    return True


@pytest.mark.parametrize("drivers", list(DriverThreads), ids=str)
def test_every_call_that_races_with_the_end_is_answered(drivers: DriverThreads) -> None:
    races = RACES // len(DriverThreads)
    with ThreadPoolExecutor(CALLERS) as callers:
        left = [seed for seed in range(races) if unanswered(seed, callers, drivers)]
    print(f"races {races}, waits left unanswered {len(left)}")  # noqa: T201
    assert left == []
