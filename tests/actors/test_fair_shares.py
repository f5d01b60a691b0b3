"""Fair shares: however much one session is sent, another one's input comes to its turn.

Counted, not timed: how much of the flood was dealt with before the other was.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, error_of, prompt, result_of, tell
from plane_stores import FrozenDisk, StoreProxy

from actors import messages as m
from actors.pool import MESSAGES_PER_TURN, ActorPool, PooledActor
from actors.replies import OpenCalls, Reply
from actors.seat import RUNS_IN_A_ROW
from meerkat import LogicalRuntimeId
from meerkat.errors import ControlPlaneStopped, Overloaded, StoreError
from meerkat.limits import Limits
from meerkat.store import Batch, MemoryStore, SqliteStore

A, B = LogicalRuntimeId("a"), LogicalRuntimeId("b")
FLOOD = 20_000


# --- calls in flight --------------------------------------------------------------------


def opened(calls: OpenCalls, runtime_id: LogicalRuntimeId, most: int = 10**6) -> list[Reply[Any]]:
    """As many calls as one runtime is given, up to ``most``."""
    taken: list[Reply[Any]] = []
    while len(taken) < most:
        reply = Reply[Any]()
        try:
            calls.opened_within_limit(reply, runtime_id)
        except Overloaded as refused:
            assert refused.limit == "in_flight_share"  # noqa: PT017
            break
        taken.append(reply)
    return taken


@pytest.mark.parametrize("in_flight_max", [5, 10, 100, 1_000])
def test_a_lone_flooder_gets_four_fifths(in_flight_max: int) -> None:
    assert len(opened(OpenCalls(in_flight_max), A)) == in_flight_max * 4 // 5


def test_who_has_more_than_its_share_waits_and_who_comes_next_finds_room() -> None:
    calls = OpenCalls(100)
    flood = opened(calls, A)
    assert (len(flood), len(opened(calls, B))) == (80, 16)
    for reply in flood[:10]:  # 14 are free: four times that is less than A has still
        reply.give(None)
    assert not opened(calls, A)
    assert len(opened(calls, LogicalRuntimeId("c"))) > 10
    assert not opened(calls, B)
    for reply in list(calls._open)[20:]:
        reply.give(None)
    assert len(opened(calls, A, most=1)) == 1


def test_a_share_is_given_back_with_each_answer() -> None:
    calls = OpenCalls(100)
    mine = opened(calls, A)
    for answered in (lambda reply: reply.give(None), lambda reply: reply.fail(StoreError("no"))):
        answered(mine.pop())
        assert len(opened(calls, A, most=1)) == 1
    for reply in (*mine, *calls._open):
        reply.give(None)
    assert len(calls) == 0
    assert not calls._of_runtime
    assert len(opened(calls, A)) == 80


def test_what_is_refused_by_a_stop_takes_no_share() -> None:
    calls = OpenCalls(100)
    calls.refuse()
    with pytest.raises(ControlPlaneStopped):
        calls.opened_within_limit(Reply(), A)
    assert not calls._of_runtime


def test_control_always_passes_and_counts_for_nobody() -> None:
    calls = OpenCalls(10)
    opened(calls, A)
    for _ in range(20):
        calls.opened(Reply())
    with pytest.raises(Overloaded) as refused:
        calls.opened_within_limit(Reply(), B)
    assert (refused.value.limit, refused.value.value) == ("in_flight_max", 10)


def test_many_threads_leave_no_share_behind() -> None:
    calls = OpenCalls(1_000)

    def flood() -> None:
        for _ in range(300):
            for reply in opened(calls, A, most=5):
                reply.give(None)

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 0
    assert not calls._of_runtime


def test_a_flooding_session_leaves_room_for_others(open_plane: OpenPlane, path: Path) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk, limits=Limits(in_flight_max=50))
    plane.register_many(["a", "b"])
    disk.freeze()
    flood = [plane.submit("a", prompt()) for _ in range(40)]
    for offer in (plane.submit, plane.ingest):
        with pytest.raises(Overloaded, match="in_flight_share is at its limit of 40"):
            offer("a", prompt())
    other = plane.submit("b", prompt())
    control = tell(plane, "a", m.RecoverRuntime(Reply()))
    disk.thaw()
    for each in (*flood, other):
        assert result_of(each.accepted).is_accepted
    control.result(WAIT_S)
    assert plane.ingest("a", prompt()).is_accepted


# --- turns ------------------------------------------------------------------------------


class Noting(PooledActor):
    """Notes whose message it was, in the order in which all were handled."""

    def __init__(self, pool: ActorPool, handled: list[str]) -> None:
        super().__init__(pool)
        self._handled = handled

    def on_receive(self, message: Any) -> None:
        self._handled.append(message)


def test_a_full_mailbox_has_its_quantum_and_no_more() -> None:
    pool, handled = ActorPool(1), list[str]()
    flooded, other = (Noting.start(pool, handled) for _ in range(2))
    for _ in range(FLOOD):
        flooded.tell("flood")
    other.tell("other")
    pool.start()
    flooded.ask("last", timeout=WAIT_S)
    assert handled.index("other") == MESSAGES_PER_TURN
    assert len(handled) == FLOOD + 2
    pool.stop(WAIT_S)


class Grouped(StoreProxy):
    """A store that notes whose batches were committed together."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.groups: list[list[str]] = []

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        self.groups.append([str(batch.runtime.runtime_id) for batch in batches])
        return super().commit_many(batches)


def test_another_sessions_input_is_run_long_before_a_flood_is(open_plane: OpenPlane) -> None:
    """With one run slot for both: it waits for the runs that the other may make in a row."""
    agent, store = Agent(), Grouped()
    plane = open_plane(
        agent, store=store, max_concurrent_runs=1, limits=Limits(pending_inputs_max=FLOOD)
    )
    plane.register_many(["a", "b"])
    flood: list[Any] = []
    flooding = threading.Thread(
        target=lambda: flood.extend(plane.submit("a", prompt("a")) for _ in range(FLOOD))
    )
    flooding.start()
    for _ in range(100):
        agent.next_call()
    for text in ("b1", "b2", "b3"):
        accepted = plane.ingest("b", prompt(text))
        before = len(agent.calls)
        result_of(plane.completion("b", accepted))
        assert agent.texts.index(text) <= before + 2 * RUNS_IN_A_ROW
    assert len(agent.calls) < FLOOD // 4
    flooding.join()
    assert all(len(set(group)) == len(group) for group in store.groups)
    assert not [each for each in flood if each.accepted.done() and error_of(each.accepted)]
