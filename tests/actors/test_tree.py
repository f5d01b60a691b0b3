"""Trees: children start in order, come back as the strategy says, and stop in reverse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykka
import pytest
from plane_builders import WAIT_S, FakeClock, logged
from tree_builders import Child, Hold, Story, hear, info_of, move, over, running, soon, specs

from actors import ChildSpec, ChildState, Restart, Restarts, Strategy, Supervisor, SupervisorRef
from meerkat.errors import TooManyRestarts
from meerkat.limits import Backoff

StartTree = Callable[..., SupervisorRef]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def start() -> Iterator[StartTree]:
    """Start a tree that is stopped at the end of the test."""
    trees: list[SupervisorRef] = []

    def start_tree(*args: Any, **settings: Any) -> SupervisorRef:
        trees.append(Supervisor.start(*args, **settings))
        return trees[-1]

    yield start_tree
    for tree in trees:
        tree.stop(timeout=WAIT_S)


# --- the start --------------------------------------------------------------------------


def test_each_child_starts_after_the_one_before_it_is_ready(story: Story, start: StartTree) -> None:
    hold = story.then["start b"] = Hold()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start, specs(story, "abc"))
        assert hold.held.wait(WAIT_S)
        assert story.rest() == ["start a", "start b"]
        assert not starting.done()
        hold.let_go.set()
        tree = starting.result(WAIT_S)
    assert story.rest() == ["start c"]
    assert [(info.id, info.state) for info in tree.children()] == [
        (name, ChildState.RUNNING) for name in "abc"
    ]
    assert running(tree, "b").ask("there?", timeout=WAIT_S) == "there?"


@pytest.mark.parametrize("where", ["make c", "start c"])
def test_a_child_that_cannot_start_has_those_before_it_stopped(story: Story, where: str) -> None:
    error = ValueError("no")
    story.fail(where, error)
    before = pykka.ActorRegistry.get_all()
    with pytest.raises(ValueError, match="no") as caught:
        Supervisor.start(specs(story, "abcd"), restarts=soon())
    assert caught.value is error
    assert [what for what in story.rest() if what != where] == [
        "start a",
        "start b",
        "stop b",
        "stop a",
    ]
    assert pykka.ActorRegistry.get_all() == before


@pytest.mark.parametrize("where", ["make a", "start a"])
def test_what_would_end_the_host_is_raised_as_a_death(story: Story, where: str) -> None:
    story.fail(where, SystemExit(1))
    with pytest.raises(pykka.ActorDeadError, match="SystemExit"):
        Supervisor.start(specs(story, "a"))


def test_a_tree_may_have_no_children(start: StartTree) -> None:
    tree = start()
    assert tree.children() == ()
    with pytest.raises(KeyError):
        tree.child("a")


def test_two_trees_know_nothing_of_each_other(story: Story, start: StartTree) -> None:
    ours, theirs = start(specs(story, "ab"), restarts=soon()), start(specs(story, "ab"))
    theirs_before = theirs.children()
    running(ours, "a").tell(ValueError())
    running(ours, "a", restarts=1)
    ours.stop(timeout=WAIT_S)
    assert theirs.children() == theirs_before
    assert all(info.ref is not None and info.ref.is_alive() for info in theirs.children())


# --- what comes back --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["start b"]),
        (Strategy.ONE_FOR_ALL, ["stop c", "stop a", "start a", "start b", "start c"]),
        (Strategy.REST_FOR_ONE, ["stop c", "start b", "start c"]),
    ],
)
def test_a_failure_restarts_whom_the_strategy_names(
    strategy: Strategy, expected: list[str], story: Story, start: StartTree
) -> None:
    tree = start(specs(story, "abc"), restarts=soon(strategy))
    before = {info.id: info.ref for info in tree.children()}
    story.next(3)
    running(tree, "b").tell(ValueError("oh"))
    assert story.next(1 + len(expected)) == ["fail b", *expected]
    for name in "abc":
        restarts = int(f"start {name}" in expected)
        assert (running(tree, name, restarts=restarts) is before[name]) == (restarts == 0)
        assert info_of(tree, name).restarts == restarts
    assert info_of(tree, "b").last_reason == "ValueError: oh"
    assert info_of(tree, "c").last_reason is None


@pytest.mark.parametrize(
    ("kind", "comes_back"),
    [
        (Restart.PERMANENT, (True, True)),
        (Restart.TRANSIENT, (False, True)),
        (Restart.TEMPORARY, (False, False)),
    ],
)
@pytest.mark.parametrize("failed", [False, True])
def test_the_type_of_a_child_says_after_which_ends_it_comes_back(
    kind: Restart, comes_back: tuple[bool, bool], failed: bool, story: Story, start: StartTree
) -> None:
    tree = start(specs(story, "a", restart=kind), restarts=soon())
    first = running(tree, "a")
    first.tell(ValueError()) if failed else first.stop(timeout=WAIT_S)
    over(first)
    if comes_back[failed]:
        assert running(tree, "a", restarts=1) is not first
    else:
        hear(tree)
        assert info_of(tree, "a").state is ChildState.STOPPED
        assert tree.child("a") is None
        assert info_of(tree, "a").last_reason == ("ValueError" if failed else None)


def test_a_group_that_restarts_leaves_out_whoever_does_not_come_back(
    story: Story, start: StartTree
) -> None:
    children = [
        *specs(story, "a"),
        *specs(story, "b", restart=Restart.TEMPORARY),
        *specs(story, "c", restart=Restart.TRANSIENT),
        *specs(story, "d"),
    ]
    tree = start(children, restarts=soon(Strategy.ONE_FOR_ALL))
    tree.terminate("d", timeout=WAIT_S)
    story.next(5)
    running(tree, "a").tell(ValueError())
    assert story.next(5) == ["fail a", "stop c", "stop b", "start a", "start c"]
    running(tree, "c", restarts=1)
    assert [info.state.value for info in tree.children()] == [
        "running",
        "stopped",
        "running",
        "stopped",
    ]


def test_a_restart_waits_on_the_clock_and_not_in_the_mailbox(
    story: Story, start: StartTree
) -> None:
    clock = FakeClock()
    backoff = Backoff(base_s=10.0, cap_s=100.0)  # half of it without jitter
    tree = start(specs(story, "ab"), restarts=Restarts(backoff=backoff), clock=clock)
    story.next(2)
    for restarts, delay_s in enumerate((5.0, 10.0, 20.0), start=1):
        running(tree, "a").tell(ValueError())
        assert story.next() == ["fail a"]
        while info_of(tree, "a").state is not ChildState.WAITING:
            hear(tree)
        assert tree.child("a") is None
        assert running(tree, "b").ask("there?", timeout=WAIT_S) == "there?"
        move(clock, tree, delay_s - 0.5)
        assert story.rest() == []
        move(clock, tree, 0.5)
        assert story.next() == ["start a"]
        running(tree, "a", restarts=restarts)


def test_a_child_that_cannot_come_back_at_once_is_tried_again(
    story: Story, start: StartTree
) -> None:
    tree = start(specs(story, "a"), restarts=soon(intensity=3))
    story.next()
    tries: list[int] = []

    def not_yet() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("not yet")

    story.then["make a"] = not_yet
    running(tree, "a").tell(ValueError())
    assert story.next(2) == ["fail a", "start a"]
    running(tree, "a", restarts=3)
    assert info_of(tree, "a").last_reason == "OSError: not yet"


def test_one_failure_too_many_ends_the_supervisor_and_its_children_in_reverse(
    story: Story, start: StartTree
) -> None:
    tree = start(specs(story, "abc"), restarts=soon(intensity=1))
    story.next(3)
    running(tree, "b").tell(ValueError("first"))
    assert story.next(2) == ["fail b", "start b"]
    running(tree, "b", restarts=1).tell(ValueError("second"))
    ended = over(tree)
    assert isinstance(ended.error, TooManyRestarts)
    assert (ended.error.child, ended.error.reason) == ("b", "ValueError: second")
    assert story.rest() == ["fail b", "stop c", "stop a"]
    assert {info.state for info in tree.children()} == {ChildState.STOPPED}


# --- the end ----------------------------------------------------------------------------


def test_children_stop_in_the_reverse_order_one_by_one(story: Story, start: StartTree) -> None:
    tree = start(specs(story, "abc"))
    hold = story.then["stop b"] = Hold()
    story.next(3)
    stopped = tree.stop(block=False)
    assert hold.held.wait(WAIT_S)
    assert story.rest() == ["stop c", "stop b"]
    hold.let_go.set()
    assert stopped.get(timeout=WAIT_S)
    assert story.rest() == ["stop a"]
    assert over(tree).error is None
    assert [info.state for info in tree.children()] == [ChildState.STOPPED] * 3


def test_a_child_that_fails_in_its_end_is_not_started_again(story: Story, start: StartTree) -> None:
    tree = start(specs(story, "abc"), restarts=soon())
    story.fail("stop b", SystemExit())
    story.next(3)
    assert tree.stop(timeout=WAIT_S)
    assert story.rest() == ["stop c", "stop b", "stop a"]
    assert over(tree).error is None
    assert info_of(tree, "b").last_reason == "SystemExit"


def test_a_child_that_does_not_stop_in_time_is_left_behind_and_said_so(
    story: Story, start: StartTree
) -> None:
    tree = start([*specs(story, "a"), *specs(story, "b", shutdown_s=0.01), *specs(story, "c")])
    hold = story.then["stop b"] = Hold()
    story.next(3)
    with logged("child b did not stop within 0.01 s") as said:
        tree.stop(timeout=WAIT_S)
    assert said.is_set()
    assert story.rest() == ["stop c", "stop b", "stop a"]
    assert [info.left_behind for info in tree.children()] == [0, 1, 0]
    hold.let_go.set()


def test_one_that_is_left_behind_in_a_restart_is_replaced(story: Story, start: StartTree) -> None:
    clock = FakeClock()
    settings = soon(Strategy.ONE_FOR_ALL)
    tree = start(specs(story, "ab", shutdown_s=5.0), restarts=settings, clock=clock)
    hold = story.then["stop b"] = Hold()
    story.next(2)
    hung = running(tree, "b")
    running(tree, "a").tell(ValueError())
    assert hold.held.wait(WAIT_S)
    assert story.next(2) == ["fail a", "stop b"]
    hear(tree)
    assert tree.child("a") is None
    move(clock, tree, 5.0)
    assert story.next(2) == ["start a", "start b"]
    assert running(tree, "b", restarts=1) is not hung
    assert info_of(tree, "b").left_behind == 1
    hold.let_go.set()
    over(hung)
    hear(tree)
    assert running(tree, "b").is_alive()  # the end of the old one is no end of the new
    assert info_of(tree, "b").restarts == 1


def test_a_stop_does_not_wait_for_a_child_that_hangs_in_its_start(story: Story) -> None:
    hold = story.then["start b"] = Hold()
    trees: list[pykka.ActorRef[Any]] = []

    class Known(Supervisor):
        def on_start(self) -> None:
            trees.append(self.actor_ref)
            super().on_start()

    with ThreadPoolExecutor(1) as pool:
        children = [*specs(story, "a"), *specs(story, "bc", shutdown_s=0.01)]
        starting = pool.submit(Known.start, children)
        assert hold.held.wait(WAIT_S)
        assert trees[0].stop(timeout=WAIT_S)
        assert starting.result(WAIT_S).children()[1].left_behind == 1
    hold.let_go.set()
    assert story.rest() == ["start a", "start b", "stop a"]


def test_stopping_every_actor_ends_a_tree_in_order_and_restarts_nobody(
    story: Story, start: StartTree
) -> None:
    leaves = ChildSpec("leaves", Supervisor, (specs(story, "bc"),), {"restarts": soon()})
    tree = start([*specs(story, "a"), leaves, *specs(story, "d")], restarts=soon())
    inner = running(tree, "leaves")
    running(tree, "a").tell(ValueError())
    assert story.next(6) == [*(f"start {name}" for name in "abcd"), "fail a", "start a"]
    running(tree, "a", restarts=1)
    pykka.ActorRegistry.stop_all()
    assert story.rest() == ["stop d", "stop c", "stop b", "stop a"]
    assert over(inner).error is over(tree).error is None
    assert pykka.ActorRegistry.get_all() == []


def test_stopping_every_actor_at_once_ends_a_tree_too(story: Story, start: StartTree) -> None:
    tree = start(specs(story, "abc"), restarts=soon())
    for stopped in pykka.ActorRegistry.stop_all(block=False):
        stopped.get(timeout=WAIT_S)
    over(tree)
    while left := pykka.ActorRegistry.get_all():
        for ref in left:
            ref.stop(timeout=WAIT_S)
    assert [info.ref for info in tree.children()] == [None] * 3


# --- supervisors under supervisors ------------------------------------------------------


def test_a_supervisor_that_gives_up_is_its_parents_failed_child(
    story: Story, start: StartTree
) -> None:
    inner = ChildSpec("inner", Supervisor, (specs(story, "bc"),), {"restarts": soon(intensity=0)})
    tree = start([*specs(story, "a"), inner], restarts=soon())
    first = running(tree, "inner")
    assert isinstance(first, SupervisorRef)
    story.next(3)
    running(first, "b").tell(ValueError("deep"))
    assert story.next(4) == ["fail b", "stop c", "start b", "start c"]
    second = running(tree, "inner", restarts=1)
    assert isinstance(over(first).error, TooManyRestarts)
    said = "TooManyRestarts: Too many restarts: b: ValueError: deep"
    assert info_of(tree, "inner").last_reason == said
    assert isinstance(second, SupervisorRef)
    assert running(second, "c").is_alive()


def test_a_tree_is_up_when_its_leaves_are(story: Story, start: StartTree) -> None:
    hold = story.then["start b"] = Hold()
    inner = ChildSpec("inner", Supervisor, (specs(story, "b"),))
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start, [inner, *specs(story, "c")])
        assert hold.held.wait(WAIT_S)
        assert story.rest() == ["start b"]
        hold.let_go.set()
        assert starting.result(WAIT_S).child("inner") is not None
    assert story.rest() == ["start c"]


def test_a_leaf_that_cannot_start_keeps_the_whole_tree_from_its_start(story: Story) -> None:
    story.fail("start c", ValueError("leaf"))
    inner = ChildSpec("inner", Supervisor, (specs(story, "bc"),))
    with pytest.raises(ValueError, match="leaf"):
        Supervisor.start([*specs(story, "a"), inner])
    assert story.rest() == ["start a", "start b", "start c", "stop b", "stop a"]


# --- the host's own actors --------------------------------------------------------------


def test_a_child_is_found_where_pykka_finds_actors(story: Story, start: StartTree) -> None:
    tree = start(specs(story, "ab"))
    assert pykka.ActorRegistry.get_by_class(Child) == [running(tree, name) for name in "ab"]
    assert pykka.ActorRegistry.get_all()[-1] is tree


def test_a_child_may_ask_its_own_supervisor_who_its_siblings_are(
    story: Story, start: StartTree
) -> None:
    tree = start(specs(story, "ab"))
    sibling = running(tree, "a").ask(lambda: tree.child("b"), timeout=WAIT_S)
    assert sibling is running(tree, "b")
    assert threading.active_count() > 3
