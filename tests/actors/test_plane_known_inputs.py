"""Inputs offered in a burst: the store is asked once, and nothing is taken in twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    OpenPlane,
    error_of,
    operation,
    prompt,
    result_of,
    system_of,
    tell,
)
from plane_stores import FrozenDisk, StoreProxy

from actors import ControlPlane
from actors import messages as m
from actors.journal import Entry
from actors.replies import Reply
from meerkat import (
    Accepted,
    Deduplicated,
    IdempotencyKey,
    Input,
    InputId,
    InputState,
    LogicalRuntimeId,
    Rejected,
)
from meerkat.errors import CommitUnknown, RecoveryCorruption, StoreError
from meerkat.store import RuntimeStore, SqliteStore
from meerkat.testing import FaultyStore, When
from meerkat.testing.store_wrapper import COMMITS

A = LogicalRuntimeId("a")


class Asked(StoreProxy):
    """A store that notes what it is asked, and fails to answer when it is told to."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.asked: list[list[InputId]] = []
        self.failure: Callable[[Sequence[InputId]], BaseException | None] = lambda _ids: None

    def load_known_inputs(
        self, runtime_id: LogicalRuntimeId, ids: Sequence[InputId], keys: Sequence[IdempotencyKey]
    ) -> list[InputState]:
        self.asked.append(list(ids))
        error = self.failure(ids)
        if error is not None:
            raise error
        return self.inner.load_known_inputs(runtime_id, ids, keys)


@pytest.fixture
def store(path: Path) -> Asked:
    return Asked(SqliteStore(path))


@contextmanager
def busy(plane: ControlPlane, workers: int = 2) -> Iterator[None]:
    """The workers are busy elsewhere: what is offered meanwhile waits for one turn."""
    let_go, held = threading.Event(), []

    def hold(_memory: Any, _store: Any, here: threading.Event) -> None:
        here.set()
        let_go.wait(WAIT_S)

    for elsewhere in ("busy-1", "busy-2")[:workers]:
        here = threading.Event()
        query = m.Query(lambda memory, store, here=here: hold(memory, store, here), Reply())
        held.append(tell(plane, elsewhere, query))
        assert here.wait(WAIT_S)
    try:
        yield
    finally:
        let_go.set()
        for reply in held:
            reply.result(WAIT_S)


def opened(open_plane: OpenPlane, store: Any, executor: Agent | None = None) -> ControlPlane:
    plane = open_plane(executor, store=store)
    plane.register_many(["a", "busy-1", "busy-2"])
    return plane


def offered(plane: ControlPlane, *inputs: Input) -> list[Any]:
    """What becomes of inputs that are handled in one turn: their futures."""
    with busy(plane):
        return [plane.submit("a", each).accepted for each in inputs]


def burst(plane: ControlPlane, *inputs: Input) -> list[Any]:
    return [result_of(each) for each in offered(plane, *inputs)]


def existing(outcome: Any) -> InputId:
    assert isinstance(outcome, Deduplicated), outcome
    return outcome.existing_id


# --- one look ---------------------------------------------------------------------------


def test_the_store_is_asked_once_about_a_burst(open_plane: OpenPlane, store: Asked) -> None:
    plane = opened(open_plane, store)
    inputs = [prompt(str(number)) for number in range(20)]
    assert all(outcome.is_accepted for outcome in burst(plane, *inputs))
    (asked,) = store.asked
    assert set(asked) == {each.id for each in inputs}


def test_one_input_is_asked_for_by_itself(open_plane: OpenPlane, store: Asked) -> None:
    plane, alone = opened(open_plane, store), prompt()
    assert plane.ingest("a", alone).is_accepted
    assert store.asked == [[alone.id]]


def test_a_burst_of_what_the_store_knows_is_taken_in_once(
    open_plane: OpenPlane, store: Asked
) -> None:
    plane = opened(open_plane, store)
    first, second = operation(idempotency_key="k"), operation()
    burst(plane, first, second)
    outcomes = burst(plane, prompt(idempotency_key="k"), second, prompt(), first)
    assert isinstance(outcomes.pop(2), Accepted)
    assert [existing(each) for each in outcomes] == [first.id, second.id, first.id]


# --- duplicates in a burst --------------------------------------------------------------


def test_of_one_key_or_id_the_first_is_taken_in(open_plane: OpenPlane, store: Asked) -> None:
    plane = opened(open_plane, store)
    first, twice = prompt(idempotency_key="k"), prompt()
    outcomes = burst(plane, first, twice, prompt(idempotency_key="k"), twice, first)
    assert [type(each) for each in outcomes[:2]] == [Accepted, Accepted]
    assert [existing(each) for each in outcomes[2:]] == [first.id, twice.id, first.id]
    assert plane.active_input_ids("a") == [first.id, twice.id]


def test_the_first_may_end_as_it_is_taken_in(open_plane: OpenPlane, store: Asked) -> None:
    """It is in no lane, and not on disk yet."""
    plane, first = opened(open_plane, store), operation(idempotency_key="k")
    accepted, by_key, by_id = burst(plane, first, operation(idempotency_key="k"), first)
    assert isinstance(accepted, Accepted)
    assert existing(by_key) == existing(by_id) == first.id
    assert plane.active_input_ids("a") == []


def test_the_first_may_have_landed_within_the_same_turn(
    open_plane: OpenPlane, store: Asked
) -> None:
    """Its end is known to the store alone, since it was asked about the burst."""
    plane, first = opened(open_plane, store), operation(idempotency_key="k")
    landed = threading.Event()
    journal = system_of(plane).journal
    submit = journal.submit

    def watched(entry: Entry) -> None:
        def also(error: Any) -> None:
            entry.tell(error)
            landed.set()

        submit(Entry(entry.runtime_id, entry.batch, also))

    journal.submit = watched
    again: list[Any] = []

    def in_turn(_memory: Any, _store: Any) -> None:
        assert landed.wait(WAIT_S)  # behind this message, ahead of what is offered now
        offers = (first, operation(idempotency_key="k"))
        again.extend(plane.submit("a", each).accepted for each in offers)

    with busy(plane):
        accepted = plane.submit("a", first).accepted
        plane.submit("a", operation())
        asked = tell(plane, "a", m.Query(in_turn, Reply()))
    asked.result(WAIT_S)
    assert isinstance(result_of(accepted), Accepted)
    assert [existing(result_of(each)) for each in again] == [first.id, first.id]


def test_one_that_has_ended_since_is_known_when_it_comes_again(
    open_plane: OpenPlane, store: Asked
) -> None:
    plane = opened(open_plane, store, Agent())
    ended, run = operation(), prompt(idempotency_key="k")
    with busy(plane):
        taken = plane.submit("a", run)
        plane.submit("a", ended)
    result_of(taken.completion)
    for again in (ended, run, prompt(idempotency_key="k")):
        outcome = plane.ingest("a", again)
        assert existing(outcome) in {ended.id, run.id}


def test_one_that_was_refused_may_come_again_under_the_key_of_another(
    open_plane: OpenPlane, store: Asked
) -> None:
    plane = opened(open_plane, store)
    ended = operation(idempotency_key="k")
    plane.ingest("a", ended)
    refused = prompt(durability="derived")
    outcomes = burst(plane, refused, prompt())
    assert isinstance(outcomes[0], Rejected)
    again = prompt(id=refused.id, idempotency_key="k")
    assert existing(plane.ingest("a", again)) == ended.id


# --- a disk that fails ------------------------------------------------------------------


@pytest.mark.parametrize("landed", [True, False])
def test_a_burst_whose_commit_failed_can_be_offered_again(
    open_plane: OpenPlane, path: Path, landed: bool
) -> None:
    """Some of it may be on disk, though the driver was told otherwise."""
    when, error = When.AFTER if landed else When.BEFORE, CommitUnknown("who knows")
    disk = FaultyStore(SqliteStore(path), error=error, when=when, calls=COMMITS)
    plane = opened(open_plane, disk)
    first, second = prompt(idempotency_key="k"), prompt()
    disk.fail_next()
    failed = offered(plane, first, second, prompt(idempotency_key="k"), second)
    assert all(isinstance(error_of(each), StoreError) for each in failed)
    one = plane.ingest("a", first)  # alone: what was known of the burst is not asked
    assert (existing(one) == first.id) if landed else isinstance(one, Accepted)
    outcomes = burst(plane, first, prompt(idempotency_key="k"), second, second)
    assert existing(outcomes[0]) == existing(outcomes[1]) == first.id
    assert existing(outcomes[3]) == second.id
    assert sorted(plane.active_input_ids("a"), key=str) == sorted([first.id, second.id], key=str)


def test_a_burst_offered_while_a_commit_is_on_its_way_to_fail(
    open_plane: OpenPlane, path: Path
) -> None:
    """What was known before the failure is asked for anew after it."""

    class Failing(FrozenDisk):
        fails = False

        def commit_many(self, batches: Sequence[Any]) -> list[StoreError | None]:
            answers = super().commit_many(batches)
            return [CommitUnknown("who knows")] * len(batches) if self.fails else answers

    disk = Failing(SqliteStore(path))
    plane = opened(open_plane, disk)
    ended = operation(idempotency_key="k")
    disk.freeze()
    disk.fails = True
    lost = plane.submit("a", ended)
    assert disk.stuck.wait(WAIT_S)
    with busy(plane, workers=1):  # the other one has the disk to wait for
        offers = (prompt(), ended, operation(idempotency_key="k"))
        stashed = [plane.submit("a", each).accepted for each in offers]
    disk.thaw()
    assert isinstance(error_of(lost.accepted), StoreError)
    assert all(isinstance(error_of(each), StoreError) for each in stashed)
    disk.fails = False
    assert existing(plane.ingest("a", operation(idempotency_key="k"))) == ended.id


def test_where_the_store_cannot_be_asked_each_caller_is_answered_by_itself(
    open_plane: OpenPlane, store: Asked
) -> None:
    plane = opened(open_plane, store)
    waiting = prompt(idempotency_key="k")
    plane.ingest("a", waiting)
    store.failure = lambda _ids: StoreError("cannot read")
    one, other, known = offered(plane, prompt(), prompt(), prompt(idempotency_key="k"))
    for each in (one, other):
        error = error_of(each)
        assert isinstance(error, StoreError)
        assert "cannot read" in str(error)
    assert error_of(one) is not error_of(other)
    assert existing(result_of(known)) == waiting.id  # memory knows
    store.failure = lambda _ids: None
    assert all(each.is_accepted for each in burst(plane, prompt(), prompt()))


def test_a_store_that_fails_for_many_is_asked_for_each(open_plane: OpenPlane, store: Asked) -> None:
    plane = opened(open_plane, store)
    store.failure = lambda ids: StoreError("too many") if len(ids) > 1 else None
    first = prompt()
    assert [type(each) for each in burst(plane, first, prompt(), first)] == [
        Accepted,
        Accepted,
        Deduplicated,
    ]


@pytest.mark.parametrize("defect", [RecoveryCorruption, ZeroDivisionError])
def test_one_row_that_cannot_be_read_is_its_own_callers_alone(
    open_plane: OpenPlane, store: Asked, defect: Callable[[str], BaseException]
) -> None:
    plane = opened(open_plane, store)
    bad, good = prompt(), prompt()
    store.failure = lambda ids: defect("spoilt") if bad.id in ids else None
    of_good, of_bad = offered(plane, good, bad)
    assert error_of(of_bad) is not None
    if defect is RecoveryCorruption:
        assert result_of(of_good).is_accepted
        assert plane.active_input_ids("a") == [good.id]
    store.failure = lambda _ids: None
    assert plane.ingest("a", bad).is_accepted
