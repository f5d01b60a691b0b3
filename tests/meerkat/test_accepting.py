"""Accepting: three outcomes, one order of checks, and what a refusal leaves behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from builders import (
    Clock,
    Runtime,
    accepted_state,
    codes_of,
    message,
    operation,
    progress,
    prompt,
    round_trip,
    state_in,
    uuid_of,
)

from meerkat import (
    Accepted,
    AcceptOutcome,
    Deduplicated,
    EphemeralRuntimeDriver,
    IdempotencyKey,
    InputId,
    InputPhase,
    Rejected,
    RuntimeState,
    System,
    from_json,
    kernel,
    to_json,
)
from meerkat.errors import PolicyRefused, RuntimeDestroyed, RuntimeNotReady
from meerkat.events import InputLifecycleEvent
from meerkat.kernel.memory import Rules, RuntimeHead, RuntimeMemory
from meerkat.outcomes import (
    DurabilityViolation,
    PeerHandlingModeInvalid,
    PeerResponseTerminalInvalid,
)
from meerkat.policy import DEFAULT_POLICY, Lane, Signal
from meerkat.runtime_lifecycle import Phase

DERIVED_PROMPT = {"durability": "derived", "source": System()}


def snapshot(driver: EphemeralRuntimeDriver) -> tuple[Any, ...]:
    """Everything a refusal must leave as it was."""
    return (
        driver.runtime_state(),
        driver.active_input_ids(),
        [driver.waiting_input_ids(lane) for lane in Lane],
        [driver.input_state(each) for each in driver.active_input_ids()],
        driver.take_signal(),
    )


def input_events(driver: EphemeralRuntimeDriver) -> list[tuple[str, InputId]]:
    return [
        (str(envelope.event.code), envelope.event.input_id)
        for envelope in driver.drain_events()
        if isinstance(envelope.event, InputLifecycleEvent)
    ]


def test_acc_02_a_prompt_leaves_a_running_runtime_alone(driver: EphemeralRuntimeDriver) -> None:
    driver.accept_input(prompt())
    driver.start_run()
    driver.take_signal()
    waiting = prompt()
    outcome = driver.accept_input(waiting)
    assert isinstance(outcome, Accepted)
    assert outcome.state.phase is InputPhase.QUEUED
    assert driver.waiting_input_ids(Lane.QUEUE) == [waiting.id]
    assert driver.take_signal() is Signal.NONE
    assert driver.runtime_state() is RuntimeState.RUNNING


def test_acc_03_a_known_key_is_deduplicated(driver: EphemeralRuntimeDriver) -> None:
    first, second = prompt(idempotency_key="K"), prompt(idempotency_key="K")
    driver.accept_input(first)
    outcome = driver.accept_input(second)
    assert outcome == Deduplicated(
        input_id=second.id, existing_id=first.id, existing_state=driver.input_state(first.id)
    )
    assert driver.input_state(second.id) is None
    assert driver.waiting_input_ids(Lane.QUEUE) == [first.id]
    third = driver.accept_input(prompt(idempotency_key="K"))
    assert isinstance(third, Deduplicated)
    assert third.existing_id == first.id


def test_acc_05_a_rejection_leaves_no_trace(driver: EphemeralRuntimeDriver) -> None:
    driver.drain_events()
    before = snapshot(driver)
    offered = prompt(idempotency_key="K", **DERIVED_PROMPT)
    outcome = driver.accept_input(offered)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == DurabilityViolation("derived durability is forbidden for prompt")
    assert snapshot(driver) == before
    assert driver.input_state(offered.id) is None
    assert input_events(driver) == [("input.rejected", offered.id)]
    assert driver.accept_input(prompt(idempotency_key="K")).is_accepted


def test_acc_06_a_retired_runtime_takes_nothing(driver: EphemeralRuntimeDriver) -> None:
    driver.retire()
    driver.drain_events()
    for build in (prompt, progress, operation):
        offered = build()
        with pytest.raises(RuntimeNotReady) as refused:
            driver.accept_input(offered)
        assert refused.value.state is RuntimeState.RETIRED
        assert driver.input_state(offered.id) is None
    assert driver.drain_events() == []


def test_acc_08_the_driver_of_a_retired_runtime_says_so(driver: EphemeralRuntimeDriver) -> None:
    driver.retire()
    with pytest.raises(RuntimeNotReady, match=r"^Runtime not ready: retired$"):
        driver.accept_input(prompt())


def test_acc_09_accepted_then_queued_is_told(driver: EphemeralRuntimeDriver) -> None:
    offered = prompt()
    driver.accept_input(offered)
    assert input_events(driver) == [("input.accepted", offered.id), ("input.queued", offered.id)]


def test_acc_13_one_predicate_and_one_tag_each() -> None:
    state = accepted_state()
    policy = DEFAULT_POLICY.resolve(prompt(), running=False)
    input_id = InputId(uuid_of(1))
    outcomes: list[tuple[str, AcceptOutcome]] = [
        ("accepted", Accepted(input_id=input_id, policy=policy, state=state)),
        (
            "deduplicated",
            Deduplicated(input_id=input_id, existing_id=state.input_id, existing_state=state),
        ),
        ("rejected", Rejected(reason=DurabilityViolation("d"))),
    ]
    for tag, outcome in outcomes:
        predicates = {
            "accepted": outcome.is_accepted,
            "deduplicated": outcome.is_deduplicated,
            "rejected": outcome.is_rejected,
        }
        assert [name for name, holds in predicates.items() if holds] == [tag]
        assert json.loads(to_json(outcome))["outcome_type"] == tag
        assert from_json(AcceptOutcome, to_json(outcome)) == outcome


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("durability_violation", DurabilityViolation("why")),
        ("peer_handling_mode_invalid", PeerHandlingModeInvalid("why")),
        ("peer_response_terminal_invalid", PeerResponseTerminalInvalid("why")),
    ],
)
def test_acc_14_reasons_print_their_detail(tag: str, reason: Any) -> None:
    assert str(reason) == "why"
    assert json.loads(to_json(reason)) == {"reject_type": tag, "detail": "why"}
    assert round_trip(reason) == reason
    assert json.loads(to_json(Rejected(reason=reason)))["reason"]["reject_type"] == tag


# --- the order of the checks ------------------------------------------------------------

REFUSES: list[tuple[Phase, type[Exception], RuntimeState | None]] = [
    (Phase(state=RuntimeState.INITIALIZING), RuntimeNotReady, RuntimeState.INITIALIZING),
    (Phase(state=RuntimeState.RETIRED), RuntimeNotReady, RuntimeState.RETIRED),
    (Phase(state=RuntimeState.STOPPED), RuntimeNotReady, RuntimeState.STOPPED),
    (Phase(state=RuntimeState.DESTROYED), RuntimeDestroyed, None),
]


@pytest.mark.parametrize(("phase", "error", "state"), REFUSES)
def test_state_is_checked_first(
    phase: Phase, error: type[Exception], state: RuntimeState | None
) -> None:
    """An input that every later check would turn away as well is refused for the state."""
    runtime = Runtime()
    known = prompt(idempotency_key="K")
    runtime.admit(known)
    memory = RuntimeMemory(
        runtime.memory.runtime_id, durable=False, head=RuntimeHead(phase=phase, registered=True)
    )
    memory.ledger.put(runtime.state(known.id))
    for offered in (prompt(**DERIVED_PROMPT), prompt(idempotency_key="K"), prompt()):
        with pytest.raises(error) as refused:
            kernel.decide(memory, kernel.AcceptInput(offered, b""), Clock()())
        assert getattr(refused.value, "state", None) is state


def test_a_retiring_run_refuses_as_retired(driver: EphemeralRuntimeDriver) -> None:
    driver.attach_executor()
    driver.accept_input(prompt())
    driver.start_run()
    driver.retire()
    assert driver.runtime_state() is RuntimeState.RUNNING
    with pytest.raises(RuntimeNotReady) as refused:
        driver.accept_input(prompt())
    assert refused.value.state is RuntimeState.RETIRED


def test_admission_comes_before_idempotency(driver: EphemeralRuntimeDriver) -> None:
    driver.accept_input(prompt(idempotency_key="K"))
    assert driver.accept_input(prompt(idempotency_key="K", **DERIVED_PROMPT)).is_rejected


class NeverAsked:
    """A policy that must not be reached."""

    def resolve(self, input: Any, *, running: bool) -> Any:  # noqa: A002
        raise AssertionError("the policy was asked")


def test_idempotency_comes_before_policy() -> None:
    runtime = Runtime()
    known = prompt(idempotency_key="K")
    runtime.admit(known)
    memory = RuntimeMemory(
        runtime.memory.runtime_id,
        durable=False,
        head=runtime.memory.head,
        rules=Rules(policy=NeverAsked()),
    )
    memory.ledger.put(runtime.state(known.id))
    command = kernel.AcceptInput(prompt(idempotency_key="K"), b"")
    reply = kernel.decide(memory, command, Clock()()).reply
    assert isinstance(reply, Deduplicated)


@pytest.mark.parametrize("state", [RuntimeState.IDLE, RuntimeState.ATTACHED])
def test_idle_and_attached_admit(state: RuntimeState) -> None:
    runtime = Runtime(attached=state is RuntimeState.ATTACHED)
    assert runtime.memory.head.phase.state is state
    assert runtime.offer(prompt()).is_accepted


# --- ids and keys -----------------------------------------------------------------------


def test_an_id_offered_again_is_deduplicated_with_itself(driver: EphemeralRuntimeDriver) -> None:
    offered = prompt("first")
    driver.accept_input(offered)
    outcome = driver.accept_input(prompt("second", id=offered.id))
    assert isinstance(outcome, Deduplicated)
    assert (outcome.input_id, outcome.existing_id) == (offered.id, offered.id)
    state = driver.input_state(offered.id)
    assert state is not None
    assert state.input == offered


def test_the_key_is_asked_before_the_id(driver: EphemeralRuntimeDriver) -> None:
    keyed, other = prompt(idempotency_key="K"), prompt()
    driver.accept_input(keyed)
    driver.accept_input(other)
    outcome = driver.accept_input(prompt(id=other.id, idempotency_key="K"))
    assert isinstance(outcome, Deduplicated)
    assert outcome.existing_id == keyed.id


@pytest.mark.parametrize("end", ["reset", "recycle", "consumed"])
def test_a_key_holds_for_ever(driver: EphemeralRuntimeDriver, end: str) -> None:
    first = prompt(idempotency_key="K")
    driver.accept_input(first)
    if end == "consumed":
        driver.start_run()
        assert driver.current_run_id is not None
        driver.complete_run(driver.current_run_id)
    else:
        getattr(driver, end)()
    outcome = driver.accept_input(prompt(idempotency_key="K"))
    assert isinstance(outcome, Deduplicated)
    assert outcome.existing_id == first.id


def test_the_key_of_an_operation_is_claimed_too(driver: EphemeralRuntimeDriver) -> None:
    first = operation(idempotency_key="K")
    outcome = driver.accept_input(first)
    assert isinstance(outcome, Accepted)
    assert outcome.state.phase is InputPhase.CONSUMED
    assert outcome.state.idempotency_key == IdempotencyKey("K")
    again = driver.accept_input(message(idempotency_key="K"))
    assert isinstance(again, Deduplicated)
    assert again.existing_state.phase is InputPhase.CONSUMED


def test_an_operation_is_consumed_and_wakes_nobody(runtime: Runtime) -> None:
    offered = operation()
    done = runtime.do(kernel.AcceptInput(offered, to_json(offered)))
    assert codes_of(done) == ["input.accepted", "input.consumed"]
    assert runtime.memory.ledger.active_count == 0
    assert runtime.memory.head.next_admission_sequence == 0
    assert not runtime.memory.runnable


def test_admission_sequences_are_dense_from_zero(driver: EphemeralRuntimeDriver) -> None:
    offered = [prompt(), message(), operation(), progress(), prompt(**DERIVED_PROMPT), prompt()]
    outcomes = [driver.accept_input(each) for each in offered]
    sequences = [o.state.admission_sequence for o in outcomes if isinstance(o, Accepted)]
    assert sequences == [0, 1, None, 2, 3]
    assert driver.active_input_ids() == [offered[i].id for i in (0, 1, 3, 5)]


def test_a_policy_that_cannot_be_carried_out_leaves_nothing() -> None:
    class Dropping:
        def resolve(self, input: Any, *, running: bool) -> Any:  # noqa: A002
            return None

    driver = EphemeralRuntimeDriver("agent-1", rules=Rules(policy=Dropping()), now=Clock())
    offered = prompt(idempotency_key="K")
    with pytest.raises(PolicyRefused):
        driver.accept_input(offered)
    assert driver.input_state(offered.id) is None
    assert driver.drain_events() == []


def test_what_the_store_remembers_is_deduplicated_whatever_memory_has_forgotten(
    runtime: Runtime,
) -> None:
    known = state_in(InputPhase.ABANDONED, prompt(idempotency_key="k"))
    offered = prompt(idempotency_key="k")
    done = runtime.do(kernel.AcceptInput(offered, b"{}", known))
    assert done.reply == Deduplicated(
        input_id=offered.id, existing_id=known.input_id, existing_state=known
    )
    assert done.states == ()
    assert runtime.memory.ledger.active_count == 0
