"""Races of calls against a stop, a restart and passivation: every one of them is answered.

A race is a plane of its own, four threads that call it, and something that comes in between;
a stop ends it. A deadline marks a failure, and answers nobody. ``unanswered(seed, …)`` replays
the calls of one race; which thread comes first is the machine's to say.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import pytest
from attrs import define, field

from actors import ControlPlane, DriverThreads
from actors import messages as m
from actors.completions import Completions
from actors.replies import Reply
from meerkat import (
    CompletionOutcome,
    External,
    ExternalEventInput,
    Peer,
    PeerInput,
    PeerResponseProgress,
    PromptInput,
    RunContext,
    RunOutput,
    StagedInput,
)
from meerkat.errors import MeerkatError
from meerkat.limits import Backoff, Limits
from meerkat.store import MemoryStore

WAIT_S = 10.0
CALLERS = 4
CALLS_EACH = 3
NAMES = ("a", "b", "c")
PARTS = 2
"""Tests that share the races with each kind of drivers."""


def echo(_context: RunContext, primitive: StagedInput) -> RunOutput:
    return RunOutput(append=[{"role": "user", "content": primitive.text}], result="done")


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
        system = self.plane._life.system
        system.directory.passivate(system.clock.monotonic())

    def stops(self, _name: str) -> None:
        self.plane.stop(timeout=self.chance.choice([0, WAIT_S]))


def _ingest(race: Race, name: str) -> None:
    """An input that wakes nobody."""
    convention = PeerResponseProgress(request_id="req-1", phase="in_progress")
    race.plane.ingest(name, PeerInput("half way", convention=convention, source=Peer(peer_id="p")))


def _submit(race: Race, name: str) -> None:
    sent = race.plane.submit(name, PromptInput("hello"))
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
    mail = ExternalEventInput("mail.arrived", None, source=External(source_name="mail"))
    outcome = race.plane.ingest(name, mail)
    race.plane.completion(name, outcome).result()


CALLS: dict[str, Callable[[Race, str], Any]] = {
    "ingest": _ingest,
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


def unanswered(
    seed: int, callers: ThreadPoolExecutor, drivers: DriverThreads, patience_s: float = WAIT_S
) -> int:
    """One race; how many waited in vain."""
    chance = random.Random(seed)
    plane = ControlPlane(
        MemoryStore(),
        echo,
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
    return sum(not _is_answered(each, patience_s) for each in (*calling, *race.waited_for))


def _is_answered(waited_for: Future[Any], patience_s: float) -> bool:
    try:
        error = waited_for.exception(patience_s)
    except FutureTimeoutError:
        return False
    assert error is None or isinstance(error, MeerkatError), error
    return True


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("drivers", list(DriverThreads), ids=str)
def test_every_call_that_races_with_the_end_is_answered(
    drivers: DriverThreads,
    part: int,
    sized: Callable[[int, int], int],
    figure: Callable[[str], None],
) -> None:
    races = range(part, sized(2_000, 100_000) // len(DriverThreads), PARTS)
    with ThreadPoolExecutor(CALLERS) as callers:
        left = {seed: found for seed in races if (found := unanswered(seed, callers, drivers))}
    figure(f"9 stop races: races {len(races)}; waits left unanswered {sum(left.values())}")
    assert len(races) >= 500
    assert left == {}, f"unanswered(seed, callers, {drivers}) for these seeds"


def test_a_stop_that_forgets_handles_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: handles that the end of a plane forgets, until the test has seen it."""
    end_all = Completions.end_all
    forgotten: list[tuple[Completions, CompletionOutcome]] = []
    monkeypatch.setattr(Completions, "end_all", lambda *ended: forgotten.append(ended))
    found = 0
    with ThreadPoolExecutor(CALLERS) as callers:
        for seed in range(50):
            found = found or unanswered(seed, callers, DriverThreads.POOLED, patience_s=0.5)
            for each in forgotten:
                end_all(*each)
            forgotten.clear()
    assert found > 0
