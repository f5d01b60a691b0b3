"""Conversation and receipts: what a run leaves behind, and the digest that proves it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from builders import Runtime, Session, message, nested, progress, prompt, round_trip, uuid_of
from hypothesis import given
from hypothesis import strategies as st

from meerkat import InputId, RunBoundaryReceipt, RunId, RunOutput, from_json, kernel, to_json
from meerkat.conversation import (
    AppendMessages,
    Conversation,
    ReplaceSnapshot,
    RewriteMessages,
    SessionSnapshot,
)
from meerkat.errors import DecodeError
from meerkat.policy import RunBoundary
from meerkat.testing.strategies import json_objects

USER = {"role": "user", "content": "ünï \U0001f600"}
REPLY = {"role": "assistant", "content": [{"b": 1.5, "a": None}], "z": True}


def canonical(messages: Any) -> bytes:
    """The canonical JSON of section 8, worked out here on its own."""
    text = json.dumps(
        messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text.encode("utf-8")


def sha256(messages: Any) -> str:
    return hashlib.sha256(canonical(messages)).hexdigest()


RECEIPT = RunBoundaryReceipt(
    run_id=RunId(uuid_of(1)),
    boundary=RunBoundary.RUN_START,
    contributing_input_ids=(InputId(uuid_of(3)), InputId(uuid_of(1)), InputId(uuid_of(2))),
    conversation_digest="abc123",
    message_count=5,
    sequence=1,
)


def test_rcp_01_a_receipt_equals_itself() -> None:
    assert round_trip(RECEIPT) == RECEIPT
    assert json.loads(to_json(RECEIPT)) == {
        "run_id": str(uuid_of(1)),
        "boundary": "run_start",
        "contributing_input_ids": [str(uuid_of(3)), str(uuid_of(1)), str(uuid_of(2))],
        "conversation_digest": "abc123",
        "message_count": 5,
        "sequence": 1,
    }


def test_rcp_03_contributors_keep_their_order(runtime: Runtime) -> None:
    ids = runtime.admit(message(), message(), message())
    receipt = runtime.complete(runtime.stage()).receipt
    assert receipt is not None
    assert receipt.contributing_input_ids == tuple(ids)
    assert round_trip(receipt).contributing_input_ids == tuple(ids)
    assert round_trip(RECEIPT).contributing_input_ids == RECEIPT.contributing_input_ids


@pytest.mark.parametrize("sequence", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_receipt_sequences_are_unsigned_64_bit(sequence: int) -> None:
    document = json.loads(to_json(RECEIPT)) | {"sequence": sequence}
    assert from_json(RunBoundaryReceipt, json.dumps(document)).sequence == sequence


@pytest.mark.parametrize("sequence", [-1, 2**64, True, "1", 1.0, None])
def test_other_receipt_sequences_are_refused(sequence: Any) -> None:
    document = json.loads(to_json(RECEIPT)) | {"sequence": sequence}
    with pytest.raises(DecodeError):
        from_json(RunBoundaryReceipt, json.dumps(document))


# --- digests ----------------------------------------------------------------------------


def test_the_digest_of_nothing_is_that_of_an_empty_list() -> None:
    plan = Session().plan(RunOutput())
    assert (plan.change, plan.digest, plan.message_count) == (None, sha256([]), 0)


@given(st.lists(st.lists(json_objects(), max_size=3), max_size=5))
def test_the_digest_is_carried_forward_over_appends(batches: list[list[dict[str, Any]]]) -> None:
    conversation, whole = Session(), []
    for batch in batches:
        plan = conversation.plan(RunOutput(append=batch))
        whole += batch
        assert (plan.digest, plan.message_count) == (sha256(whole), len(whole))
        conversation.apply(plan.change)
        assert conversation.digest() == sha256(whole)
        assert conversation.log.snapshot() == SessionSnapshot(
            messages=canonical(whole), message_count=len(whole)
        )
    loaded = Conversation(conversation.log.snapshot)
    assert (loaded.digest(), loaded.messages()) == (sha256(whole), whole)


@given(st.lists(json_objects(), max_size=4), st.lists(json_objects(), max_size=4))
def test_a_whole_list_is_an_append_exactly_when_it_extends(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    for whole in (after, before + after, before):
        conversation = Session(*before)
        plan = conversation.plan(RunOutput(messages=whole))
        assert (plan.digest, plan.message_count) == (sha256(whole), len(whole))
        same = canonical(whole) == canonical(before)
        extends = canonical(whole[: len(before)]) == canonical(before)
        if same:
            assert plan.change is None
        elif extends:
            assert plan.change == AppendMessages(
                len(before), len(whole) - len(before), canonical(whole[len(before) :])
            )
        else:
            assert plan.change == RewriteMessages(len(whole), canonical(whole))
        conversation.apply(plan.change)
        assert conversation.messages() == whole
        assert conversation.digest() == sha256(whole)


def test_key_order_does_not_make_a_rewrite() -> None:
    swapped = dict(reversed(list(REPLY.items())))
    plan = Session(USER, REPLY).plan(RunOutput(messages=[USER, swapped, USER]))
    assert plan.change == AppendMessages(2, 1, canonical([USER]))


def test_a_changed_last_message_is_a_rewrite() -> None:
    longer = {**USER, "content": USER["content"] + "!"}
    plan = Session(USER).plan(RunOutput(messages=[longer, REPLY]))
    assert plan.change == RewriteMessages(2, canonical([longer, REPLY]))


def test_an_emptied_list_is_a_rewrite_and_can_grow_again() -> None:
    conversation = Session(USER, REPLY)
    plan = conversation.plan(RunOutput(messages=[]))
    assert (plan.change, plan.digest, plan.message_count) == (
        RewriteMessages(0, b"[]"),
        sha256([]),
        0,
    )
    conversation.apply(plan.change)
    again = conversation.plan(RunOutput(append=[REPLY]))
    assert again.digest == sha256([REPLY])
    conversation.apply(again.change)
    assert conversation.messages() == [REPLY]


def test_planning_changes_nothing() -> None:
    conversation = Session(USER)
    first = conversation.plan(RunOutput(append=[REPLY]))
    assert conversation.plan(RunOutput(append=[REPLY])) == first
    assert (conversation.message_count, conversation.digest()) == (1, sha256([USER]))


def test_messages_handed_out_are_a_copy() -> None:
    conversation = Session(USER)
    conversation.messages()[0]["content"] = "changed"
    conversation.messages().append(REPLY)
    assert conversation.messages() == [USER]


def test_an_output_owns_its_messages() -> None:
    mine = {"content": ["a"]}
    output = RunOutput(append=[mine])
    mine["content"].append("b")
    assert Session().plan(output).digest == sha256([{"content": ["a"]}])


# --- opaque bytes -----------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x00\xff"])
def test_opaque_bytes_have_no_digest(data: bytes) -> None:
    conversation = Session()
    plan = conversation.plan(RunOutput(snapshot=data))
    assert (plan.change, plan.digest, plan.message_count) == (ReplaceSnapshot(data), None, 0)
    conversation.apply(plan.change)
    assert conversation.committed().opaque == data
    kept = conversation.plan(RunOutput())
    assert (kept.change, kept.digest, kept.message_count) == (None, None, 0)
    loaded = Conversation(conversation.log.snapshot)
    assert loaded.plan(RunOutput()) == kept


def test_opaque_bytes_have_the_digest_the_executor_says() -> None:
    output = RunOutput(snapshot=b"x", conversation_digest="abc123", message_count=2)
    plan = Session().plan(output)
    assert (plan.digest, plan.message_count) == ("abc123", 2)


# --- what an output may hold ------------------------------------------------------------


@pytest.mark.parametrize(
    "forms",
    [
        {"append": [], "messages": []},
        {"append": [USER], "snapshot": b""},
        {"messages": [], "snapshot": b""},
        {"append": [], "messages": [], "snapshot": b""},
    ],
)
def test_more_than_one_form_is_refused(forms: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not several"):
        RunOutput(**forms)


@pytest.mark.parametrize(
    "forms",
    [
        {"append": "text"},
        {"append": USER},
        {"append": ["text"]},
        {"messages": b"bytes"},
        {"messages": [1]},
        {"snapshot": "text"},
        {"snapshot": bytearray(b"x")},
        {"conversation_digest": 5},
        {"message_count": "3"},
        {"message_count": True},
    ],
)
def test_a_wrong_type_is_refused(forms: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        RunOutput(**forms)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="message_count"):
        RunOutput(snapshot=b"", message_count=-1)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", 2**64, -(2**63) - 1, {1: 2}, nested(64)]
)
def test_messages_json_cannot_carry_are_refused(value: Any) -> None:
    conversation = Session(USER)
    for output in (RunOutput(append=[{"x": value}]), RunOutput(messages=[{"x": value}])):
        with pytest.raises(ValueError):
            conversation.plan(output)
    assert conversation.messages() == [USER]


def test_the_deepest_payload_fits_into_a_message() -> None:
    output = RunOutput(append=[{"role": "user", "content": nested(32)}])
    assert Session().plan(output).message_count == 1


# --- receipts and the conversation together ---------------------------------------------


def test_each_receipt_recomputes_from_what_was_committed_then(runtime: Runtime) -> None:
    runtime.admit(prompt())
    run = runtime.stage()
    (steered,) = runtime.admit(progress())
    plan = runtime.session.plan(RunOutput(append=[USER]))
    first = runtime.do(kernel.CommitBoundary(run, (steered,), plan))
    runtime.session.apply(plan.change)
    last = runtime.complete(run, RunOutput(append=[REPLY]))
    assert first.receipt is not None
    assert last.receipt is not None
    assert (first.receipt.conversation_digest, first.receipt.message_count) == (sha256([USER]), 1)
    assert (last.receipt.conversation_digest, last.receipt.message_count) == (
        sha256([USER, REPLY]),
        2,
    )
    assert last.session == AppendMessages(1, 1, canonical([REPLY]))
