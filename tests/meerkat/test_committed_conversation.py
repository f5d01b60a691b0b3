"""What is committed, taken up again: a log and a conversation that go on from it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from builders import Session
from hypothesis import given
from hypothesis import strategies as st

from meerkat import RunOutput
from meerkat.conversation import (
    AppendMessages,
    Conversation,
    MessageLog,
    ReplaceSnapshot,
    SessionChange,
    SessionSnapshot,
    decoded,
)
from meerkat.testing.strategies import json_objects

USER: dict[str, Any] = {"role": "user", "content": "ünï"}
REPLY: dict[str, Any] = {"role": "assistant", "content": [{"b": 1.5, "a": None}]}


def canonical(messages: Any) -> bytes:
    text = json.dumps(messages, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def sha256(messages: Any) -> str:
    return hashlib.sha256(canonical(messages)).hexdigest()


def changes_of(kinds: list[tuple[str, Any]]) -> list[SessionChange]:
    """Changes as runs make them, each worked out on top of those before it."""
    session, changes = Session(), []
    for form, value in kinds:
        change = session.plan(RunOutput(**{form: value})).change
        session.apply(change)
        if change is not None:
            changes.append(change)
    return changes


outputs = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(json_objects(), max_size=2)),
        st.tuples(st.just("messages"), st.lists(json_objects(), max_size=3)),
        st.tuples(st.just("snapshot"), st.binary(max_size=3)),
    ),
    max_size=6,
)


@given(outputs, st.integers(0, 6))
def test_a_log_goes_on_from_what_was_committed(kinds: list[tuple[str, Any]], at: int) -> None:
    changes = changes_of(kinds)
    whole, first = MessageLog(), MessageLog()
    for change in changes:
        whole.apply(change)
    for change in changes[:at]:
        first.apply(change)
    second = MessageLog(first.snapshot())
    assert second.snapshot() == first.snapshot()
    assert second.message_count == first.message_count
    for change in changes[at:]:
        second.apply(change)
    assert second.snapshot() == whole.snapshot()
    assert len(decoded(second.snapshot())) == second.message_count


@given(outputs, st.lists(json_objects(), max_size=2))
def test_a_conversation_is_the_same_whether_it_is_given_the_session_or_reads_it(
    kinds: list[tuple[str, Any]], more: list[dict[str, Any]]
) -> None:
    log = MessageLog()
    for change in changes_of(kinds):
        log.apply(change)
    read, given_it = Conversation(log.snapshot), Conversation(log.snapshot, log.snapshot())
    assert given_it.message_count == read.message_count == log.message_count
    assert given_it.digest() == read.digest() == sha256(decoded(log.snapshot()))
    for output in (RunOutput(), RunOutput(append=more), RunOutput(messages=more)):
        assert given_it.plan(output) == read.plan(output)


def test_a_conversation_that_is_given_the_session_does_not_read_it_to_begin_with() -> None:
    reads: list[SessionSnapshot] = []
    log = MessageLog()
    log.apply(AppendMessages(0, 1, canonical([USER])))

    def read() -> SessionSnapshot:
        reads.append(log.snapshot())
        return reads[-1]

    conversation = Conversation(read, log.snapshot())
    plan = conversation.plan(RunOutput(append=[REPLY]))
    assert (plan.message_count, plan.digest) == (2, sha256([USER, REPLY]))
    conversation.apply(plan.change)
    assert reads == []
    log.apply(plan.change)
    assert conversation.messages() == [USER, REPLY]
    assert len(reads) == 1


def test_nothing_committed_is_an_empty_log() -> None:
    for log in (MessageLog(), MessageLog(None), MessageLog(SessionSnapshot())):
        assert log.snapshot() == SessionSnapshot()
        assert decoded(log.snapshot()) == []
    conversation = Conversation(lambda: None)
    assert (conversation.messages(), conversation.digest()) == ([], sha256([]))


def test_what_a_log_has_let_out_does_not_move_with_it() -> None:
    log = MessageLog(SessionSnapshot(messages=canonical([USER]), message_count=1, opaque=b"x"))
    before = log.snapshot()
    log.apply(AppendMessages(1, 1, canonical([REPLY])))
    log.apply(ReplaceSnapshot(b"y"))
    assert decoded(before) == [USER]
    assert before.opaque == b"x"
    assert decoded(log.snapshot()) == [USER, REPLY]
    assert log.snapshot().opaque == b"y"
    decoded(log.snapshot()).clear()
    assert log.message_count == 2


def test_a_plan_that_is_given_what_is_committed_reads_nothing() -> None:
    """A whole list is compared with what the caller has at hand."""

    def read() -> SessionSnapshot:
        raise AssertionError("the session was read")

    session = Session(USER)
    conversation = Conversation(read, session.committed())
    whole_lists: list[list[dict[str, Any]]] = [[USER, REPLY], [USER], [REPLY], []]
    for messages in whole_lists:
        output = RunOutput(messages=messages)
        assert conversation.plan(output, session.committed) == session.plan(output)
