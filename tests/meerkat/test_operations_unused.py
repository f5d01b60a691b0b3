"""A registry that no operation has been registered with: it answers, and keeps nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from meerkat import operations_registry
from meerkat.epoch import AT_THE_START, EpochCursorSnapshot, EpochCursorState
from meerkat.identifiers import OperationId
from meerkat.operation_errors import NotFound, OwnerRetired
from meerkat.operation_turns import OperationTurns
from meerkat.operations import OperationKind
from meerkat.operations_registry import OpsLifecycleRegistry

WAIT_S = 30.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOOL = OperationKind.BACKGROUND_TOOL_OP

QUESTIONS: dict[str, tuple[Callable[[OpsLifecycleRegistry], object], object]] = {
    "live": (lambda registry: registry.live_ids, ()),
    "known": (lambda registry: registry.snapshots(), ()),
    "retired": (lambda registry: registry.is_retired, False),
    "watermark": (lambda registry: registry.watermark, 0),
    "entries": (lambda registry: registry.list_since(3).entries, ()),
    "gap": (lambda registry: registry.list_since(3).gap, None),
    "asked": (lambda registry: registry.list_since(3).requested, 3),
}


@pytest.fixture
def registry() -> OpsLifecycleRegistry:
    return OpsLifecycleRegistry(now=lambda: NOW)


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_answers_as_one_whose_operations_are_all_unknown(
    registry: OpsLifecycleRegistry, question: str
) -> None:
    ask, expected = QUESTIONS[question]
    assert ask(registry) == expected
    assert registry._made is None
    assert registry._turns is not None
    assert ask(registry) == expected


def test_a_question_about_an_operation_finds_none(registry: OpsLifecycleRegistry) -> None:
    with pytest.raises(NotFound):
        registry.snapshot(OperationId.new())
    with pytest.raises(ValueError, match="never negative"):
        OpsLifecycleRegistry(now=lambda: NOW).list_since(-1)


def test_once_its_owner_is_terminated_it_takes_no_operation(
    registry: OpsLifecycleRegistry,
) -> None:
    assert registry.terminate_owner("over") == ()
    assert registry.is_retired
    assert registry._made is None
    with pytest.raises(OwnerRetired):
        registry.register(OperationId.new(), kind=TOOL, display_name="late")
    assert registry.is_retired
    assert registry.terminate_owner("again") == ()
    assert registry.live_ids == ()


def test_two_threads_that_take_the_first_step_take_it_in_one_registry(
    registry: OpsLifecycleRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def made(*parts: Any) -> OperationTurns:
        turns = OperationTurns(*parts)
        if not both.broken:
            both.wait(WAIT_S)  # each has seen that there are none yet
        return turns

    monkeypatch.setattr(operations_registry, "OperationTurns", made)
    ids = [OperationId.new(), OperationId.new()]
    threads = [
        threading.Thread(
            target=registry.register, args=(each,), kwargs={"kind": TOOL, "display_name": "it"}
        )
        for each in ids
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert set(registry.live_ids) == set(ids)


def test_one_of_a_host_calls_its_methods() -> None:
    told: list[object] = []

    class Host:
        def now(self) -> datetime:
            return NOW

        def record(self, record: Any, entry: Any) -> None:
            told.append(("record", record.operation_id, entry.seq))

        def observe(self, record: Any, step: Any) -> None:
            told.append(("observe", record.operation_id, step.value))

        def begun(self, record: Any) -> None:
            told.append(("begun", record.operation_id, record.created_at))

        def before_wait(self) -> None:
            """It may wait."""

        new_lock = None

        def check(self) -> None:
            """It is here."""

    registry = OpsLifecycleRegistry.of_host(Host(), operations_max=1)
    operation_id = OperationId.new()
    registry.register(operation_id, kind=TOOL, display_name="it")
    registry.provisioning_succeeded(operation_id)
    registry.complete(operation_id)
    assert told == [
        ("begun", operation_id, NOW),
        ("observe", operation_id, "provisioning_succeeded"),
        ("record", operation_id, 1),
        ("observe", operation_id, "complete"),
    ]


def test_cursors_that_nobody_has_moved_are_one_value() -> None:
    cursors, moved = EpochCursorState(), EpochCursorSnapshot(runtime_observed_seq=3)
    cursors.advance_through(EpochCursorSnapshot())
    assert cursors.snapshot() is AT_THE_START
    cursors.advance_through(moved)
    assert cursors.snapshot() == moved
    cursors.advance_through(EpochCursorSnapshot(agent_applied_cursor=2, runtime_observed_seq=1))
    assert cursors.snapshot() == EpochCursorSnapshot(agent_applied_cursor=2, runtime_observed_seq=3)
    assert EpochCursorState().snapshot() is AT_THE_START
