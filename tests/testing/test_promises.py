"""What a host was told is held against the store: what is not so is counted, and found."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from attrs import evolve

from meerkat import (
    Accepted,
    CompletionHandle,
    CompletionOutcome,
    Input,
    InputId,
    PersistentRuntimeDriver,
    PromptInput,
    RunBoundaryReceipt,
    RunId,
)
from meerkat.identifiers import LogicalRuntimeId
from meerkat.outcomes import CompletionKind
from meerkat.store import Batch, MemoryStore
from meerkat.testing import InvariantBroken, Promises

AGENT = LogicalRuntimeId("agent-1")
NOBODY = InputId.new()


class Host:
    """A driver over a store, and all that it has told its host."""

    def __init__(self) -> None:
        self.store, self.told = MemoryStore(), Promises()
        self.driver = PersistentRuntimeDriver(AGENT, self.store)
        self.accepted = self.offer(PromptInput("hello"))
        self.run_id, self.receipt = self.run()

    def offer(self, offered: Input) -> Accepted:
        outcome = self.driver.accept_input(offered)
        assert isinstance(outcome, Accepted)
        self.told.accepted(AGENT, outcome)
        return outcome

    def run(self) -> tuple[RunId, RunBoundaryReceipt]:
        run_id = RunId.new()
        staged = self.driver.start_run(run_id)
        self.told.called(AGENT, run_id, staged.contributing_input_ids)
        receipt = self.driver.complete_run(run_id)
        self.told.receipt(AGENT, receipt)
        return run_id, receipt


@pytest.fixture
def host() -> Host:
    return Host()


def test_an_input_that_was_known_already_is_one_that_was_acknowledged(host: Host) -> None:
    told = Promises()
    told.accepted(AGENT, host.driver.accept_input(PromptInput("x", id=host.accepted.input_id)))
    told.check(host.store)
    assert told.acknowledged == 1
    with pytest.raises(InvariantBroken, match=f"input {host.accepted.input_id}: .* it is lost"):
        told.check(MemoryStore())


@pytest.mark.parametrize(
    "offered",
    [
        PromptInput("hello", durability="ephemeral"),
        PromptInput("hello", durability="derived"),  # it is rejected
    ],
)
def test_an_answer_that_keeps_nothing_promises_nothing(host: Host, offered: Input) -> None:
    told = Promises()
    for _ in range(2):
        told.accepted(AGENT, host.driver.accept_input(offered))
    told.check(host.store)
    assert told.acknowledged == 0


def test_what_was_told_and_is_so_is_counted(host: Host) -> None:
    handle = CompletionHandle()
    host.told.handle(AGENT, host.accepted.input_id, handle)
    handle.set_result(CompletionOutcome(CompletionKind.COMPLETED_WITHOUT_RESULT))
    host.told.told(AGENT, host.accepted.input_id, "input.accepted")
    host.told.check(host.store)
    told = host.told
    assert (told.acknowledged, told.receipted, told.calls, told.handles) == (1, 1, 1, 1)
    assert (told.lost, told.receipts_lost, told.run_again, told.false_ends) == (0, 0, 0, 0)


def test_texts_of_a_child_process_will_do(host: Host) -> None:
    told = Promises()
    told.accepted("agent-1", str(host.accepted.input_id))
    told.called("agent-1", str(host.run_id), [str(host.accepted.input_id)])
    told.resolved("agent-1", str(host.accepted.input_id), "completed")
    told.check(host.store)
    assert (told.acknowledged, told.calls, told.handles) == (1, 1, 1)


def test_what_was_refused_may_be_there_once_it_is_offered_again(host: Host) -> None:
    host.told.refused(AGENT, NOBODY)
    host.told.check(host.store)
    host.told.offered_again(AGENT, NOBODY)
    host.driver.accept_input(PromptInput("again", id=NOBODY))
    host.told.check(host.store)
    host.told.refused(AGENT, NOBODY)
    with pytest.raises(InvariantBroken, match="its acceptance raised, and it is there"):
        host.told.check(host.store)


def ended_twice(told: Promises, host: Host) -> None:
    for _ in range(2):
        told.resolved(AGENT, host.accepted.input_id, CompletionKind.COMPLETED)


def raised_and_there(told: Promises, host: Host) -> None:
    outcome = host.driver.accept_input(PromptInput("kept"))
    assert isinstance(outcome, Accepted)
    told.refused(AGENT, outcome.input_id)


def seen_and_gone(told: Promises, host: Host) -> None:
    gone = RunBoundaryReceipt(
        run_id=RunId.new(), boundary="run_start", contributing_input_ids=(NOBODY,), sequence=0
    )
    told.receipt(AGENT, gone)


def run_twice(told: Promises, host: Host) -> None:
    """Whichever of the two receipts comes first in the store's listing."""
    again = evolve(host.receipt, run_id=RunId(UUID(int=0)))
    told.called(AGENT, again.run_id, [host.accepted.input_id])
    row = host.store.load_runtime(AGENT)
    assert row is not None
    runtime = evolve(row, fence=row.fence + 1)
    host.store.commit(Batch(runtime=runtime, expected_fence=row.fence, receipts=(again,)))


FAULTS: dict[str, tuple[int, str, Callable[[Promises, Host], None]]] = {
    "an acknowledged input is lost": (8, "lost", lambda t, h: t.accepted(AGENT, NOBODY)),
    "a refused input is there": (8, "revived", raised_and_there),
    "a receipt is lost": (10, "receipts_lost", seen_and_gone),
    "receipted work is run again": (
        10,
        "run_again",
        lambda t, h: t.called(AGENT, RunId.new(), [h.accepted.input_id]),
    ),
    "receipted work is run again, and has a receipt once more": (10, "run_again", run_twice),
    "a handle ends twice": (7, "false_ends", ended_twice),
    "a handle ends as its input did not": (
        7,
        "false_ends",
        lambda t, h: t.resolved(AGENT, h.accepted.input_id, CompletionKind.ABANDONED),
    ),
    "a handle ends before its input": (
        7,
        "false_ends",
        lambda t, h: t.resolved(
            AGENT, h.offer(PromptInput("waits")).input_id, CompletionKind.COMPLETED
        ),
    ),
    "an executor is called too early": (
        16,
        "early_calls",
        lambda t, h: t.called(AGENT, RunId.new(), [NOBODY]),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_not_so_is_found(host: Host, name: str) -> None:
    number, counted, happens = FAULTS[name]
    happens(host.told, host)
    with pytest.raises(InvariantBroken) as broken:
        host.told.check(host.store)
    assert broken.value.number == number
    assert getattr(host.told, counted) == 1


def test_an_event_of_what_is_not_there_is_found(host: Host) -> None:
    host.told.told(AGENT, NOBODY, "input.accepted")
    with pytest.raises(InvariantBroken, match=r"input\.accepted told of it") as broken:
        host.told.check(host.store)
    assert broken.value.number == 16


def test_an_ephemeral_input_promises_nothing(host: Host) -> None:
    host.offer(PromptInput("gone with its process", durability="ephemeral"))
    host.told.check(host.store)
    assert host.told.acknowledged == 1


def test_what_was_refused_may_be_offered_again(host: Host) -> None:
    offered = PromptInput("again")
    host.told.refused(AGENT, offered.id)
    host.told.check(host.store)
    host.offer(offered)
    host.told.check(host.store)
    assert host.told.acknowledged == 2


def test_a_runtime_that_ended_says_nothing_of_its_inputs(host: Host) -> None:
    waiting = host.offer(PromptInput("waits"))
    host.told.resolved(AGENT, waiting.input_id, CompletionKind.RUNTIME_TERMINATED)
    host.told.check(host.store)
    assert host.told.handles == 1


def test_the_counts_come_without_a_verdict(host: Host) -> None:
    host.told.accepted(AGENT, NOBODY)
    host.told.count(host.store)
    host.told.count(host.store)
    assert (host.told.acknowledged, host.told.lost) == (2, 1)
