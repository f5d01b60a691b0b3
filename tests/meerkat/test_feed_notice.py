"""Feed notices: when what ended in the background has a quiescent runtime go on by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from attrs import evolve
from builders import Runtime, message, operation, prompt, round_trip

from meerkat import Accepted, InputPhase, OperationId, OpsLifecycleRegistry, System, kernel, to_json
from meerkat.admission import reject_reason
from meerkat.completion_feed import FeedBatch
from meerkat.feed_notice import (
    DETACHED_OP_COMPLETED,
    Notice,
    continuation_for_ended_operations,
    notice_of,
)
from meerkat.inputs import Durability, HandlingMode, Visibility
from meerkat.operations import OperationKind
from meerkat.policy import DEFAULT_POLICY, Lane, WakeMode

TOOL = OperationKind.BACKGROUND_TOOL_OP
CHILD = OperationKind.MOB_MEMBER_CHILD
SLOT = OperationKind.BACKGROUND_TOOL_CAPACITY_SLOT


class Operations:
    """A session's registry, and operations that end in it as soon as they have begun."""

    def __init__(self, feed_max: int = 1_024) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        self.registry = OpsLifecycleRegistry(now=lambda: start, feed_max=feed_max)

    def begin(self, kind: OperationKind) -> OperationId:
        operation_id = OperationId.new()
        self.registry.register(operation_id, kind=kind, display_name="search")
        self.registry.provisioning_succeeded(operation_id)
        return operation_id

    def end(self, *kinds: OperationKind) -> None:
        for kind in kinds:
            self.registry.complete(self.begin(kind))

    def notice_after(self, seq: int) -> Notice | None:
        return notice_of(self.registry.list_since(seq))


# --- what a reading calls for -----------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "notice"),
    [
        ([], None),
        ([SLOT], None),
        ([TOOL], Notice(1, continues=True)),
        ([CHILD], Notice(1, continues=False)),
        ([CHILD, CHILD], Notice(2, continues=False)),
        ([TOOL, CHILD], Notice(2, continues=True)),
        ([CHILD, TOOL], Notice(2, continues=True)),
        ([SLOT, TOOL, SLOT], Notice(1, continues=True)),
        ([TOOL] * 5, Notice(5, continues=True)),
    ],
)
def test_background_work_continues_other_kinds_are_only_observed(
    kinds: list[OperationKind], notice: Notice | None
) -> None:
    """Capacity slots are not in the feed at all; a burst is one notice."""
    operations = Operations()
    operations.end(*kinds)
    assert operations.notice_after(0) == notice


ENDS: list[Callable[[OpsLifecycleRegistry, OperationId], object]] = [
    lambda ops, each: ops.complete(each, "seats"),
    lambda ops, each: ops.fail(each, "no seats"),
    lambda ops, each: ops.cancel(each, "by the user"),
    lambda ops, each: ops.mark_retired(each),
    lambda ops, _each: ops.terminate_owner("runtime reset"),
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", OperationKind)
def test_however_background_work_ended_it_is_told(
    kind: OperationKind, end: Callable[[OpsLifecycleRegistry, OperationId], object]
) -> None:
    operations = Operations()
    end(operations.registry, operations.begin(kind))
    told = operations.notice_after(0)
    assert told == (None if kind is SLOT else Notice(1, continues=kind is TOOL))


@pytest.mark.parametrize("seq", [3, 4, 99])
def test_where_nothing_is_new_there_is_no_notice(seq: int) -> None:
    operations = Operations()
    operations.end(TOOL, TOOL, TOOL)
    assert operations.notice_after(seq) is None


def test_what_was_told_before_does_not_count_again() -> None:
    operations = Operations()
    operations.end(TOOL, CHILD)
    assert operations.notice_after(1) == Notice(2, continues=False)
    operations.end(TOOL)
    assert operations.notice_after(2) == Notice(3, continues=True)


def test_what_was_dropped_unread_counts_as_background_work() -> None:
    operations = Operations(feed_max=2)
    operations.end(CHILD, CHILD)
    assert operations.notice_after(0) == Notice(2, continues=False)
    operations.end(CHILD)
    assert operations.notice_after(0) == Notice(3, continues=True)
    assert operations.notice_after(1) == Notice(3, continues=False)


def test_a_feed_that_was_dropped_whole_is_told_of() -> None:
    """After a restart, when the rows of what ended are not kept any more."""
    batch = FeedBatch(requested=2, watermark=7, dropped_through=7)
    assert notice_of(batch) == Notice(7, continues=True)
    assert notice_of(evolve(batch, requested=7)) is None


# --- the continuation -------------------------------------------------------------------


def test_wak_05_the_continuation_for_what_ended() -> None:
    offered = continuation_for_ended_operations()
    assert offered.durability is Durability.DERIVED
    assert offered.source == System()
    assert offered.visibility == Visibility(transcript_eligible=False, operator_eligible=False)
    assert offered.handling_mode is HandlingMode.STEER
    assert offered.reason == DETACHED_OP_COMPLETED == "detached_background_op_completed"
    assert offered.request_id is None
    assert round_trip(offered) == offered


def test_a_continuation_is_admitted_wakes_an_idle_runtime_and_is_not_recorded() -> None:
    offered = continuation_for_ended_operations()
    assert reject_reason(offered) is None
    decision = DEFAULT_POLICY.resolve(offered, running=False)
    assert (decision.lane, decision.wake_mode) == (Lane.STEER, WakeMode.WAKE_IF_IDLE)
    assert not decision.record_transcript


def test_each_continuation_is_one_of_its_own() -> None:
    first, second = (continuation_for_ended_operations() for _ in range(2))
    assert first.id != second.id
    assert (first.idempotency_key, first.supersession_key) == (None, None)


# --- the feed, the notice and the kernel together ---------------------------------------


def look(runtime: Runtime, operations: Operations) -> kernel.Transition | None:
    """What a driver does once its runtime is quiescent."""
    assert runtime.memory.quiescent
    observed = runtime.memory.head.cursors.runtime_observed_seq
    notice = operations.notice_after(observed)
    if notice is None:
        return None
    offered = continuation_for_ended_operations()
    continuation = kernel.AcceptInput(offered, to_json(offered)) if notice.continues else None
    return runtime.do(kernel.ReadFeed(notice.through, continuation))


def test_wak_06_the_second_look_at_the_feed_finds_nothing_more(runtime: Runtime) -> None:
    operations = Operations()
    operations.end(CHILD, TOOL, TOOL)
    done = look(runtime, operations)
    assert done is not None
    assert isinstance(done.reply, Accepted)
    cursors = runtime.memory.head.cursors
    assert cursors.runtime_observed_seq == operations.registry.watermark == 3
    assert cursors.runtime_last_injected_seq == 3
    runtime.complete(runtime.stage())
    assert look(runtime, operations) is None
    assert runtime.memory.head.cursors == cursors


def test_after_another_kinds_end_the_injected_cursor_stays_behind(runtime: Runtime) -> None:
    operations = Operations()
    for kinds, cursors in (([TOOL], (1, 1)), ([CHILD], (2, 1)), ([TOOL, CHILD], (4, 4))):
        operations.end(*kinds)
        look(runtime, operations)
        moved = runtime.memory.head.cursors
        assert (moved.runtime_observed_seq, moved.runtime_last_injected_seq) == cursors
        if not runtime.memory.quiescent:
            runtime.complete(runtime.stage())


def test_quiescent_means_no_run_and_no_input_that_has_not_ended(runtime: Runtime) -> None:
    memory = runtime.memory
    assert memory.quiescent
    runtime.admit(operation())  # consumed as it is accepted
    assert memory.quiescent
    runtime.admit(prompt(durability="ephemeral"), message())
    assert not memory.quiescent
    first = runtime.stage()
    assert not memory.quiescent
    runtime.fail(first)  # it waits for its lane's back-off
    assert not memory.quiescent
    runtime.do(kernel.ReleaseLane(Lane.QUEUE))
    runtime.complete(runtime.stage())
    assert not memory.quiescent
    last = runtime.stage()
    assert [runtime.phase(each) for each in runtime.contributors] == [InputPhase.STAGED]
    assert not memory.quiescent
    runtime.complete(last)
    assert memory.quiescent
