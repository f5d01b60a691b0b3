"""Reading the completion feed: how its cursors advance, and when they do not."""

from __future__ import annotations

import pytest
from attrs import evolve
from builders import Runtime, codes_of, effects_of, operation, prompt
from hypothesis import given
from hypothesis import strategies as st

from meerkat import (
    Accepted,
    EpochCursorSnapshot,
    InputPhase,
    Operator,
    kernel,
    to_json,
)
from meerkat.errors import (
    MeerkatError,
    Overloaded,
    PolicyRefused,
    RuntimeDestroyed,
    RuntimeNotReady,
)
from meerkat.feed_notice import continuation_for_ended_operations
from meerkat.inputs import Input
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.outcomes import Deduplicated, Rejected
from meerkat.policy import DEFAULT_POLICY, Lane, PolicyDecision


def reading(through: int, offered: Input | None = None) -> kernel.ReadFeed:
    """A reading that takes in a continuation."""
    offered = offered or continuation_for_ended_operations()
    return kernel.ReadFeed(through, kernel.AcceptInput(offered, to_json(offered)))


def cursors_of(runtime: Runtime) -> tuple[int, int]:
    """Observed and injected; the agent's own cursor is never the kernel's to move."""
    cursors = runtime.memory.head.cursors
    assert cursors.agent_applied_cursor == 0
    return cursors.runtime_observed_seq, cursors.runtime_last_injected_seq


def moves_nothing(runtime: Runtime, command: kernel.Command, error: type[MeerkatError]) -> None:
    """The command is refused, and everything is as it was."""
    before, active = runtime.memory.head, list(runtime.memory.ledger.active())
    with pytest.raises(error):
        runtime.do(command)
    assert runtime.memory.head is before
    assert list(runtime.memory.ledger.active()) == active


def test_what_calls_for_nothing_is_only_observed(runtime: Runtime) -> None:
    before = runtime.memory.head
    done = runtime.do(kernel.ReadFeed(3))
    read = EpochCursorSnapshot(runtime_observed_seq=3)
    assert done == kernel.Transition(
        head=evolve(before, cursors=read), effects=(kernel.FeedRead(read),)
    )


def test_a_continuation_and_both_cursors_are_one_transition(runtime: Runtime) -> None:
    command = reading(3)
    done = runtime.do(command)
    assert isinstance(done.reply, Accepted)
    assert done.payload == command.continuation.payload  # type: ignore[union-attr]
    (state,) = done.states
    assert state.phase is InputPhase.QUEUED
    assert runtime.lane(Lane.STEER) == [state.input_id]
    assert runtime.memory.head.awake
    assert cursors_of(runtime) == (3, 3)
    assert codes_of(done) == ["input.accepted", "input.queued"]
    assert done.effects[-1] == kernel.FeedRead(runtime.memory.head.cursors)


def test_a_reading_without_a_continuation_leaves_the_injected_cursor(runtime: Runtime) -> None:
    runtime.do(reading(2))
    runtime.do(kernel.ReadFeed(5))
    assert cursors_of(runtime) == (5, 2)
    runtime.do(reading(6))
    assert cursors_of(runtime) == (6, 6)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=12))
def test_cursors_only_advance_and_injected_never_passes_observed(
    readings: list[tuple[int, bool]],
) -> None:
    runtime, observed, injected = Runtime(), 0, 0
    for through, continues in readings:
        done = runtime.do(reading(through) if continues else kernel.ReadFeed(through))
        observed = max(observed, through)
        injected = max(injected, through) if continues else injected
        assert cursors_of(runtime) == (observed, injected)
        assert injected <= observed
        assert effects_of(done, kernel.FeedRead) == [kernel.FeedRead(runtime.memory.head.cursors)]


def test_a_continuation_that_is_known_already_moves_nothing(runtime: Runtime) -> None:
    offered = continuation_for_ended_operations()
    runtime.do(reading(2, offered))
    before = runtime.memory.head
    done = runtime.do(reading(7, offered))
    assert isinstance(done.reply, Deduplicated)
    assert runtime.memory.head == before
    assert effects_of(done, kernel.FeedRead) == []


def test_a_continuation_that_is_rejected_moves_nothing(runtime: Runtime) -> None:
    before = runtime.memory.head
    done = runtime.do(reading(7, evolve(continuation_for_ended_operations(), source=Operator())))
    assert isinstance(done.reply, Rejected)
    assert runtime.memory.head == before
    assert codes_of(done) == ["input.rejected"]
    assert effects_of(done, kernel.FeedRead) == []


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (kernel.Retire(), RuntimeNotReady),
        (kernel.Stop(), RuntimeNotReady),
        (kernel.Destroy(), RuntimeDestroyed),
    ],
)
def test_where_no_input_is_taken_a_continuation_moves_nothing(
    runtime: Runtime, command: kernel.Command, error: type[MeerkatError]
) -> None:
    runtime.do(command)
    moves_nothing(runtime, reading(4), error)


def test_a_continuation_past_the_limit_moves_nothing() -> None:
    runtime = Runtime(Rules(limits=Limits(pending_inputs_max=1)))
    runtime.admit(prompt())
    moves_nothing(runtime, reading(4), Overloaded)


def test_a_continuation_that_a_hosts_policy_refuses_moves_nothing() -> None:
    class Broken:
        def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
            raise LookupError("no such kind")

    moves_nothing(Runtime(Rules(policy=Broken())), reading(4), PolicyRefused)


def test_a_continuation_that_a_hosts_policy_ignores_is_told_of_all_the_same() -> None:
    class Ignoring:
        def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
            return DEFAULT_POLICY.resolve(operation(), running=running)

    runtime = Runtime(Rules(policy=Ignoring()))
    (state,) = runtime.do(reading(4)).states
    assert state.phase is InputPhase.CONSUMED
    assert cursors_of(runtime) == (4, 4)
    assert not runtime.memory.head.awake


# --- cursors put together ---------------------------------------------------------------

snapshots = st.builds(
    EpochCursorSnapshot,
    agent_applied_cursor=st.integers(0, 9),
    runtime_observed_seq=st.integers(0, 9),
    runtime_last_injected_seq=st.integers(0, 9),
)


def test_the_furthest_takes_each_cursor_from_whoever_is_further() -> None:
    one = EpochCursorSnapshot(
        agent_applied_cursor=1, runtime_observed_seq=5, runtime_last_injected_seq=3
    )
    other = EpochCursorSnapshot(
        agent_applied_cursor=4, runtime_observed_seq=2, runtime_last_injected_seq=3
    )
    assert one.furthest(other) == EpochCursorSnapshot(
        agent_applied_cursor=4, runtime_observed_seq=5, runtime_last_injected_seq=3
    )


@given(snapshots, snapshots, snapshots)
def test_the_furthest_does_not_depend_on_the_order(
    one: EpochCursorSnapshot, two: EpochCursorSnapshot, three: EpochCursorSnapshot
) -> None:
    assert one.furthest(two) == two.furthest(one)
    assert one.furthest(two).furthest(three) == one.furthest(two.furthest(three))
    assert one.furthest(one) == one == one.furthest(EpochCursorSnapshot())
