"""Taking in: what another process has accepted is decided here as if it were offered here."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from builders import START, Runtime, codes_of, operation, progress, prompt, request, round_trip

from meerkat import Accepted, Input, InputPhase, InputState, PolicyDecision, kernel
from meerkat.errors import Overloaded, PolicyRefused, RecoveryCorruption
from meerkat.kernel.memory import Rules
from meerkat.limits import Limits
from meerkat.policy import DEFAULT_POLICY, Lane, Signal, WakeMode


def offered(each: Input, **changes: Any) -> InputState:
    """Its row, as the process that was asked has stored it."""
    decision = DEFAULT_POLICY.resolve(each, running=False)
    return evolve(InputState.of(each, START), policy=decision, **changes)


def take_in(runtime: Runtime, each: Input) -> InputState:
    done = runtime.do(kernel.TakeIn(offered(each)))
    state = runtime.memory.ledger.get(each.id)
    assert state is not None
    assert done.states[-1] == state
    return round_trip(state)


@pytest.mark.parametrize("each", [prompt(), progress(), request(), operation()])
def test_it_becomes_what_an_acceptance_would_have_made_of_it(each: Input) -> None:
    here, there = Runtime(), Runtime()
    accepted = here.do(kernel.AcceptInput(each, b"{}"))
    taken = there.do(kernel.TakeIn(offered(each)))
    (ours,), (theirs,) = accepted.states, taken.states
    assert theirs.created_at == START
    assert (theirs.phase, theirs.policy) == (ours.phase, ours.policy)
    assert theirs.admission_sequence == ours.admission_sequence
    assert [each.to_phase for each in theirs.history] == [each.to_phase for each in ours.history]
    assert (taken.effects, codes_of(taken)) == (accepted.effects, codes_of(accepted))
    assert taken.head.awake is accepted.head.awake
    assert isinstance(taken.reply, Accepted)
    assert taken.payload is None


def test_the_runtimes_own_state_decides_and_not_what_was_believed_elsewhere() -> None:
    runtime = Runtime()
    runtime.do(kernel.SetSilentIntents(frozenset({"mob.peer_added"})))
    state = take_in(runtime, request())
    assert state.policy is not None
    assert state.policy.wake_mode is WakeMode.NONE
    assert not runtime.memory.head.awake


def test_a_newer_one_replaces_an_older_one_of_its_key() -> None:
    runtime = Runtime()
    (older,) = runtime.admit(prompt(supersession_key="S"))
    newer = prompt(supersession_key="S")
    take_in(runtime, newer)
    replaced = runtime.memory.ledger.get(older)
    assert replaced is not None
    assert replaced.phase is InputPhase.SUPERSEDED
    assert [each.input_id for each in runtime.memory.ledger.waiting(Lane.QUEUE)] == [newer.id]


def test_it_was_acknowledged_and_is_not_refused_for_want_of_room() -> None:
    runtime = Runtime(Rules(limits=Limits(pending_inputs_max=1)))
    runtime.admit(prompt())
    with pytest.raises(Overloaded):
        runtime.offer(prompt())
    assert take_in(runtime, prompt()).phase is InputPhase.QUEUED


class Failing:
    def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
        raise ValueError("this process has another policy")


def test_where_the_policy_fails_what_it_had_said_elsewhere_holds() -> None:
    runtime, each = Runtime(Rules(policy=Failing())), prompt()
    assert take_in(runtime, each).policy == DEFAULT_POLICY.resolve(each, running=False)
    with pytest.raises(PolicyRefused):
        runtime.do(kernel.TakeIn(InputState.of(prompt(), START)))


def test_one_without_its_payload_is_damage() -> None:
    with pytest.raises(RecoveryCorruption):
        Runtime().do(kernel.TakeIn(offered(prompt(), input=None)))


@pytest.mark.parametrize(
    ("end", "attached", "reason"),
    [
        (kernel.Retire(), False, "retired"),
        (kernel.Stop(), True, "stopped"),
        (kernel.Destroy(), True, "destroyed"),
    ],
)
def test_where_nothing_is_worked_any_more_it_ends_as_what_waited_did(
    end: kernel.Command, attached: bool, reason: str
) -> None:
    runtime, each = Runtime(attached=attached), prompt()
    runtime.do(end)
    done = runtime.do(kernel.TakeIn(offered(each)))
    (state,) = done.states
    assert state.phase is InputPhase.ABANDONED
    assert str(getattr(state.terminal_outcome, "reason", None)) == reason
    assert codes_of(done) == ["input.abandoned"]
    assert not done.effects


def test_a_runtime_that_drains_works_it_too() -> None:
    runtime, each = Runtime(), prompt()
    runtime.do(kernel.Retire())
    assert take_in(runtime, each).phase is InputPhase.QUEUED
    runtime.stage()
    assert runtime.memory.head.run is not None
    assert runtime.memory.head.run.contributors == (each.id,)


def test_it_signals_whom_it_calls_for() -> None:
    runtime = Runtime()
    done = runtime.do(kernel.TakeIn(offered(prompt())))
    assert done.effects == (kernel.Signalled(Signal.WAKE_LOOP),)
    assert runtime.memory.head.awake
