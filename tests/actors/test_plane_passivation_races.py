"""Passivation at any moment: nothing acknowledged is lost, events never go back, and a plane
that passivates all the time does what one that never does would do.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from passivation_builders import passivations
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    continuation,
    event,
    operation,
    progress,
    prompt,
    read_of,
    request,
    result_of,
    steered,
    system_of,
)

from actors import ControlPlane, DriverThreads
from actors.subscriptions import Subscription
from meerkat import EventGap, LogicalRuntimeId, RunContext, RuntimeEventEnvelope
from meerkat.errors import ApplyFailed, InvalidState, Overloaded
from meerkat.events import ProjectionEvent
from meerkat.limits import Backoff, Limits
from meerkat.store import MemoryStore, SqliteStore

RUNTIMES = ("a", "b", "c")


def insist(offer: Any, *arguments: Any) -> Any:
    """Offer again what was told Overloaded."""
    while True:
        try:
            return offer(*arguments)
        except Overloaded as refused:
            assert refused.limit == "live_runtimes_max"  # noqa: PT017


class Flood:
    """Threads that offer inputs to runtimes at random, and what was acknowledged to them."""

    def __init__(self, plane: ControlPlane, inputs: int) -> None:
        self.accepted: list[tuple[str, Any]] = []
        self.handles: list[Any] = []
        self._plane = plane
        self._inputs = inputs

    def perform(self, threads: int) -> None:
        running = [threading.Thread(target=self._offer, args=(each,)) for each in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    def _offer(self, number: int) -> None:
        chance = random.Random(number)
        for count in range(self._inputs):
            name = chance.choice(RUNTIMES)
            offered = prompt(f"{number}/{count}", idempotency_key=f"{number}/{count}")
            if count % 2:
                outcome = insist(self._plane.ingest, name, offered)
            else:
                submission = insist(self._plane.submit, name, offered)
                self.handles.append(submission.completion)
                outcome = result_of(submission.accepted)
            self.accepted.append((name, outcome.input_id))


def numbers_told(events: Subscription) -> dict[str, list[int]]:
    """The numbers of what is there to read, by runtime."""
    told: dict[str, list[int]] = defaultdict(list)
    while (each := events.next_within(0.05)) is not None:
        assert isinstance(each, RuntimeEventEnvelope)
        told[str(each.runtime_id)].append(each.sequence)
    return told


@pytest.mark.parametrize("live_max", [1, 2, 100])
@pytest.mark.parametrize("acted", [True, False], ids=["run", "kept"])
def test_what_is_acknowledged_while_runtimes_come_and_go_is_there(
    open_plane: OpenPlane, path: Path, live_max: int, *, acted: bool
) -> None:
    """Four threads, three runtimes, hundreds of inputs; half of the inputs are waited for."""
    limits = Limits(
        live_runtimes_max=live_max, events_per_runtime_max=10**6, events_per_process_max=10**6
    )
    plane = open_plane(Agent() if acted else None, limits=limits, passivate_after=0.0001)
    plane.register_many(RUNTIMES)
    flood = Flood(plane, 150 if acted else 50)
    with plane.subscribe() as events:
        flood.perform(4)
        for handle in flood.handles if acted else ():
            result_of(handle)
        for name in RUNTIMES:
            while acted and plane.active_input_ids(name):
                pass
        told = numbers_told(events)
    assert passivations(plane) > (10 if live_max < len(RUNTIMES) else 0)
    for numbers in told.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if not acted:
        waiting = [(name, each) for name in RUNTIMES for each in plane.active_input_ids(name)]
        assert sorted(waiting, key=str) == sorted(flood.accepted, key=str)
    plane.stop()
    assert all(handle.done() for handle in flood.handles)
    store = SqliteStore(path)
    for name, input_id in flood.accepted:
        state = store.load_input(LogicalRuntimeId(name), input_id)
        assert state is not None
        assert (state.is_terminal, state.recovery_count) == (acted, 0)


@pytest.mark.parametrize("live_max", [1, 2])
def test_one_subscription_sees_every_event_once(open_plane: OpenPlane, live_max: int) -> None:
    plane = open_plane(
        Agent(),
        store=MemoryStore(),
        limits=Limits(live_runtimes_max=live_max, events_per_runtime_max=10**6),
        passivate_after=0.0001,
    )
    plane.register_many(RUNTIMES)
    with plane.subscribe("a") as events:
        handles = []
        for count in range(80):
            handles.append(insist(plane.submit, "a", prompt(str(count))))
            insist(plane.ingest, "bc"[count % 2], operation())
        for each in handles:
            result_of(each.completion)
        plane.publish_event(RuntimeEventEnvelope(runtime_id="a", event=ProjectionEvent("last")))
        told: list[Any] = []
        while not told or str(told[-1].event.code) != "runtime.projection_emitted":
            told.append(events.next_within(WAIT_S))
            assert not isinstance(told[-1], EventGap)
    numbers = [each.sequence for each in told]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    consumed = [each for each in told if str(each.event.code) == "input.consumed"]
    assert len(consumed) == 80


# --- beside a plane that never passivates -----------------------------------------------


def fails_at_times(called: Called, _context: RunContext) -> None:
    """By what is said, not by chance: both planes see the same."""
    if "fail" in called.text and called.attempt == 1:
        raise ApplyFailed("the first time")


Step = tuple[str, str, Any]


def steps(seed: int, count: int) -> list[Step]:
    chance = random.Random(seed)
    made: list[Step] = []
    for number in range(count):
        name, key = chance.choice("abc"), f"k{chance.randrange(count)}"
        kind = chance.randrange(16)
        offered: dict[int, Any] = {
            0: lambda k=key: steered(f"s{k}", idempotency_key=k),
            1: lambda k=key: event(k, idempotency_key=k),
            2: lambda k=key: operation(idempotency_key=k),
            3: lambda k=key: progress(k, idempotency_key=k),
            4: lambda k=key: request(idempotency_key=k),
            5: lambda k=key: continuation(idempotency_key=k),
            6: lambda k=key, n=number: prompt(f"fail {n}", idempotency_key=k),
        }
        if kind in offered:
            made.append(("ingest", name, offered[kind]()))
        elif kind < 10:
            made.append(("ingest", name, prompt(f"p{number}", idempotency_key=key)))
        elif kind == 10:
            made.append(("set_silent_intents", name, ["mob.peer_added"] * chance.randrange(2)))
        else:
            call = ["reset", "recycle", "recover", "wake", "runtime_state"][kind - 11]
            made.append((call, name, None))
    return made


def is_at_work(memory: Any, _store: Any) -> bool:
    return memory.head.run is not None or bool(memory.head.held) or memory.runnable


def seen_of(plane: ControlPlane, script: list[Step]) -> list[Any]:
    """What a host is answered, with all that is under way finished before the next step."""
    seen: list[Any] = []
    ids: dict[Any, str] = {}
    for call, name, argument in script:
        try:
            answer = getattr(plane, call)(name, *([] if argument is None else [argument]))
        except InvalidState as refused:
            answer = refused.code
        if call == "ingest":
            named = ids.setdefault(
                getattr(answer, "existing_id", None) or answer.input_id, argument
            )
            answer = (type(answer).__name__, named.kind, named.idempotency_key)
        elif call == "recover":
            answer = answer.inputs_recovered
        while read_of(plane, name, is_at_work):
            pass
        state = str(plane.runtime_state(name))
        seen.append((call, name, answer, state, len(plane.active_input_ids(name))))
    return seen


@pytest.mark.parametrize("seed", range(6))
def test_a_plane_that_passivates_answers_as_one_that_never_does(seed: int) -> None:
    script = steps(seed, 120)
    seen: list[list[Any]] = []
    told: list[list[Any]] = []
    messages: list[Any] = []
    for rest_s, live_max in ((None, 100), (0.0001, 1), (0.0001, 2)):
        store = MemoryStore()
        plane = ControlPlane(
            store,
            Agent(fails_at_times),
            limits=Limits(live_runtimes_max=live_max),
            backoff=Backoff(base_s=0.0),
            passivate_after=rest_s,
            drivers=list(DriverThreads)[seed % 2],
        )
        with plane:
            plane.register_many(RUNTIMES)
            with plane.subscribe() as events:
                seen.append(seen_of(plane, script))
                codes: dict[str, list[Any]] = defaultdict(list)
                while (each := events.next_within(0.05)) is not None:
                    assert isinstance(each, RuntimeEventEnvelope)
                    codes[str(each.runtime_id)].append((each.sequence, str(each.event.code)))
                told.append(sorted(codes.items()))
            assert (passivations(plane) > 20) is (rest_s is not None)
            assert len(system_of(plane).directory) <= live_max
            messages.append(
                [store.load_session_snapshot(LogicalRuntimeId(name)) for name in RUNTIMES]
            )
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]
    assert told[1] == told[0]
    assert told[2] == told[0]
    assert messages[1] == messages[0] == messages[2]
