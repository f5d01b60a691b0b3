"""Boundaries when things go wrong: runs that fail, crashes, and disks that stall or fail.

What a boundary committed stays consumed and is never run again; what it did not commit
waits, uncounted, and is run later.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from boundary_builders import (
    COMPLETED,
    TAKEN_IN,
    Midway,
    at_boundary,
    expect_run,
    messages_of,
    proven,
    stored,
    texts_in,
)
from plane_builders import (
    WAIT_S,
    OpenPlane,
    Puppet,
    decided,
    error_of,
    prompt,
    result_of,
    steered,
)
from plane_stores import BrokenOnce, FrozenDisk, StoreProxy

from actors import ControlPlane
from meerkat import WakeReason
from meerkat.errors import (
    ApplyFailed,
    CommitUnknown,
    RunCancelled,
    StoreError,
)
from meerkat.outcomes import CompletionKind
from meerkat.store import Batch, SqliteStore


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet, grace_s=WAIT_S)
    plane.register("a")
    return plane


# --- the run fails ----------------------------------------------------------------------


def test_after_a_failure_the_steered_stay_consumed_and_the_others_are_run_again(
    plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    midway = Midway(plane, puppet)
    midway.run.raises(ApplyFailed("after the boundary"))
    later = expect_run(puppet, "two", 1)
    again = expect_run(puppet, "first", 2, ends=False)
    assert again.does(messages_of) == stored(path)
    assert texts_in(path) == ["taken: one", "two", "re: two"]
    again.returns()
    assert midway.ended() == {"first": COMPLETED, "one": TAKEN_IN, "two": COMPLETED}
    assert texts_in(path) == ["taken: one", "two", "re: two", "first", "re: first"]
    assert proven(path) == {
        (midway.run.called.run_id, 0): [midway.ids["one"]],
        (later.called.run_id, 0): [midway.ids["two"]],
        (again.called.run_id, 0): [midway.ids["first"]],
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ApplyFailed("for good", recoverable=False), CompletionKind.ABANDONED),
        (RunCancelled(), CompletionKind.CANCELLED),
    ],
)
def test_however_a_run_ends_what_it_committed_stays(
    plane: ControlPlane, puppet: Puppet, path: Path, error: Exception, kind: CompletionKind
) -> None:
    midway = Midway(plane, puppet)
    midway.run.raises(error)
    expect_run(puppet, "two", 1)
    assert midway.ended() == {"first": kind, "one": TAKEN_IN, "two": COMPLETED}
    assert texts_in(path) == ["taken: one", "two", "re: two"]
    assert [sequence for _, sequence in proven(path)] == [0, 0]


# --- the process dies -------------------------------------------------------------------


@pytest.mark.parametrize("committed", [True, False])
def test_after_a_crash_what_was_committed_is_not_run_again(
    open_plane: OpenPlane, plane: ControlPlane, puppet: Puppet, path: Path, committed: bool
) -> None:
    midway = Midway(plane, puppet, committed=committed)
    lost = plane.submit("a", steered("lost", durability="ephemeral"))
    result_of(lost.accepted)
    image = path.with_name("image.db")
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{image}{suffix}")
    second = Puppet()
    again = open_plane(second, store=SqliteStore(image))
    left = "two" if committed else "one\n\ntwo"
    expect_run(second, left, 1)
    run = expect_run(second, "first", 2)
    assert result_of(again.completion("a", midway.ids["first"])).kind is COMPLETED
    one = result_of(again.completion("a", midway.ids["one"]))
    assert one.kind is (TAKEN_IN if committed else COMPLETED)
    assert again.input_state("a", lost.accepted.result().input_id) is None
    assert texts_in(image) == ["taken: one"] * committed + [
        left,
        f"re: {left}",
        "first",
        "re: first",
    ]
    first_run = midway.run.called.run_id
    kept = again.load_boundary_receipt("a", first_run, 0)
    assert (kept is not None) is committed
    assert again.load_boundary_receipt("a", first_run, 1) is None
    assert again.load_boundary_receipt("a", run.called.run_id, 0) is not None


# --- the disk ---------------------------------------------------------------------------


def test_nothing_is_handed_over_before_its_acceptance_is_durable(
    open_plane: OpenPlane, puppet: Puppet, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(puppet, store=disk)
    plane.register("a")
    plane.submit("a", prompt("first"))
    run = puppet.next_run()
    disk.freeze()
    submission = plane.submit("a", steered("one"))
    assert disk.stuck.wait(WAIT_S)
    taking: Any = run.context._link.take_boundary()  # type: ignore[attr-defined]
    decided(plane, "a")
    assert not taking.done()
    assert run.does(lambda context: context.wait(0)) is WakeReason.TIMEOUT
    disk.thaw()
    assert result_of(submission.accepted).is_accepted
    assert [each.content for each in result_of(taking)] == ["one"]
    assert run.does(lambda context: context.wait(0)) is WakeReason.STEERED


def test_what_was_not_accepted_after_all_is_handed_to_nobody(
    open_plane: OpenPlane, puppet: Puppet, path: Path
) -> None:
    disk = BrokenOnce(SqliteStore(path))
    plane = open_plane(puppet, store=disk, grace_s=WAIT_S)
    plane.register("a")
    first = plane.submit("a", prompt("first"))
    run = puppet.next_run()
    disk.break_next()
    disk.freeze()
    refused = plane.submit("a", steered("one"))
    assert disk.stuck.wait(WAIT_S)
    taking: Any = run.context._link.take_boundary()  # type: ignore[attr-defined]
    decided(plane, "a")
    disk.thaw()
    assert isinstance(error_of(refused.accepted), StoreError)
    assert isinstance(error_of(taking), StoreError)
    run.does(lambda context: context.cancelled.wait(WAIT_S))
    with pytest.raises(RunCancelled):
        run.does(at_boundary)
    run.returns()
    expect_run(puppet, "first", 2)
    assert result_of(first.completion).kind is COMPLETED
    assert texts_in(path) == ["first", "re: first"]


def test_a_receipt_is_given_when_it_is_durable(
    open_plane: OpenPlane, puppet: Puppet, path: Path
) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(puppet, store=disk)
    plane.register("a")
    midway = Midway(plane, puppet, committed=False)
    disk.freeze()
    committing = midway.committing()
    assert disk.stuck.wait(WAIT_S)
    decided(plane, "a")
    assert not committing.done()
    assert not midway.handles["one"].done()
    assert proven(path) == {}
    assert texts_in(path) == []
    disk.thaw()
    receipt = result_of(committing)
    assert proven(path) == {(receipt.run_id, 0): [midway.ids["one"]]}
    assert result_of(midway.handles["one"]).kind is TAKEN_IN


class FailsNext(StoreProxy):
    """A store whose next commit fails when a test says so, before or after it happened."""

    error: BaseException | None = None
    after = False

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        error, self.error = self.error, None
        answers = super().commit_many(batches if error is None or self.after else [])
        if error is not None:
            raise error
        return answers


FAULTS: dict[str, tuple[Callable[[], BaseException], bool, type[StoreError]]] = {
    "refused": (lambda: StoreError("disk full"), False, StoreError),
    "in doubt, and did not happen": (lambda: CommitUnknown("I/O error"), False, CommitUnknown),
    "in doubt, and happened": (lambda: CommitUnknown("I/O error"), True, CommitUnknown),
    "a defect before": (lambda: RuntimeError("binding"), False, CommitUnknown),
    "a defect after": (lambda: RuntimeError("binding"), True, CommitUnknown),
}


@pytest.mark.parametrize("caught", [True, False])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_boundary_that_cannot_be_committed_ends_the_run_and_the_store_decides(
    open_plane: OpenPlane, puppet: Puppet, path: Path, fault: str, caught: bool
) -> None:
    make, happened, typed = FAULTS[fault]
    disk = FailsNext(SqliteStore(path))
    plane = open_plane(puppet, store=disk, grace_s=WAIT_S)
    plane.register("a")
    midway = Midway(plane, puppet, committed=False)
    disk.error, disk.after = make(), happened
    error = error_of(midway.committing())
    assert type(error) is typed
    assert midway.run.does(lambda context: context.cancelled.wait(WAIT_S))
    with pytest.raises(RunCancelled):
        midway.commit()
    if caught:
        midway.run.returns()  # which is too late
    else:
        midway.run.raises(error)
    left = "two" if happened else "one\n\ntwo"
    expect_run(puppet, left, 1)
    expect_run(puppet, "first", 2)
    kind = TAKEN_IN if happened else COMPLETED
    assert midway.ended() == {"first": COMPLETED, "one": kind, "two": COMPLETED}
    assert texts_in(path) == ["taken: one"] * happened + [left, f"re: {left}", "first", "re: first"]
    consumed = [each for ids in proven(path).values() for each in ids]
    assert sorted(map(str, consumed)) == sorted(map(str, midway.ids.values()))
    assert plane.active_input_ids("a") == []
