"""Store faults: every commit of a small job fails once, in every way a commit can fail.

Whatever the way: callers get typed errors, what was acknowledged is not lost, what is tried
again is accepted or known already, every input is run to its end in order, its effect is
there once, and every handle ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    FakeClock,
    OpenPlane,
    decided,
    error_of,
    next_event,
    prompt,
    result_of,
)
from plane_stores import BrokenOnce, FaultyDisk, FrozenDisk, StoreProxy

from actors import ControlPlane
from meerkat import InputPhase, LogicalRuntimeId, RunContext, RuntimeState
from meerkat.errors import ApplyFailed, CommitUnknown, Fenced, RuntimeControlPlaneError, StoreError
from meerkat.event_log import first_sequence
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import CompletionKind
from meerkat.store import Batch, RuntimeStore, SqliteStore

A = LogicalRuntimeId("a")
TEXTS = [f"m{number}" for number in range(5)]

WAYS: dict[str, tuple[Callable[[], BaseException], bool]] = {
    "refused": (lambda: StoreError("disk full"), False),
    "unknown, and did not happen": (lambda: CommitUnknown("I/O error"), False),
    "unknown, and happened": (lambda: CommitUnknown("I/O error"), True),
    "a defect before": (lambda: RuntimeError("binding"), False),
    "a defect after": (lambda: RuntimeError("binding"), True),
    "out of memory after": (MemoryError, True),
}


def insist(call: Callable[[], Any]) -> Any:
    """Try again until it works; each error on the way is a typed one."""
    for _ in range(5):
        try:
            return call()
        except StoreError:
            continue
    return call()


def fail_m1_once(called: Called, _context: RunContext) -> None:
    if called.text == "m1" and called.attempt == 1:
        raise ApplyFailed("first time")


def ingest_all(plane: ControlPlane) -> list[Future[Any]]:
    """Offer everything, each until it is known; the handles of all offers that were made."""
    handles: list[Future[Any]] = []
    for text in TEXTS:
        offered = prompt(text, idempotency_key=text)

        def offer(offered: Any = offered) -> Any:
            submission = plane.submit("a", offered)
            handles.append(submission.completion)
            return submission.accepted.result(WAIT_S)

        outcome = insist(offer)
        assert outcome.is_accepted or outcome.existing_id == offered.id
    return handles


def finished(store: RuntimeStore) -> list[InputState]:
    states = store.page_terminal_inputs(A).items
    return sorted(states, key=lambda state: state.admission_sequence or 0)


def check_the_end(store: RuntimeStore, agent: Agent) -> None:
    states = finished(store)
    assert [state.result for state in states] == [f"re: {text}" for text in TEXTS]
    assert [state.admission_sequence for state in states] == list(range(5))
    assert store.load_active_inputs(A) == []
    snapshot = store.load_session_snapshot(A)
    assert snapshot is not None
    said = [message["content"] for message in json.loads(snapshot.messages)]
    assert said == [word for text in TEXTS for word in (text, f"re: {text}")]
    receipts = store.page_receipts(A).items
    assert sorted(str(each) for receipt in receipts for each in receipt.contributing_input_ids) == (
        sorted(str(state.input_id) for state in states)
    )
    assert {receipt.sequence for receipt in receipts} == {0}
    firsts = [called.text for called in agent.calls]
    assert sorted(set(firsts), key=firsts.index) == TEXTS


def run_job(open_plane: OpenPlane, disk: FaultyDisk) -> None:
    agent = Agent(fail_m1_once)
    plane = open_plane(agent, store=disk)
    insist(lambda: plane.register("a", timeout=WAIT_S))
    handles = ingest_all(plane)
    for text in TEXTS:
        insist(lambda text=text: key_handle(plane, text).result(WAIT_S))
    for handle in handles:
        ended = handle.exception(WAIT_S) or handle.result()
        typed = isinstance(ended, RuntimeControlPlaneError)
        assert typed or ended.kind is CompletionKind.COMPLETED, ended
    plane.stop()
    assert len(agent.calls) <= len(TEXTS) + 2  # one failed run, one perhaps lost with its commit
    check_the_end(disk.inner, agent)


def key_handle(plane: ControlPlane, text: str) -> Future[Any]:
    return plane.submit("a", prompt(text, idempotency_key=text)).completion


@pytest.mark.parametrize("way", WAYS)
def test_every_commit_may_fail_once(open_plane: OpenPlane, path: Path, way: str) -> None:
    make, after = WAYS[way]
    tried = 0
    while True:
        store = SqliteStore(path.with_name(f"{tried}.db"))
        disk = FaultyDisk(store, tried + 1, make(), after=after)
        run_job(open_plane, disk)
        store.close()
        if not disk.failed:
            break
        tried += 1
    assert tried >= 7  # a registration, five acceptances or more, a receipt for each


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
