"""Retention in a running plane: the past goes in the background, and nobody notices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from boundary_builders import A, commit, ingested
from plane_builders import (
    HUNG_S,
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    Puppet,
    decided,
    logged,
    prompt,
    result_of,
    steered,
)
from plane_stores import StoreProxy

import actors.retention
from actors import ControlPlane
from actors.clock import SystemClock
from meerkat import Deduplicated, InputPhase, InputState
from meerkat.errors import StoreError
from meerkat.limits import Retention
from meerkat.store import Pruned, RuntimeStore, SqliteStore
from meerkat.store.retention import slim

LAST_TWO = Retention(max_count=2)
NONE_WHOLE = Retention(max_count=0)


class Watched(StoreProxy):
    """A store that tells of each step of pruning; ``before`` may raise, or wait."""

    def __init__(self, inner: RuntimeStore, before: Callable[[int], None] | None = None) -> None:
        super().__init__(inner)
        self.begun = 0
        self._before = before
        self._steps: SimpleQueue[Pruned] = SimpleQueue()

    def prune(self, *args: Any, **asked: Any) -> Pruned:
        self.begun += 1
        if self._before is not None:
            self._before(self.begun)
        step = self.inner.prune(*args, **asked)
        self._steps.put(step)
        return step

    def pruned(self, inputs: int) -> None:
        """Wait until so many inputs have been cut down."""
        while inputs > 0:
            inputs -= self._steps.get(timeout=WAIT_S).inputs
        assert inputs == 0

    def whole_passes(self, count: int) -> None:
        """Wait for the ends of passes that began after now."""
        for _ in range(count + 1):
            while self._steps.get(timeout=WAIT_S).next is not None:
                pass


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes that follow each other without a pause to speak of."""
    for name in ("PASS_EVERY_S", "PASS_EVERY_MAX_S", "PAUSE_MIN_S"):
        monkeypatch.setattr(actors.retention, name, 0.001)


def work(plane: ControlPlane, *keys: str, runtime_id: str = "a") -> list[Any]:
    """Have inputs of these keys run one after the other; their outcomes."""
    outcomes = []
    for key in keys:
        outcomes.append(plane.ingest(runtime_id, prompt(key, idempotency_key=key)))
        result_of(plane.completion(runtime_id, outcomes[-1]))
    return outcomes


def terminal(path: Path, runtime_id: Any = A) -> dict[str, InputState]:
    """The finished inputs by key."""
    found = SqliteStore(path).page_terminal_inputs(runtime_id).items
    return {str(state.idempotency_key): state for state in found}


def whole(path: Path) -> list[str]:
    return sorted(key for key, state in terminal(path).items() if state.history)


# --- what goes and what stays -----------------------------------------------------------


def test_everything_is_kept_unless_it_is_said(open_plane: OpenPlane, path: Path) -> None:
    store, clock = Watched(SqliteStore(path)), FakeClock()
    plane = open_plane(Agent(), store=store, clock=clock)
    plane.register("a")
    work(plane, "1")
    clock.advance(plane, 1e6)
    assert (store.begun, whole(path)) == (0, ["1"])


def test_by_count_the_past_goes_while_the_plane_runs(
    open_plane: OpenPlane, path: Path, often: None
) -> None:
    store = Watched(SqliteStore(path))
    plane = open_plane(Agent(), store=store, retention=LAST_TWO)
    plane.register("a")
    work(plane, "1", "2", "3")
    store.pruned(1)
    assert whole(path) == ["2", "3"]
    work(plane, "4", "5")
    store.pruned(2)
    assert whole(path) == ["4", "5"]
    receipts = SqliteStore(path).page_receipts(A).items
    assert {r.contributing_input_ids[0] for r in receipts} == {
        terminal(path)[key].input_id for key in ("4", "5")
    }


def test_by_age_on_the_clock_that_the_plane_was_given(
    open_plane: OpenPlane, path: Path, often: None
) -> None:
    class Shifted(SystemClock):
        by = timedelta()

        def now(self) -> datetime:
            return datetime.now(UTC) + self.by

    store, clock = Watched(SqliteStore(path)), Shifted()
    plane = open_plane(Agent(), store=store, clock=clock, retention=Retention(max_age_s=3_600))
    plane.register("a")
    work(plane, "1")
    store.whole_passes(2)
    assert whole(path) == ["1"]
    clock.by = timedelta(hours=2)
    store.pruned(1)
    assert whole(path) == []


def test_what_was_pruned_still_deduplicates_and_ends_equally(
    open_plane: OpenPlane, path: Path, often: None
) -> None:
    """By key and by id, now and after a restart; a handle asked for later is the same."""
    store = Watched(SqliteStore(path))
    plane = open_plane(Agent(), store=store, retention=NONE_WHOLE)
    plane.register("a")
    offered = prompt("1", idempotency_key="1")
    accepted = plane.ingest("a", offered)
    ending = result_of(plane.completion("a", accepted))
    before = plane.input_state("a", offered.id)
    assert before is not None
    store.pruned(1)
    for restarted in (False, True):
        if restarted:
            plane.stop()
            plane = open_plane(Agent())
        for again in (prompt("other", idempotency_key="1"), offered):
            known = plane.ingest("a", again)
            assert isinstance(known, Deduplicated)
            assert known.existing_id == offered.id
            assert known.existing_state == slim(before)
            assert known.existing_state.phase is InputPhase.CONSUMED
            assert result_of(plane.completion("a", known)) == ending
        assert plane.input_state("a", offered.id) == slim(before)
        assert result_of(plane.completion("a", offered.id)) == ending
        assert result_of(plane.submit("a", offered).completion) == ending


def test_what_has_not_ended_is_left_alone(open_plane: OpenPlane, path: Path, often: None) -> None:
    store, agent = Watched(SqliteStore(path)), Agent(held=True)
    plane = open_plane(agent, store=store, retention=NONE_WHOLE)
    plane.register("a")
    handles = [plane.submit("a", prompt(str(number))).completion for number in range(5)]
    agent.next_call()
    result_of(decided(plane, "a"))
    store.whole_passes(2)
    active = SqliteStore(path).load_active_inputs(A)
    assert all(state.input is not None and state.history for state in active)
    assert len(active) == 5
    agent.release()
    assert [result_of(handle).result for handle in handles] == [f"re: {n}" for n in range(5)]
    store.pruned(5)


def test_a_run_in_hand_keeps_its_receipts_dense(
    open_plane: OpenPlane, path: Path, often: None
) -> None:
    """Though none of its own inputs is stored: a receipt that went would leave a hole."""
    store, puppet = Watched(SqliteStore(path)), Puppet()
    plane = open_plane(puppet, store=store, retention=NONE_WHOLE)
    plane.register("a")
    ephemeral = plane.submit("a", prompt("first", durability="ephemeral"))
    run = puppet.next_run()
    for _ in range(2):
        ingested(plane, steered())
        run.does(commit())
        store.whole_passes(2)
    numbers = [each.sequence for each in SqliteStore(path).page_receipts(A).items]
    assert numbers == [0, 1]
    run.returns()
    result_of(ephemeral.completion)


# --- beside the work --------------------------------------------------------------------


def test_a_step_that_hangs_holds_up_no_input_and_no_stop(
    open_plane: OpenPlane, path: Path, often: None
) -> None:
    inside, let_go = threading.Event(), threading.Event()

    def hang(_step: int) -> None:
        inside.set()
        let_go.wait(WAIT_S * 3)

    disk = Watched(SqliteStore(path), hang)
    plane = open_plane(Agent(), store=disk, retention=NONE_WHOLE, grace_s=HUNG_S)
    plane.register("a")
    assert inside.wait(WAIT_S)
    work(plane, "1", "2")
    with logged("it is left open") as left_open:
        plane.stop()
    assert left_open.is_set()  # a step is about to use it
    let_go.set()


def test_a_plane_that_has_stopped_prunes_no_more(
    open_plane: OpenPlane, path: Path, often: None
) -> None:
    store = Watched(SqliteStore(path))
    plane = open_plane(Agent(), store=store, retention=NONE_WHOLE)
    store.whole_passes(1)
    plane.stop()
    begun = store.begun
    store.inner.acquire()  # closed by the plane, and not opened by anybody since
    store.inner.close()
    assert store.begun == begun


@pytest.mark.parametrize(
    ("error", "said"),
    [(StoreError("disk full"), "could not be cut down"), (RuntimeError("a defect"), "failed")],
)
def test_a_step_that_fails_is_said_and_tried_again(
    open_plane: OpenPlane, path: Path, often: None, error: Exception, said: str
) -> None:
    def fail(step: int) -> None:
        if step <= 3:
            raise error

    store = Watched(SqliteStore(path), fail)
    with logged(said) as seen:
        plane = open_plane(Agent(), store=store, retention=NONE_WHOLE)
        plane.register("a")
        work(plane, "1")
        store.pruned(1)
    assert seen.is_set()


def test_many_sessions_at_work_while_their_past_goes(
    open_plane: OpenPlane, path: Path, often: None
) -> None:
    """Whatever the moment: an input is whole or cut down, a run has all its receipts or none."""
    store = Watched(SqliteStore(path))
    agent = Agent()
    plane = open_plane(agent, store=store, retention=Retention(max_count=3))
    names = [f"s-{number}" for number in range(5)]
    plane.register_many(names)
    submissions = [
        plane.submit(names[number % 5], prompt(str(number), idempotency_key=str(number)))
        for number in range(300)
    ]
    assert [result_of(each.completion).result for each in submissions] == [
        f"re: {number}" for number in range(300)
    ]
    store.pruned(300 - 15)
    reader = SqliteStore(path)
    for name in names:
        runtime_id = type(A)(name)
        states = reader.page_terminal_inputs(runtime_id).items
        receipts = reader.page_receipts(runtime_id).items
        assert len(states) == 60
        kept = {state.input_id for state in states if state.history}
        assert kept == {each for r in receipts for each in r.contributing_input_ids}
        assert len(kept) == 3
        for _, of_run in groupby(receipts, key=lambda receipt: receipt.run_id):
            assert all(each.sequence == place for place, each in enumerate(of_run))
        snapshot = reader.load_session_snapshot(runtime_id)
        assert snapshot is not None
        assert snapshot.message_count == 60 * 2
    assert len(agent.calls) == 300


# --- the setting ------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, 3_600, {"max_count": 2}])
def test_a_retention_that_is_none_is_refused(path: Path, wrong: Any) -> None:
    with pytest.raises(TypeError, match="retention"):
        ControlPlane(SqliteStore(path), retention=wrong).start()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_age_s": -1}, ValueError),
        ({"max_age_s": float("nan")}, ValueError),
        ({"max_age_s": float("inf")}, ValueError),
        ({"max_age_s": "1"}, TypeError),
        ({"max_age_s": True}, TypeError),
        ({"max_count": -1}, ValueError),
        ({"max_count": 1.0}, TypeError),
        ({"max_count": True}, TypeError),
    ],
)
def test_bounds_are_checked(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Retention(**settings)
