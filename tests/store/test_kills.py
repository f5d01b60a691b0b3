"""SIGKILL at any moment of accepting and running: nothing acknowledged is lost or run twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from store_processes import Child, child

from meerkat import (
    InputId,
    InputPhase,
    InputState,
    PersistentRuntimeDriver,
    RunBoundaryReceipt,
    RunOutput,
)
from meerkat.conversation import digest_of
from meerkat.json_values import canonical, parse
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.store import SqliteStore
from meerkat.testing.store_rows import R1, input_id, prompt

KILLS = 30
LINES_MAX = 25
RULES = Rules(limits=Limits(crash_attempts_max=10_000))
STEER = {"turn_metadata": {"handling_mode": "steer"}}


def recovered(store: SqliteStore) -> PersistentRuntimeDriver:
    driver = PersistentRuntimeDriver(R1, store, rules=RULES)
    if store.load_runtime(R1) is not None:
        driver.recover()
    return driver


def did(ids: Sequence[InputId]) -> RunOutput:
    return RunOutput(append=[{"did": [str(each) for each in ids]}])


def host(path: Path, first: int, it: Child) -> None:
    """Finish what is left, then accept, steer and run for ever, saying what has returned."""
    store = SqliteStore(path)
    driver = recovered(store)
    number = first
    while True:
        driver.accept_input(prompt(number, f"key-{number}"))
        it.say(f"accepted {number}")
        while driver.active_input_ids():
            contributors = driver.start_run().contributing_input_ids
            run_id = driver.current_run_id
            assert run_id is not None
            if number % 3 == 0:
                number += 1
                driver.accept_input(prompt(number, f"key-{number}", **STEER))
                it.say(f"accepted {number}")
                driver.commit_boundary(run_id, (input_id(number),), did([input_id(number)]))
                it.say(f"ran {number}")
            driver.complete_run(run_id, did(contributors))
            for each in contributors:
                it.say(f"ran {each.value.int}")
        number += 1


def check(store: SqliteStore, accepted: set[int], ran: set[int]) -> None:
    """What was said is true, and what is stored agrees with itself."""
    ended = {state.input_id.value.int: state for state in every_ended(store)}
    active = {state.input_id.value.int for state in store.load_active_inputs(R1)}
    assert accepted <= active | set(ended)
    assert ran <= set(ended)
    assert {state.phase for state in ended.values()} <= {InputPhase.CONSUMED}
    receipts = every_receipt(store)
    for _, of_run in groupby(receipts, key=lambda each: each.run_id):
        assert all(each.sequence == place for place, each in enumerate(of_run))
    proved = [each.value.int for receipt in receipts for each in receipt.contributing_input_ids]
    assert len(proved) == len(set(proved))
    assert set(proved) == set(ended)
    snapshot = store.load_session_snapshot(R1)
    messages = [] if snapshot is None else parse(snapshot.messages)
    done = [input_id for message in messages for input_id in message["did"]]
    assert sorted(done) == sorted(str(state.input_id) for state in ended.values())
    for each in receipts:
        prefix = messages[: each.message_count]
        assert each.conversation_digest == digest_of(canonical(prefix))
        assert prefix[-1] == {"did": [str(i) for i in each.contributing_input_ids]}


def every_ended(store: SqliteStore) -> list[InputState]:
    return list(store.page_terminal_inputs(R1, limit=100_000).items)


def every_receipt(store: SqliteStore) -> list[RunBoundaryReceipt]:
    return list(store.page_receipts(R1, limit=100_000).items)


def test_thirty_kills_lose_nothing_and_run_nothing_twice(path: Path) -> None:
    chance = random.Random(20260101)
    accepted: set[int] = set()
    ran: set[int] = set()
    for kill in range(KILLS):
        with child(lambda it, first=kill * 1000: host(path, first, it)) as it:
            said = [it.heard() for _ in range(chance.randrange(LINES_MAX))]
            said += it.kill()
        for line in said:
            what, number = line.split()
            (accepted if what == "accepted" else ran).add(int(number))
        store = SqliteStore(path)
        store.acquire()
        check(store, accepted, ran)
        recovered(store)
        check(store, accepted, ran)
        assert all(state.phase is InputPhase.QUEUED for state in store.load_active_inputs(R1))
        store.close()
    assert len(accepted) > KILLS
