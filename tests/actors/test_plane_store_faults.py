"""Store faults: what callers are told of a store that fails, and what happened all the same.

That nothing is lost or done twice, whichever call fails in whatever way, is shown by test 4 of
the reliability table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from plane_builders import (
    WAIT_S,
    FakeClock,
    OpenPlane,
    decided,
    error_of,
    next_event,
    prompt,
    result_of,
)
from plane_stores import BrokenOnce, FrozenDisk, StoreProxy

from actors import ControlPlane
from meerkat import InputPhase, LogicalRuntimeId, RuntimeState
from meerkat.errors import CommitUnknown, Fenced, StoreError
from meerkat.event_log import first_sequence
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import CompletionKind
from meerkat.store import Batch, RuntimeStore, SqliteStore

A = LogicalRuntimeId("a")


def insist(call: Callable[[], Any]) -> Any:
    """Try again until it works; each error on the way is a typed one."""
    for _ in range(5):
        try:
            return call()
        except StoreError:
            continue
    return call()


class Unreadable(StoreProxy):
    """A store that cannot be read a few times."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.refusals = 0

    def load_active_inputs(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        if self.refusals:
            self.refusals -= 1
            raise StoreError("cannot read")
        return self.inner.load_active_inputs(runtime_id)


def test_a_runtime_that_cannot_be_read_is_loaded_when_it_can(
    open_plane: OpenPlane, quiet_plane: ControlPlane, path: Path
) -> None:
    offered = prompt("kept")
    quiet_plane.ingest("a", offered)
    quiet_plane.stop()
    store = Unreadable(SqliteStore(path))
    store.refusals = 2  # the background load at start, and the first call
    plane = open_plane(store=store, clock=FakeClock())  # which does not try by itself
    while store.refusals == 2:
        pass
    with pytest.raises(StoreError, match="cannot read"):
        plane.runtime_state("a")
    assert plane.active_input_ids("a") == [offered.id]


class Stealing(StoreProxy):
    """A store in which somebody else claims the runtime at the next commit."""

    steal = False

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        if self.steal:
            return [Fenced(batch.runtime.runtime_id) for batch in batches]
        return super().commit_many(batches)


def test_a_fenced_driver_gives_its_runtime_up(open_plane: OpenPlane, path: Path) -> None:
    store = Stealing(SqliteStore(path))
    plane = open_plane(store=store)
    plane.register_many(["a", "b"])
    waiting = plane.submit("a", prompt("mine"))
    result_of(waiting.accepted)
    store.steal = True
    lost = plane.submit("a", prompt("too late"))
    assert isinstance(error_of(lost.accepted), Fenced)
    ended = result_of(waiting.completion)
    assert (ended.kind, ended.reason) == (CompletionKind.RUNTIME_TERMINATED, "taken over")
    with pytest.raises(Fenced):
        plane.runtime_state("a")
    store.steal = False
    assert plane.runtime_state("b") is RuntimeState.IDLE
    assert plane.recover("a").inputs_recovered == 1
    assert plane.runtime_state("a") is RuntimeState.IDLE


def test_after_somebody_else_had_the_runtime_events_go_on_above_theirs(
    open_plane: OpenPlane, path: Path
) -> None:
    store = SqliteStore(path)
    plane = open_plane(store=store)
    plane.register("a")
    row = store.load_runtime(A)
    assert row is not None
    store.commit(Batch(runtime=evolve(row, fence=row.fence + 5), expected_fence=row.fence))
    with pytest.raises(Fenced):
        plane.ingest("a", prompt())
    plane.recover("a")
    with plane.subscribe("a") as events:
        plane.ingest("a", prompt())
        assert next_event(events).sequence > first_sequence(row.fence + 5) - 1


def test_one_bad_batch_does_not_fail_its_neighbours(open_plane: OpenPlane, path: Path) -> None:
    """Both are in one group; the store refuses one of them."""

    class Picky(FrozenDisk):
        def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
            super().commit_many([batch for batch in batches if batch.runtime.runtime_id != A])
            bad = {A: StoreError("not this one")}
            return [bad.get(batch.runtime.runtime_id) for batch in batches]

    quiet = open_plane()
    quiet.register_many(["a", "b", "c"])
    quiet.stop()
    disk = Picky(SqliteStore(path))
    plane = open_plane(store=disk)
    disk.freeze()
    first = plane.submit("c", prompt())
    assert disk.stuck.wait(WAIT_S)
    bad, good = (plane.submit(runtime_id, prompt()) for runtime_id in ("a", "b"))
    decided(plane, "a")
    decided(plane, "b")
    disk.thaw()
    assert result_of(first.accepted).is_accepted
    assert result_of(good.accepted).is_accepted
    assert isinstance(error_of(bad.accepted), StoreError)
    assert disk.commits == 2


def test_a_store_that_answers_for_too_few_batches_counts_as_unsure(
    open_plane: OpenPlane, path: Path
) -> None:
    class Silent(StoreProxy):
        silent = False

        def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
            answers = super().commit_many(batches)
            silent, self.silent = self.silent, False
            return answers[1:] if silent else answers

    disk = Silent(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register("a")
    disk.silent = True
    offered = prompt(idempotency_key="k")
    with pytest.raises(CommitUnknown):
        plane.ingest("a", offered, timeout=WAIT_S)
    assert not insist(lambda: plane.ingest("a", offered, timeout=WAIT_S)).is_accepted


def test_what_was_decided_on_top_of_a_failed_commit_did_not_happen(
    open_plane: OpenPlane, path: Path
) -> None:
    """Three inputs: the first goes to the disk and fails, the others waited behind it."""

    disk = BrokenOnce(SqliteStore(path))
    plane = open_plane(store=disk)
    plane.register("a")
    kept = plane.submit("a", prompt("kept"))
    result_of(kept.accepted)
    disk.break_next()
    disk.freeze()
    lost = [plane.submit("a", prompt("1", idempotency_key="k")) for _ in range(3)]
    assert disk.stuck.wait(WAIT_S)
    read = decided(plane, "a")
    disk.thaw()
    for each in lost:
        for future in (each.accepted, each.completion):
            assert type(error_of(future)) is StoreError
    assert isinstance(error_of(read), StoreError)
    assert not kept.completion.done()
    assert plane.active_input_ids("a") == [result_of(kept.accepted).input_id]
    again = plane.ingest("a", prompt("1", idempotency_key="k"))
    assert again.is_accepted
    assert again.state.phase is InputPhase.QUEUED
    assert again.state.admission_sequence == 1
