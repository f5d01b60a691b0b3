"""Test 13: PostgreSQL is stopped at once under load, and started again, again and again.

Half of the stops come from within a commit, at each point of its way; half whenever they come.
Eight callers go on meanwhile: they offer one by one, and many at a time, and offer again with the
same key what was refused or is in doubt. What was acknowledged is consumed, once; each wait ends.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import count
from typing import Any

import psycopg
import pytest
from attrs import define, field

from actors import ControlPlane
from meerkat import PromptInput, RunContext, RunOutput, StagedInput, fail_points
from meerkat.errors import MeerkatError
from meerkat.fail_points import FailPoint
from meerkat.limits import Backoff, Limits
from meerkat.outcomes import Accepted, CompletionKind, Deduplicated
from meerkat.store import PostgresStore, postgres_session
from meerkat.testing.invariants import Promises, check_store, observed
from meerkat.testing.kill_load import check_all_done, check_load
from meerkat.testing.postgres_server import PostgresServer
from meerkat.testing.store_rows import R1, batch, prompt, row_of

WAIT_S = 60.0
"""Past this a wait has no answer: the store waits half as long for its server."""
CALLERS = 8
SESSIONS = 5
BURST = 6
BETWEEN = 25
"""Inputs that are acknowledged from one stop to the next, at least."""

LIMITS = Limits(crash_attempts_max=1_000_000)
STOPS_AT = (
    FailPoint.TRANSACTION_BEGUN,
    FailPoint.ROWS_WRITTEN,
    FailPoint.COMMIT_DUE,
    FailPoint.COMMIT_DONE,
    FailPoint.RUNTIME_READ,
)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as made:
        yield made


@define
class Load:
    """Callers who offer inputs and wait for what becomes of them, until it is over."""

    promises: Promises
    over: threading.Event = field(factory=threading.Event)
    told: threading.Condition = field(factory=threading.Condition)
    acknowledged: int = 0
    unanswered: list[str] = field(factory=list)
    errors: Counter[str] = field(factory=Counter)

    def answer(self, context: RunContext, primitive: StagedInput) -> RunOutput:
        ids = primitive.contributing_input_ids
        self.promises.called(context.runtime_id, context.run_id, ids)
        return RunOutput(append=[{"done": [str(each) for each in ids]}])

    def call(self, plane: ControlPlane, number: int) -> None:
        """What one caller does: even ones offer one by one, odd ones many at a time."""
        chance = random.Random(number)
        for turn in count():
            if self.over.is_set() or self.unanswered:
                return
            names = [f"{number}-{turn}-{each}" for each in range(BURST if number % 2 else 1)]
            rest = {name: f"session-{chance.randrange(SESSIONS)}" for name in names}
            while rest and not self.unanswered:
                rest = self._offered(plane, rest)

    def _offered(self, plane: ControlPlane, names: dict[str, str]) -> dict[str, str]:
        """Offer inputs by their keys, and wait for all of it; those to be offered again."""
        sent = {}
        for name, session in names.items():
            try:
                sent[name] = plane.submit(session, PromptInput(name, idempotency_key=name))
            except MeerkatError as error:
                self.errors[type(error).__name__] += 1
        again = {name: session for name, session in names.items() if name not in sent}
        for name, each in sent.items():
            outcome = self._waited(name, each.accepted)
            ended = self._waited(name, each.completion)
            if not isinstance(outcome, (Accepted, Deduplicated)):
                again[name] = names[name]
                continue
            known = outcome.input_id if isinstance(outcome, Accepted) else outcome.existing_id
            self._acknowledge(names[name], known)
            if ended is not None:
                self.promises.resolved(names[name], known, ended)
                assert ended.kind is CompletionKind.COMPLETED_WITHOUT_RESULT
        return again

    def _waited(self, name: str, future: Future[Any]) -> Any:
        """What a wait gave; None for an error of ours. After one in vain, soon."""
        try:
            return future.result(1.0 if self.unanswered else WAIT_S)
        except MeerkatError as error:
            self.errors[type(error).__name__] += 1
        except FutureTimeoutError:
            self.unanswered.append(name)
        return None

    def _acknowledge(self, session: str, known: Any) -> None:
        self.promises.accepted(session, known)
        with self.told:
            self.acknowledged += 1
            self.told.notify_all()

    def more(self, wanted: int) -> bool:
        """Wait until so many more are acknowledged."""
        with self.told:
            until = self.acknowledged + wanted
            enough = self.told.wait_for(
                lambda: self.acknowledged >= until or bool(self.unanswered), 2 * WAIT_S
            )
        return enough and not self.unanswered


def stop_within(server: PostgresServer, point: FailPoint) -> threading.Event:
    """Have the server stopped and started on the thread that comes to a point next."""
    happened, armed = threading.Event(), threading.Lock()

    def watcher(reached: FailPoint) -> None:
        if reached is point and armed.acquire(blocking=False):
            fail_points.unwatch(watcher)
            server.restart_at_once()
            happened.set()

    fail_points.watch(watcher)
    return happened


def restart(server: PostgresServer, number: int, chance: random.Random) -> None:
    """One stop: within a commit every other time, at the next of its points; else just now."""
    if number % 2:
        point = STOPS_AT[number // 2 % len(STOPS_AT)]
        assert stop_within(server, point).wait(WAIT_S), f"{point} was not reached"
    else:
        threading.Event().wait(chance.uniform(0, 0.02))
        server.restart_at_once()


def consumed_twice(store: PostgresStore) -> int:
    """Inputs that more than one receipt names."""
    named = Counter(
        (runtime_id, input_id)
        for runtime_id, moment in observed(store).items()
        for receipt in moment.receipts.values()
        for input_id in receipt.contributing_input_ids
    )
    return sum(times > 1 for times in named.values())


@pytest.mark.timeout(0)
def test_a_server_that_is_stopped_under_load_loses_nothing(
    server: PostgresServer, sized: Callable[[int, int], int], figure: Callable[[str], None]
) -> None:
    load, chance, restarts = Load(Promises()), random.Random(13), sized(3, 20)
    store = PostgresStore(server.url)
    plane = ControlPlane(
        store, load.answer, limits=LIMITS, backoff=Backoff(base_s=0.0), passivate_after=0.05
    )
    with plane, ThreadPoolExecutor(CALLERS) as callers:
        plane.register_many([f"session-{number}" for number in range(SESSIONS)], timeout=WAIT_S)
        calling = [callers.submit(load.call, plane, number) for number in range(CALLERS)]
        try:
            for number in range(restarts):
                assert load.more(BETWEEN), "nobody is answered any more"
                restart(server, number, chance)
            assert load.more(BETWEEN), "nobody is answered any more"
        finally:
            load.over.set()
        for each in calling:
            each.result(2 * WAIT_S)
    load.promises.count(store)
    figure(
        f"13 PostgreSQL restarted: stops at once {restarts}; "
        f"inputs acknowledged {load.promises.acknowledged}; "
        f"acknowledged inputs lost {load.promises.lost}; consumed twice {consumed_twice(store)}; "
        f"receipted work run again {load.promises.run_again}; "
        f"waits unanswered {len(load.unanswered)}"
    )
    assert load.unanswered == []
    assert consumed_twice(store) == 0
    load.promises.check(store)
    check_all_done(store)
    check_load(store)
    check_store(store, limits=LIMITS)
    assert load.promises.acknowledged >= restarts * BETWEEN
    store.close()


def test_a_server_that_is_not_waited_for_is_found(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a commit that is told before it is on disk is gone with the server."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    server.restart_at_once()
    hasty = "SELECT set_config('synchronous_commit', 'off', false)"
    monkeypatch.setattr(postgres_session, "_KEEP_WAITING", hasty)
    promises, store = Promises(), PostgresStore(server.url)
    store.commit(batch(R1))
    for number in range(1, 11):
        row = row_of(prompt(number))
        store.commit(batch(R1, row, after=number, fence=number + 1))
        promises.accepted(R1, row.state.input_id)
    server.restart_at_once()
    promises.count(PostgresStore(server.url))
    assert promises.lost > 0
