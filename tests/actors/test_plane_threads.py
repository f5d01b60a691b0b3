"""Threads: many callers at once, and stops in the middle of it. Everything gets an answer."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, prompt, result_of, steered

from actors import ControlPlane, Submission
from meerkat import InputId, InputPhase, LogicalRuntimeId
from meerkat.errors import (
    CallTimedOut,
    ControlPlaneStopped,
    InvalidState,
    MeerkatError,
    RuntimeNotFound,
)
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore

RUNTIMES = ("a", "b", "c")
THREADS = 8
MIX = ["submit"] * 12 + ["ingest"] * 3 + ["retire", "recycle", "reset", "reset"]


def together(work: Any, count: int = THREADS) -> list[Any]:
    """Call ``work(number)`` on that many threads, all of which begin at once."""
    line = threading.Barrier(count)

    def begin(number: int) -> Any:
        line.wait(WAIT_S)
        return work(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


def settled(future: Future[Any]) -> Any:
    """How a future ended; a test that waits in vain fails here."""
    error = future.exception(WAIT_S)
    assert error is None or isinstance(error, MeerkatError), error
    assert not isinstance(error, CallTimedOut)
    return error or future.result()


def check_receipts(store: RuntimeStore, accepted: dict[str, list[InputId]]) -> None:
    """What was accepted has ended once; what was consumed has one receipt."""
    for runtime_id, input_ids in accepted.items():
        name = LogicalRuntimeId(runtime_id)
        ended = {state.input_id: state for state in store.page_terminal_inputs(name).items}
        assert set(input_ids) <= set(ended)
        consumed = {each for each, state in ended.items() if state.phase is InputPhase.CONSUMED}
        receipts = store.page_receipts(name).items
        proven = [each for receipt in receipts for each in receipt.contributing_input_ids]
        assert len(proven) == len(set(proven))
        assert set(proven) == consumed
        assert len({(receipt.run_id, receipt.sequence) for receipt in receipts}) == len(receipts)
        snapshot = store.load_session_snapshot(name)
        assert snapshot is not None
        assert snapshot.message_count == 2 * len(receipts)


def test_eight_threads_on_three_runtimes(open_plane: OpenPlane, path: Path) -> None:
    plane = open_plane(Agent(), max_concurrent_runs=3)
    plane.register_many(RUNTIMES)

    def work(number: int) -> list[tuple[str, Submission]]:
        chance, mine = random.Random(number), list[tuple[str, Submission]]()
        for turn in range(25):
            runtime_id, call = chance.choice(RUNTIMES), chance.choice(MIX)
            with suppress(InvalidState):
                if call == "submit":
                    offered = chance.choice([prompt, steered])(f"{number}/{turn}")
                    mine.append((runtime_id, plane.submit(runtime_id, offered)))
                elif call == "ingest":
                    plane.ingest(runtime_id, prompt(idempotency_key=f"k{turn}"), timeout=WAIT_S)
                else:
                    getattr(plane, call)(runtime_id, timeout=WAIT_S)
        return mine

    submissions = [each for mine in together(work) for each in mine]
    assert len(submissions) > 50
    accepted: dict[str, list[InputId]] = {runtime_id: [] for runtime_id in RUNTIMES}
    for runtime_id, submission in submissions:
        outcome = settled(submission.accepted)
        settled(submission.completion)
        if not isinstance(outcome, MeerkatError):
            accepted[runtime_id].append(outcome.input_id)
    for runtime_id in RUNTIMES:
        while plane.active_input_ids(runtime_id):
            pass
    plane.stop()
    check_receipts(SqliteStore(path), accepted)


def test_one_key_offered_by_everybody_is_accepted_once(open_plane: OpenPlane) -> None:
    agent = Agent()
    plane = open_plane(agent)
    plane.register("a")

    def offer(number: int) -> Any:
        outcomes = []
        for turn in range(20):
            offered = prompt(f"{number}", idempotency_key=f"k{turn}")
            submission = plane.submit("a", offered)
            outcomes.append((result_of(submission.accepted), result_of(submission.completion)))
        return outcomes

    outcomes = together(offer)
    for turn in range(20):
        of_turn = [mine[turn] for mine in outcomes]
        assert sum(accepted.is_accepted for accepted, _ in of_turn) == 1
        assert len({ended.result for _, ended in of_turn}) == 1
    assert len(agent.calls) == 20


def test_a_caller_sees_its_own_writes(open_plane: OpenPlane) -> None:
    """Each thread has a runtime of its own: what it did is what it reads, in order."""
    plane = open_plane()

    def work(number: int) -> None:
        runtime_id = f"r{number}"
        plane.register(runtime_id)
        for turn in range(10):
            offered = [prompt(), prompt()]
            for each in offered:
                assert plane.ingest(runtime_id, each).is_accepted
            assert plane.active_input_ids(runtime_id) == [each.id for each in offered]
            if turn % 2:
                assert plane.reset(runtime_id).inputs_abandoned == 2
            else:
                assert plane.retire(runtime_id).inputs_abandoned == 2
                with pytest.raises(InvalidState):
                    plane.ingest(runtime_id, prompt())
                plane.recycle(runtime_id)
            assert plane.active_input_ids(runtime_id) == []

    together(work)


ROUNDS = 200


def test_a_stop_that_races_with_everything_answers_everybody(tmp_path: Path) -> None:
    """No call hangs, none times out; what was acknowledged is in the store."""
    for round_number in range(ROUNDS):
        on_disk = round_number % 4 == 0
        database = tmp_path / f"{round_number}.db"
        store = SqliteStore(database) if on_disk else MemoryStore()
        plane = ControlPlane(store, Agent(), grace_s=WAIT_S).start()
        plane.register("a")
        futures = race(plane, round_number)
        acknowledged = set()
        for accepted, completion in futures:
            outcome, ended = settled(accepted), settled(completion)
            if isinstance(outcome, ControlPlaneStopped):
                assert isinstance(ended, ControlPlaneStopped)
            else:
                assert ended.kind in (
                    CompletionKind.COMPLETED,
                    CompletionKind.RUNTIME_TERMINATED,
                )
                acknowledged.add(outcome.input_id)
        for input_id in acknowledged:
            assert store.load_input(LogicalRuntimeId("a"), input_id) is not None
        store.close()


def race(plane: ControlPlane, number: int) -> list[tuple[Future[Any], Future[Any]]]:
    """Three threads submit and ask, a fourth stops the plane, and a fifth does so too."""

    def work(thread: int) -> list[tuple[Future[Any], Future[Any]]]:
        mine: list[tuple[Future[Any], Future[Any]]] = []
        if thread >= 3:
            for _ in range(number % 7):
                threading.Event().is_set()
            plane.stop(drain=number % 3 == 0)
            return mine
        for turn in range(6):
            try:
                submission = plane.submit("a", prompt(f"{thread}/{turn}"))
                mine.append((submission.accepted, submission.completion))
                if turn == 2:
                    plane.runtime_state("a", timeout=WAIT_S)
                    with pytest.raises(RuntimeNotFound):
                        plane.runtime_state("unknown", timeout=WAIT_S)
            except ControlPlaneStopped:
                break
        return mine

    return [pair for mine in together(work, 5) for pair in mine]


def test_subscriptions_that_race_with_a_stop_end(open_plane: OpenPlane) -> None:
    for _ in range(30):
        plane = open_plane(Agent(), store=MemoryStore())
        plane.register("a")

        def work(thread: int, plane: ControlPlane = plane) -> int:
            if thread == 0:
                plane.stop()
                return 0
            try:
                events = plane.subscribe("a" if thread % 2 else None)
                plane.submit("a", prompt())
            except ControlPlaneStopped:
                return 0
            return len(list(events))

        together(work, 4)
