"""What a coroutine executor is handed: what it sees, waits for, and says, as ordinary ones do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coroutine_builders import KINDS, STRICT, AsyncPuppet, digest, noiseless, said
from plane_builders import (
    WAIT_S,
    OpenPlane,
    events_until,
    peer_message,
    prompt,
    result_of,
    steered,
)

from actors import ControlPlane
from meerkat import LogicalRuntimeId, RunOutput, StagedInput, WakeReason
from meerkat.errors import RunCancelled, RunRefused
from meerkat.outcomes import CompletionKind
from meerkat.policy import RunBoundary
from meerkat.store import SqliteStore

pytestmark = STRICT

A = LogicalRuntimeId("a")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless():
        yield


# --- the context, and the receipts, of either kind --------------------------------------


async def takes_in(context: Any, primitive: StagedInput) -> RunOutput:
    """Two boundaries with an input each, then an end; it says what it saw on its way."""
    seen = [[message["content"] for message in context.messages]]
    for form in ("append", "messages"):
        assert await context.wait(WAIT_S) is WakeReason.STEERED
        boundary = await context.boundary()
        mine = [said(primitive.text)] if form == "append" else context.messages
        rows = [*mine, *map(said, boundary.texts)]
        receipt = await boundary.commit(**{form: rows})
        assert receipt.message_count == len(context.messages)
        seen.append([message["content"] for message in context.messages])
        context.progress(f"took in {boundary.texts[0]}")
    return RunOutput(append=[said("end")], result=seen)


@pytest.mark.parametrize("kind", KINDS)
def test_receipts_and_conversation_are_the_same_for_either_kind(
    open_plane: OpenPlane, path: Path, kind: str
) -> None:
    plane = open_plane(KINDS[kind](takes_in))
    plane.register("a")
    with plane.subscribe("a") as events:
        submitted = plane.submit("a", prompt("first"))
        events_until(events, "run.started")
        inputs = [result_of(submitted.accepted).input_id]
        for text in ("second", "third"):
            inputs.append(plane.ingest("a", steered(text), timeout=WAIT_S).input_id)
            assert events_until(events, "run.progress")[-1].event.detail == f"took in {text}"
    ended = result_of(submitted.completion)
    texts = ["first", "second", "third", "end"]
    messages = list(map(said, texts))
    assert ended.result == [[], texts[:2], texts[:3]], ended.error
    plane.stop()
    store = SqliteStore(path)
    receipts = sorted(store.page_receipts(A).items, key=lambda receipt: receipt.sequence)
    checkpoint = RunBoundary.RUN_CHECKPOINT
    assert [
        (each.sequence, each.boundary, each.message_count, each.conversation_digest)
        for each in receipts
    ] == [
        (0, checkpoint, 2, digest(messages[:2])),
        (1, checkpoint, 3, digest(messages[:3])),
        (2, RunBoundary.RUN_START, 4, digest(messages)),
    ]
    contributors = [list(each.contributing_input_ids) for each in receipts]
    assert contributors == [[each] for each in (*inputs[1:], inputs[0])]
    snapshot = store.load_session_snapshot(A)
    assert snapshot is not None
    assert json.loads(snapshot.messages) == messages
    store.close()


FORMS: dict[str, tuple[dict[str, Any], list[str], bytes | None]] = {
    "append": ({"append": [said("new")]}, ["old", "new"], b"kept"),
    "append nothing": ({"append": []}, ["old"], b"kept"),
    "messages": ({"messages": [said("rewritten")]}, ["rewritten"], b"kept"),
    "no messages": ({"messages": []}, [], b"kept"),
    "snapshot": ({"snapshot": b"replaced"}, ["old"], b"replaced"),
    "nothing": ({}, ["old"], b"kept"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_after_a_commit_the_run_sees_what_it_committed(
    open_plane: OpenPlane, kind: str, form: str
) -> None:
    output, messages, snapshot = FORMS[form]
    seen: list[Any] = []

    async def commits(context: Any, primitive: StagedInput) -> RunOutput:
        if primitive.text != "commit":
            by_text = {"old": RunOutput(append=[said("old")]), "kept": RunOutput(snapshot=b"kept")}
            return by_text[primitive.text]
        assert await context.wait(WAIT_S) is WakeReason.STEERED
        await (await context.boundary()).commit(**output)
        context.messages.clear()  # a fresh list, the caller's to change
        seen.append(([message["content"] for message in context.messages], context.snapshot))
        return RunOutput(append=[said("after")])

    async def looks(context: Any, primitive: StagedInput) -> RunOutput:
        seen.append(([message["content"] for message in context.messages], context.snapshot))
        return RunOutput()

    plane = open_plane(KINDS[kind](commits))
    plane.register("a")
    for text in ("old", "kept"):
        result_of(plane.submit("a", prompt(text)).completion)
    submitted = plane.submit("a", prompt("commit"))
    plane.ingest("a", steered(), timeout=WAIT_S)
    ended = result_of(submitted.completion)
    assert ended.kind is CompletionKind.COMPLETED_WITHOUT_RESULT, ended.error
    for each in KINDS.values():
        plane.attach_executor("a", each(looks))
        result_of(plane.submit("a", prompt()).completion)
    assert seen == [(messages, snapshot), *[([*messages, "after"], snapshot)] * 2]


# --- waiting ----------------------------------------------------------------------------


@pytest.fixture
def puppet() -> AsyncPuppet:
    return AsyncPuppet()


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: AsyncPuppet) -> ControlPlane:
    """A plane with runtime "a", whose first run is under way."""
    plane = open_plane(puppet)
    plane.register("a")
    plane.submit("a", prompt("first"))
    return plane


def waiting(seconds: float = WAIT_S) -> Any:
    return lambda context: context.wait(seconds)


@pytest.mark.parametrize("seconds", [-1.0, 0, 0.001])
def test_a_wait_without_a_reason_times_out(
    plane: ControlPlane, puppet: AsyncPuppet, seconds: float
) -> None:
    run = puppet.next_run()
    assert run.does(waiting(seconds)) is WakeReason.TIMEOUT
    assert run.does(lambda context: context.attention.waits) is False


@pytest.mark.parametrize("already", [True, False])
def test_a_wait_is_woken_by_what_is_steered_until_it_is_taken_in(
    plane: ControlPlane, puppet: AsyncPuppet, already: bool
) -> None:
    run = puppet.next_run()
    if already:
        plane.ingest("a", steered(), timeout=WAIT_S)
        woken = run.asks(waiting())
    else:
        woken = run.awaits(waiting())
        plane.ingest("a", steered(), timeout=WAIT_S)
    assert result_of(woken) is WakeReason.STEERED
    assert run.does(waiting(0)) is WakeReason.STEERED
    boundary = run.does(lambda context: context.boundary())
    assert boundary.texts == ["now"]
    assert run.does(waiting(0)) is WakeReason.STEERED  # handed over is not taken in
    run.does(lambda _: boundary.commit())
    with pytest.raises(RunRefused, match="committed already"):
        run.does(lambda _: boundary.commit())
    assert run.does(waiting(0)) is WakeReason.TIMEOUT
    assert not run.does(lambda context: context.boundary())


@pytest.mark.parametrize("already", [True, False])
def test_a_wait_is_woken_once_by_work_that_asks_it_to_yield(
    plane: ControlPlane, puppet: AsyncPuppet, already: bool
) -> None:
    run = puppet.next_run()
    if already:
        plane.ingest("a", peer_message(), timeout=WAIT_S)
        woken = run.asks(waiting())
    else:
        woken = run.awaits(waiting())
        plane.ingest("a", peer_message(), timeout=WAIT_S)
    assert result_of(woken) is WakeReason.WORK_WAITING
    assert run.does(waiting(0)) is WakeReason.TIMEOUT
    assert not run.does(lambda context: context.boundary())


def test_a_wait_that_timed_out_hears_of_nothing_later(
    plane: ControlPlane, puppet: AsyncPuppet
) -> None:
    """What comes between two waits is for the second one."""
    run = puppet.next_run()
    assert run.does(waiting(0.001)) is WakeReason.TIMEOUT
    plane.ingest("a", peer_message(), timeout=WAIT_S)
    assert run.does(waiting()) is WakeReason.WORK_WAITING


# --- what may be called, awaited or not -------------------------------------------------


@pytest.mark.parametrize("awaited", [True, False])
def test_progress_and_raise_if_cancelled_act_when_they_are_called(
    plane: ControlPlane, puppet: AsyncPuppet, awaited: bool
) -> None:
    run = puppet.next_run()

    def called(deed: Any) -> Any:
        async def calls(context: Any) -> None:
            result = deed(context)
            if awaited:
                assert await result is None

        return calls

    with plane.subscribe("a") as events:
        run.does(called(lambda context: context.progress("half way")))
        assert events_until(events, "run.progress")[-1].event.detail == "half way"
    run.does(called(lambda context: context.raise_if_cancelled()))
    with pytest.raises(TypeError, match="progress is a text, not int"):
        run.does(called(lambda context: context.progress(1)))
    run.does(lambda context: context.cancelled.set())
    with pytest.raises(RunCancelled):
        run.does(called(lambda context: context.raise_if_cancelled()))


def test_a_context_that_is_kept_is_of_no_use_once_the_run_is_over(
    plane: ControlPlane, puppet: AsyncPuppet
) -> None:
    over, now = puppet.next_run(), plane.submit("a", prompt("second"))
    plane.ingest("a", steered(), timeout=WAIT_S)
    boundary = over.does(lambda context: context.boundary())
    over.returns()
    taken_up = puppet.next_run()
    calls = [
        over.context.boundary,
        over.context.raise_if_cancelled,
        lambda: over.context.wait(WAIT_S),
        lambda: over.context.progress("late"),
        boundary.commit,
    ]
    for call in calls:
        with pytest.raises(RunRefused, match="the run is over"):
            taken_up.does(lambda _, call=call: call())
    taken_up.returns()
    puppet.next_run().returns()
    assert result_of(now.completion).result == "re: second"
