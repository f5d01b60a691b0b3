"""Inputs that are offered through PostgreSQL: locks, lost sessions and rows that cannot be read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import psycopg
import pytest
from attrs import evolve
from shared_stores import Schema, a_schema

from meerkat import InputPhase, LogicalRuntimeId, fail_points
from meerkat.errors import (
    CommitUnknown,
    RecoveryCorruption,
    RuntimeNotReady,
    StoreError,
)
from meerkat.fail_points import FailPoint
from meerkat.outcomes import Accepted, Deduplicated
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import PostgresStore
from meerkat.testing.store_conformance.shared_base import kinds, offer
from meerkat.testing.store_rows import R1, R2, batch, input_id, prompt, row_of

WAIT_S = 120.0


@pytest.fixture
def schema() -> Iterator[Schema]:
    with a_schema() as made:
        yield made


def test_what_a_row_cannot_hold_fails_its_own_offer_only(schema: Schema) -> None:
    owner, other = schema.joined("owner"), schema.joined("other")
    ids = [LogicalRuntimeId(f"good-{number}") for number in range(5)]
    owner.commit_many([batch(each) for each in ids])
    fine = offer(1)
    bad = [
        evolve(fine, payload=b"\xff"),
        evolve(fine, state=evolve(fine.state, last_error="\udc80")),
    ]
    asked = [(ids[0], row) for row in bad]
    asked[1:1] = [(each, fine) for each in ids]
    answers = other.offer_many(asked)
    assert kinds(answers) == [StoreError, *[Accepted] * 5, StoreError]
    assert owner.offered() == ids


def test_a_known_input_that_cannot_be_read_is_the_answer_of_its_offer_alone(
    schema: Schema,
) -> None:
    owner, other = schema.joined("owner"), schema.joined("other")
    owner.commit_many([batch(R1, row_of(prompt(1))), batch(R2)])
    schema.run("UPDATE inputs SET state = '{}'")
    assert kinds(other.offer_many([(R1, offer(1)), (R2, offer(1))])) == [
        RecoveryCorruption,
        Accepted,
    ]


class Held:
    """Holds who comes to a fail point, until it is let go."""

    def __init__(self, point: FailPoint) -> None:
        self.point, self.come, self.go = point, threading.Event(), threading.Event()

    def __call__(self, point: FailPoint) -> None:
        if point is self.point and not self.come.is_set():
            self.come.set()
            assert self.go.wait(WAIT_S)

    def __enter__(self) -> Self:
        fail_points.watch(self)
        return self

    def __exit__(self, *_error: object) -> None:
        self.go.set()
        fail_points.unwatch(self)


def waits_for_a_lock(schema: Schema) -> bool:
    asked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    return bool(schema.run(asked)[0][0])


def test_a_runtime_that_is_retired_at_the_same_moment_takes_nothing_in(schema: Schema) -> None:
    owner, other = schema.joined("owner"), schema.joined("other")
    owner.commit(batch(R1))
    retires = batch(R1, after=1, fence=2, state=RuntimeState.RETIRED)
    with ThreadPoolExecutor(2) as pool, Held(FailPoint.COMMIT_DUE) as commit:
        committed = pool.submit(owner.commit, retires)
        assert commit.come.wait(WAIT_S)
        offered = pool.submit(other.offer_many, [(R1, offer(1))])
        while not waits_for_a_lock(schema):
            assert not offered.done()
        commit.go.set()
        committed.result(WAIT_S)
        assert kinds(offered.result(WAIT_S)) == [RuntimeNotReady]
    assert owner.load_active_inputs(R1) == []


def test_a_commit_waits_for_an_offer_of_its_runtime(schema: Schema) -> None:
    owner, other = schema.joined("owner"), schema.joined("other")
    owner.commit(batch(R1))
    with ThreadPoolExecutor(2) as pool, Held(FailPoint.COMMIT_DUE) as offering:
        offered = pool.submit(other.offer_many, [(R1, offer(1))])
        assert offering.come.wait(WAIT_S)
        retires = batch(R1, after=1, fence=2, state=RuntimeState.RETIRED)
        committed = pool.submit(owner.commit, retires)
        while not waits_for_a_lock(schema):
            assert not committed.done()
        offering.go.set()
        assert kinds(offered.result(WAIT_S)) == [Accepted]
        committed.result(WAIT_S)
    assert [each.input_id for each in owner.load_offered(R1)] == [input_id(1)]


# --- sessions that are lost -------------------------------------------------------------


def lose_the_answer(monkeypatch: pytest.MonkeyPatch, *, times: int = 1) -> None:
    """Have the next COMMITs happen, and the session lost before it is said."""
    execute = psycopg.Connection.execute
    left = [None] * times

    def losing(self: psycopg.Connection, query: object, *args: object, **options: object) -> object:
        answer = execute(self, query, *args, **options)
        if query == "COMMIT" and left:
            left.pop()
            with self.pipeline():  # its end waits for what was sent
                pass
            self.close()
            raise psycopg.OperationalError("the connection is lost")
        return answer

    monkeypatch.setattr(psycopg.Connection, "execute", losing)


def test_an_offer_whose_answer_is_lost_is_told_as_accepted(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = schema.joined("owner"), schema.joined("other")
    owner.commit(batch(R1, row_of(prompt(5, "old"))))
    lose_the_answer(monkeypatch)
    asked = [(R1, offer(1, "a")), (R1, offer(2, "a")), (R1, offer(1)), (R1, offer(6, "old"))]
    assert kinds(other.offer_many(asked)) == [Accepted, Deduplicated, Deduplicated, Deduplicated]
    assert [each.input_id for each in owner.load_offered(R1)] == [input_id(1)]


def test_an_offer_that_nobody_can_say_of_is_unknown(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = schema.joined("owner")
    owner.commit(batch(R1))
    other = PostgresStore(schema.url, schema=schema.name)
    lose_the_answer(monkeypatch)
    monkeypatch.setattr(
        other._offers._writer._patience, "tried", lambda attempt: _once(other, attempt)
    )
    with pytest.raises(CommitUnknown):
        other.offer_many([(R1, offer(1))])
    monkeypatch.undo()
    assert kinds(other.offer_many([(R1, offer(1))])) == [Deduplicated]
    other.close()


def _once(store: PostgresStore, attempt: object) -> object:
    try:
        return attempt()
    except Exception as error:
        raise store._address.says(error) from error


# --- reading ----------------------------------------------------------------------------


def test_an_end_that_cannot_be_read_hides_no_other(schema: Schema) -> None:
    one, two = schema.joined("one"), schema.joined("two")
    ended = row_of(prompt(1), InputPhase.CONSUMED)
    one.commit_many([batch(R1, ended), batch(R2, ended)])
    schema.run("UPDATE inputs SET state = '{}' WHERE runtime_id = %s", R1.value)
    found = two.load_ended([(R1, input_id(1)), (R2, input_id(1))])
    assert found == [(R2, evolve(ended.state, input=None))]
