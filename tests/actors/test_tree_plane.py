"""A control plane in a host's tree: its supervisor is a child like any other."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pykka
import pytest
from plane_builders import WAIT_S, Agent, FakeClock, prompt, result_of
from tree_builders import (
    FAILURES,
    Story,
    hear,
    info_of,
    move,
    open_files,
    over,
    running,
    soon,
    specs,
)

from actors import (
    ChildSpec,
    ControlPlane,
    Ended,
    Restarts,
    RuntimeSupervisor,
    Strategy,
    Supervisor,
    SupervisorRef,
    watch_actor,
)
from meerkat import InputId, InputPhase, LogicalRuntimeId
from meerkat.errors import ControlPlaneStopped, RuntimeNotFound, StoreError
from meerkat.limits import Backoff
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

SESSIONS = [f"s{number}" for number in range(8)]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def trees() -> Iterator[list[SupervisorRef]]:
    """They are stopped at the end of the test."""
    trees: list[SupervisorRef] = []
    yield trees
    for tree in trees:
        tree.stop(timeout=WAIT_S)


def meerkat(path: Path, executor: Any = None) -> ChildSpec:
    # The default grace: one that is short leaves a slow disk behind, and the store with it.
    kwargs = {"store": SqliteStore(path), "executor": executor}
    return ChildSpec("meerkat", RuntimeSupervisor, kwargs=kwargs)


def door(tree: SupervisorRef) -> ControlPlane:
    return ControlPlane.wrap(lambda: tree.child("meerkat"))


def test_a_supervisor_is_a_child_with_siblings(
    path: Path, story: Story, trees: list[SupervisorRef]
) -> None:
    tree = Supervisor.start([*specs(story, "a"), meerkat(path, Agent()), *specs(story, "b")])
    plane = door(tree)
    plane.register("x")
    assert result_of(plane.submit("x", prompt("hi")).completion).result == "re: hi"
    tree.stop(timeout=WAIT_S)
    assert story.rest() == ["start a", "start b", "stop b", "stop a"]
    with pytest.raises(ControlPlaneStopped):
        plane.runtime_state("x")
    again = SqliteStore(path)
    again.acquire()  # raises StoreError while another owns it
    again.close()


@pytest.mark.parametrize("error", FAILURES)
def test_what_was_acknowledged_runs_once_though_the_supervisor_is_killed_under_load(
    error: type[BaseException],
    path: Path,
    story: Story,
    trees: list[SupervisorRef],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent = Agent()
    tree = Supervisor.start(
        [*specs(story, "a"), meerkat(path, agent), *specs(story, "b")], restarts=soon()
    )
    trees.append(tree)
    siblings = [running(tree, name) for name in "ab"]
    plane = door(tree)
    plane.register_many(SESSIONS)
    accepted: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    halfway = threading.Event()

    def submit_until_it_ends(session: str) -> None:
        for number in range(200):
            try:
                outcome = plane.ingest(session, prompt(f"{session}-{number}"))
            except (ControlPlaneStopped, StoreError):
                break
            accepted.put((session, outcome.input_id))
            if number == 10:
                halfway.set()

    hosts = [threading.Thread(target=submit_until_it_ends, args=(each,)) for each in SESSIONS]
    for host in hosts:
        host.start()
    assert halfway.wait(WAIT_S)
    kill(running(tree, "meerkat"), error("injected"), monkeypatch)
    for host in hosts:
        host.join(WAIT_S)
    running(tree, "meerkat", restarts=1)
    plane.start()
    known = [accepted.get() for _ in range(accepted.qsize())]
    assert len(known) > 10
    for session, input_id in known:
        assert result_of(plane.completion(session, input_id)).kind is CompletionKind.COMPLETED
    for session, input_id in known:
        assert plane.input_state(session, input_id).phase is InputPhase.CONSUMED
    assert [running(tree, name) for name in "ab"] == siblings
    assert info_of(tree, "meerkat").last_reason == f"{error.__name__}: injected"
    tree.stop(timeout=WAIT_S)
    receipts = receipts_of(path)
    assert {receipts[input_id] for _, input_id in known} == {1}
    assert set(receipts.values()) == {1}


def kill(ref: pykka.ActorRef[Any], error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a message to a supervisor fail."""
    receive = RuntimeSupervisor.on_receive

    def fail_once(self: RuntimeSupervisor, message: Any) -> Any:
        if message == "fail":
            raise error
        return receive(self, message)

    monkeypatch.setattr(RuntimeSupervisor, "on_receive", fail_once)
    ref.tell("fail")
    assert over(ref).error is error


def receipts_of(path: Path) -> Counter[InputId]:
    """How many receipts each input is in."""
    store = SqliteStore(path)
    named: Counter[InputId] = Counter()
    for session in SESSIONS:
        for receipt in store.page_receipts(LogicalRuntimeId(session)).items:
            named.update(receipt.contributing_input_ids)
    store.close()
    return named


def test_a_failure_is_told_to_whoever_watches_and_the_watch_is_of_one_actor(
    path: Path, trees: list[SupervisorRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: SimpleQueue[Any] = SimpleQueue()
    watcher = Watcher.start(told)
    tree = Supervisor.start([meerkat(path)], restarts=soon())
    trees.append(tree)
    first = running(tree, "meerkat")
    watch_actor(first, watcher)
    watch_actor(tree, watcher)
    error = SystemExit("injected")
    kill(first, error, monkeypatch)
    assert told.get(timeout=WAIT_S) == Ended(first, error)
    running(tree, "meerkat", restarts=1)
    tree.stop(timeout=WAIT_S)
    assert told.get(timeout=WAIT_S) == Ended(tree, None)
    assert watcher.stop(timeout=WAIT_S)
    assert told.empty()


class Watcher(pykka.ThreadingActor):
    """An actor of the host's that keeps what it is told."""

    use_daemon_thread = True

    def __init__(self, told: SimpleQueue[Any]) -> None:
        super().__init__()
        self.on_receive = told.put  # type: ignore[method-assign]


def test_while_it_is_started_anew_a_door_is_closed(
    path: Path, trees: list[SupervisorRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    restarts = Restarts(backoff=Backoff(base_s=10.0))
    tree = Supervisor.start([meerkat(path, Agent())], restarts=restarts, clock=clock)
    trees.append(tree)
    plane = door(tree)
    plane.register("x")
    kill(running(tree, "meerkat"), ValueError("injected"), monkeypatch)
    for call in (plane.start, lambda: plane.ingest("x", prompt()), lambda: door(tree)):
        with pytest.raises(ControlPlaneStopped):
            call()
    hear(tree)
    move(clock, tree, 10.0)
    running(tree, "meerkat", restarts=1)
    with pytest.raises(ControlPlaneStopped):
        plane.runtime_state("x")  # it is the host that opens it again
    plane.start()
    assert result_of(plane.submit("x", prompt("hi")).completion).result == "re: hi"


def test_a_store_that_is_in_use_keeps_a_tree_from_its_start(path: Path, story: Story) -> None:
    with ControlPlane(SqliteStore(path)), pytest.raises(StoreError, match="in use by"):
        Supervisor.start([*specs(story, "a"), meerkat(path)])
    assert story.rest() == ["start a", "stop a"]


def test_those_who_use_it_are_started_anew_with_it(
    path: Path, story: Story, trees: list[SupervisorRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    children = [*specs(story, "a"), meerkat(path), *specs(story, "b")]
    tree = Supervisor.start(children, restarts=soon(Strategy.REST_FOR_ONE))
    trees.append(tree)
    kill(running(tree, "meerkat"), ValueError(), monkeypatch)
    running(tree, "b", restarts=1)
    assert story.rest() == ["start a", "start b", "stop b", "start b"]


def test_two_planes_in_two_trees_do_not_see_each_other(
    tmp_path: Path, trees: list[SupervisorRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = (
        Supervisor.start([meerkat(tmp_path / name, Agent())], restarts=soon()) for name in "ab"
    )
    trees += [ours, theirs]
    plane = door(theirs)
    plane.register("x")
    kill(running(ours, "meerkat"), SystemExit(), monkeypatch)
    running(ours, "meerkat", restarts=1)
    assert result_of(plane.submit("x", prompt("hi")).completion).result == "re: hi"
    assert info_of(theirs, "meerkat").restarts == 0
    with pytest.raises(RuntimeNotFound):
        door(ours).runtime_state("x")


def test_a_hundred_restarts_of_a_plane_leave_no_thread_and_no_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "actors")
    threads, files = set(threading.enumerate()), open_files()
    restarts = Restarts(intensity=100, backoff=Backoff(base_s=0.0))
    tree = Supervisor.start([meerkat(path, Agent())], restarts=restarts)
    plane = door(tree)
    plane.register("x")
    for number in range(100):
        ref = running(tree, "meerkat", restarts=number)
        plane.start()
        assert result_of(plane.submit("x", prompt(str(number))).completion).result
        with monkeypatch.context() as patched:
            kill(ref, ValueError(), patched)
    running(tree, "meerkat", restarts=100)
    tree.stop(timeout=WAIT_S)
    for thread in set(threading.enumerate()) - threads:  # those that are about to return
        thread.join(WAIT_S)
    assert set(threading.enumerate()) <= threads
    assert open_files() == files


EXITS = """
import sys, threading
import pykka
from actors import ChildSpec, ControlPlane, RuntimeSupervisor, Supervisor
from meerkat import PromptInput, RunOutput
from meerkat.store import SqliteStore

class Sibling(pykka.ThreadingActor):
    use_daemon_thread = True
    def on_start(self): print("start", flush=True)
    def on_stop(self): print("stop", flush=True)

def agent(context, primitive):
    print("run", flush=True)
    running.set()
    context.cancelled.wait(60)
    return RunOutput()

running = threading.Event()
settings = {"store": SqliteStore(sys.argv[1]), "executor": agent}
inner = ChildSpec("inner", Supervisor, ([
    ChildSpec("meerkat", RuntimeSupervisor, kwargs=settings), ChildSpec("sibling", Sibling)
],))
tree = Supervisor.start([inner])
plane = ControlPlane.wrap(lambda: tree.child("inner").child("meerkat"))
plane.register("x")
plane.submit("x", PromptInput("hi"))
running.wait()
"""


def test_a_tree_that_nobody_stops_ends_with_the_process_and_starts_nothing_anew(
    path: Path,
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run(
        [sys.executable, "-c", EXITS, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.split() == ["start", "run", "stop"], told.stderr
    assert "Traceback" not in told.stderr
