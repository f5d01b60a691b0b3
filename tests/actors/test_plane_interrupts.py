"""Interrupts: how a run learns that it is to end, and what it comes to.

Here every run returns in time: ``test_plane_interrupt_grace`` has those that do not, and
``test_plane_interrupt_answers`` what the caller is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    Puppet,
    PuppetRun,
    code_of,
    error_of,
    event,
    events_until,
    prompt,
    result_of,
    steered,
)
from plane_interrupts import MODES, begin_wait, check_cancelled, state_of

from actors import ControlPlane
from meerkat import InputPhase, RunContext, RunOutput, RuntimeState, WakeReason
from meerkat.errors import (
    ApplyFailed,
    ExecutorStopped,
    RunCancelled,
    WouldDeadlock,
)
from meerkat.outcomes import CompletionKind

LOOKS: dict[str, Callable[[RunContext], Any]] = {
    "boundary": lambda context: context.boundary(),
    "wait": lambda context: context.wait(WAIT_S),
}


@pytest.fixture
def agent() -> Puppet:
    return Puppet()


@pytest.fixture
def plane(open_plane: OpenPlane, agent: Puppet) -> ControlPlane:
    """A plane whose grace no test outlives, with one runtime, "a"."""
    plane = open_plane(agent, grace_s=3 * WAIT_S)
    plane.register("a")
    return plane


# --- how a run learns of it -------------------------------------------------------------


def test_now_sets_cancelled_and_every_input_of_the_run_ends_as_cancelled(
    plane: ControlPlane, agent: Puppet
) -> None:
    first = plane.submit("a", prompt("first"))
    run = agent.next_run()
    batch = [plane.submit("a", event(number)) for number in range(3)]
    run.returns()
    run = agent.next_run()
    handles = [plane.completion("a", result_of(each.accepted)) for each in batch]
    with plane.subscribe("a") as events:
        assert plane.interrupt("a", "now") is True
        assert run.context.cancelled.is_set()
        assert plane.runtime_state("a") is RuntimeState.RUNNING
        assert isinstance(error_of(run.asks(lambda c: c.raise_if_cancelled())), RunCancelled)
        run.raises(RunCancelled())
        told = [code_of(each) for each in events_until(events, "runtime.state_changed")]
    assert told == [*["input.abandoned"] * 3, "run.cancelled", "runtime.state_changed"]
    for each in batch:
        check_cancelled(plane, each)
    assert {result_of(each).kind for each in handles} == {CompletionKind.CANCELLED}
    assert result_of(first.completion).kind is CompletionKind.COMPLETED
    last = plane.submit("a", prompt("last"))
    run = agent.next_run()
    assert not run.context.cancelled.is_set()
    assert [each["content"] for each in run.context.messages] == ["first", "re: first"]
    run.returns()
    assert result_of(last.completion).result == "re: last"


def test_now_wakes_the_run_from_its_wait(plane: ControlPlane, agent: Puppet) -> None:
    plane.submit("a", prompt())
    run = agent.next_run()
    waiting = begin_wait(run)
    plane.interrupt("a", "now")
    assert result_of(waiting) is WakeReason.CANCELLED
    assert run.does(lambda context: context.wait(WAIT_S)) is WakeReason.CANCELLED
    assert isinstance(error_of(run.asks(LOOKS["boundary"])), RunCancelled)


@pytest.mark.parametrize("looks", LOOKS)
def test_after_boundary_is_raised_where_the_run_looks_up_next(
    plane: ControlPlane, agent: Puppet, looks: str
) -> None:
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    assert plane.interrupt("a", "after_boundary") is True
    run.does(lambda context: context.raise_if_cancelled())  # it is not cancelled, so far
    assert not run.context.cancelled.is_set()
    error = error_of(run.asks(LOOKS[looks]))
    assert isinstance(error, RunCancelled)
    run.raises(error)
    check_cancelled(plane, submitted)


def test_after_boundary_is_raised_in_the_wait_that_is_in_progress(
    plane: ControlPlane, agent: Puppet
) -> None:
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    waiting = begin_wait(run)
    assert plane.interrupt("a", "after_boundary") is True
    error = error_of(waiting)
    assert isinstance(error, RunCancelled)
    run.raises(error)
    check_cancelled(plane, submitted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("commits", [True, False])
def test_what_was_handed_over_before_may_still_be_committed(
    plane: ControlPlane, agent: Puppet, mode: str, *, commits: bool
) -> None:
    """What is not stays queued, uncounted, for the next run."""
    submitted = plane.submit("a", prompt("first"))
    run = agent.next_run()
    more = plane.submit("a", steered("more"))
    result_of(more.accepted)
    boundary = run.does(LOOKS["boundary"])
    assert plane.interrupt("a", mode) is True
    if commits:
        run.does(lambda _: boundary.commit(append=[]))
        assert result_of(more.completion).kind is CompletionKind.COMPLETED_WITHOUT_RESULT
    error = error_of(run.asks(LOOKS["boundary"]))
    assert isinstance(error, RunCancelled)
    run.raises(error)
    assert result_of(submitted.completion).kind is CompletionKind.CANCELLED
    assert state_of(plane, submitted).phase is InputPhase.ABANDONED
    if not commits:
        run = agent.next_run()
        assert (run.called.text, run.called.attempt) == ("more", 1)
        run.returns()
        assert result_of(more.completion).result == "re: more"


# --- what it comes to -------------------------------------------------------------------

RETURNED: dict[str, tuple[Callable[[PuppetRun], None], CompletionKind, int]] = {
    "success": (lambda run: run.returns(), CompletionKind.COMPLETED, 1),
    "failure": (lambda run: run.raises(ValueError("torn")), CompletionKind.COMPLETED, 2),
    "for good": (
        lambda run: run.raises(ApplyFailed("no such seat", recoverable=False)),
        CompletionKind.ABANDONED,
        1,
    ),
    "stopped": (lambda run: run.raises(ExecutorStopped()), CompletionKind.COMPLETED, 1),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RETURNED)
def test_a_run_that_returns_all_the_same_counts_as_what_it_returned(
    plane: ControlPlane, agent: Puppet, name: str, mode: str
) -> None:
    end, kind, attempts = RETURNED[name]
    submitted = plane.submit("a", prompt("x"))
    run = agent.next_run()
    assert plane.interrupt("a", mode) is True
    with plane.subscribe("a") as events:
        end(run)
        events_until(events, "runtime.state_changed")
    agent.release()
    plane.attach_executor("a", agent)
    assert result_of(submitted.completion).kind is kind
    state = state_of(plane, submitted)
    assert state.attempt_count == attempts
    assert len(agent.calls) == (1 if kind is CompletionKind.ABANDONED or name == "success" else 2)


@pytest.mark.parametrize("modes", [("now", "now"), ("after_boundary", "now"), MODES, MODES[:1] * 2])
def test_interrupted_twice_a_run_ends_once(
    plane: ControlPlane, agent: Puppet, modes: tuple[str, ...]
) -> None:
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    with plane.subscribe("a") as events:
        assert [plane.interrupt("a", mode) for mode in modes] == [True, True]
        assert isinstance(error_of(run.asks(LOOKS["boundary"])), RunCancelled)
        run.raises(RunCancelled())
        events_until(events, "runtime.state_changed")
        check_cancelled(plane, submitted)
        assert events.next_within(0) is None
    assert plane.interrupt("a", "now") is False


@pytest.mark.parametrize("mode", MODES)
def test_an_executor_may_interrupt_its_own_run(
    plane: ControlPlane, agent: Puppet, mode: str
) -> None:
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    assert run.does(lambda _: plane.interrupt("a", mode)) is True
    error = error_of(run.asks(LOOKS["boundary"]))
    assert isinstance(error, RunCancelled)
    run.raises(error)
    check_cancelled(plane, submitted)


def test_the_callback_of_a_handle_cannot_wait_for_the_answer(
    plane: ControlPlane, agent: Puppet
) -> None:
    raised: list[BaseException] = []

    def interrupt(_: Any) -> None:
        try:
            plane.interrupt("a", "now")
        except WouldDeadlock as error:
            raised.append(error)

    submitted = plane.submit("a", prompt())
    submitted.completion.add_done_callback(interrupt)
    agent.next_run().returns()
    result_of(submitted.completion)
    plane.runtime_state("a")
    assert len(raised) == 1


# --- many at once -----------------------------------------------------------------------


def test_many_threads_interrupt_one_run(plane: ControlPlane, agent: Puppet) -> None:
    submitted = plane.submit("a", prompt())
    run = agent.next_run()
    line = threading.Barrier(8)

    def interrupt(number: int) -> list[bool]:
        line.wait(WAIT_S)
        return [plane.interrupt("a", MODES[(number + turn) % 2]) for turn in range(10)]

    with plane.subscribe("a") as events, ThreadPoolExecutor(8) as threads:
        assert all(all(told) for told in threads.map(interrupt, range(8)))
        run.raises(RunCancelled())
        codes = [code_of(each) for each in events_until(events, "runtime.state_changed")]
    assert codes == ["input.abandoned", "run.cancelled", "runtime.state_changed"]
    check_cancelled(plane, submitted)


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupt_that_races_the_end_of_a_run(open_plane: OpenPlane, mode: str) -> None:
    """Whoever comes first: one end for each input, on disk as in its handle."""
    rounds, ran = 300, threading.Semaphore(0)

    def work(called: Called, context: RunContext) -> RunOutput | None:
        ran.release()
        context.progress(called.text)
        if context.wait(0) is WakeReason.CANCELLED:
            raise RunCancelled
        return None

    plane = open_plane(Agent(work), grace_s=3 * WAIT_S)
    plane.register("a")
    told = 0
    submissions = []
    for number in range(rounds):
        submissions.append(plane.submit("a", prompt(f"{number}")))
        assert ran.acquire(timeout=WAIT_S)
        told += plane.interrupt("a", mode)
    ends = [result_of(each.completion).kind for each in submissions]
    cancelled = ends.count(CompletionKind.CANCELLED)
    assert ends.count(CompletionKind.COMPLETED) + cancelled == rounds
    assert cancelled <= told
    for each, kind in zip(submissions, ends, strict=True):
        state = state_of(plane, each)
        consumed = kind is CompletionKind.COMPLETED
        assert state.phase is (InputPhase.CONSUMED if consumed else InputPhase.ABANDONED)
        assert state.attempt_count == 1
        receipt = plane.load_boundary_receipt("a", state.last_run_id, 0)  # type: ignore[arg-type]
        assert (receipt is not None) == consumed
