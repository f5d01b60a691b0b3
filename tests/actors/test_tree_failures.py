"""Trees whose children fail everywhere, in every way: the others go on, and nothing is left."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from plane_builders import WAIT_S
from tree_builders import (
    FAILURES,
    Child,
    Story,
    hear,
    info_of,
    open_files,
    over,
    running,
    soon,
    specs,
)

from actors import ChildSpec, Restart, Restarts, Supervisor, SupervisorRef
from meerkat.limits import Backoff

RESTARTS = 1_000


class Bystander(pykka.ThreadingActor):
    """An actor of the host's that is under no supervisor."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        return message


@pytest.fixture(autouse=True)
def bystander(request: pytest.FixtureRequest) -> Iterator[pykka.ActorRef[Bystander]]:
    """It goes on, whatever happens in a tree."""
    ref = Bystander.start()
    yield ref
    if "stop_of_all" not in request.node.name:
        assert ref.ask("there?", timeout=WAIT_S) == "there?"
    ref.stop(timeout=WAIT_S)


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def tree(story: Story) -> Iterator[SupervisorRef]:
    tree = Supervisor.start(specs(story, "abc"), restarts=soon(intensity=4))
    story.next(3)
    yield tree
    tree.stop(timeout=WAIT_S)


@pytest.mark.parametrize("error", FAILURES)
def test_a_message_that_is_told_and_fails(
    error: type[BaseException], tree: SupervisorRef, story: Story
) -> None:
    running(tree, "b").tell(error("injected"))
    assert running(tree, "b", restarts=1).ask("there?", timeout=WAIT_S) == "there?"
    assert story.rest() == ["fail b", "start b"]
    assert info_of(tree, "b").last_reason == f"{error.__name__}: injected"
    assert [info_of(tree, name).restarts for name in "ac"] == [0, 0]


@pytest.mark.parametrize("error", [e for e in FAILURES if not issubclass(e, Exception)])
def test_a_message_that_is_asked_and_would_end_the_process(
    error: type[BaseException], tree: SupervisorRef
) -> None:
    with pytest.raises(pykka.ActorDeadError, match="injected"):
        running(tree, "b").ask(error("injected"), timeout=WAIT_S)
    assert running(tree, "b", restarts=1).is_alive()


@pytest.mark.parametrize("error", [e for e in FAILURES if issubclass(e, Exception)])
def test_a_message_that_is_asked_and_fails_is_its_askers(
    error: type[BaseException], tree: SupervisorRef
) -> None:
    first = running(tree, "b")
    with pytest.raises(error, match="injected"):
        first.ask(error("injected"), timeout=WAIT_S)
    hear(tree)
    assert tree.child("b") is first


@pytest.mark.parametrize("where", ["make b", "start b"])
@pytest.mark.parametrize("error", FAILURES)
def test_a_restart_that_fails_in_its_start(
    error: type[BaseException], where: str, tree: SupervisorRef, story: Story
) -> None:
    failed: list[BaseException] = []

    def fail_twice() -> None:
        if len(failed) < 2:
            failed.append(error("injected"))
            raise failed[-1]

    story.then[where] = fail_twice
    running(tree, "b").tell(ValueError())
    assert running(tree, "b", restarts=3).ask("there?", timeout=WAIT_S) == "there?"
    assert len(failed) == 2
    assert info_of(tree, "b").last_reason == f"{error.__name__}: injected"


@pytest.mark.parametrize("where", ["stop b", "fail b"])
@pytest.mark.parametrize("error", FAILURES)
def test_a_hook_at_the_end_that_fails(
    error: type[BaseException], where: str, tree: SupervisorRef, story: Story
) -> None:
    story.fail(where, error("in the hook"))
    ref = running(tree, "b")
    ref.stop(timeout=WAIT_S) if where == "stop b" else ref.tell(ValueError("injected"))
    assert running(tree, "b", restarts=1).is_alive()
    tree.stop(timeout=WAIT_S)
    assert story.rest()[-3:] == ["stop c", "stop b", "stop a"]


@pytest.mark.parametrize("error", FAILURES)
def test_a_failure_of_the_supervisor_itself_ends_its_tree_alone(
    error: type[BaseException],
    tree: SupervisorRef,
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Supervisor.start(specs(Story(), "x"))
    raised = error("injected")

    def fail(_self: object, *_of: Any) -> None:
        raise raised

    with monkeypatch.context() as patched:
        patched.setattr(Supervisor, "_on_ended", fail)
        running(tree, "b").stop(timeout=WAIT_S)
        assert over(tree).error is raised
    assert story.rest() == ["stop b", "stop c", "stop a"]
    assert running(other, "x").is_alive()
    other.stop(timeout=WAIT_S)


def test_no_thread_to_be_had_is_a_failure_like_any_other(
    tree: SupervisorRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    start = threading.Thread.start

    def refuse_twice(thread: threading.Thread) -> None:
        if len(refused) < 2 and thread.name.startswith("Child"):
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_twice)
    running(tree, "b").tell(ValueError())
    assert running(tree, "b", restarts=3).is_alive()
    assert len(refused) == 2
    assert info_of(tree, "b").last_reason == "RuntimeError: can't start new thread"
    assert len(pykka.ActorRegistry.get_by_class(Child)) == 3


def child_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("Child")]


def this_thread() -> threading.Thread:
    return threading.current_thread()


def test_a_thousand_restarts_leave_nothing_behind(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "actors")
    restarts = Restarts(intensity=RESTARTS, period_s=3600.0, backoff=Backoff(base_s=0.0))
    tree = Supervisor.start(specs(story, "ab"), restarts=restarts)
    threads, files = threading.active_count(), open_files()
    errors = [error() for error in FAILURES]
    for number in range(RESTARTS):
        running(tree, "a", restarts=number).tell(errors[number % len(errors)])
    last = running(tree, "a", restarts=RESTARTS)
    alive = {running(tree, name).ask(this_thread, timeout=WAIT_S) for name in "ab"}
    for thread in set(child_threads()) - alive:  # it has told of its end, and is to return
        thread.join(WAIT_S)
    assert set(child_threads()) == alive
    assert threading.active_count() <= threads + 1  # the timers'
    assert open_files() == files
    assert set(pykka.ActorRegistry.get_by_class(Child)) == {last, running(tree, "b")}
    tree.stop(timeout=WAIT_S)


def test_many_children_that_fail_at_once_all_come_back(story: Story) -> None:
    names = [f"c{number}" for number in range(50)]
    children = [ChildSpec(name, Child, (name, story)) for name in names]
    restarts = Restarts(intensity=200, backoff=Backoff(base_s=0.0))
    tree = Supervisor.start(children, restarts=restarts)
    for name in names:
        running(tree, name).tell(SystemExit())
    for name in names:
        assert running(tree, name, restarts=1).ask("there?", timeout=WAIT_S) == "there?"
    tree.stop(timeout=WAIT_S)
    assert story.rest()[-50:] == [f"stop {name}" for name in reversed(names)]


@pytest.mark.parametrize("block", [True, False])
def test_a_stop_of_all_amid_failures_leaves_nobody(story: Story, block: bool) -> None:
    for _ in range(20):
        inner = ChildSpec(
            "inner", Supervisor, (specs(story, "cd"),), {"restarts": soon(intensity=100)}
        )
        temporary = specs(story, "e", restart=Restart.TEMPORARY)
        tree = Supervisor.start(
            [*specs(story, "ab"), inner, *temporary], restarts=soon(intensity=100)
        )
        leaves = running(tree, "inner")
        assert isinstance(leaves, SupervisorRef)
        for parent, name in ((tree, "a"), (leaves, "c"), (leaves, "d"), (tree, "e")):
            running(parent, name).tell(ValueError())
        pykka.ActorRegistry.stop_all(block=block)
        assert over(tree).error is over(leaves).error is None
        assert pykka.ActorRegistry.get_by_class(Child) == []
        assert pykka.ActorRegistry.get_by_class(Supervisor) == []
