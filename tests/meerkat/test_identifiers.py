"""Identifiers: one type each, one text form each, and the grammars they refuse outside of."""

from __future__ import annotations

from uuid import UUID

import pytest
from builders import round_trip

from meerkat import (
    IdempotencyKey,
    InputId,
    LogicalRuntimeId,
    OperationId,
    RunId,
    RuntimeEpochId,
    RuntimeEventId,
    SessionId,
    SupersessionKey,
    from_json,
    to_json,
)
from meerkat.errors import DecodeError
from meerkat.identifiers import (
    CausationId,
    ConversationId,
    CorrelationId,
    PolicyVersion,
    WaitRequestId,
    as_runtime_id,
)

UUID_SORTS = [
    InputId,
    RunId,
    RuntimeEventId,
    OperationId,
    WaitRequestId,
    ConversationId,
    CausationId,
    CorrelationId,
    RuntimeEpochId,
    SessionId,
]
NIL = UUID(int=0)


@pytest.mark.parametrize("sort", UUID_SORTS)
def test_inp_13_uuid_ids_differ_round_trip_and_print(sort: type[InputId]) -> None:
    one, other = sort.new(), sort.new()
    assert one != other
    assert round_trip(one) == one
    assert to_json(one) == f'"{one.value}"'.encode()
    assert str(sort(NIL)) == "00000000-0000-0000-0000-000000000000"
    assert one.value.version == 7


def test_inp_13_named_ids_round_trip_and_print() -> None:
    assert round_trip(IdempotencyKey("req-abc-123")) == IdempotencyKey("req-abc-123")
    assert round_trip(SupersessionKey("peer-status")) == SupersessionKey("peer-status")
    assert to_json(PolicyVersion(42)) == b"42"
    assert round_trip(PolicyVersion(42)) == PolicyVersion(42)
    assert str(LogicalRuntimeId("agent-1")) == "agent-1"
    assert to_json(LogicalRuntimeId("agent-1")) == b'"agent-1"'


def test_inp_13_no_sort_equals_another() -> None:
    ids = {sort(NIL) for sort in UUID_SORTS}
    assert len(ids) == len(UUID_SORTS)
    assert InputId(NIL) != RunId(NIL)
    assert InputId(NIL) != NIL
    assert IdempotencyKey("k") != SupersessionKey("k")
    assert LogicalRuntimeId("k") != "k"


@pytest.mark.parametrize(
    "text", ["a", "0", "support-42", "A.b_c:d@e/f-g", "rt:session:1", "a" * 255]
)
def test_runtime_id_grammar_takes(text: str) -> None:
    assert str(LogicalRuntimeId(text)) == text
    assert as_runtime_id(text) == LogicalRuntimeId(text)


@pytest.mark.parametrize(
    "text", ["", "-a", ".a", "/a", "a b", "a\n", "\na", "é", "a\x00", "a" * 256, "a\\b", "\uff41"]
)
def test_runtime_id_grammar_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="bad runtime id"):
        LogicalRuntimeId(text)


def test_a_runtime_id_that_is_too_long_is_cut_where_it_is_named() -> None:
    with pytest.raises(ValueError, match=f"'{'a' * 80}'… of 256 characters: it must"):
        LogicalRuntimeId("a" * 256)


@pytest.mark.parametrize("sort", [IdempotencyKey, SupersessionKey])
def test_key_lengths_at_their_limits(sort: type[IdempotencyKey]) -> None:
    assert len(sort("k" * 511).value) == 511
    assert len(sort("k" * 512).value) == 512
    for text in ("", "k" * 513):
        with pytest.raises(ValueError, match="1 to 512 characters"):
            sort(text)


def test_runtime_id_of_a_session() -> None:
    assert str(LogicalRuntimeId.for_session(SessionId(NIL))) == f"rt:session:{NIL}"


@pytest.mark.parametrize("wrong", ["text", 7, None, b"bytes"])
def test_a_wrong_type_is_refused_when_built(wrong: object) -> None:
    with pytest.raises(TypeError):
        InputId(wrong)  # type: ignore[arg-type]
    if not isinstance(wrong, str):
        with pytest.raises(TypeError):
            LogicalRuntimeId(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            IdempotencyKey(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [True, "1", 1.0, None])
def test_a_policy_version_is_an_unsigned_integer(wrong: object) -> None:
    with pytest.raises(TypeError):
        PolicyVersion(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        PolicyVersion(-1)
    assert PolicyVersion().value == 1


@pytest.mark.parametrize(
    "text",
    [
        "00000000-0000-0000-0000-00000000000A",
        "00000000000000000000000000000000",
        "{00000000-0000-0000-0000-000000000000}",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        " 00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-000000000000\n",
    ],
)
def test_one_text_form_alone_is_read(text: str) -> None:
    with pytest.raises(ValueError, match="lower-case hyphenated"):
        InputId.parse(text)
    with pytest.raises(DecodeError):
        from_json(InputId, to_json(text))
