"""The file of inputs: every kind of bad line is named, and the rest goes on."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from cli_support import prompt

from actors.cli import inputs_file
from actors.cli.inputs_file import LINE_BYTES_MAX, BadLine, InputLine, read_lines
from meerkat import PromptInput

GOOD = json.dumps(prompt("a", "k")).encode()


def read(*lines: bytes) -> list[InputLine | BadLine]:
    return list(read_lines(io.BytesIO(b"\n".join(lines))))


def line_of(**fields: Any) -> bytes:
    return json.dumps({"runtime_id": "a", "input": {"input_type": "prompt", **fields}}).encode()


def nested(depth: int) -> bytes:
    document = prompt("a", "k")
    document["input"] = {
        "input_type": "external_event",
        "event_type": "t",
        "source": {"type": "system"},
        "payload": json.loads("[" * depth + "]" * depth),
    }
    return json.dumps(document).encode()


BAD = {
    b"hello": "not JSON",
    b'{"runtime_id": "a"': "not JSON",
    b"[1]": "expected an object",
    b'"text"': "expected an object",
    b"null": "expected an object",
    b"{}": "runtime_id: missing; input: missing",
    b'{"input": {"input_type": "prompt", "content": "x"}}': "runtime_id: missing",
    b'{"runtime_id": "a"}': "input: missing",
    GOOD[:-1] + b', "more": 1}': "unknown field 'more'",
    GOOD[:-1] + b', "input": {}}': "duplicate key 'input'",
    GOOD.replace(b'"a"', b'""'): "bad runtime id ''",
    GOOD.replace(b'"a"', b'"a b"'): "bad runtime id 'a b'",
    GOOD.replace(b'"a"', b'"../etc"'): "bad runtime id",
    GOOD.replace(b'"a"', b"7"): "runtime_id: ",
    GOOD.replace(b'"prompt"', b'"promt"'): "input_type unknown 'promt'",
    GOOD.replace(b'"prompt"', b'"system_generated"'): "input_type unknown",
    b'{"runtime_id": "a", "input": {"content": "x"}}': "input_type missing",
    b'{"runtime_id": "a", "input": "x"}': "input: expected an object",
    line_of(): "input.content: missing",
    line_of(content=5): "content takes text",
    line_of(content="x", idempotency_key=""): "input.idempotency_key: ",
    line_of(content="x", idempotency_key="k" * 513): "input.idempotency_key: ",
    line_of(content="x", unknown=1): "input: unknown field 'unknown'",
    line_of(content="x", durability="eternal"): "input.durability: 'eternal'",
    line_of(content="x", id="nope"): "input.id: ",
    line_of(content=float("nan")): "NaN is not JSON",
    line_of(content=float("inf")): "Infinity is not JSON",
    line_of(content="\ud800"): "lone surrogate",
    line_of(content=[{"number": 2**64}]): "integer outside",
    nested(33): "nested deeper than 32",
    b'{"runtime_id": "\xff"}': "not UTF-8",
    b"\x00": "not JSON",
}


@pytest.mark.parametrize(("raw", "reason"), BAD.items(), ids=BAD.values())
def test_a_bad_line_says_what_is_wrong_and_the_rest_goes_on(raw: bytes, reason: str) -> None:
    before, bad, after = read(GOOD, raw, GOOD)
    assert isinstance(before, InputLine)
    assert isinstance(after, InputLine)
    assert isinstance(bad, BadLine)
    assert bad.number == 2
    assert reason in bad.reason
    assert "$" not in bad.reason


def test_a_good_line_is_an_input() -> None:
    (line,) = read(GOOD)
    assert isinstance(line, InputLine)
    assert str(line.runtime_id) == "a"
    assert isinstance(line.input, PromptInput)
    assert str(line.input.idempotency_key) == "k"


def test_the_deepest_payload_passes() -> None:
    (line,) = read(nested(32))
    assert isinstance(line, InputLine)


def test_blank_lines_count_but_are_left_out() -> None:
    lines = read(b"", GOOD, b"  \t\r", b"", GOOD + b"\r", b"x", b"")
    assert [(line.number, type(line)) for line in lines] == [
        (2, InputLine),
        (5, InputLine),
        (6, BadLine),
    ]


def test_an_empty_file_has_no_lines() -> None:
    assert read() == []


@pytest.mark.parametrize("newline", [b"\n", b""])
def test_the_longest_line_passes_and_the_next_byte_does_not(newline: bytes) -> None:
    longest = GOOD + b" " * (LINE_BYTES_MAX - len(GOOD))
    (line,) = read_lines(io.BytesIO(longest + newline))
    assert isinstance(line, InputLine)
    (line,) = read_lines(io.BytesIO(longest + b" " + newline))
    assert line == BadLine(1, f"longer than {LINE_BYTES_MAX} bytes")


def test_after_a_line_that_is_too_long_comes_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inputs_file, "LINE_BYTES_MAX", len(GOOD))
    first, second, third = read(b"x" * 7 * len(GOOD), GOOD, b"y" * (len(GOOD) + 1))
    assert isinstance(first, BadLine)
    assert isinstance(second, InputLine)
    assert isinstance(third, BadLine)
    assert [first.number, second.number, third.number] == [1, 2, 3]


def test_the_content_of_a_line_is_in_no_repr() -> None:
    (line,) = read(line_of(content="canary"))
    assert "canary" not in repr(line)
