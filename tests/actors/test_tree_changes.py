"""Trees that change: children are added, stopped, started again and forgotten by the host."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pykka
import pytest
from plane_builders import WAIT_S, FakeClock
from tree_builders import Child, Hold, Story, hear, info_of, over, running, soon, specs

from actors import (
    ChildSpec,
    ChildState,
    Restart,
    Restarts,
    Strategy,
    Supervisor,
    SupervisorRef,
)
from meerkat.limits import Backoff


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def tree(story: Story) -> Iterator[SupervisorRef]:
    tree = Supervisor.start(specs(story, "ab"), restarts=soon())
    story.next(2)
    yield tree
    tree.stop(timeout=WAIT_S)


def test_a_child_that_is_added_runs_and_is_kept_running(tree: SupervisorRef, story: Story) -> None:
    added = tree.add(specs(story, "c")[0], timeout=WAIT_S)
    assert tree.child("c") is added
    added.tell(ValueError())
    assert running(tree, "c", restarts=1) is not added
    assert [info.id for info in tree.children()] == ["a", "b", "c"]
    tree.stop(timeout=WAIT_S)
    assert story.rest()[-3:] == ["stop c", "stop b", "stop a"]


@pytest.mark.parametrize("where", ["make c", "start c"])
@pytest.mark.parametrize("error", [OSError("no"), SystemExit("no")])
def test_a_child_that_cannot_start_is_not_added_and_harms_nobody(
    where: str, error: BaseException, tree: SupervisorRef, story: Story
) -> None:
    story.fail(where, error)
    with pytest.raises((OSError, pykka.ActorDeadError), match="no"):
        tree.add(specs(story, "c")[0], timeout=WAIT_S)
    assert [info.id for info in tree.children()] == ["a", "b"]
    del story.then[where]
    assert tree.add(specs(story, "c")[0], timeout=WAIT_S).is_alive()


def test_a_name_is_taken_once(tree: SupervisorRef, story: Story) -> None:
    with pytest.raises(ValueError, match="'a' already"):
        tree.add(specs(story, "a")[0], timeout=WAIT_S)
    with pytest.raises(ValueError, match="'a' already"):
        Supervisor.start(specs(story, "aa"))


def test_a_child_that_is_terminated_stays_so_until_it_is_restarted(
    tree: SupervisorRef, story: Story
) -> None:
    first = running(tree, "a")
    tree.terminate("a", timeout=WAIT_S)
    assert not first.is_alive()
    assert tree.child("a") is None
    assert info_of(tree, "a").state is ChildState.STOPPED
    tree.terminate("a", timeout=WAIT_S)  # it is, already
    hear(tree)
    assert story.rest() == ["stop a"]
    again = tree.restart_child("a", timeout=WAIT_S)
    assert tree.child("a") is again
    tree.terminate("a", timeout=WAIT_S)
    assert story.rest() == ["start a", "stop a"]


def test_only_what_is_stopped_is_restarted_or_forgotten(tree: SupervisorRef) -> None:
    for call in (tree.restart_child, tree.delete):
        with pytest.raises(ValueError, match="is running, not stopped"):
            call("a", timeout=WAIT_S)
    tree.terminate("a", timeout=WAIT_S)
    tree.delete("a", timeout=WAIT_S)
    assert [info.id for info in tree.children()] == ["b"]


def test_a_restart_that_cannot_be_leaves_the_child_stopped(
    tree: SupervisorRef, story: Story
) -> None:
    tree.terminate("a", timeout=WAIT_S)
    story.fail("start a", OSError("no"))
    with pytest.raises(OSError, match="no"):
        tree.restart_child("a", timeout=WAIT_S)
    assert info_of(tree, "a").state is ChildState.STOPPED
    assert running(tree, "b").is_alive()


@pytest.mark.parametrize("call", ["child", "terminate", "restart_child", "delete"])
def test_a_stranger_is_a_key_error(call: str, tree: SupervisorRef) -> None:
    with pytest.raises(KeyError):
        getattr(tree, call)("z")


def test_a_call_that_the_caller_does_not_wait_for_is_carried_out(
    tree: SupervisorRef, story: Story
) -> None:
    hold = story.then["stop a"] = Hold()
    ref = running(tree, "a")
    with pytest.raises(TimeoutError):
        tree.terminate("a", timeout=0.01)
    hold.let_go.set()
    over(ref)
    hear(tree)
    assert info_of(tree, "a").state is ChildState.STOPPED


def test_who_waits_for_a_child_is_answered_by_the_end_of_the_tree(
    tree: SupervisorRef, story: Story
) -> None:
    holds = story.then["start c"], story.then["stop b"] = Hold(), Hold()
    with ThreadPoolExecutor(2) as pool:
        adding = pool.submit(tree.add, specs(story, "c", shutdown_s=0.01)[0])
        assert holds[0].held.wait(WAIT_S)
        stopping = pool.submit(tree.terminate, "b")
        assert holds[1].held.wait(WAIT_S)
        ended = tree.stop(block=False)
        with pytest.raises(pykka.ActorDeadError):
            adding.result(WAIT_S)
        holds[1].let_go.set()
        assert stopping.result(WAIT_S) is None
        assert ended.get(timeout=WAIT_S)
        holds[0].let_go.set()
    with pytest.raises(pykka.ActorDeadError):
        tree.terminate("a", timeout=WAIT_S)
    assert info_of(tree, "c").left_behind == 1


def test_who_waits_for_one_that_had_no_turn_yet_is_answered_by_the_end_too(story: Story) -> None:
    restarts = Restarts(strategy=Strategy.REST_FOR_ONE, backoff=Backoff(base_s=10.0))
    tree = Supervisor.start(specs(story, "a"), restarts=restarts, clock=FakeClock())
    over_now = running(tree, "a")
    over_now.tell(ValueError())
    over(over_now)
    with ThreadPoolExecutor(1) as pool:
        adding = pool.submit(tree.add, specs(story, "b")[0])
        while [info.id for info in tree.children()] != ["a", "b"]:
            hear(tree)
        tree.stop(timeout=WAIT_S)
        with pytest.raises(pykka.ActorDeadError):
            adding.result(WAIT_S)
    assert {info.state for info in tree.children()} == {ChildState.STOPPED}


# --- what a child may be ----------------------------------------------------------------


def test_a_spec_refuses_what_is_no_child() -> None:
    for bad, error in (
        ({"id": 1}, TypeError),
        ({"actor_class": object}, TypeError),
        ({"actor_class": Child("x", Story())}, TypeError),
        ({"restart": "permanent"}, TypeError),
        ({"shutdown_s": -1}, ValueError),
        ({"shutdown_s": float("inf")}, ValueError),
        ({"shutdown_s": True}, TypeError),
    ):
        with pytest.raises(error):
            ChildSpec(**{"id": "x", "actor_class": Child, **bad})
    with pytest.raises(TypeError, match=r"^restart is a Restart, not str$"):
        ChildSpec("x", Child, restart="permanent")  # type: ignore[arg-type]


def test_a_class_may_say_how_long_its_stop_takes() -> None:
    class Slow(Child):
        shutdown_s = 60.0

    assert ChildSpec("x", Child).shutdown_s == 5.0
    assert ChildSpec("x", Slow).shutdown_s == 60.0
    assert ChildSpec("x", Slow, shutdown_s=1).shutdown_s == 1
    assert ChildSpec("x", Supervisor).shutdown_s is None
    assert ChildSpec("x", Child).restart is Restart.PERMANENT


def test_a_supervisor_takes_specs_alone() -> None:
    with pytest.raises(TypeError, match="ChildSpec"):
        Supervisor.start([Child])
