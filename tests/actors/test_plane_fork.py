"""A forked child: a plane of the parent's is a clear error there, and never a hang."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pykka
import pytest
from plane_builders import WAIT_S, Agent, OpenPlane, Puppet, progress, prompt, result_of
from plane_forks import in_child, refusal
from test_plane_lifecycle import CALLS

from actors import ControlPlane
from meerkat import OperationId, RunOutput
from meerkat.errors import ControlPlaneForked, Overloaded, StoreError
from meerkat.operations import OperationKind
from meerkat.store import MemoryStore, SqliteStore

FORKED = "ControlPlaneForked"


@contextmanager
def load(plane: ControlPlane, names: list[str]) -> Iterator[None]:
    """Threads that keep a plane busy: somebody holds each lock there is now and then."""
    over = threading.Event()

    def work(name: str) -> None:
        while not over.is_set():
            try:
                plane.submit(name, prompt())
                plane.runtime_state(name)
                plane.register(name).ops_lifecycle.snapshots()
                next_event = plane.subscribe(name, after=0)
                next_event.next_within(0)
                next_event.close()
            except Overloaded:
                continue

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(WAIT_S)


# --- the parent's plane -----------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_every_call_says_that_the_process_was_forked(plane: ControlPlane, call: str) -> None:
    assert in_child(lambda: refusal(lambda: CALLS[call](plane))) == FORKED


def test_it_does_not_start_there_and_there_is_nothing_to_stop(plane: ControlPlane) -> None:
    assert in_child(lambda: refusal(plane.start)) == FORKED
    with pytest.raises(ControlPlaneForked, match="forked"):
        in_child(plane.start)
    assert in_child(lambda: plane.stop() is not None)
    assert plane.ingest("a", prompt()).is_accepted


def test_handles_that_are_open_are_refused_and_those_that_are_not_give_what_they_have(
    open_plane: OpenPlane,
) -> None:
    puppet = Puppet()
    plane = open_plane(puppet)
    plane.register("a")
    done = plane.submit("a", prompt())
    puppet.next_run().returns()
    outcome = result_of(done.completion)
    left = plane.submit("a", prompt())
    result_of(left.accepted)

    def child() -> Any:
        handle = left.completion
        calls: list[Callable[[], Any]] = [
            handle.result,
            handle.exception,
            lambda: handle.result(WAIT_S),
            lambda: handle.add_done_callback(print),
        ]
        return [refusal(call) for call in calls], done.completion.result(), handle.done()

    assert in_child(child) == ([FORKED] * 4, outcome, False)
    puppet.release()
    assert result_of(left.completion) == outcome


def test_subscriptions_and_watches_are_refused(plane: ControlPlane) -> None:
    subscription, watch = plane.subscribe("a"), plane.watch("a")

    def child() -> list[str]:
        said = [refusal(lambda each=each: next(each)) for each in (subscription, watch)]
        said += [refusal(each.next_ready) for each in (subscription, watch)]
        for each in (subscription, watch):
            each.close()
        return said

    assert in_child(child) == [FORKED] * 4
    assert not subscription.closed
    assert not watch.closed


def test_registries_are_refused(plane: ControlPlane) -> None:
    registry, live = plane.register("a").ops_lifecycle, OperationId.new()
    kind = OperationKind.BACKGROUND_TOOL_OP
    registry.register(live, kind=kind, display_name="it")
    registry.provisioning_succeeded(live)
    calls: list[Callable[[], Any]] = [
        lambda: registry.register(OperationId.new(), kind=kind, display_name="one more"),
        lambda: registry.complete(live),
        lambda: registry.progress(live),
        lambda: registry.snapshot(live),
        registry.snapshots,
        lambda: registry.live_ids,
        lambda: registry.watermark,
        lambda: registry.list_since(0),
        lambda: registry.watch(live),
        lambda: registry.wait_all([live]),
        lambda: registry.terminate_owner("over"),
    ]
    assert in_child(lambda: [refusal(call) for call in calls]) == [FORKED] * len(calls)
    assert registry.live_ids == (live,)


def test_a_run_that_forks_finds_nobody_in_the_child(open_plane: OpenPlane) -> None:
    def behaviour(called: Any, context: Any) -> RunOutput:
        calls: list[Callable[[], Any]] = [
            context.boundary,
            lambda: context.wait(WAIT_S),
            lambda: context.progress("half way"),
            lambda: context.messages,
            lambda: context.bindings,
        ]
        said = in_child(lambda: [refusal(call) for call in calls])
        return RunOutput(append=[], result=said)

    plane = open_plane(Agent(behaviour))
    plane.register("a")
    ended = result_of(plane.submit("a", prompt()).completion)
    assert ended.result[:3] == [FORKED] * 3
    assert ended.result[4] == FORKED


def test_an_executor_that_returns_in_the_child_ends_the_child(open_plane: OpenPlane) -> None:
    children: list[int] = []

    def behaviour(called: Any, context: Any) -> None:
        children.append(os.fork())

    plane = open_plane(Agent(behaviour))
    plane.register("a")
    result_of(plane.submit("a", prompt()).completion)
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert plane.ingest("a", prompt()).is_accepted


def test_whatever_other_threads_held_does_not_hang_the_child(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent(), max_concurrent_runs=4)
    names = [f"r{number}" for number in range(4)]
    plane.register_many(names)
    registry = plane.register("r0").ops_lifecycle
    registry.register(OperationId.new(), kind=OperationKind.BACKGROUND_TOOL_OP, display_name="it")
    plane.register("quiet")
    left = plane.submit("quiet", progress()).completion
    subscription = plane.subscribe()

    def child() -> list[str]:
        return [
            *(refusal(lambda call=call: CALLS[call](plane)) for call in CALLS),
            refusal(left.result),
            refusal(lambda: next(subscription)),
            refusal(registry.snapshots),
        ]

    with load(plane, names):
        for _ in range(50):
            assert set(in_child(child)) == {FORKED}


# --- a plane of the child's own ---------------------------------------------------------


def test_a_child_has_a_plane_of_its_own_on_another_store(
    open_plane: OpenPlane, tmp_path: Path
) -> None:
    plane = open_plane(Agent(), max_concurrent_runs=4)
    names = [f"r{number}" for number in range(4)]
    plane.register_many(names)

    def child() -> str:
        path = tmp_path / f"{os.getpid()}.db"
        with ControlPlane(SqliteStore(path), Agent()) as own:
            own.register("a")
            return str(result_of(own.submit("a", prompt()).completion).kind)

    with load(plane, names):
        for _ in range(40):
            assert in_child(child) == "completed"


def test_on_the_same_store_it_is_told_who_owns_it(plane: ControlPlane, path: Path) -> None:
    owner = os.getpid()

    def child() -> str:
        try:
            ControlPlane(SqliteStore(path)).start()
        except StoreError as error:
            return str(error)
        return "none"

    assert f"is in use by process {owner} " in in_child(child)
    assert plane.ingest("a", prompt()).is_accepted


def test_a_store_object_of_the_parents_is_told_so_too(open_plane: OpenPlane, path: Path) -> None:
    store = SqliteStore(path)
    plane = open_plane(Agent(), store=store)
    plane.register("a")
    owner = os.getpid()

    def child() -> str:
        try:
            ControlPlane(store).start()
        except StoreError as error:
            return str(error)
        return "none"

    with load(plane, ["a"]):
        for _ in range(10):
            assert f"is in use by process {owner} " in in_child(child)


def test_a_plane_that_was_not_started_may_be_started_in_the_child(path: Path) -> None:
    plane = ControlPlane(SqliteStore(path), Agent())

    def child() -> str:
        with plane:
            plane.register("a")
            return str(result_of(plane.submit("a", prompt()).completion).kind)

    assert in_child(child) == "completed"
    assert in_child(child) == "completed"


def test_a_memory_store_is_the_childs_own_copy(open_plane: OpenPlane) -> None:
    store = MemoryStore()
    plane = open_plane(store=store)
    plane.register("a")

    def child() -> bool:
        with ControlPlane(store) as own:
            return own.ingest("a", prompt()).is_accepted

    with load(plane, ["a"]):
        for _ in range(10):
            assert in_child(child)


# --- the end of the child ---------------------------------------------------------------

PARENT = """
import gc, os, sys
from actors import ControlPlane
from meerkat import PromptInput
from meerkat.errors import StoreError
from meerkat.store import SqliteStore

path, end = sys.argv[1:]
plane = ControlPlane(SqliteStore(path)).start()
plane.register("a")
plane.ingest("a", PromptInput("one"))
child = os.fork()
if child == 0:
    if end == "collected":
        del plane
        gc.collect()
    if end == "raised":
        raise ValueError("the child fails")
    sys.exit(0)
_, status = os.waitpid(child, 0)
plane.ingest("a", PromptInput("two"))
try:
    SqliteStore(path).acquire()
except StoreError as error:
    assert f"process {os.getpid()} " in str(error), error
else:
    raise AssertionError("nobody owns it")
plane.stop()
with ControlPlane(SqliteStore(path)) as plane:
    print(len(plane.active_input_ids("a")), os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(("end", "status"), [("left", 0), ("collected", 0), ("raised", 1)])
def test_however_a_child_ends_the_parent_goes_on(path: Path, end: str, status: int) -> None:
    script = textwrap.dedent(PARENT)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), end],
        capture_output=True,
        text=True,
        timeout=6 * WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", str(status)]
    assert "not stopped" not in done.stderr


def test_stopping_all_actors_in_the_child_ends_at_once(plane: ControlPlane) -> None:
    assert in_child(lambda: pykka.ActorRegistry.stop_all(timeout=WAIT_S)) is not None
    assert plane.ingest("a", prompt()).is_accepted
