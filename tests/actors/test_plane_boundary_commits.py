"""Boundary commits: consumed with a receipt and the conversation so far; the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from boundary_builders import (
    A,
    Messages,
    begun,
    commit,
    digest,
    ingested,
    messages_of,
    said,
    stored,
)
from plane_builders import (
    OpenPlane,
    Puppet,
    events_until,
    prompt,
    result_of,
    steered,
)

from actors import ControlPlane
from meerkat import (
    InputPhase,
    RunBoundaryReceipt,
    RunOutput,
    RuntimeState,
)
from meerkat.outcomes import CompletionKind
from meerkat.policy import RunBoundary
from meerkat.store import SqliteStore


@pytest.fixture
def plane(open_plane: OpenPlane, puppet: Puppet) -> ControlPlane:
    plane = open_plane(puppet)
    plane.register("a")
    return plane


def test_a_commit_ends_the_handles_of_the_steered_while_the_run_goes_on(
    plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    first, run = begun(plane, puppet)
    offered = [steered("one"), steered("two")]
    handles = [plane.submit("a", each).completion for each in offered]
    ids = [each.id for each in offered]
    plane.runtime_state("a")
    with plane.subscribe("a") as events:
        receipt = run.does(commit(append=said("one, two")))
        assert SqliteStore(path).load_boundary_receipt(A, receipt.run_id, 0) == receipt
        assert stored(path) == said("one, two")
        for each, handle in zip(ids, handles, strict=True):
            assert result_of(handle).kind is CompletionKind.COMPLETED_WITHOUT_RESULT
            state = plane.input_state("a", each)
            assert state is not None
            assert (state.phase, state.attempt_count) == (InputPhase.CONSUMED, 1)
            assert (state.last_run_id, state.last_boundary_sequence) == (run.called.run_id, 0)
        told = events_until(events, "input.consumed", times=2)
    assert [(str(each.event.code), each.event.input_id) for each in told] == [
        (code, each) for each in ids for code in ("input.applied", "input.consumed")
    ]
    assert not first.done()
    assert plane.runtime_state("a") is RuntimeState.RUNNING
    run.returns()
    assert result_of(first).result == "re: first"


def test_rcp_04_receipts_count_on_and_their_digests_recompute(
    plane: ControlPlane, puppet: Puppet, path: Path
) -> None:
    first, run = begun(plane, puppet)
    forms: list[tuple[dict[str, Any], Messages]] = [
        ({"append": said("a", "ä")}, said("a", "ä")),
        ({"append": said("b")}, said("a", "ä", "b")),
        ({}, said("a", "ä", "b")),
        ({"messages": said("summary")}, said("summary")),
        ({"messages": said("summary", "c")}, said("summary", "c")),
    ]
    for sequence, (form, messages) in enumerate(forms):
        ids = ingested(plane, steered(f"{sequence}/1"), steered(f"{sequence}/2"))
        receipt = run.does(commit(**form))
        assert receipt == RunBoundaryReceipt(
            run_id=run.called.run_id,
            boundary=RunBoundary.RUN_CHECKPOINT,
            contributing_input_ids=ids,
            conversation_digest=digest(messages),
            message_count=len(messages),
            sequence=sequence,
        )
        assert stored(path) == messages
        assert run.does(messages_of) == messages
        assert plane.load_boundary_receipt("a", run.called.run_id, sequence) == receipt
    run.returns(RunOutput(append=said("end")))
    result_of(first)
    last = plane.load_boundary_receipt("a", run.called.run_id, len(forms))
    assert last is not None
    assert (last.boundary, last.sequence) == (RunBoundary.RUN_START, len(forms))
    assert stored(path) == said("summary", "c", "end")
    assert (last.conversation_digest, last.message_count) == (digest(stored(path)), 3)
    assert plane.load_boundary_receipt("a", run.called.run_id, len(forms) + 1) is None


def test_opaque_bytes_at_a_boundary(plane: ControlPlane, puppet: Puppet, path: Path) -> None:
    first, run = begun(plane, puppet)
    for sequence, data in enumerate((b"\x00one", b"", b"three")):
        ingested(plane, steered())
        receipt = run.does(commit(snapshot=data))
        assert (receipt.sequence, receipt.conversation_digest) == (sequence, None)
        assert receipt.message_count == 0
        assert run.does(lambda context: context.snapshot) == data
    run.returns(RunOutput())
    result_of(first)
    last = plane.load_boundary_receipt("a", run.called.run_id, 3)
    assert last is not None
    assert (last.conversation_digest, last.message_count) == (None, 0)
    kept = SqliteStore(path).load_session_snapshot(A)
    assert kept is not None
    assert kept.opaque == b"three"


ENDS: dict[str, tuple[RunOutput, Messages]] = {
    "append": (RunOutput(append=said("end")), said("old", "taken", "end")),
    "the list, longer": (
        RunOutput(messages=said("old", "taken", "end")),
        said("old", "taken", "end"),
    ),
    "the list, as it is": (RunOutput(messages=said("old", "taken")), said("old", "taken")),
    "the list, as it was before": (RunOutput(messages=said("old")), said("old")),
    "no list": (RunOutput(messages=[]), []),
    "bytes": (RunOutput(snapshot=b"end"), said("old", "taken")),
    "nothing": (RunOutput(), said("old", "taken")),
}


@pytest.mark.parametrize("end", ENDS)
def test_rcp_07_a_run_ends_on_top_of_what_its_boundaries_committed(
    plane: ControlPlane, puppet: Puppet, path: Path, end: str
) -> None:
    output, messages = ENDS[end]
    plane.submit("a", prompt())
    puppet.next_run().returns(RunOutput(append=said("old")))
    first, run = begun(plane, puppet)
    ingested(plane, steered())
    run.does(commit(append=said("taken")))
    run.returns(output)
    result_of(first)
    assert stored(path) == messages
    receipt = plane.load_boundary_receipt("a", run.called.run_id, 1)
    assert receipt is not None
    if output.snapshot is None:
        assert receipt.conversation_digest == digest(messages)
    plane.submit("a", prompt("next"))
    after = puppet.next_run()
    assert after.does(messages_of) == messages
    assert after.does(lambda context: context.snapshot) == output.snapshot
