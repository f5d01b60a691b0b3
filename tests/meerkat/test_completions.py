"""Completion handles: one ending each, the same for early and for late askers."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from attrs import evolve
from builders import Runtime, prompt, round_trip, state_in, uuid_of

from meerkat import CompletionHandle, CompletionOutcome, InputId, InputPhase, RunOutput, kernel
from meerkat.identifiers import RuntimeEpochId
from meerkat.input_lifecycle import AbandonCause, AbandonedOutcome, AbandonReason
from meerkat.outcomes import CompletionKind, TerminationReason, completion_of, terminated

P, K = InputPhase, CompletionKind
BY = InputId(uuid_of(8))


def ending_of(runtime: Runtime, input_id: InputId) -> CompletionOutcome:
    ending = completion_of(runtime.state(input_id))
    assert ending is not None
    return ending


def test_cmp_01_completed_with_a_result(runtime: Runtime) -> None:
    (input_id,) = runtime.admit(prompt())
    assert completion_of(runtime.state(input_id)) is None
    waiting = CompletionHandle()
    runtime.complete(runtime.stage(), RunOutput(result={"answer": [1, {"x": None}]}))
    ending = ending_of(runtime, input_id)
    waiting.set_result(ending)
    assert waiting.result(timeout=0) == CompletionOutcome(
        K.COMPLETED, result={"answer": [1, {"x": None}]}
    )
    assert waiting.done()


def test_cmp_03_abandoned_carries_reason_and_error(runtime: Runtime) -> None:
    (input_id,) = runtime.admit(prompt())
    runtime.fail(runtime.stage(), recoverable=False)
    assert ending_of(runtime, input_id) == CompletionOutcome(
        K.ABANDONED, reason="max_attempts_exhausted", error="boom"
    )


def test_cmp_06_a_resolved_handle_yields_at_once() -> None:
    ending = CompletionOutcome(K.COMPLETED, result=1)
    handle = CompletionHandle.resolved(ending)
    assert isinstance(handle, CompletionHandle)
    assert handle.done()
    assert handle.result(timeout=0) is ending
    seen: list[Future[CompletionOutcome]] = []
    handle.add_done_callback(seen.append)
    assert seen == [handle]


@pytest.mark.parametrize("output", [RunOutput(), RunOutput(append=[{"a": 1}], result=None)])
def test_cmp_07_completed_without_a_result(runtime: Runtime, output: RunOutput) -> None:
    (input_id,) = runtime.admit(prompt())
    runtime.complete(runtime.stage(), output)
    assert ending_of(runtime, input_id) == CompletionOutcome(K.COMPLETED_WITHOUT_RESULT)


@pytest.mark.parametrize("result", [0, False, "", [], {}])
def test_an_empty_result_is_a_result(runtime: Runtime, result: Any) -> None:
    (input_id,) = runtime.admit(prompt())
    runtime.complete(runtime.stage(), RunOutput(result=result))
    ending = ending_of(runtime, input_id)
    assert ending == CompletionOutcome(K.COMPLETED, result=result)
    assert type(ending.result) is type(result)


def test_cmp_13_a_cancelled_run(runtime: Runtime) -> None:
    (input_id,) = runtime.admit(prompt())
    runtime.do(kernel.CancelRun(runtime.stage()))
    assert ending_of(runtime, input_id).kind is K.CANCELLED


@pytest.mark.parametrize(
    ("phase", "displaced"), [(P.SUPERSEDED, BY), (P.COALESCED, BY)], ids=["superseded", "coalesced"]
)
def test_displaced_names_the_input_that_took_its_place(
    phase: InputPhase, displaced: InputId
) -> None:
    assert completion_of(state_in(phase)) == CompletionOutcome(K.DISPLACED, displaced_by=displaced)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (kernel.Reset(RuntimeEpochId(uuid_of(1))), "runtime reset"),
        (kernel.Stop(), "runtime stopped"),
        (kernel.Destroy(), "runtime destroyed"),
    ],
)
def test_a_runtime_that_ends_says_why(
    runtime: Runtime, command: kernel.Command, reason: str
) -> None:
    ids = runtime.admit(prompt(), prompt())
    runtime.do(command)
    wanted = CompletionOutcome(K.RUNTIME_TERMINATED, reason=reason)
    assert [ending_of(runtime, each) for each in ids] == [wanted, wanted]


def test_retired_without_an_executor_says_why() -> None:
    runtime = Runtime(attached=False)
    (input_id,) = runtime.admit(prompt())
    runtime.do(kernel.Retire())
    assert ending_of(runtime, input_id) == terminated(TerminationReason.RETIRED)
    assert terminated(TerminationReason.RETIRED).reason == "retired without runtime loop"


def test_the_words_of_termination() -> None:
    assert [str(reason) for reason in TerminationReason][:7] == [
        "runtime reset",
        "runtime stopped",
        "runtime destroyed",
        "runtime session unregistered",
        "retired without runtime loop",
        "control plane stopped",
        "taken over",
    ]


@pytest.mark.parametrize(
    "phase",
    [P.ACCEPTED, P.QUEUED, P.STAGED, P.APPLIED, P.APPLIED_PENDING_CONSUMPTION],
    ids=str,
)
def test_a_pending_input_has_no_ending(phase: InputPhase) -> None:
    assert completion_of(state_in(phase)) is None


@pytest.mark.parametrize("result", [[1, [2]], {"a": [1]}, "text", 2**64 - 1, None])
def test_an_ending_is_the_same_after_a_round_trip_to_disk(result: Any) -> None:
    state = evolve(state_in(P.CONSUMED), result=result)
    assert completion_of(round_trip(state)) == completion_of(state)
    ending = completion_of(state)
    assert ending is not None
    assert ending.result == result


@pytest.mark.parametrize("cause", AbandonCause, ids=str)
def test_every_abandoned_input_ends(cause: AbandonCause) -> None:
    attempts = 0 if cause is AbandonCause.MAX_ATTEMPTS_EXHAUSTED else None
    outcome = AbandonedOutcome(AbandonReason(cause, attempts))
    ending = completion_of(evolve(state_in(P.ABANDONED), terminal_outcome=outcome))
    assert ending is not None
    assert ending.kind in (K.RUNTIME_TERMINATED, K.CANCELLED, K.ABANDONED)


def test_a_handle_cannot_be_cancelled() -> None:
    handle = CompletionHandle()
    assert handle.cancel() is False
    assert not handle.cancelled()
    handle.set_result(CompletionOutcome(K.COMPLETED_WITHOUT_RESULT))
    assert handle.result(timeout=0).kind is K.COMPLETED_WITHOUT_RESULT


def test_the_kinds_are_the_pinned_words() -> None:
    assert [kind.value for kind in CompletionKind] == [
        "completed",
        "completed_without_result",
        "cancelled",
        "abandoned",
        "displaced",
        "runtime_terminated",
    ]


def test_the_kind_of_an_ending_equals_its_word() -> None:
    for kind in CompletionKind:
        outcome = CompletionOutcome(kind)
        assert outcome.kind == kind.value == str(kind)
        assert {kind.value: 1}[outcome.kind] == 1
        assert round_trip(outcome) == outcome
