"""The policy table: every row of it, explicit modes, silence, and a host's own policy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from builders import (
    ONE_OF_EACH_KIND,
    continuation,
    event,
    message,
    operation,
    progress,
    prompt,
    request,
    round_trip,
    step,
    terminal,
)

from meerkat import Input, PolicyDecision, from_json, to_json
from meerkat.errors import PolicyRefused
from meerkat.identifiers import PolicyVersion
from meerkat.policy import (
    DEFAULT_POLICY,
    ApplyMode,
    ConsumePoint,
    DrainPolicy,
    Lane,
    QueueMode,
    RoutingDisposition,
    RunBoundary,
    Signal,
    WakeMode,
    refuse_impossible,
    silence,
)
from meerkat.words import Word

RUN_START = "stage_run_start", "fifo", "on_run_complete", "queue_next_turn", "queue"
BOUNDARY = "stage_run_boundary", "fifo", "on_run_complete", "steer_batch", "steer"
COALESCING = "stage_run_boundary", "coalesce", "on_run_complete", "steer_batch", "steer"
IGNORED = "ignore", "priority", "on_accept", "ignore", "drop"


def row_of(decision: PolicyDecision) -> tuple[str, ...]:
    """Apply, queue, consume, drain and routing: what does not depend on the runtime's state."""
    return (
        decision.apply_mode.value,
        decision.queue_mode.value,
        decision.consume_point.value,
        decision.drain_policy.value,
        decision.routing_disposition.value,
    )


def resolved(offered: Input) -> tuple[tuple[str, ...], str, str, bool]:
    """(row, wake when idle, wake when running, transcript) of an input."""
    idle = DEFAULT_POLICY.resolve(offered, running=False)
    running = DEFAULT_POLICY.resolve(offered, running=True)
    assert row_of(idle) == row_of(running)
    assert idle.record_transcript is running.record_transcript
    assert idle.policy_version == PolicyVersion(1)
    return row_of(idle), idle.wake_mode.value, running.wake_mode.value, idle.record_transcript


@pytest.mark.parametrize("build", [prompt, step])
def test_pol_01_prompt_and_flow_step(build: Any) -> None:
    assert resolved(build()) == (RUN_START, "wake_if_idle", "none", True)


def test_pol_01_external_event() -> None:
    assert resolved(event()) == (RUN_START, "wake_if_idle", "none", True)


@pytest.mark.parametrize("build", [message, request])
def test_peer_messages_and_requests_interrupt_a_waiting_run(build: Any) -> None:
    assert resolved(build()) == (RUN_START, "wake_if_idle", "interrupt_yielding", True)


def test_pol_03_progress() -> None:
    assert resolved(progress()) == (COALESCING, "none", "none", True)


def test_pol_04_terminal_response() -> None:
    assert resolved(terminal()) == (RUN_START, "wake_if_idle", "wake_if_idle", True)


def test_continuation() -> None:
    assert resolved(continuation()) == (BOUNDARY, "wake_if_idle", "interrupt_yielding", False)


def test_pol_06_operation() -> None:
    assert resolved(operation()) == (IGNORED, "none", "none", False)


def moded(build: Any, mode: str) -> Input:
    if build in (prompt, step):
        built: Input = build(turn_metadata={"handling_mode": mode})
    else:
        built = build(handling_mode=mode)
    return built


MODED = [prompt, message, request, terminal, step, event, continuation]


@pytest.mark.parametrize("build", MODED)
def test_pol_07_explicit_queue(build: Any) -> None:
    transcript = build is not continuation
    assert resolved(moded(build, "queue")) == (RUN_START, "wake_if_idle", "none", transcript)


@pytest.mark.parametrize("build", MODED)
def test_explicit_steer(build: Any) -> None:
    transcript = build is not continuation
    wake = ("wake_if_idle", "interrupt_yielding")
    assert resolved(moded(build, "steer")) == (BOUNDARY, *wake, transcript)


@pytest.mark.parametrize("mode", ["queue", "steer"])
def test_pol_09_progress_ignores_a_mode(mode: str) -> None:
    assert resolved(progress(handling_mode=mode)) == resolved(progress())


def test_pol_11_silent_intents_take_the_wake_alone() -> None:
    silent = frozenset({"mob.peer_added"})
    for running in (False, True):
        offered = request("mob.peer_added")
        decision = DEFAULT_POLICY.resolve(offered, running=running)
        assert silence(decision, offered, silent) == evolve(decision, wake_mode=WakeMode.NONE)
        assert silence(decision, offered, frozenset()) == decision
        for other in (request("mob.peer_left"), message(), prompt(), progress()):
            plain = DEFAULT_POLICY.resolve(other, running=running)
            assert silence(plain, other, silent) == plain


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (ApplyMode, "stage_run_start stage_run_boundary inject_now ignore"),
        (WakeMode, "wake_if_idle interrupt_yielding none"),
        (QueueMode, "none fifo coalesce supersede priority"),
        (ConsumePoint, "on_accept on_apply on_run_start on_run_complete explicit_ack"),
        (DrainPolicy, "queue_next_turn steer_batch immediate ignore"),
        (RoutingDisposition, "queue steer immediate drop"),
    ],
)
def test_pol_12_words_equal_themselves(words: type[Word], values: str) -> None:
    assert [word.value for word in words] == values.split()
    for word in words:
        assert str(word) == word.value
        assert to_json(word) == f'"{word.value}"'.encode()
        assert round_trip(word) is word


def test_pol_13_flags_default_to_true_on_the_wire() -> None:
    decision = evolve(
        DEFAULT_POLICY.resolve(prompt(), running=False),
        record_transcript=False,
        emit_operator_content=False,
    )
    assert round_trip(decision) == decision
    document = json.loads(to_json(decision))
    del document["record_transcript"], document["emit_operator_content"]
    read = from_json(PolicyDecision, json.dumps(document))
    assert (read.record_transcript, read.emit_operator_content) == (True, True)


def test_pol_14_immediate_routing_is_the_steer_lane() -> None:
    decision = PolicyDecision(
        apply_mode=ApplyMode.INJECT_NOW,
        wake_mode=WakeMode.WAKE_IF_IDLE,
        queue_mode=QueueMode.FIFO,
        consume_point=ConsumePoint.ON_APPLY,
        drain_policy=DrainPolicy.IMMEDIATE,
        routing_disposition=RoutingDisposition.IMMEDIATE,
    )
    assert decision.lane is Lane.STEER


@pytest.mark.parametrize(
    ("apply_mode", "boundary"),
    [
        (ApplyMode.STAGE_RUN_START, RunBoundary.RUN_START),
        (ApplyMode.STAGE_RUN_BOUNDARY, RunBoundary.RUN_CHECKPOINT),
        (ApplyMode.INJECT_NOW, RunBoundary.IMMEDIATE),
        (ApplyMode.IGNORE, None),
    ],
)
def test_boundary_of_a_decision(apply_mode: ApplyMode, boundary: RunBoundary | None) -> None:
    decision = DEFAULT_POLICY.resolve(prompt(), running=False)
    assert evolve(decision, apply_mode=apply_mode).boundary is boundary


@pytest.mark.parametrize(
    ("wake", "queue", "steer"),
    [
        (WakeMode.NONE, Signal.NONE, Signal.NONE),
        (WakeMode.WAKE_IF_IDLE, Signal.WAKE_LOOP, Signal.REQUEST_IMMEDIATE_PROCESSING),
        (
            WakeMode.INTERRUPT_YIELDING,
            Signal.INTERRUPT_YIELDING,
            Signal.REQUEST_IMMEDIATE_PROCESSING,
        ),
    ],
)
def test_signal_of_a_decision(wake: WakeMode, queue: Signal, steer: Signal) -> None:
    decision = evolve(DEFAULT_POLICY.resolve(prompt(), running=False), wake_mode=wake)
    assert decision.signal is queue
    assert evolve(decision, routing_disposition=RoutingDisposition.STEER).signal is steer


# --- supersession is decided in the policy ----------------------------------------------


@pytest.mark.parametrize("build", ONE_OF_EACH_KIND)
def test_a_key_turns_the_queue_lane_into_supersede(build: Any) -> None:
    plain = DEFAULT_POLICY.resolve(build(), running=False)
    keyed = DEFAULT_POLICY.resolve(build(supersession_key="k"), running=False)
    if plain.lane is Lane.QUEUE:
        assert keyed == evolve(plain, queue_mode=QueueMode.SUPERSEDE)
    else:
        assert keyed == plain


# --- a host's own policy ----------------------------------------------------------------

STAGED = DEFAULT_POLICY.resolve(prompt(), running=False)
DROPPED = DEFAULT_POLICY.resolve(operation(), running=False)


@pytest.mark.parametrize("apply_mode", [ApplyMode.STAGE_RUN_START, ApplyMode.STAGE_RUN_BOUNDARY])
@pytest.mark.parametrize("mode", [QueueMode.FIFO, QueueMode.COALESCE, QueueMode.SUPERSEDE])
def test_what_a_host_may_decide(apply_mode: ApplyMode, mode: QueueMode) -> None:
    decision = evolve(STAGED, apply_mode=apply_mode, queue_mode=mode)
    assert refuse_impossible(decision) is decision
    assert refuse_impossible(DROPPED) is DROPPED


@pytest.mark.parametrize(
    "decision",
    [
        evolve(STAGED, apply_mode=ApplyMode.INJECT_NOW),
        evolve(STAGED, queue_mode=QueueMode.NONE),
        evolve(STAGED, queue_mode=QueueMode.PRIORITY),
        evolve(STAGED, routing_disposition=RoutingDisposition.DROP),
        *(
            evolve(STAGED, consume_point=point)
            for point in ConsumePoint
            if point is not ConsumePoint.ON_RUN_COMPLETE
        ),
        *(
            evolve(DROPPED, consume_point=point)
            for point in ConsumePoint
            if point is not ConsumePoint.ON_ACCEPT
        ),
        None,
        "stage_run_start",
    ],
)
def test_what_a_host_may_not_decide(decision: Any) -> None:
    with pytest.raises(PolicyRefused) as refused:
        refuse_impossible(decision)
    assert refused.value.code == "policy_refused"
