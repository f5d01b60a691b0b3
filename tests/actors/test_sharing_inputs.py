"""Sharing: inputs for a runtime that another process has, and the handles on their ends."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import pytest
from plane_builders import (
    WAIT_S,
    Agent,
    Called,
    OpenPlane,
    error_of,
    operation,
    peer_message,
    phase_of,
    prompt,
    result_of,
    steered,
)
from shared_double import SharedMemory, Two

from actors import ControlPlane
from meerkat import (
    Accepted,
    Deduplicated,
    InputPhase,
    LogicalRuntimeId,
    Rejected,
    RunContext,
    RuntimeState,
    WakeReason,
)
from meerkat.errors import (
    InputNotFound,
    InputValidationFailed,
    InvalidState,
    Overloaded,
    OwnedElsewhere,
    RuntimeNotFound,
)
from meerkat.limits import Limits
from meerkat.outcomes import CompletionKind
from meerkat.policy import Lane

A = LogicalRuntimeId("a")


@pytest.fixture
def two(open_plane: OpenPlane) -> Two:
    return Two(open_plane)


def ingested(plane: ControlPlane, offered: Any) -> Accepted:
    outcome = plane.ingest("a", offered, timeout=WAIT_S)
    assert isinstance(outcome, Accepted), outcome
    return outcome


def test_an_input_for_anothers_runtime_is_worked_there_and_its_handle_ends_here(two: Two) -> None:
    submitted = two.q.submit("a", prompt("from Q"))
    outcome = result_of(submitted.accepted)
    assert isinstance(outcome, Accepted)
    ended = result_of(submitted.completion)
    assert (ended.kind, ended.result) == (CompletionKind.COMPLETED, "re: from Q")
    assert two.agents[0].texts == ["from Q"]
    assert two.agents[1].texts == []
    assert two.database.has("a", two.of_p)


def test_it_is_durable_once_it_is_acknowledged_though_its_owner_is_deaf(two: Two) -> None:
    two.of_p.deaf = True
    outcome = ingested(two.q, prompt("early"))
    state = two.database.inner.load_input(A, outcome.input_id)
    assert state is not None
    assert (state.phase, state.admission_sequence) == (InputPhase.ACCEPTED, None)
    ingested(two.p, prompt("late"))
    assert result_of(two.q.completion("a", outcome)).kind is CompletionKind.COMPLETED
    assert two.agents[0].next_call().text == "early"
    assert two.agents[0].next_call().text == "late"


def test_a_hint_that_is_missed_costs_a_third_of_a_lease_and_no_more(open_plane: OpenPlane) -> None:
    database = SharedMemory()
    p, q = database.view("P", lease_s=0.06), database.view("Q")
    first, second = open_plane(Agent(), store=p), open_plane(store=q)
    first.register("a", timeout=WAIT_S)
    p.deaf = True
    outcome = second.ingest("a", prompt(), timeout=WAIT_S)
    assert result_of(second.completion("a", outcome)).kind is CompletionKind.COMPLETED


def test_one_that_is_known_by_key_or_id_is_not_taken_in_again(two: Two) -> None:
    offered = prompt(idempotency_key="K")
    first = ingested(two.q, offered)
    result_of(two.q.completion("a", first))
    for again in (offered, prompt("another", idempotency_key="K")):
        for plane in (two.q, two.p):
            outcome = plane.ingest("a", again, timeout=WAIT_S)
            assert isinstance(outcome, Deduplicated)
            assert outcome.existing_id == offered.id
            assert result_of(plane.completion("a", outcome)).kind is CompletionKind.COMPLETED
    assert two.agents[0].texts == ["hello"]


def test_the_owner_knows_by_its_key_what_was_only_offered(two: Two) -> None:
    two.agents[0].hold()
    two.of_p.deaf = True
    first = ingested(two.q, prompt(idempotency_key="K"))
    outcome = two.p.ingest("a", prompt(idempotency_key="K"), timeout=WAIT_S)
    assert isinstance(outcome, Deduplicated)
    assert outcome.existing_id == first.input_id
    assert two.p.active_input_ids("a") == [first.input_id]


def test_what_an_operation_says_is_consumed_where_it_is_taken_in_and_runs_nothing(two: Two) -> None:
    outcome = ingested(two.q, operation())
    ended = result_of(two.q.completion("a", outcome))
    assert ended.kind is CompletionKind.COMPLETED_WITHOUT_RESULT
    assert two.agents[0].texts == []


def test_a_newer_one_supersedes_an_older_one_whoever_was_asked(two: Two) -> None:
    two.agents[0].hold()
    ingested(two.p, prompt("in hand"))
    two.agents[0].next_call()
    older = two.q.submit("a", prompt("older", supersession_key="S"))
    newer = two.q.submit("a", prompt("newer", supersession_key="S"))
    displaced = result_of(older.completion)
    assert displaced.kind is CompletionKind.DISPLACED
    assert displaced.displaced_by == result_of(newer.accepted).input_id
    newest = two.p.submit("a", prompt("newest", supersession_key="S"))
    assert result_of(newer.completion).displaced_by == result_of(newest.accepted).input_id
    two.agents[0].release()
    assert result_of(newest.completion).kind is CompletionKind.COMPLETED
    assert two.agents[0].texts == ["in hand", "newest"]


def test_silent_intents_lanes_and_signals_are_the_owners(two: Two) -> None:
    two.p.detach_executor("a", timeout=WAIT_S)
    queued = ingested(two.q, prompt("queued"))
    now = ingested(two.q, steered("now"))
    two.p.wake("a", timeout=WAIT_S)
    states = [two.p.input_state("a", each.input_id, timeout=WAIT_S) for each in (queued, now)]
    lanes = [state.policy.lane for state in states if state and state.policy]
    assert lanes == [Lane.QUEUE, Lane.STEER]
    assert [state.admission_sequence for state in states if state] == [0, 1]
    two.p.attach_executor("a", two.agents[0], timeout=WAIT_S)
    assert result_of(two.q.completion("a", queued)).kind is CompletionKind.COMPLETED
    assert two.agents[0].texts == ["now", "queued"]


def test_a_run_that_waits_is_told_of_it(two: Two) -> None:
    reasons: SimpleQueue[WakeReason] = SimpleQueue()

    def waits(called: Called, context: RunContext) -> None:
        if called.text == "waits":
            reasons.put(context.wait(WAIT_S))

    two.agents[0].behaviour = waits
    ingested(two.p, prompt("waits"))
    two.agents[0].next_call()
    second = two.q.submit("a", peer_message())
    assert reasons.get(timeout=WAIT_S) is WakeReason.WORK_WAITING
    assert result_of(second.completion).kind is CompletionKind.COMPLETED


def test_its_events_are_told_where_it_is_taken_in(two: Two) -> None:
    subscription = two.p.subscribe("a", timeout=WAIT_S)
    outcome = ingested(two.q, prompt())
    told = [subscription.next_within(WAIT_S) for _ in range(2)]
    assert [str(each.event.code) for each in told if each and hasattr(each, "event")] == [
        "input.accepted",
        "input.queued",
    ]
    assert two.p.figures().accepted == 1
    assert (two.q.figures().accepted, two.q.figures().offered) == (0, 1)
    assert phase_of(two.q, "a", outcome.input_id) is not None


def test_what_needs_no_state_is_refused_before_anything_is_stored(two: Two) -> None:
    with pytest.raises(InputValidationFailed):
        two.q.ingest("a", prompt("x" * 2**21), timeout=WAIT_S)
    rejected = two.q.submit("a", prompt(durability="derived"))
    assert isinstance(result_of(rejected.accepted), Rejected)
    assert isinstance(error_of(rejected.completion), InputValidationFailed)
    with pytest.raises(OwnedElsewhere):
        two.q.ingest("a", prompt(durability="ephemeral"), timeout=WAIT_S)
    assert two.database.inner.load_active_inputs(A) == []


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("retire", RuntimeState.RETIRED),
        ("stop_runtime", RuntimeState.STOPPED),
        ("destroy", RuntimeState.DESTROYED),
    ],
)
def test_the_stored_state_refuses_it_in_the_words_of_a_control_plane(
    two: Two, end: str, state: RuntimeState
) -> None:
    getattr(two.p, end)("a", timeout=WAIT_S)
    with pytest.raises(InvalidState) as refused:
        two.q.ingest("a", prompt(), timeout=WAIT_S)
    assert refused.value.state is state


def test_no_more_waits_for_anothers_runtime_than_may(open_plane: OpenPlane) -> None:
    """Whoever is asked: what was offered counts, also before its owner has taken it in."""
    two = Two(open_plane, limits=Limits(pending_inputs_max=3))
    two.p.pause("a", timeout=WAIT_S)
    for number in range(3):
        two.q.ingest("a", prompt(str(number), idempotency_key=str(number)), timeout=WAIT_S)
    sent = two.q.submit("a", prompt("more"))
    for each in (sent.accepted, sent.completion):
        with pytest.raises(Overloaded) as full:
            each.result(WAIT_S)
        assert (full.value.limit, full.value.value) == ("pending_inputs_max", 3)
    known = two.q.ingest("a", prompt("again", idempotency_key="1"), timeout=WAIT_S)
    assert isinstance(known, Deduplicated)
    two.p.resume("a", timeout=WAIT_S)
    worked = two.q.completion("a", known).result(WAIT_S)
    assert worked.kind is CompletionKind.COMPLETED


def test_one_that_nobody_has_registered_is_not_found(two: Two) -> None:
    with pytest.raises(RuntimeNotFound):
        two.q.ingest("b", prompt(), timeout=WAIT_S)
    two.p.unregister("a", timeout=WAIT_S)
    with pytest.raises(RuntimeNotFound):
        two.q.ingest("a", prompt(), timeout=WAIT_S)


# --- what is read, and what is refused ----------------------------------------------------


def test_what_can_be_read_is_read_from_the_store(two: Two) -> None:
    two.agents[0].hold()
    first = ingested(two.p, prompt("first"))
    called = two.agents[0].next_call()
    second = ingested(two.p, prompt("second"))
    assert two.q.runtime_state("a", timeout=WAIT_S) is RuntimeState.RUNNING
    assert two.q.active_input_ids("a") == [first.input_id, second.input_id]
    assert phase_of(two.q, "a", first.input_id) is InputPhase.STAGED
    assert two.q.load_boundary_receipt("a", called.run_id, 0, timeout=WAIT_S) is None
    two.agents[0].release()
    result_of(two.q.completion("a", second, timeout=WAIT_S))
    receipt = two.q.load_boundary_receipt("a", called.run_id, 0, timeout=WAIT_S)
    assert receipt is not None
    assert receipt.contributing_input_ids == (first.input_id,)
    with pytest.raises(InputNotFound):
        two.q.completion("a", prompt().id, timeout=WAIT_S)


@pytest.mark.parametrize(
    "call",
    [
        "retire", "recycle", "reset", "recover", "destroy", "stop_runtime", "wake", "pause",
        "resume", "unregister", "detach_executor", "executor_ready", "subscribe", "watch",
        "redrive",
    ],
)  # fmt: skip
def test_every_other_call_names_who_has_it(two: Two, call: str) -> None:
    with pytest.raises(OwnedElsewhere) as refused:
        getattr(two.q, call)("a", timeout=WAIT_S)
    assert (refused.value.owner, str(refused.value.runtime_id)) == ("P", "a")
    assert two.database.has("a", two.of_p)


def test_registering_anothers_says_whose_session_it_is(two: Two) -> None:
    ours, theirs = two.p.register("a"), two.q.register("a", timeout=WAIT_S)
    assert (theirs.session_id, theirs.epoch_id) == (ours.session_id, ours.epoch_id)
    assert two.database.has("a", two.of_p)
