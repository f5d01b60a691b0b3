"""Test 14: several processes over one PostgreSQL, one of which is killed, or stands still.

The recorded sessions are worked by two processes that offer to each other; one of them is
killed every now and then and comes back, under its name or another. Whatever had a lease that
was over finds its commits refused, and what it was asked for is told by who did the work.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from sharing_programs import GO_ON, LIMITS, RENEW, SESSIONS, STOPPED

from meerkat import LogicalRuntimeId, RunId
from meerkat.store import MemoryStore, PostgresStore, RuntimeStore
from meerkat.testing.invariants import Promises, check_store
from meerkat.testing.postgres_server import PostgresServer
from meerkat.testing.processes import Child, Children
from meerkat.testing.store_rows import R1, batch, input_id, prompt, receipt, row_of

if str(SESSIONS) not in sys.path:
    sys.path.insert(0, str(SESSIONS))

import airline
import checks

Sized = Callable[[int, int], int]
Figure = Callable[[str], None]

LEASE_S = 1.0
SILENT_S, LOOK_S = 60.0, 0.02
RUNS_A_KILL = 6
"""From one kill to the next, in the process that it meets, in the middle."""


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(["sharing_programs", "psycopg"]) as children:
        yield children


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A process that is killed takes nothing with it that PostgreSQL has: it need not sync."""
    with PostgresServer(durable=False) as server:
        yield server


class InTime(Promises):
    """What several processes say, each in its own order: calls are noted by their time."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[float, str, str, list[str]]] = []

    def called(self, runtime_id: Any, run_id: Any, input_ids: Any, at: float = 0.0) -> None:
        self._calls.append((at, runtime_id, run_id, input_ids))

    def count(self, store: RuntimeStore) -> None:
        calls, self._calls = sorted(self._calls), []
        for _, runtime_id, run_id, input_ids in calls:
            super().called(runtime_id, run_id, input_ids)
        super().count(store)


def consumed_twice(store: RuntimeStore, sessions: Sequence[str]) -> int:
    """Inputs that more than one receipt names."""
    named = Counter(
        input_id
        for name in sessions
        for receipt in checks.all_receipts(store, LogicalRuntimeId(name))
        for input_id in receipt.contributing_input_ids
    )
    return sum(times > 1 for times in named.values())


def differing(store: RuntimeStore, sessions: Sequence[str]) -> int:
    """Sessions whose messages are not those of the recording."""
    found = {name: store.load_session_snapshot(LogicalRuntimeId(name)) for name in sessions}
    recorded = airline.recorded_sessions()
    return sum(
        snapshot is None or json.loads(snapshot.messages) != recorded[name]
        for name, snapshot in found.items()
    )


# --- killed -----------------------------------------------------------------------------


@define
class Pair:
    """Two processes; each has one half of the sessions, and offers the inputs of the other."""

    children: Children
    place: tuple[str, str]
    halves: tuple[list[str], list[str]]
    promises: InTime = field(factory=InTime)
    lives: list[Child] = field(factory=list)
    said: list[Counter[str]] = field(factory=list)
    kills: int = 0

    def begin(self) -> None:
        self.lives = [self._start(number, f"process-{number}") for number in range(2)]
        self.said = [Counter(), Counter()]

    def _start(self, number: int, name: str) -> Child:
        arguments = (self.place, name, LEASE_S, (self.halves[number], self.halves[1 - number]))
        return self.children.start("sharing_programs:replay", *arguments, promises=self.promises)

    def hear(self, enough: Callable[[], bool]) -> None:
        """Hear both, as one that nobody hears goes no further, until they have said enough."""
        silent_s = 0.0
        while not enough():
            silent_s += LOOK_S
            for child, said in zip(self.lives, self.said, strict=True):
                heard = child.listen(LOOK_S / 2)
                said.update(words[0] for words in heard)
                silent_s = 0.0 if heard else silent_s
            assert silent_s < SILENT_S, f"nobody says anything any more, after {self.said}"

    def kill(self, number: int, name: str, calls: int) -> bool:
        """SIGKILL once it has begun so many runs, and another in its place; else nothing."""
        said = self.said[number]
        self.hear(lambda: said["called"] >= calls or said["heard"] > 0)
        if said["heard"]:
            return False
        assert self.lives[number].kill()
        self.kills += 1
        self.lives[number], self.said[number] = self._start(number, name), Counter()
        return True

    def hear_out(self) -> None:
        """Wait until both have heard the end of everything that they have offered."""
        self.hear(lambda: all(said["heard"] for said in self.said))
        for child in self.lives:
            child.kill()


def work_and_kill(pair: Pair, chance: random.Random, kills_max: int) -> None:
    """Work all sessions, with so many kills at most; fewer when the work is done before."""
    pair.begin()
    for kill in range(kills_max):
        number = chance.randrange(2)
        # Under its name it has its runtimes back at once; under another a lease is waited out.
        name = f"process-{number}" if kill % 2 else f"process-{number}-{kill}"
        if not pair.kill(number, name, chance.randrange(1, 2 * RUNS_A_KILL)):
            break
    pair.hear_out()


@airline.needs_recordings
@pytest.mark.timeout(0)
def test_sessions_of_two_processes_that_are_killed_come_out_right(
    children: Children, server: PostgresServer, sized: Sized, figure: Figure
) -> None:
    names, chance = list(airline.recorded_sessions())[: sized(24, 100)], random.Random(14)
    counted = Counter[str]()
    while counted["kills"] < sized(6, 100):
        place = (server.url, f"airline_{counted['rounds']}")
        pair = Pair(children, place, (names[::2], names[1::2]))
        work_and_kill(pair, chance, sized(6, 25))
        store, promises = PostgresStore(place[0], schema=place[1]), pair.promises
        promises.count(store)
        counted.update(rounds=1, kills=pair.kills, differ=differing(store, names))
        counted.update(acknowledged=promises.acknowledged, lost=promises.lost)
        counted.update(cut=promises.calls - promises.acknowledged, again=promises.run_again)
        counted.update(twice=consumed_twice(store, names))
        assert differing(store, names) == 0
        promises.check(store)
        checks.check_replayed(store, sessions=names)
        check_store(store, limits=LIMITS)
        store.close()
    figure(
        f"14 several processes, killed: kills {counted['kills']}; "
        f"sessions {counted['rounds'] * len(names)}; "
        f"transcripts that differ {counted['differ']}; "
        f"inputs acknowledged {counted['acknowledged']}; "
        f"acknowledged inputs lost {counted['lost']}; runs cut off {counted['cut']}; "
        f"consumed twice {counted['twice']}; receipted work run again {counted['again']}"
    )
    assert counted["twice"] == 0
    assert counted["cut"] >= counted["kills"], "the kills met too few runs"


# --- stopped ----------------------------------------------------------------------------

STOPPED_SESSIONS = ("a", "b", "c")


def stand_still(
    children: Children, server: PostgresServer, folder: Path, promises: InTime
) -> tuple[int, int]:
    """Stop an owner, have another take over, and let it go on.

    Gives the runtimes that it says were taken over, and its commits that were refused.
    """
    for pipe in (GO_ON, RENEW):
        os.mkfifo(folder / pipe)
    mine = (server.url, folder, LEASE_S, STOPPED_SESSIONS)
    owner = children.start("sharing_programs:be_stopped", *mine, promises=promises)
    heard(owner, "began", len(STOPPED_SESSIONS))
    (folder / STOPPED).touch()
    owner.signal(signal.SIGSTOP)
    other = children.start(
        "sharing_programs:take_over", server.url, folder, LEASE_S, promises=promises
    )
    assert {attempt for _, attempt in heard(other, "worked", len(STOPPED_SESSIONS))} == {2}
    owner.signal(signal.SIGCONT)
    (folder / GO_ON).write_bytes(b"")
    (reasons,) = heard(owner, "notices")[0]
    assert reasons == ["taken over by Q"] * len(STOPPED_SESSIONS)
    ((taken_over, refused),) = heard(owner, "figures")
    assert heard(owner, "ended", len(STOPPED_SESSIONS)) == [["Q"]] * len(STOPPED_SESSIONS)
    assert heard(owner, "refused") == [["owned_elsewhere", "Q"]]
    owner.end()
    other.kill()
    return taken_over, refused


def heard(child: Child, word: str, times: int = 1) -> list[list[Any]]:
    """What a child says with a word, so many times."""
    found: list[list[Any]] = []
    while len(found) < times:
        said = child.hear()
        assert said is not None, f"it ended before it said {word}"
        if said[0] == word:
            found.append(list(said[1:]))
    return found


@pytest.mark.timeout(0)
def test_an_owner_that_stood_still_has_its_commits_refused_and_tells_what_the_other_did(
    children: Children, server: PostgresServer, sized: Sized, figure: Figure
) -> None:
    stops, counted = sized(2, 40), Counter[str]()
    for _ in range(stops):
        promises = InTime()
        with tempfile.TemporaryDirectory(prefix="stopped_") as name:
            folder = Path(name)
            taken_over, refused = stand_still(children, server, folder, promises)
            store = PostgresStore(server.url, schema=folder.name)
        assert taken_over == refused == len(STOPPED_SESSIONS)
        promises.check(store)
        check_store(store, limits=LIMITS)
        twice = consumed_twice(store, STOPPED_SESSIONS)
        store.close()
        counted.update(taken_over=taken_over, refused=refused, twice=twice)
        counted.update(acknowledged=promises.acknowledged, lost=promises.lost)
    figure(
        f"14 several processes, stopped: owners stopped and let go on {stops}; "
        f"runtimes taken over meanwhile {counted['taken_over']}; "
        f"commits refused {counted['refused']}; "
        f"acknowledged inputs lost {counted['lost']}; consumed twice {counted['twice']}"
    )
    assert counted["twice"] == counted["lost"] == 0


# --- controls ---------------------------------------------------------------------------


def proven(store: RuntimeStore, runtime_id: LogicalRuntimeId, *runs: RunId) -> None:
    """Have one input in the receipts of these runs, as no rule allows but for one of them."""
    for number, run_id in enumerate(runs, start=1):
        row = (row_of(prompt(1)),) if number == 1 else ()
        proof = (receipt(run_id=run_id),)
        store.commit(batch(runtime_id, *row, after=number - 1, fence=number, receipts=proof))


@airline.needs_recordings
def test_what_is_consumed_twice_and_what_differs_is_found() -> None:
    store, names = MemoryStore(), list(airline.recorded_sessions())[:2]
    proven(store, LogicalRuntimeId(names[0]), RunId.new(), RunId.new())
    assert consumed_twice(store, names) == 1
    assert differing(store, names) == len(names)


@pytest.mark.parametrize(("at", "again"), [(1.0, 1), (-1.0, 0)])
def test_work_that_is_run_again_is_found_in_whatever_order_it_is_heard(
    at: float, again: int
) -> None:
    store, promises, run_id = MemoryStore(), InTime(), RunId.new()
    proven(store, R1, run_id)
    promises.called(str(R1), str(RunId.new()), [str(input_id(1))], at)
    promises.called(str(R1), str(run_id), [str(input_id(1))], 0.0)
    promises.count(store)
    assert promises.run_again == again
