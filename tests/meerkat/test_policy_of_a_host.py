"""A host's own policy: how it is asked, and what a runtime does with what it decides."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from builders import Runtime, message, operation, prompt, terminal

from meerkat import Input, InputPhase, PolicyDecision, RunId, kernel
from meerkat.errors import PolicyRefused
from meerkat.input_lifecycle import CoalescedOutcome, SupersededOutcome
from meerkat.kernel.memory import Rules
from meerkat.policy import DEFAULT_POLICY, Lane, QueueMode, RoutingDisposition, WakeMode, ask

STAGED = DEFAULT_POLICY.resolve(prompt(), running=False)
DROPPED = DEFAULT_POLICY.resolve(operation(), running=False)


class Table:
    """A host's policy that gives, or raises, what a test wants; and notes what it is asked."""

    def __init__(self, decision: Any) -> None:
        self.asked: list[tuple[Input, bool]] = []
        self.decision = decision

    def resolve(self, input: Input, *, running: bool) -> Any:  # noqa: A002
        self.asked.append((input, running))
        if isinstance(self.decision, BaseException):
            raise self.decision
        return self.decision


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("decision", [STAGED, DROPPED])
def test_a_table_is_asked_once_and_followed(decision: PolicyDecision, running: bool) -> None:
    table, offered = Table(decision), prompt()
    assert ask(table, offered, running=running) is decision
    assert table.asked == [(offered, running)]
    assert ask(DEFAULT_POLICY, offered, running=running) == DEFAULT_POLICY.resolve(
        offered, running=running
    )


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [LookupError("no row"), TypeError(), StopIteration()])
def test_what_a_table_raises_is_a_refusal_with_that_as_its_cause(error: Exception) -> None:
    with pytest.raises(PolicyRefused) as refused:
        ask(Table(error), prompt(), running=False)
    assert refused.value.__cause__ is error
    assert refused.value.reason == f"the policy raised {type(error).__name__}: {error}"


def test_a_table_that_raises_what_has_no_text_is_refused_too() -> None:
    with pytest.raises(PolicyRefused, match="Unreadable"):
        ask(Table(Unreadable()), prompt(), running=False)


def test_a_table_does_not_swallow_the_end_of_the_process() -> None:
    for error in (KeyboardInterrupt(), SystemExit()):
        with pytest.raises(type(error)):
            ask(Table(error), prompt(), running=False)


@pytest.mark.parametrize(
    "nonsense",
    [None, "queue", {}, PolicyDecision, evolve(STAGED, queue_mode=QueueMode.PRIORITY)],
)
def test_nonsense_from_a_table_is_refused(nonsense: Any) -> None:
    with pytest.raises(PolicyRefused):
        ask(Table(nonsense), prompt(), running=False)


@pytest.mark.parametrize("table", [object(), None, STAGED])
def test_what_is_no_table_is_refused(table: Any) -> None:
    with pytest.raises(PolicyRefused, match="AttributeError"):
        ask(table, prompt(), running=False)


# --- what a runtime does with it --------------------------------------------------------


def under(**changes: Any) -> Runtime:
    """A runtime whose host decides the same about every input."""
    return Runtime(Rules(policy=Table(evolve(STAGED, **changes))))


@pytest.mark.parametrize("lane", [Lane.QUEUE, Lane.STEER])
@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        (QueueMode.COALESCE, CoalescedOutcome),
        (QueueMode.SUPERSEDE, SupersededOutcome),
        (QueueMode.FIFO, None),
    ],
)
def test_a_host_may_coalesce_and_supersede_in_either_lane(
    lane: Lane, mode: QueueMode, outcome: Any
) -> None:
    runtime = under(routing_disposition=RoutingDisposition(lane.value), queue_mode=mode)
    older, other, newer = (message(supersession_key=key) for key in ("K", "L", "K"))
    ids = runtime.admit(older, other, newer)
    if outcome is None:
        assert runtime.lane(lane) == ids
    else:
        assert runtime.lane(lane) == ids[1:]
        assert runtime.state(older.id).terminal_outcome == outcome(newer.id)


def test_a_hosts_supersede_without_a_key_displaces_nothing() -> None:
    runtime = under(queue_mode=QueueMode.SUPERSEDE)
    ids = runtime.admit(message(), message())
    assert runtime.lane(Lane.QUEUE) == ids


def test_an_input_that_a_host_ignores_is_consumed_as_it_is_accepted() -> None:
    runtime = Runtime(Rules(policy=Table(DROPPED)))
    (offered,) = runtime.admit(prompt())
    assert runtime.phase(offered) is InputPhase.CONSUMED
    assert not runtime.memory.has_waiting
    assert not runtime.memory.head.awake


def test_a_host_decides_anew_while_a_run_is_in_hand() -> None:
    table = Table(STAGED)
    runtime = Runtime(Rules(policy=table))
    runtime.admit(prompt())
    runtime.do(kernel.StageRun(RunId.new()))
    runtime.admit(terminal())
    assert [running for _, running in table.asked] == [False, True]


def test_a_decision_is_kept_with_its_input_whatever_the_table_says_later() -> None:
    table = Table(evolve(STAGED, wake_mode=WakeMode.NONE))
    runtime = Runtime(Rules(policy=table))
    (offered,) = runtime.admit(prompt())
    table.decision = STAGED
    assert runtime.state(offered).policy == evolve(STAGED, wake_mode=WakeMode.NONE)
    assert not runtime.memory.head.awake
    runtime.admit(prompt())
    assert runtime.memory.head.awake
    runtime.fail(runtime.stage())
    assert runtime.state(offered).policy == evolve(STAGED, wake_mode=WakeMode.NONE)
