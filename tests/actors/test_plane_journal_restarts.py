"""The journal's writer fails: those in hand are told that nobody knows, the others wait.

Nothing that was acknowledged is lost, nothing with a receipt runs again, and a writer that
fails too often ends its control plane, which is told to whoever watches.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pykka
import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    FakeClock,
    OpenPlane,
    decided,
    error_of,
    prompt,
    result_of,
    system_of,
)
from restart_builders import PAUSE_S, Breaking, at_once, journals, notice, rule

from actors import (
    ControlPlane,
    Ended,
    NoticeKind,
    RestartPolicy,
    RuntimeSupervisor,
    Strategy,
    watch_actor,
)
from actors.supervisor import JournalGaveUp
from meerkat import LogicalRuntimeId
from meerkat.errors import CommitUnknown, ControlPlaneStopped
from meerkat.limits import Backoff, Limits
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

GRACE_S = 1.0
"""Time for a busy machine to commit and to let a thread end; a stop in the pause takes it all."""

FAILURES = [RuntimeError, SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def disk(path: Path) -> Breaking:
    return Breaking(SqliteStore(path))


def lose(plane: ControlPlane, disk: Breaking, runtime_id: str, **offered: Any) -> None:
    """Offer an input whose commit breaks the journal."""
    disk.break_next()
    with pytest.raises(CommitUnknown):
        plane.ingest(runtime_id, prompt(**offered), timeout=WAIT_S)


# --- who is told what -------------------------------------------------------------------


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_nobody_knows_what_the_writer_had_in_hand_and_the_store_says(
    open_plane: OpenPlane, disk: Breaking, agent: Agent, error: type[BaseException], after: bool
) -> None:
    plane = open_plane(agent, store=disk)
    plane.register("a")
    disk.error = lambda: error("a binding's defect")
    disk.break_next(after=after)
    lost = plane.submit("a", prompt("m", idempotency_key="k"))
    for future in (lost.accepted, lost.completion):
        unknown = error_of(future)
        assert type(unknown) is CommitUnknown
        assert isinstance(unknown.__cause__, error)
    again = plane.submit("a", prompt("m", idempotency_key="k"))
    assert result_of(again.accepted).is_accepted is not after
    assert result_of(again.completion).kind is CompletionKind.COMPLETED
    assert agent.texts == ["m"]


def test_what_waits_is_committed_once_the_pause_is_over(
    open_plane: OpenPlane, disk: Breaking, clock: FakeClock
) -> None:
    plane = open_plane(store=disk, clock=clock, restart=journals())
    plane.register_many(["a", "b", "c"])
    for number in range(2):
        lose(plane, disk, "a")
        waiting = {name: plane.submit(name, prompt()) for name in "bc"}
        for name in waiting:
            decided(plane, name)
        pause_s = PAUSE_S * 2**number
        clock.advance(plane, pause_s * 0.99)
        assert not any(each.accepted.done() for each in waiting.values())
        clock.advance(plane, pause_s * 0.01)
        for each in waiting.values():
            assert result_of(each.accepted).is_accepted


@pytest.mark.parametrize(
    ("strategy", "restarted"), [(Strategy.REST_FOR_ONE, "a"), (Strategy.ONE_FOR_ALL, "abc")]
)
def test_the_drivers_that_are_unsure_begin_anew_and_with_one_for_all_the_others(
    open_plane: OpenPlane, disk: Breaking, strategy: Strategy, restarted: str
) -> None:
    restart = RestartPolicy(drivers=rule(1_000), journal=at_once(strategy=strategy))
    plane = open_plane(store=disk, restart=restart)
    plane.register_many(["a", "b", "c"])
    watches = {name: plane.watch(name) for name in "abc"}
    lose(plane, disk, "a")
    for name in restarted:
        assert notice(watches[name]).kind is NoticeKind.RESTARTED
    for name in set("abc").difference(restarted):
        assert plane.ingest(name, prompt(), timeout=WAIT_S).is_accepted
        assert watches[name].next_ready() is None


# --- nothing is lost, nothing runs again ------------------------------------------------


class Trembling(Breaking):
    """A store that breaks at each ``every``-th commit, before it or after it by turns."""

    def __init__(self, inner: Any, every: int) -> None:
        super().__init__(inner)
        self.commits, self.every = 0, every

    def commit_many(self, batches: Any) -> Any:
        self.commits += 1
        if self.every and not self.commits % self.every:
            self.break_next(after=self.broke % 2 == 0)
        return super().commit_many(batches)


@pytest.mark.parametrize("every", [2, 3, 7])
def test_a_writer_that_fails_again_and_again_loses_nothing_and_repeats_nothing(
    open_plane: OpenPlane, path: Path, every: int
) -> None:
    disk, agent = Trembling(SqliteStore(path), every=0), Agent()
    plane = open_plane(
        agent,
        store=disk,
        # Many landings in a row may not be seen, and what was begun then was tried.
        backoff=Backoff(base_s=0.001, cap_s=0.01),
        limits=Limits(crash_attempts_max=1_000),
        restart=RestartPolicy(drivers=at_once(), journal=at_once()),
    )
    names, texts = ["a", "b", "c"], [f"m{number}" for number in range(20)]
    plane.register_many(names)
    disk.every = every
    for text in texts:
        for name in names:
            offer(plane, name, text)
    for text in texts:
        for name in names:
            known = offer(plane, name, text)
            assert result_of(known).kind is CompletionKind.COMPLETED
    plane.stop()
    assert disk.broke > 3
    for name in names:
        check_the_end(disk.inner, LogicalRuntimeId(name), texts)


def offer(plane: ControlPlane, name: str, text: str) -> Any:
    """Offer an input until it is known; its handle."""
    while True:
        submission = plane.submit(name, prompt(text, idempotency_key=text))
        error = error_of(submission.accepted)
        if error is None:
            return submission.completion
        assert isinstance(error, CommitUnknown) or "not attempted" in str(error), error


def check_the_end(store: Any, runtime_id: LogicalRuntimeId, texts: list[str]) -> None:
    assert store.load_active_inputs(runtime_id) == []
    messages = json.loads(store.load_session_snapshot(runtime_id).messages)
    assert [each["content"] for each in messages if each["role"] == "user"] == texts
    receipts = store.page_receipts(runtime_id).items
    proven = Counter(each for receipt in receipts for each in receipt.contributing_input_ids)
    assert set(proven.values()) == {1}
    assert len(proven) == len(texts)


# --- once too often ---------------------------------------------------------------------


class Watcher(pykka.ThreadingActor):
    """Keeps what it is told."""

    def __init__(self, told: SimpleQueue[Any]) -> None:
        super().__init__()
        self._told = told

    def on_receive(self, message: Any) -> None:
        self._told.put(message)


@pytest.fixture
def told() -> SimpleQueue[Any]:
    return SimpleQueue()


@pytest.fixture
def watcher(told: SimpleQueue[Any]) -> Iterator[pykka.ActorRef[Watcher]]:
    """An actor that puts into ``told`` what it is told."""
    ref = Watcher.start(told)
    yield ref
    ref.stop()


@pytest.mark.parametrize("intensity", [0, 2])
def test_one_failure_too_many_is_the_end_of_the_plane_and_of_nothing_on_the_disk(
    disk: Breaking,
    open_plane: OpenPlane,
    watcher: pykka.ActorRef[Watcher],
    told: SimpleQueue[Any],
    intensity: int,
) -> None:
    restart = RestartPolicy(drivers=at_once(), journal=at_once(intensity))
    supervisor = RuntimeSupervisor.start(store=disk, restart=restart, grace_s=0.05)
    watch_actor(supervisor, watcher)
    plane = ControlPlane.wrap(supervisor)
    plane.register("a")
    kept = plane.submit("a", prompt("kept"))
    assert result_of(kept.accepted).is_accepted
    for _ in range(intensity):
        lose(plane, disk, "a")
        assert plane.active_input_ids("a", timeout=WAIT_S) == [result_of(kept.accepted).input_id]
    watch = plane.watch("a")
    lose(plane, disk, "a")
    ended = result_of(kept.completion)
    assert (ended.kind, ended.reason) == (
        CompletionKind.RUNTIME_TERMINATED,
        "control plane stopped",
    )
    why = told.get(timeout=WAIT_S)
    assert isinstance(why, Ended)
    assert type(why.error) is JournalGaveUp
    assert str(why.error) == (
        f"Internal error: the journal failed more than {intensity} times in 3600 s"
    )
    assert isinstance(why.error.__cause__, RuntimeError)
    with pytest.raises(ControlPlaneStopped):
        plane.runtime_state("a")
    assert [each.kind for each in watch][-1] is NoticeKind.ENDED
    agent = Agent()
    handle = open_plane(agent).completion("a", result_of(kept.accepted), timeout=WAIT_S)
    assert result_of(handle).kind is CompletionKind.COMPLETED
    assert agent.texts == ["kept"]


def test_a_plane_whose_journal_gave_up_can_be_started_again(
    open_plane: OpenPlane, path: Path
) -> None:
    disk = Breaking(SqliteStore(path))
    plane = open_plane(store=disk, restart=RestartPolicy(journal=at_once(0)))
    plane.register("a")
    lose(plane, disk, "a")
    assert system_of(plane).ended.wait(WAIT_S)
    assert plane.stop().failure == (
        "JournalGaveUp: Internal error: the journal failed more than 0 times in 3600 s"
    )
    plane.start()
    assert plane.ingest("a", prompt(), timeout=WAIT_S).is_accepted
    assert plane.stop().failure is None


# --- a stop in the pause ----------------------------------------------------------------


def test_a_stop_in_the_pause_commits_what_waits(
    open_plane: OpenPlane, path: Path, disk: Breaking, clock: FakeClock
) -> None:
    plane = open_plane(store=disk, clock=clock, restart=journals(), grace_s=GRACE_S)
    plane.register_many(["a", "b"])
    lose(plane, disk, "a")
    waiting = plane.submit("b", prompt("waits"))
    decided(plane, "b")
    assert not waiting.accepted.done()
    assert plane.stop(timeout=0.1).store_closed  # the pause would not end by itself
    accepted = result_of(waiting.accepted)
    assert accepted.is_accepted
    assert open_plane().active_input_ids("b") == [accepted.input_id]


def test_a_writer_that_fails_at_the_end_hinders_no_batch_behind_it(
    open_plane: OpenPlane, path: Path, disk: Breaking, clock: FakeClock
) -> None:
    """Those in hand are told; whoever comes next is written, and the store is let go."""
    plane = open_plane(store=disk, clock=clock, restart=journals(), grace_s=GRACE_S)
    plane.register_many(["a", "b"])
    lose(plane, disk, "a")
    waiting = plane.submit("b", prompt("waits"))
    decided(plane, "b")
    disk.break_next()
    assert plane.stop(timeout=0.1).store_closed
    assert isinstance(error_of(waiting.accepted), CommitUnknown)
    assert open_plane().active_input_ids("b") == []
