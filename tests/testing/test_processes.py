"""Children: what they say is heard in full, and how they end is known."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from meerkat.fail_points import FailPoint
from meerkat.testing.processes import Child, ChildFailed, Children

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(["process_programs"]) as children:
        yield children


def words_of(child: Child) -> list[list[object]]:
    heard = []
    while (said := child.hear()) is not None:
        heard.append(list(said))
    return heard


def test_what_a_child_says_is_heard_and_it_ends_well(children: Children) -> None:
    child = children.start("process_programs:speak", 1, "zwei", None)
    heard = words_of(child)
    assert heard[:-1] == [["born"], ["word", 1], ["word", "zwei"], ["word", None]]
    assert not child.end()
    assert child.status == 0
    assert set(child.reached.values()) == {0}


def test_a_child_that_fails_says_where(children: Children) -> None:
    child = children.start("process_programs:fail")
    with pytest.raises(ChildFailed, match=r"process_programs.py.*\n.*\nValueError: a child's own"):
        words_of(child)


def test_a_child_that_is_no_program_says_so(children: Children) -> None:
    child = children.start("process_programs:nothing")
    with pytest.raises(ChildFailed, match="nothing"):
        child.end()


def test_a_child_is_killed_at_a_fail_point(children: Children) -> None:
    child = children.start("process_programs:pass_points", 5, kills={FailPoint.COMMIT_DUE: 3})
    assert words_of(child) == [["born"], ["passed", 0], ["passed", 1]]
    assert child.end()
    assert child.status == KILLED


def test_a_child_that_does_not_come_to_its_fail_point_ends_by_itself(children: Children) -> None:
    child = children.start("process_programs:pass_points", 2, kills={FailPoint.COMMIT_DUE: 3})
    assert not child.end()
    assert child.reached[FailPoint.COMMIT_DUE] == 2


def test_a_child_is_killed_whatever_it_does(children: Children) -> None:
    child = children.start("process_programs:speak_for_ever")
    for _ in range(5):
        assert child.hear() is not None
    assert child.kill()


def test_a_child_that_has_ended_cannot_be_killed(children: Children) -> None:
    child = children.start("process_programs:speak")
    assert len(words_of(child)) == 2
    assert not child.end()
    assert not child.kill()


def test_a_child_that_says_nothing_counts_as_one_that_hangs(children: Children) -> None:
    child = children.start("process_programs:be_silent")
    assert child.hear() == ["born"]
    with pytest.raises(ChildFailed, match="said nothing"):
        child.hear(within_s=0.01)


def test_what_lives_on_ends_with_the_children() -> None:
    with Children() as children:
        child = children.start("process_programs:speak_for_ever")
        assert child.hear() is not None
    assert child.status == KILLED


def test_a_child_that_ends_in_a_way_of_its_own_has_failed(children: Children) -> None:
    child = children.start("process_programs:leave", 3)
    with pytest.raises(ChildFailed, match="status 3"):
        child.end()
